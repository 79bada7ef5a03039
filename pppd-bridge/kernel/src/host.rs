//! The socket of a host that looks for a router on its link.

use std::io;
use std::net::SocketAddrV6;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

use crate::router::{ALL_ROUTERS, UNROUTED, icmp, receive, send};
use crate::{PppError, ioctl};

const ADVERTISEMENT: u8 = 134;

/// The socket. It hears and reaches this one link only.
#[derive(Debug)]
pub struct HostSocket {
    icmp: AsyncFd<OwnedFd>,
    index: u32,
}

impl HostSocket {
    /// Opens it on an interface that is up, of that name and index. Needs CAP_NET_RAW, and a tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses: it has no IPv6.
    pub fn open(name: &str, index: u32) -> Result<Self, PppError> {
        let icmp =
            icmp(name, ADVERTISEMENT).map_err(PppError::refused("a socket for router advertisements"))?;
        Ok(Self { icmp: ioctl::register(icmp)?, index })
    }

    /// The next Router Advertisement of a link-local address that no router has forwarded (RFC 4861 §6.1.2). Cancel-safe.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let (octets, from, hops) = receive(&self.icmp).await?;
            if hops == Some(UNROUTED) && from.is_some_and(|from| from.ip().is_unicast_link_local()) {
                return Ok(octets);
            }
        }
    }

    /// Sends an ICMPv6 message to all routers of the link; the kernel makes its checksum. What finds no room is lost.
    pub fn solicit(&self, message: &[u8]) {
        send(&self.icmp, message, SocketAddrV6::new(ALL_ROUTERS, 0, 0, self.index));
    }
}
