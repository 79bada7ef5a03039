//! What goes on after the process that it began in.

use core::net::IpAddr;

use adit_core::{Identity, Path, TrafficSelector};
use adit_isakmp::{EspSuite, IkeSuite};

use super::{ChildId, ChildMode, InitiatorConfig, Lease, ResponderConfig, SaId};

/// By which rules an IKE_SA goes on: who its ends are, where, and with which keys, is what it was left with.
pub enum GoesOnBy<'a> {
    /// We have dialled.
    Initiator(&'a InitiatorConfig),
    /// The peer has.
    Responder(Box<ResponderConfig>),
}

impl GoesOnBy<'_> {
    pub(crate) const fn dialled(&self) -> bool {
        matches!(self, Self::Initiator(_))
    }
}

/// An IKE_SA that goes on from a snapshot: [`Endpoint::restore`](crate::Endpoint::restore).
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its name from now on.
    pub sa: SaId,
    /// Where both ends are.
    pub path: Path,
    /// Whether ESP is carried in UDP (RFC 3948).
    pub encapsulated: bool,
    /// Where the peer can be reached besides, if both ends speak MOBIKE (RFC 4555).
    pub mobike: Option<Vec<IpAddr>>,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's, which it had proven.
    pub remote_id: Identity,
    /// What protects the IKE_SA.
    pub ike: IkeSuite,
    /// Addresses that we got, or that the peer did.
    pub lease: Lease,
    /// Its CHILD_SAs, oldest first. Their states are in the kernel, and nowhere else.
    pub children: Vec<RestoredChild>,
}

/// A CHILD_SA of it.
#[derive(Clone, Debug)]
pub struct RestoredChild {
    /// Its name from now on.
    pub child: ChildId,
    /// [`ChildConfig::name`](super::ChildConfig::name), where we had asked for it.
    pub name: Option<String>,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// What protects it.
    pub suite: EspSuite,
    /// Our inbound SPI.
    pub inbound_spi: u32,
    /// The peer's SPI.
    pub outbound_spi: u32,
    /// Its outbound state is in the kernel, too; else the driver is asked for it when the peer has the CHILD_SA.
    pub sends: bool,
    /// Another one has taken its place, and it is about to go.
    pub replaced: bool,
    /// Our side.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
}
