//! The sockets of one shard, named as an engine names them: by an index, which is used again under another
//! generation.

use crate::network::WireId;

#[derive(Default)]
pub struct Places {
    places: Vec<Place>,
}

#[derive(Default)]
struct Place {
    generation: u32,
    wire: Option<WireId>,
}

/// A shard's name for a socket: index and generation.
pub type Name = (u32, u32);

impl Places {
    pub fn open(&mut self, wire: WireId) -> Name {
        let free = self.places.iter().position(|place| place.wire.is_none());
        let index = free.unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        place.generation += 1;
        place.wire = Some(wire);
        (index as u32, place.generation)
    }

    pub fn find(&self, wire: WireId) -> Option<Name> {
        let at = |place: &Place| place.wire == Some(wire);
        let index = self.places.iter().position(at)?;
        Some((index as u32, self.places[index].generation))
    }

    /// The wire of a socket. None: it is closed by now.
    pub fn wire(&self, (index, generation): Name) -> Option<WireId> {
        let place = self.places.get(index as usize)?;
        place.wire.filter(|_| place.generation == generation)
    }

    pub fn close(&mut self, name: Name) -> Option<WireId> {
        let wire = self.wire(name)?;
        self.places[name.0 as usize].wire = None;
        Some(wire)
    }
}
