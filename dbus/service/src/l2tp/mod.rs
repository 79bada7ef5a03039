//! L2TP: control connections by UDP, their calls' PPP links, and the kernel that carries those (RFC 2661). Who dials and who
//! answers is common to what carries PPP (`ppp`).

mod agreed;
mod by_ikev2;
mod certificates;
mod engine;
mod guard;
mod handing;
mod ipsec;
mod session;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Path, Secret, Step};
use adit_crypto::OsEntropy;
use adit_l2tp::{Association, Call, Config, Dial, Endpoint, Limits, Listen, PORT, Rules, Takes, Timing};
use adit_ppp::{LinkConfig, Restored};
use adit_profile::L2tpRule;
use adit_xfrm_kernel::ike_socket::IkeSocket;

use crate::clock;
use crate::files::Files;
use crate::handover::is_there;
use crate::host::MARK;
use crate::ppp::{MPPE_HEADER, World, longest};
use agreed::Agreed;
pub(crate) use certificates::Certificates;
use engine::Keeping;
pub(crate) use engine::{Engine, Link, Making, Running};
pub(crate) use guard::{Guard, ONE_BEHIND_A_NAT, disown, forget_guest, forget_sas, ids_of};
pub(crate) use handing::{Leaves, Parts, Reqids, numbers_of};
pub(crate) use ipsec::{Protection, forget, protect_again};
pub(crate) use session::Session;

/// The path's headers in front of a packet inside, but for IP's: UDP, L2TP with sequence numbers, PPP's address, control and
/// protocol.
const OVERHEAD: u16 = 8 + 10 + 4;
const IPV4: u16 = 20;
const IPV6: u16 = 40;

/// The longest packet inside, in octets: what Windows uses.
pub(crate) const MOST_MTU: u16 = 1400;
/// What a path to a client carries in one packet, in octets, where nobody has asked.
const PATH_MTU: u32 = 1500;
/// What we call ourselves: peers may choose a tunnel's secret by it.
const HOST_NAME: &str = "adit";
/// Control messages that may come too early.
const WINDOW: u16 = 8;
/// Tunnels of one address that have not shown that they hear us.
const UNPROVEN_PER_ADDRESS: usize = 20;

/// The longest packet of a link, in octets, MPPE's header included: what fits the path, or what the interface's wanted MTU
/// makes of it.
pub(crate) fn link_mtu(path: u32, v6: bool, wanted: Option<u16>) -> u16 {
    let ip = if v6 { IPV6 } else { IPV4 };
    longest(u16::try_from(path).unwrap_or(u16::MAX).saturating_sub(OVERHEAD + ip).min(MOST_MTU), wanted)
}

/// Said once whenever L2TP is dialled or served without IPsec.
pub(crate) const IN_CLEAR: &str = "L2TP without IPsec (ipsec = \"none\"): nothing protects what goes through it, and nobody proves \
                                   who they are but by PPP; for trusted links only";

/// The longest packet of a link inside of IPsec, in octets, likewise.
pub(crate) fn protected_mtu(path: u32, up: &Agreed, wanted: Option<u16>) -> u16 {
    longest(up.room(path).min(MOST_MTU), wanted)
}

/// The secret of a tunnel, where there is one.
///
/// # Errors
/// Its file can't be read, or others can.
pub(crate) fn secret(files: &Files, rule: &L2tpRule) -> Result<Option<Arc<Secret>>, Failure> {
    rule.secret.as_ref().map(|file| files.secret(file).map(Arc::new)).transpose()
}

/// Dials: the session that comes, which is none yet. With a socket that IPsec protects, and that protection, where there is
/// one.
///
/// # Errors
/// A socket could not be made.
pub(crate) fn dial(
    (local, remote): (SocketAddr, SocketAddr),
    (rule, secret): (&L2tpRule, Option<Arc<Secret>>),
    (socket, protection): (Option<IkeSocket>, Option<Protection>),
    (mtu, link, world): (u16, LinkConfig, Arc<dyn World>),
) -> Result<(Session, SocketAddr), Failure> {
    let own = || IkeSocket::share(SocketAddr::new(local.ip(), 0), MARK).map_err(|e| no_socket(local, &e));
    let socket = socket.map_or_else(own, Ok)?;
    let local = SocketAddr::new(local.ip(), socket.port());
    let mut endpoint = Endpoint::new(config(None));
    let call = Dial {
        path: Path { local, remote },
        secret,
        hide: rule.hide,
        only: false,
        call: Some(Call::Incoming),
        takes: Takes::default(),
        sessions: 1,
    };
    let none = || Failure::new(FailureCode::Internal, Step::Call, "there is no Tunnel ID");
    endpoint.dial(clock::now(), &mut OsEntropy::new(), call).ok_or_else(none)?;
    let leaves = is_there().then(|| leaves_of(protection.as_ref()));
    let (engine, links) = Engine::dialling(endpoint, socket, leaves.clone());
    Ok((Session::dialling((engine.start(), protection), links, (mtu, link, world), leaves), local))
}

/// Goes on with a tunnel that a process before has left, by its sockets: the session, and what is known of its link. What is
/// around it comes with it.
///
/// # Errors
/// Nobody can.
pub(crate) async fn again(
    path: Path,
    (rule, secret): (&L2tpRule, Option<Arc<Secret>>),
    (parts, sockets): (&Parts<'_>, [OwnedFd; 2]),
    protection: Option<Protection>,
    (link, unit, world): (LinkConfig, adit_ppp_kernel::Unit, Arc<dyn World>),
) -> Result<(Session, Restored), Failure> {
    let leaves = leaves_of(protection.as_ref());
    let made = adopted(path, (rule, secret), (parts.tunnel, sockets), &leaves);
    match made {
        Ok((engine, links)) => {
            let start = (link.mru, link, world);
            let session = Session::dialling((engine.start(), protection), links, start, Some(leaves));
            session.goes_on(parts.link, unit).await
        }
        Err(failure) => {
            if let Some(protection) = protection {
                protection.end().await;
            }
            Err(failure)
        }
    }
}

/// What the next process goes on from, with what protects it.
fn leaves_of(protection: Option<&Protection>) -> Arc<Leaves> {
    protection.map_or_else(Arc::default, Protection::leaves)
}

fn adopted(
    path: Path,
    (rule, secret): (&L2tpRule, Option<Arc<Secret>>),
    (tunnel, [udp, session]): (&[u8], [OwnedFd; 2]),
    leaves: &Arc<Leaves>,
) -> Result<(Engine, tokio::sync::mpsc::Receiver<Link>), Failure> {
    let no = |text: &str| Failure::new(FailureCode::PeerLost, Step::Call, text.to_owned());
    let socket = IkeSocket::adopt_connected(udp, &path).map_err(|e| no_socket(path.local, &e))?;
    let mut endpoint = Endpoint::new(config(None));
    let rules = Rules { secret, hide: rule.hide, takes: Takes::default(), sessions: 1 };
    let restored = endpoint.restore(clock::now(), &mut OsEntropy::new(), tunnel, &rules);
    let restored =
        restored.ok_or_else(|| no("the L2TP tunnel that was handed over cannot be gone on with"))?;
    if restored.path != path {
        return Err(no("the L2TP tunnel that was handed over is between other ends"));
    }
    Engine::again(endpoint, &restored, (socket, session), Arc::clone(leaves))
}

/// One that waits for peers: what is inside of IPsec, where there is a guard.
///
/// # Errors
/// The port is taken.
pub(crate) fn listen(
    addresses: &[SocketAddr],
    (rule, secret): (&L2tpRule, Option<Arc<Secret>>),
    (clients, half_open): (usize, usize),
    guard: Option<&Guard>,
) -> Result<(Engine, tokio::sync::mpsc::Receiver<Link>), Failure> {
    let limits = Limits {
        tunnels: clients,
        unproven: half_open,
        unproven_per_address: UNPROVEN_PER_ADDRESS.min(half_open),
        sessions: clients,
    };
    let takes = Takes { incoming: true, outgoing: false };
    let endpoint = Endpoint::new(config(Some(Listen { secret, hide: rule.hide, takes, limits })));
    let mut sockets = Vec::new();
    for address in addresses {
        match IkeSocket::share(*address, MARK) {
            Ok(socket) => sockets.push(socket),
            // A host without IPv6.
            Err(e) if address.is_ipv6() && addresses.len() > 1 && is_without_family(&e) => {}
            Err(e) => return Err(no_socket(*address, &e)),
        }
    }
    let keeping = match is_there() {
        true => Keeping::Peers(guard.map(Guard::keeper), BTreeMap::new()),
        false => Keeping::Nobody,
    };
    let owners = guard.and_then(Guard::owners);
    let (engine, links) = Engine::listening(endpoint, sockets, owners, (half_open, keeping));
    if let Some(guard) = guard {
        guard.tells(engine.orders());
    }
    Ok((engine, links))
}

/// Goes on with a peer's tunnel that a process before has left, and that comes by this: its link.
///
/// # Errors
/// Nobody can.
pub(crate) async fn listen_again(
    engine: &mut Engine,
    (path, by): (Path, Association),
    (rule, secret, sessions): (&L2tpRule, Option<Arc<Secret>>, usize),
    (parts, sockets): (&Parts<'_>, [OwnedFd; 2]),
) -> Result<Link, Failure> {
    let takes = Takes { incoming: true, outgoing: false };
    let rules = Rules { secret, hide: rule.hide, takes, sessions };
    engine.adopt((path, by), (parts.tunnel, sockets), &rules).await
}

fn is_without_family(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn config(listen: Option<Listen>) -> Config {
    Config { host_name: HOST_NAME.into(), listen, window: WINDOW, timing: Timing::default() }
}

fn no_socket(address: SocketAddr, error: &std::io::Error) -> Failure {
    let text = format!("UDP port {} of {} cannot be bound: {error}", address.port(), address.ip());
    Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
        .hint(format!("another L2TP daemon may have it:  ss -lunp 'sport = {PORT}'"))
}

/// An interface's MTU in octets while its link is down: what is sent then goes through the link later.
pub(crate) fn waiting_mtu(wanted: Option<u16>) -> u16 {
    wanted.unwrap_or(MOST_MTU - MPPE_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_fits_the_link_that_comes() {
        assert_eq!(waiting_mtu(None) + MPPE_HEADER, link_mtu(1500, false, None));
        assert_eq!((link_mtu(1400, false, None), link_mtu(1400, true, None)), (1358, 1338));
        assert_eq!(link_mtu(1500, false, Some(1300)), 1304);
    }
}
