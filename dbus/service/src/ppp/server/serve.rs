//! The sessions of a server's peers, a task each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ppp::{Addresses, EapConfig, LinkConfig, Mppe, Timing};
use adit_sstp::forwarded::Origin;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{Going, Inner};
use crate::client::method;
use crate::ppp::door::Door;
use crate::ppp::guest::Guest;
use crate::ppp::{Carriage, Happened, Later, Session};
use crate::radius::Cause;
use crate::suites::Outside;
use crate::wire::Wire;
use crate::{pptp, sstp, suites};

/// So long somebody may take to prove who they are, whatever they do in the meantime.
const UNPROVEN: Duration = Duration::from_secs(90);

/// Takes peers that come by a door, a task each, with those who have been here before.
pub(super) async fn accept(
    inner: Arc<Inner>,
    (door, returned): (Door, Vec<Later<()>>),
    mut going: watch::Receiver<Going>,
) {
    let mut sessions = JoinSet::new();
    for returned in returned {
        sessions.spawn_on(returned, &inner.carriage.lane());
    }
    loop {
        let (wire, local, remote) = tokio::select! {
            biased;
            () = until(&mut going, Going::Closed) => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = door.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, for a moment: those that end make room.
                    warn!(%error, "{} server: a connection was not taken", inner.carriage.name());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (inner, going, lane) = (Arc::clone(&inner), going.clone(), inner.carriage.lane());
        let path = Path { local, remote };
        if inner.is_passed_on(&wire, remote.ip()) {
            // Whoever is known to pass connections on is waited for a little, and few at a time.
            let Ok(permit) = Arc::clone(&inner.arriving).try_acquire_owned() else { continue };
            sessions.spawn_on(async move { serve_passed_on(inner, wire, path, going, permit).await }, &lane);
        } else if inner.admit(remote.ip()) {
            sessions.spawn_on(async move { serve_wire(inner, wire, path, going).await }, &lane);
        }
    }
    // Nobody waits there any more.
    drop(door);
    while sessions.join_next().await.is_some() {}
}

fn not_moved(error: &std::io::Error) -> Failure {
    Failure::new(FailureCode::Internal, Step::Call, format!("a connection could not be taken: {error}"))
}

/// Returns when it has gone so far, or will never say anything more.
pub(super) async fn until(going: &mut watch::Receiver<Going>, far: Going) {
    let _ = going.wait_for(|going| *going >= far).await;
}

/// Returns when the server ends this one.
async fn ended(going: &mut watch::Receiver<Going>, guest: &Guest) {
    let ends = |going: &Going| match going {
        Going::Open | Going::Closed => false,
        Going::Left => !guest.is_handed_on(),
        Going::Over => true,
    };
    let _ = going.wait_for(ends).await;
}

/// A connection of which somebody says where it comes from.
async fn serve_passed_on(
    inner: Arc<Inner>,
    wire: Wire,
    path: Path,
    mut going: watch::Receiver<Going>,
    permit: OwnedSemaphorePermit,
) {
    let Ok(mut wire) = wire.here() else { return };
    let said = tokio::select! {
        said = sstp::origin(&mut wire) => said,
        () = until(&mut going, Going::Closed) => return,
    };
    drop(permit);
    let path = match said {
        Ok(Origin::Client { from, to }) => Path { local: to, remote: from },
        Ok(Origin::Own | Origin::Unknown) => path,
        Err(why) => return info!(from = %path.remote, code = %why.code, "{}: {why}", inner.carriage.name()),
    };
    if inner.admit(path.remote.ip()) {
        serve_wire(inner, wire, path, going).await;
    }
}

/// A connection that this thread goes on with.
async fn serve_wire(inner: Arc<Inner>, wire: Wire, path: Path, going: watch::Receiver<Going>) {
    let server = Arc::clone(&inner);
    let answer = |guest: Arc<Guest>| async move {
        let wire = wire.here().map_err(|e| not_moved(&e))?;
        server.answer(wire, (path.local, path.remote), &guest).await
    };
    serve(&inner, path, going, answer).await;
}

pub(super) async fn serve<A: Future<Output = Result<Box<dyn Session>, Failure>>>(
    inner: &Arc<Inner>,
    path: Path,
    mut going: watch::Receiver<Going>,
    answer: impl FnOnce(Arc<Guest>) -> A,
) {
    let guest = Guest::new(inner, path);
    let answered = tokio::select! {
        answered = answer(Arc::clone(&guest)) => answered,
        () = ended(&mut going, &guest) => return guest.leave().await,
    };
    match answered {
        Ok(session) => attend(guest, session, going, watch::channel(false)).await,
        Err(why) => {
            info!(from = %path.remote, code = %why.code, "{}: {why}", inner.carriage.name());
            guest.leave().await;
        }
    }
}

/// Drives a session until it is over, and takes away what it had.
pub(super) async fn attend(
    guest: Arc<Guest>,
    mut session: Box<dyn Session>,
    going: watch::Receiver<Going>,
    (stop, disconnected): (watch::Sender<bool>, watch::Receiver<bool>),
) {
    let cause = hold(&guest, session.as_mut(), &stop, (going, disconnected.clone())).await;
    guest.no_more();
    guest.account(session.unit(), cause).await;
    session.end().await;
    guest.is_not_kept().await;
    guest.leave().await;
    // Whoever disconnects waits for this.
    drop(disconnected);
}

/// Until somebody wants it to end, and who that is.
async fn hold(
    guest: &Guest,
    session: &mut dyn Session,
    stop: &watch::Sender<bool>,
    (mut going, mut disconnected): (watch::Receiver<Going>, watch::Receiver<bool>),
) -> Cause {
    let name = guest.carriage().name();
    let mut unproven = std::pin::pin!(tokio::time::sleep(UNPROVEN));
    let mut kept: Later<Cause> = match guest.is_up() {
        true => guest.kept(session.unit()),
        false => Box::pin(std::future::pending()),
    };
    loop {
        let happened = tokio::select! {
            biased;
            () = ended(&mut going, guest) => return Cause::AdminReboot,
            _ = disconnected.wait_for(|stop| *stop) => return Cause::AdminReset,
            cause = &mut kept => return cause,
            () = &mut unproven, if !guest.is_proven() => {
                if guest.is_proven() {
                    continue;
                }
                info!(from = %guest.from(), "{name}: did not say in time who they are");
                return Cause::NasError;
            }
            happened = session.next() => happened,
        };
        match happened {
            Happened::Nothing => {}
            Happened::Established => {
                guest.established(session.unit(), stop);
                kept = guest.kept(session.unit());
            }
            Happened::Closed(Ok(())) => return Cause::UserRequest,
            Happened::Closed(Err(why)) => {
                let said = why.peer.as_deref().unwrap_or_default();
                info!(from = %guest.from(), code = %why.code, said, "{name}: {why}");
                return match why.code {
                    FailureCode::PeerClosed => Cause::UserRequest,
                    FailureCode::PeerLost => Cause::LostCarrier,
                    _ => Cause::NasError,
                };
            }
        }
    }
}

impl Inner {
    async fn answer(
        &self,
        wire: Wire,
        ends: (SocketAddr, SocketAddr),
        guest: &Arc<Guest>,
    ) -> Result<Box<dyn Session>, Failure> {
        let link = self.link_config(self.carriage.most_mtu());
        let none = |what: &str| Failure::new(FailureCode::Internal, Step::Call, what);
        let outside = match (self.carriage, wire) {
            (Carriage::Pptp, Wire::Tcp(tcp)) => {
                return Ok(Box::new(pptp::answer(tcp, ends, link, Arc::clone(guest) as _)?));
            }
            (Carriage::Pptp, Wire::Unix(_)) => return Err(none("PPTP has no socket")),
            // Its sessions come by their own way.
            (Carriage::L2tp, _) => return Err(none("L2TP has no stream")),
            (Carriage::Sstp(_), Wire::Tcp(tcp)) => {
                let listener = self.certificates.get().listener;
                sstp::meet_client(tcp, &*listener.ok_or_else(|| none("there is no certificate"))?).await?
            }
            (Carriage::Sstp(_), wire @ Wire::Unix(_)) => {
                let socket = self.config.front.socket.as_ref();
                sstp::meet_by_socket(wire, socket.ok_or_else(|| none("there is no socket"))?)
            }
        };
        guest.is_inside_of(Outside::Tls(self.carriage.shown(&outside.cipher)));
        Ok(Box::new(sstp::answer(outside, link, Arc::clone(guest) as _)))
    }

    pub(super) fn link_config(&self, mtu: u16) -> LinkConfig {
        LinkConfig {
            mru: mtu,
            compress_header: true,
            prove: Vec::new(),
            demand: self.config.auth.iter().map(|m| suites::ppp_auth(*m)).collect(),
            name: self.config.name.clone(),
            eap: EapConfig {
                pass_through: self.config.radius,
                ..EapConfig::of(self.config.eap.methods.iter().copied().map(method).collect())
            },
            mppe: match self.carriage {
                Carriage::Pptp | Carriage::L2tp => suites::mppe(&self.config.mppe),
                // TLS encrypts.
                Carriage::Sstp(_) => Mppe::OFF,
            },
            ipv4: self.local.is_some(),
            ipv6: self.ipv6,
            addresses: Addresses::ForPeer,
            timing: Timing::default(),
        }
    }
}
