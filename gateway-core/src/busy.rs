//! What only a busy session has: frames that wait, a message of which a part came, a repair that is due. The
//! shard's store lends it a place and takes the place back when the session is idle again, so that an idle
//! session pays nothing for it.

use newim_proto::ws::Messages;

use crate::lag::Lag;
use crate::limits::QUIET_ENTRIES_MAX;
use crate::outbox::Outbox;

#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub messages: Messages,
    pub outbox: Outbox,
    /// What the session missed. None: it keeps up.
    pub lag: Option<Box<Lag>>,
}

impl Busy {
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.lag.is_none() && self.messages.is_idle()
    }
}

/// A session's place in the store, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    fn at(self) -> Option<usize> {
        self.0.checked_sub(1).map(|at| at as usize)
    }
}

#[derive(Debug, Default)]
pub(crate) struct BusyStore {
    places: Vec<Busy>,
    free: Vec<u32>,
}

impl BusyStore {
    #[inline]
    pub fn get(&self, place: Place) -> Option<&Busy> {
        place.at().map(|at| &self.places[at])
    }

    #[inline]
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Busy> {
        place.at().map(|at| &mut self.places[at])
    }

    /// What the session has; it gets a place if it had none.
    #[inline]
    pub fn begin(&mut self, place: &mut Place) -> &mut Busy {
        if place.at().is_none() {
            let at = self.free.pop().unwrap_or_else(|| {
                self.places.push(Busy::default());
                self.places.len() as u32 - 1
            });
            *place = Place(at + 1);
        }
        &mut self.places[place.at().expect("just given")]
    }

    /// Takes the place back if there is nothing in it.
    #[inline]
    pub fn end_if_idle(&mut self, place: &mut Place) {
        if self.get(*place).is_some_and(Busy::is_idle) {
            self.end(place);
        }
    }

    /// The same, where the caller has seen that nothing is in it.
    #[inline]
    pub fn end(&mut self, place: &mut Place) {
        self.free.push(place.0 - 1);
        *place = Place::default();
    }

    /// Gives a burst's memory back once no session is busy.
    pub fn tidy(&mut self) {
        if self.free.len() == self.places.len() && self.places.capacity() > QUIET_ENTRIES_MAX {
            *self = BusyStore::default();
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Busy>() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Spares;

    #[test]
    fn a_place_is_lent_while_something_is_in_it() {
        let (mut store, mut place) = (BusyStore::default(), Place::default());
        assert!(store.get(place).is_none());
        let mut spares = Spares::new(64);
        store
            .begin(&mut place)
            .outbox
            .push(vec![1, 2].into(), &mut spares);
        store.end_if_idle(&mut place);
        assert!(store.get(place).is_some(), "a frame waits in it");
        let busy = store.get_mut(place).expect("just seen");
        busy.outbox.take(&mut spares).expect("one frame");
        store.end_if_idle(&mut place);
        assert!(store.get(place).is_none());
        let mut next = Place::default();
        store.begin(&mut next);
        assert_eq!(store.places.len(), 1, "the place is another's now");
    }

    #[test]
    fn a_burst_gives_its_memory_back_once_all_are_idle() {
        let mut store = BusyStore::default();
        let mut places = vec![Place::default(); 2 * QUIET_ENTRIES_MAX];
        for place in &mut places {
            store.begin(place);
        }
        store.tidy();
        assert!(store.heap_bytes() > 0, "they are in use");
        for place in &mut places {
            store.end_if_idle(place);
        }
        store.tidy();
        assert_eq!(store.heap_bytes(), 0);
    }
}
