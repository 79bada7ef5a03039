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
            // [7296:2.6-1] [7296:3.1-2]
            if spi != 0 && !self.0.contains_key(&spi) {
                self.0.insert(spi, slot);
                return spi;
            }
        }
    }

    /// `spi` names `slot`, as it did in a process before. `false`: it names another.
    pub(crate) fn restore(&mut self, spi: u64, slot: usize) -> bool {
        let free = !self.0.contains_key(&spi);
        if free {
            self.0.insert(spi, slot);
        }
        free
    }

    /// The slot that `spi` names.
    pub(crate) fn get(&self, spi: u64) -> Option<usize> {
        self.0.get(&spi).copied()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these numbers, one after the other.
    struct Numbers(Vec<u64>);

    impl Entropy for Numbers {
        fn public(&mut self, out: &mut [u8]) {
            let number = self.0.remove(0);
            out.copy_from_slice(&number.to_be_bytes());
        }

        fn secret(&mut self, out: &mut [u8]) {
            self.public(out);
        }
    }

    // [7296:2.6-1] [7296:3.1-2]
    #[test]
    fn an_spi_is_not_zero_and_nobody_elses() {
        let mut entropy = Numbers(vec![0, 5, 5, 0, 6, 5]);
        let mut spis = Spis::default();
        let first = spis.insert(&mut entropy, 1);
        let second = spis.insert(&mut entropy, 2);
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!((spis.get(first), spis.get(second), spis.get(0)), (Some(1), Some(2), None));
        spis.remove(first, 1);
        assert_eq!(spis.insert(&mut entropy, 3), first);
    }
}
