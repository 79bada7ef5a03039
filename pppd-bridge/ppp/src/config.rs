//! What a link is to be.

use core::net::Ipv4Addr;
use core::time::Duration;

/// How somebody proves who they are on a PPP link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AuthMethod {
    /// EAP (RFC 3748): the methods of `adit_auth::eap`.
    Eap,
    /// MS-CHAPv2 (RFC 2759).
    MsChapV2,
    /// MS-CHAPv1 (RFC 2433). Protects little.
    MsChapV1,
    /// CHAP with MD5 (RFC 1994). Makes no keys.
    ChapMd5,
    /// PAP (RFC 1334): the password in clear.
    Pap,
}

impl AuthMethod {
    /// The data of LCP's Authentication-Protocol option.
    pub(crate) const fn option(self) -> &'static [u8] {
        match self {
            Self::Eap => &[0xc2, 0x27],
            Self::MsChapV2 => &[0xc2, 0x23, 0x81],
            Self::MsChapV1 => &[0xc2, 0x23, 0x80],
            Self::ChapMd5 => &[0xc2, 0x23, 0x05],
            Self::Pap => &[0xc0, 0x23],
        }
    }

    /// The method that an Authentication-Protocol option names.
    pub(crate) fn of_option(data: &[u8]) -> Option<Self> {
        [Self::Eap, Self::MsChapV2, Self::MsChapV1, Self::ChapMd5, Self::Pap]
            .into_iter()
            .find(|m| m.option() == data)
    }

    /// Whether it makes keys that MPPE can use.
    #[must_use]
    pub const fn makes_keys(self) -> bool {
        matches!(self, Self::Eap | Self::MsChapV2 | Self::MsChapV1)
    }
}

impl core::fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Eap => "EAP",
            Self::MsChapV2 => "MS-CHAPv2",
            Self::MsChapV1 => "MS-CHAPv1",
            Self::ChapMd5 => "CHAP",
            Self::Pap => "PAP",
        })
    }
}

/// A link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The longest packet that we want to be sent, in octets (RFC 1661 §6.1): the carrier's.
    pub mru: u16,
    /// Whether the carrier takes frames with a protocol field of one octet, and without address and control.
    pub compress_header: bool,
    /// How we prove ourselves where the peer asks for it, best first. Empty: not at all.
    pub prove: Vec<AuthMethod>,
    /// How the peer must prove itself, best first. Empty: it need not. A peer that will do none is not let in.
    pub demand: Vec<AuthMethod>,
    /// Our name, in our responses or challenges.
    pub name: String,
    /// EAP, in either role.
    pub eap: EapConfig,
    /// Encryption by the link itself.
    pub mppe: Mppe,
    /// IPv4: whether at all.
    pub ipv4: bool,
    /// IPv6: whether at all.
    pub ipv6: bool,
    /// Where addresses come from.
    pub addresses: Addresses,
    /// Timers.
    pub timing: Timing,
}

/// EAP on a link.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EapConfig {
    /// What EAP-Identity says, as peer; perhaps `anonymous@example.com`. `None`: the link's name.
    pub identity: Option<String>,
    /// The methods, best first.
    pub methods: Vec<adit_auth::eap::Method>,
    /// What runs inside of TTLS and PEAP.
    pub inner: adit_auth::eap::InnerConfig,
    /// As authenticator: another server does it all (RFC 3579), by [`Ask::EapPacket`](crate::Ask::EapPacket).
    pub pass_through: bool,
}

impl EapConfig {
    /// These methods, and what is inside of them by default.
    #[must_use]
    pub fn of(methods: Vec<adit_auth::eap::Method>) -> Self {
        Self { methods, ..Self::default() }
    }
}

/// Microsoft Point-to-Point Encryption (RFC 3078).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mppe {
    /// What becomes of a peer that does not encrypt.
    pub wish: MppeWish,
    /// Whether keys of 40 bits are taken.
    pub bits40: bool,
    /// Whether keys of 128 bits are taken.
    pub bits128: bool,
    /// Whether keys may last for 256 packets (stateful mode), where a peer wants that. Otherwise each packet has its own.
    pub stateful: bool,
}

/// Whether to encrypt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MppeWish {
    /// No: the carrier does it.
    Never,
    /// Where the peer does.
    Take,
    /// Or there is no connection.
    Require,
}

impl Mppe {
    /// 128 bits, stateless, or no connection.
    pub const REQUIRED: Self =
        Self { wish: MppeWish::Require, bits40: false, bits128: true, stateful: false };
    /// None.
    pub const OFF: Self = Self { wish: MppeWish::Never, bits40: false, bits128: false, stateful: false };
}

/// Which name servers a peer is asked for (RFC 1877). One that has none refuses, which takes a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameServers {
    /// Those of DNS.
    pub dns: bool,
    /// Those of WINS.
    pub wins: bool,
}

impl NameServers {
    /// Of both.
    pub const ALL: Self = Self { dns: true, wins: true };
}

/// Who says which addresses there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addresses {
    /// The peer.
    FromPeer {
        /// The IPv4 address that we would like.
        wanted: Option<Ipv4Addr>,
        /// The servers that we would like to be told of.
        servers: NameServers,
    },
    /// We, once we know who the peer is ([`Ask::Network`](crate::Ask::Network)).
    ForPeer,
}

/// Times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The restart timer at first; it doubles (RFC 1661 §4.6).
    pub restart_first: Duration,
    /// The restart timer at most.
    pub restart_last: Duration,
    /// How long authentication may take in all.
    pub authenticate: Duration,
    /// How long an answer of the world may take.
    pub ask: Duration,
    /// Silence of this length is asked about by Echo-Request. Zero: never.
    pub echo: Duration,
    /// As many Echo-Requests without an answer end the link.
    pub echo_failures: u8,
    /// How long one address family waits for the other.
    pub family: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            restart_first: Duration::from_millis(500),
            restart_last: Duration::from_secs(3),
            authenticate: Duration::from_secs(60),
            ask: Duration::from_secs(60),
            echo: Duration::from_secs(15),
            echo_failures: 4,
            family: Duration::from_secs(3),
        }
    }
}
