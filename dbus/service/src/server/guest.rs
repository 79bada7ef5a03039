//! One peer that dialled us, and what it has on this host: states, policies, a lease, perhaps answers on a link. No
//! link and no route of its own.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev2::api::{ChildId, ChildMode, ChildSa, Lease, SaId};

use super::Inner;
use super::eap::Conversation;
use super::resume::Proof;
use crate::esp::{Limits, Numbers};
use crate::handover::Keeper;
use crate::host::Change;
use crate::radius::{Cause, Grant, Session};
use crate::registry::ConnectionId;

pub(crate) struct Guest {
    pub(super) numbers: Numbers,
    facts: Mutex<GuestFacts>,
    /// Its EAP.
    pub(super) conversation: tokio::sync::Mutex<Option<Conversation>>,
    left: AtomicBool,
    handing: Mutex<Handing>,
}

/// What the next process gets of it.
#[derive(Default)]
pub(super) struct Handing {
    pub(super) keeper: Option<Keeper>,
    /// It can go on from that.
    pub(super) goes_on: bool,
}

/// What the driver's task reads and writes.
#[derive(Default)]
pub(super) struct GuestFacts {
    /// Index of the `[[connection]]`, once the peer said who it is; whether it is really for it.
    pub(super) rule: Option<(usize, bool)>,
    /// Where it was then.
    pub(super) path: Option<Path>,
    pub(super) connection: Option<ConnectionId>,
    /// What it has proven itself with.
    pub(super) proof: Proof,
    /// The IKE_SA whose session it resumes, until it is up.
    pub(super) resumes: Option<SaId>,
    /// What a RADIUS server has granted it, until it is up.
    pub(super) grant: Option<Box<Grant>>,
    /// Its session, of which RADIUS servers are told.
    pub(super) session: Option<Arc<Session>>,
    /// What it was refused for, as long as it may try again.
    pub(super) refused: Option<Box<Failure>>,
    /// Why it has to go, where that is known.
    pub(super) cause: Option<Cause>,
    /// The pool that its lease is from, and under which number.
    pub(super) pool: Option<(String, u64)>,
    /// Those that needed a change of this host.
    children: Vec<ChildId>,
}

impl Guest {
    pub(super) fn new(numbers: Numbers) -> Self {
        let conversation = tokio::sync::Mutex::new(None);
        let (facts, handing) = (Mutex::default(), Mutex::default());
        Self { numbers, facts, conversation, left: AtomicBool::new(false), handing }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, GuestFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handing(&self) -> MutexGuard<'_, Handing> {
        self.handing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.facts().connection
    }

    /// Reserves an inbound SPI; it goes with everything else.
    pub(super) fn allocate_spi(
        self: &Arc<Self>,
        server: &Inner,
        sa: SaId,
        path: Path,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + use<> {
        let (guest, sad) = (Arc::clone(self), server.daemon.sad().clone());
        let allocated = sad.allocate_spi(sa, path, self.numbers);
        async move {
            let spi = allocated.await?;
            guest.unless_left(&sad, sa).await.map(|()| spi)
        }
    }

    /// Installs states and policies, and answers for its addresses where they are of a local network. The states are on their way when this returns.
    pub(super) fn install(
        self: &Arc<Self>,
        server: &Arc<Inner>,
        sa: SaId,
        child: ChildSa,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let (guest, server) = (Arc::clone(self), Arc::clone(server));
        let (id, replaces) = (child.child, child.replaces);
        let wanted = self.wanted(&server, &child);
        let rekeying = server.config.ikev2.rekeying;
        let limits = Limits { bytes: rekeying.bytes, packets: rekeying.packets };
        let sad = server.daemon.sad().clone();
        let installed = sad.install(sa, child, self.numbers, limits);
        async move {
            installed.await?;
            guest.unless_left(&sad, sa).await?;
            let made = guest.make(&server, id, replaces, &wanted).await;
            if made.is_err() {
                sad.close_child(sa, id, false).await.iter().for_each(warn);
                server.release(id).await;
            }
            made
        }
    }

    async fn make(
        &self,
        server: &Inner,
        child: ChildId,
        replaces: Option<ChildId>,
        wanted: &[Change],
    ) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut shared = server.shared.lock().await;
        shared.need(&server.changes, child, wanted).await.map_err(|e| {
            Failure::new(FailureCode::KernelRefused, Step::Network, format!("for a client: {e}"))
        })?;
        if let Some(old) = replaces {
            shared.inherit(old, child);
        }
        self.facts().children.push(child);
        Ok(())
    }

    fn wanted(&self, server: &Inner, child: &ChildSa) -> Vec<Change> {
        let Lease { v4, v6, .. } = child.lease;
        if child.mode == ChildMode::Transport {
            return Vec::new();
        }
        self.answers_for(server, v4.map(IpAddr::V4).into_iter().chain(v6.map(|(a, _)| IpAddr::V6(a))))
    }

    /// Changes by which this host answers for its addresses, where they are of a local network.
    pub(super) fn answers_for(&self, server: &Inner, addresses: impl Iterator<Item = IpAddr>) -> Vec<Change> {
        let Some(link) = self.on_subnet(server) else { return Vec::new() };
        addresses.map(|address| Change::ProxyNeighbour { link: link.clone(), address }).collect()
    }

    /// Its CHILD_SA has needed a change of this host.
    pub(super) fn needs(&self, child: ChildId) {
        self.facts().children.push(child);
    }

    fn on_subnet(&self, server: &Inner) -> Option<String> {
        let facts = self.facts();
        let (pool, _) = facts.pool.as_ref()?;
        server.config.pool(pool)?.on_subnet.as_ref().map(|l| l.as_str().to_owned())
    }

    /// Removes a CHILD_SA and what it alone needed; the lease stays until [`Guest::leave`].
    pub(super) fn close_child(
        self: &Arc<Self>,
        server: &Arc<Inner>,
        sa: SaId,
        child: ChildId,
        replaced: bool,
    ) {
        let closed = server.daemon.sad().close_child(sa, child, replaced);
        let (guest, server) = (Arc::clone(self), Arc::clone(server));
        tokio::spawn(async move {
            closed.await.iter().for_each(warn);
            guest.release(&server, child).await;
        });
    }

    async fn release(&self, server: &Inner, child: ChildId) {
        let needed = {
            let children = &mut self.facts().children;
            let at = children.iter().position(|c| *c == child);
            at.map(|at| children.remove(at)).is_some()
        };
        if needed {
            server.release(child).await;
        }
    }

    /// Takes everything away that it had.
    pub(super) async fn leave(&self, server: &Inner, sa: SaId) {
        self.left.store(true, Ordering::Release);
        server.daemon.sad().remove(sa).await.iter().for_each(warn);
        let (lease, connection, children) = {
            let mut facts = self.facts();
            (facts.pool.take(), facts.connection.take(), std::mem::take(&mut facts.children))
        };
        for child in children {
            server.release(child).await;
        }
        if let Some((pool, owner)) = lease
            && let Some((_, pool)) = server.pools().get_mut(&pool)
        {
            pool.release(owner);
        }
        if let Some(connection) = connection {
            server.daemon.registry().remove(connection);
        }
        let keeper = self.handing().keeper.take();
        if let Some(keeper) = keeper {
            keeper.end();
        }
    }

    /// What was done for a peer that has left meanwhile goes, too.
    async fn unless_left(&self, sad: &crate::esp::Sad, sa: SaId) -> Result<(), Failure> {
        if !self.left.load(Ordering::Acquire) {
            return Ok(());
        }
        sad.remove(sa).await.iter().for_each(warn);
        Err(Failure::new(FailureCode::Cancelled, Step::Child, "the peer has left meanwhile"))
    }
}

impl Inner {
    async fn release(&self, child: ChildId) {
        let errors = self.shared.lock().await.release(&self.changes, child).await;
        errors.iter().for_each(warn);
    }
}

fn warn(error: impl std::fmt::Display) {
    tracing::warn!(%error, "a client left, and not everything of it");
}
