//! What goes into a link and what comes out of it.

use core::net::{Ipv4Addr, Ipv6Addr};

use adit_auth::eap;
use adit_auth::mschap::{MasterKeys, MppeStrength};
use adit_core::{Failure, Secret, Step};

use crate::LinkParameters;
use crate::auth::{Claim, Verdict};
use crate::config::AuthMethod;

/// One question of a link. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// What the world tells a link.
pub enum Input {
    /// The carrier is there: the link begins.
    Up,
    /// The carrier is gone.
    Down(Failure),
    /// A frame came: its protocol in two octets, then the packet. It does not matter whether by channel or unit.
    Frame(Vec<u8>),
    /// The answer to an [`Ask`].
    Answer {
        /// Which question.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// End the link: tell the peer, wait for its answer or two tries, then [`Event::Closed`].
    Close,
    /// The time of [`deadline`](crate::Link::deadline) has come. Any other input does the same.
    Wake,
}

/// What a link wants of the world. What comes out is to be done in this order: an [`Ask::Compress`] before the
/// frame that follows it.
pub enum Output {
    /// Send this frame: its protocol in two octets, then the packet. [`Protocol::of_link`](crate::wire::Protocol::of_link)
    /// says whether by channel or unit.
    Transmit(Vec<u8>),
    /// Do or find out this.
    Ask {
        /// To be given back with the answer.
        id: AskId,
        /// The question.
        ask: Ask,
    },
    /// Something happened.
    Event(Event),
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// A packet of LCP or an NCP is to be sent again.
    Restart,
    /// A packet of authentication is to be sent again.
    Retransmit,
    /// Authentication has taken too long.
    Authenticate,
    /// An answer of the world has taken too long.
    Ask,
    /// The peer has been silent: time to ask whether it lives.
    Echo,
    /// One address family has waited for the other long enough.
    Family,
    /// A Reset-Request is to be sent again.
    Reset,
}

/// A question. Every Ask gets exactly one answer, or none.
#[derive(Debug)]
pub enum Ask {
    /// Our password. → [`Answer::Secret`]
    Password {
        /// For which method.
        method: AuthMethod,
        /// The last one was wrong, and this is what the peer says.
        again: Option<String>,
    },
    /// A new password, since ours has expired. → [`Answer::Secret`]
    NewPassword {
        /// The peer's words.
        message: String,
    },
    /// Whether this proves who the peer is. → [`Answer::Verdict`]
    Verify(Claim),
    /// What an EAP method of our own wants to know, as authenticator. → [`Answer::EapUser`], [`Answer::Stored`]
    Eap(eap::AuthenticatorAsk),
    /// A Response of the peer's, for the server that decides. → [`Answer::EapStep`]
    EapPacket(Vec<u8>),
    /// What TLS shall do for an EAP method: an engine for each conversation answers its questions in order. → [`Answer::Tls`]
    Tls {
        /// By which method the peer proves itself; `None`: we are the peer.
        method: Option<eap::Method>,
        /// What.
        ask: eap::TlsAsk,
    },
    /// The peer has a new password from now on. → [`Answer::Stored`]
    StorePassword {
        /// Whose.
        name: String,
        /// The new one.
        password: Secret,
    },
    /// The peer is who it is to be: make the network unit, join it to the channel, let no packet pass yet; and say which
    /// addresses there are. → [`Answer::Network`]
    Network {
        /// Who the peer has proven to be; empty where it need not.
        peer: String,
    },
    /// Prepare the kernel's encryption of one direction. → [`Answer::Compressed`]
    Compress(Compress),
    /// Encryption stands in both directions (`true`), or does no more (`false`): then no packet passes until there is an
    /// [`Ask::Install`] again. → [`Answer::Compressed`]
    Encrypted(bool),
    /// Addresses, routes and the like, and let packets of the family pass. → [`Answer::Installed`]
    Install(Network),
}

/// Encryption of one direction.
#[derive(Debug)]
pub struct Compress {
    /// Whether of what we send.
    pub transmit: bool,
    /// The Supported Bits of MPPE's option as it will be acknowledged.
    pub bits: u32,
    /// The start key: 8 or 16 octets. The kernel derives the session keys.
    pub key: Secret,
}

/// What one family has negotiated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Network {
    /// IPv4.
    V4(Ipv4Network),
    /// IPv6.
    V6(Ipv6Network),
}

/// IPCP's result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ipv4Network {
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's, if it has said one.
    pub peer: Option<Ipv4Addr>,
    /// DNS servers that the peer gave, in order.
    pub dns: Vec<Ipv4Addr>,
    /// WINS servers that the peer gave, in order.
    pub wins: Vec<Ipv4Addr>,
}

/// IPV6CP's result: two link-local addresses (RFC 5072 §5). Others come by router advertisements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Network {
    /// Our interface identifier.
    pub local: [u8; 8],
    /// The peer's.
    pub peer: [u8; 8],
}

impl Ipv6Network {
    /// The link-local address of an interface identifier.
    #[must_use]
    pub fn link_local(identifier: [u8; 8]) -> Ipv6Addr {
        Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(identifier)))
    }
}

/// The answer to an [`Ask`]. A [`Failure`] ends the link.
pub enum Answer {
    /// To [`Ask::Password`] and [`Ask::NewPassword`].
    Secret(Result<Secret, Failure>),
    /// To [`Ask::Verify`].
    Verdict(Result<Verdict, Failure>),
    /// To [`Ask::Eap`] about a user.
    EapUser(Result<Option<eap::UserSecret>, Failure>),
    /// To [`Ask::EapPacket`].
    EapStep(Result<EapStep, Failure>),
    /// To [`Ask::Tls`].
    Tls(eap::TlsAnswer),
    /// To [`Ask::StorePassword`], and to [`Ask::Eap`] about one.
    Stored(Result<(), Failure>),
    /// To [`Ask::Network`].
    Network(Result<NetworkPlan, Failure>),
    /// To [`Ask::Compress`] and [`Ask::Encrypted`].
    Compressed(Result<(), Failure>),
    /// To [`Ask::Install`].
    Installed(Result<(), Failure>),
}

/// What a server says that decides by EAP.
pub enum EapStep {
    /// Its next Request.
    Send(Vec<u8>),
    /// It is content: its Success, who the peer is, and the keys of it.
    Accepted {
        /// EAP-Success.
        packet: Vec<u8>,
        /// Who.
        identity: String,
        /// Keys, where the method has made any.
        keys: Option<MasterKeys>,
    },
    /// It is not.
    Refused {
        /// EAP-Failure.
        packet: Vec<u8>,
        /// Why.
        why: Failure,
    },
}

/// The addresses of both ends. Where they come from the peer, it is empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NetworkPlan {
    /// Our IPv4 address, and the peer's.
    pub v4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Whether there is anything of IPv6 for the peer.
    pub v6: bool,
    /// DNS servers for the peer, two at most.
    pub dns: Vec<Ipv4Addr>,
    /// WINS servers for the peer, two at most.
    pub wins: Vec<Ipv4Addr>,
}

/// Something that the driver, and perhaps a person, wants to know.
#[derive(Debug)]
pub enum Event {
    /// The link goes on to this step.
    Progress(Step),
    /// LCP is open: the channel is to send by these.
    LinkUp(LinkParameters),
    /// What the peer calls itself, by Identification (RFC 1570), or as authenticator. Nothing proves it.
    PeerName(String),
    /// The peer says how long the link will last, in seconds (RFC 1570 §2.2).
    TimeRemaining(u32),
    /// Both sides know who the other is, as far as they wanted to.
    Authenticated(Authenticated),
    /// At least one family is up, and the other is, or will not be.
    Established(Box<Established>),
    /// What is up is now this: a family has come late, or is agreed anew, or is gone.
    Changed(Box<Established>),
    /// The link is over. `Err` says why, unless we were asked to close it. Nothing comes after it.
    Closed(Result<(), Failure>),
}

/// Who proved what, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticated {
    /// How we did.
    pub ours: Option<AuthMethod>,
    /// How the peer did, and who it is.
    pub peer: Option<(AuthMethod, String)>,
}

/// A link that carries packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Established {
    /// IPv4, if that is up.
    pub v4: Option<Ipv4Network>,
    /// IPv6, if that is up.
    pub v6: Option<Ipv6Network>,
    /// How packets are encrypted by the link, with whether each has a key of its own.
    pub mppe: Option<(MppeStrength, bool)>,
}

/// A link that [`Link::restore`](crate::Link::restore) has taken up again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// What LCP agreed on.
    pub link: LinkParameters,
    /// Who has proven what.
    pub authenticated: Authenticated,
    /// What is up.
    pub established: Established,
    /// The longest packet that we take, in octets, as the link was begun with.
    pub mru: u16,
}

/// Keys that authentication has made, for MPPE.
pub(crate) struct Keys {
    pub(crate) master: MasterKeys,
    pub(crate) role: adit_auth::mschap::Role,
}
