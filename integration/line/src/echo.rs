//! Answers pings, so that packets can be seen to pass: this end of the line has no kernel.

use std::net::IpAddr;

/// The answer to an echo request that a frame holds for one of our addresses: its frame.
pub(crate) fn answer(frame: &[u8], ours: &[IpAddr]) -> Option<Vec<u8>> {
    let mut out = frame.to_vec();
    let (addresses, at, request, reply) = match (frame.get(..2)?, frame.get(2)? >> 4) {
        ([0, 0x21], 4) if frame.get(11) == Some(&1) => (14..22, 22, 8, 0),
        ([0, 0x57], 6) if frame.get(8) == Some(&58) => (10..42, 42, 128, 129),
        _ => return None,
    };
    let both = out.get_mut(addresses)?;
    let (source, destination) = both.split_at_mut(both.len() / 2);
    source.swap_with_slice(destination);
    let us = match source.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(&*source).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(&*source).ok()?),
    };
    let [kind, 0, high, low] = out.get_mut(at..at + 4)? else { return None };
    if *kind != request || !ours.contains(&us) {
        return None;
    }
    *kind = reply;
    // Addresses that change places leave a checksum as it is; the type is the upper half of a word of it.
    let sum = u16::from_be_bytes([*high, *low]);
    let (changed, carry) = sum.overflowing_add((u16::from(request) << 8).wrapping_sub(u16::from(reply) << 8));
    [*high, *low] = (changed + u16::from(carry)).to_be_bytes();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(octets: &[u8]) -> u16 {
        let words = octets.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !(((sum & 0xffff) + (sum >> 16)) as u16)
    }

    #[test]
    fn a_ping_comes_back_with_a_good_checksum() {
        let ours = [IpAddr::from([10, 99, 0, 1])];
        let header = [0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 10, 99, 0, 2, 10, 99, 0, 1];
        for data in [[0; 4], [0xff; 4], [0xf7, 0xff, 0, 1]] {
            let mut icmp = [&[8, 0, 0, 0, 1, 2, 0, 9][..], &data].concat();
            let check = sum(&icmp).to_be_bytes();
            icmp[2..4].copy_from_slice(&check);
            let frame = [&[0, 0x21][..], &header, &icmp].concat();
            let reply = answer(&frame, &ours).unwrap();
            assert_eq!((reply[14..18].as_ref(), reply[22]), (&[10, 99, 0, 1][..], 0));
            assert!(matches!(sum(&reply[22..]), 0 | 0xffff), "{:x}", sum(&reply[22..]));
            assert!(answer(&frame, &[IpAddr::from([10, 99, 0, 9])]).is_none());
            assert!(answer(&reply, &[IpAddr::from([10, 99, 0, 2])]).is_none());
        }
        assert!(answer(&[0, 0x21, 0x45], &ours).is_none() && answer(&[], &ours).is_none());
    }
}
