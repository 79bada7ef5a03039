//! The sockets of a host on its link: ICMPv6, to look for a router, and the port of DHCPv6 clients.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

use crate::router::{ALL_ROUTERS, ALL_SERVERS, SERVER_PORT, UNROUTED, dhcp, icmp, receive, send};
use crate::{PppError, ioctl};

const ADVERTISEMENT: u8 = 134;
/// Of DHCPv6 clients (RFC 8415 §7.2).
const CLIENT_PORT: u16 = 546;

/// What came, of a link-local address.
#[derive(Debug)]
pub enum HostHeard {
    /// A Router Advertisement that no router has forwarded (RFC 4861 §6.1.2).
    Icmp(Vec<u8>),
    /// A datagram to the port of DHCPv6 clients.
    Dhcp(Vec<u8>),
}

/// The sockets. They hear and reach this one link only.
#[derive(Debug)]
pub struct HostSockets {
    icmp: AsyncFd<OwnedFd>,
    dhcp: AsyncFd<OwnedFd>,
    index: u32,
}

impl HostSockets {
    /// Opens them on an interface that is up, of that name and index, where it has that link-local address. Needs CAP_NET_RAW and
    /// CAP_NET_BIND_SERVICE, and a tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses: it has no IPv6, or the address is not there.
    pub fn open(name: &str, index: u32, local: Ipv6Addr) -> Result<Self, PppError> {
        let icmp =
            icmp(name, ADVERTISEMENT).map_err(PppError::refused("a socket for router advertisements"))?;
        // Others have the port at their own addresses.
        let dhcp = dhcp(name, SocketAddrV6::new(local, CLIENT_PORT, 0, index))
            .map_err(PppError::refused("port 546 for DHCPv6"))?;
        Ok(Self { icmp: ioctl::register(icmp)?, dhcp: ioctl::register(dhcp)?, index })
    }

    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn receive(&self) -> io::Result<HostHeard> {
        loop {
            let (heard, from, unrouted) = tokio::select! {
                got = receive(&self.icmp) => got.map(|(o, from, hops)| (HostHeard::Icmp(o), from, hops == Some(UNROUTED)))?,
                got = receive(&self.dhcp) => got.map(|(o, from, _)| (HostHeard::Dhcp(o), from, true))?,
            };
            if unrouted && from.is_some_and(|from| from.ip().is_unicast_link_local()) {
                return Ok(heard);
            }
        }
    }

    /// Sends an ICMPv6 message to all routers of the link; the kernel makes its checksum. What finds no room is lost.
    pub fn solicit(&self, message: &[u8]) {
        send(&self.icmp, message, SocketAddrV6::new(ALL_ROUTERS, 0, 0, self.index));
    }

    /// Sends a datagram to all servers of DHCPv6 of the link.
    pub fn inquire(&self, datagram: &[u8]) {
        send(&self.dhcp, datagram, SocketAddrV6::new(ALL_SERVERS, SERVER_PORT, 0, self.index));
    }
}
