//! What the drivers of both cores, IKEv1 and IKEv2, have in common: names of SAs, and what there is to install.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use adit_core::{Identity, Path, Prefix, Secret, TrafficSelector};

use crate::EspSuite;

/// One IKE_SA of an endpoint. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SaId(pub u64);

/// One CHILD_SA of an endpoint. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChildId(pub u64);

/// One question of the core. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// How an ECDSA signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureEncoding {
    /// ASN.1 `ECDSA-Sig-Value` (RFC 7427, authentication method 14).
    Asn1,
    /// r and s, each of the curve's length (RFC 4754, methods 9 and 10).
    Fixed,
}

/// Addresses handed to a peer, or got from one (RFC 7296 §3.15).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// INTERNAL_IP4_ADDRESS.
    pub v4: Option<Ipv4Addr>,
    /// INTERNAL_IP6_ADDRESS with its prefix length.
    pub v6: Option<(Ipv6Addr, u8)>,
    /// INTERNAL_IP4_DNS and INTERNAL_IP6_DNS, in order.
    pub dns: Vec<IpAddr>,
    /// INTERNAL_DNS_DOMAIN (RFC 8598): the domains whose names those servers know. Empty: nothing is said of that.
    pub domains: Vec<String>,
    /// INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET: networks behind who says so. Empty: nothing is said of that.
    pub subnets: Vec<Prefix>,
}

/// Tunnel or transport mode (RFC 4301 §4.1, RFC 7296 §1.3.1 USE_TRANSPORT_MODE).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChildMode {
    /// Whole packets inside.
    #[default]
    Tunnel,
    /// The payload of packets between the two outer addresses.
    Transport,
}

/// A pair of SAs to install. Keys are moved into the kernel and are nowhere else afterwards.
pub struct ChildSa {
    /// Which one.
    pub child: ChildId,
    /// The CHILD_SA that it takes the place of: same policies (unless the selectors differ), new states.
    pub replaces: Option<ChildId>,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// The outer addresses and, where `encapsulated`, UDP ports.
    pub path: Path,
    /// ESP in UDP (RFC 3948).
    pub encapsulated: bool,
    /// Algorithms.
    pub suite: EspSuite,
    /// Our inbound SPI, from the kernel.
    pub inbound_spi: u32,
    /// Keys of the inbound SA.
    pub inbound: EspKeys,
    /// The peer's SPI.
    pub outbound_spi: u32,
    /// Keys of the outbound SA. `None`: the peer can't read it yet (RFC 7296 §2.8), `Ask::InstallOutbound` follows,
    /// and what it replaces goes on carrying until then.
    pub outbound: Option<EspKeys>,
    /// Our side, narrowed.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side, narrowed.
    pub remote_ts: Vec<TrafficSelector>,
    /// Addresses that go with it: got, as initiator; handed out, as responder.
    pub lease: Lease,
    /// Who the peer is, authenticated.
    pub remote_id: Identity,
    /// The name of the responder's configuration, as responder.
    pub connection: Option<String>,
}

/// Keys of one ESP SA.
#[derive(Debug)]
pub struct EspKeys {
    /// `suite.encryption.key_material_len()` bytes: the key, then an AEAD's salt.
    pub encryption: Secret,
    /// The integrity algorithm's key; empty with an AEAD.
    pub integrity: Secret,
}

/// Timers of one IKE_SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// First retransmission after this long; each later one after twice the time, with jitter.
    pub retransmit: Duration,
    /// Retransmissions before the peer is given up.
    pub tries: u32,
    /// Retransmissions of an initiator's IKE_SA_INIT: nobody is known to be there yet, and a person waits.
    pub init_tries: u32,
    /// Silence after which the peer is asked whether it lives; zero: never.
    pub dead_peer: Duration,
    /// A NAT mapping is kept alive this often when nothing else was sent; zero: never.
    pub keepalive: Duration,
    /// A half-open IKE_SA of a responder lives this long.
    pub half_open: Duration,
    /// An EAP conversation may take this long, since a person may have to type something.
    pub eap: Duration,
    /// Age at which we rekey the IKE_SA, less up to a tenth of it at random; zero: never. Its life is half as long again:
    /// if nobody has rekeyed it by then, it is closed.
    pub rekey_ike: Duration,
    /// The same of a CHILD_SA.
    pub rekey_child: Duration,
    /// Age at which an initiator authenticates again, less up to a tenth of it at random; zero: never.
    pub reauthenticate: Duration,
}

impl Default for Timing {
    /// 1 s and 5 retransmissions (1, 2, 4, 8, 16, 32 s: given up after about a minute), 3 of IKE_SA_INIT (1, 2, 4, 8 s:
    /// about a quarter of a minute), DPD 30 s, keepalive 20 s, half-open 30 s, with EAP 3 min; the
    /// IKE_SA is rekeyed after 4 h, a CHILD_SA after 1 h; no re-authentication.
    fn default() -> Self {
        Self {
            retransmit: Duration::from_secs(1),
            tries: 5,
            init_tries: 3,
            dead_peer: Duration::from_secs(30),
            keepalive: Duration::from_secs(20),
            half_open: Duration::from_secs(30),
            eap: Duration::from_mins(3),
            rekey_ike: Duration::from_hours(4),
            rekey_child: Duration::from_hours(1),
            reauthenticate: Duration::ZERO,
        }
    }
}
