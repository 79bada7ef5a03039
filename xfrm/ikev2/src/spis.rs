//! Our SPIs.

use std::collections::HashMap;

use core::hash::{BuildHasherDefault, Hasher};

use adit_core::Entropy;

/// From our SPIs to slots. They are 64 unpredictable bits that we chose, so that they are their own hash; the map is
/// never iterated.
#[derive(Default)]
pub(crate) struct Spis(HashMap<u64, usize, BuildHasherDefault<Itself>>);

impl Spis {
    /// A new SPI that names `slot`: never 0, never one that is in use.
    pub(crate) fn insert(&mut self, entropy: &mut dyn Entropy, slot: usize) -> u64 {
        loop {
            let spi = entropy.public_u64();
            if spi != 0 && !self.0.contains_key(&spi) {
                self.0.insert(spi, slot);
                return spi;
            }
        }
    }

    /// The slot that `spi` names.
    pub(crate) fn get(&self, spi: u64) -> Option<usize> {
        self.0.get(&spi).copied()
    }

    /// `spi`, if it names `slot`, names nothing any more.
    pub(crate) fn remove(&mut self, spi: u64, slot: usize) {
        if self.get(spi) == Some(slot) {
            self.0.remove(&spi);
        }
    }
}

/// A hash for numbers that are random already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
