//! RADIUS packets in a stream of bytes (RFC 6613 §2.6.1): each says itself how long it is.

use adit_core::DecodeError;
use zeroize::Zeroizing;

use super::MAX_LEN;

/// Code, identifier, length and authenticator (RFC 2865 §3).
const HEADER: usize = 20;

/// What has come of a stream. Holds no more than one packet that is not whole yet.
#[derive(Default, Debug)]
pub struct Stream {
    bytes: Zeroizing<Vec<u8>>,
}

impl Stream {
    /// More has come: the packets that are whole now. There are passwords and keys in them.
    ///
    /// # Errors
    /// A length that no packet has: where the next one begins is not known then, and the connection is of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, DecodeError> {
        // A buffer that grows leaves its bytes behind.
        let all = Zeroizing::new([self.bytes.as_slice(), bytes].concat());
        let mut rest = all.as_slice();
        let mut out = Vec::new();
        while let Some(length) = length(rest)? {
            let Some((packet, after)) = rest.split_at_checked(length) else { break };
            out.push(Zeroizing::new(packet.to_vec()));
            rest = after;
        }
        self.bytes = Zeroizing::new(rest.to_vec());
        Ok(out)
    }
}

/// The length of the packet that begins here; `None`: it is still to come.
fn length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some([_, _, high, low]) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match length {
        HEADER..=MAX_LEN => Ok(Some(length)),
        _ => Err(DecodeError { at: 2, why: "the length of a RADIUS packet is 20 to 4096" }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(length: u16) -> Vec<u8> {
        let mut out = vec![2, 7];
        out.extend(length.to_be_bytes());
        out.resize(usize::from(length), 9);
        out
    }

    #[test]
    fn a_length_that_is_none_ends_it() {
        for length in [0, 19, 4097, 65535] {
            let mut stream = Stream::default();
            assert!(stream.feed(&[1, 2]).unwrap().is_empty());
            assert!(stream.feed(&u16::to_be_bytes(length)).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_they_are_cut(
            lengths in proptest::collection::vec(20_u16..300, 0..6),
            cuts in proptest::collection::vec(1_usize..200, 1..20),
        ) {
            let packets: Vec<_> = lengths.into_iter().map(packet).map(Zeroizing::new).collect();
            let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.iter().copied()).collect();
            let (mut stream, mut rest, mut out) = (Stream::default(), bytes.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                out.extend(stream.feed(now).unwrap());
                rest = later;
            }
            prop_assert_eq!(out, packets);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = Stream::default().feed(&bytes);
        }
    }
}
