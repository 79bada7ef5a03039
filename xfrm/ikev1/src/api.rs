//! What goes into the IKEv1 core and what comes out of it: the words of `adit_ikev2::api`, as far as IKEv1 has the
//! thing, so that one driver can host both on the same sockets.
//!
//! Everything that is slow or foreign is an [`Ask`]; its [`Answer`] comes back as an [`Input`], possibly late, refused,
//! or never. Names of SAs, CHILD_SAs and asks never meet those of IKEv2: theirs have the highest bit clear, these have
//! it set.

mod restore;

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use adit_core::{Failure, Identity, Path, Secret, Step, TrafficSelector, Transmit};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_isakmp::{EspSuite, IkeSuite, KeMethod};

pub use adit_isakmp::api::{AskId, ChildId, ChildMode, ChildSa, EspKeys, Lease, SaId, Timing};
pub use adit_isakmp::v1::proposal::AuthMethod;
pub use restore::{Restored, RestoredChild, Rules};

/// What the world tells the core.
pub enum Input {
    /// A datagram arrived, whose header has the major version 1. The Non-ESP marker has been taken off.
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
    /// Close it: tell the peer, which does not answer in IKEv1, then [`Event::Closed`].
    Close {
        /// Which one.
        sa: SaId,
    },
    /// Delete one CHILD_SA: tell the peer, then [`Event::ChildClosed`]. With the last one all is closed.
    CloseChild {
        /// Of which connection.
        sa: SaId,
        /// Which one.
        child: ChildId,
    },
    /// Rekey now: a CHILD_SA (the kernel's soft limit was reached), or, where we dialled, the ISAKMP SA itself.
    Rekey {
        /// Which connection.
        sa: SaId,
        /// Which CHILD_SA of it; `None`: the ISAKMP SA.
        child: Option<ChildId>,
    },
    /// The kernel saw authentic ESP of the peer come from here.
    Mapping {
        /// Of which connection.
        sa: SaId,
        /// Where the peer is now.
        remote: SocketAddr,
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
        /// To which connection.
        sa: SaId,
        /// What.
        event: Event,
    },
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// A message is to be sent again.
    Retransmit,
    /// Phase 1, or the wait for the first Quick Mode, has taken too long.
    HalfOpen,
    /// The peer has been silent: time to ask whether it lives (RFC 3706).
    DeadPeer,
    /// A NAT mapping is to be kept alive (RFC 3948 §4).
    Keepalive,
    /// An SA is to be rekeyed, or its life is over.
    Rekey,
}

/// A question. Every Ask gets exactly one Answer of the same name, or none.
pub enum Ask {
    /// Make a key pair. → [`Answer::Generated`]
    Generate(KeMethod),
    /// Compute the shared secret. → [`Answer::Agreed`]
    Agree {
        /// Our key pair.
        key: Box<dyn KeyExchange>,
        /// The peer's public value.
        peer: Vec<u8>,
    },
    /// Make a key pair and compute the shared secret in one. → [`Answer::Encapsulated`]
    Encapsulate {
        /// The method.
        method: KeMethod,
        /// The peer's public value.
        peer: Vec<u8>,
    },
    /// The pre-shared key of these two. A responder's comes before anybody has said who it is: both are the addresses
    /// then, as Main Mode has it (RFC 2409 §5.4). For a peer nobody knows the answer is a random one. →
    /// [`Answer::Psk`]
    Psk {
        /// We.
        local: Identity,
        /// The peer.
        remote: Identity,
    },
    /// A responder's: which configuration is for this peer? → [`Answer::Connection`]
    Connection {
        /// Who the peer says it is. With a pre-shared key it has proven to have the key; with a certificate nothing yet.
        remote: Identity,
        /// How it proves itself.
        auth: AuthMethod,
        /// Where it is.
        path: Path,
    },
    /// Verify that the certificates lead to a trust anchor, are for `identity` and for this role, and that the first
    /// one's RSA key made `signature`: PKCS #1 v1.5 padding (type 1) around `message` itself, without an
    /// AlgorithmIdentifier (RFC 2409 §5.1). → [`Answer::Verified`]
    Verify {
        /// Who the peer says it is.
        identity: Identity,
        /// DER, end entity first, at most 10.
        certificates: Vec<Vec<u8>>,
        /// What it signed: HASH_I or HASH_R.
        message: Secret,
        /// The signature.
        signature: Vec<u8>,
    },
    /// Sign with our RSA key, as [`Ask::Verify`] has it. → [`Answer::Signed`]
    Sign {
        /// Which of our certificates' key: its place in what was configured.
        certificate: usize,
        /// What to sign.
        message: Secret,
    },
    /// A fresh inbound SPI from the kernel. → [`Answer::Spi`]
    AllocateSpi {
        /// The outer addresses that the SA will have.
        path: Path,
    },
    /// Install a pair of SAs and the policies that go with them. → [`Answer::Installed`]
    Install(Box<ChildSa>),
    /// Install the outbound SA of a pair whose [`ChildSa::outbound`] was `None`. → [`Answer::Installed`]
    InstallOutbound {
        /// Of which CHILD_SA.
        child: ChildId,
        /// Its keys.
        keys: EspKeys,
    },
}

/// The answer to an [`Ask`].
pub enum Answer {
    /// To [`Ask::Generate`].
    Generated(Result<Box<dyn KeyExchange>, CryptoError>),
    /// To [`Ask::Agree`].
    Agreed(Result<Secret, CryptoError>),
    /// To [`Ask::Encapsulate`]: our public value and the shared secret.
    Encapsulated(Result<(Vec<u8>, Secret), CryptoError>),
    /// To [`Ask::Psk`].
    Psk(Result<Secret, Failure>),
    /// To [`Ask::Connection`].
    Connection(Result<Box<ResponderConfig>, Failure>),
    /// To [`Ask::Verify`].
    Verified(Result<(), Failure>),
    /// To [`Ask::Sign`].
    Signed(Result<Vec<u8>, Failure>),
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
    /// A peer has sent a first message that was let in.
    Incoming {
        /// Where it is.
        path: Path,
    },
    /// The ISAKMP SA and its first CHILD_SA are up. (`Ask::Install` was answered before.)
    Established(Box<Established>),
    /// The peer has shown, after `Established`, that its SAs are up, too: only to who dialled, and only by a peer that is watched
    /// by dead peer detection (RFC 3706).
    Confirmed,
    /// One more CHILD_SA is up, or one in another's place.
    ChildUp(Box<ChildUp>),
    /// A CHILD_SA is gone: its states and policies are to be removed.
    ChildClosed {
        /// Which one.
        child: ChildId,
        /// Its inbound SPI.
        inbound_spi: u32,
        /// Its outbound SPI.
        outbound_spi: u32,
        /// The CHILD_SA that carries in its place, as in IKEv2's event of this name.
        replaced_by: Option<ChildId>,
    },
    /// The SAs of every CHILD_SA go over this path from now on: a NAT has moved the peer.
    PathChanged {
        /// The new one.
        path: Path,
        /// Whether ESP is carried in UDP.
        encapsulated: bool,
    },
    /// Rekeying came to nothing; what there is carries on, and it is tried again until the end of its life.
    RekeyRefused {
        /// Which CHILD_SA. `None`: the ISAKMP SA.
        child: Option<ChildId>,
        /// Why.
        why: Failure,
    },
    /// The peer asked for one more CHILD_SA, and may not have it.
    ChildRefused {
        /// Why.
        why: Failure,
    },
    /// There is a new ISAKMP SA under the same CHILD_SAs.
    Rekeyed {
        /// What protects it.
        ike: IkeSuite,
    },
    /// It is gone, with everything that it had: no output will name it again. `Err` says why, unless we were asked to
    /// close it, or it goes on as another one's new ISAKMP SA.
    Closed(Result<(), Failure>),
}

/// What came up.
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
    /// Our identity.
    pub local_id: Identity,
    /// The peer's authenticated identity.
    pub remote_id: Identity,
    /// How both have proven who they are.
    pub auth: AuthMethod,
    /// What protects the ISAKMP SA.
    pub ike: IkeSuite,
    /// The peer's program, as far as its vendor IDs tell.
    pub vendor: Option<&'static str>,
    /// The first CHILD_SA.
    pub child: ChildUp,
    /// The name of the [`ResponderConfig`], as responder.
    pub connection: Option<String>,
}

/// A CHILD_SA that came up.
#[derive(Clone, Debug)]
pub struct ChildUp {
    /// Which one.
    pub child: ChildId,
    /// Whose place it takes.
    pub replaces: Option<ChildId>,
    /// What protects it.
    pub esp: EspSuite,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// Our side.
    pub local_ts: TrafficSelector,
    /// The peer's side.
    pub remote_ts: TrafficSelector,
}

/// How both ends prove who they are.
#[derive(Clone, Debug)]
pub enum Auth {
    /// With the key that [`Ask::Psk`] answers.
    Psk,
    /// With RSA signatures.
    Signature {
        /// Our certificates, best first: the first is taken whose authority the peer asks for; if it asks for none of
        /// them, the first.
        own: Vec<OwnChain>,
        /// DER names of the authorities that we trust, for certificate requests; may be empty.
        authorities: Vec<Vec<u8>>,
    },
}

impl Auth {
    pub(crate) const fn method(&self) -> AuthMethod {
        match self {
            Self::Psk => AuthMethod::Psk,
            Self::Signature { .. } => AuthMethod::RsaSignatures,
        }
    }
}

/// A certificate of ours, with an RSA key.
#[derive(Clone, Debug)]
pub struct OwnChain {
    /// DER, our certificate first, then intermediates.
    pub certificates: Vec<Vec<u8>>,
    /// DER names of the authorities that it leads to, as certificate requests have them; may be empty.
    pub authorities: Vec<Vec<u8>>,
}

/// Everything an initiator needs.
#[derive(Clone, Debug)]
pub struct InitiatorConfig {
    /// Where from and where to, port 500 or the server's own.
    pub path: Path,
    /// What to offer in phase 1, best first; what IKEv1 does not have is left out.
    pub ike: Vec<IkeProposal>,
    /// What to offer in phase 2, best first. With key exchange methods in the first one: perfect forward secrecy.
    pub esp: Vec<EspProposal>,
    /// Who we are.
    pub local_id: Identity,
    /// Who the server has to say it is. `None`: whoever has the pre-shared key, or, with a certificate, what the
    /// certificate is for.
    pub remote_id: Option<Identity>,
    /// How both prove it.
    pub auth: Auth,
    /// Aggressive Mode: our identity is sent in clear, and with a pre-shared key whoever hears the exchange can search
    /// for the key.
    pub aggressive: bool,
    /// What to ask for.
    pub mode: ChildMode,
    /// Our side of the traffic; in transport mode only its protocol and ports count.
    pub local_ts: TrafficSelector,
    /// The peer's side.
    pub remote_ts: TrafficSelector,
    /// Bytes of the IP packets that hold the fragments of a longer IKE message.
    pub fragment_size: u16,
    /// Behave as behind a NAT even where none is.
    pub force_encapsulation: bool,
    /// Port of the peer after the move (4500, or the server's own).
    pub nat_port: u16,
    /// Our port after the move (4500).
    pub local_nat_port: u16,
    /// Timers.
    pub timing: Timing,
}

/// What a responder uses for one peer.
#[derive(Clone, Debug)]
pub struct ResponderConfig {
    /// Name of the connection, for people.
    pub name: String,
    /// Who we are to this peer.
    pub local_id: Identity,
    /// Our certificates; nothing where a pre-shared key proves it.
    pub own: Vec<OwnChain>,
    /// What we accept in phase 2, best first.
    pub esp: Vec<EspProposal>,
    /// The mode that the peer has to ask for.
    pub mode: ChildMode,
    /// What the peer may reach: one of these has to cover our side of what it asks for. In transport mode only
    /// protocols and ports count.
    pub local_ts: Vec<TrafficSelector>,
    /// What the peer may have on its side.
    pub remote_ts: Vec<TrafficSelector>,
    /// Timers.
    pub timing: Timing,
}

/// What an endpoint does for peers that dial it.
#[derive(Clone, Debug)]
pub struct ResponderDefaults {
    /// Phase 1 algorithms that we accept, best first.
    pub ike: Vec<IkeProposal>,
    /// How peers may prove themselves, preferred first.
    pub auths: Vec<AuthMethod>,
    /// DER names of the authorities that any connection trusts, for certificate requests.
    pub authorities: Vec<Vec<u8>>,
    /// Addresses of ours on which they may; empty: all.
    pub addresses: Vec<IpAddr>,
    /// Exchanges of phase 1 that peers have begun and that may stand at all. Where there are so many, the oldest goes
    /// whose peer has not answered us: IKEv1 has no cookies that would tell a flood from a crowd.
    pub half_open_limit: usize,
    /// The same of one peer address (IPv6: of one /64).
    pub half_open_per_address: usize,
    /// Connections that may exist at all.
    pub limit: usize,
    /// Bytes of the IP packets that hold the fragments of a longer IKE message.
    pub fragment_size: u16,
    /// Timers until a [`ResponderConfig`] is chosen.
    pub timing: Timing,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate(_) => "Generate",
            Self::Agree { .. } => "Agree",
            Self::Encapsulate { .. } => "Encapsulate",
            Self::Psk { .. } => "Psk",
            Self::Connection { .. } => "Connection",
            Self::Verify { .. } => "Verify",
            Self::Sign { .. } => "Sign",
            Self::AllocateSpi { .. } => "AllocateSpi",
            Self::Install(_) => "Install",
            Self::InstallOutbound { .. } => "InstallOutbound",
        })
    }
}
