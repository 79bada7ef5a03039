//! IKEv2 in IKEv1's place around a tunnel that is dialled, or around a server's: a CHILD_SA in transport mode for UDP 1701 of
//! the two hosts, and a pre-shared key on both sides.

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Step, TrafficSelector};
use adit_ikev1::api as v1;
use adit_ikev2::api::{
    Answer, Ask, ChildMode, Event, InitiatorConfig, Lease, LocalAuth, PpkUse, RemoteAuth, ResponderConfig,
    ResponderDefaults, Restored, SaId, Timing, Uniqueness,
};
use adit_l2tp::PORT;
use adit_profile::{IpsecRule, Profile, ServerName};

use super::agreed::Agreed;
use super::guard::{Keeper, Snapshot, refused};
use super::ipsec::{Context, News, UDP, limits};
use crate::esp::{Around, Limits, Numbers, Sad};
use crate::handover::is_there;
use crate::ike::{Beside, Listen, Pending, Ports, SaContext};
use crate::suites;

/// What is dialled with.
pub(super) fn config(profile: &Profile, gateway: &ServerName, path: Path, ports: Ports) -> InitiatorConfig {
    let (source, server) = (path.local.ip(), path.remote.ip());
    // Traffic selectors are of the two hosts here, where IKEv1's identities of Quick Mode may be anything.
    let of = |end: SocketAddr| {
        vec![TrafficSelector {
            protocol: UDP,
            first_port: end.port(),
            last_port: end.port(),
            ..Prefix::host(end.ip()).into()
        }]
    };
    InitiatorConfig {
        path: Path { local: SocketAddr::new(source, ports.ike), remote: SocketAddr::new(server, 500) },
        ike: suites::ike_proposals(&profile.ike, profile.legacy),
        esp: suites::esp_proposals(&profile.esp, profile.legacy),
        local_id: profile.local_id.clone().unwrap_or(Identity::Address(source)),
        remote_id: profile.identity_of(gateway),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: None,
        request_v4: false,
        request_v6: false,
        request_domains: false,
        request_subnets: false,
        former: Lease::default(),
        mode: ChildMode::Transport,
        more_children: Vec::new(),
        local_ts: of(path.local),
        remote_ts: of(SocketAddr::new(server, PORT)),
        fragment_size: profile.fragment_size,
        // The tunnel inside is of these two addresses.
        mobike: None,
        // Several tunnels of this host may have the same identity.
        shared_identity: true,
        resumable: false,
        ticket: None,
        force_encapsulation: profile.force_encapsulation,
        nat_port: 4500,
        local_nat_port: ports.nat,
        timing: Timing { dead_peer: profile.dpd, ..suites::timing(profile.rekeying) },
    }
}

impl SaContext for Context {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending {
        match ask {
            Ask::Psk { .. } => Pending::Now(Answer::Psk(self.psk())),
            other => others(&self.sad, sa, other, self.numbers, limits(&self.profile)),
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        note(&self.sad, sa, &event);
        self.tell(match event {
            Event::Progress(step) => News::Progress(step),
            Event::Established(up) => News::Up(Box::new(Agreed::from(&*up))),
            Event::RekeyRefused { why, .. } => News::RekeyRefused(why),
            Event::Rekeyed { .. } => News::NewKeys,
            Event::ChildUp(up) if up.replaces.is_some() => News::NewKeys,
            Event::Closed(why) => News::Over(why),
            _ => return,
        });
    }

    fn hands_on(&self) -> bool {
        is_there()
    }

    fn hand_on(&self, _: SaId, snapshot: Option<&[u8]>) {
        self.leaves().ike(snapshot);
    }

    fn restored(&self, restored: &Restored) {
        self.adopt(&Around::from(restored));
    }
}

/// What clients of a server meet that has IKEv2 for L2TP. Where it has IKEv2 for others too, what is said for those holds until a
/// client has said what it wants.
pub(super) fn beside(v1: &v1::ResponderDefaults, rule: &IpsecRule) -> Beside {
    let defaults = ResponderDefaults {
        ike: suites::ike_proposals(&rule.ike, rule.legacy),
        cookie_threshold: (v1.half_open_limit / 10).max(1),
        half_open_limit: v1.half_open_limit,
        half_open_per_address: v1.half_open_per_address,
        limit: v1.limit,
        ppk: false,
        fragment_size: v1.fragment_size,
        authorities: Vec::new(),
        timing: v1.timing,
    };
    Beside { listen: Listen { defaults, addresses: v1.addresses.clone() }, takes: is_l2tp }
}

/// Whether it is L2TP's port and nothing else.
fn is_l2tp(ours: &[TrafficSelector]) -> bool {
    let is = |ts: &TrafficSelector| (ts.protocol, ts.first_port, ts.last_port) == (UDP, PORT, PORT);
    !ours.is_empty() && ours.iter().all(is)
}

impl Keeper {
    pub(super) fn by_ikev2(&self, path: Path) -> ResponderConfig {
        let (here, there) = (path.local.ip().to_canonical(), path.remote.ip().to_canonical());
        let of = |end, first_port, last_port| {
            vec![TrafficSelector { protocol: UDP, first_port, last_port, ..Prefix::host(end).into() }]
        };
        ResponderConfig {
            name: "l2tp".into(),
            local_id: self.rule.local_id.clone().unwrap_or(Identity::Address(here)),
            local_auth: LocalAuth::Psk,
            remote_auth: RemoteAuth::Psk,
            ppk: PpkUse::Off,
            esp: suites::esp_proposals(&self.rule.esp, self.rule.legacy),
            local_ts: of(here, PORT, PORT),
            remote_ts: of(there, 0, u16::MAX),
            addresses: false,
            transport: true,
            // Everybody of a group has its key, and says whatever name.
            uniqueness: Uniqueness::Keep,
            mobike: None,
            ticket_lifetime: Duration::ZERO,
            timing: suites::timing(self.rule.rekeying),
        }
    }
}

impl SaContext for Keeper {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending {
        match ask {
            Ask::Connection { path, eap, transport, remote, .. } => {
                let config = match is_l2tp(&transport) && !eap {
                    true => Ok(Box::new(self.by_ikev2(path))),
                    false => Err(nothing_else(&remote)),
                };
                Pending::Now(Answer::Connection(config))
            }
            Ask::Psk { .. } if let Some(key) = &self.key => Pending::Now(Answer::Psk(Ok(key.duplicate()))),
            // Whose addresses can't be told apart may get tunnel mode.
            Ask::Install(child) if child.mode != ChildMode::Transport => {
                let text = "L2TP goes in transport mode only";
                let why = Failure::new(FailureCode::TrafficSelectors, Step::Child, text);
                Pending::Now(Answer::Installed(Err(why)))
            }
            other => others(&self.sad, sa, other, self.numbers_of(sa), Limits::default()),
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        note(&self.sad, sa, &event);
        match event {
            Event::Established(up) => self.is_in(sa, Agreed::from(&*up)),
            Event::PathChanged { path, encapsulated } => self.is_at(sa, path, encapsulated),
            Event::ChildRefused { why, .. } | Event::RekeyRefused { why, .. } => refused("IKEv2", &why),
            Event::Closed(why) => self.is_gone(sa, "IKEv2", why),
            _ => {}
        }
    }

    fn hands_on(&self) -> bool {
        self.keeps()
    }

    fn hand_on(&self, sa: SaId, snapshot: Option<&[u8]>) {
        self.leaves_with(sa, snapshot.map(Snapshot::of_v2));
    }

    fn restored(&self, restored: &Restored) {
        self.returned(restored.sa, &Around::from(restored), Agreed::again_v2(restored));
    }
}

fn nothing_else(remote: &Identity) -> Failure {
    let text = format!("{remote} asks for something else than L2TP with a pre-shared key, in transport mode");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .hint("if it may come in by IKEv2 otherwise, server.toml needs a  [[connection]]")
}

/// Answers what the core wants of the kernel, and refuses what has no place around L2TP.
fn others(sad: &Sad, sa: SaId, ask: Ask, numbers: Numbers, limits: Limits) -> Pending {
    let unexpected = |what: &str| {
        Failure::new(FailureCode::Internal, Step::Authenticate, format!("IKEv2's core asked for {what}"))
    };
    match ask {
        Ask::AllocateSpi { path } => {
            let allocated = sad.allocate_spi(sa, path, numbers);
            Pending::Later(Box::pin(async { Answer::Spi(allocated.await) }))
        }
        Ask::Install(child) => {
            let installed = sad.install(sa, *child, numbers, limits);
            Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
        }
        Ask::InstallOutbound { child, keys } => {
            let installed = sad.install_outbound(sa, child, keys);
            Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
        }
        Ask::Ppk { .. } => Pending::Now(Answer::Ppk(Ok(None))),
        Ask::Psk { .. } => Pending::Now(Answer::Psk(Err(unexpected("a pre-shared key")))),
        Ask::Verify { .. } => Pending::Now(Answer::Verified(Err(unexpected("a certificate to verify")))),
        Ask::Sign { .. } => Pending::Now(Answer::Signed(Err(unexpected("a signature")))),
        Ask::Connection { .. } | Ask::Resume { .. } => {
            Pending::Now(Answer::Connection(Err(unexpected("a configuration"))))
        }
        Ask::Eap { .. } => Pending::Now(Answer::Eap(Err(unexpected("EAP")))),
        Ask::Lease { .. } => Pending::Now(Answer::Leased(Err(unexpected("addresses")))),
        // The driver answers these itself.
        Ask::Generate(_) | Ask::Agree { .. } | Ask::Encapsulate { .. } => {
            Pending::Later(Box::pin(std::future::pending()))
        }
    }
}

/// What an event means for the kernel.
fn note(sad: &Sad, sa: SaId, event: &Event) {
    match event {
        Event::ChildClosed { child, replaced_by, .. } => {
            drop(sad.close_child(sa, *child, replaced_by.is_some()));
        }
        Event::PathChanged { path, encapsulated } => sad.follow(sa, *path, *encapsulated),
        Event::Closed(_) => drop(sad.remove(sa)),
        _ => {}
    }
}
