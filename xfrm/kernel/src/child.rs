use core::net::IpAddr;

use crate::{AllocateSpi, EspKeys, Mark, Mode, Policy, StateId, XfrmError};

/// Ports of ESP in UDP (RFC 3948), as this host sees them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UdpEncap {
    /// Our port; a UDP socket with `UDP_ENCAP` set to `UDP_ENCAP_ESPINUDP` must be bound to it.
    pub local_port: u16,
    /// The peer's port, after its NAT.
    pub remote_port: u16,
}

/// When a state expires. `None` is never. A soft limit raises [`crate::XfrmEvent::Expired`] with `hard` false; a hard
/// one removes the state as well.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lifetimes {
    /// Bytes until the soft event.
    pub soft_bytes: Option<u64>,
    /// Bytes until removal.
    pub hard_bytes: Option<u64>,
    /// Packets until the soft event.
    pub soft_packets: Option<u64>,
    /// Packets until removal.
    pub hard_packets: Option<u64>,
    /// Seconds from installation until the soft event.
    pub soft_seconds: Option<u64>,
    /// Seconds from installation until removal.
    pub hard_seconds: Option<u64>,
}

/// A CHILD_SA to install: both states or one of them, and the policies that come with it (none for a rekey).
#[derive(Debug)]
pub struct ChildSa {
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// ESP in UDP, or plain ESP.
    pub encap: Option<UdpEncap>,
    /// Tunnel or transport.
    pub mode: Mode,
    /// Our SPI, from [`crate::XfrmDoor::allocate_spi`].
    pub spi_in: u32,
    /// The peer's SPI.
    pub spi_out: u32,
    /// Keys for what the peer sends. `None`: the inbound state stands already, and the outbound one joins it.
    pub keys_in: Option<EspKeys>,
    /// Keys for what we send. `None`: the peer cannot read it yet (RFC 7296 §2.8), the outbound state comes later.
    pub keys_out: Option<EspKeys>,
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Packets of replay window, up to 4096 in steps of 32. 0 turns the check off (not with ESN).
    pub replay_window: u32,
    /// The xfrm interface's if_id, if it has one.
    pub if_id: Option<u32>,
    /// reqid: what ties policies to states.
    pub reqid: u32,
    /// Lookup mark of both states.
    pub mark: Option<Mark>,
    /// Mark that the tunnel's own packets (the ESP packets that we send) get, so that the rule which sends traffic
    /// into the tunnel leaves them out.
    pub output_mark: Option<Mark>,
    /// Mark that packets get which the inbound state has let in: by it policies, sockets and firewalls know whose they are.
    pub input_mark: Option<Mark>,
    /// Expiry of both states.
    pub lifetimes: Lifetimes,
    /// Send outer IPv4 packets without DF, so that routers may fragment them.
    pub clear_df: bool,
    /// Policies to add with them.
    pub policies: Vec<Policy>,
}

impl ChildSa {
    /// Replay window where nothing else is asked for: reordering on fast links and multi-queue cards exceeds 32 and
    /// 64 packets.
    pub const DEFAULT_REPLAY_WINDOW: u32 = 1024;

    /// What the inbound state is found by.
    #[must_use]
    pub const fn inbound(&self) -> StateId {
        StateId { destination: self.local, spi: self.spi_in, mark: self.mark }
    }

    /// What the outbound state is found by.
    #[must_use]
    pub const fn outbound(&self) -> StateId {
        StateId { destination: self.remote, spi: self.spi_out, mark: self.mark }
    }

    pub(crate) fn check(&self) -> Result<(), XfrmError> {
        let invalid = |why: &str| Err(XfrmError::Invalid(why.into()));
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return invalid("the outer addresses are of two families");
        }
        if self.spi_in < 256 || self.spi_out < 256 {
            return invalid("SPIs below 256 are reserved (RFC 4303)");
        }
        if self.replay_window > 4096 || !self.replay_window.is_multiple_of(32) {
            return invalid("the replay window is a multiple of 32, at most 4096 packets");
        }
        if self.esn && self.replay_window == 0 {
            return invalid("extended sequence numbers need a replay window");
        }
        if self.keys_in.is_none() && self.keys_out.is_none() {
            return invalid("no keys, so no state");
        }
        [&self.keys_in, &self.keys_out].into_iter().flatten().try_for_each(EspKeys::check)
    }
}

impl AllocateSpi {
    pub(crate) fn check(&self) -> Result<(), XfrmError> {
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return Err(XfrmError::Invalid("the outer addresses are of two families".into()));
        }
        if self.min < 256 || self.max < self.min {
            return Err(XfrmError::Invalid("SPIs below 256 are reserved (RFC 4303)".into()));
        }
        Ok(())
    }
}
