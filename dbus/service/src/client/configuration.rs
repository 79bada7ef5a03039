//! What a profile says, as the IKE core takes it.

use std::net::{IpAddr, SocketAddr};

use adit_core::{Failure, Identity, Path, Prefix, TrafficSelector};
use adit_ikev2::api::{
    ChildConfig, ChildMode, InitiatorConfig, Lease, LocalAuth, PpkRule, RemoteAuth, Ticket, Timing,
};
use adit_profile::{AuthMethod, Dns, Mode, Profile, ServerName, Tunnel};

use super::roaming;
use crate::credentials::OwnCertificate;
use crate::ike::Ports;
use crate::suites;

/// One dial: to where, as whom.
pub(super) struct Target<'a> {
    pub(super) gateway: &'a ServerName,
    pub(super) remote: SocketAddr,
    /// The address that this host's routes choose.
    pub(super) source: IpAddr,
    pub(super) ports: Ports,
    pub(super) own: Option<&'a OwnCertificate>,
    /// SHA-1 of the trusted authorities' keys.
    pub(super) authorities: Vec<[u8; 20]>,
    /// What the same server gave us before.
    pub(super) former: Lease,
    /// This host's addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// What the session with it can be resumed with.
    pub(super) ticket: Option<Box<Ticket>>,
}

/// Everything that the core needs to dial.
///
/// # Errors
/// Our certificate has no name that could be our identity.
pub(super) fn initiator(profile: &Profile, target: Target<'_>) -> Result<InitiatorConfig, Failure> {
    let Target { gateway, remote, ports, own, .. } = target;
    let source = profile.local_address.unwrap_or(target.source);
    // A port other than 500 speaks UDP encapsulation from the first packet (RFC 7296 §2.23).
    let plain = remote.port() == 500;
    let local_port = if plain { ports.ike } else { ports.nat };
    let ends = Ends { source, remote: remote.ip() };
    Ok(InitiatorConfig {
        path: Path { local: SocketAddr::new(source, local_port), remote },
        ike: suites::ike_proposals(&profile.ike, profile.legacy),
        esp: suites::esp_proposals(&profile.esp, profile.legacy),
        local_id: local_identity(profile, own, source)?,
        remote_id: profile.identity_of(gateway),
        local_auth: match profile.auth {
            AuthMethod::Eap => LocalAuth::Eap { only: profile.eap.only },
            AuthMethod::Psk | AuthMethod::Certificate => {
                own.map_or(LocalAuth::Psk, OwnCertificate::local_auth)
            }
        },
        remote_auth: match profile.remote_auth {
            AuthMethod::Psk | AuthMethod::Eap => RemoteAuth::Psk,
            AuthMethod::Certificate => RemoteAuth::Certificate { authorities: target.authorities },
        },
        ppk: profile.ppk.as_ref().map(|(ppk, rule)| PpkRule {
            id: ppk.id.clone().into_bytes(),
            required: *rule == adit_profile::PpkUse::Required,
        }),
        request_v4: profile.addresses.ipv4,
        request_v6: profile.addresses.ipv6,
        request_domains: profile.dns == Dns::Auto,
        request_subnets: asks_for_subnets(profile),
        former: target.former,
        mode: child_mode(profile.mode),
        more_children: more_children(profile, ends),
        local_ts: ends.local(&profile.local_subnets, profile.mode),
        remote_ts: match profile.tunnel {
            Tunnel::Full => everything(),
            // Whoever asks for routes asks everybody, and hears of networks that it cannot name yet.
            Tunnel::Split if profile.routes_by_dhcp => everything(),
            Tunnel::Split => ends.remote(&profile.remote_subnets, profile.mode),
        },
        mobike: roaming::may_roam(profile).then_some(target.addresses),
        shared_identity: profile.shared_identity,
        resumable: profile.session_resumption,
        ticket: target.ticket,
        force_encapsulation: profile.force_encapsulation,
        fragment_size: profile.fragment_size,
        nat_port: if plain { 4500 } else { remote.port() },
        local_nat_port: ports.nat,
        timing: timing(profile),
    })
}

/// Whether the server's word counts for what goes into the tunnel. Of further CHILD_SAs the profile says it.
fn asks_for_subnets(profile: &Profile) -> bool {
    let says_nothing = profile.remote_networks().is_empty() && profile.children.is_empty();
    profile.tunnel == Tunnel::Split && !profile.routes_by_dhcp && says_nothing
}

fn timing(profile: &Profile) -> Timing {
    Timing {
        dead_peer: profile.dpd,
        reauthenticate: profile.reauthenticate.unwrap_or_default(),
        ..suites::timing(profile.rekeying)
    }
}

fn more_children(profile: &Profile, ends: Ends) -> Vec<ChildConfig> {
    let child = |c: &adit_profile::ChildRule| ChildConfig {
        name: c.name.to_string(),
        esp: suites::esp_proposals(&c.esp, profile.legacy),
        mode: child_mode(c.mode),
        local_ts: ends.local(&c.local_subnets, c.mode),
        remote_ts: ends.remote(&c.remote_subnets, c.mode),
    };
    profile.children.iter().map(child).collect()
}

pub(super) const fn child_mode(mode: Mode) -> ChildMode {
    match mode {
        Mode::Tunnel => ChildMode::Tunnel,
        Mode::Transport => ChildMode::Transport,
    }
}

/// The two hosts, which are what transport mode is between.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: IpAddr,
    pub(super) remote: IpAddr,
}

impl Ends {
    pub(super) fn local(self, subnets: &[TrafficSelector], mode: Mode) -> Vec<TrafficSelector> {
        side(subnets, mode, self.source)
    }

    pub(super) fn remote(self, subnets: &[TrafficSelector], mode: Mode) -> Vec<TrafficSelector> {
        side(subnets, mode, self.remote)
    }
}

fn side(subnets: &[TrafficSelector], mode: Mode, host: IpAddr) -> Vec<TrafficSelector> {
    match (subnets.is_empty(), mode) {
        (false, _) => subnets.to_vec(),
        (true, Mode::Tunnel) => everything(),
        (true, Mode::Transport) => vec![Prefix::host(host).into()],
    }
}

fn everything() -> Vec<TrafficSelector> {
    [Prefix::ANY_V4, Prefix::ANY_V6].map(Into::into).into()
}

fn local_identity(
    profile: &Profile,
    own: Option<&OwnCertificate>,
    source: IpAddr,
) -> Result<Identity, Failure> {
    match (&profile.local_id, own) {
        (Some(id), _) => Ok(id.clone()),
        (None, Some(own)) => own.identity(),
        // Who we are comes out in EAP; until then the same name, where it can be one.
        (None, None) => {
            let user = profile.user.as_deref().and_then(|user| user.parse().ok());
            Ok(user.unwrap_or(Identity::Address(source)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_profile::{Source, parse_profile};

    use super::*;

    const HEAD: &str = "auth = \"psk\"\nlocal-id = \"branch.example.com\"\npsk-file = \"a.psk\"\n";

    fn config(toml: &str, remote: &str) -> InitiatorConfig {
        let text = format!("{HEAD}{toml}");
        let source = Source { file: "t", text: &text, access: None };
        let profile = parse_profile(&"t".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap();
        let target = Target {
            gateway: &profile.servers[0],
            remote: remote.parse().unwrap(),
            source: "192.0.2.7".parse().unwrap(),
            ports: Ports { ike: 500, nat: 4500 },
            own: None,
            authorities: Vec::new(),
            former: Lease { v4: Some("10.9.0.3".parse().unwrap()), ..Lease::default() },
            addresses: vec!["192.0.2.7".parse().unwrap()],
            ticket: None,
        };
        initiator(&profile, target).unwrap()
    }

    #[test]
    fn a_road_warrior_asks_for_addresses_and_everything() {
        let config = config("server = \"vpn.example.com\"\n", "198.51.100.1:500");
        assert!(config.request_v4 && config.request_v6);
        assert_eq!(config.former.v4, Some("10.9.0.3".parse().unwrap()));
        assert_eq!((config.local_ts.clone(), config.remote_ts), (everything(), everything()));
        assert_eq!(config.remote_id.to_string(), "vpn.example.com");
        assert_eq!((config.path.local.port(), config.nat_port), (500, 4500));
        assert_eq!(config.timing, Timing { dead_peer: Duration::from_secs(30), ..Timing::default() });
    }

    #[test]
    fn a_site_offers_its_networks_and_further_children() {
        let config = config(
            "server = \"198.51.100.1:4501\"\ntunnel = \"split\"\nlocal-subnets = \"10.1.0.0/16\"\n\
             remote-subnets = \"10.0.0.0/16[tcp/443]\"\nrekey-ike = \"never\"\nrekey-child = \"10s\"\n\
             reauthenticate = \"1m\"\n[[child]]\nname = \"voice\"\nremote-subnets = \"10.2.0.0/16\"\n\
             [[child]]\nname = \"hosts\"\nmode = \"transport\"\nlocal-subnets = \"192.0.2.7[udp/1701]\"\n",
            "198.51.100.1:4501",
        );
        assert!(!config.request_v4 && !config.request_v6);
        assert_eq!(config.local_ts[0].to_string(), "10.1.0.0/16");
        assert_eq!(config.remote_ts[0].to_string(), "10.0.0.0/16[6/443]");
        assert_eq!((config.path.local.port(), config.nat_port), (4500, 4501));
        let [voice, hosts] = config.more_children.as_slice() else { panic!("two children") };
        assert_eq!((voice.name.as_str(), voice.mode), ("voice", ChildMode::Tunnel));
        assert_eq!(voice.local_ts, config.local_ts);
        assert_eq!((hosts.name.as_str(), hosts.mode), ("hosts", ChildMode::Transport));
        assert_eq!(hosts.local_ts[0].to_string(), "192.0.2.7/32[17/1701]");
        assert_eq!(hosts.remote_ts[0].to_string(), "198.51.100.1/32");
        assert_eq!(config.timing.rekey_ike, Duration::ZERO);
        assert_eq!(config.timing.rekey_child, Duration::from_secs(10));
        assert_eq!(config.timing.reauthenticate, Duration::from_secs(60));
    }

    #[test]
    fn a_server_is_asked_for_its_networks_where_the_profile_names_none() {
        let asks = |more: &str| {
            let head = "server = \"vpn.example.com\"\naddresses = [\"ipv4\"]\n";
            config(&format!("{head}{more}"), "198.51.100.1:500").request_subnets
        };
        assert!(asks("traffic = \"split\"\n"));
        let child = "[[child]]\nname = \"voice\"\nremote-subnets = \"10.2.0.0/16\"\n";
        for more in [
            "",
            "traffic = \"split\"\nremote-subnets = \"10.1.0.0/16\"\n",
            "traffic = \"split\"\nroutes-by-dhcp = true\n",
            &format!("traffic = \"split\"\n{child}"),
        ] {
            assert!(!asks(more), "{more}");
        }
    }

    #[test]
    fn transport_mode_is_between_the_two_hosts() {
        let config = config("server = \"198.51.100.1\"\nmode = \"transport\"\n", "198.51.100.1:500");
        assert_eq!(config.mode, ChildMode::Transport);
        assert_eq!(config.local_ts[0].to_string(), "192.0.2.7/32");
        assert_eq!(config.remote_ts[0].to_string(), "198.51.100.1/32");
    }
}
