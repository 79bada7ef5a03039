//! The record of what we have in the kernel's databases of SAs and of policies (RFC 4301 §4.4.1, §4.4.2).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adit_core::{Failure, FailureCode, Path, Step, TrafficSelector};
use adit_dbus_api::Traffic;
use adit_ikev2::api::{ChildId, ChildMode, ChildSa, EspKeys, Input, SaId};
use adit_xfrm_kernel::{AllocateSpi, OUR_REQIDS, Plugged, StateId, XfrmDoor, XfrmError};
use tokio::sync::{Notify, mpsc};

use super::books::Books;
use super::child::{Lineage, Numbers, selectors};
use super::queue::Queue;
use super::work::Inherited;
use super::{Awaited, Limits, events};
use crate::ike::WeakIkeDriver;

/// How long the outbound state of a CHILD_SA that was rekeyed stands beside its successor, which the kernel sends by: what
/// has been on its way through the kernel's output when the successor came is dropped where its state is gone
/// (XfrmOutStateInvalid).
const ON_THE_WAY_OUT: Duration = Duration::from_millis(250);

/// How long the inbound state of a CHILD_SA that was rekeyed still takes what is on the way (RFC 7296 §2.8).
const ON_THE_WAY: Duration = Duration::from_secs(5);

/// How long an inbound state stands at a former address of ours.
const LEFT_FOR: Duration = Duration::from_secs(1);

/// Every CHILD_SA of the daemon. What is asked of the kernel is done in the order of the calls, whether or not their
/// outcome is waited for.
#[derive(Clone)]
pub struct Sad {
    door: Arc<dyn XfrmDoor>,
    queue: Queue,
    books: Arc<Mutex<Books>>,
    last_number: Arc<AtomicU32>,
    ike: Arc<OnceLock<WeakIkeDriver>>,
    /// Who hears of whom something has been added to that is counted nowhere else.
    spent: Arc<OnceLock<mpsc::UnboundedSender<SaId>>>,
}

impl Sad {
    /// Nothing yet.
    #[must_use]
    pub fn new(door: Arc<dyn XfrmDoor>) -> Self {
        Self {
            door,
            queue: Queue::default(),
            books: Arc::default(),
            last_number: Arc::default(),
            ike: Arc::default(),
            spent: Arc::default(),
        }
    }

    /// Numbers that nothing else of ours has.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        loop {
            // if_id 0 is none, so counting begins at 1.
            let numbers = Numbers::nth(self.last_number.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
            if numbers.reqid != *OUR_REQIDS.start() && self.books().is_free(numbers.reqid) {
                return numbers;
            }
        }
    }

    /// These are somebody's already, who goes on with them: [`Sad::numbers`] gives later ones.
    pub fn keep_clear_of(&self, numbers: Numbers) {
        self.last_number.fetch_max(numbers.number(), Ordering::Relaxed);
    }

    /// Reserves an inbound SPI; it goes with everything else of its IKE_SA.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn allocate_spi(
        &self,
        sa: SaId,
        path: Path,
        numbers: Numbers,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || {
            let (local, remote) = (path.local.ip(), path.remote.ip());
            let spi = sad.door.allocate_spi(&AllocateSpi::tunnel(
                local,
                remote,
                numbers.reqid,
                Some(numbers.if_id),
            ))?;
            let larval = StateId { destination: local, spi, mark: None };
            sad.books().sas.entry(sa).or_default().larval.push(larval);
            Ok(spi)
        });
        async { done.await.unwrap_or_else(|| Err(died())) }
    }

    /// Has an xfrm interface of its own, by its index, hold what enters it while states are replaced. Whether it can.
    pub fn plug(&self, link: u32) -> impl Future<Output = bool> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || {
            let plugged = sad.door.plug(link);
            // A kernel without sch_plug: a packet may be lost where our own address changes.
            plugged.inspect_err(|error| tracing::debug!(%error, "moves are not held back for")).is_ok()
        });
        async { done.await.unwrap_or_default() }
    }

    /// Packets come to the states of an IKE_SA through this link, which holds them when it is told to ([`Sad::plug`]).
    pub fn comes_through(&self, sa: SaId, link: u32) {
        if let Some(owned) = self.books().sas.get_mut(&sa) {
            owned.plugged = Some(Plugged { link, orderly: true });
        }
    }

    /// The IKE_SA is about to move: `orderly`, with its former path still there, or since that is lost.
    pub fn moves(&self, sa: SaId, orderly: bool) {
        if let Some(plugged) = self.books().sas.get_mut(&sa).and_then(|owned| owned.plugged.as_mut()) {
            plugged.orderly = orderly;
        }
    }

    /// Installs a CHILD_SA: its states, and the policies that are not there yet.
    ///
    /// # Errors
    /// Traffic selectors that the kernel's policies cannot express, or the kernel refused. Nothing of it stands then.
    pub fn install(
        &self,
        sa: SaId,
        child: ChildSa,
        numbers: Numbers,
        limits: Limits,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || sad.install_now(sa, child, numbers, limits));
        async { done.await.unwrap_or_else(|| Err(died())) }
    }

    /// Adds the outbound state of a CHILD_SA that was installed without.
    ///
    /// # Errors
    /// There is no such CHILD_SA, or the kernel refused.
    pub fn install_outbound(
        &self,
        sa: SaId,
        child: ChildId,
        keys: EspKeys,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || {
            let (reqid, state) = {
                let books = sad.books();
                let (reqid, lineage, found) = books.find(sa, child).ok_or_else(gone)?;
                (reqid, lineage.kernel_child(found, (None, Some(keys)), Vec::new())?)
            };
            let peer = state.remote;
            sad.door.install(state)?;
            sad.books().stands_at(reqid, child, peer);
            sad.point_policies(reqid, peer)
        });
        async { done.await.unwrap_or_else(|| Err(died())) }
    }

    /// Removes a CHILD_SA. The states of one that was rekeyed go when what is on the way has gone through them; so do those of
    /// one with whose traffic another IKE_SA of the same peer carries on, as after a re-authentication (RFC 7296 §2.8.3).
    pub fn close_child(
        &self,
        sa: SaId,
        child: ChildId,
        replaced: bool,
    ) -> impl Future<Output = Vec<XfrmError>> + Send + use<> {
        let sad = self.clone();
        let lingers = replaced.then(|| self.clone());
        let runtime = tokio::runtime::Handle::current();
        let done = self.queue.run(move || {
            let (errors, inherited) = sad.close_now(sa, child, replaced);
            sad.inherit(&runtime, inherited);
            errors
        });
        if let Some(sad) = lingers {
            tokio::spawn(async move {
                tokio::time::sleep(ON_THE_WAY_OUT).await;
                let drained = sad.clone();
                tell(&sad.queue.run(move || drained.drain_now(sa, child)).await.unwrap_or_default());
                tokio::time::sleep(ON_THE_WAY - ON_THE_WAY_OUT).await;
                tell(&sad.close_child(sa, child, false).await);
            });
        }
        async { done.await.unwrap_or_default() }
    }

    /// The heir's states take over, and then the former ones go.
    fn inherit(&self, runtime: &tokio::runtime::Handle, inherited: impl IntoIterator<Item = Inherited>) {
        for Inherited { heir, outbound, inbound } in inherited {
            let sad = self.clone();
            runtime.spawn(async move {
                let since = Instant::now();
                // The heir's outbound state may be on its way into the kernel yet.
                loop {
                    tokio::time::sleep(ON_THE_WAY_OUT).await;
                    if sad.carries(heir) || since.elapsed() >= ON_THE_WAY {
                        break;
                    }
                }
                sad.remove_left_of(heir, outbound.into_iter().collect()).await;
                tokio::time::sleep(ON_THE_WAY.saturating_sub(since.elapsed())).await;
                sad.remove_left_of(heir, vec![inbound]).await;
            });
        }
    }

    /// Everything of an IKE_SA goes over this path from now on. CHILD_SAs that cannot be moved are rekeyed. Where our own
    /// address is another one, inbound states stand on both for a second: they take what was on its way. (Whoever copies
    /// packets on the way could bring one that the former state has taken in that time to the new one, once.)
    pub fn follow(&self, sa: SaId, path: Path, encapsulated: bool) {
        let sad = self.clone();
        let runtime = tokio::runtime::Handle::current();
        // Nobody waits for it: what is to be told is told by the work itself.
        drop(self.queue.run(move || {
            let (rekeyed, left) = sad.relocate_now(sa, path, encapsulated);
            if !left.is_empty() {
                let sad = sad.clone();
                runtime.spawn(async move {
                    tokio::time::sleep(LEFT_FOR).await;
                    sad.remove_left_of(sa, left).await;
                });
            }
            for child in rekeyed {
                let _ = sad.tell(Input::Rekey { sa, child: Some(child) });
            }
        }));
    }

    /// Tells whoever drives IKE_SAs; whether there still is somebody. If not, nobody needs it.
    pub(super) fn tell(&self, input: Input) -> bool {
        self.ike.get().is_some_and(|ike| ike.input(input))
    }

    /// Passes on what the kernel tells by itself: limits that were reached, peers elsewhere.
    pub(crate) fn report_to(&self, ike: WeakIkeDriver) {
        let known = self.ike.set(ike.clone()).is_err();
        if known {
            return;
        }
        match self.door.subscribe() {
            Ok(events) => drop(tokio::spawn(events::listen(self.clone(), events, ike))),
            Err(error) => tracing::warn!(%error, "no events of the kernel: rekeys are by time only"),
        }
    }

    /// Removes everything of an IKE_SA, at once; see [`Sad::close_child`].
    pub fn remove(&self, sa: SaId) -> impl Future<Output = Vec<XfrmError>> + Send + use<> {
        let sad = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let done = self.queue.run(move || {
            let (errors, inherited) = sad.remove_now(sa);
            sad.inherit(&runtime, inherited);
            errors
        });
        async { done.await.unwrap_or_default() }
    }

    async fn remove_left_of(&self, sa: SaId, left: Vec<StateId>) {
        let (again, queue) = (self.clone(), self.queue.clone());
        tell(&queue.run(move || again.remove_left(sa, &left)).await.unwrap_or_default());
    }

    /// Policies without states: their packets go nowhere, and the first one is told to whoever waits for it.
    ///
    /// # Errors
    /// See [`Sad::install`].
    pub fn trap(&self, of: Awaited) -> impl Future<Output = Result<Arc<Notify>, Failure>> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || sad.trap_now(&of));
        async { done.await.unwrap_or_else(|| Err(died())) }
    }

    /// Whether something has policies for that traffic already.
    #[must_use]
    pub fn is_claimed(
        &self,
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
        path: Path,
    ) -> bool {
        let wanted = selectors(local_ts, remote_ts, ChildMode::Transport, path);
        wanted.is_ok_and(|wanted| self.books().is_claimed(&wanted))
    }

    /// Removes a trap's policies.
    pub fn remove_trap(&self, reqid: u32) -> impl Future<Output = Vec<XfrmError>> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || sad.remove_trap_now(reqid));
        async { done.await.unwrap_or_default() }
    }

    /// The CHILD_SAs of an IKE_SA.
    #[must_use]
    pub fn children(&self, sa: SaId) -> Vec<ChildId> {
        self.books().children(sa).map(|child| child.id).collect()
    }

    /// Every state of an IKE_SA.
    #[must_use]
    pub fn all_states(&self, sa: SaId) -> Vec<StateId> {
        let books = self.books();
        let of = |c| Lineage::outbound(c).into_iter().chain([Lineage::inbound(c)]);
        books.children(sa).flat_map(of).collect()
    }

    /// The newest inbound and outbound state of an IKE_SA's first CHILD_SA.
    #[must_use]
    pub fn states(&self, sa: SaId) -> Option<(StateId, StateId)> {
        let books = self.books();
        let first = books.sas.get(&sa)?.reqids.first()?;
        let lineage = books.lineages.get(first)?;
        let newest = lineage.children.iter().rev().find(|c| c.peer.is_some())?;
        Some((Lineage::inbound(newest), Lineage::outbound(newest)?))
    }

    /// The mark of the packets of an IKE_SA's first CHILD_SA, inside of IPsec, where they have one.
    #[must_use]
    pub fn mark(&self, sa: SaId) -> Option<u32> {
        let books = self.books();
        let first = books.sas.get(&sa)?.reqids.first()?;
        books.lineages.get(first)?.mark()
    }

    /// From now on everything that an IKE_SA moves is counted, also by CHILD_SAs that go.
    pub fn count(&self, sa: SaId) {
        self.books().sas.entry(sa).or_default().spent.get_or_insert_default();
    }

    /// The same, for one of which so much was counted by a process before.
    pub fn count_on(&self, sa: SaId, spent: Traffic) {
        self.books().sas.entry(sa).or_default().spent = Some(Box::new(spent));
    }

    /// What those of its CHILD_SAs have moved that are gone, if it is counted.
    #[must_use]
    pub fn spent(&self, sa: SaId) -> Option<Traffic> {
        self.books().sas.get(&sa)?.spent.as_deref().copied()
    }

    /// Whose [`Sad::spent`] is another from now on. Only who asks first is told.
    pub(crate) fn follow_spent(&self) -> Option<mpsc::UnboundedReceiver<SaId>> {
        let (tell, told) = mpsc::unbounded_channel();
        self.spent.set(tell).is_ok().then_some(told)
    }

    pub(super) fn add_spent(&self, sa: SaId, moved: Traffic) {
        if let Some(spent) = self.books().sas.get_mut(&sa).and_then(|owned| owned.spent.as_mut()) {
            super::work::add(spent, moved);
        }
        if let Some(tell) = self.spent.get() {
            // Nobody listens any more: then nobody needs it.
            let _ = tell.send(sa);
        }
    }

    /// What it has moved since [`Sad::count`].
    pub fn counted(&self, sa: SaId) -> impl Future<Output = Traffic> + Send + use<> {
        let sad = self.clone();
        let done = self.queue.run(move || sad.counted_now(sa));
        async { done.await.unwrap_or_default() }
    }

    /// Whether an IKE_SA has a CHILD_SA that carries.
    #[must_use]
    pub fn carries(&self, sa: SaId) -> bool {
        self.states(sa).is_some()
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        // The books are consistent between any two statements that hold them, so a panicked holder harms nothing.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn door(&self) -> &Arc<dyn XfrmDoor> {
        &self.door
    }
}

pub(super) fn tell(errors: &[XfrmError]) {
    errors.iter().for_each(|error| tracing::warn!(%error, "not removed"));
}

fn died() -> Failure {
    Failure::new(FailureCode::Internal, Step::Child, "the kernel's door died")
}

fn gone() -> Failure {
    Failure::new(FailureCode::Cancelled, Step::Child, "the CHILD_SA is gone meanwhile")
}
