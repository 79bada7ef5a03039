//! Pings: what the kernel at the other end answers by itself (RFC 792).

use std::io::{Error, ErrorKind, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect,
    recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const HEADER: usize = 8;
const PACKET: usize = 64;
const IPV4_HEADER: usize = 20;
const ICMP: u8 = 1;
/// The identifier of who has an address of its own for its pings.
const ALONE: u16 = 1;

/// Those to one host.
pub(crate) struct Pings {
    socket: OwnedFd,
    identifier: u16,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    /// When the request left, and when the answer came, since 1970.
    pub(crate) sent: Duration,
    pub(crate) at: Duration,
}

impl Pings {
    pub(crate) fn to(host: Ipv4Addr) -> std::io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        let [a, b, c, d] = host.octets();
        connect(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 200_000))?;
        // Who is late to read loses nothing.
        setsockopt(&socket, sockopt::RcvBufForce, &(1 << 22))?;
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
        Ok(Self { socket, identifier })
    }

    pub(crate) fn send(&self, number: u64, at: Duration) -> std::io::Result<()> {
        let packet = request(self.identifier, number, at);
        send(self.socket.as_raw_fd(), &packet, MsgFlags::empty())?;
        Ok(())
    }

    /// The next answer; `None`: what came is none.
    pub(crate) fn receive(&self) -> std::io::Result<Option<Answer>> {
        let mut buffer = [0; 2048];
        let mut space = nix::cmsg_space!(TimeSpec);
        let (length, at) = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let got = recvmsg::<SockaddrIn>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                MsgFlags::empty(),
            )?;
            let at = got.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            });
            (got.bytes, at)
        };
        let at = at.ok_or_else(|| Error::new(ErrorKind::Unsupported, "no time stamp"))?;
        Ok(buffer.get(..length).and_then(|packet| answer(packet, self.identifier, at)))
    }
}

fn request(identifier: u16, number: u64, at: Duration) -> [u8; PACKET] {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let sequence = u16::try_from(number & 0xffff).unwrap_or_default();
    let head = [REQUEST, 0, 0, 0].into_iter().chain(identifier.to_be_bytes()).chain(sequence.to_be_bytes());
    let mut packet = [0; PACKET];
    packet
        .iter_mut()
        .zip(head.chain(number.to_be_bytes()).chain(nanos.to_be_bytes()))
        .for_each(|(to, from)| *to = from);
    let sum = checksum(&packet).to_be_bytes();
    packet.iter_mut().skip(2).zip(sum).for_each(|(to, from)| *to = from);
    packet
}

/// A request as a whole packet of IPv4 (RFC 791 §3.1), for who has no interface to send it by.
pub(crate) fn packet(from: Ipv4Addr, to: Ipv4Addr, number: u64) -> Vec<u8> {
    let request = request(ALONE, number, Duration::ZERO);
    let length = u16::try_from(IPV4_HEADER + PACKET).unwrap_or_default().to_be_bytes();
    let header = |sum: [u8; 2]| {
        let fixed = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, ICMP, sum[0], sum[1]];
        [&fixed[..], &from.octets(), &to.octets()].concat()
    };
    let sum = checksum(&header([0, 0])).to_be_bytes();
    [&header(sum)[..], &request].concat()
}

/// Whether a packet of IPv4 answers that one.
pub(crate) fn answers(packet: &[u8], number: u64) -> bool {
    answer(packet, ALONE, Duration::ZERO).is_some_and(|answer| answer.number == number)
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet
        .chunks(2)
        .map(|w| u32::from(w.first().copied().unwrap_or(0)) << 8 | u32::from(w.get(1).copied().unwrap_or(0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default()
}

/// From a packet with its IPv4 header.
fn answer(packet: &[u8], identifier: u16, at: Duration) -> Option<Answer> {
    let icmp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let ours = *icmp.first()? == REPLY && icmp.get(4..6)? == identifier.to_be_bytes();
    let word = |at: usize| Some(u64::from_be_bytes(*icmp.get(at..)?.first_chunk()?));
    let (number, sent) = (word(HEADER)?, Duration::from_nanos(word(HEADER + 8)?));
    ours.then_some(Answer { number, sent, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_packet_has_a_right_header() {
        let [from, to] = [[10, 9, 0, 2], [10, 9, 0, 1]].map(Ipv4Addr::from);
        let mut whole = packet(from, to, 7);
        assert_eq!((whole.len(), checksum(&whole[..20]), checksum(&whole[20..])), (84, 0, 0));
        assert_eq!(whole[12..20], [10, 9, 0, 2, 10, 9, 0, 1]);
        assert!(!answers(&whole, 7), "a request is none");
        whole[20] = REPLY;
        assert!(answers(&whole, 7) && !answers(&whole, 8));
    }

    #[test]
    fn a_request_that_comes_back_is_an_answer() {
        let sent = Duration::new(7, 8);
        let mut packet = request(0x1234, 70_000, sent);
        assert_eq!(checksum(&packet), 0, "a right checksum makes the sum of all nothing");
        let at = Duration::new(9, 0);
        let with_header = |packet: &[u8]| [&[0x45; 20], packet].concat();
        assert_eq!(answer(&with_header(&packet), 0x1234, at), None, "a request is none");
        packet[0] = REPLY;
        assert_eq!(answer(&with_header(&packet), 0x1234, at), Some(Answer { number: 70_000, sent, at }));
        assert_eq!(answer(&with_header(&packet), 0x1235, at), None);
        assert_eq!(answer(&with_header(&packet[..20]), 0x1234, at), None);
    }
}
