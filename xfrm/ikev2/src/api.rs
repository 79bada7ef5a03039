//! What goes into the IKEv2 core and what comes out of it.
//!
//! Everything that is slow or foreign is an [`Ask`]; its [`Answer`] comes back as an [`Input`], possibly late,
//! refused, or never.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use adit_core::{
    Failure, Identity, Path, PathNews, Secret, SignatureScheme, Step, TrafficSelector, Transmit,
};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::proposal::EspProposal;
use adit_isakmp::{EspSuite, IkeSuite, KeMethod};

mod config;
mod eap;
mod restore;
mod resume;

pub use adit_isakmp::api::{
    AskId, ChildId, ChildMode, ChildSa, EspKeys, Lease, SaId, SignatureEncoding, Timing,
};
pub use config::{
    FRAGMENT_SIZE, InitiatorConfig, LocalAuth, OwnChain, PpkRule, PpkUse, RemoteAuth, ResponderConfig,
    ResponderDefaults, Uniqueness,
};
pub use eap::{EapStep, EapSuccess};
pub use restore::{GoesOnBy, Restored, RestoredChild};
pub use resume::Ticket;

/// What the world tells the core.
pub enum Input {
    /// A datagram arrived. `path.local` is where; the Non-ESP marker has been taken off.
    Datagram {
        /// From where to where.
        path: Path,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// The answer to an [`Ask`].
    Answer {
        /// Which question.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// Close the IKE_SA: tell the peer, wait for its answer or a few retransmissions, then
    /// [`Event::Closed`]. Before it is established it is simply dropped.
    Close {
        /// Which one.
        sa: SaId,
    },
    /// Delete one CHILD_SA (a hard limit was reached): tell the peer, then [`Event::ChildClosed`]. With its last
    /// CHILD_SA the IKE_SA closes too.
    CloseChild {
        /// Of which IKE_SA.
        sa: SaId,
        /// Which one.
        child: ChildId,
    },
    /// Rekey now: a CHILD_SA (the kernel's soft limit of bytes or packets was reached), or the IKE_SA itself. Does
    /// nothing where that is under way already.
    Rekey {
        /// Which IKE_SA.
        sa: SaId,
        /// Which CHILD_SA of it; `None`: the IKE_SA.
        child: Option<ChildId>,
    },
    /// Negotiate one more CHILD_SA → [`Event::ChildUp`] or [`Event::ChildRefused`].
    AddChild {
        /// Of which IKE_SA.
        sa: SaId,
        /// What to propose.
        child: Box<ChildConfig>,
    },
    /// The kernel saw authentic ESP of the peer come from here (XFRM MAPPING). Counts as an authenticated request
    /// from there (RFC 7296 §2.23).
    Mapping {
        /// Of which IKE_SA.
        sa: SaId,
        /// Where the peer is now.
        remote: core::net::SocketAddr,
    },
    /// Go over this path from now on (RFC 4555 §3.5): at once, and what has not been answered yet goes over it too →
    /// [`Event::PathChanged`], and [`Event::PathProbed`] when the peer has answered there. An initiator's; a
    /// responder's only where the address that it had is gone. Without MOBIKE the peer has to stay where it is, and only
    /// one that knows us to be behind a NAT follows with its CHILD_SAs; any other answers there, and can be told that the
    /// IKE_SA is closed.
    Move {
        /// Which IKE_SA.
        sa: SaId,
        /// Where from and where to.
        path: Path,
    },
    /// Find out whether these paths work (RFC 4555 §3.10) → [`Event::PathProbed`] for each that does. At most 16 at
    /// once; needs MOBIKE.
    Probe {
        /// Which IKE_SA.
        sa: SaId,
        /// The paths.
        paths: Vec<Path>,
    },
    /// These are our addresses (RFC 4555 §3.6): the peer is told, where they are others than before.
    Addresses {
        /// Which IKE_SA.
        sa: SaId,
        /// All of them, the one in use too.
        addresses: Vec<IpAddr>,
    },
    /// Let an IKE_SA that is up go without a word to the peer, whose session is to be resumed (RFC 5723): a DELETE would
    /// end that, too. → [`Event::Closed`]
    Abandon {
        /// Which one.
        sa: SaId,
    },
    /// The time of [`deadline`](crate::Endpoint::deadline) has come. Any other input does the same.
    Wake,
}

/// What the core wants of the world.
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Do or find out this.
    Ask {
        /// To be given back with the answer.
        id: AskId,
        /// On whose behalf.
        sa: SaId,
        /// The question.
        ask: Ask,
    },
    /// Something happened.
    Event {
        /// To which IKE_SA.
        sa: SaId,
        /// What.
        event: Event,
    },
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// A request is to be sent again.
    Retransmit,
    /// A half-open IKE_SA has taken too long.
    HalfOpen,
    /// The peer has been silent: time to ask whether it lives.
    DeadPeer,
    /// A NAT mapping is to be kept alive (RFC 3948 §4).
    Keepalive,
    /// The cookie secret is to be replaced.
    CookieSecret,
    /// A CHILD_SA or the IKE_SA is to be rekeyed, or the peer authenticated again.
    Rekey,
    /// A ticket is to be had, or its time is over (RFC 5723).
    Ticket,
}

/// A question. Every Ask gets exactly one Answer of the same name, or none.
pub enum Ask {
    /// Make a key pair. → [`Answer::Generated`]
    Generate(KeMethod),
    /// Compute the shared secret. → [`Answer::Agreed`]
    Agree {
        /// Our key pair.
        key: Box<dyn KeyExchange>,
        /// The peer's Key Exchange Data.
        peer: Vec<u8>,
    },
    /// Make a key pair and compute the shared secret in one. → [`Answer::Encapsulated`]
    Encapsulate {
        /// The method.
        method: KeMethod,
        /// The peer's Key Exchange Data.
        peer: Vec<u8>,
    },
    /// A responder's: which configuration is for this peer? Nothing has been authenticated. → [`Answer::Connection`]
    Connection {
        /// IDi: who the peer claims to be.
        remote: Identity,
        /// IDr: whom it wants to speak to, if it said so.
        asked: Option<Identity>,
        /// Where it is.
        path: Path,
        /// It wants to prove itself by EAP (RFC 7296 §2.16): who it is comes out there, and `remote` may be anything.
        eap: bool,
        /// Our side of what it asks for in transport mode (USE_TRANSPORT_MODE), as it says it: behind a NAT only protocols and
        /// ports mean something. Empty: it does not ask for that.
        transport: Vec<TrafficSelector>,
    },
    /// A responder's: may this session go on, whose ticket somebody has presented (RFC 5723)? Nothing has been
    /// authenticated. → [`Answer::Connection`], with the identity that it had.
    Resume {
        /// The IKE_SA over which the ticket was given. It may be up still.
        session: SaId,
        /// Who had proven to be on its other end.
        remote: Identity,
        /// Where the ticket came from.
        path: Path,
    },
    /// An EAP packet of the peer: what to do with it (RFC 7296 §2.16)? → [`Answer::Eap`]
    Eap {
        /// The packet. `None`: begin; a responder's first question.
        packet: Option<Vec<u8>>,
    },
    /// The pre-shared key of these two. For a peer nobody knows the answer is a random one, not an error: the work
    /// and the reply are then the same as for a wrong key. → [`Answer::Psk`]
    Psk {
        /// We.
        local: Identity,
        /// The peer.
        remote: Identity,
    },
    /// The postquantum preshared key of this name (RFC 8784). → [`Answer::Ppk`]
    Ppk {
        /// PPK_ID, of the type PPK_ID_FIXED.
        id: Vec<u8>,
    },
    /// Verify that the certificates lead to a trust anchor, are for `identity` and for this role, and that the first
    /// one's key made `signature` over `message`. → [`Answer::Verified`]
    Verify {
        /// Who the peer says it is. An initiator checks the identity that it dialled, see
        /// [`InitiatorConfig::remote_id`].
        identity: Identity,
        /// DER, end entity first, at most 10.
        certificates: Vec<Vec<u8>>,
        /// How it signed. An ECDSA AlgorithmIdentifier names only the hash (RFC 7427): the curve is that of the
        /// certificate's key, whatever this says.
        scheme: SignatureScheme,
        /// ASN.1 (RFC 7427) or fixed-length r‖s (RFC 4754).
        encoding: SignatureEncoding,
        /// What it signed.
        message: Secret,
        /// The signature.
        signature: Vec<u8>,
    },
    /// Sign `message` with a key of ours by the best scheme of `schemes`. → [`Answer::Signed`]
    Sign {
        /// Which of our certificates' key: its place in [`LocalAuth::Signature`].
        certificate: usize,
        /// What the peer accepts and our key can do, best first.
        schemes: Vec<SignatureScheme>,
        /// ASN.1 (RFC 7427) or fixed-length r‖s (RFC 4754).
        encoding: SignatureEncoding,
        /// What to sign.
        message: Secret,
    },
    /// A responder's: addresses for the authenticated peer. → [`Answer::Leased`]
    Lease {
        /// Who it is.
        remote: Identity,
        /// Whether it asked for an IPv4 address, and which (UNSPECIFIED: any).
        v4: Option<Ipv4Addr>,
        /// Whether it asked for an IPv6 address, and which.
        v6: Option<Ipv6Addr>,
        /// The IKE_SA whose session is resumed: its addresses are the peer's.
        resumes: Option<SaId>,
    },
    /// A fresh inbound SPI from the kernel. → [`Answer::Spi`]
    AllocateSpi {
        /// The outer addresses that the SA will have.
        path: Path,
    },
    /// Install a pair of SAs and the policies, links, addresses and routes that go with them. →
    /// [`Answer::Installed`]
    Install(Box<ChildSa>),
    /// Install the outbound SA of a pair whose [`ChildSa::outbound`] was `None` when it was installed: from now on the
    /// peer can read it. → [`Answer::Installed`]
    InstallOutbound {
        /// Of which CHILD_SA.
        child: ChildId,
        /// Its keys.
        keys: EspKeys,
    },
}

/// The answer to an [`Ask`]. A [`Failure`] ends the exchange; the peer is told no more than the protocol's own word.
pub enum Answer {
    /// To [`Ask::Generate`].
    Generated(Result<Box<dyn KeyExchange>, CryptoError>),
    /// To [`Ask::Agree`].
    Agreed(Result<Secret, CryptoError>),
    /// To [`Ask::Encapsulate`]: our Key Exchange Data and the shared secret.
    Encapsulated(Result<(Vec<u8>, Secret), CryptoError>),
    /// To [`Ask::Connection`] and [`Ask::Resume`].
    Connection(Result<Box<ResponderConfig>, Failure>),
    /// To [`Ask::Eap`]. A failure is told to nobody but us: the peer hears AUTHENTICATION_FAILED.
    Eap(Result<EapStep, Failure>),
    /// To [`Ask::Psk`].
    Psk(Result<Secret, Failure>),
    /// To [`Ask::Ppk`]. `None`: there is none of this name.
    Ppk(Result<Option<Secret>, Failure>),
    /// To [`Ask::Verify`].
    Verified(Result<(), Failure>),
    /// To [`Ask::Sign`].
    Signed(Result<(SignatureScheme, Vec<u8>), Failure>),
    /// To [`Ask::Lease`].
    Leased(Result<Lease, Failure>),
    /// To [`Ask::AllocateSpi`].
    Spi(Result<u32, Failure>),
    /// To [`Ask::Install`] and [`Ask::InstallOutbound`].
    Installed(Result<(), Failure>),
}

/// Something that the driver, and perhaps a person, wants to know.
#[derive(Debug)]
pub enum Event {
    /// The connection goes on to this step.
    Progress(Step),
    /// IKE_SA_INIT has agreed on these algorithms; nobody has proven anything yet. An initiator's.
    Agreed(IkeSuite),
    /// A peer that dialled us has been let in as far as IKE_SA_INIT: a half-open IKE_SA exists.
    Incoming {
        /// Where it is.
        path: Path,
    },
    /// The session can be resumed with this (RFC 5723), in place of what was given before. An initiator's; also one that it
    /// was given and could not use.
    Ticket(Box<Ticket>),
    /// The session could not be resumed, and is begun from scratch. An initiator's.
    NotResumed(Failure),
    /// The IKE_SA and its first CHILD_SA are up. (`Ask::Install` was answered before.)
    Established(Box<Established>),
    /// The SAs of every CHILD_SA of this IKE_SA go over this path from now on: a peer has moved and proven it (RFC 7296
    /// §2.23, RFC 4555 §3.5), or we have, or a NAT has come or gone.
    PathChanged {
        /// The new one.
        path: Path,
        /// Whether ESP is carried in UDP.
        encapsulated: bool,
    },
    /// The peer has answered over this path. An initiator's, with MOBIKE.
    PathProbed {
        /// Which.
        path: Path,
        /// Time from the last request over it to the response.
        round_trip: Duration,
    },
    /// The peer accepts no address update over this path (RFC 4555 §3.5, §3.9). An initiator's.
    PathRefused {
        /// Which.
        path: Path,
    },
    /// A request had to be sent again: the path may be dead. An initiator's, with MOBIKE.
    Unanswered {
        /// How often it was sent, the first time included.
        sent: u32,
        /// It was to tell the peer of a move.
        updates: bool,
    },
    /// All retransmissions are over. The IKE_SA stands, and waits for [`Input::Move`], [`Input::Probe`] or
    /// [`Input::Close`]. An initiator's, with MOBIKE.
    PathDead,
    /// Where the peer can be reached, as it says now (RFC 4555 §3.6): first from where it spoke.
    PeerAddresses {
        /// All of them.
        addresses: Vec<IpAddr>,
    },
    /// A CHILD_SA is gone: its states and policies are to be removed. So is one whose [`Ask::Install`] was not answered
    /// within a minute: whatever was done for it, or would be, is to be taken back.
    ChildClosed {
        /// Which one.
        child: ChildId,
        /// Its inbound SPI.
        inbound_spi: u32,
        /// Its outbound SPI.
        outbound_spi: u32,
        /// The CHILD_SA that carries in its place (RFC 7296 §2.8): the one that was made for that, or, where this one
        /// was made to replace another and came to nothing, that other one. The inbound state may then still have
        /// packets on the way: it is removed some seconds later, the outbound one at once, and the policies stay.
        replaced_by: Option<ChildId>,
    },
    /// One more CHILD_SA is up, or one in another's place. (`Ask::Install` was answered before.)
    ChildUp(Box<ChildUp>),
    /// What [`Input::AddChild`] wanted, or one of [`InitiatorConfig::more_children`], was refused.
    ChildRefused {
        /// [`ChildConfig::name`].
        name: String,
        /// Why.
        why: Failure,
    },
    /// The peer refused to have the IKE_SA, or a CHILD_SA, rekeyed. What there is carries on; it is asked for again until the
    /// end of its life, with which it goes.
    RekeyRefused {
        /// Which. `None`: the IKE_SA.
        child: Option<ChildId>,
        /// Why.
        why: Failure,
    },
    /// The IKE_SA was rekeyed: same [`SaId`], new SPIs and keys (RFC 7296 §1.3.2).
    Rekeyed {
        /// What protects it now.
        ike: IkeSuite,
    },
    /// It is time to authenticate again ([`Timing::reauthenticate`], or the peer's AUTH_LIFETIME, RFC 4478), or the peer
    /// lets nothing be rekeyed (NO_ADDITIONAL_SAS; this is then said again and again): the driver dials a second IKE_SA,
    /// and closes this one when that is up.
    ReauthenticationDue,
    /// A lease is no longer needed.
    Released(Lease),
    /// The IKE_SA is gone, with everything that it had: no output will name it again, and answers to its Asks are
    /// ignored. `Err` says why, unless we were asked to close it.
    Closed(Result<(), Failure>),
}

impl Event {
    /// What it says of the paths to the peer, if it does.
    #[must_use]
    pub fn path_news(&self) -> Option<PathNews> {
        Some(match self {
            Self::PathChanged { path, .. } => PathNews::Changed(*path),
            Self::PathProbed { path, round_trip } => PathNews::Answered(*path, *round_trip),
            Self::PathRefused { path } => PathNews::Refused(*path),
            Self::Unanswered { .. } => PathNews::Unanswered,
            Self::PathDead => PathNews::Dead,
            Self::PeerAddresses { addresses } => PathNews::Peers(addresses.clone()),
            _ => return None,
        })
    }
}

/// An established IKE_SA.
#[derive(Clone, Debug)]
pub struct Established {
    /// Where the peer is now (after the move to port 4500, if there was one).
    pub path: Path,
    /// Whether ESP is carried in UDP (RFC 3948).
    pub encapsulated: bool,
    /// Whether a NAT was found in front of us.
    pub nat_local: bool,
    /// Whether a NAT was found in front of the peer.
    pub nat_remote: bool,
    /// Where the peer can be reached besides, if both ends speak MOBIKE (RFC 4555).
    pub mobike: Option<Vec<IpAddr>>,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's authenticated identity.
    pub remote_id: Identity,
    /// What protects the IKE_SA.
    pub ike: IkeSuite,
    /// What protects the CHILD_SA.
    pub esp: EspSuite,
    /// The first CHILD_SA.
    pub child: ChildId,
    /// Our side of the traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic selectors.
    pub remote_ts: Vec<TrafficSelector>,
    /// Addresses: got, as initiator; handed out, as responder.
    pub lease: Lease,
    /// A postquantum preshared key is in its keys (RFC 8784).
    pub ppk: bool,
    /// It goes on from another IKE_SA's session: nobody was asked to prove anything again (RFC 5723).
    pub resumed: bool,
    /// As responder: the peer has been given a ticket, with which its session can be resumed.
    pub resumable: bool,
    /// The name of the [`ResponderConfig`], as responder.
    pub connection: Option<String>,
}

/// A CHILD_SA that came up after the first one.
#[derive(Clone, Debug)]
pub struct ChildUp {
    /// Which one.
    pub child: ChildId,
    /// Whose place it takes.
    pub replaces: Option<ChildId>,
    /// [`ChildConfig::name`], where we asked for it.
    pub name: Option<String>,
    /// What protects it.
    pub esp: EspSuite,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// Our side of the traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic selectors.
    pub remote_ts: Vec<TrafficSelector>,
}

/// A CHILD_SA to propose.
#[derive(Clone, Debug)]
pub struct ChildConfig {
    /// For people.
    pub name: String,
    /// Algorithms, best first; with key exchange methods: perfect forward secrecy, also when it is rekeyed.
    pub esp: Vec<EspProposal>,
    /// What to ask for. A peer that does not grant transport mode gives tunnel mode, which is refused then.
    pub mode: ChildMode,
    /// Our side of the traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate(_) => "Generate",
            Self::Agree { .. } => "Agree",
            Self::Encapsulate { .. } => "Encapsulate",
            Self::Connection { .. } => "Connection",
            Self::Resume { .. } => "Resume",
            Self::Eap { .. } => "Eap",
            Self::Psk { .. } => "Psk",
            Self::Ppk { .. } => "Ppk",
            Self::Verify { .. } => "Verify",
            Self::Sign { .. } => "Sign",
            Self::Lease { .. } => "Lease",
            Self::AllocateSpi { .. } => "AllocateSpi",
            Self::Install(_) => "Install",
            Self::InstallOutbound { .. } => "InstallOutbound",
        })
    }
}
