//! Frames on an asynchronous line (RFC 1662 §4): octets are escaped, and each frame has a check sequence.

const FLAG: u8 = 0x7e;
const ESCAPE: u8 = 0x7d;
const ALL_STATIONS: u8 = 0xff;
const UNNUMBERED: u8 = 0x03;
/// What a good frame's check sequence makes of itself (RFC 1662, appendix C.2).
const GOOD: u16 = 0xf0b8;
/// The longest frame that is kept, in octets.
const LONGEST: usize = 4096;

/// The check sequence of these octets.
fn fcs(octets: &[u8]) -> u16 {
    octets.iter().fold(0xffff, |fcs, octet| {
        (0..8).fold(fcs ^ u16::from(*octet), |fcs, _| match fcs & 1 {
            1 => fcs >> 1 ^ 0x8408,
            _ => fcs >> 1,
        })
    })
}

/// The octets on the line of a frame that begins with its protocol in two octets. All control characters are escaped, as every
/// peer must take it.
pub(crate) fn emit(frame: &[u8]) -> Vec<u8> {
    let mut plain = vec![ALL_STATIONS, UNNUMBERED];
    plain.extend_from_slice(frame);
    let check = !fcs(&plain);
    plain.extend(check.to_le_bytes());
    let mut out = vec![FLAG];
    for octet in plain {
        match octet {
            FLAG | ESCAPE | 0..0x20 => out.extend([ESCAPE, octet ^ 0x20]),
            other => out.push(other),
        }
    }
    out.push(FLAG);
    out
}

/// What is read of a line.
#[derive(Default)]
pub(crate) struct Deframer {
    frame: Vec<u8>,
    escaped: bool,
}

impl Deframer {
    /// Takes octets of the line; the good frames that are whole now, each with its protocol in two octets.
    pub(crate) fn read(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for octet in octets {
            match *octet {
                FLAG => {
                    let frame = std::mem::take(&mut self.frame);
                    out.extend(if self.escaped { None } else { whole(frame) });
                    self.escaped = false;
                }
                ESCAPE => self.escaped = true,
                _ if self.frame.len() >= LONGEST => {}
                octet => {
                    self.frame.push(if self.escaped { octet ^ 0x20 } else { octet });
                    self.escaped = false;
                }
            }
        }
        out
    }
}

/// Without check sequence, address and control, and with a protocol field that is not compressed.
fn whole(mut frame: Vec<u8>) -> Option<Vec<u8>> {
    if fcs(&frame) != GOOD {
        return None;
    }
    frame.truncate(frame.len().checked_sub(2)?);
    if frame.starts_with(&[ALL_STATIONS, UNNUMBERED]) {
        frame.drain(..2);
    }
    if frame.first()? & 1 == 1 {
        frame.insert(0, 0);
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn compressed_headers_are_read_and_broken_frames_are_not() {
        let plain = [0x21, 0x45, 0x00];
        let check = (!fcs(&plain)).to_le_bytes();
        let line = [&[FLAG][..], &plain, &check, &[FLAG]].concat();
        assert_eq!(Deframer::default().read(&line), [vec![0, 0x21, 0x45, 0x00]]);
        let broken = [&[FLAG][..], &plain, &[check[0], !check[1], FLAG]].concat();
        assert!(Deframer::default().read(&broken).is_empty());
    }

    proptest! {
        #[test]
        fn frames_round_trip(frames in vec(vec(any::<u8>(), 0..60), 1..5), at in any::<usize>()) {
            let frames: Vec<Vec<u8>> = frames.into_iter().map(|f| [&[0xc0, 0x21][..], &f].concat()).collect();
            let line: Vec<u8> = frames.iter().flat_map(|f| emit(f)).collect();
            let (first, second) = line.split_at(at % line.len());
            let mut deframer = Deframer::default();
            let read = [deframer.read(first), deframer.read(second)].concat();
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn nothing_panics(octets in vec(any::<u8>(), 0..200)) {
            let _ = Deframer::default().read(&octets);
        }
    }
}
