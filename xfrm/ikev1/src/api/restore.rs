//! What goes on after the process that it began in.

use adit_core::{Identity, Path, TrafficSelector};
use adit_isakmp::{EspSuite, IkeSuite};

use super::{AuthMethod, ChildId, ChildMode, InitiatorConfig, ResponderConfig, SaId};

/// By which rules a connection goes on.
#[derive(Clone, Copy, Debug)]
pub enum Rules<'a> {
    /// We have dialled it.
    Initiator(&'a InitiatorConfig),
    /// The peer has.
    Responder(&'a ResponderConfig),
}

/// A connection that goes on from a snapshot: [`Endpoint::restore`](crate::Endpoint::restore).
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its name from now on.
    pub sa: SaId,
    /// Where both ends are.
    pub path: Path,
    /// Whether ESP is carried in UDP (RFC 3948).
    pub encapsulated: bool,
    /// Whether a NAT was found in front of us.
    pub nat_local: bool,
    /// Whether a NAT was found in front of the peer.
    pub nat_remote: bool,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's, which it had proven.
    pub remote_id: Identity,
    /// How.
    pub auth: AuthMethod,
    /// What protects the newest ISAKMP SA.
    pub ike: IkeSuite,
    /// The peer's program, as far as its vendor IDs tell.
    pub vendor: Option<&'static str>,
    /// Its CHILD_SAs, oldest first. Their states are in the kernel, and nowhere else.
    pub children: Vec<RestoredChild>,
}

/// A CHILD_SA of it.
#[derive(Clone, Debug)]
pub struct RestoredChild {
    /// Its name from now on.
    pub child: ChildId,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// What protects it.
    pub suite: EspSuite,
    /// Our inbound SPI.
    pub inbound_spi: u32,
    /// The peer's SPI.
    pub outbound_spi: u32,
    /// Whether its outbound SA is in the kernel; if not, there may be an [`Ask::InstallOutbound`](super::Ask) for it.
    pub sends: bool,
    /// Which one carries in its place.
    pub replaced_by: Option<ChildId>,
    /// Our side.
    pub local_ts: TrafficSelector,
    /// The peer's side.
    pub remote_ts: TrafficSelector,
}
