//! The IPsec around a server's tunnels. Policies of the kernel stand before its sockets do: what does not come inside of
//! ESP is not taken, and what would leave in clear is dropped. They outlive this daemon; the next one removes them.

mod returning;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Secret, Step};
use adit_ikev1::api::{
    Answer, Ask, AuthMethod, ChildMode, Event, ResponderConfig, ResponderDefaults, Restored, SaId,
};
use adit_l2tp::{Association, PORT};
use adit_ppp_kernel::L2tpOwners;
use adit_profile::{IpsecRule, PskSource, ServerConfig};
use adit_xfrm_kernel::{
    Action, Direction, Mark, Mode, Policy, PolicyId, PolicyPlan, PortMatch, Selector, Template, XfrmDoor,
};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::agreed::Agreed;
use super::certificates::{self, Certificates};
use super::engine::WeakOrders;
use super::ipsec::{UDP, esp_proposals, note, others, selector};
use super::{Leaves, PATH_MTU, by_ikev2, protected_mtu};
use crate::blocking::blocking;
use crate::clock;
use crate::daemon::Daemon;
use crate::esp::{Around, Limits, Numbers, Sad};
use crate::host::{Change, MARK, MARK_MASK};
use crate::ike::{IkeDriver, Pending, Ports, V1Context};
use crate::server::{Strangers, until};
use crate::suites::{self, Outside};
use returning::Returning;
pub(super) use returning::Snapshot;
pub(crate) use returning::{disown, forget_guest, forget_sas, ids_of};

/// All clients together may take so long to be let go.
const FAREWELL: Duration = Duration::from_secs(3);
/// Bytes of the IP packets that hold the fragments of a longer IKE message.
const FRAGMENT: u16 = 1280;

/// What stands around a server.
pub(crate) struct Guard {
    ike: IkeDriver,
    door: Arc<dyn XfrmDoor>,
    keeper: Arc<Keeper>,
    blocks: Vec<PolicyId>,
    defaults: ResponderDefaults,
}

impl Guard {
    /// From here on nothing of L2TP's port is taken or leaves, but inside of IPsec; nobody is let in yet.
    ///
    /// # Errors
    /// The pre-shared key can't be read, IKE's ports are taken, or the kernel refuses a policy.
    pub(crate) async fn raise(
        daemon: &Arc<Daemon>,
        server: &ServerConfig,
        (rule, addresses): (&IpsecRule, &[IpAddr]),
        certificates: Option<Certificates>,
    ) -> Result<Self, Failure> {
        let key = rule.psk.clone().map(|file| daemon.files().psk(&PskSource::File(file))).transpose()?;
        let ike = daemon.ike(Ports { ike: server.listen.port, nat: server.listen.nat_port }, true).await?;
        let keeper = Keeper {
            key,
            certificates: RwLock::new(certificates.map(Arc::new)),
            sad: daemon.sad().clone(),
            rule: rule.clone(),
            marks: tells_clients_apart(),
            engine: OnceLock::new(),
            guests: Mutex::default(),
            left: Notify::new(),
            strangers: Strangers::new(clock::now()),
            leaves: Mutex::default(),
            returning: Mutex::default(),
        };
        let policies = blocks(addresses, daemon.numbers().reqid);
        let guard = Self {
            ike,
            door: daemon.xfrm(),
            keeper: Arc::new(keeper),
            blocks: policies.iter().map(|p| p.id).collect(),
            defaults: defaults(server, rule, addresses),
        };
        let door = daemon.xfrm();
        let asked = move || door.update_policies(&policies).map_err(Failure::from);
        match blocking(Step::Kernel, "policies for L2TP's port", asked).await.and_then(|done| done) {
            Ok(()) => Ok(guard),
            Err(failure) => {
                guard.end(true).await;
                Err(failure)
            }
        }
    }

    /// Lets clients in.
    pub(crate) fn let_in(&self) {
        let certificates = self.keeper.certificates();
        let authorities = certificates.map(|known| known.authorities()).unwrap_or_default();
        let defaults = ResponderDefaults { authorities, ..self.defaults.clone() };
        if self.keeper.rule.ikev1 {
            self.ike.set_v1_responder(Some((defaults, Arc::clone(&self.keeper) as _)));
        }
        if self.keeper.rule.ikev2 {
            let beside = by_ikev2::beside(&self.defaults, &self.keeper.rule);
            self.ike.set_beside(Some((beside, Arc::clone(&self.keeper) as _)));
        }
    }

    /// Has other certificates for whoever comes next.
    pub(crate) fn renew(&self, certificates: Option<Certificates>) {
        *self.keeper.certificates.write().unwrap_or_else(PoisonError::into_inner) =
            certificates.map(Arc::new);
        self.let_in();
    }

    /// What protects the tunnel of who is there and came by this, and the longest packet of its link, in octets. `None`: nothing
    /// does.
    pub(crate) fn protects(&self, from: SocketAddr, by: Association) -> Option<(Outside, u16)> {
        let guests = self.keeper.guests();
        let mut standing =
            guests.iter().rev().filter_map(|(sa, guest)| Some((sa, guest, guest.up.as_deref()?)));
        let is_it = |(sa, guest, up): &(&SaId, &Known, &Agreed)| match self.keeper.marks {
            true => self.keeper.mark(**sa, guest).is_some_and(|mark| Association(mark) == by),
            false => up.path.remote.ip() == from.ip(),
        };
        let (.., up) = standing.find(is_it)?;
        Some((up.shown(), protected_mtu(PATH_MTU, up, None)))
    }

    /// Where it is said whose tunnel is whose, if peers are told apart by the marks of their IPsec.
    pub(super) fn owners(&self) -> Option<L2tpOwners> {
        self.keeper.marks.then_some(OWNERS)
    }

    /// Who has the tunnels: it hears when what protects one is gone.
    pub(super) fn tells(&self, engine: WeakOrders) {
        let _ = self.keeper.engine.set(engine);
    }

    /// What keeps clients out of each other's tunnels, where the kernel does not.
    pub(crate) fn rules(&self) -> Option<Change> {
        self.owners().map(rules)
    }

    /// Lets nobody in any more, tells who is, and takes the policies away last. They stay where the server is not `over`, and
    /// so may still send: the next start of the daemon, or of the server, has them.
    pub(crate) async fn end(&self, over: bool) {
        self.ike.set_v1_responder(None);
        self.ike.set_beside(None);
        let all: Vec<SaId> = self.keeper.guests().keys().copied().collect();
        all.iter().for_each(|sa| self.ike.close(*sa));
        let _ = tokio::time::timeout(FAREWELL, until(&self.keeper.left, || self.keeper.guests().is_empty()))
            .await;
        for sa in all {
            for error in self.keeper.sad.remove(sa).await {
                warn!(%error, "L2TP server: not removed");
            }
        }
        if !over {
            return warn!(
                "L2TP server: it does not end in time, so UDP {PORT} stays blocked outside of IPsec"
            );
        }
        let (door, blocks) = (Arc::clone(&self.door), self.blocks.clone());
        let removed = move || door.remove_policies(&blocks);
        for error in tokio::task::spawn_blocking(removed).await.unwrap_or_default() {
            warn!(%error, "L2TP server: not removed");
        }
    }
}

fn defaults(server: &ServerConfig, rule: &IpsecRule, addresses: &[IpAddr]) -> ResponderDefaults {
    let half_open = usize::try_from(server.limits.half_open).unwrap_or(usize::MAX);
    ResponderDefaults {
        ike: suites::ike_proposals(&rule.ike, rule.legacy),
        auths: [(rule.certificates, AuthMethod::RsaSignatures), (rule.psk.is_some(), AuthMethod::Psk)]
            .into_iter()
            .filter_map(|(allowed, method)| allowed.then_some(method))
            .collect(),
        authorities: Vec::new(),
        addresses: addresses.iter().copied().filter(|a| !a.is_unspecified()).collect(),
        half_open_limit: half_open,
        half_open_per_address: (half_open / 4).max(1),
        limit: usize::try_from(server.limits.clients).unwrap_or(usize::MAX),
        fragment_size: FRAGMENT,
        timing: suites::timing(rule.rekeying),
    }
}

/// Whether clients behind one NAT can be told apart: else the last one to come in has the policies.
fn tells_clients_apart() -> bool {
    let can = adit_ppp_kernel::finds_sessions_by_ids();
    if !can {
        warn!("L2TP server: {ONE_BEHIND_A_NAT}");
    }
    can
}

/// What a kernel can't do that does not find sessions by their IDs.
pub(crate) const ONE_BEHIND_A_NAT: &str = "of several clients behind one NAT only the last to come in is carried: this kernel can't \
                                           tell them apart; Linux 6.11 and later can";

const OWNERS: L2tpOwners = L2tpOwners { table: "adit-l2tp-tunnels", owners: "owners", tunnels: "tunnels" };

/// The kernel finds a session by the two IDs of a data message, whoever has sent it: what a client's IPsec lets in may have
/// its own Tunnel IDs only, and what comes otherwise none of theirs. A header has the Tunnel ID behind its length, if it has
/// one (RFC 2661 §3.1); control messages, whose first bit is set, are the daemon's to look at.
fn rules(of: L2tpOwners) -> Change {
    let L2tpOwners { table, owners, tunnels } = of;
    let mut body = format!(
        "set {owners} {{\n  typeof meta mark . @th,80,16\n}}\nset {tunnels} {{\n  typeof @th,80,16\n}}\n\
         chain data {{\n  type filter hook input priority -150; policy accept;\n"
    );
    for (header, id) in [(0x0000, "@th,80,16"), (0x4000, "@th,96,16")] {
        let strange =
            format!("udp dport {PORT} @th,64,16 & 0xc000 == {header:#06x} meta mark . {id} != @{owners}");
        // Writing to a String does not fail.
        let _ = writeln!(body, "  meta mark & {MARK_MASK:#x} == {MARK:#x} {strange} counter drop");
        let _ = writeln!(body, "  {strange} {id} @{tunnels} counter drop");
    }
    body.push_str("}\n");
    Change::Nftables { table: table.into(), body }
}

/// What stands in the way of everything that is not protected: below every client's own policies. Outbound only what is
/// this daemon's, by its mark: what this host forwards for others is theirs.
fn blocks(addresses: &[IpAddr], reqid: u32) -> Vec<Policy> {
    let of = |address: &IpAddr| {
        let any = if address.is_ipv4() { Prefix::ANY_V4 } else { Prefix::ANY_V6 };
        let unspecified: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = if address.is_unspecified() { any } else { Prefix::host(*address) };
        let out = Selector {
            source: local,
            destination: any,
            protocol: UDP,
            source_port: PortMatch::exactly(PORT),
            destination_port: PortMatch::ANY,
        };
        let mark = Some(Mark { value: MARK, mask: MARK_MASK });
        [(Direction::Out, out, mark), (Direction::In, out.reversed(), None)].map(
            |(direction, selector, mark)| {
                Policy {
                    id: PolicyId { direction, selector, if_id: None, mark },
                    priority: PolicyPlan::DEFAULT_PRIORITY,
                    action: Action::Block,
                    // It only says whose the policy is.
                    template: Some(Template {
                        source: unspecified,
                        destination: unspecified,
                        reqid,
                        mode: Mode::Transport,
                    }),
                }
            },
        )
    };
    addresses.iter().flat_map(of).collect()
}

/// Who answers for clients.
pub(super) struct Keeper {
    /// Of all clients that have no certificate.
    pub(super) key: Option<Secret>,
    /// For the others.
    certificates: RwLock<Option<Arc<Certificates>>>,
    pub(super) sad: Sad,
    pub(super) rule: IpsecRule,
    /// Each client has a mark.
    marks: bool,
    engine: OnceLock<WeakOrders>,
    guests: Mutex<BTreeMap<SaId, Known>>,
    /// Announces each that has left.
    left: Notify,
    /// What may be logged of who has proven nothing.
    strangers: Strangers,
    /// What the next process goes on from, by clients' marks.
    leaves: Mutex<BTreeMap<u32, Weak<Leaves>>>,
    /// One of a process before, while it is taken up on the task of whoever drives IKE.
    returning: Mutex<Option<Returning>>,
}

/// A client, or who wants to be one.
struct Known {
    numbers: Numbers,
    up: Option<Box<Agreed>>,
    /// What its packets had when it came in.
    mark: Option<u32>,
    /// Its IKE, as the next process would go on with it.
    snapshot: Option<Snapshot>,
}

impl Keeper {
    fn guests(&self) -> MutexGuard<'_, BTreeMap<SaId, Known>> {
        // It is consistent between any two statements that hold it, so a panicked holder harms nothing.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn numbers_of(&self, sa: SaId) -> Numbers {
        let numbers = || Numbers { marked: self.marks, ..self.sad.numbers() };
        let fresh = || Known { numbers: numbers(), up: None, mark: None, snapshot: None };
        self.guests().entry(sa).or_insert_with(fresh).numbers
    }

    fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn config(&self, local: IpAddr, auth: AuthMethod) -> ResponderConfig {
        let v4 = local.is_ipv4();
        let certificates = self.certificates().filter(|_| auth == AuthMethod::RsaSignatures);
        let ours = certificates.as_ref().map(|known| known.identity().clone());
        ResponderConfig {
            name: "l2tp".into(),
            local_id: self.rule.local_id.clone().or(ours).unwrap_or(Identity::Address(local.to_canonical())),
            own: certificates.map(|known| known.chains()).unwrap_or_default(),
            esp: esp_proposals(&self.rule.esp, self.rule.legacy, false),
            mode: ChildMode::Transport,
            local_ts: vec![selector(v4, PORT..=PORT)],
            remote_ts: vec![selector(v4, 0..=u16::MAX)],
            timing: suites::timing(self.rule.rekeying),
        }
    }

    /// Its IPsec stands: its tunnel may come.
    pub(super) fn is_in(&self, sa: SaId, up: Agreed) {
        info!(from = %up.path.remote, id = %up.remote_id, by = %up.auth, ike = %up.ike, esp = %up.esp,
              "L2TP: {}: a client's tunnel may come", up.by);
        let (numbers, mark) = (self.numbers_of(sa), self.sad.mark(sa));
        self.guests().insert(sa, Known { numbers, up: Some(Box::new(up)), mark, snapshot: None });
    }

    /// It is there now.
    pub(super) fn is_at(&self, sa: SaId, path: Path, encapsulated: bool) {
        if let Some(up) = self.guests().get_mut(&sa).and_then(|known| known.up.as_mut()) {
            (up.path, up.encapsulated) = (path, encapsulated);
        }
    }

    pub(super) fn is_gone(&self, sa: SaId, by: &str, why: Result<(), Failure>) {
        let known = self.guests().remove(&sa);
        self.left.notify_waiters();
        let mark = known.as_ref().and_then(|known| self.mark(sa, known));
        self.is_bare(mark, why.as_ref().err());
        self.hand_on_by(mark);
        let Err(why) = why else { return };
        let said = why.peer.as_deref().unwrap_or_default();
        let hint = why.hint.as_deref().unwrap_or_default();
        match known.and_then(|known| known.up) {
            Some(up) => info!(from = %up.path.remote, code = %why.code, said, "L2TP: {by}: {why}"),
            None => {
                if let Some(kept_back) = self.strangers.may_tell(clock::now()) {
                    info!(code = %why.code, said, kept_back, hint, "L2TP: {by}: {why}");
                }
            }
        }
    }

    /// What a client's packets have inside of IPsec.
    fn mark(&self, sa: SaId, known: &Known) -> Option<u32> {
        self.sad.mark(sa).or(known.mark)
    }

    /// Tunnels that this IPsec was around are over, unless the same client has come in again meanwhile.
    fn is_bare(&self, mark: Option<u32>, why: Option<&Failure>) {
        let (Some(mark), Some(engine)) = (mark, self.engine.get()) else { return };
        if self.guests().iter().any(|(sa, other)| self.mark(*sa, other) == Some(mark)) {
            return;
        }
        let text = match why {
            Some(why) => format!("L2TP: the client's IPsec is over: {why}"),
            None => "L2TP: the client's IPsec is over".to_owned(),
        };
        let code = why.map_or(FailureCode::PeerClosed, |why| why.code);
        engine.bare(Association(mark), Failure::new(code, Step::Established, text));
    }
}

impl V1Context for Keeper {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending<Answer> {
        match ask {
            // Nobody has said who it is yet: all have the same.
            Ask::Psk { .. } if let Some(key) = &self.key => Pending::Now(Answer::Psk(Ok(key.duplicate()))),
            Ask::Connection { path, auth, .. } => {
                Pending::Now(Answer::Connection(Ok(Box::new(self.config(path.local.ip(), auth)))))
            }
            other => certificates::answer(self.certificates().as_deref(), other)
                .unwrap_or_else(|other| others(&self.sad, sa, other, self.numbers_of(sa), Limits::default())),
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        note(&self.sad, sa, &event);
        match event {
            Event::Established(up) => self.is_in(sa, Agreed::from(&*up)),
            Event::PathChanged { path, encapsulated } => self.is_at(sa, path, encapsulated),
            Event::ChildRefused { why } | Event::RekeyRefused { why, .. } => refused("IKEv1", &why),
            Event::Closed(why) => self.is_gone(sa, "IKEv1", why),
            _ => {}
        }
    }

    fn hands_on(&self) -> bool {
        self.keeps()
    }

    fn hand_on(&self, sa: SaId, snapshot: Option<&[u8]>) {
        self.leaves_with(sa, snapshot.map(Snapshot::of_v1));
    }

    fn restored(&self, restored: &Restored) {
        self.returned(restored.sa, &Around::from(restored), Agreed::again_v1(restored));
    }
}

/// A client has asked for what it does not get, or does not give what it is asked for.
pub(super) fn refused(by: &str, why: &Failure) {
    let hint = why.hint.as_deref().unwrap_or_default();
    info!(code = %why.code, hint, "L2TP: {by}: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_header_is_looked_at_and_both_sets() {
        let Change::Nftables { table, body } = rules(OWNERS) else { panic!() };
        assert_eq!(table, "adit-l2tp-tunnels");
        let drops: Vec<&str> = body.lines().filter(|line| line.ends_with("counter drop")).collect();
        assert_eq!(
            drops[2..],
            [
                "  meta mark & 0xff000000 == 0xad000000 udp dport 1701 @th,64,16 & 0xc000 == 0x4000 \
                 meta mark . @th,96,16 != @owners counter drop",
                "  udp dport 1701 @th,64,16 & 0xc000 == 0x4000 meta mark . @th,96,16 != @owners \
                 @th,96,16 @tunnels counter drop",
            ]
        );
    }

    #[test]
    fn what_is_not_protected_is_in_the_way_of_both_directions() {
        let all = blocks(&["0.0.0.0".parse().unwrap(), "2001:db8::1".parse().unwrap()], 7);
        let texts: Vec<String> = all.iter().map(|p| p.id.to_string()).collect();
        assert_eq!(
            texts,
            [
                "out 0.0.0.0/0 to 0.0.0.0/0 protocol 17 from port 1701",
                "in 0.0.0.0/0 to 0.0.0.0/0 protocol 17 to port 1701",
                "out 2001:db8::1/128 to ::/0 protocol 17 from port 1701",
                "in ::/0 to 2001:db8::1/128 protocol 17 to port 1701",
            ]
        );
        assert!(all.iter().all(|p| p.action == Action::Block && p.template.is_some_and(|t| t.reqid == 7)));
        assert!(all[0].id.mark.is_some() && all[1].id.mark.is_none());
    }
}
