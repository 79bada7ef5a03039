//! UDP sockets for IKE: they know the local address of every datagram, mark what they send, and hand ESP in UDP to
//! the kernel before it gets here (RFC 3948).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use adit_core::Path;
use netlink_packet_core::Emitable;
use netlink_packet_xfrm as nl;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, UnknownCmsg, bind, connect, getpeername, getsockname, getsockopt, recvmsg, sendmsg,
    setsockopt, socket, sockopt,
};
use tokio::io::unix::AsyncFd;

/// `linux/udp.h`: ESP in UDP as RFC 3948 has it. libc has no name for it.
const UDP_ENCAP_ESPINUDP: libc::c_int = 2;
/// Room for datagrams that arrive in a burst: a thousand clients that reconnect at once, before they are read.
const RECEIVE_BUFFER: usize = 4 << 20;

/// IP version of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6 only.
    V6,
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct IkeSocket {
    fd: AsyncFd<OwnedFd>,
    family: Family,
    port: u16,
    encapsulates: bool,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes of the buffer that are the datagram.
    pub length: usize,
    /// The address it was sent to, and our port.
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The mark that it came with: [`ChildSa::input_mark`](crate::ChildSa), where IPsec gave it one. 0 where the kernel does not
    /// say (before Linux 5.19).
    pub mark: u32,
}

impl IkeSocket {
    /// Binds `port` (0: any) on every address. With `encapsulates` the kernel takes ESP packets off the socket.
    /// Everything sent carries `mark` (0: none), and no IPsec policy touches what the socket sends and receives: both need
    /// CAP_NET_ADMIN, so that without a mark neither is done.
    ///
    /// # Errors
    /// The system call's.
    pub fn bind(family: Family, port: u16, encapsulates: bool, mark: u32) -> io::Result<Self> {
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let fd = open(family, mark)?;
        if mark != 0 {
            pass_by_ipsec(&fd, family)?;
        }
        Self::bound(fd, family, SocketAddr::new(any, port), encapsulates)
    }

    /// One that a process before has left, as [`IkeSocket::bind`] makes it: the kernel has taken ESP in UDP off it meanwhile, and
    /// what else has come waits in it.
    ///
    /// # Errors
    /// It is another one: not of this family, not bound to this port on every address, or connected; or the system call's.
    pub fn adopt(fd: OwnedFd, family: Family, port: u16, encapsulates: bool, mark: u32) -> io::Result<Self> {
        let no = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let (domain, any) = match family {
            Family::V4 => (libc::AF_INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Family::V6 => (libc::AF_INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let is = |option, value| get(&fd, (libc::SOL_SOCKET, option)).is_ok_and(|is| is == value);
        if !is(libc::SO_DOMAIN, domain) || !is(libc::SO_PROTOCOL, libc::IPPROTO_UDP) {
            return Err(no("it is no UDP socket of this family"));
        }
        let bound = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        if to_std(&bound) != Some(SocketAddr::new(any, port)) || port == 0 {
            return Err(no("it is bound to something else"));
        }
        if getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok() {
            return Err(no("it has a peer"));
        }
        let takes = get(&fd, (libc::SOL_UDP, libc::UDP_ENCAP))?;
        if takes != if encapsulates { UDP_ENCAP_ESPINUDP } else { 0 } {
            return Err(no("it takes something else off"));
        }
        if family == Family::V6 && get(&fd, (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY))? != 1 {
            return Err(no("it is of both families"));
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        prepare(&fd, family, mark)?;
        if mark != 0 {
            pass_by_ipsec(&fd, family)?;
        }
        Ok(Self { fd: register(fd)?, family, port, encapsulates })
    }

    /// Binds this address and port for datagrams that are not IKE's; other sockets of ours may have them too. IPsec policies
    /// hold for what it sends and receives. Everything sent carries `mark` (0: none). It tells the marks of what it receives.
    ///
    /// # Errors
    /// The system call's.
    pub fn share(address: SocketAddr, mark: u32) -> io::Result<Self> {
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        let fd = open(family, mark)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if let Err(error) = tell_marks(&fd) {
            tracing::debug!(%error, "marks of what comes are not told");
        }
        Self::bound(fd, family, address, false)
    }

    /// A shared one that a process before has bound to the path's local end and connected to its remote end.
    ///
    /// # Errors
    /// It is another, or the system call's.
    pub fn adopt_connected(fd: OwnedFd, path: &Path) -> io::Result<Self> {
        let no = || io::Error::new(io::ErrorKind::InvalidData, "it is another socket");
        let ends = (
            to_std(&getsockname::<SockaddrStorage>(fd.as_raw_fd())?),
            to_std(&getpeername::<SockaddrStorage>(fd.as_raw_fd())?),
        );
        let udp = getsockopt(&fd, sockopt::SockType)? == SockType::Datagram;
        if !udp || ends != (Some(path.local), Some(path.remote)) {
            return Err(no());
        }
        let family = if path.local.is_ipv4() { Family::V4 } else { Family::V6 };
        Ok(Self { fd: register(fd)?, family, port: path.local.port(), encapsulates: false })
    }

    /// The opposite of [`IkeSocket::connect`]: others of that port come first from now on, whoever else has this one open.
    ///
    /// # Errors
    /// The system call's.
    pub fn disconnect(&self) -> io::Result<()> {
        disconnect(self.fd.get_ref())
    }

    /// Its descriptor, to be kept by somebody else.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }

    fn bound(fd: OwnedFd, family: Family, address: SocketAddr, encapsulates: bool) -> io::Result<Self> {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        if encapsulates {
            take_esp_in_udp(&fd)?;
        }
        let port =
            to_std(&getsockname::<SockaddrStorage>(fd.as_raw_fd())?).map_or(address.port(), |a| a.port());
        Ok(Self { fd: register(fd)?, family, port, encapsulates })
    }

    /// From now on it takes datagrams of this peer only, before all sockets that have no peer.
    ///
    /// # Errors
    /// The system call's: there is no route.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        connect(self.fd.get_ref().as_raw_fd(), &SockaddrStorage::from(peer)).map_err(io::Error::from)
    }

    /// What is sent from now on carries this mark.
    ///
    /// # Errors
    /// The system call's: it needs CAP_NET_ADMIN.
    pub fn mark(&self, mark: u32) -> io::Result<()> {
        setsockopt(self.fd.get_ref(), sockopt::Mark, &mark).map_err(io::Error::from)
    }

    /// The port that it is bound to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is an IPv4 socket.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        matches!(self.family, Family::V4)
    }

    /// Whether ESP in UDP goes over it too, so that IKE messages carry a Non-ESP marker.
    #[must_use]
    pub const fn encapsulates(&self) -> bool {
        self.encapsulates
    }

    /// Waits until there may be a datagram.
    pub async fn readable(&self) {
        // Fails only when the runtime is shutting down.
        if let Ok(mut guard) = self.fd.readable().await {
            guard.retain_ready();
        }
    }

    /// Takes a datagram, if there is one.
    ///
    /// # Errors
    /// The system call's, an ICMP error of an earlier datagram among them.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        match self.fd.try_io_read(|fd| self.receive_now(fd, buffer)) {
            Some(Ok(received)) => Ok(Some(received)),
            Some(Err(e)) => Err(e),
            None => Ok(None),
        }
    }

    /// Sends the concatenated parts. A full socket buffer is `WouldBlock`.
    ///
    /// # Errors
    /// The system call's.
    pub fn send(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let parts: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let to = SockaddrStorage::from(path.remote);
        let fd = self.fd.get_ref().as_raw_fd();
        let sent = match path.local.ip() {
            IpAddr::V4(a) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(a.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                sendmsg(fd, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to))
            }
            IpAddr::V6(a) => {
                let info =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: a.octets() }, ipi6_ifindex: 0 };
                sendmsg(fd, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&to))
            }
        };
        sent.map(|_| ()).map_err(io::Error::from)
    }

    fn receive_now(&self, fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = cmsg_space!(libc::in6_pktinfo, u32);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            fd.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let local = message.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Ipv4PacketInfo(i) => {
                Some(IpAddr::V4(Ipv4Addr::from(i.ipi_addr.s_addr.to_ne_bytes())))
            }
            ControlMessageOwned::Ipv6PacketInfo(i) => Some(IpAddr::V6(Ipv6Addr::from(i.ipi6_addr.s6_addr))),
            _ => None,
        });
        let mark = message.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Unknown(other) => mark_of(&other),
            _ => None,
        });
        let remote = message.address.as_ref().and_then(to_std);
        match (local, remote) {
            (Some(local), Some(remote)) => Ok(Received {
                length: message.bytes,
                local: SocketAddr::new(local, self.port),
                remote,
                mark: mark.unwrap_or_default(),
            }),
            _ => Err(Errno::ENODATA.into()),
        }
    }
}

impl AsFd for IkeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

/// A socket that knows the local address of every datagram, not bound yet.
fn open(family: Family, mark: u32) -> io::Result<OwnedFd> {
    let address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(address_family, SockType::Datagram, flags, SockProtocol::Udp)?;
    if family == Family::V6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    prepare(&fd, family, mark)?;
    Ok(fd)
}

/// What it tells of datagrams, what it gives them, and how many it holds.
fn prepare(fd: &OwnedFd, family: Family, mark: u32) -> io::Result<()> {
    match family {
        Family::V4 => setsockopt(fd, sockopt::Ipv4PacketInfo, &true)?,
        Family::V6 => setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    if mark != 0 {
        setsockopt(fd, sockopt::Mark, &mark)?;
    }
    // With CAP_NET_ADMIN beyond the system's limit, which a flood fills in the time that a busy processor takes to
    // come back to us; without it as much as that allows.
    if setsockopt(fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = setsockopt(fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
    Ok(())
}

/// A mark, where that is what it is.
fn mark_of(message: &UnknownCmsg) -> Option<u32> {
    let header = &message.cmsg_header;
    let is_mark = (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SO_MARK);
    is_mark.then(|| message.data_bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))).flatten()
}

trait TryRead {
    fn try_io_read<R>(&self, read: impl FnOnce(&OwnedFd) -> io::Result<R>) -> Option<io::Result<R>>;
}

impl TryRead for AsyncFd<OwnedFd> {
    /// `None` when there is nothing to read; readiness is then waited for anew.
    fn try_io_read<R>(&self, read: impl FnOnce(&OwnedFd) -> io::Result<R>) -> Option<io::Result<R>> {
        match self.try_io(tokio::io::Interest::READABLE, read) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            other => Some(other),
        }
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    // The scope of a link-local peer belongs to the address; flow labels do not.
    address.as_sockaddr_in6().map(|v6| SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id()).into())
}

/// Has a socket of UDP no peer any more.
#[allow(unsafe_code)]
fn disconnect(fd: &impl AsFd) -> io::Result<()> {
    let nobody = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or_default(),
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the pointer is to a sockaddr of this length that lives until the call returns.
    Errno::result(unsafe { libc::connect(fd.as_fd().as_raw_fd(), &raw const nobody, length) })
        .map(drop)
        .map_err(io::Error::from)
}

/// Puts a descriptor under tokio's watch.
#[allow(unsafe_code)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always gives the same descriptor, and closes it only when the AsyncFd that owns it
    // is dropped; nobody here takes it out.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Makes the kernel take ESP in UDP off the socket.
fn take_esp_in_udp(fd: &impl AsFd) -> io::Result<()> {
    set(fd, (libc::SOL_UDP, libc::UDP_ENCAP), UDP_ENCAP_ESPINUDP)
}

/// Makes the kernel tell the mark of what comes (Linux 5.19).
fn tell_marks(fd: &impl AsFd) -> io::Result<()> {
    set(fd, (libc::SOL_SOCKET, libc::SO_RCVMARK), 1)
}

/// An option that nix has not.
#[allow(unsafe_code)]
fn set(fd: &impl AsFd, (level, option): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live c_int, and the descriptor is borrowed, so open.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// The value of an option that nix has not.
#[allow(unsafe_code)]
fn get(fd: &impl AsFd, (level, option): (libc::c_int, libc::c_int)) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: both pointers are those of live variables, the second of which has the length of the first, and the descriptor is
    // borrowed, so open.
    let result = unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    };
    Errno::result(result).map(|_| value).map_err(io::Error::from)
}

/// IKE protects itself: a policy between the two outer addresses, as transport mode has it, would put it into ESP that the
/// peer can't read yet (RFC 4301 §4.4.1, RFC 7296 §2.23).
#[allow(unsafe_code)]
fn pass_by_ipsec(fd: &impl AsFd, family: Family) -> io::Result<()> {
    let (level, option, address_family) = match family {
        Family::V4 => (libc::SOL_IP, libc::IP_XFRM_POLICY, libc::AF_INET),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_XFRM_POLICY, libc::AF_INET6),
    };
    for direction in [nl::XFRM_POLICY_IN, nl::XFRM_POLICY_OUT] {
        let mut policy =
            nl::UserPolicyInfo { direction, action: nl::XFRM_POLICY_ALLOW, ..Default::default() };
        policy.selector.family = u16::try_from(address_family).unwrap_or_default();
        let mut bytes = vec![0; policy.buffer_len()];
        policy.emit(&mut bytes);
        // SAFETY: the pointer and the length are those of a live vector, and the descriptor is borrowed, so open. nix has
        // no IP_XFRM_POLICY.
        let result = unsafe {
            libc::setsockopt(
                fd.as_fd().as_raw_fd(),
                level,
                option,
                bytes.as_ptr().cast(),
                libc::socklen_t::try_from(bytes.len()).unwrap_or_default(),
            )
        };
        Errno::result(result)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs CAP_NET_ADMIN; that IKE really passes by shows in the lab's transport mode.
    #[test]
    fn a_marked_socket_passes_by_ipsec() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _guard = runtime.enter();
        for family in [Family::V4, Family::V6] {
            match IkeSocket::bind(family, 0, true, 1) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => eprintln!("skipped: {e}"),
                other => assert!(other.is_ok(), "{family:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn whoever_goes_on_has_what_came_meanwhile() {
        let peer = IkeSocket::bind(Family::V4, 0, false, 0).unwrap();
        for (family, encapsulates) in [(Family::V4, false), (Family::V4, true), (Family::V6, true)] {
            let left = IkeSocket::bind(family, 0, encapsulates, 0).unwrap();
            let (port, fd) = (left.port(), left.as_fd().try_clone_to_owned().unwrap());
            drop(left);
            if family == Family::V4 {
                let here = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
                let path = Path { local: here(peer.port()), remote: here(port) };
                peer.send(&path, &[&[0; 4], b"hello"]).unwrap();
            }
            let again = |family, port, encapsulates| {
                IkeSocket::adopt(fd.try_clone().unwrap(), family, port, encapsulates, 0)
            };
            let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
            assert!(again(other, port, encapsulates).is_err());
            assert!(again(family, port.wrapping_add(1), encapsulates).is_err());
            assert!(again(family, port, !encapsulates).is_err());
            let next = again(family, port, encapsulates).unwrap();
            if family == Family::V4 {
                next.readable().await;
                assert_eq!(next.receive(&mut [0; 16]).unwrap().unwrap().length, 9);
            }
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(IkeSocket::adopt(file.into(), Family::V4, 500, false, 0).is_err());
    }

    #[tokio::test]
    async fn knows_where_a_datagram_was_sent_to() {
        let a = IkeSocket::bind(Family::V4, 0, false, 0).unwrap();
        let b = IkeSocket::bind(Family::V4, 0, true, 0).unwrap();
        let path = Path {
            local: SocketAddr::new("127.0.0.2".parse().unwrap(), a.port()),
            remote: SocketAddr::new("127.0.0.3".parse().unwrap(), b.port()),
        };
        a.send(&path, &[&[0, 0, 0, 0], b"hello"]).unwrap();
        b.readable().await;
        let mut buffer = [0; 100];
        let received = b.receive(&mut buffer).unwrap().unwrap();
        assert_eq!((received.local, received.remote, received.length), (path.remote, path.local, 9));
        assert!(b.receive(&mut buffer).unwrap().is_none());
    }

    /// Needs CAP_NET_ADMIN; on its way through one host a datagram keeps the mark that it was sent with.
    #[tokio::test]
    async fn what_comes_tells_its_mark() {
        let here = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let [a, b] = match [(); 2].map(|()| IkeSocket::share(here(0), 5)) {
            [Ok(a), Ok(b)] => [a, b],
            other => return eprintln!("skipped: {other:?}"),
        };
        let path = Path { local: here(a.port()), remote: here(b.port()) };
        let mut buffer = [0; 16];
        for mark in [5, 0xAD00_0007, 0] {
            a.mark(mark).unwrap();
            a.send(&path, &[b"hello"]).unwrap();
            b.readable().await;
            let received = b.receive(&mut buffer).unwrap().unwrap();
            assert_eq!((received.length, received.mark), (5, mark));
        }
    }

    #[tokio::test]
    async fn esp_in_udp_never_reaches_the_daemon() {
        let a = IkeSocket::bind(Family::V4, 0, false, 0).unwrap();
        let b = IkeSocket::bind(Family::V4, 0, true, 0).unwrap();
        let here = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let path = Path { local: here(a.port()), remote: here(b.port()) };
        a.send(&path, &[&[1, 2, 3, 4], &[0; 20]]).unwrap();
        a.send(&path, &[&[0, 0, 0, 0], b"ike"]).unwrap();
        b.readable().await;
        let mut buffer = [0; 100];
        let received = b.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(buffer.get(..received.length), Some(&b"\0\0\0\0ike"[..]));
    }
}
