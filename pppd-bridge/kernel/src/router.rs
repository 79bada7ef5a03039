//! The sockets of a router of one link: ICMPv6 for its advertisements, and the port of DHCPv6 servers.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_int};
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind,
    recvmsg, sendto, setsockopt, socket, sockopt,
};
use tokio::io::unix::AsyncFd;

use crate::{PppError, ioctl};

/// ff02::1, ff02::2, ff02::1:2: all nodes, all routers, all servers of DHCPv6 of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Of DHCPv6 servers (RFC 8415 §7.2).
pub(crate) const SERVER_PORT: u16 = 547;
/// What has crossed no router (RFC 4861 §6.1.1).
pub(crate) const UNROUTED: u8 = 255;
/// `linux/icmpv6.h`.
const ICMP6_FILTER: c_int = 1;
const SOLICITATION: u8 = 133;
/// The longest message that is read, in octets.
const LONGEST: usize = 1500;

/// What came.
#[derive(Debug)]
pub enum Heard {
    /// A Router Solicitation that no router has forwarded.
    Icmp(Vec<u8>),
    /// A datagram of a DHCPv6 client, and where it is.
    Dhcp(Vec<u8>, SocketAddrV6),
}

/// The sockets. They hear and reach this one link only.
#[derive(Debug)]
pub struct RouterSockets {
    icmp: AsyncFd<OwnedFd>,
    dhcp: AsyncFd<OwnedFd>,
    index: u32,
}

impl RouterSockets {
    /// Opens them on an interface that is up, of that name and index. Needs CAP_NET_RAW and CAP_NET_BIND_SERVICE, and a tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses: it has no IPv6.
    pub fn open(name: &str, index: u32) -> Result<Self, PppError> {
        let icmp = open_icmp(name, index).map_err(PppError::refused("a socket for router advertisements"))?;
        let dhcp = open_dhcp(name, index).map_err(PppError::refused("port 547 for DHCPv6"))?;
        Ok(Self { icmp: ioctl::register(icmp)?, dhcp: ioctl::register(dhcp)?, index })
    }

    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn receive(&self) -> io::Result<Heard> {
        tokio::select! {
            octets = self.solicitation() => octets.map(Heard::Icmp),
            asked = self.datagram() => asked.map(|(octets, from)| Heard::Dhcp(octets, from)),
        }
    }

    async fn solicitation(&self) -> io::Result<Vec<u8>> {
        loop {
            let (octets, _, hops) = receive(&self.icmp).await?;
            if hops == Some(UNROUTED) {
                return Ok(octets);
            }
        }
    }

    async fn datagram(&self) -> io::Result<(Vec<u8>, SocketAddrV6)> {
        loop {
            if let (octets, Some(from), _) = receive(&self.dhcp).await? {
                return Ok((octets, from));
            }
        }
    }

    /// Sends an ICMPv6 message to all nodes of the link; the kernel makes its checksum. What finds no room is lost.
    pub fn advertise(&self, message: &[u8]) {
        send(&self.icmp, message, SocketAddrV6::new(ALL_NODES, 0, 0, self.index));
    }

    /// Answers a client of DHCPv6.
    pub fn answer(&self, datagram: &[u8], client: SocketAddrV6) {
        send(&self.dhcp, datagram, client);
    }
}

fn open_icmp(name: &str, index: u32) -> nix::Result<OwnedFd> {
    let fd = icmp(name, SOLICITATION)?;
    join(&fd, ALL_ROUTERS, index)?;
    Ok(fd)
}

/// A socket that hears ICMPv6 messages of one type on the link of that name.
pub(crate) fn icmp(name: &str, kind: u8) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    // A bit for each type: those that are set are not heard.
    let mut filter = [u32::MAX; 8];
    if let Some(word) = filter.get_mut(usize::from(kind / 32)) {
        *word &= !(1 << (kind % 32));
    }
    set(&fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)?;
    setsockopt(&fd, sockopt::BindToDevice, &OsStr::new(name).to_owned())?;
    setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true)?;
    setsockopt(&fd, sockopt::Ipv6MulticastHops, &c_int::from(UNROUTED))?;
    Ok(fd)
}

fn open_dhcp(name: &str, index: u32) -> nix::Result<OwnedFd> {
    let fd = dhcp(name, SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0))?;
    join(&fd, ALL_SERVERS, index)?;
    Ok(fd)
}

/// A socket that sends and hears datagrams of this address and port on the link of that name.
pub(crate) fn dhcp(name: &str, at: SocketAddrV6) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet6, SockType::Datagram, flags, None)?;
    // Somebody else may have the port on other links.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&fd, sockopt::BindToDevice, &OsStr::new(name).to_owned())?;
    bind(fd.as_raw_fd(), &SockaddrIn6::from(at))?;
    Ok(fd)
}

fn join(fd: &OwnedFd, group: Ipv6Addr, index: u32) -> nix::Result<()> {
    let request = libc::ipv6_mreq {
        ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
        ipv6mr_interface: index,
    };
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)
}

/// What `nix` has no name for.
fn set<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> nix::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel reads `length` octets, which are those of `value`.
    let done =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    Errno::result(done).map(drop)
}

/// A message, who sent it, and its hop limit where that was asked for.
pub(crate) type Received = (Vec<u8>, Option<SocketAddrV6>, Option<u8>);

pub(crate) async fn receive(fd: &AsyncFd<OwnedFd>) -> io::Result<Received> {
    loop {
        let mut guard = fd.readable().await?;
        match guard.try_io(|fd| Ok(read(fd.get_ref())?)) {
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(received) => return received,
            Err(_would_block) => {}
        }
    }
}

fn read(fd: &OwnedFd) -> nix::Result<Received> {
    let mut octets = vec![0; LONGEST];
    let mut control = cmsg_space!(c_int);
    let (length, from, hops) = {
        let mut parts = [IoSliceMut::new(&mut octets)];
        let got = recvmsg::<SockaddrIn6>(fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let hops = got.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Ipv6HopLimit(hops) => u8::try_from(hops).ok(),
            _ => None,
        });
        (got.bytes, got.address.map(SocketAddrV6::from), hops)
    };
    octets.truncate(length);
    Ok((octets, from, hops))
}

pub(crate) fn send(fd: &AsyncFd<OwnedFd>, octets: &[u8], to: SocketAddrV6) {
    if let Err(error) = sendto(fd.get_ref().as_raw_fd(), octets, &SockaddrIn6::from(to), MsgFlags::empty()) {
        tracing::debug!(%error, %to, "not sent");
    }
}
