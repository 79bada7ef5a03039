use core::net::IpAddr;
use std::collections::BTreeMap;

use adit_core::{Identity, Prefix};

use crate::eap::EapType;
use crate::front::Front;
use crate::profile::ProxyRule;
use crate::sa::Rekeying;
use crate::secret::{CertSource, FileRef, KeySource, Revocation};
use crate::server::IdentityPattern;
use crate::value::Suite;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TunnelKind {
    /// IKEv2 and ESP.
    Ikev2,
    /// PPTP: PPP over GRE. Weak.
    Pptp,
    /// SSTP: PPP inside of TLS.
    Sstp,
    /// L2TP: PPP over UDP.
    L2tp,
}

impl TunnelKind {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ikev2 => "ikev2",
            Self::Pptp => "pptp",
            Self::Sstp => "sstp",
            Self::L2tp => "l2tp",
        }
    }

    /// The type that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ikev2, Self::Sstp, Self::Pptp, Self::L2tp].into_iter().find(|kind| kind.as_str() == word)
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ikev2 => "IKEv2",
            Self::Pptp => "PPTP",
            Self::Sstp => "SSTP",
            Self::L2tp => "L2TP",
        }
    }
}

/// What an SSTP link's interface is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LinkKind {
    /// A TUN, which carries more.
    #[default]
    Tun,
    /// One of the kernel's PPP.
    Ppp,
}

impl LinkKind {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[("tun", Self::Tun), ("ppp", Self::Ppp)];
}

/// Which name an interface gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkName<'a> {
    /// This one.
    Exactly(&'a str),
    /// This, and the lowest number that is free.
    First(&'static str),
}

/// How somebody proves who they are on a PPP link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PppAuth {
    /// EAP.
    Eap,
    /// MS-CHAPv2.
    MsChapV2,
    /// MS-CHAPv1: with `legacy` only.
    MsChapV1,
    /// CHAP with MD5: without MPPE only, for which it makes no keys.
    Chap,
}

impl PppAuth {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("eap", Self::Eap),
        ("mschapv2", Self::MsChapV2),
        ("mschapv1", Self::MsChapV1),
        ("chap", Self::Chap),
    ];

    /// What holds for who dials and says nothing of it. Where a server is to show a certificate inside of EAP, no other may
    /// ask for the password's proof outside of it.
    pub(crate) fn default_of(methods: &[EapType]) -> &'static [Self] {
        match methods.iter().any(|method| method.runs_tls()) {
            true => &[Self::Eap],
            false => &[Self::Eap, Self::MsChapV2],
        }
    }

    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eap => "eap",
            Self::MsChapV2 => "mschapv2",
            Self::MsChapV1 => "mschapv1",
            Self::Chap => "chap",
        }
    }
}

/// Encryption of a PPP link by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MppeRule {
    /// Whether there is no connection without. Default: yes.
    pub required: bool,
    /// Whether keys of 128 bits are taken. Default: yes.
    pub bits128: bool,
    /// Whether keys of 40 bits are taken. Default: no.
    pub bits40: bool,
    /// Whether a key may serve for 256 packets. Default: no.
    pub stateful: bool,
}

impl Default for MppeRule {
    fn default() -> Self {
        Self { required: true, bits128: true, bits40: false, stateful: false }
    }
}

/// What a profile says of its PPP link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PppRule {
    /// How we prove ourselves, best first. Default: EAP, and MS-CHAPv2 where no method of EAP runs TLS.
    pub auth: Vec<PppAuth>,
    /// Encryption.
    pub mppe: MppeRule,
    /// Whether pppd's scripts of `/etc/ppp` are run.
    pub scripts: bool,
    /// The HTTP proxy by which the server is reached. SSTP only.
    pub proxy: Option<ProxyRule>,
    /// The tunnel. L2TP only.
    pub l2tp: Option<L2tpRule>,
}

/// What protects an L2TP tunnel from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipsec {
    /// ESP in transport mode, whose keys IKEv1 makes (RFC 3193). The default.
    Ikev1,
    /// The same, whose keys IKEv2 makes, with a pre-shared key.
    Ikev2,
    /// Nothing, by somebody's explicit word.
    None,
}

impl Ipsec {
    pub(crate) const WORDS: &'static [(&'static str, Self)] =
        &[("ikev1", Self::Ikev1), ("ikev2", Self::Ikev2), ("none", Self::None)];

    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ikev1 => "ikev1",
            Self::Ikev2 => "ikev2",
            Self::None => "none",
        }
    }
}

/// The IPsec around a server's L2TP tunnels. Algorithms that protect little are in it only where the server says
/// `legacy = true`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpsecRule {
    /// The file of the pre-shared key that all clients have. `None`: certificates prove both ends.
    pub psk: Option<FileRef>,
    /// Whether certificates do: the server's own, and those of its authorities for clients.
    pub certificates: bool,
    /// Who we claim to be. `None`: whom the certificate is for, or with the key the address that the client dialled.
    pub local_id: Option<Identity>,
    /// Phase 1 proposals, best first. Empty: the default ones.
    pub ike: Vec<Suite>,
    /// Phase 2 proposals, best first. Empty: the default ones.
    pub esp: Vec<Suite>,
    /// Whether algorithms that protect little may be used.
    pub legacy: bool,
    /// When keys are replaced.
    pub rekeying: Rekeying,
    /// Whether clients may come by IKEv1. Default: yes.
    pub ikev1: bool,
    /// Whether they may by IKEv2, with the pre-shared key. Default: no.
    pub ikev2: bool,
}

/// What is said of an L2TP tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct L2tpRule {
    /// What protects it; of a server's, by the first word that it says.
    pub ipsec: Ipsec,
    /// The file of the secret by which both ends of the tunnel prove themselves, if they do.
    pub secret: Option<FileRef>,
    /// Whether values are hidden by it. Default: no.
    pub hide: bool,
    /// Whether certificates prove both ends of a client's IPsec. Default: no, a pre-shared key does.
    pub certificate: bool,
    /// The IPsec of a server's tunnels; a profile's is what the profile says. Always there in a server that is not
    /// without it.
    pub server: Option<Box<IpsecRule>>,
}

impl Default for PppRule {
    fn default() -> Self {
        Self {
            auth: vec![PppAuth::Eap, PppAuth::MsChapV2],
            mppe: MppeRule::default(),
            scripts: false,
            proxy: None,
            l2tp: None,
        }
    }
}

/// `[pptp]`, `[sstp]` or `[l2tp]` of `server.toml`. `Debug` shows no secret.
#[derive(Debug)]
pub struct PppServer {
    /// What carries it.
    pub kind: TunnelKind,
    /// Addresses of this host on which to listen. Empty: all.
    pub addresses: Vec<IpAddr>,
    /// The port: of TCP, and of UDP where it is L2TP's. PPTP's is 1723, L2TP's 1701.
    pub port: u16,
    /// What the interfaces of its links are. SSTP only.
    pub interface: LinkKind,
    /// What stands in front of it. SSTP only.
    pub front: Front,
    /// The pool that clients' addresses come from: of IPv4 its first address is this end's, of IPv6 each client has a /64. No
    /// `[[connection]]` uses it.
    pub pool: String,
    /// Networks of IPv4 behind this server, of which clients hear that ask by DHCPINFORM. Empty: nobody is answered.
    pub subnets: Vec<Prefix>,
    /// What the server calls itself, where a method says so. Default: `adit`.
    pub name: String,
    /// The users, where passwords of this host decide: a file of `/etc/adit/secrets`, or pppd's.
    pub users: Option<FileRef>,
    /// Whether RADIUS servers decide.
    pub radius: bool,
    /// Networks behind clients that are sites, by their names.
    pub sites: BTreeMap<String, Vec<Prefix>>,
    /// How clients prove themselves, best first. Default: MS-CHAPv2, EAP.
    pub auth: Vec<PppAuth>,
    /// By EAP.
    pub eap: PppEap,
    /// Encryption.
    pub mppe: MppeRule,
    /// Whether pppd's scripts of `/etc/ppp` are run for each client.
    pub scripts: bool,
    /// The tunnels. L2TP only.
    pub l2tp: Option<L2tpRule>,
}

/// EAP of `[pptp]`.
#[derive(Debug)]
pub struct PppEap {
    /// The methods, best first. Default: EAP-MSCHAPv2; none where RADIUS servers have them.
    pub methods: Vec<EapType>,
    /// The server's certificate, where a method runs TLS, and those between it and its authority.
    pub certificate: Vec<CertSource>,
    /// Its key.
    pub keys: Vec<KeySource>,
    /// The file that holds the password of `key`, where it is encrypted.
    pub key_password: Option<FileRef>,
    /// Authorities of clients' certificates. Always there with EAP-TLS.
    pub ca: Vec<CertSource>,
    /// Whose certificates of theirs let in, by the identity that they have.
    pub matches: Vec<IdentityPattern>,
    /// Whether clients' certificates are asked about before they are believed.
    pub revocation: Revocation,
}
