//! Clients that came to a process before, and that this one goes on with: as a new configuration goes on with those that are in.
//! Whoever has no place in it any more is told so.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use adit_core::{Failure, FailureCode, Identity, Path, Step};
use adit_ikev2::api::{
    ChildId, Lease, LocalAuth, PpkUse, RemoteAuth, ResponderConfig, Restored, SaId, Uniqueness,
};
use adit_pool::Request;
use adit_profile::LinkName;
use adit_xfrm_kernel::XfrmDoor;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::guest::Guest;
use super::handing::ToldClient;
use super::{Inner, LINK};
use crate::daemon::Daemon;
use crate::esp::{Limits, Numbers, Standing, remove_all};
use crate::handover::{self, CLIENTS, Keeper, Opened, as_established};
use crate::host::{Change, Changes, Undo};
use crate::ike::IkeDriver;
use crate::radius::{Cause, Radius, Session};

/// A client that a process before has left.
pub(crate) struct FoundClient {
    numbers: Numbers,
    told: ToldClient,
    snapshot: Zeroizing<Vec<u8>>,
    keeper: Keeper,
}

/// All of them: what they have in the kernel has one if_id.
pub(crate) struct LeftClients {
    pub(crate) if_id: u32,
    clients: Vec<FoundClient>,
}

/// One of them, while it is taken up on the task of whoever drives IKE_SAs.
pub(super) struct Returning {
    guest: Arc<Guest>,
    told: ToldClient,
    /// Its `[[connection]]`, if that is what it was.
    rule: Option<usize>,
    session: Option<Arc<Session>>,
    standing: Arc<Standing>,
    /// Why it has to go after all.
    refused: Option<Failure>,
}

impl LeftClients {
    /// What these descriptors hold. What cannot be believed is not kept any longer.
    pub(crate) fn of(kept: Vec<(String, OwnedFd)>) -> Option<Self> {
        let mut clients = Vec::new();
        for (name, fd) in kept {
            match FoundClient::open(&name, fd) {
                Ok(Some(client)) => clients.push(client),
                Ok(None) => handover::remove(&name),
                Err(why) => {
                    warn!(name, why, "what was handed over is not believed: the client dials anew");
                    handover::remove(&name);
                }
            }
        }
        // A server has one at a time.
        let if_id = clients.first()?.told.if_id;
        let (clients, others): (Vec<_>, Vec<_>) = clients.into_iter().partition(|c| c.told.if_id == if_id);
        others.into_iter().for_each(|client| client.keeper.end());
        Some(Self { if_id, clients })
    }

    /// Nothing else gets their numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = Numbers> {
        Numbers::of_if_id(self.if_id).into_iter().chain(self.clients.iter().map(|client| client.numbers))
    }

    /// Nobody goes on with them: their sessions are over.
    pub(crate) fn end(self, radius: Option<&Arc<Radius>>) {
        for FoundClient { told, keeper, .. } in self.clients {
            if let Some((session, radius)) = told.session.zip(radius) {
                let spent = session.spent;
                Session::again(session, Arc::clone(radius)).end(spent, Cause::NasError);
            }
            keeper.end();
        }
    }
}

impl FoundClient {
    fn open(name: &str, fd: OwnedFd) -> Result<Option<Self>, String> {
        let hex = name.strip_prefix(CLIENTS).ok_or("its name is none of ours")?;
        let number = u32::from_str_radix(hex, 16).ok().and_then(Numbers::of_reqid);
        let numbers = number.ok_or("its name is none of ours")?;
        let Some(Opened { told, snapshot, keeper }) = Keeper::open::<ToldClient>(name, fd)? else {
            return Ok(None);
        };
        Numbers::of_if_id(told.if_id).ok_or("its server had no if_id of ours")?;
        Ok(Some(Self { numbers, told, snapshot, keeper }))
    }
}

/// The numbers and the link of a server that starts: those that it had in the process before, where clients of that go on and the
/// link stands; else new ones, and nothing of the former is left.
pub(super) async fn place(daemon: &Arc<Daemon>, changes: &Changes) -> Result<(Numbers, String), Failure> {
    if let Some(if_id) = daemon.left_if_id() {
        let links = daemon.host().links().await?;
        let stands = links.iter().any(|link| link.if_id == Some(if_id) && link.name == LINK);
        let ours = changes.find(|undo| matches!(undo, Undo::XfrmLink { if_id: made } if *made == if_id));
        if let (true, false, Some(numbers)) = (stands, ours.is_empty(), Numbers::of_if_id(if_id)) {
            daemon.link_name_is_ours(LINK).await;
            return Ok((numbers, LINK.to_owned()));
        }
        clear_away(daemon, changes, if_id).await;
    }
    let link = daemon.reserve_link_name(LinkName::Exactly(LINK)).await?;
    Ok((daemon.numbers(), link))
}

/// What clients of a process before have in the kernel goes, and what their server has changed on this host.
pub(crate) async fn clear_away(daemon: &Arc<Daemon>, changes: &Changes, if_id: u32) {
    let xfrm = daemon.xfrm();
    let removed = tokio::task::spawn_blocking(move || remove_all(xfrm.as_ref(), if_id)).await;
    for error in removed.unwrap_or_default() {
        warn!(%error, "left by the server before, and not removed");
    }
    for error in changes.undo_all().await {
        warn!(%error, "left by the server before, and not undone");
    }
}

impl Inner {
    /// Changes of this host that a process before has made, and that are wanted, are this one's.
    pub(super) async fn take_over_network(&self) -> Result<(), Failure> {
        if self.daemon.left_if_id().is_none() {
            return Ok(());
        }
        let mut made = self.made.lock().await;
        for change in self.network_changes().await? {
            let Some(undo) = self.changes.made_before(&change) else { continue };
            if matches!(change, Change::Nftables { .. }) {
                // Its rules may be others now: it takes the place of itself, in one step.
                let host = self.daemon.host();
                host.apply(&change).await.map_err(|error| super::network::refused(&error))?;
            }
            made.push((change, Some(undo)));
        }
        Ok(())
    }

    /// Goes on with the clients of the process before. What is left here of others goes.
    pub(super) async fn go_on(self: &Arc<Self>, ike: &IkeDriver) {
        let Some(left) = self.daemon.take_left_clients() else { return };
        let (xfrm, if_id) = (self.daemon.xfrm(), left.if_id);
        let read = tokio::task::spawn_blocking(move || Standing::of(xfrm.as_ref() as &dyn XfrmDoor, if_id));
        let standing = match read.await {
            Ok(Ok(standing)) => standing,
            Ok(Err(error)) => {
                warn!(%error, "the kernel does not tell what clients have: they dial anew");
                return left.end(self.radius.as_ref());
            }
            Err(_) => return left.end(self.radius.as_ref()),
        };
        let standing = Arc::new(standing);
        let mut count = 0_usize;
        for client in left.clients {
            match self.go_on_with(ike, client, &standing).await {
                Ok(sa) => {
                    count += 1;
                    self.know_again(sa).await;
                }
                Err(failure) => info!(code = %failure.code, "not gone on with a client: {failure}"),
            }
        }
        info!(clients = count, "server: these go on from before this daemon started");
        if let Some(standing) = Arc::into_inner(standing) {
            self.daemon.sad().tidy(standing).await;
        }
        self.undo_the_rest().await;
    }

    async fn go_on_with(
        self: &Arc<Self>,
        ike: &IkeDriver,
        client: FoundClient,
        standing: &Arc<Standing>,
    ) -> Result<SaId, Failure> {
        let FoundClient { numbers, told, snapshot, keeper } = client;
        let session =
            told.session.clone().zip(self.radius.clone()).map(|(s, radius)| Session::again(s, radius));
        let path = told.path();
        let rule = self.config.connections.iter().position(|c| c.name.as_str() == told.connection);
        let rule = rule.filter(|at| self.connection_prints.get(*at).is_some_and(|p| p.text() == told.print));
        let spent = told.session.as_ref().map(|s| s.spent).unwrap_or_default();
        let lost = |keeper: Keeper, why: &str| {
            if let Some(session) = &session {
                session.end(spent, Cause::NasError);
            }
            keeper.end();
            Failure::new(FailureCode::PeerLost, Step::Established, why.to_owned())
        };
        if snapshot.is_empty() {
            return Err(lost(keeper, "SAs were being made when the daemon before ended: it dials anew"));
        }
        let config = self.config_for(rule, path);
        let guest = Arc::new(Guest::new(Numbers { if_id: self.numbers.if_id, ..numbers }));
        let returning = Returning {
            guest: Arc::clone(&guest),
            told,
            rule,
            session: session.clone(),
            standing: Arc::clone(standing),
            refused: None,
        };
        *self.returning() = Some(Box::new(returning));
        guest.handing().keeper = Some(keeper);
        let restored = ike.restore_peer(snapshot, config, Arc::new(Arc::clone(self))).await;
        let returned = self.returning().take();
        let Some(restored) = restored else {
            let keeper = guest.handing().keeper.take();
            let why = "what was handed over cannot be gone on with: it dials anew";
            return Err(match keeper {
                Some(keeper) => lost(keeper, why),
                None => Failure::new(FailureCode::PeerLost, Step::Established, why),
            });
        };
        let ports = ike.sockets().ports();
        let bound = [ports.ike, ports.nat].contains(&restored.path.local.port());
        let elsewhere = || not_any_more("this server has other ports now");
        let refused = returned.and_then(|returned| returned.refused);
        match refused.or_else(|| (!bound).then(elsewhere)) {
            None => Ok(restored.sa),
            Some(failure) => {
                guest.facts().cause.get_or_insert(Cause::AdminReset);
                ike.close(restored.sa);
                Err(failure)
            }
        }
    }

    /// By which rules it goes on; where there are none for it any more, it is only told so.
    fn config_for(&self, rule: Option<usize>, path: Path) -> ResponderConfig {
        let found = rule.and_then(|at| Some((at, self.config.connections.get(at)?)));
        let config = found.and_then(|(at, rule)| self.responder(SaId(0), at, rule, path).ok());
        config.unwrap_or_else(|| ResponderConfig {
            name: String::new(),
            local_id: Identity::Address(path.local.ip()),
            local_auth: LocalAuth::Psk,
            remote_auth: RemoteAuth::Psk,
            ppk: PpkUse::Off,
            esp: self.esp.clone(),
            local_ts: Vec::new(),
            remote_ts: Vec::new(),
            addresses: true,
            transport: false,
            uniqueness: Uniqueness::Keep,
            mobike: None,
            ticket_lifetime: std::time::Duration::ZERO,
            timing: self.timing(),
        })
    }

    /// On the driver's task, before any question or event of it.
    pub(super) fn returned(self: &Arc<Self>, restored: &Restored) {
        let mut slot = self.returning();
        let Some(returning) = slot.as_deref_mut() else { return };
        let guest = Arc::clone(&returning.guest);
        self.guests().insert(restored.sa, Arc::clone(&guest));
        if let Some(session) = &returning.session {
            let spent = returning.told.session.as_ref().map(|s| s.spent).unwrap_or_default();
            self.daemon.sad().count_on(restored.sa, spent);
            guest.facts().session = Some(Arc::clone(session));
        }
        let admitted = self.admit(restored, returning);
        returning.refused = admitted.err();
    }

    fn admit(self: &Arc<Self>, restored: &Restored, returning: &Returning) -> Result<(), Failure> {
        let Returning { guest, told, rule, session, standing, .. } = returning;
        let rekeying = self.config.ikev2.rekeying;
        let limits = Limits { bytes: rekeying.bytes, packets: rekeying.packets };
        self.daemon.sad().adopt(restored, standing, guest.numbers, limits)?;
        let rule = rule.ok_or_else(|| not_any_more("its [[connection]] is another now, or gone"))?;
        {
            let mut facts = guest.facts();
            (facts.rule, facts.path) = (Some((rule, true)), Some(restored.path));
        }
        if let Some(pool) = &told.pool {
            self.lease_back(restored.sa, pool, &restored.remote_id, &restored.lease)?;
            guest.facts().pool = Some((pool.clone(), restored.sa.0));
        }
        let connection = Some(told.connection.clone());
        let up = as_established(restored).ok_or_else(|| not_any_more("it has no CHILD_SA"))?;
        let shown = self.show_client(restored.sa, &adit_ikev2::api::Established { connection, ..up });
        self.daemon.registry().update(shown, |facts| told.tell(facts));
        if let Some(session) = session {
            self.keep_session(restored.sa, session);
        }
        Ok(())
    }

    /// It has these addresses still.
    fn lease_back(&self, sa: SaId, pool: &str, identity: &Identity, lease: &Lease) -> Result<(), Failure> {
        let mut pools = self.pools();
        let (_, pool) =
            pools.get_mut(pool).ok_or_else(|| not_any_more("the pool of its addresses is gone"))?;
        let v6 = lease.v6.map(|(address, _)| address);
        let wanted = Request { v4: lease.v4.is_some(), v6: v6.is_some(), wanted_v4: lease.v4, wanted_v6: v6 };
        let same = |got: &adit_pool::Lease| (got.v4, got.v6.map(|(a, _)| a)) == (lease.v4, v6);
        // The same identity may have them by another IKE_SA, whose place one of both takes.
        for again in [false, true] {
            let got = match again {
                false => pool.lease(sa.0, identity, wanted),
                true => pool.lease_again(sa.0, identity, wanted),
            };
            if got.as_ref().is_ok_and(same) {
                return Ok(());
            }
            pool.release(sa.0);
        }
        Err(not_any_more("its addresses are another's, or of no pool any more"))
    }

    /// What it needs of this host is known again, and how that is taken back.
    async fn know_again(&self, sa: SaId) {
        let Some(guest) = self.guests().get(&sa).cloned() else { return };
        let children: Vec<ChildId> = self.daemon.sad().children(sa);
        let shown = guest.connection().and_then(|connection| self.daemon.registry().get(connection));
        let addresses = shown.map(|facts| facts.addresses).unwrap_or_default();
        let wanted = guest.answers_for(self, addresses.iter().map(|prefix| prefix.address));
        if wanted.is_empty() {
            return;
        }
        let mut shared = self.shared.lock().await;
        for child in children {
            shared.adopt(&self.changes, child, wanted.clone());
            guest.needs(child);
        }
    }

    /// What a process before has changed, and nobody needs.
    async fn undo_the_rest(&self) {
        let made = self.made.lock().await;
        let shared = self.shared.lock().await;
        let kept: BTreeSet<u64> = made.iter().filter_map(|(_, undo)| *undo).chain(shared.undos()).collect();
        let mut rest = self.changes.find(|_| true);
        rest.retain(|number| !kept.contains(number));
        rest.reverse();
        for error in self.changes.undo_each(&rest).await {
            warn!(%error, "left by the server before, and not undone");
        }
    }

    fn returning(&self) -> std::sync::MutexGuard<'_, Option<Box<Returning>>> {
        self.returning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_any_more(why: &str) -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Established, format!("it is sent away: {why}"))
}
