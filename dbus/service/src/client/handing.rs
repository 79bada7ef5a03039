//! What a dialled connection hands on to the next process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_ikev2::api::SaId;
use adit_profile::{KeySource, Mode, Profile, Start, TunnelKind};

use super::install::Installation;
use crate::handover::{Keeper, Told, Waits, name_of};
use crate::registry::Owner;

/// What keeps its record. Of a connection that is dialled anew in any case there is none.
#[derive(Default)]
pub(super) struct Handing(Mutex<State>);

#[derive(Default)]
struct State {
    /// What the profile's file was known by.
    print: Option<String>,
    gateway: String,
    keeper: Option<Keeper>,
    waits: Option<Waits>,
}

/// Whether another process can go on with connections of that profile.
pub(crate) fn may_be_handed_on(profile: &Profile) -> bool {
    let carries = match profile.kind {
        TunnelKind::Ikev2 => {
            profile.mode == Mode::Tunnel && profile.children.iter().all(|c| c.mode == Mode::Tunnel)
        }
        TunnelKind::Pptp => true,
        TunnelKind::L2tp => {
            // The next process has to read the key again: where that takes somebody who types, it is not gone on with.
            let typed = profile.key_password.is_none()
                && profile.keys.iter().any(|key| matches!(key, KeySource::Token(_)));
            let rule = profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref());
            rule.is_some_and(|rule| !rule.certificate || !typed)
        }
        TunnelKind::Sstp => false,
    };
    let wakes = profile.start != Start::OnDemand || profile.kind == TunnelKind::Ikev2;
    carries && wakes && profile.strategy.is_none() && !profile.routes_by_dhcp
}

impl Handing {
    /// Of a profile whose file is known by `print`, at that gateway, with its record where there is one.
    pub(super) fn begin(&self, print: String, gateway: String, keeper: Option<Keeper>) {
        let mut state = self.state();
        let keeper = keeper.or(state.keeper.take());
        let waits = state.waits.take();
        *state = State { print: Some(print), gateway, keeper, waits };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Installation {
    /// Whether the next process can go on with what is dialled here; then its IKE_SAs are to be handed on.
    pub(super) fn hands_on(&self) -> bool {
        self.handing.state().print.is_some()
    }

    /// What the next process goes on from.
    pub(super) fn hand_on(&self, sa: SaId, snapshot: Option<&[u8]>) {
        // While it authenticates again there are two.
        let only = self.newest() == Some(sa) && self.sas().len() == 1;
        let facts = self.daemon.registry().get(self.id());
        let mut state = self.handing.state();
        let State { print: Some(print), gateway, keeper, waits } = &mut *state else { return };
        match (snapshot.filter(|_| only), facts.filter(|facts| facts.owner == Owner::Host)) {
            (Some(snapshot), Some(facts)) => {
                if keeper.is_none() {
                    *keeper = Keeper::new(name_of(self.numbers.if_id));
                }
                let told = Told::of(&facts, print, gateway);
                keeper.iter_mut().for_each(|keeper| keeper.write(&told, snapshot));
            }
            // It is dialled anew then. One that waits for a packet waits again.
            (_, Some(facts)) if self.profile.start != Start::OnDemand || waits.is_some() => {
                let told = Told { waits: waits.clone(), ..Told::of(&facts, print, gateway) };
                keeper.iter_mut().for_each(|keeper| keeper.write(&told, &[]));
            }
            _ => keeper.iter_mut().for_each(Keeper::clear),
        }
    }

    /// It waits for a packet there, or not any more.
    pub(super) fn hand_on_waiting(&self, at: Option<Waits>) {
        let facts = self.daemon.registry().get(self.id());
        let mut state = self.handing.state();
        state.waits = at;
        let State { print: Some(print), gateway, keeper, waits: Some(waits) } = &mut *state else { return };
        let Some(facts) = facts.filter(|facts| facts.owner == Owner::Host) else { return };
        if keeper.is_none() {
            *keeper = Keeper::new(name_of(self.numbers.if_id));
        }
        let told = Told { waits: Some(waits.clone()), ..Told::of(&facts, print, gateway) };
        // One that is up has more to hand on.
        keeper.iter_mut().filter(|keeper| !keeper.holds()).for_each(|keeper| keeper.write(&told, &[]));
    }

    /// What is known of it has changed, and perhaps not its IKE_SA.
    pub(super) fn tell_again(&self) {
        let facts = self.daemon.registry().get(self.id());
        let mut state = self.handing.state();
        if let (State { print: Some(print), gateway, keeper: Some(keeper), .. }, Some(facts)) =
            (&mut *state, facts)
        {
            keeper.tell(&Told::of(&facts, print, gateway));
        }
    }

    /// Whether another process could go on from here.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.handing.state().keeper.as_ref().is_some_and(Keeper::holds)
    }

    /// Whether another process at least knows of it, and dials it anew behind its block.
    pub(crate) fn is_told_of(&self) -> bool {
        self.handing.state().keeper.as_ref().is_some_and(Keeper::tells)
    }

    /// What a process before has left could not be gone on with: it is dialled anew, by the next process, too.
    pub(super) fn only_told_of(&self) {
        let facts = self.daemon.registry().get(self.id());
        let waits = self.profile.start == Start::OnDemand;
        if let (State { print: Some(print), gateway, keeper: Some(keeper), .. }, Some(facts)) =
            (&mut *self.handing.state(), facts.filter(|facts| facts.owner == Owner::Host && !waits))
        {
            return keeper.write(&Told::of(&facts, print, gateway), &[]);
        }
        self.hand_on_no_more();
    }

    /// Nobody goes on with it.
    pub(super) fn hand_on_no_more(&self) {
        if let Some(keeper) = self.handing.state().keeper.take() {
            keeper.end();
        }
    }
}
