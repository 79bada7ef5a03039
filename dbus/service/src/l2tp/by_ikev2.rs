//! IKEv2 in IKEv1's place around a tunnel that is dialled: a CHILD_SA in transport mode for UDP 1701 of the two hosts, and a
//! pre-shared key on both sides.

use std::net::SocketAddr;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Step, TrafficSelector};
use adit_ikev2::api::{
    Answer, Ask, ChildMode, Event, InitiatorConfig, Lease, LocalAuth, RemoteAuth, SaId, Timing,
};
use adit_l2tp::PORT;
use adit_profile::{Profile, ServerName};

use super::agreed::Agreed;
use super::ipsec::{Context, News, UDP, limits};
use crate::ike::{Pending, Ports, SaContext};
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
        let unexpected = |what: &str| {
            Failure::new(FailureCode::Internal, Step::Authenticate, format!("IKEv2's core asked for {what}"))
        };
        match ask {
            Ask::Psk { .. } => Pending::Now(Answer::Psk(self.psk())),
            Ask::AllocateSpi { path } => {
                let allocated = self.sad.allocate_spi(sa, path, self.numbers);
                Pending::Later(Box::pin(async { Answer::Spi(allocated.await) }))
            }
            Ask::Install(child) => {
                let installed = self.sad.install(sa, *child, self.numbers, limits(&self.profile));
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            Ask::InstallOutbound { child, keys } => {
                let installed = self.sad.install_outbound(sa, child, keys);
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            Ask::Ppk { .. } => Pending::Now(Answer::Ppk(Ok(None))),
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

    fn event(&self, sa: SaId, event: Event) {
        match &event {
            Event::ChildClosed { child, replaced_by, .. } => {
                drop(self.sad.close_child(sa, *child, replaced_by.is_some()));
            }
            Event::PathChanged { path, encapsulated } => self.sad.follow(sa, *path, *encapsulated),
            Event::Closed(_) => drop(self.sad.remove(sa)),
            _ => {}
        }
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
}
