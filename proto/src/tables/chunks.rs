//! A vector that grows by chunks: doubling a table of a million entries leaves half of it empty, and
//! copies all of it at once.

use std::ops::{Index, IndexMut};

/// Entries of a chunk. What is empty is less than one of them.
const CHUNK: usize = 256;

#[derive(Debug)]
pub struct Chunks<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns its index.
    pub fn push(&mut self, value: T) -> usize {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(value);
        chunk * CHUNK + self.chunks[chunk].len() - 1
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Bytes on the heap, without what the entries themselves own.
    pub fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<T>>() + self.chunks.len() * CHUNK * size_of::<T>()
    }
}

/// Panics beyond the end.
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
