//! What an initiator and a responder are told to do.

use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Identity, Path, SignatureScheme, TrafficSelector};
use adit_isakmp::proposal::{EspProposal, IkeProposal};

use super::{ChildConfig, ChildMode, Lease, Ticket, Timing};

/// Everything an initiator needs.
pub struct InitiatorConfig {
    /// Where from and where to, port 500 or the server's own.
    pub path: Path,
    /// What to offer for the IKE_SA, best first. The first key exchange method of the first one is the guess.
    pub ike: Vec<IkeProposal>,
    /// What to offer for the CHILD_SA, best first.
    pub esp: Vec<EspProposal>,
    /// Who we are.
    pub local_id: Identity,
    /// Who the server has to prove to be. Sent as IDr and checked against what it answers; a certificate is verified
    /// for this name.
    pub remote_id: Identity,
    /// How we prove ourselves.
    pub local_auth: LocalAuth,
    /// How the server has to prove itself.
    pub remote_auth: RemoteAuth,
    /// Mix a postquantum preshared key into the keys (RFC 8784).
    pub ppk: Option<PpkRule>,
    /// Ask for an IPv4 address (CFG_REQUEST).
    pub request_v4: bool,
    /// Ask for an IPv6 address.
    pub request_v6: bool,
    /// Ask which domains the name servers know (RFC 8598): for names in them nobody else is asked, and names without a dot are looked for there.
    pub request_domains: bool,
    /// Ask which networks are behind the server (INTERNAL_IP4_SUBNET, INTERNAL_IP6_SUBNET, RFC 7296 §3.15.1), beside what its
    /// traffic selectors let through.
    pub request_subnets: bool,
    /// Addresses that we had from the same peer before, and ask for again (RFC 7296 §3.15.1); it may give others.
    pub former: Lease,
    /// What to ask for in the first CHILD_SA.
    pub mode: ChildMode,
    /// CHILD_SAs to negotiate after the first one.
    pub more_children: Vec<ChildConfig>,
    /// Our side of the traffic selectors to propose. Where an address is asked for and this is everything, it is
    /// narrowed to the address that was got.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side to propose.
    pub remote_ts: Vec<TrafficSelector>,
    /// Bytes of the IP packets that hold the fragments of a longer IKE message, header included (RFC 7383 §2.5.1): 576
    /// (IPv6: 1280) to 65,535. [`FRAGMENT_SIZE`] where nothing else is known.
    pub fragment_size: u16,
    /// Speak MOBIKE (RFC 4555), and tell the peer these addresses of ours; the one in use may be among them. Who dials
    /// has to act on [`Event::PathDead`](super::Event::PathDead) then.
    pub mobike: Option<Vec<IpAddr>>,
    /// `local_id` is used on several machines at once: the server is not told that this is the only one of them
    /// (INITIAL_CONTACT, RFC 7296 §2.4).
    pub shared_identity: bool,
    /// Ask for a ticket, with which the session can be resumed (RFC 5723) → [`Event::Ticket`](super::Event::Ticket).
    pub resumable: bool,
    /// Resume the session that this ticket is of. Where the peer does not, it is begun from scratch.
    pub ticket: Option<Box<Ticket>>,
    /// Behave as behind a NAT even where none is (a firewall that drops ESP).
    pub force_encapsulation: bool,
    /// Port of the peer after the move (4500, or the server's own).
    pub nat_port: u16,
    /// Our port after the move (4500).
    pub local_nat_port: u16,
    /// Timers.
    pub timing: Timing,
}

/// What a responder uses for one peer.
pub struct ResponderConfig {
    /// Name of the `[[connection]]`, for people.
    pub name: String,
    /// Who we are to this peer.
    pub local_id: Identity,
    /// How we prove ourselves.
    pub local_auth: LocalAuth,
    /// How the peer has to prove itself.
    pub remote_auth: RemoteAuth,
    /// Whether a postquantum preshared key of the peer is mixed into the keys (RFC 8784).
    pub ppk: PpkUse,
    /// CHILD_SA algorithms that we accept, best first.
    pub esp: Vec<EspProposal>,
    /// What the peer may reach: our side of the traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// What the peer may have behind itself; with `addresses` it is the address that it got.
    pub remote_ts: Vec<TrafficSelector>,
    /// Whether the peer gets addresses (CFG_REPLY). A peer that asks for none is then refused, since it could not be
    /// narrowed.
    pub addresses: bool,
    /// Whether a peer that asks for transport mode gets it. (One that does not never does.)
    pub transport: bool,
    /// What becomes of IKE_SAs that the same peer has already.
    pub uniqueness: Uniqueness,
    /// Speak MOBIKE with peers that do (RFC 4555), and tell them these addresses of ours; the one in use may be among
    /// them.
    pub mobike: Option<Vec<IpAddr>>,
    /// A peer that asks for it gets a ticket, with which its session can be resumed so long (RFC 5723); zero: none.
    pub ticket_lifetime: Duration,
    /// Timers.
    pub timing: Timing,
}

/// Which postquantum preshared key an initiator uses (RFC 8784). [`Ask::Ppk`](super::Ask::Ppk) answers the key itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PpkRule {
    /// Its name, as the responder knows it (PPK_ID_FIXED).
    pub id: Vec<u8>,
    /// Whether there is no IKE_SA without it.
    pub required: bool,
}

/// What a responder does with postquantum preshared keys (RFC 8784). Whichever the peer names, and
/// [`Ask::Ppk`](super::Ask::Ppk) finds, will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PpkUse {
    /// It has none for this peer.
    #[default]
    Off,
    /// One that it has is used; who has none is let in too.
    Optional,
    /// Who uses none that it has is not let in.
    Required,
}

/// What becomes of IKE_SAs that the same identity has already, when it comes in again. INITIAL_CONTACT (RFC 7296 §2.4)
/// closes them under each of these but `Refuse`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Uniqueness {
    /// The new one, once it is up, takes the place of the old ones.
    #[default]
    Replace,
    /// All stay.
    Keep,
    /// The new one is refused (AUTHENTICATION_FAILED), while an old one lives.
    Refuse,
}

/// How we prove who we are.
#[derive(Clone, Debug)]
pub enum LocalAuth {
    /// With the key that [`Ask::Psk`](super::Ask::Psk) answers.
    Psk,
    /// With a signature that [`Ask::Sign`](super::Ask::Sign) answers.
    Signature {
        /// Our certificates, best first: the first is taken that the peer asks for (CERTREQ) and whose key signs as it
        /// can read; if it asks for none of them, the first whose key does.
        own: Vec<OwnChain>,
    },
    /// By EAP (RFC 7296 §2.16): an initiator's only, and the server has to show a certificate.
    Eap {
        /// The server may do without, where the method proves it too (EAP_ONLY_AUTHENTICATION, RFC 5998).
        only: bool,
    },
}

/// A certificate of ours.
#[derive(Clone, Debug)]
pub struct OwnChain {
    /// DER, our certificate first, then intermediates.
    pub certificates: Vec<Vec<u8>>,
    /// What its key can do, best first.
    pub schemes: Vec<SignatureScheme>,
    /// SHA-1 hashes of the public keys of the authorities that it leads to, as CERTREQ names them; may be empty.
    pub authorities: Vec<[u8; 20]>,
}

/// How the peer has to prove who it is.
#[derive(Clone, Debug)]
pub enum RemoteAuth {
    /// With the key that [`Ask::Psk`](super::Ask::Psk) answers.
    Psk,
    /// With a certificate and a signature that [`Ask::Verify`](super::Ask::Verify) accepts.
    Certificate {
        /// SHA-1 hashes of the trust anchors' public keys, for CERTREQ; may be empty.
        authorities: Vec<[u8; 20]>,
    },
    /// By EAP (RFC 7296 §2.16): a responder's only, which itself shows a certificate.
    Eap {
        /// It shows none to a peer that wants none, where the method proves it too (RFC 5998).
        only: bool,
    },
}

/// The IP packet that every network carries: 1280 bytes (RFC 8200 §5).
pub const FRAGMENT_SIZE: u16 = 1280;

/// What an endpoint does for peers that dial it.
#[derive(Clone, Debug)]
pub struct ResponderDefaults {
    /// IKE_SA algorithms that we accept, best first.
    pub ike: Vec<IkeProposal>,
    /// Half-open IKE_SAs from which on a cookie is asked for (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Half-open IKE_SAs that may exist at all; beyond it first messages are dropped.
    pub half_open_limit: usize,
    /// Half-open IKE_SAs of one peer address (IPv6: of one /64): so many that were begun without a cookie, which
    /// anybody can do in its name, and so many with one.
    pub half_open_per_address: usize,
    /// Established IKE_SAs that may exist at all.
    pub limit: usize,
    /// Whether any connection has postquantum preshared keys (RFC 8784).
    pub ppk: bool,
    /// Bytes of the IP packets that hold the fragments of a longer IKE message, as in [`InitiatorConfig`].
    pub fragment_size: u16,
    /// CERTREQ hashes to send in IKE_SA_INIT: SHA-1 of the public keys of all authorities that any connection trusts.
    pub authorities: Vec<[u8; 20]>,
    /// Timers until a [`ResponderConfig`] is chosen.
    pub timing: Timing,
}
