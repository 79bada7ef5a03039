//! From one process of this daemon to the next: what it leaves standing, and what it goes on with.

mod guests;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::Failure;
use adit_ikev2::api::SaId;
use tracing::{info, warn};

use super::{Daemon, lock};
use crate::client::{self, ClientHandle, Dial, journal_of, may_be_handed_on, may_roam};
use crate::esp::Numbers;
use crate::handover::{CLIENTS, Found, settled};
use crate::host::{Kept, reconcile};
use crate::l2tp::numbers_of;
use crate::registry::{ConnectionId, Facts, Role};
use crate::server::{LeftClients, clear_away};
use crate::uplinks::UPLINKS;

pub(super) use guests::of_kind;

/// The journal of the server.
const SERVER: &str = "server";

impl Daemon {
    /// Undoes what a daemon that died left behind, but for what it has handed over. What is blocked always stands before
    /// anything else goes.
    pub async fn reconcile(&self) {
        let mut found = self.handover.take();
        let mut good = BTreeMap::new();
        while let Some((name, one)) = found.pop_first() {
            match self.can_go_on(one.if_id, &one.told.profile, &one.told.print) {
                Ok(()) => drop(good.insert(name, one)),
                Err(why) => {
                    warn!(profile = name, why, "not gone on with: it is dialled anew");
                    one.keeper.end();
                }
            }
        }
        let mut journals: BTreeSet<String> = self.stand_blocked().await.into_iter().collect();
        journals.extend(good.values().map(|one| journal_of(one.if_id)));
        let links = self.good_links();
        let roams = |name: &String| self.files.profile(name).is_ok_and(|profile| may_roam(&profile));
        if good.keys().any(roams) || !links.is_empty() {
            journals.insert(UPLINKS.to_owned());
        }
        journals.extend(links.values().map(|one| journal_of(one.number)));
        let mut if_ids: BTreeSet<u32> = good.values().map(|one| one.if_id).collect();
        if_ids.extend(links.values().map(|one| one.number));
        let left = LeftClients::of(self.handover.take_others(CLIENTS));
        if let Some(left) = left.filter(|_| !self.settings.foreground) {
            journals.insert(SERVER.to_owned());
            if_ids.insert(left.if_id);
            *lock(&self.left_clients) = Some(left);
        }
        self.keep_guests(&mut journals);
        let around = links.values().flat_map(|one| numbers_of(&one.snapshot));
        let waiting = good.values().filter_map(|one| Some(one.told.waits.as_ref()?.reqid));
        let reqids =
            around.map(|numbers| numbers.reqid).chain(self.reqids_of_guests()).chain(waiting).collect();
        let kept = Kept { journals, if_ids, reqids };
        for failure in reconcile(&self.doors.host, &self.doors.xfrm, &self.journal_folder(), &kept).await {
            warn!(%failure, "left by the daemon before, and not undone");
        }
        self.handover.keep(good);
        self.handover.keep_links(links);
    }

    /// The if_id of clients of a server before, while nobody has gone on with them.
    pub(crate) fn left_if_id(&self) -> Option<u32> {
        lock(&self.left_clients).as_ref().map(|left| left.if_id)
    }

    /// Those clients, for the server that goes on with them.
    pub(crate) fn take_left_clients(&self) -> Option<LeftClients> {
        lock(&self.left_clients).take()
    }

    /// There is no server that goes on with them: nothing of them is left.
    pub async fn end_left_clients(self: &Arc<Self>) {
        self.end_left_guests().await;
        let Some(left) = self.take_left_clients() else { return };
        warn!("no server goes on with the clients of the one before");
        match self.changes(SERVER) {
            Ok(changes) => clear_away(self, &changes, left.if_id).await,
            Err(failure) => warn!(%failure, "left by the server before, and not undone"),
        }
        let config = self.files.server().ok().flatten();
        let radius = config.and_then(|(config, _)| self.radius.of(&config, &self.files).ok().flatten());
        left.end(radius.as_ref());
        if let Some(radius) = radius {
            radius.last_words().await;
        }
    }

    /// What is counted of a client has changed.
    pub(crate) async fn tell_again(&self, sa: SaId) {
        if let Some(server) = self.server.lock().await.as_ref() {
            server.tell_again(sa);
        }
    }

    /// Whether what was left with this if_id is of that profile, which is as it was.
    fn can_go_on(&self, if_id: u32, profile: &str, print: &str) -> Result<(), &'static str> {
        if self.settings.foreground || Numbers::of_if_id(if_id).is_none() {
            return Err("it is not this daemon's");
        }
        if self.files.print_of_profile(profile).as_deref() != Some(print) {
            return Err("its profile has changed");
        }
        let profile = self.files.profile(profile);
        match profile.is_ok_and(|profile| may_be_handed_on(&profile)) {
            true => Ok(()),
            false => Err("its profile cannot be used"),
        }
    }

    /// Goes on with what the daemon before has handed over.
    pub fn go_on(self: &Arc<Self>) {
        let all = self.handover.take();
        for numbers in all.values().filter_map(|found| Numbers::of_if_id(found.if_id)) {
            self.sad.keep_clear_of(numbers);
        }
        let waiting = all.values().filter_map(|found| Numbers::of_reqid(found.told.waits.as_ref()?.reqid));
        waiting.for_each(|numbers| self.sad.keep_clear_of(numbers));
        for numbers in lock(&self.left_clients).iter().flat_map(LeftClients::numbers) {
            self.sad.keep_clear_of(numbers);
        }
        self.keep_clear_of_guests();
        for (name, found) in all {
            if let Err(failure) = self.go_on_with(&name, found) {
                warn!(profile = name, code = %failure.code, "not gone on with: {failure}");
            }
        }
        self.go_on_with_links(self.handover.take_links());
    }

    fn go_on_with(self: &Arc<Self>, name: &str, found: Found) -> Result<(), Failure> {
        let profile = match self.files.profile(name) {
            Ok(profile) => profile,
            Err(failure) => {
                found.keeper.end();
                return Err(failure);
            }
        };
        let Some(numbers) = Numbers::of_if_id(found.if_id) else { return Ok(()) };
        let new = Facts::new(Role::Client, name, &profile.server());
        let id = self.registry.add(Facts { dns_by_caller: found.told.dns_by_caller, ..new });
        self.was_raised(name, id);
        let daemon = Arc::clone(self);
        let found = Some((client::Found::Ike(Box::new(found)), numbers));
        let handle = client::start(Dial { id, profile, daemon, persistent: false, found });
        lock(&self.clients).insert(id, handle);
        Ok(())
    }

    /// Ends for the next process: what that can go on with stays as it is, and everything else is taken down.
    pub async fn leave(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.leave_networks();
        let handed_on = |daemon: &Self| -> Vec<ConnectionId> {
            let all = lock(&daemon.clients);
            all.iter().filter(|(_, handle)| handle.is_handed_on()).map(|(id, _)| *id).collect()
        };
        let up = |daemon: &Self| lock(&daemon.clients).values().filter(|handle| handle.may_settle()).count();
        settled(|| handed_on(self).len() >= up(self)).await;
        let left = handed_on(self);
        info!(connections = left.len(), "these go on in the next process");
        // What they have here stands until they are dialled anew: nothing leaves in clear meanwhile.
        let told = |(id, handle): &(&ConnectionId, &ClientHandle)| !left.contains(id) && handle.is_told_of();
        let told: Vec<ConnectionId> = lock(&self.clients).iter().filter(told).map(|(id, _)| *id).collect();
        if !told.is_empty() {
            info!(connections = told.len(), "these are dialled anew, or wait again, in the next process");
        }
        let left: Vec<ConnectionId> = left.into_iter().chain(told).collect();
        let others: Vec<ClientHandle> = {
            let all = lock(&self.clients);
            all.iter().filter(|(id, _)| !left.contains(id)).map(|(_, handle)| handle.clone()).collect()
        };
        self.stop_dialled(others).await;
        self.leave_ppp().await;
        if let Some(server) = self.server.lock().await.take() {
            server.leave().await;
        }
        self.leave_local_networks().await;
    }
}
