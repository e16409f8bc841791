//! A fast hash for keys that are the generator's own numbers: no peer chooses them, so nobody can craft
//! collisions.

use std::hash::{BuildHasherDefault, Hasher};

pub type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mix>>;
pub type Set<K> = std::collections::HashSet<K, BuildHasherDefault<Mix>>;

#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(ODD).rotate_left(29);
    }
}

/// Hash of a few numbers: the same in every process and every run.
pub fn mix(values: &[u64]) -> u64 {
    let mut mix = Mix::default();
    values.iter().for_each(|value| mix.write_u64(*value));
    mix.write_u64(values.len() as u64);
    mix.finish()
}
