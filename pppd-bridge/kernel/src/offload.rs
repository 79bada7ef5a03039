//! What the kernel leaves to who reads a TUN with offloads, and takes from who writes it (`linux/virtio_net.h`): many TCP segments
//! as one long packet, and checksums that are still to be made.

/// `struct virtio_net_hdr`, in front of each packet.
pub const HEADER: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const NONE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// Beside a type of TCP: its first segment says that the window was reduced.
const ECN: u8 = 0x80;

const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: u8 = 6;
/// Where in TCP's and UDP's headers the checksum is.
const TCP_CHECKSUM: usize = 16;
const UDP_HEADER: usize = 8;
const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
const REDUCED: u8 = 0x80;
/// The longest packet that is made of several, in octets.
const LONGEST: usize = 64_000;
/// Payload of a segment, from which on several are worth being one.
const WORTH: usize = 256;

/// The packets that one read of a TUN has brought: `octets` begin with the header. What makes no sense gives none.
pub fn split(octets: &[u8], mut give: impl FnMut(&[u8])) {
    let Some(([flags, kind, _, _, s0, s1, c0, c1, o0, o1], packet)) = octets.split_first_chunk::<HEADER>()
    else {
        return;
    };
    let number = |a: u8, b: u8| usize::from(u16::from_ne_bytes([a, b]));
    let (size, start, offset) = (number(*s0, *s1), number(*c0, *c1), number(*o0, *o1));
    if flags & NEEDS_CHECKSUM == 0 {
        return give(packet);
    }
    match kind & !ECN {
        NONE => {
            let mut packet = packet.to_vec();
            if finish_checksum(&mut packet, start, offset).is_some() {
                give(&packet);
            }
        }
        TCP4 | TCP6 | UDP if size > 0 => {
            segments(packet, kind & !ECN, size, start, &mut give);
        }
        _ => {}
    }
}

fn finish_checksum(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    // The pseudo header's sum stands where the checksum will.
    let sum = fold(sum(0, packet.get(start..)?));
    let place = packet.get_mut(start.checked_add(offset)?..)?.first_chunk_mut::<2>()?;
    // Zero says of UDP that there is none.
    *place = if sum == 0 { 0xffff } else { sum }.to_be_bytes();
    Some(())
}

fn segments(packet: &[u8], kind: u8, size: usize, start: usize, give: &mut impl FnMut(&[u8])) -> Option<()> {
    let head = match kind {
        UDP => start.checked_add(UDP_HEADER)?,
        _ => start.checked_add(usize::from(packet.get(start.checked_add(12)?)? >> 4).checked_mul(4)?)?,
    };
    let (header, payload) = packet.split_at_checked(head)?;
    let mut out = Vec::with_capacity(head.saturating_add(size));
    let count = payload.len().div_ceil(size).max(1);
    for (n, piece) in payload.chunks(size).enumerate() {
        out.clear();
        out.extend_from_slice(header);
        out.extend_from_slice(piece);
        set_lengths(&mut out, n)?;
        match kind {
            UDP => {
                let length = u16::try_from(out.len().checked_sub(start)?).ok()?;
                put(&mut out, start.checked_add(4)?, length)?;
                set_checksum(&mut out, start, 6, 17)?;
            }
            _ => {
                let sequence = word(&out, start.checked_add(4)?)?;
                let ahead = u32::try_from(n.checked_mul(size)?).ok()?;
                put32(&mut out, start.checked_add(4)?, sequence.wrapping_add(ahead))?;
                let flags = out.get_mut(start.checked_add(13)?)?;
                if n > 0 {
                    *flags &= !REDUCED;
                }
                if n + 1 < count {
                    *flags &= !(FIN | PUSH);
                }
                set_checksum(&mut out, start, TCP_CHECKSUM, TCP)?;
            }
        }
        give(&out);
    }
    Some(())
}

/// Of the packet as it is now, the `n`th of several.
fn set_lengths(packet: &mut [u8], n: usize) -> Option<()> {
    let length = packet.len();
    match packet.first()? >> 4 {
        4 => {
            put(packet, 2, u16::try_from(length).ok()?)?;
            let id = half(packet, 4)?.wrapping_add(u16::try_from(n).ok()?);
            put(packet, 4, id)?;
            put(packet, 10, 0)?;
            let end = usize::from(packet.first()? & 0xf).checked_mul(4)?;
            let sum = fold(sum(0, packet.get(..end)?));
            put(packet, 10, sum)
        }
        6 => put(packet, 4, u16::try_from(length.checked_sub(IPV6)?).ok()?),
        _ => None,
    }
}

fn set_checksum(packet: &mut [u8], start: usize, offset: usize, protocol: u8) -> Option<()> {
    put(packet, start.checked_add(offset)?, 0)?;
    let sum = fold(sum(pseudo(packet, start, protocol)?, packet.get(start..)?));
    put(packet, start.checked_add(offset)?, if sum == 0 && protocol != TCP { 0xffff } else { sum })
}

/// The sum of addresses, protocol and length.
fn pseudo(packet: &[u8], start: usize, protocol: u8) -> Option<u64> {
    let addresses = match packet.first()? >> 4 {
        4 => packet.get(12..20)?,
        _ => packet.get(8..40)?,
    };
    let length = u64::try_from(packet.len().checked_sub(start)?).ok()?;
    Some(sum(u64::from(protocol) + length, addresses))
}

/// Adds 16 bits at a time; an odd octet at the end has a zero behind it.
fn sum(mut total: u64, octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    for word in words {
        // Four octets at a time come to the same: carries are folded at the end.
        total += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    total + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn half(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..)?.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
}

fn put(packet: &mut [u8], at: usize, value: u16) -> Option<()> {
    *packet.get_mut(at..)?.first_chunk_mut::<2>()? = value.to_be_bytes();
    Some(())
}

fn put32(packet: &mut [u8], at: usize, value: u32) -> Option<()> {
    *packet.get_mut(at..)?.first_chunk_mut::<4>()? = value.to_be_bytes();
    Some(())
}

/// Packets of a peer's on their way to this host: consecutive segments of a TCP connection become one long packet, which the
/// kernel takes in one piece. Their order stays.
#[derive(Default, Debug)]
pub struct Joiner {
    /// What is to be written, its header in front; empty: nothing.
    joined: Vec<u8>,
    /// What joining needs to know of it; `None`: nothing may be added.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Where TCP's header and its payload begin in a packet.
    tcp: usize,
    payload: usize,
    /// The payload of the first segment: all but the last have as much.
    size: usize,
    /// The sequence number that comes next.
    next: u32,
    count: u32,
}

impl Joiner {
    /// Takes a packet; `write` is given what can't become longer.
    pub fn add(&mut self, packet: &[u8], mut write: impl FnMut(&[u8])) {
        let segment = segment(packet);
        if let (Some(open), Some(new)) = (&mut self.open, &segment)
            && fits(open, self.joined.get(HEADER..).unwrap_or_default(), new, packet)
        {
            let payload = packet.get(new.payload..).unwrap_or_default();
            self.joined.extend_from_slice(payload);
            open.next = open.next.wrapping_add(u32::try_from(payload.len()).unwrap_or(u32::MAX));
            open.count += 1;
            let pushed = is_pushed(packet, new.tcp);
            if let (true, Some(flags)) = (pushed, self.joined.get_mut(HEADER + open.tcp + 13)) {
                *flags |= PUSH;
            }
            // A shorter one, or one that is pushed, is the last.
            if payload.len() < open.size || pushed {
                self.finish(write);
            }
            return;
        }
        self.finish(&mut write);
        self.joined.resize(HEADER, 0);
        self.joined.extend_from_slice(packet);
        // What is pushed is waited for.
        let pushed = |open: &Open| is_pushed(packet, open.tcp);
        let done = segment.as_ref().is_none_or(pushed);
        self.open = segment;
        if done {
            self.finish(write);
        }
    }

    /// Writes what there is.
    pub fn finish(&mut self, mut write: impl FnMut(&[u8])) {
        if self.joined.is_empty() {
            return;
        }
        if let Some(open) = self.open.take().filter(|open| open.count > 1) {
            self.describe(&open);
        }
        write(&self.joined);
        self.joined.clear();
    }

    /// The header, lengths, and what the checksum begins with.
    fn describe(&mut self, open: &Open) -> Option<()> {
        let (header, packet) = self.joined.split_first_chunk_mut::<HEADER>()?;
        set_lengths(packet, 0)?;
        let sum = !fold(pseudo(packet, open.tcp, TCP)?);
        put(packet, open.tcp.checked_add(TCP_CHECKSUM)?, sum)?;
        let kind = if packet.first()? >> 4 == 4 { TCP4 } else { TCP6 };
        let [h0, h1] = u16::try_from(open.payload).ok()?.to_ne_bytes();
        let [s0, s1] = u16::try_from(open.size).ok()?.to_ne_bytes();
        let [c0, c1] = u16::try_from(open.tcp).ok()?.to_ne_bytes();
        let [o0, o1] = u16::try_from(TCP_CHECKSUM).ok()?.to_ne_bytes();
        *header = [NEEDS_CHECKSUM, kind, h0, h1, s0, s1, c0, c1, o0, o1];
        Some(())
    }
}

/// A segment that others may follow: plain TCP with nothing but data, whose checksum is right. The kernel will not look at it
/// again.
fn segment(packet: &[u8]) -> Option<Open> {
    let tcp = match packet.first()? {
        0x45 if half(packet, 6)? & 0x3fff == 0 && *packet.get(9)? == TCP => {
            (usize::from(half(packet, 2)?) == packet.len()).then_some(IPV4)?
        }
        first if first >> 4 == 6 && *packet.get(6)? == TCP => {
            (usize::from(half(packet, 4)?).checked_add(IPV6)? == packet.len()).then_some(IPV6)?
        }
        _ => return None,
    };
    if tcp == IPV4 && fold(sum(0, packet.get(..IPV4)?)) != 0 {
        return None;
    }
    let payload = tcp.checked_add(usize::from(packet.get(tcp.checked_add(12)?)? >> 4).checked_mul(4)?)?;
    let flags = *packet.get(tcp.checked_add(13)?)?;
    let size = packet.len().checked_sub(payload)?;
    let plain = payload >= tcp.checked_add(20)? && flags & !PUSH == ACK && size >= WORTH;
    if !plain || fold(sum(pseudo(packet, tcp, TCP)?, packet.get(tcp..)?)) != 0 {
        return None;
    }
    let next = word(packet, tcp.checked_add(4)?)?.wrapping_add(u32::try_from(size).ok()?);
    Some(Open { tcp, payload, size, next, count: 1 })
}

fn is_pushed(packet: &[u8], tcp: usize) -> bool {
    packet.get(tcp.saturating_add(13)).is_some_and(|flags| flags & PUSH != 0)
}

/// Whether a segment is the next one of the same connection, and says the same but for its data.
fn fits(open: &Open, joined: &[u8], new: &Open, packet: &[u8]) -> bool {
    let payload = packet.len().saturating_sub(new.payload);
    let same = |range: core::ops::Range<usize>| joined.get(range.clone()) == packet.get(range);
    let tcp = new.tcp;
    let ip = match packet.first().map(|first| first >> 4) {
        // All but length, identification, checksum.
        Some(4) => same(0..2) && same(6..10) && same(12..20),
        _ => same(0..4) && same(6..40),
    };
    open.tcp == tcp
        && open.payload == new.payload
        && payload <= open.size
        && joined.len().saturating_add(payload) <= LONGEST
        && word(packet, tcp + 4) == Some(open.next)
        // Ports; acknowledgement and header length; window; options.
        && same(tcp..tcp + 4)
        && same(tcp + 8..tcp + 13)
        && same(tcp + 14..tcp + 16)
        && same(tcp + 18..new.payload)
        && ip
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// A segment of a connection, whole.
    fn tcp(v6: bool, sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = match v6 {
            false => vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, TCP, 0, 0, 10, 9, 0, 2, 10, 1, 0, 10],
            true => [&[0x60, 0, 0, 0, 0, 0, TCP, 64][..], &[0xfd; 32]].concat(),
        };
        let start = packet.len();
        packet.extend([0x12, 0x34, 0, 80]);
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(data);
        set_lengths(&mut packet, 0).unwrap();
        set_checksum(&mut packet, start, TCP_CHECKSUM, TCP).unwrap();
        packet
    }

    fn joined(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut joiner, mut written) = (Joiner::default(), Vec::new());
        for packet in packets {
            joiner.add(packet, |octets| written.push(octets.to_vec()));
        }
        joiner.finish(|octets| written.push(octets.to_vec()));
        written
    }

    /// As the kernel would have them again, identifications aside.
    fn splitted(written: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        written.iter().for_each(|octets| split(octets, |packet| all.push(packet.to_vec())));
        all
    }

    fn same_id(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let one = |packet: &Vec<u8>| {
            let mut packet = packet.clone();
            if packet.first().is_some_and(|first| first >> 4 == 4) {
                put(&mut packet, 4, 7).unwrap();
                set_lengths(&mut packet, 0).unwrap();
            }
            packet
        };
        packets.iter().map(one).collect()
    }

    #[test]
    fn segments_that_follow_each_other_become_one_and_come_apart_again() {
        for v6 in [false, true] {
            let data: Vec<u8> = (0..=255).cycle().take(1300).collect();
            let mut all: Vec<Vec<u8>> = (0..5).map(|n| tcp(v6, 100 + n * 1300, ACK, &data)).collect();
            all.push(tcp(v6, 100 + 5 * 1300, ACK | PUSH, &data[..700]));
            let written = joined(&all);
            assert_eq!(written.len(), 1);
            assert_eq!(same_id(&splitted(&written)), all);
            let pushed: Vec<u8> =
                splitted(&written).iter().map(|p| p[if v6 { 53 } else { 33 }] & PUSH).collect();
            assert_eq!(pushed, [0, 0, 0, 0, 0, PUSH]);
        }
    }

    #[test]
    fn what_does_not_follow_stays_what_it_is() {
        let data = [7; 1000];
        let first = tcp(false, 100, ACK, &data);
        let next = || tcp(false, 1100, ACK, &data);
        assert_eq!(joined(&[first.clone(), next()]).len(), 1);
        let mut ttl = next();
        ttl[8] = 3;
        put(&mut ttl, 10, 0).unwrap();
        let header = fold(sum(0, &ttl[..20]));
        put(&mut ttl, 10, header).unwrap();
        let mut damaged = next();
        damaged[400] ^= 1;
        let mut window = next();
        window[34] = 9;
        set_checksum(&mut window, 20, TCP_CHECKSUM, TCP).unwrap();
        for (what, other) in [
            ("a gap", tcp(false, 1101, ACK, &data)),
            ("a longer one", tcp(false, 1100, ACK, &[7; 1200])),
            ("the end", tcp(false, 1100, ACK | FIN, &data)),
            ("another hop limit", ttl),
            ("another window", window),
            ("a wrong checksum", damaged),
            ("an acknowledgement", tcp(false, 1100, ACK, &[])),
            ("another family", tcp(true, 1100, ACK, &data)),
        ] {
            let written = joined(&[first.clone(), other.clone()]);
            assert_eq!(written.len(), 2, "{what}");
            assert_eq!(written[1][HEADER..], other, "{what}: unchanged");
            assert!(written[1][..HEADER].iter().all(|octet| *octet == 0), "{what}");
        }
    }

    #[test]
    fn a_checksum_that_the_kernel_left_is_made() {
        let whole = tcp(false, 1, ACK, b"data");
        let mut left = whole.clone();
        let seed = !fold(pseudo(&left, 20, TCP).unwrap());
        put(&mut left, 36, seed).unwrap();
        let [o0, o1] = 16_u16.to_ne_bytes();
        let [c0, c1] = 20_u16.to_ne_bytes();
        let octets = [&[NEEDS_CHECKSUM, NONE, 0, 0, 0, 0, c0, c1, o0, o1][..], &left].concat();
        assert_eq!(splitted(&[octets]), [whole]);
    }

    #[test]
    fn datagrams_come_apart() {
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 1, 0, 10];
        packet.extend([0, 9, 0, 9, 0, 0, 0, 0]);
        packet.extend([5; 2500]);
        let [s0, s1] = 1000_u16.to_ne_bytes();
        let [c0, c1] = 20_u16.to_ne_bytes();
        let octets = [&[NEEDS_CHECKSUM, UDP, 0, 0, s0, s1, c0, c1, 6, 0][..], &packet].concat();
        let all = splitted(&[octets]);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1028, 1028, 528]);
        for packet in &all {
            assert_eq!(fold(sum(pseudo(packet, 20, 17).unwrap(), &packet[20..])), 0);
            assert_eq!(fold(sum(0, &packet[..20])), 0);
            assert_eq!(usize::from(half(packet, 24).unwrap()), packet.len() - 20);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_joined_comes_apart_to_the_same(
            pieces in vec((0_u32..4, any::<bool>(), 200_usize..400, any::<u8>()), 1..20),
        ) {
            let mut sequence = 0_u32;
            let packets: Vec<Vec<u8>> = pieces
                .iter()
                .map(|(gap, push, length, octet)| {
                    sequence += gap / 3;
                    let packet = tcp(false, sequence, if *push { ACK | PUSH } else { ACK }, &vec![*octet; *length]);
                    sequence += u32::try_from(*length).unwrap();
                    packet
                })
                .collect();
            prop_assert_eq!(same_id(&splitted(&joined(&packets))), packets);
        }

        #[test]
        fn nothing_panics(octets in vec(any::<u8>(), 0..200), kind in 0_u8..7, packets in vec(vec(any::<u8>(), 0..80), 0..4)) {
            split(&octets, |_| {});
            let headed = [&[NEEDS_CHECKSUM, kind, 0, 0, 9, 0, 20, 0, 16, 0][..], &octets].concat();
            let mut length = 0;
            split(&headed, |packet| length += packet.len());
            prop_assert!(length <= octets.len() * octets.len() + octets.len());
            joined(&packets);
        }

        #[test]
        fn the_sum_is_that_of_16_bits_at_a_time(octets in vec(any::<u8>(), 0..50)) {
            let mut words: u64 = 0;
            for pair in octets.chunks(2) {
                words += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            }
            prop_assert_eq!(fold(sum(0, &octets)), fold(words));
        }
    }
}
