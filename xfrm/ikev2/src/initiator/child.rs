//! The first CHILD_SA of an initiator (RFC 7296 §1.2, §2.9, §2.17, §2.19). The server has proven itself; what it
//! grants has to be within what was asked.

use core::time::Duration;

use adit_core::{Failure, FailureCode, Instant, Prefix, Step, TrafficSelector};
use adit_isakmp::keys::ChildKeys;
use adit_isakmp::payload::{ConfigAttribute, ConfigType, Configuration, Identification, Notify, NotifyType};
use adit_isakmp::proposal::accept_esp;
use adit_isakmp::{EspSuite, Message, Payload};

use super::{Dial, Initiator, Phase, auth};
use crate::api::{Ask, ChildId, ChildMode, ChildSa, EspKeys, Established, Event, InitiatorConfig, Lease};
use crate::channel::{Channel, Handshake};
use crate::explain;
use crate::ike::{Child, Resumption};
use crate::selectors;
use crate::state::{Cx, Next};
use crate::task::Task;
use crate::task::informational::auth_lifetime;
use crate::task::mobike::Mobike;
use crate::task::ticket::{self, Word};
use crate::wire::only;

/// Name servers that are taken from one answer.
const MAX_DNS: usize = 16;
/// Domains that are taken from one answer.
const MAX_DOMAINS: usize = 64;
/// Networks that are taken from one answer.
const MAX_SUBNETS: usize = 64;

/// The pair of SAs is being installed.
pub(super) struct Installing {
    pub(super) handshake: Box<Handshake>,
    child: ChildId,
    inbound_spi: u32,
    granted: Granted,
    /// How long the server lets our proof count.
    lifetime: Option<Duration>,
    mobike: Option<Box<Mobike>>,
    /// What the server says of a ticket.
    ticket: Word,
}

/// What the server grants.
struct Granted {
    suite: EspSuite,
    outbound_spi: u32,
    mode: ChildMode,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    lease: Lease,
}

pub(super) fn begin(
    dial: Dial,
    cx: &mut Cx<'_>,
    handshake: Box<Handshake>,
    inbound_spi: u32,
    answer: &Message,
) -> Next {
    // The IKE_SA is up whatever comes of the CHILD_SA; without one it is of no use to us, and is deleted.
    let granted = match read(&dial.config, &handshake.channel, answer) {
        Ok(granted) => granted,
        Err(why) => return dial.refuse(cx, handshake, Task::DeleteIke, why),
    };
    let lifetime = auth_lifetime(answer);
    let mobike = Mobike::agreed(dial.config.mobike.as_deref(), answer);
    let keys = ChildKeys::derive(
        &*cx.shared.crypto,
        handshake.suite.prf,
        &handshake.keys.d,
        &granted.suite,
        (&handshake.nonce_i, &handshake.nonce_r),
        &[],
    );
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => {
            let why = Failure::new(FailureCode::Internal, Step::Child, error.to_string());
            return dial.refuse(cx, handshake, Task::DeleteIke, why);
        }
    };
    cx.event(Event::Progress(Step::Kernel));
    let child = cx.fresh_child();
    let sa = ChildSa {
        child,
        replaces: None,
        mode: granted.mode,
        path: handshake.channel.path,
        encapsulated: handshake.channel.nat.encapsulates(),
        suite: granted.suite,
        inbound_spi,
        inbound: EspKeys { encryption: keys.responder.encryption, integrity: keys.responder.integrity },
        outbound_spi: granted.outbound_spi,
        outbound: Some(EspKeys {
            encryption: keys.initiator.encryption,
            integrity: keys.initiator.integrity,
        }),
        local_ts: granted.local_ts.clone(),
        remote_ts: granted.remote_ts.clone(),
        lease: granted.lease.clone(),
        remote_id: dial.config.remote_id.clone(),
        connection: None,
    };
    let ticket = ticket::said(answer);
    let installing = Installing { handshake, child, inbound_spi, granted, lifetime, mobike, ticket };
    Initiator::asking(dial, cx, Ask::Install(Box::new(sa)), Phase::Installing(installing))
}

fn read(config: &InitiatorConfig, channel: &Channel, answer: &Message) -> Result<Granted, Failure> {
    let misbehaved = |why: String| explain::misbehaved(Step::Child, format!("the server's answer: {why}"));
    // Where the CHILD_SA failed, an error stands in place of SA, TSi and TSr. One that nobody knows is a failure
    // whatever stands beside it (RFC 7296 §3.10.1).
    let has_sa = answer.payloads.iter().any(|p| matches!(p, Payload::Sa(_)));
    // [7296:2.21.2-2] [7296:3.10.1-1]
    let fails = |n: &&Notify| n.kind.is_error() && (!has_sa || n.kind.name().is_none());
    if let Some(notify) = answer.notifies().find(fails) {
        return Err(explain::child_refused(config, notify));
    }
    let sa = only!(answer, Payload::Sa).map_err(misbehaved)?;
    let tsi = only!(answer, Payload::TsI).map_err(misbehaved)?;
    let tsr = only!(answer, Payload::TsR).map_err(misbehaved)?;
    let accepted = accept_esp(&config.esp, sa, false).map_err(|e| misbehaved(e.to_string()))?;
    let outbound_spi = accepted.peer_spi();
    // RFC 4303 §2.1: 0 is never sent, 1 to 255 are reserved.
    if outbound_spi < 256 {
        return Err(misbehaved(format!("its SPI is {outbound_spi}")));
    }
    let lease = match auth::configuration(answer).map_err(misbehaved)? {
        Some(cp) if cp.kind == ConfigType::CFG_REPLY => lease(config, cp),
        _ => Lease::default(),
    };
    if (config.request_v4 || config.request_v6) && lease.v4.is_none() && lease.v6.is_none() {
        return Err(explain::no_address());
    }
    let transport = answer.notify(NotifyType::USE_TRANSPORT_MODE).is_some();
    let mut pair: (Vec<_>, Vec<_>) = (tsi.ranges().collect(), tsr.ranges().collect());
    if transport {
        pair = channel.translate(pair.0, pair.1).ok_or_else(|| {
            misbehaved("its traffic selectors for transport mode name several addresses".into())
        })?;
    }
    let (local_ts, remote_ts) = pair;
    // RFC 7296 §2.9: narrower is the server's right, wider is not.
    let within = selectors::is_subset(&local_ts, &selectors::or_everything(&config.local_ts))
        && selectors::is_subset(&remote_ts, &selectors::or_everything(&config.remote_ts));
    if !within {
        return Err(Failure::new(
            FailureCode::TrafficSelectors,
            Step::Child,
            format!(
                "the server answered with traffic selectors that were not proposed: {} to {}",
                selectors::describe(&local_ts),
                selectors::describe(&remote_ts)
            ),
        ));
    }
    let local_ts = selectors::narrow_to_lease(local_ts, &lease);
    if local_ts.is_empty() {
        return Err(Failure::new(
            FailureCode::TrafficSelectors,
            Step::Child,
            "the server gave an address that its traffic selectors do not let through",
        ));
    }
    // RFC 7296 §1.3.1: who does not accept tunnel mode instead deletes the SA.
    let mode = if transport { ChildMode::Transport } else { ChildMode::Tunnel };
    if mode != config.mode {
        return Err(explain::other_mode(config.mode));
    }
    Ok(Granted { suite: accepted.suite, outbound_spi, mode, local_ts, remote_ts, lease })
}

/// CFG_REPLY (RFC 7296 §3.15): only what was asked for.
fn lease(config: &InitiatorConfig, reply: &Configuration) -> Lease {
    let mut lease = Lease::default();
    for attribute in &reply.attributes {
        match attribute {
            ConfigAttribute::Ip4Address(Some(a)) if config.request_v4 && usable(&(*a).into()) => {
                lease.v4.get_or_insert(*a);
            }
            ConfigAttribute::Ip6Address(Some((a, length))) if config.request_v6 && usable(&(*a).into()) => {
                lease.v6.get_or_insert((*a, *length));
            }
            ConfigAttribute::Ip4Dns(Some(a)) if config.request_v4 && lease.dns.len() < MAX_DNS => {
                lease.dns.push((*a).into());
            }
            ConfigAttribute::Ip6Dns(Some(a)) if config.request_v6 && lease.dns.len() < MAX_DNS => {
                lease.dns.push((*a).into());
            }
            ConfigAttribute::DnsDomain(Some(name))
                if config.request_domains && lease.domains.len() < MAX_DOMAINS =>
            {
                lease.domains.push(name.clone());
            }
            ConfigAttribute::Ip4Subnet(_) | ConfigAttribute::Ip6Subnet(_)
                if config.request_subnets && lease.subnets.len() < MAX_SUBNETS =>
            {
                lease.subnets.extend(subnet(attribute));
            }
            _ => {}
        }
    }
    // [8598:3.2-2]
    if lease.dns.is_empty() {
        lease.domains.clear();
    }
    lease
}

/// A network behind the server. A netmask with holes (RFC 7296 §3.15.1 has it be a netmask) is none.
fn subnet(attribute: &ConfigAttribute) -> Option<Prefix> {
    let (address, length) = match attribute {
        ConfigAttribute::Ip4Subnet(Some((address, mask))) => {
            let length = mask.to_bits().leading_ones();
            if mask.to_bits().count_ones() != length {
                return None;
            }
            ((*address).into(), u8::try_from(length).ok()?)
        }
        ConfigAttribute::Ip6Subnet(Some((address, length))) => ((*address).into(), *length),
        _ => return None,
    };
    Some(Prefix { address, length }.network())
}

/// How the session can be resumed, where that is wanted; and when identities are to be proven again, where it was.
fn resumption(dial: &Dial, handshake: &mut Handshake) -> (Option<Resumption>, Option<Instant>) {
    let ppk = handshake.has_ppk();
    let resumed = handshake.resumed.as_deref();
    let prove_again = resumed.and_then(|r| r.reauthenticate_at);
    let initiator =
        resumed.map_or_else(|| Identification::from(&dial.config.local_id), |r| r.initiator.clone());
    let responder = handshake.responder.take().filter(|_| dial.config.resumable);
    (responder.map(|responder| Resumption::new(initiator, responder, ppk)), prove_again)
}

fn usable(address: &core::net::IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

impl Installing {
    pub(super) fn installed(self, mut dial: Dial, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        if let Err(why) = result {
            return dial.refuse(cx, self.handshake, Task::DeleteIke, why);
        }
        let Self { mut handshake, child, inbound_spi, granted, lifetime, mobike, ticket } = self;
        let more = core::mem::take(&mut dial.config.more_children);
        let (ts, lease) = ((&*granted.local_ts, &*granted.remote_ts), granted.lease.clone());
        let entry = Child::new(child, (inbound_spi, granted.outbound_spi), granted.mode, ts);
        let entry = Child { suite: Some(granted.suite), ..entry };
        let channel = &handshake.channel;
        // [7296:4-4]
        cx.event(Event::Established(Box::new(Established {
            path: channel.path,
            encapsulated: channel.nat.encapsulates(),
            nat_local: channel.nat.local,
            nat_remote: channel.nat.remote,
            mobike: mobike.as_ref().map(|m| m.peers.clone()),
            local_id: dial.config.local_id.clone(),
            remote_id: dial.config.remote_id.clone(),
            ike: handshake.suite,
            esp: granted.suite,
            child,
            local_ts: granted.local_ts,
            remote_ts: granted.remote_ts,
            lease: granted.lease,
            ppk: handshake.has_ppk(),
            resumed: handshake.resumed.is_some(),
            resumable: false,
            connection: None,
        })));
        let (resumption, prove_again) = resumption(&dial, &mut handshake);
        let mut ike = dial.ike(cx, handshake).with_child(cx, entry);
        ike.lease = lease;
        ike.mobike = mobike;
        if let Some(lifetime) = lifetime {
            ike.authenticated_for(cx, lifetime);
        }
        ike.proves_again_by(prove_again);
        if let Some(resumption) = resumption {
            ike.can_be_resumed(cx, resumption, ticket);
        }
        ike.with_more(cx, more)
    }
}
