//! The IPsec around a server's tunnels. Policies of the kernel stand before its sockets do: what does not come inside of
//! ESP is not taken, and what would leave in clear is dropped. They outlive this daemon; the next one removes them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_core::{Failure, Identity, Prefix, Secret, Step};
use adit_ikev1::api::{
    Answer, Ask, AuthMethod, ChildMode, Established, Event, ResponderConfig, ResponderDefaults, SaId,
};
use adit_l2tp::PORT;
use adit_profile::{IpsecRule, PskSource, ServerConfig};
use adit_xfrm_kernel::{
    Action, Direction, Mark, Mode, Policy, PolicyId, PolicyPlan, PortMatch, Selector, Template, XfrmDoor,
};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::ipsec::{esp_proposals, note, others, selector, shown};
use super::protected_mtu;
use crate::blocking::blocking;
use crate::clock;
use crate::daemon::Daemon;
use crate::esp::{Limits, Numbers, Sad};
use crate::host::{MARK, MARK_MASK};
use crate::ike::{IkeDriver, Pending, Ports, V1Context, V1Listen};
use crate::server::{Strangers, until};
use crate::suites::{self, Outside};

/// UDP (RFC 768).
const UDP: u8 = 17;
/// All clients together may take so long to be let go.
const FAREWELL: Duration = Duration::from_secs(3);
/// What a path to a client carries in one packet, in octets, where nobody has asked.
const PATH: u32 = 1500;
/// Bytes of the IP packets that hold the fragments of a longer IKE message.
const FRAGMENT: u16 = 1280;

/// What stands around a server.
pub(crate) struct Guard {
    ike: IkeDriver,
    door: Arc<dyn XfrmDoor>,
    keeper: Arc<Keeper>,
    blocks: Vec<PolicyId>,
    defaults: ResponderDefaults,
    addresses: Vec<IpAddr>,
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
    ) -> Result<Self, Failure> {
        let key = daemon.files().psk(&PskSource::File(rule.psk.clone()))?;
        let ike = daemon.ike(Ports { ike: server.listen.port, nat: server.listen.nat_port }, true).await?;
        let keeper = Keeper {
            key,
            sad: daemon.sad().clone(),
            rule: rule.clone(),
            guests: Mutex::default(),
            left: Notify::new(),
            strangers: Strangers::new(clock::now()),
        };
        let policies = blocks(addresses, daemon.numbers().reqid);
        let guard = Self {
            ike,
            door: daemon.xfrm(),
            keeper: Arc::new(keeper),
            blocks: policies.iter().map(|p| p.id).collect(),
            defaults: defaults(server, rule),
            addresses: addresses.iter().copied().filter(|a| !a.is_unspecified()).collect(),
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
        let listen = V1Listen { defaults: self.defaults.clone(), addresses: self.addresses.clone() };
        self.ike.set_v1_responder(Some((listen, Arc::clone(&self.keeper) as _)));
    }

    /// What protects the tunnel of who is there, and the longest packet of its link, in octets. `None`: nothing does.
    pub(crate) fn protects(&self, from: SocketAddr) -> Option<(Outside, u16)> {
        let guests = self.keeper.guests();
        let of = guests.values().rev().filter_map(|guest| guest.up.as_ref());
        let up = of.into_iter().find(|up| up.path.remote.ip() == from.ip())?;
        Some((shown(up), protected_mtu(PATH, up, None)))
    }

    /// Lets nobody in any more, tells who is, and takes the policies away last. They stay where the server is not `over`, and
    /// so may still send: the next start of the daemon, or of the server, has them.
    pub(crate) async fn end(&self, over: bool) {
        self.ike.set_v1_responder(None);
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

fn defaults(server: &ServerConfig, rule: &IpsecRule) -> ResponderDefaults {
    let half_open = usize::try_from(server.limits.half_open).unwrap_or(usize::MAX);
    ResponderDefaults {
        ike: suites::ike_proposals(&rule.ike, rule.legacy),
        auths: vec![AuthMethod::Psk],
        authorities: Vec::new(),
        half_open_limit: half_open,
        half_open_per_address: (half_open / 4).max(1),
        limit: usize::try_from(server.limits.clients).unwrap_or(usize::MAX),
        fragment_size: FRAGMENT,
        timing: suites::timing(rule.rekeying),
    }
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
struct Keeper {
    key: Secret,
    sad: Sad,
    rule: IpsecRule,
    guests: Mutex<BTreeMap<SaId, Known>>,
    /// Announces each that has left.
    left: Notify,
    /// What may be logged of who has proven nothing.
    strangers: Strangers,
}

/// A client, or who wants to be one.
struct Known {
    numbers: Numbers,
    up: Option<Box<Established>>,
}

impl Keeper {
    fn guests(&self) -> MutexGuard<'_, BTreeMap<SaId, Known>> {
        // It is consistent between any two statements that hold it, so a panicked holder harms nothing.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers_of(&self, sa: SaId) -> Numbers {
        let fresh = || Known { numbers: self.sad.numbers(), up: None };
        self.guests().entry(sa).or_insert_with(fresh).numbers
    }

    fn config(&self, local: IpAddr) -> ResponderConfig {
        let v4 = local.is_ipv4();
        ResponderConfig {
            name: "l2tp".into(),
            local_id: self.rule.local_id.clone().unwrap_or(Identity::Address(local.to_canonical())),
            own: Vec::new(),
            esp: esp_proposals(&self.rule.esp, self.rule.legacy, false),
            mode: ChildMode::Transport,
            local_ts: vec![selector(v4, PORT..=PORT)],
            remote_ts: vec![selector(v4, 0..=u16::MAX)],
            timing: suites::timing(self.rule.rekeying),
        }
    }

    fn is_gone(&self, sa: SaId, why: Result<(), Failure>) {
        let known = self.guests().remove(&sa);
        self.left.notify_waiters();
        let Err(why) = why else { return };
        let said = why.peer.as_deref().unwrap_or_default();
        let hint = why.hint.as_deref().unwrap_or_default();
        match known.and_then(|known| known.up) {
            Some(up) => info!(from = %up.path.remote, code = %why.code, said, "L2TP: IKEv1: {why}"),
            None => {
                if let Some(kept_back) = self.strangers.may_tell(clock::now()) {
                    info!(code = %why.code, said, kept_back, hint, "L2TP: IKEv1: {why}");
                }
            }
        }
    }
}

impl V1Context for Keeper {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending<Answer> {
        match ask {
            // Nobody has said who it is yet: all have the same.
            Ask::Psk { .. } => Pending::Now(Answer::Psk(Ok(self.key.duplicate()))),
            Ask::Connection { path, .. } => {
                Pending::Now(Answer::Connection(Ok(Box::new(self.config(path.local.ip())))))
            }
            other => others(&self.sad, sa, other, self.numbers_of(sa), Limits::default()),
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        note(&self.sad, sa, &event);
        match event {
            Event::Established(up) => {
                info!(from = %up.path.remote, id = %up.remote_id, ike = %up.ike, esp = %up.child.esp,
                      "L2TP: IKEv1: a client's tunnel may come");
                let numbers = self.numbers_of(sa);
                self.guests().insert(sa, Known { numbers, up: Some(up) });
            }
            Event::PathChanged { path, encapsulated } => {
                if let Some(up) = self.guests().get_mut(&sa).and_then(|known| known.up.as_mut()) {
                    (up.path, up.encapsulated) = (path, encapsulated);
                }
            }
            Event::ChildRefused { why } | Event::RekeyRefused { why, .. } => {
                info!(code = %why.code, "L2TP: IKEv1: {why}");
            }
            Event::Closed(why) => self.is_gone(sa, why),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
