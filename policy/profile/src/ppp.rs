use core::net::IpAddr;

use crate::secret::FileRef;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TunnelKind {
    /// IKEv2 and ESP.
    Ikev2,
    /// PPTP: PPP over GRE. Weak.
    Pptp,
}

impl TunnelKind {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ikev2 => "ikev2",
            Self::Pptp => "pptp",
        }
    }
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
    /// How we prove ourselves, best first. Default: EAP, MS-CHAPv2.
    pub auth: Vec<PppAuth>,
    /// Encryption.
    pub mppe: MppeRule,
}

impl Default for PppRule {
    fn default() -> Self {
        Self { auth: vec![PppAuth::Eap, PppAuth::MsChapV2], mppe: MppeRule::default() }
    }
}

/// `[pptp]` of `server.toml`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PptpServer {
    /// Addresses of this host on which to listen (TCP 1723). Empty: all.
    pub addresses: Vec<IpAddr>,
    /// The pool that clients' addresses come from: of IPv4 its first address is this end's, of IPv6 each client has a /64. No
    /// `[[connection]]` uses it.
    pub pool: String,
    /// The users. `None`: RADIUS servers decide.
    pub users: Option<FileRef>,
    /// How clients prove themselves, best first. Default: MS-CHAPv2, EAP; by RADIUS MS-CHAPv2.
    pub auth: Vec<PppAuth>,
    /// Encryption.
    pub mppe: MppeRule,
}
