use adit_isakmp::{Encryption, EspSuite};
use adit_xfrm_kernel::Lifetimes;
use ring::rand::{SecureRandom, SystemRandom};

/// Packets that 32-bit sequence numbers last for, halved: the rekey has as many again.
const HALF_OF_32_BITS: u64 = 1 << 31;
/// Far beyond an hour at 100 Gbit/s, far below what AES-GCM and ChaCha20-Poly1305 may encrypt under one key.
const HALF_OF_A_KEY: u64 = 1 << 36;
/// A block of 64 bits repeats after 2^32 of them (32 GiB, RFC 7296 says no more; SWEET32): a thirty-second of it.
const SMALL_BLOCKS: u64 = 1 << 30;

/// What a CHILD_SA may carry before it is rekeyed; a tenth more, and it is closed. `None`: what its algorithms allow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Bytes in either direction.
    pub bytes: Option<u64>,
    /// Packets in either direction.
    pub packets: Option<u64>,
}

impl Limits {
    /// The limits of one state. The soft ones are up to a tenth lower at random, so that states of one moment, and the
    /// two ends, do not all reach theirs together.
    #[must_use]
    pub fn lifetimes(self, suite: EspSuite) -> Lifetimes {
        let mut random = [0; 2];
        // Without randomness there is no jitter, which is no reason to have no limit.
        let _ = SystemRandom::new().fill(&mut random);
        self.lifetimes_with(suite, u16::from_ne_bytes(random))
    }

    fn lifetimes_with(self, suite: EspSuite, random: u16) -> Lifetimes {
        let most = if suite.esn { HALF_OF_A_KEY } else { HALF_OF_32_BITS };
        let packets = self.packets.map_or(most, |p| p.min(most));
        let bytes = match suite.encryption {
            Encryption::TripleDesCbc => Some(self.bytes.map_or(SMALL_BLOCKS, |b| b.min(SMALL_BLOCKS))),
            _ => self.bytes,
        };
        let soft = |limit: u64| (limit - scaled(limit / 10, random)).max(1);
        let hard = |limit: u64| limit.saturating_add(limit / 10).max(2);
        Lifetimes {
            soft_bytes: bytes.map(soft),
            hard_bytes: bytes.map(hard),
            soft_packets: Some(soft(packets)),
            hard_packets: Some(hard(packets)),
            ..Lifetimes::default()
        }
    }
}

/// `random` 65,536ths of `whole`.
fn scaled(whole: u64, random: u16) -> u64 {
    u64::try_from((u128::from(whole) * u128::from(random)) >> 16).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use adit_isakmp::algorithm::KeyBits;

    use super::*;

    fn suite(encryption: Encryption, esn: bool) -> EspSuite {
        EspSuite { encryption, integrity: None, ke: None, additional: Default::default(), esn }
    }

    #[test]
    fn sequence_numbers_of_32_bits_never_run_out() {
        let gcm = suite(Encryption::AesGcm16(KeyBits::B256), false);
        for wanted in [None, Some(u64::MAX)] {
            let l = Limits { bytes: None, packets: wanted }.lifetimes_with(gcm, 0);
            assert_eq!(l.soft_packets, Some(1 << 31));
            assert!(l.hard_packets.unwrap() < u64::from(u32::MAX));
            assert_eq!((l.soft_bytes, l.hard_bytes), (None, None));
        }
    }

    #[test]
    fn soft_is_a_tenth_lower_at_most_and_hard_a_tenth_higher() {
        let gcm = suite(Encryption::AesGcm16(KeyBits::B256), true);
        let limits = Limits { bytes: Some(1000), packets: Some(100) };
        let (first, last) = (limits.lifetimes_with(gcm, 0), limits.lifetimes_with(gcm, u16::MAX));
        assert_eq!((first.soft_bytes, first.hard_bytes), (Some(1000), Some(1100)));
        assert_eq!((last.soft_bytes, last.soft_packets), (Some(901), Some(91)));
        let one = Limits { bytes: Some(1), packets: Some(1) }.lifetimes_with(gcm, u16::MAX);
        assert_eq!((one.soft_packets, one.hard_packets), (Some(1), Some(2)));
    }

    #[test]
    fn small_blocks_do_not_repeat() {
        let old = suite(Encryption::TripleDesCbc, false);
        assert_eq!(Limits::default().lifetimes_with(old, 0).soft_bytes, Some(1 << 30));
    }
}
