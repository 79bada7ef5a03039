use adit_core::Entropy;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroize as _;

/// Bytes of public values that one system call gets: the SPIs and nonces of a few exchanges.
const AHEAD: usize = 256;

/// The operating system's randomness (getrandom(2)). Its generator gives nothing about past or future output
/// away, so public and secret values come from the same one; public ones some ahead.
pub struct OsEntropy {
    system: SystemRandom,
    /// Public values to come, and how many of these bytes have not been given out. Those that have are wiped.
    ahead: [u8; AHEAD],
    left: usize,
}

impl std::fmt::Debug for OsEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OsEntropy")
    }
}

impl OsEntropy {
    /// The operating system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Self { system: SystemRandom::new(), ahead: [0; AHEAD], left: 0 }
    }
}

impl Default for OsEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for OsEntropy {
    fn public(&mut self, out: &mut [u8]) {
        if out.len() > AHEAD {
            return fill(&self.system, out);
        }
        if out.len() > self.left {
            fill(&self.system, &mut self.ahead);
            self.left = AHEAD;
        }
        let (rest, taken) = self.ahead.split_at_mut(self.left.saturating_sub(out.len()));
        let taken = taken.iter_mut().take(out.len());
        for (to, from) in out.iter_mut().zip(taken) {
            *to = *from;
            from.zeroize();
        }
        self.left = rest.len();
    }

    fn secret(&mut self, out: &mut [u8]) {
        fill(&self.system, out);
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
    fn public_values_of_any_length_are_fresh() {
        let mut entropy = OsEntropy::new();
        let mut seen = std::collections::BTreeSet::new();
        for length in (16..=AHEAD + 1).rev().chain(16..=64) {
            let mut value = vec![0; length];
            entropy.public(&mut value);
            // Every part of it: what was given out once is not given out again.
            for part in value.chunks_exact(16) {
                assert!(seen.insert(part.to_vec()), "{length}");
            }
        }
    }

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
