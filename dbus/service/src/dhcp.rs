//! DHCPINFORM through a tunnel's interface ([`adit_plan::dhcp`]): asked for by who dials, as Windows asks, and answered by who serves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use adit_core::Entropy;
use adit_crypto::OsEntropy;
use adit_plan::dhcp::{self, CLIENT_PORT, Learned, Offer, SERVER_PORT};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::registry::Facts;

/// More than a message that a tunnel carries in one packet.
const LONGEST: usize = 2048;

/// An answer is waited for so long, then the question is sent again (RFC 2131 §4.1, but nobody waits a minute for a tunnel).
const PATIENCE: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(4)];

/// What a person is told where nobody answers.
pub(crate) const NOT_ANSWERED: &str =
    "the server does not answer DHCPINFORM: no routes; name networks by  remote-subnets  instead";

/// A socket that hears and says what goes through that link alone.
///
/// # Errors
/// The kernel refused.
fn bound(link: &str, address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
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

/// What the answer says of names is shown beside what is known of them.
pub(crate) fn show(learned: &Learned, facts: &mut Facts) {
    let dns = learned.dns.iter().copied().map(IpAddr::V4);
    let new: Vec<IpAddr> = dns.filter(|address| !facts.dns.contains(address)).collect();
    facts.dns.extend(new);
    facts.domains.extend(learned.domain.clone().filter(|domain| !facts.domains.contains(domain)));
}

/// Answers those who ask through a link, until it is dropped.
pub(crate) struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answering {
    /// What the one with an address is to know says `offer`; `None`: it may not ask.
    ///
    /// # Errors
    /// Another has UDP port 67 of every link, or the kernel refused.
    pub(crate) fn begin(
        link: &str,
        offer: impl Fn(Ipv4Addr) -> Option<Offer> + Send + 'static,
    ) -> io::Result<Self> {
        let socket = bound(link, Ipv4Addr::UNSPECIFIED, SERVER_PORT)?;
        Ok(Self(tokio::spawn(serve(socket, offer))))
    }
}

async fn serve(socket: UdpSocket, offer: impl Fn(Ipv4Addr) -> Option<Offer>) {
    let mut octets = [0; LONGEST];
    loop {
        let (length, from) = match socket.recv_from(&mut octets).await {
            Ok((length, SocketAddr::V4(from))) => (length, *from.ip()),
            Ok(_) => continue,
            // The link is gone.
            Err(error) => return tracing::debug!(%error, "no more DHCPINFORM"),
        };
        let question = octets.get(..length).unwrap_or_default();
        let answer = offer(from).and_then(|offer| dhcp::answer(question, from, &offer));
        let Some(answer) = answer else { continue };
        if let Err(error) = socket.send_to(&answer, (from, CLIENT_PORT)).await {
            tracing::debug!(client = %from, %error, "DHCPINFORM not answered");
        }
    }
}
