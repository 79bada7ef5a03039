//! Clients that came in to a process before, and that this one goes on with: as long as their server is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use adit_core::Failure;
use adit_dbus_api::Traffic;
use adit_l2tp::Association;
use adit_ppp::{LinkConfig, Restored};
use adit_ppp_kernel as kernel;
use adit_profile::TunnelKind;
use tokio::sync::watch;
use tracing::{info, warn};

use super::doors::Doors;
use super::serve::attend;
use super::{Going, Inner};
use crate::esp::{Numbers, Sad};
use crate::handover::{FoundGuest, ToldGuest, unit_part};
use crate::host::{Change, HostError};
use crate::ppp::guest::{Guest, not_any_more};
use crate::ppp::handing::HELPER;
use crate::ppp::{Later, Session};
use crate::radius::{Cause, Radius, Session as Accounted};
use crate::suites::Outside;
use crate::{l2tp, pptp};

/// All of a server's that a process before has left.
pub(crate) struct LeftGuests {
    /// That server's.
    if_id: u32,
    guests: Vec<FoundGuest>,
}

/// The journal of a server whose clients dial by this.
pub(crate) fn journal_of(kind: TunnelKind) -> String {
    let word = match kind {
        TunnelKind::Ikev2 | TunnelKind::Pptp => "pptp",
        TunnelKind::Sstp => "sstp",
        TunnelKind::L2tp => "l2tp",
    };
    format!("{word}-server")
}

impl LeftGuests {
    /// Those of these whose server is still known by this. `None`: there is none. The others are gone.
    pub(crate) fn of(
        found: Vec<FoundGuest>,
        server: Option<&str>,
        (sad, radius): (&Sad, Option<&Arc<Radius>>),
    ) -> Option<Self> {
        // A server has one at a time.
        let if_id = found.first()?.told.if_id;
        let goes_on = |guest: &FoundGuest| {
            Numbers::of_if_id(if_id).is_some()
                && guest.told.if_id == if_id
                && Some(guest.told.print.as_str()) == server
        };
        let (guests, others): (Vec<_>, Vec<_>) = found.into_iter().partition(goes_on);
        for guest in others {
            let user = &guest.told.identity;
            warn!(user, "not gone on with: its server is configured otherwise now, or there is none");
            end(guest, (sad, radius));
        }
        (!guests.is_empty()).then_some(Self { if_id, guests })
    }

    /// Those of their server.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        Numbers::of_if_id(self.if_id)
    }

    /// Those of what is around their tunnels.
    pub(crate) fn numbers_around(&self) -> impl Iterator<Item = Numbers> {
        self.guests.iter().flat_map(|guest| l2tp::numbers_of(&guest.snapshot))
    }

    /// Nobody goes on with them: their sessions are over.
    pub(crate) fn end(self, sad: &Sad, radius: Option<&Arc<Radius>>) {
        self.guests.into_iter().for_each(|guest| end(guest, (sad, radius)));
    }
}

/// Nobody goes on with it: its session is over.
fn end(mut found: FoundGuest, (sad, radius): (&Sad, Option<&Arc<Radius>>)) {
    l2tp::forget_guest(sad, &found.snapshot, &found.files);
    if let Some((session, radius)) = found.told.session.take().zip(radius) {
        let carried = carried(&found).unwrap_or_default();
        Accounted::again(session, Arc::clone(radius)).end(carried, Cause::NasError);
    }
    found.refuse();
}

/// What its unit has carried.
fn carried(found: &FoundGuest) -> Option<Traffic> {
    let ToldGuest { link, index, number, .. } = &found.told;
    let file = found.files.get(&unit_part(*index))?.try_clone().ok()?;
    let unit = kernel::Unit::adopt(file, &kernel::Standing { name: link, index: *index, number: *number });
    let counted = unit.and_then(|unit| unit.statistics()).ok()?;
    Some(Traffic {
        bytes_in: counted.bytes_in,
        bytes_out: counted.bytes_out,
        packets_in: counted.packets_in,
        packets_out: counted.packets_out,
    })
}

impl Inner {
    /// Makes changes of this host. Those that a process before has made are this one's; their tables of nftables are made anew,
    /// `unless` they are to stay as they are.
    pub(super) async fn make(&self, wanted: &[Change], unless: bool) -> Result<(), HostError> {
        let mut made = Vec::new();
        let mut fresh = Vec::new();
        for change in wanted {
            match self.changes.made_before(change) {
                None => fresh.push(change.clone()),
                Some(undo) => {
                    made.push(Some(undo));
                    if !unless && matches!(change, Change::Nftables { .. }) {
                        // Its rules may be others now: it takes the place of itself, in one step.
                        self.daemon.host().apply(change).await?;
                    }
                }
            }
        }
        let done = self.changes.make_all(&fresh, &mut made).await;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).extend(made.into_iter().flatten());
        done.map_err(|not| not.why)
    }

    /// What a process before has changed, and nobody wants any more.
    async fn undo_the_rest(&self) {
        let made: BTreeSet<u64> = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut rest = self.changes.find(|_| true);
        rest.retain(|number| !made.contains(number));
        rest.reverse();
        for error in self.changes.undo_each(&rest).await {
            warn!(%error, "left by the {} server before, and not undone", self.carriage.name());
        }
    }

    /// Goes on with the clients of the process before: the tasks that drive them.
    pub(super) async fn go_on(
        self: &Arc<Self>,
        doors: &mut Doors,
        going: &watch::Receiver<Going>,
    ) -> Vec<Later<()>> {
        let left = self.daemon.take_left_guests(self.config.kind);
        let mut returned: Vec<Later<()>> = Vec::new();
        for found in left.into_iter().flat_map(|left| left.guests) {
            let user = found.told.identity.clone();
            match self.go_on_with(found, doors, going).await {
                Ok(task) => returned.push(task),
                Err(failure) => {
                    let name = self.carriage.name();
                    info!(user, code = %failure.code, "{name}: not gone on with a client: {failure}");
                }
            }
        }
        if !returned.is_empty() {
            let clients = returned.len();
            info!(clients, "{} server: these go on from before this daemon started", self.carriage.name());
        }
        self.undo_the_rest().await;
        returned
    }

    async fn go_on_with(
        self: &Arc<Self>,
        found: FoundGuest,
        doors: &mut Doors,
        going: &watch::Receiver<Going>,
    ) -> Result<Later<()>, Failure> {
        if found.told.print != self.print {
            end(found, (self.daemon.sad(), self.radius.as_ref()));
            return Err(not_any_more("its server is configured otherwise now"));
        }
        let carried = carried(&found).unwrap_or_default();
        let FoundGuest { told, snapshot, mut files, bundle, .. } = found;
        self.number_units_after(&told.link);
        let guest = Guest::again(self, &told, (bundle, files.remove(HELPER)));
        let (stop, disconnected) = watch::channel(false);
        let mut session: Option<Box<dyn Session>> = None;
        let done = async {
            // Whoever does not go on is told by its session.
            let (restored, again) = self.session_again(&guest, &told, (&snapshot, files), doors).await?;
            let unit = again.unit().cloned();
            session = Some(again);
            guest.lease_back()?;
            let unit = unit.ok_or_else(|| not_any_more("it has no interface"))?;
            guest.returns((&unit, told.since), restored, &stop).await
        };
        match (done.await, session) {
            (Ok(()), Some(session)) => {
                Ok(Box::pin(attend(guest, session, going.clone(), (stop, disconnected))))
            }
            (done, session) => {
                guest.no_more();
                // A peer that does not answer is not waited for here.
                tokio::spawn(async move {
                    match session {
                        Some(session) => {
                            guest.account(session.unit(), Cause::NasError).await;
                            session.end().await;
                        }
                        None => guest.is_over(&carried, Cause::NasError),
                    }
                    guest.is_not_kept().await;
                    guest.leave().await;
                });
                Err(done.err().unwrap_or_else(|| not_any_more("it has no session")))
            }
        }
    }

    /// Its session, as it was left.
    async fn session_again(
        &self,
        guest: &Arc<Guest>,
        told: &ToldGuest,
        (snapshot, files): (&[u8], BTreeMap<String, OwnedFd>),
        doors: &mut Doors,
    ) -> Result<(Restored, Box<dyn Session>), Failure> {
        // How long its packets are and which families it has is in the snapshot.
        let link = self.link_config(self.carriage.most_mtu());
        match doors {
            Doors::Streams(_) => {
                let unit = kernel::Standing { name: &told.link, index: told.index, number: told.number };
                let left = pptp::Left { ends: (told.local, told.remote), unit, snapshot, files };
                let (session, restored) = pptp::answer_again(left, link, Arc::clone(guest) as _)?;
                Ok((restored, Box::new(session)))
            }
            Doors::L2tp(_, engine, _) => {
                self.tunnel_again(engine, (guest, told), (snapshot, files), link).await
            }
        }
    }

    /// The same of an L2TP tunnel's, or nothing of what is around it stays.
    async fn tunnel_again(
        &self,
        engine: &mut l2tp::Engine,
        (guest, told): (&Arc<Guest>, &ToldGuest),
        (snapshot, files): (&[u8], BTreeMap<String, OwnedFd>),
        link: LinkConfig,
    ) -> Result<(Restored, Box<dyn Session>), Failure> {
        let ids = l2tp::ids_of(&files);
        let done = self.tunnel_as_left(engine, (guest, told), (snapshot, files), link).await;
        if done.is_err() {
            let told = self.guard.get().is_some_and(|guard| guard.closes(snapshot));
            if !told {
                l2tp::forget_sas(self.daemon.sad(), snapshot);
            }
            l2tp::disown(snapshot, ids);
        }
        done
    }

    async fn tunnel_as_left(
        &self,
        engine: &mut l2tp::Engine,
        (guest, told): (&Arc<Guest>, &ToldGuest),
        (snapshot, mut files): (&[u8], BTreeMap<String, OwnedFd>),
        link: LinkConfig,
    ) -> Result<(Restored, Box<dyn Session>), Failure> {
        let none = || not_any_more("what was handed over is none of a tunnel's of L2TP");
        let parts = l2tp::Parts::of(snapshot).ok_or_else(none)?;
        let rule = self.config.l2tp.as_ref().ok_or_else(none)?;
        let (by, outside) = match (self.guard.get(), parts.protection) {
            (Some(guard), Some(around)) => {
                let (by, outside, _) = guard.returns(told.path(), around).await?;
                (by, outside)
            }
            (None, None) => (Association::default(), Outside::L2tp),
            (Some(_), None) | (None, Some(_)) => return Err(none()),
        };
        guest.is_inside_of(outside);
        let mut file = |part: &str| files.remove(part).ok_or_else(none);
        let unit = kernel::Standing { name: &told.link, index: told.index, number: told.number };
        let unit = kernel::Unit::adopt(file(&unit_part(told.index))?, &unit)?;
        let [udp, session] = l2tp::Parts::sockets();
        let sockets = [file(udp)?, file(session)?];
        let secret = l2tp::secret(self.daemon.files(), rule)?;
        let rules = (rule, secret, self.most);
        let came = l2tp::listen_again(engine, (told.path(), by), rules, (&parts, sockets)).await?;
        let world = Arc::clone(guest) as _;
        let (session, restored) = l2tp::Session::answer_again(came, parts.link, unit, (link, world)).await?;
        Ok((restored, Box::new(session)))
    }

    /// Interfaces to come are numbered after this one.
    fn number_units_after(&self, link: &str) {
        let number = link.strip_prefix(self.carriage.prefix()).and_then(|n| n.parse::<u32>().ok());
        if let Some(next) = number.and_then(|n| n.checked_add(1)) {
            self.next_unit.fetch_max(next, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
