//! One peer that dialled us, and what it has on this host: states, policies, a lease, perhaps answers on a link. No
//! link and no route of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev2::api::ChildSa;
use adit_xfrm_kernel::{PolicyId, StateId};

use super::Inner;
use crate::esp::{Numbers, TunnelSa, allocate_spi, kernel_child};
use crate::host::Change;
use crate::registry::ConnectionId;

pub(crate) struct Guest {
    pub(super) numbers: Numbers,
    facts: Mutex<GuestFacts>,
    slot: tokio::sync::Mutex<Slot>,
}

/// What the driver's task reads and writes.
#[derive(Default)]
pub(super) struct GuestFacts {
    /// Index of the `[[connection]]`, once the peer said who it is; whether it is really for it.
    pub(super) rule: Option<(usize, bool)>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) states: Option<(StateId, StateId)>,
    /// The pool that its lease is from, and under which number.
    pub(super) pool: Option<(String, u64)>,
}

#[derive(Default)]
struct Slot {
    left: bool,
    /// Inbound SPIs that were reserved.
    larval: Vec<StateId>,
    states: Vec<StateId>,
    policies: Vec<PolicyId>,
    /// Undos of the answers that we give for its addresses.
    answers: Vec<u64>,
}

impl Guest {
    pub(super) fn new(numbers: Numbers) -> Self {
        Self { numbers, facts: Mutex::default(), slot: tokio::sync::Mutex::default() }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, GuestFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.facts().connection
    }

    pub(super) fn states(&self) -> Option<(StateId, StateId)> {
        self.facts().states
    }

    /// Reserves an inbound SPI; it goes with everything else.
    pub(super) async fn allocate_spi(&self, server: &Inner, path: Path) -> Result<u32, Failure> {
        let mut slot = self.slot.lock().await;
        if slot.left {
            return Err(has_left());
        }
        let (spi, larval) = allocate_spi(&*server.daemon.xfrm(), path, self.numbers)?;
        slot.larval.push(larval);
        Ok(spi)
    }

    /// Installs its states and policies, and answers for its addresses where they are of a local network.
    pub(super) async fn install(&self, server: &Inner, child: ChildSa) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.left {
            return Err(has_left());
        }
        let addresses =
            child.lease.v4.map(Into::into).into_iter().chain(child.lease.v6.map(|(a, _)| a.into()));
        let addresses: Vec<std::net::IpAddr> = addresses.collect();
        let TunnelSa { child, states, policies } = kernel_child(child, self.numbers)?;
        (slot.states, slot.policies) = (vec![states.0, states.1], policies);
        let xfrm = server.daemon.xfrm();
        // The kernel works on it while we wait, on one processor or another: a second thread would only add to it.
        xfrm.install(child)?;
        self.facts().states = Some(states);
        let Some(link) = self.on_subnet(server) else { return Ok(()) };
        for address in addresses {
            let change = Change::ProxyNeighbour { link: link.clone(), address };
            let made = server.changes.make(&change).await.map_err(|e| {
                Failure::new(FailureCode::KernelRefused, Step::Network, format!("{change}: {e}"))
            })?;
            slot.answers.extend(made);
        }
        Ok(())
    }

    fn on_subnet(&self, server: &Inner) -> Option<String> {
        let facts = self.facts();
        let (pool, _) = facts.pool.as_ref()?;
        server.config.pool(pool)?.on_subnet.as_ref().map(|l| l.as_str().to_owned())
    }

    /// Removes its states and policies; the lease stays until [`Guest::leave`].
    pub(super) async fn close_child(&self, server: &Inner) {
        let mut slot = self.slot.lock().await;
        self.remove_states(server, &mut slot).await;
    }

    /// Takes everything away that it had.
    pub(super) async fn leave(&self, server: &Inner) {
        let mut slot = self.slot.lock().await;
        slot.left = true;
        self.remove_states(server, &mut slot).await;
        for number in std::mem::take(&mut slot.answers).into_iter().rev() {
            if let Err(error) = server.changes.undo_one(number).await {
                tracing::warn!(%error, "a client left, and not everything of it");
            }
        }
        let (lease, connection) = {
            let mut facts = self.facts();
            (facts.pool.take(), facts.connection.take())
        };
        if let Some((pool, owner)) = lease
            && let Some((_, pool)) = server.pools().get_mut(&pool)
        {
            pool.release(owner);
        }
        if let Some(connection) = connection {
            server.daemon.registry().remove(connection);
        }
    }

    async fn remove_states(&self, server: &Inner, slot: &mut Slot) {
        self.facts().states = None;
        let (mut states, policies) = (std::mem::take(&mut slot.states), std::mem::take(&mut slot.policies));
        states.append(&mut slot.larval);
        let xfrm = server.daemon.xfrm();
        let remove = move || {
            let mut errors = xfrm.remove_policies(&policies);
            errors.extend(xfrm.remove_states(&states));
            errors
        };
        for error in tokio::task::spawn_blocking(remove).await.unwrap_or_default() {
            tracing::warn!(%error, "a client's states");
        }
    }
}

fn has_left() -> Failure {
    Failure::new(FailureCode::Cancelled, Step::Child, "the peer has left meanwhile")
}
