//! Frames of this process in the kernel's PPP. The kernel has no channel that user space feeds without a terminal's line
//! discipline, which is slow and merges frames; but its L2TP is one: a session (`PX_PROTO_OL2TP`) whose UDP goes over loopback
//! to a socket of our own. No other process's datagrams come in between: both sockets are connected to each other.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{self as sock, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sockopt};
use tokio::io::unix::AsyncFd;

use crate::segments::Segments;
use crate::{Channel, PppError, ioctl, scratch};

/// `linux/if_pppox.h`.
const PX_PROTO_OL2TP: libc::c_int = 1;
/// `struct sockaddr_pppol2tp`, packed: family, protocol, process, descriptor, address, and four IDs.
const ADDRESS_LEN: usize = 38;
/// Of UDP_ENCAP (`linux/udp.h`): the socket is an L2TP tunnel's.
const UDP_ENCAP_L2TPINUDP: libc::c_int = 3;
/// A data message of L2TP version 2 without any optional field (RFC 2661 §3.1).
const FLAGS: [u8; 2] = [0x00, 0x02];
/// Flags, Tunnel ID, Session ID.
pub(crate) const HEADER: usize = 6;
/// PPP's address and control, which the kernel writes.
const ALL_STATIONS: [u8; 2] = [0xff, 0x03];
/// The one session of a tunnel.
const SESSION: u16 = 1;
/// Tunnel IDs are one set for a network namespace: most others count from 1.
static NEXT: AtomicU16 = AtomicU16::new(0xc000);
/// How many may be somebody else's, one after the other.
const TRIES: usize = 512;
/// Octets, as SO_RCVBUF counts, that wait here while nobody reads them: some 500 packets, as many as a TUN keeps.
const WAITING: usize = 600_000;

/// A channel of the kernel whose frames this process has. Closing it may take 20 ms and belongs on a thread that may block.
#[derive(Debug)]
pub struct Feed {
    // In the order in which they are closed.
    channel: Channel,
    _session: OwnedFd,
    _tunnel: OwnedFd,
    _theirs: OwnedFd,
    ours: AsyncFd<OwnedFd>,
    header: [u8; HEADER],
    segments: Mutex<Segments>,
}

impl Feed {
    /// Whether this kernel has what it takes; loads the module if it can.
    ///
    /// # Errors
    /// What is missing, as a person meets it.
    pub fn probe() -> Result<(), PppError> {
        crate::probe()?;
        open().map(drop)
    }

    /// Makes one. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no PPP or no L2TP, or refuses.
    pub fn make() -> Result<Self, PppError> {
        let (theirs, ours, at_ours) = pair()?;
        // Without the right to a longer one the usual one serves.
        let _ = sock::setsockopt(&ours, sockopt::RcvBufForce, &WAITING);
        let (tunnel, id) = tunnel(theirs.as_fd(), at_ours)?;
        let session = open()?;
        connect(session.as_fd(), &address(theirs.as_fd(), at_ours, id, SESSION))
            .map_err(PppError::refused("a session of L2TP"))?;
        let channel = Channel::attach(session.as_fd())?;
        let (header, ours) = (header(id), ioctl::register(ours)?);
        let segments = Mutex::default();
        Ok(Self { channel, _session: session, _tunnel: tunnel, _theirs: theirs, ours, header, segments })
    }

    /// The channel, for [`Unit::connect`](crate::Unit::connect).
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits for the next frame that the kernel sends: its protocol in two octets, then the packet. Cancel-safe.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn receive<R>(&self, mut take: impl FnMut(&[u8]) -> R) -> io::Result<R> {
        loop {
            let mut guard = self.ours.readable().await?;
            match guard.try_io(|_| Ok(self.read(&mut take)?)) {
                Ok(Ok(Some(taken))) => return Ok(taken),
                Ok(Err(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                // Nobody's, or none at all.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The same, if one waits already.
    pub fn receive_now<R>(&self, mut take: impl FnMut(&[u8]) -> R) -> Option<R> {
        loop {
            match self.read(&mut take) {
                Ok(None) => {}
                Ok(Some(taken)) => return Some(taken),
                Err(_) => return None,
            }
        }
    }

    fn read<R>(&self, take: &mut impl FnMut(&[u8]) -> R) -> nix::Result<Option<R>> {
        scratch::with(|buffer| {
            let length = sock::recv(self.ours.get_ref().as_raw_fd(), buffer, MsgFlags::empty())?;
            Ok(frame(self.header, buffer.get(..length).unwrap_or_default()).map(&mut *take))
        })
    }

    /// Sends a frame into the kernel, with the next [`Feed::flush`] at the latest. One that finds no room is lost, as on any line.
    pub fn send(&self, frame: &[u8]) {
        let mut segments = self.segments();
        if !segments.fits(HEADER + frame.len()) {
            self.write(&mut segments);
        }
        segments.push([&self.header, frame]);
    }

    /// Nothing more comes for now.
    pub fn flush(&self) {
        self.write(&mut self.segments());
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, segments: &mut Segments) {
        if let Err(error) = segments.send(self.ours.get_ref().as_fd()) {
            tracing::debug!(%error, "frames were not taken");
        }
    }
}

fn header(id: u16) -> [u8; HEADER] {
    let ([f0, f1], [t0, t1], [s0, s1]) = (FLAGS, id.to_be_bytes(), SESSION.to_be_bytes());
    [f0, f1, t0, t1, s0, s1]
}

/// What is in a message of our session.
fn frame(header: [u8; HEADER], message: &[u8]) -> Option<&[u8]> {
    let frame = message.strip_prefix(&header)?;
    Some(frame.strip_prefix(&ALL_STATIONS).unwrap_or(frame)).filter(|frame| frame.len() >= 2)
}

/// A tunnel of our own, and its ID.
fn tunnel(theirs: BorrowedFd<'_>, peer: SocketAddrV4) -> Result<(OwnedFd, u16), PppError> {
    for _ in 0..TRIES {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        if id == 0 {
            continue;
        }
        let fd = open()?;
        match connect(fd.as_fd(), &address(theirs, peer, id, 0)) {
            // Where there is a tunnel of that ID, the kernel takes it, whosever it is.
            Ok(()) if carries_a_tunnel(theirs)? => return Ok((fd, id)),
            Ok(()) | Err(Errno::EEXIST | Errno::EALREADY | Errno::EISCONN) => {}
            Err(errno) => return Err(PppError::Refused { what: "a tunnel of L2TP", errno }),
        }
    }
    Err(PppError::Refused { what: "a tunnel of L2TP", errno: Errno::EEXIST })
}

/// Two UDP sockets of loopback, connected to each other, and where the second one is.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd, SocketAddrV4), PppError> {
    let (one, other) = (udp()?, udp()?);
    let (at_one, at_other) = (bound(one.as_fd())?, bound(other.as_fd())?);
    let join = PppError::refused("a pair of sockets");
    sock::connect(one.as_raw_fd(), &SockaddrIn::from(at_other)).map_err(&join)?;
    sock::connect(other.as_raw_fd(), &SockaddrIn::from(at_one)).map_err(&join)?;
    // What came before they were connected may be anybody's.
    while sock::recv(other.as_raw_fd(), &mut [0], MsgFlags::empty()).is_ok() {}
    Ok((one, other, at_other))
}

fn udp() -> Result<OwnedFd, PppError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = sock::socket(AddressFamily::Inet, SockType::Datagram, flags, None);
    let fd = fd.map_err(PppError::refused("a UDP socket"))?;
    sock::bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))
        .map_err(PppError::refused("a UDP port of loopback"))?;
    Ok(fd)
}

fn bound(fd: BorrowedFd<'_>) -> Result<SocketAddrV4, PppError> {
    let address: SockaddrIn =
        sock::getsockname(fd.as_raw_fd()).map_err(PppError::refused("a UDP port of loopback"))?;
    Ok(address.into())
}

pub(crate) fn open() -> Result<OwnedFd, PppError> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_PPPOX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, PX_PROTO_OL2TP) };
    match Errno::result(fd) {
        // SAFETY: the descriptor was just made, and nobody else owns it.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(errno) => Err(PppError::NoL2tp(errno)),
    }
}

/// `struct sockaddr_pppol2tp`. A tunnel has the session 0.
fn address(tunnel: BorrowedFd<'_>, peer: SocketAddrV4, id: u16, session: u16) -> [u8; ADDRESS_LEN] {
    let family = |family: libc::c_int| u16::try_from(family).unwrap_or_default().to_ne_bytes();
    let parts: [&[u8]; 12] = [
        &family(libc::AF_PPPOX),
        &PX_PROTO_OL2TP.to_ne_bytes(),
        // The process: this one.
        &0_i32.to_ne_bytes(),
        &tunnel.as_raw_fd().to_ne_bytes(),
        &family(libc::AF_INET),
        &peer.port().to_be_bytes(),
        &peer.ip().octets(),
        &[0; 8],
        &id.to_ne_bytes(),
        &session.to_ne_bytes(),
        &id.to_ne_bytes(),
        &session.to_ne_bytes(),
    ];
    let mut out = [0; ADDRESS_LEN];
    out.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    out
}

const LENGTH: libc::socklen_t = ADDRESS_LEN as libc::socklen_t;

fn connect(fd: BorrowedFd<'_>, address: &[u8; ADDRESS_LEN]) -> Result<(), Errno> {
    // SAFETY: the pointer is to `LENGTH` octets that live until the call returns.
    Errno::result(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), LENGTH) }).map(drop)
}

/// Whether this UDP socket is a tunnel's by now.
fn carries_a_tunnel(fd: BorrowedFd<'_>) -> Result<bool, PppError> {
    let (mut kind, mut length): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel writes at most `length` octets to `kind`, which has as many, and the length itself.
    let asked = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_ENCAP,
            (&raw mut kind).cast(),
            &raw mut length,
        )
    };
    Errno::result(asked).map_err(PppError::refused("what a socket carries"))?;
    Ok(kind == UDP_ENCAP_L2TPINUDP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn the_address_is_laid_out_as_the_kernel_reads_it() {
        let stdin = std::io::stdin();
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0x1234);
        let bytes = address(stdin.as_fd(), peer, 0xc001, 7);
        assert_eq!(bytes[..6], [24, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[14..22], [2, 0, 0x12, 0x34, 127, 0, 0, 1]);
        let ids: Vec<u16> = bytes[30..].chunks(2).map(|id| u16::from_ne_bytes([id[0], id[1]])).collect();
        assert_eq!(ids, [0xc001, 7, 0xc001, 7]);
    }

    #[test]
    fn a_message_of_another_session_is_no_frame() {
        let ours = header(0xc001);
        assert_eq!(frame(ours, &[0, 2, 0xc0, 1, 0, 1, 0xff, 3, 0, 0x21, 0x45]), Some(&[0, 0x21, 0x45][..]));
        assert_eq!(frame(ours, &[0, 2, 0xc0, 1, 0, 1, 0, 0x21, 0x45]), Some(&[0, 0x21, 0x45][..]));
        assert_eq!(frame(ours, &[0, 2, 0xc0, 2, 0, 1, 0xff, 3, 0, 0x21, 0x45]), None);
        assert_eq!(frame(ours, &[0, 2, 0xc0, 1, 0, 1, 0xff, 3]), None);
    }

    proptest! {
        #[test]
        fn a_frame_comes_out_as_it_went_in(id in 1..=u16::MAX, packet in proptest::collection::vec(any::<u8>(), 0..40)) {
            let sent = [&[0, 0x21], &packet[..]].concat();
            let message = [&header(id)[..], &sent].concat();
            prop_assert_eq!(frame(header(id), &message), Some(&sent[..]));
        }
    }
}
