//! What a link hands on to the next process: one that is dialled, or a client's.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_profile::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Unit;
use crate::blocking::blocking;
use crate::handover::{Bundle, LINK_PREFIX, LinkTold, join, unit_part};
use crate::registry::{Facts, Owner};

/// What the next process can go on with.
pub(crate) struct Leaving<'a> {
    /// Its interface.
    pub(crate) unit: &'a Unit,
    /// What carries it, by name.
    pub(crate) files: &'a [(&'static str, BorrowedFd<'a>)],
    /// Its cores, as they are left.
    pub(crate) snapshots: &'a [&'a [u8]],
}

impl Leaving<'_> {
    /// Its unit: of others than the kernel's nothing outlives a process.
    pub(super) const fn of_kernel(&self) -> Option<&adit_ppp_kernel::Unit> {
        match self.unit {
            Unit::Kernel(unit) => Some(unit),
            Unit::Fed(_) | Unit::Tun(_) => None,
        }
    }
}

/// How a connection was dialled.
#[derive(Clone)]
pub(super) struct Dialled {
    /// What the profile's file was known by.
    pub(super) print: String,
    pub(super) gateway: String,
    /// Where the profile's servers are.
    pub(super) known: Vec<(ServerName, Vec<SocketAddr>)>,
    pub(super) ends: (SocketAddr, SocketAddr),
    /// Who we are.
    pub(super) name: String,
}

/// The part that leads to the helper that runs pppd's scripts: those of the end run when nobody has it any more.
pub(super) const HELPER: &str = "scripts";

/// What keeps one link's record and descriptors.
#[derive(Default)]
pub(super) struct Kept {
    bundle: Option<Bundle>,
    /// For that, once there is one.
    helper: Option<OwnedFd>,
    /// The interface that the manager keeps, too.
    index: Option<u32>,
}

impl Kept {
    /// The same of what a process before has left, with that interface.
    pub(super) const fn again(bundle: Bundle, index: u32) -> Self {
        Self { bundle: Some(bundle), helper: None, index: Some(index) }
    }

    /// Whether the next process could go on with it.
    pub(super) fn holds(&self) -> bool {
        self.bundle.as_ref().is_some_and(Bundle::holds)
    }

    /// Who runs its scripts is kept with it: it is said before there is anything to go on from.
    pub(super) fn helped_by(&mut self, helper: Option<OwnedFd>) {
        self.helper = helper;
    }

    /// From here the next process goes on, under a name that begins so.
    pub(super) fn write(
        &mut self,
        (prefix, number): (&str, u32),
        (leaving, unit): (&Leaving<'_>, &adit_ppp_kernel::Unit),
        told: &impl Serialize,
    ) {
        if self.bundle.is_none() {
            let index = unit.standing().index;
            let mut files = vec![(unit_part(index), unit.file())];
            files.extend(leaving.files.iter().map(|(part, file)| ((*part).to_owned(), *file)));
            files.extend(self.helper.iter().map(|helper| (HELPER.to_owned(), helper.as_fd())));
            self.bundle = Bundle::new(prefix, number, &files);
            self.index = self.bundle.as_ref().map(|_| index);
            self.helper = None;
        }
        let snapshot = join(leaving.snapshots);
        self.bundle.iter_mut().for_each(|bundle| bundle.write(told, &snapshot));
    }

    /// What is known of it is other words now.
    pub(super) fn tell<T: Serialize + DeserializeOwned + PartialEq>(&mut self, told: T) {
        if let Some(bundle) = &mut self.bundle {
            bundle.tell(told);
        }
    }

    /// Nobody can go on from this moment.
    pub(super) fn clear(&mut self) {
        self.bundle.iter_mut().for_each(Bundle::clear);
    }

    /// Nothing of it is kept any more, but for its interface, until that is [taken](Kept::take_index).
    pub(super) fn no_more(&mut self) {
        self.helper = None;
        if let Some(bundle) = self.bundle.take() {
            bundle.end();
        }
    }

    /// The interface that is to be [removed](remove).
    pub(super) const fn take_index(&mut self) -> Option<u32> {
        self.index.take()
    }
}

/// Whoever kept it may have it open still: an interface is to be gone now.
pub(super) async fn remove(index: u32) {
    let remove = move || adit_ppp_kernel::Unit::remove(index);
    let removed = blocking(adit_core::Step::Close, "removing the interface", remove).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "an interface that was kept stays");
    }
}

/// What keeps a dialled link's record. Of one that is dialled anew in any case there is none.
#[derive(Default)]
pub(crate) struct Handing(Mutex<State>);

#[derive(Default)]
struct State {
    dialled: Option<Dialled>,
    kept: Kept,
}

impl Handing {
    /// The next process may go on with what was dialled so.
    pub(super) fn begin(&self, dialled: Dialled) {
        self.state().dialled = Some(dialled);
    }

    /// The same of what a process before has left, with that interface.
    pub(super) fn goes_on(&self, dialled: Dialled, bundle: Bundle, index: u32) {
        *self.state() = State { dialled: Some(dialled), kept: Kept::again(bundle, index) };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next process can go on with what is dialled here.
    pub(crate) fn hands_on(&self) -> bool {
        self.state().dialled.is_some()
    }

    /// Whether it could from here.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.state().kept.holds()
    }

    /// Who runs its scripts.
    pub(super) fn helped_by(&self, helper: Option<OwnedFd>) {
        self.state().kept.helped_by(helper);
    }

    /// What the next process goes on from; `None`: it can't.
    pub(super) fn hand_on(&self, if_id: u32, facts: Option<&Facts>, leaving: Option<&Leaving<'_>>) {
        let mut state = self.state();
        let State { dialled: Some(dialled), kept } = &mut *state else { return };
        let facts = facts.filter(|facts| facts.owner == Owner::Host);
        match leaving.zip(facts).and_then(|(leaving, facts)| Some((leaving, leaving.of_kernel()?, facts))) {
            Some((leaving, unit, facts)) => {
                kept.write((LINK_PREFIX, if_id), (leaving, unit), &told(dialled, facts, unit));
            }
            None => kept.clear(),
        }
    }

    /// Nobody goes on with it: nothing of it is kept any more, but for its interface, until [`Handing::end`].
    pub(super) fn no_more(&self) {
        let mut state = self.state();
        state.dialled = None;
        state.kept.no_more();
    }

    /// Its interface is to be gone now.
    pub(super) async fn end(&self) {
        let index = self.state().kept.take_index();
        if let Some(index) = index {
            remove(index).await;
        }
    }
}

fn told(dialled: &Dialled, facts: &Facts, unit: &adit_ppp_kernel::Unit) -> LinkTold {
    let standing = unit.standing();
    let known = dialled.known.iter().map(|(server, all)| (server.to_string(), all.clone()));
    LinkTold {
        profile: facts.profile.clone(),
        print: dialled.print.clone(),
        gateway: dialled.gateway.clone(),
        known: known.collect(),
        dns_by_caller: facts.dns_by_caller,
        since: facts.since,
        local: dialled.ends.0,
        remote: dialled.ends.1,
        name: dialled.name.clone(),
        link: standing.name.to_owned(),
        index: standing.index,
        number: standing.number,
    }
}
