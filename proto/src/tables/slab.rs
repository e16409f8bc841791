//! A table of values in numbered places. A free place is used again, so numbers stay small and the owner can
//! keep one in four bytes. For tables that grow with the connections of a shard; lives on its core.

use super::Chunks;

/// Values in numbered places. A number names its value until that is removed, and may name another one
/// afterwards.
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
    /// Puts the value into the place that became free last, or into a new one, and returns the place.
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = Some(value);
                at
            }
            None => self.places.push(Some(value)) as u32,
        }
    }

    /// The value in a place; None if the place is free or beyond the end.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&T> {
        self.places.get(at as usize)?.as_ref()
    }

    /// The value in a place, to be changed; None if the place is free or beyond the end.
    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    /// Takes the value out of its place, which becomes free. None if it was free.
    pub fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(value)
    }

    /// All values, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    /// Bytes on the heap, without those that the values themselves own.
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
