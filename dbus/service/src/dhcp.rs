//! Sockets for DHCPINFORM through a tunnel's interface ([`adit_plan::dhcp`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use adit_core::Entropy;
use adit_crypto::OsEntropy;
use adit_plan::dhcp::{self, CLIENT_PORT, Learned, SERVER_PORT};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use tokio::net::UdpSocket;

/// More than a message that a tunnel carries in one packet.
pub(crate) const LONGEST: usize = 2048;

/// An answer is waited for so long, then the question is sent again (RFC 2131 §4.1, but nobody waits a minute for a tunnel).
const PATIENCE: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(4)];

/// A socket that hears and says what goes through that link alone.
///
/// # Errors
/// The kernel refused.
pub(crate) fn bound(link: &str, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd.as_fd(), sockopt::BindToDevice, &link.into())?;
    // Other links may have a client or a server of their own.
    setsockopt(&fd.as_fd(), sockopt::ReuseAddr, &true)?;
    setsockopt(&fd.as_fd(), sockopt::Broadcast, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?;
    UdpSocket::from_std(fd.into())
}

/// Asks through the link, from the address that we have there. `None`: nobody answers.
///
/// # Errors
/// No socket, or the link is gone.
pub(crate) async fn ask(link: &str, address: Ipv4Addr) -> io::Result<Option<Learned>> {
    let socket = bound(link, address, CLIENT_PORT)?;
    let mut transaction = [0; 4];
    OsEntropy::new().public(&mut transaction);
    let transaction = u32::from_be_bytes(transaction);
    let question = dhcp::inform(transaction, address);
    for patience in PATIENCE {
        socket.send_to(&question, (Ipv4Addr::BROADCAST, SERVER_PORT)).await?;
        if let Ok(learned) = tokio::time::timeout(patience, answer(&socket, transaction)).await {
            return learned.map(Some);
        }
    }
    Ok(None)
}

async fn answer(socket: &UdpSocket, transaction: u32) -> io::Result<Learned> {
    let mut octets = [0; LONGEST];
    loop {
        let (length, from) = socket.recv_from(&mut octets).await?;
        match dhcp::learned(octets.get(..length).unwrap_or_default(), transaction) {
            Ok(Some(learned)) => return Ok(learned),
            Ok(None) => {}
            Err(error) => tracing::info!(%from, %error, "an answer to DHCPINFORM that cannot be read"),
        }
    }
}

/// What the answer says of names, as whoever is told of DNS servers takes it.
pub(crate) fn servers(learned: &Learned) -> Vec<IpAddr> {
    learned.dns.iter().copied().map(IpAddr::V4).collect()
}
