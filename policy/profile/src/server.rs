use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use core::time::Duration;
use std::sync::Arc;

use adit_core::{AddressRange, Identity, Prefix, TrafficSelector};

use crate::aaa::Aaa;
use crate::ppk::{Ppk, PpkUse};
use crate::ppp::PppServer;
use crate::profile::AuthMethod;
use crate::sa::{Rekeying, Uniqueness};
use crate::secret::{CertSource, FileRef, KeySource, PskSource, Revocation};
use crate::value::{InterfaceName, NameError, ProfileName, Suite, parse_identity};

/// A checked `server.toml`. `Debug` shows no secret.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: Listen,
    /// How the server itself appears.
    pub ikev2: Ike,
    /// Who may connect and what they get: the first that matches a client's identity and address counts. At least one.
    pub connections: Vec<ConnectionRule>,
    /// The postquantum preshared keys that clients may name.
    pub ppks: Vec<Ppk>,
    /// The address pools that connections refer to by name.
    pub pools: Vec<Pool>,
    /// What to change in this host's network while there are clients.
    pub network: Network,
    /// Limits against load and attack.
    pub limits: Limits,
    /// PPTP, if it is served.
    pub pptp: Option<Arc<PppServer>>,
    /// SSTP, if it is served.
    pub sstp: Option<Arc<PppServer>>,
    /// L2TP, if it is served.
    pub l2tp: Option<Arc<PppServer>>,
    /// RADIUS servers, in the order in which they are asked, and what they are told.
    pub aaa: Aaa,
}

/// `[listen]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Addresses of this host. Empty: all of both families.
    pub addresses: Vec<IpAddr>,
    /// The port without UDP encapsulation. Default 500.
    pub port: u16,
    /// The port with UDP encapsulation. Default 4500.
    pub nat_port: u16,
}

/// `[ikev2]`.
#[derive(Debug)]
pub struct Ike {
    /// Who the server claims to be. Always there if it proves itself with a PSK; without it the certificate's own
    /// name is used.
    pub identity: Option<Identity>,
    /// The server's certificates and those between them and their authorities. There if any connection needs one.
    pub certificate: Vec<CertSource>,
    /// The private keys of the server's certificates. There if any connection needs one.
    pub keys: Vec<KeySource>,
    /// The file that holds the password of `key`, where it is encrypted.
    pub key_password: Option<FileRef>,
    /// The PSK of connections without their own.
    pub psk: Option<PskSource>,
    /// IKE_SA proposals, best first. Empty: the default ones.
    pub ike: Vec<Suite>,
    /// CHILD_SA proposals, best first. Empty: the default ones.
    pub esp: Vec<Suite>,
    /// Whether algorithms that protect little (3DES, MODP-1024, MODP-1536) may be used. Default: no.
    pub legacy: bool,
    /// When keys are replaced.
    pub rekeying: Rekeying,
    /// Size in bytes, IP header included, from which on IKE messages are sent in fragments. Default: 1280.
    pub fragment_size: u16,
    /// Whether clients may resume their sessions when they were lost (RFC 5723). Default: yes.
    pub session_resumption: bool,
    /// What becomes of a client's older connections, where a connection does not say. Default: replaced.
    pub uniqueness: Uniqueness,
    /// Silence after which a client is asked whether it is alive. Default: 30 s.
    pub dpd: Duration,
}

impl Ike {
    /// Whether the server has a certificate of its own.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        !self.certificate.is_empty() || self.keys.iter().any(KeySource::may_hold_certificate)
    }
}

/// `[[connection]]`: some clients, how they prove themselves, and what they get.
#[derive(Debug)]
pub struct ConnectionRule {
    /// Its name, as status shows it.
    pub name: ProfileName,
    /// The client identities it is for: those of `match` and of `group`.
    pub matches: Vec<IdentityPattern>,
    /// Where its clients come from. Empty: anywhere.
    pub addresses: Vec<Prefix>,
    /// How the client proves itself.
    pub auth: AuthMethod,
    /// With EAP: who decides, and by which method.
    pub eap: Option<EapMethod>,
    /// With EAP-TLS: whether the server leaves out its own certificate before, for clients that want it so (RFC 5998).
    pub eap_only: bool,
    /// The users of EAP. Always there where this host decides.
    pub users: Option<FileRef>,
    /// How the server proves itself to these clients. Default: with its certificate if it has one, else as the client.
    pub server_auth: AuthMethod,
    /// The PSK; if there is none, `[ikev2]`'s.
    pub psk: Option<PskSource>,
    /// Whether clients use a postquantum preshared key. Default: optional, where the server has any.
    pub ppk: PpkUse,
    /// Authorities for client certificates. Always there with `auth = "certificate"`: a server trusts no public ones.
    pub ca: Vec<CertSource>,
    /// Whether certificates of clients are asked about before they are believed.
    pub revocation: Revocation,
    /// The name of the pool that addresses come from; one of [`ServerConfig::pools`]. `None`: clients get no address,
    /// and there are `remote_subnets`, or it is `transport`.
    pub pool: Option<String>,
    /// What clients may reach. Default: everything.
    pub subnets: Vec<TrafficSelector>,
    /// Whether clients that ask by DHCPINFORM hear of `subnets` (Windows learns routes in no other way). Default: no.
    pub routes_by_dhcp: bool,
    /// What may be behind a client that is a site.
    pub remote_subnets: Vec<TrafficSelector>,
    /// Whether a client that asks for transport mode gets it.
    pub transport: bool,
    /// What becomes of a client's older connections. Default: as `[ikev2]` says.
    pub uniqueness: Uniqueness,
    /// DNS servers for these clients; `None`: the pool's.
    pub dns: Option<Vec<IpAddr>>,
    /// The domains that those servers are for; `None`: the pool's.
    pub domains: Option<Vec<String>>,
}

/// Who decides about a client that speaks EAP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EapMethod {
    /// This host, by EAP-MSCHAPv2.
    Mschapv2,
    /// This host, by EAP-TLS.
    Tls,
    /// This host, by EAP-TTLS.
    Ttls,
    /// This host, by PEAP.
    Peap,
    /// The RADIUS servers, by whatever they do.
    Radius,
}

impl EapMethod {
    /// Whether names and passwords decide, which this host keeps.
    #[must_use]
    pub const fn has_users(self) -> bool {
        matches!(self, Self::Mschapv2 | Self::Ttls | Self::Peap)
    }
}

/// `[pool.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// IPv4 addresses to give out.
    pub ranges: Vec<AddressRange>,
    /// IPv6 addresses to give out.
    pub ranges6: Vec<AddressRange>,
    /// DNS servers for clients.
    pub dns: Vec<IpAddr>,
    /// The domains whose names those servers know (RFC 8598). Empty: nothing is said of that.
    pub domains: Vec<String>,
    /// The link whose subnet the addresses lie in: answer ARP and ND for clients there. `None`: a subnet of its own.
    pub on_subnet: Option<InterfaceName>,
}

/// Whether clients' packets get the server's own address on their way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Nat {
    /// They keep theirs.
    Off,
    /// They get the address of the interface that they leave by.
    Masquerade,
}

/// `[network]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// Forward packets between clients and the rest. Default: false, this host's setting stays as it is.
    pub forward: bool,
    /// Translate addresses. Default: off.
    pub nat: Nat,
    /// Only for packets that leave by this interface. `None`: any.
    pub nat_interface: Option<InterfaceName>,
}

/// `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Unauthenticated exchanges at once. Default 1,000.
    pub half_open: u32,
    /// Clients at once. Default 20,000.
    pub clients: u32,
}

impl ServerConfig {
    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|p| p.name == name)
    }

    /// The first connection that is for `identity` at `address` and does not speak EAP. Nothing is proven yet.
    #[must_use]
    pub fn connection_for(&self, identity: &Identity, address: IpAddr) -> Option<&ConnectionRule> {
        self.connections.iter().find(|c| c.eap.is_none() && c.is_for(identity, address))
    }

    /// The first one that speaks EAP.
    #[must_use]
    pub fn eap_connection_for(&self, identity: &Identity, address: IpAddr) -> Option<&ConnectionRule> {
        self.connections.iter().find(|c| c.eap.is_some() && c.is_for(identity, address))
    }

    /// Every file that the configuration refers to.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        let psks =
            self.connections.iter().map(|c| &c.psk).chain([&self.ikev2.psk]).filter_map(|psk| match psk {
                Some(PskSource::File(file)) => Some(file),
                _ => None,
            });
        let ppp = || self.pptp.iter().chain(&self.sstp).chain(&self.l2tp);
        let eap = || ppp().map(|p| &p.eap);
        let certificates = self.connections.iter().flat_map(|c| &c.ca).chain(&self.ikev2.certificate);
        let certificates = certificates.chain(eap().flat_map(|e| e.certificate.iter().chain(&e.ca)));
        let certificates = certificates.filter_map(CertSource::file);
        let keys = self.ikev2.keys.iter().chain(eap().flat_map(|e| &e.keys)).filter_map(KeySource::file);
        let users = self.connections.iter().filter_map(|c| c.users.as_ref());
        let users = users.chain(ppp().filter_map(|p| p.users.as_ref()));
        let radius = self.aaa.servers.iter().flat_map(|s| s.security.files());
        let ppks = self.ppks.iter().map(|ppk| &ppk.file);
        let key_passwords =
            self.ikev2.key_password.iter().chain(eap().filter_map(|e| e.key_password.as_ref()));
        let rules = || self.l2tp.iter().filter_map(|p| p.l2tp.as_ref());
        let secrets = rules().filter_map(|rule| rule.secret.as_ref());
        let secrets = secrets.chain(rules().filter_map(|rule| rule.server.as_ref()?.psk.as_ref()));
        let keys = keys.chain(key_passwords).chain(secrets);
        psks.chain(certificates).chain(keys).chain(users).chain(radius).chain(ppks).collect()
    }
}

impl ConnectionRule {
    /// Whether it is for peers at `address`.
    #[must_use]
    pub fn is_from(&self, address: IpAddr) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|p| p.contains(address))
    }

    /// Whether it is for `identity` at `address`.
    #[must_use]
    pub fn is_for(&self, identity: &Identity, address: IpAddr) -> bool {
        self.is_from(address) && self.matches.iter().any(|m| m.matches(identity))
    }
}

/// Which identities a connection is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityPattern {
    /// `*`: all.
    Any,
    /// `*@example.com`: every user of exactly that domain.
    UserAt(String),
    /// `*.example.com`: every host below that domain, at any depth.
    HostBelow(String),
    /// This one.
    Exactly(Identity),
}

impl IdentityPattern {
    /// Whether `identity` is one of them. Domains are compared without regard to case, user names exactly.
    #[must_use]
    pub fn matches(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Any, _) => true,
            (Self::UserAt(domain), Identity::Email(text)) => text
                .rsplit_once('@')
                .is_some_and(|(user, d)| !user.is_empty() && d.eq_ignore_ascii_case(domain)),
            (Self::HostBelow(domain), Identity::Fqdn(name)) => {
                let name = name.to_ascii_lowercase();
                name.strip_suffix(&domain.to_ascii_lowercase())
                    .and_then(|rest| rest.strip_suffix('.'))
                    .is_some_and(|host| !host.is_empty())
            }
            (Self::Exactly(one), other) => one.matches(other),
            (Self::UserAt(_) | Self::HostBelow(_), _) => false,
        }
    }
}

impl FromStr for IdentityPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const ALLOWED: &str = "an identity, \"*@example.com\", \"*.example.com\" or \"*\"";
        let widen = |e: NameError| NameError::new(e.why, ALLOWED);
        let domain = |d: &str| parse_identity(d).map(|_| d.to_owned()).map_err(widen);
        match text.strip_prefix('*') {
            Some("") => Ok(Self::Any),
            Some(rest) => match (rest.strip_prefix('@'), rest.strip_prefix('.')) {
                (Some(d), _) if !d.contains('@') => domain(d).map(Self::UserAt),
                (_, Some(d)) => domain(d).map(Self::HostBelow),
                _ => Err(NameError::new(format!("{} is not a pattern", crate::value::quoted(text)), ALLOWED)),
            },
            None => parse_identity(text).map(Self::Exactly).map_err(widen),
        }
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::UserAt(domain) => write!(f, "*@{domain}"),
            Self::HostBelow(domain) => write!(f, "*.{domain}"),
            Self::Exactly(identity) => write!(f, "{identity}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say_and_no_more() {
        let matches = |pattern: &str, id: &str| {
            pattern.parse::<IdentityPattern>().unwrap().matches(&id.parse().unwrap())
        };
        assert!(matches("*", "192.0.2.1") && matches("*", "alice@example.com"));
        assert!(matches("*@example.com", "alice@Example.com"));
        for id in [
            "alice@sub.example.com",
            "alice@badexample.com",
            "example.com",
            "alice@example.com.evil.org",
            "@example.com",
        ] {
            assert!(!matches("*@example.com", id), "{id}");
        }
        assert!(matches("*.example.com", "a.b.example.com"));
        for id in ["example.com", "badexample.com", ".example.com", "x@a.example.com"] {
            assert!(!matches("*.example.com", id), "{id}");
        }
        assert!(
            matches("alice@example.com", "alice@EXAMPLE.com")
                && !matches("alice@example.com", "Alice@example.com")
        );
        for bad in ["", "**", "*x", "a*", "*@", "*@a@b", "*.", "C=DE, O=x"] {
            assert!(bad.parse::<IdentityPattern>().is_err(), "{bad}");
        }
    }
}
