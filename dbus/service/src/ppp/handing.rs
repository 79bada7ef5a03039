//! What a dialled link hands on to the next process.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_profile::ServerName;

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

/// What keeps a link's record. Of one that is dialled anew in any case there is none.
#[derive(Default)]
pub(crate) struct Handing(Mutex<State>);

#[derive(Default)]
struct State {
    dialled: Option<Dialled>,
    bundle: Option<Bundle>,
    /// The interface that the manager keeps, too.
    index: Option<u32>,
}

impl Handing {
    /// The next process may go on with what was dialled so.
    pub(super) fn begin(&self, dialled: Dialled) {
        self.state().dialled = Some(dialled);
    }

    /// The same of what a process before has left, with that interface.
    pub(super) fn goes_on(&self, dialled: Dialled, bundle: Bundle, index: u32) {
        *self.state() = State { dialled: Some(dialled), bundle: Some(bundle), index: Some(index) };
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
        self.state().bundle.as_ref().is_some_and(Bundle::holds)
    }

    /// What the next process goes on from; `None`: it can't.
    pub(super) fn hand_on(&self, if_id: u32, facts: Option<&Facts>, leaving: Option<&Leaving<'_>>) {
        let mut state = self.state();
        let State { dialled: Some(dialled), bundle, index } = &mut *state else { return };
        let facts = facts.filter(|facts| facts.owner == Owner::Host);
        let ready = leaving.zip(facts).and_then(|(leaving, facts)| {
            let Unit::Kernel(unit) = leaving.unit else { return None };
            Some((leaving, unit.standing(), unit.file(), told(dialled, facts, unit)))
        });
        let Some((leaving, standing, file, told)) = ready else {
            return bundle.iter_mut().for_each(Bundle::clear);
        };
        if bundle.is_none() {
            let mut files = vec![(unit_part(standing.index), file)];
            files.extend(leaving.files.iter().map(|(part, file)| ((*part).to_owned(), *file)));
            *bundle = Bundle::new(LINK_PREFIX, if_id, &files);
            *index = bundle.as_ref().map(|_| standing.index);
        }
        let snapshot = join(leaving.snapshots);
        bundle.iter_mut().for_each(|bundle| bundle.write(&told, &snapshot));
    }

    /// Nobody goes on with it: nothing of it is kept any more, but for its interface, until [`Handing::end`].
    pub(super) fn no_more(&self) {
        let mut state = self.state();
        state.dialled = None;
        if let Some(bundle) = state.bundle.take() {
            bundle.end();
        }
    }

    /// Whoever kept it may have it open still: its interface is to be gone now.
    pub(super) async fn end(&self) {
        let Some(index) = self.state().index.take() else { return };
        let remove = move || adit_ppp_kernel::Unit::remove(index);
        let removed = blocking(adit_core::Step::Close, "removing the interface", remove).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "an interface that was kept stays");
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
