//! PPTP: a control connection, its call's PPP link, and the kernel that carries both (RFC 2637). Who dials and who answers is
//! common to what carries PPP (`ppp`).

mod again;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::LinkConfig;
use adit_pptp::Role;
use tokio::net::TcpStream;

use crate::ppp::{MPPE_HEADER, World, longest};
pub(crate) use again::{Left, again, answer_again};
use session::{Session, Start};

/// What a server calls itself.
const HOST_NAME: &str = "adit";

/// The path's headers in front of a packet inside: IPv4, GRE with sequence and acknowledgement, PPP's address, control and
/// protocol.
const OVERHEAD: u16 = 20 + 16 + 4;

/// The longest packet inside, in octets: what Windows uses, and what passes most paths; a longer one gains little.
pub(crate) const MOST_MTU: u16 = 1400;

/// The longest packet of a link, in octets, MPPE's header included: what fits the path, or what the interface's wanted MTU
/// makes of it.
pub(crate) fn link_mtu(path: u32, wanted: Option<u16>) -> u16 {
    longest(u16::try_from(path).unwrap_or(u16::MAX).saturating_sub(OVERHEAD).min(MOST_MTU), wanted)
}

/// An interface's MTU in octets while its link is down: what is sent then goes through the link later.
pub(crate) fn waiting_mtu(wanted: Option<u16>) -> u16 {
    wanted.unwrap_or(MOST_MTU - MPPE_HEADER)
}

/// Said once whenever PPTP is dialled.
pub(crate) const WEAK: &str = "PPTP is weak: whoever records the log-in finds the password's hash in hours, MPPE proves \
                               nothing of a packet, and its control messages are not protected; use IKEv2 or SSTP where you can";

/// A session that dials, on a TCP connection that stands.
///
/// # Errors
/// Its addresses are not IPv4.
pub(crate) fn dial(
    tcp: TcpStream,
    ends: (SocketAddr, SocketAddr),
    mtu: u16,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<Session, Failure> {
    session(Role::Pns, String::new(), tcp, ends, mtu, link, world)
}

/// One that answers.
///
/// # Errors
/// Its addresses are not IPv4.
pub(crate) fn answer(
    tcp: TcpStream,
    ends: (SocketAddr, SocketAddr),
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<Session, Failure> {
    session(Role::Pac, HOST_NAME.into(), tcp, ends, MOST_MTU, link, world)
}

fn session(
    role: Role,
    host_name: String,
    tcp: TcpStream,
    (local, remote): (SocketAddr, SocketAddr),
    mtu: u16,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<Session, Failure> {
    let (IpAddr::V4(local), IpAddr::V4(remote)) = (local.ip(), remote.ip()) else {
        return Err(Failure::new(FailureCode::Internal, Step::Call, "an address is not IPv4"));
    };
    Ok(Session::new(Start { role, host_name, tcp, local, remote, mtu, link, world }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_fits_the_link_that_comes() {
        assert_eq!(waiting_mtu(None) + MPPE_HEADER, link_mtu(1500, None));
        assert_eq!(waiting_mtu(Some(1300)), 1300);
    }

    /// A profile's `mtu` is the interface's, and 1280 is enough for IPv6.
    #[test]
    fn a_wanted_mtu_has_room_for_encryption() {
        assert_eq!(link_mtu(1500, Some(1300)), 1304);
        assert_eq!((link_mtu(1500, None), link_mtu(1280, None)), (1400, 1240));
    }
}
