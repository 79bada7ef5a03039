//! An engine that hands its tunnels on to the next process, and one that goes on with them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_l2tp::{Association, Endpoint, Input, Restored, Rules, SessionNumber, TunnelNumber};
use adit_ppp_kernel::{L2tpIds, L2tpSession, L2tpTunnel};
use adit_xfrm_kernel::ike_socket::IkeSocket;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::{Attached, Carried, Engine, Link, Orders, Tunnel, attach};
use crate::clock;
use crate::l2tp::Leaves;
use crate::l2tp::guard::Keeper;

/// What the next process goes on from.
pub(in crate::l2tp) enum Keeping {
    /// Nothing.
    Nobody,
    /// The tunnel that has been dialled.
    Dialled(Arc<Leaves>),
    /// Those that peers have dialled, inside of IPsec where there is somebody who answers for that.
    Peers(Option<Arc<Keeper>>, BTreeMap<TunnelNumber, Arc<Leaves>>),
}

impl Keeping {
    pub(super) const fn keeps(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// A peer's tunnel, which comes by this, is carried by the kernel from now on.
    pub(super) fn begin(&mut self, tunnel: TunnelNumber, by: Association) {
        let Self::Peers(keeper, all) = self else { return };
        let leaves = match keeper {
            Some(keeper) => keeper.leaves_of(by),
            None => Some(Arc::default()),
        };
        if let Some(leaves) = leaves {
            all.insert(tunnel, leaves);
        }
    }

    /// It is over. Whether somebody may have kept it.
    pub(super) fn end(&mut self, tunnel: TunnelNumber) -> bool {
        let Self::Peers(_, all) = self else { return self.keeps() };
        let ended = all.remove(&tunnel).inspect(|leaves| leaves.tunnel(None));
        ended.is_some()
    }

    fn of(&self, tunnel: TunnelNumber) -> Option<&Arc<Leaves>> {
        match self {
            Self::Nobody => None,
            Self::Dialled(leaves) => Some(leaves),
            Self::Peers(_, all) => all.get(&tunnel),
        }
    }

    /// What leaves of a peer's tunnel.
    pub(super) fn of_peer(&self, tunnel: TunnelNumber) -> Option<Arc<Leaves>> {
        self.of(tunnel).filter(|_| !matches!(self, Self::Dialled(_))).cloned()
    }
}

impl Engine {
    /// One that goes on with a tunnel and a session that a process before has dialled: its link comes as if it had just come up.
    ///
    /// # Errors
    /// The socket is none of a session of that tunnel.
    pub(in crate::l2tp) fn again(
        endpoint: Endpoint,
        of: &Restored,
        (socket, session): (IkeSocket, OwnedFd),
        leaves: Arc<Leaves>,
    ) -> Result<(Self, mpsc::Receiver<Link>), Failure> {
        let (number, ids) = one_session(of)?;
        let kernel = L2tpTunnel::adopt(ids.tunnel)?;
        let session = kernel.session_again(session, ids)?;
        let (mut engine, links) = Self::dialling(endpoint, socket, Some(leaves));
        let none = || Failure::new(FailureCode::Internal, Step::Call, "L2TP: there is no socket");
        let socket = engine.sockets.first().cloned().ok_or_else(none)?;
        engine.tunnels.insert(of.tunnel, Tunnel { socket, kernel, owned: None });
        engine.standing.insert(of.tunnel);
        // Whether data messages are numbered is the kernel's session's.
        let (tunnel, path, association) = (of.tunnel, of.path, of.association);
        let carried = Carried { attached: None, up: Some(false), tunnel, path, association };
        engine.carried.insert(number, carried);
        engine.attaching.spawn(async move { (number, attach(session, None).await) });
        Ok((engine, links))
    }

    /// Goes on with a tunnel and a session that a peer has dialled to a process before, and that come by this: its link.
    ///
    /// # Errors
    /// They do not belong together, or do not stand any more.
    pub(in crate::l2tp) async fn adopt(
        &mut self,
        (path, by): (Path, Association),
        (tunnel, [socket, session]): (&[u8], [OwnedFd; 2]),
        rules: &Rules,
    ) -> Result<Link, Failure> {
        let no = |text: &str| Failure::new(FailureCode::PeerLost, Step::Call, text.to_owned());
        let socket = IkeSocket::adopt_connected(socket, &path)
            .map_err(|error| no(&format!("the L2TP tunnel's socket that was handed over: {error}")))?;
        let of = self.endpoint.restore(clock::now(), &mut self.entropy, tunnel, rules);
        let of = of.ok_or_else(|| no("the L2TP tunnel that was handed over cannot be gone on with"))?;
        let number = of.tunnel;
        let adopted = self.adopt_restored((&of, path, by), Arc::new(socket), session).await;
        if let Ok(link) = &adopted
            && let Some(leaves) = &link.leaves
        {
            // It stays as it was left until something leaves here.
            leaves.tunnel(Some(tunnel.to_vec().into()));
        }
        adopted.inspect_err(|_| {
            self.endpoint.handle(clock::now(), &mut self.entropy, Input::Close { tunnel: number });
        })
    }

    async fn adopt_restored(
        &mut self,
        (of, path, by): (&Restored, Path, Association),
        socket: Arc<IkeSocket>,
        session: OwnedFd,
    ) -> Result<Link, Failure> {
        if (of.path, of.association) != (path, by) {
            let text = "the L2TP tunnel that was handed over is between other ends";
            return Err(Failure::new(FailureCode::PeerLost, Step::Call, text));
        }
        let (number, ids) = one_session(of)?;
        let kernel = L2tpTunnel::adopt(ids.tunnel)?;
        let session = kernel.session_again(session, ids)?;
        let owned = self.owners.map(|owners| owners.own(by.0, ids.tunnel)).transpose()?;
        let attached = attach(session, None).await?;
        let gone = || Failure::new(FailureCode::Internal, Step::Call, "L2TP: the engine is over");
        let orders = self.way.upgrade().map(Orders).ok_or_else(gone)?;
        let reader = self.read(Arc::clone(&socket));
        self.reading.insert(of.tunnel, reader);
        let owned = owned.map(std::mem::ManuallyDrop::new);
        self.tunnels.insert(of.tunnel, Tunnel { socket, kernel, owned });
        self.standing.insert(of.tunnel);
        self.keeping.begin(of.tunnel, by);
        let (said, over) = oneshot::channel();
        self.up.insert(number, said);
        let Attached { channel, session, ahead } = attached;
        self.kept_by(of.tunnel, &session);
        let (channel, leaves) = (Arc::new(channel), self.keeping.of_peer(of.tunnel));
        Ok(Link { number, path, association: by, channel, session, ahead, leaves, over, orders })
    }

    /// The next process could go on from here; then what waits for that leaves.
    pub(super) fn hand_on(&mut self) {
        match &self.keeping {
            Keeping::Nobody => {}
            Keeping::Dialled(leaves) => match self.standing.first() {
                Some(tunnel) if self.endpoint.take_touched(*tunnel) => {
                    leaves.tunnel(self.endpoint.snapshot(*tunnel));
                }
                Some(_) => {}
                None => leaves.tunnel(None),
            },
            Keeping::Peers(_, all) => {
                for (tunnel, leaves) in all {
                    if self.endpoint.take_touched(*tunnel) {
                        leaves.tunnel(self.endpoint.snapshot(*tunnel));
                    }
                }
            }
        }
    }

    /// The sockets of a session, once more, for whoever keeps them for the next process.
    pub(super) fn kept_by(&self, tunnel: TunnelNumber, session: &L2tpSession) {
        let socket = self.tunnels.get(&tunnel).map(|tunnel| &tunnel.socket);
        let (Some(leaves), Some(socket)) = (self.keeping.of(tunnel), socket) else { return };
        let again = |file: BorrowedFd<'_>| file.try_clone_to_owned();
        match (again(socket.file()), again(session.as_fd())) {
            (Ok(udp), Ok(session)) => leaves.carried_by([udp, session]),
            (Err(error), _) | (_, Err(error)) => debug!(%error, "L2TP: it does not outlive this process"),
        }
    }
}

/// The session of a tunnel that was handed over: there is one.
fn one_session(of: &Restored) -> Result<(SessionNumber, L2tpIds), Failure> {
    let one = || Failure::new(FailureCode::Internal, Step::Call, "L2TP: not one session was handed over");
    let [(number, ids, _)] = of.sessions.as_slice() else { return Err(one()) };
    let (session, peer_session) = (ids.session, ids.peer_session);
    Ok((*number, L2tpIds { tunnel: ids.tunnel, peer_tunnel: ids.peer_tunnel, session, peer_session }))
}
