//! Values in numbered places: a place that is free is the next value's, so numbers stay small enough to be
//! kept in four bytes by whoever asks for the value again. For tables that grow with the connections.

use super::Chunks;

#[derive(Debug)]
pub struct Slab<T> {
    places: Chunks<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            places: Chunks::default(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Returns its place: the one that became free last, if one did.
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = Some(value);
                at
            }
            None => self.places.push(Some(value)) as u32,
        }
    }

    #[inline]
    pub fn get(&self, at: u32) -> Option<&T> {
        self.places.get(at as usize)?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    /// The value; its place is another's next.
    pub fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    /// Bytes on the heap, without what the values themselves own.
    pub fn heap_bytes(&self) -> usize {
        self.places.heap_bytes() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_its_value_until_that_is_removed_and_then_the_next() {
        let mut slab = Slab::default();
        let (first, second) = (slab.insert("first"), slab.insert("second"));
        assert_eq!(
            (slab.get(first), slab.get(second)),
            (Some(&"first"), Some(&"second"))
        );
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        *slab.get_mut(second).expect("it stays") = "still there";
        assert_eq!(slab.insert("third"), first);
        assert!(slab.iter().eq(&["third", "still there"]));
    }

    #[test]
    fn a_place_beyond_the_end_has_nothing() {
        let mut slab = Slab::<u64>::default();
        assert!(slab.get(0).is_none() && slab.get_mut(0).is_none() && slab.remove(0).is_none());
    }
}
