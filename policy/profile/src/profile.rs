use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Identity, Prefix, TrafficSelector};

use crate::block::Block;
use crate::eap::EapChoice;
use crate::ppk::{Ppk, PpkUse};
use crate::ppp::{LinkKind, LinkName, PppRule, TunnelKind};
use crate::sa::{ChildRule, Mode, Rekeying, Start};
use crate::secret::{CertSource, FileRef, KeySource, PasswordSource, PskSource, Revocation};
use crate::strategy::TunnelStrategy;
use crate::trusted::TrustedNetwork;
use crate::value::{Host, InterfaceName, ProfileName, ServerName, Suite};

/// How somebody proves who they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AuthMethod {
    /// A pre-shared key.
    Psk,
    /// An X.509 certificate and its private key.
    Certificate,
    /// A name and a password, or whatever else the server's EAP method wants. Clients only.
    Eap,
}

impl AuthMethod {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Psk => "psk",
            Self::Certificate => "certificate",
            Self::Eap => "eap",
        }
    }
}

/// What goes into the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tunnel {
    /// Everything.
    Full,
    /// What the profile's `remote-subnets` or the server's traffic selectors name.
    Split,
}

impl Tunnel {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Split => "split",
        }
    }
}

/// What to do with the DNS servers that the peer gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dns {
    /// Use them while the tunnel is up.
    Auto,
    /// Leave this host's DNS alone.
    Ignore,
}

impl Dns {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ignore => "ignore",
        }
    }
}

/// Which kinds of address to ask the server for. None: networks are behind both ends, or it is transport mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Families {
    /// An IPv4 address.
    pub ipv4: bool,
    /// An IPv6 address.
    pub ipv6: bool,
}

/// An HTTP proxy, for SSTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Where it is; its port is always there.
    pub server: ServerName,
    /// The name that it is told, if it asks for one.
    pub user: Option<String>,
    /// The file that holds the password. Always there with `user`.
    pub password: Option<FileRef>,
}

/// By which HTTP proxy a server is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProxyRule {
    /// The one that the desktop of who raises it names, else the daemon's environment, see [`system_proxy`](crate::system_proxy).
    System,
    /// This one.
    Named(Proxy),
}

/// A checked connection profile. `Debug` shows no secret.
#[derive(Debug)]
pub struct Profile {
    /// The file's name without `.toml`.
    pub name: ProfileName,
    /// Where the server is: its gateways, in the order in which they are tried. Never empty.
    pub servers: Vec<ServerName>,
    /// What carries it. Default: IKEv2. With a strategy: the first one that is tried.
    pub kind: TunnelKind,
    /// What else may carry it. `None`: nothing.
    pub strategy: Option<Box<TunnelStrategy>>,
    /// Its PPP link. Always there where PPP is what is carried.
    pub ppp: Option<PppRule>,
    /// When it is raised. Default: by hand.
    pub start: Start,
    /// The profile of a connection that has to be up before this one is dialled; it is raised. Never itself.
    pub requires: Option<ProfileName>,
    /// Networks where it stays down, although it comes up by itself. Empty: nowhere.
    pub trusted_networks: Vec<TrustedNetwork>,
    /// Time without traffic after which it goes down; what a packet raised then waits for the next one. `None`, the
    /// default: never.
    pub idle: Option<Duration>,
    /// How we prove ourselves.
    pub auth: AuthMethod,
    /// How the server must prove itself. Default: as we do; with EAP by certificate, and never else.
    pub remote_auth: AuthMethod,
    /// Who we claim to be. Always there with a PSK; without it the certificate's own name is used.
    pub local_id: Option<Identity>,
    /// Who the server must prove to be. `None`: the name or address of the gateway that is dialled, see
    /// [`Profile::identity_of`].
    pub remote_id: Option<Identity>,
    /// The PSK, for whichever side uses one. Always there if one does.
    pub psk: Option<PskSource>,
    /// A postquantum preshared key that goes into the keys, and whether it has to. IKEv2 only.
    pub ppk: Option<(Ppk, PpkUse)>,
    /// The name that EAP proves, perhaps `DOMAIN\\user`. Always there with `auth = "eap"`, unless a certificate names it.
    pub user: Option<String>,
    /// What EAP's first question is answered with, where it shall not be `user`: `anonymous@example.com`.
    pub eap_identity: Option<String>,
    /// Which EAP methods, and what is inside of them.
    pub eap: EapChoice,
    /// The password. `None`: a person is asked.
    pub password: Option<PasswordSource>,
    /// Authorities for the server's certificate. Empty: the system's trust store.
    pub ca: Vec<CertSource>,
    /// Our certificate, and those between it and its authority. Always there with `auth = "certificate"`, unless `key` is
    /// a PKCS#12 file, which holds them.
    pub certificate: Vec<CertSource>,
    /// The private keys of our certificates. Never empty with `auth = "certificate"`.
    pub keys: Vec<KeySource>,
    /// The file that holds the password of `key`, where it is encrypted.
    pub key_password: Option<FileRef>,
    /// Whether certificates are asked about before they are believed.
    pub revocation: Revocation,
    /// IKE_SA proposals, best first. Empty: the default ones.
    pub ike: Vec<Suite>,
    /// CHILD_SA proposals, best first. Empty: the default ones.
    pub esp: Vec<Suite>,
    /// Whether algorithms that protect little (3DES, MODP-1024, MODP-1536) may be used. Default: no.
    pub legacy: bool,
    /// When keys are replaced.
    pub rekeying: Rekeying,
    /// Age at which both sides authenticate again. `None`, the default: never.
    pub reauthenticate: Option<Duration>,
    /// Size in bytes, IP header included, from which on IKE messages are sent in fragments. Default: 1280.
    pub fragment_size: u16,
    /// What the first CHILD_SA carries. Default: whole packets.
    pub mode: Mode,
    /// What goes into the tunnel. Always `Split` in transport mode.
    pub tunnel: Tunnel,
    /// Whether anything else may leave this host. `Off` with a split tunnel.
    pub block: Block,
    /// Whether the networks that this host is in itself stay reachable beside a full tunnel. Default: no.
    pub local_network: bool,
    /// Our side of the traffic selectors. Empty: our address.
    pub local_subnets: Vec<TrafficSelector>,
    /// With a split tunnel, what to ask for. Empty: whatever the server offers; in transport mode the server itself.
    pub remote_subnets: Vec<TrafficSelector>,
    /// Whether routes, DNS servers and the domain of a split tunnel are what the server answers to a DHCPINFORM. Default: no.
    pub routes_by_dhcp: bool,
    /// CHILD_SAs beside the first one.
    pub children: Vec<ChildRule>,
    /// Which addresses to ask for. Default: both; with `local_subnets` and in transport mode none.
    pub addresses: Families,
    /// Silence after which the peer is asked whether it is alive. Default: 30 s.
    pub dpd: Duration,
    /// The tunnel's interface. Default: the first free `adit0`, `adit1`, … Where PPP is what is carried, `ppp` is the first
    /// free `ppp0`, `ppp1`, …; see [`Profile::link_kind`].
    pub interface: Option<InterfaceName>,
    /// The interface's MTU, in bytes. Default: what fits the path.
    pub mtu: Option<u16>,
    /// What to do with the server's DNS servers.
    pub dns: Dns,
    /// `local_id` is used on several machines at once: the server is to keep what others of them have.
    pub shared_identity: bool,
    /// Wrap ESP in UDP although no NAT was found.
    pub force_encapsulation: bool,
    /// Whether a session that was lost is resumed, if the server lets it be (RFC 5723). Default: yes.
    pub session_resumption: bool,
    /// The address to send from. Default: the routing table's choice.
    pub local_address: Option<IpAddr>,
    /// Whether the connection follows this host from network to network (MOBIKE). Default: yes.
    pub mobility: bool,
    /// Links to go over, best first: `wired`, `wifi`, `wwan`, or names. Default: as the routes' metrics say.
    pub prefer: Vec<String>,
    /// A connection that has no path for so long ends. Default: 30 min; `None`: never.
    pub outage: Option<Duration>,
}

impl Profile {
    /// The gateways as one text: `vpn1.example.com, vpn2.example.com`.
    #[must_use]
    pub fn server(&self) -> String {
        let names: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    /// What the interface of an SSTP link is to be: whoever calls it `ppp`, or `ppp7`, means one of the kernel's PPP.
    #[must_use]
    pub fn link_kind(&self) -> LinkKind {
        let number = self.interface.as_ref().and_then(|name| name.as_str().strip_prefix("ppp"));
        match number.is_some_and(|number| number.chars().all(|c| c.is_ascii_digit())) {
            true => LinkKind::Ppp,
            false => LinkKind::Tun,
        }
    }

    /// Which name the interface gets.
    #[must_use]
    pub fn link_name(&self) -> LinkName<'_> {
        match &self.interface {
            None => LinkName::First("adit"),
            Some(name) if self.ppp.is_some() && name.as_str() == "ppp" => LinkName::First("ppp"),
            Some(name) => LinkName::Exactly(name.as_str()),
        }
    }

    /// Whether nothing but the tunnel's own packets may leave while it is there.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.block != Block::Off
    }

    /// The HTTP proxy by which the server is reached.
    #[must_use]
    pub fn proxy(&self) -> Option<&ProxyRule> {
        self.ppp.as_ref().and_then(|ppp| ppp.proxy.as_ref())
    }

    /// What whoever raises it knows of their desktop's proxy, where the profile leaves that to the host (`proxy = "system"`); with
    /// `None` the server is dialled itself.
    pub fn proxy_of_desktop(&mut self, server: Option<ServerName>) {
        if let Some(proxy) =
            self.ppp.as_mut().map(|ppp| &mut ppp.proxy).filter(|p| **p == Some(ProxyRule::System))
        {
            *proxy = server.map(|server| ProxyRule::Named(Proxy { server, user: None, password: None }));
        }
    }

    /// Who that gateway must prove to be.
    #[must_use]
    pub fn identity_of(&self, gateway: &ServerName) -> Identity {
        self.remote_id.clone().unwrap_or_else(|| match &gateway.host {
            Host::Name(name) => Identity::Fqdn(name.clone()),
            Host::Address(address) => Identity::Address(*address),
        })
    }

    /// The networks of `remote_subnets`, whatever protocols and ports are asked for in them.
    #[must_use]
    pub fn remote_networks(&self) -> Vec<Prefix> {
        self.remote_subnets.iter().flat_map(|ts| ts.addresses.prefixes()).collect()
    }

    /// Every file that the profile refers to.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        let others = self.strategy.iter().flat_map(|strategy| &strategy.others);
        core::iter::once(self).chain(others).flat_map(Self::own_files).collect()
    }

    fn own_files(&self) -> Vec<&FileRef> {
        let psk = match &self.psk {
            Some(PskSource::File(file)) => Some(file),
            _ => None,
        };
        let keys = self.keys.iter().filter_map(KeySource::file);
        let certificates = self.ca.iter().chain(&self.certificate).filter_map(CertSource::file);
        let password = match &self.password {
            Some(PasswordSource::File(file)) => Some(file),
            _ => None,
        };
        let ppk = self.ppk.as_ref().map(|(ppk, _)| &ppk.file);
        let proxy = match self.proxy() {
            Some(ProxyRule::Named(proxy)) => proxy.password.as_ref(),
            Some(ProxyRule::System) | None => None,
        };
        let secrets =
            psk.into_iter().chain(ppk).chain(proxy).chain(keys).chain(&self.key_password).chain(password);
        secrets.chain(certificates).collect()
    }
}
