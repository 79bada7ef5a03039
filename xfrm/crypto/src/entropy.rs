use adit_core::Entropy;
use ring::rand::{SecureRandom, SystemRandom};

/// The operating system's randomness (getrandom(2)). Its generator gives nothing about past or future output
/// away, so public and secret values come from the same one.
#[derive(Debug)]
pub struct OsEntropy(SystemRandom);

impl OsEntropy {
    /// The operating system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for OsEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for OsEntropy {
    fn public(&mut self, out: &mut [u8]) {
        fill(&self.0, out);
    }

    fn secret(&mut self, out: &mut [u8]) {
        fill(&self.0, out);
    }
}

/// A kernel that can't give randomness leaves nothing safe to do, not even to unwind with half a secret.
pub(crate) fn fill(random: &SystemRandom, out: &mut [u8]) {
    if random.fill(out).is_err() {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_are_the_same() {
        let mut entropy = OsEntropy::new();
        let (mut a, mut b) = ([0; 32], [0; 32]);
        entropy.public(&mut a);
        entropy.secret(&mut b);
        assert_ne!(a, b);
        assert_ne!(a, [0; 32]);
        assert_ne!(entropy.public_u64(), entropy.public_u64());
    }
}
