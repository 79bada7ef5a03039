//! A session that a process before has left: its control connection, its call, and the link of that.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{LinkConfig, Restored};
use adit_ppp_kernel::{self as kernel, Channel, Standing};
use adit_pptp::{Control, Role};
use adit_pptp_kernel::PptpSocket;

use super::HOST_NAME;
use super::session::{Session, Start, control_config};
use crate::clock;
use crate::handover::{split, unit_part};
use crate::ppp::{Driver, Line, Unit, World};

/// What there is of it.
pub(crate) struct Left<'a> {
    pub(crate) ends: (SocketAddr, SocketAddr),
    pub(crate) unit: Standing<'a>,
    pub(crate) snapshot: &'a [u8],
    pub(crate) files: BTreeMap<String, OwnedFd>,
}

/// The side that has dialled goes on with it.
///
/// # Errors
/// What there is does not belong together, or does not stand any more.
pub(crate) fn again(
    left: Left<'_>,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<(Session, Restored), Failure> {
    session(Role::Pns, String::new(), left, link, world)
}

/// The side that has answered does.
///
/// # Errors
/// As [`again`].
pub(crate) fn answer_again(
    left: Left<'_>,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<(Session, Restored), Failure> {
    session(Role::Pac, HOST_NAME.into(), left, link, world)
}

fn session(
    role: Role,
    host_name: String,
    left: Left<'_>,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Result<(Session, Restored), Failure> {
    let Left { ends: (local, remote), unit, snapshot, mut files } = left;
    let mut file = |part: &str| files.remove(part).ok_or_else(|| refused("a part is missing"));
    let tcp = connection(file("tcp")?, local, remote)?;
    let (local, remote) = (v4(local)?, v4(remote)?);
    let [control, left] = split::<2>(snapshot).ok_or_else(|| refused("its record is of another form"))?;
    let config = control_config(role, host_name.clone());
    let restored = Control::restore(clock::now(), config, control);
    let (control, calls) = restored.ok_or_else(|| refused("its control connection"))?;
    let [call] = calls.as_slice() else { return Err(refused("its calls")) };
    let socket = PptpSocket::adopt(file("socket")?, call.local, local)?;
    let kept = socket.as_fd().try_clone_to_owned().map_err(|_| refused("its socket"))?;
    let channel = Channel::attach(socket.as_fd())?;
    let unit = kernel::Unit::adopt(file(&unit_part(unit.index))?, &unit)?;
    unit.is_joined(&channel)?;
    let line = Line::Channel(Arc::new(channel), Box::new(socket));
    let driver = Driver::go_on(link.clone(), left, line, Arc::new(Unit::Kernel(unit)), Arc::clone(&world));
    let (driver, restored) = driver.ok_or_else(|| refused("its link"))?;
    let mtu = restored.mru;
    let start = Start { role, host_name, tcp, local, remote, mtu, link, world };
    Ok((Session::again(start, control, call.call, kept, driver), restored))
}

/// The TCP connection between these ends.
fn connection(
    file: OwnedFd,
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<tokio::net::TcpStream, Failure> {
    let tcp = TcpStream::from(file);
    let same = tcp.local_addr().is_ok_and(|at| at == local) && tcp.peer_addr().is_ok_and(|at| at == remote);
    let made = tcp.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(tcp));
    made.ok().filter(|_| same).ok_or_else(|| refused("its control connection is closed"))
}

fn v4(end: SocketAddr) -> Result<Ipv4Addr, Failure> {
    match end.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(refused("an address is not IPv4")),
    }
}

fn refused(what: &str) -> Failure {
    let text = format!("what was handed over cannot be gone on with: {what}.");
    Failure::new(FailureCode::PeerLost, Step::Established, text)
}
