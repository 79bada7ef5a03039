use core::fmt;
use core::net::IpAddr;

use adit_core::WallTime;

/// Tunnel or transport mode (RFC 4301 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// The inner packet travels whole.
    Tunnel,
    /// The payload travels between the ends themselves.
    Transport,
}

/// A packet mark and the bits of it that count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits that are compared, or set.
    pub mask: u32,
}

/// What [`crate::XfrmDoor::allocate_spi`] needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocateSpi {
    /// Our outer address: the destination of the inbound state.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// Mode that the state will have.
    pub mode: Mode,
    /// reqid that the state will have.
    pub reqid: u32,
    /// if_id that the state will have; `None` without an xfrm interface.
    pub if_id: Option<u32>,
    /// Lookup mark that the state will have.
    pub mark: Option<Mark>,
    /// Lowest SPI, 256 or more (RFC 4303 §2.1).
    pub min: u32,
    /// Highest SPI.
    pub max: u32,
}

impl AllocateSpi {
    /// Any SPI that strangers and other daemons may use too, for a tunnel.
    #[must_use]
    pub const fn tunnel(local: IpAddr, remote: IpAddr, reqid: u32, if_id: Option<u32>) -> Self {
        Self {
            local,
            remote,
            mode: Mode::Tunnel,
            reqid,
            if_id,
            mark: None,
            min: 0xC000_0000,
            max: 0xCFFF_FFFF,
        }
    }
}

/// What the kernel finds an ESP state by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StateId {
    /// Outer destination: ours for an inbound state, the peer's for an outbound one.
    pub destination: IpAddr,
    /// The SPI.
    pub spi: u32,
    /// Its lookup mark, if it has one.
    pub mark: Option<Mark>,
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ESP {:08x} to {}", self.spi, self.destination)
    }
}

/// A state that stands in the kernel, without its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateRecord {
    /// What it is found by.
    pub id: StateId,
    /// Outer source.
    pub source: IpAddr,
    /// Its reqid.
    pub reqid: u32,
    /// Its if_id, if not 0.
    pub if_id: Option<u32>,
    /// Its mode.
    pub mode: Mode,
}

/// The counters of a state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// Bytes carried (the inner packets').
    pub bytes: u64,
    /// Packets carried.
    pub packets: u64,
    /// When it was installed.
    pub added: Option<WallTime>,
    /// When it carried its first packet.
    pub first_used: Option<WallTime>,
    /// When it carried its last packet, to the second, where the kernel keeps it.
    pub last_used: Option<WallTime>,
    /// Packets refused as replayed.
    pub replayed: u32,
    /// Packets refused because they were older than the replay window.
    pub outside_window: u32,
    /// Packets whose integrity check failed.
    pub integrity_failed: u32,
}
