//! An engine that hands what it has dialled on to the next process, and one that goes on with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_l2tp::{Endpoint, Restored};
use adit_ppp_kernel::{L2tpIds, L2tpSession, L2tpTunnel};
use adit_xfrm_kernel::ike_socket::IkeSocket;
use tokio::sync::mpsc;
use tracing::debug;

use super::{Carried, Engine, Link, Tunnel, attach};
use crate::l2tp::Leaves;

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
        let one = || Failure::new(FailureCode::Internal, Step::Call, "L2TP: not one session was handed over");
        let [(number, ids, _)] = of.sessions.as_slice() else { return Err(one()) };
        let kernel = L2tpTunnel::adopt(ids.tunnel)?;
        let ids = L2tpIds {
            tunnel: ids.tunnel,
            peer_tunnel: ids.peer_tunnel,
            session: ids.session,
            peer_session: ids.peer_session,
        };
        let session = kernel.session_again(session, ids)?;
        let (mut engine, links) = Self::dialling(endpoint, socket, Some(leaves));
        let none = || Failure::new(FailureCode::Internal, Step::Call, "L2TP: there is no socket");
        let socket = engine.sockets.first().cloned().ok_or_else(none)?;
        engine.tunnels.insert(of.tunnel, Tunnel { socket, kernel, _owned: None });
        engine.standing.insert(of.tunnel);
        // Whether data messages are numbered is the kernel's session's.
        let carried = Carried { attached: None, up: Some(false), path: of.path, association: of.association };
        engine.carried.insert(*number, carried);
        let number = *number;
        engine.attaching.spawn(async move { (number, attach(session, None).await) });
        Ok((engine, links))
    }

    /// The next process could go on from here; then what waits for that leaves.
    pub(super) fn hand_on(&mut self) {
        let Some(leaves) = &self.leaves else { return };
        match self.standing.first() {
            Some(tunnel) if self.endpoint.take_touched(*tunnel) => {
                leaves.tunnel(self.endpoint.snapshot(*tunnel));
            }
            Some(_) => {}
            None => leaves.tunnel(None),
        }
    }

    /// The sockets of a session, once more, for whoever keeps them for the next process.
    pub(super) fn kept_by(&self, session: &L2tpSession) {
        let (Some(leaves), Some(socket)) = (&self.leaves, self.sockets.first()) else { return };
        let again = |file: BorrowedFd<'_>| file.try_clone_to_owned();
        match (again(socket.file()), again(session.as_fd())) {
            (Ok(udp), Ok(session)) => leaves.carried_by([udp, session]),
            (Err(error), _) | (_, Err(error)) => debug!(%error, "L2TP: it does not outlive this process"),
        }
    }
}
