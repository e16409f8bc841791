//! A vector that grows by chunks, for tables of a million entries: a `Vec` that doubles would leave up to half
//! of its memory empty, and copy all entries at once. Lives in a table of one core.

use std::ops::{Index, IndexMut};

/// Entries of one chunk. Less than one chunk is empty.
const CHUNK: usize = 256;

/// A vector that never moves its entries and cannot shrink.
#[derive(Debug)]
pub struct Chunks<T> {
    /// All are full except the last one.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds an entry at the end and returns its index.
    pub fn push(&mut self, value: T) -> usize {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(value);
        chunk * CHUNK + self.chunks[chunk].len() - 1
    }

    /// The entry at an index; None beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The entry at an index, to be changed; None beyond the end.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// All entries, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Bytes on the heap, without those that the entries themselves own.
    pub fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<T>>() + self.chunks.len() * CHUNK * size_of::<T>()
    }
}

/// Panics if the index is beyond the end.
impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_were_put_across_chunks() {
        let mut chunks = Chunks::default();
        assert!(chunks.is_empty() && chunks.get(0).is_none());
        for value in 0..2 * CHUNK + 1 {
            assert_eq!(chunks.push(value), value);
        }
        assert_eq!(chunks.len(), 2 * CHUNK + 1);
        chunks[CHUNK] = 7;
        assert_eq!((chunks[CHUNK - 1], chunks[CHUNK]), (CHUNK - 1, 7));
        assert_eq!(chunks.get(2 * CHUNK), Some(&(2 * CHUNK)));
        assert_eq!(chunks.get(2 * CHUNK + 1), None);
        assert_eq!(chunks.iter().count(), chunks.len());
    }

    #[test]
    fn little_is_empty() {
        let mut chunks = Chunks::default();
        for value in 0..10_000u64 {
            chunks.push(value);
        }
        let needed = 10_000 * 8;
        assert!(
            chunks.heap_bytes() < needed + CHUNK * 8 + 64 * 24,
            "{}",
            chunks.heap_bytes()
        );
    }
}
