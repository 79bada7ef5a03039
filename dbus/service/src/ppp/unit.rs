//! The network interface of a link: a unit of the kernel's PPP, or a TUN. Packets go by the kernel alone, or by this process:
//! then it has [`Packets`].

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;

use adit_ppp::wire::{Protocol, emit_frame, split_frame};
use adit_ppp_kernel::{self as kernel, Channel, Compression, Family, LinkSpec, PppError, Statistics};

use super::fed::FedUnit;
use super::tun::TunUnit;

/// What carries packets between this host and a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// The kernel's PPP, whose frames the kernel carries too.
    Kernel,
    /// A TUN, whose packets are framed here.
    Tun,
    /// The kernel's PPP, whose frames go by this process.
    Fed,
}

/// Packets between this host and a link that go by this process, as PPP's frames: its protocol in two octets, then the packet.
pub(crate) trait Packets: Send + Sync {
    /// Waits for the next ones for the peer, of families that pass. Cancel-safe.
    ///
    /// Fails where the interface is gone.
    fn next<'a>(&'a self, frames: &'a mut VecDeque<Vec<u8>>) -> Next<'a>;

    /// The same, if some wait already; whether any did.
    fn next_now(&self, frames: &mut VecDeque<Vec<u8>>) -> bool;

    /// One of the peer's, for this host with the next [`Packets::flush`] at the latest. One of a family that does not pass is
    /// dropped, or kept until it does, if it is among the first; one whose protocol is not its own is dropped.
    fn deliver(&self, frame: &[u8]);

    /// Nothing more has come by now.
    fn flush(&self);
}

/// Of [`Packets::next`].
pub(crate) type Next<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// An interface. It is gone when this is dropped, which takes the kernel its time.
#[derive(Debug)]
pub(crate) enum Unit {
    /// Of the kernel's PPP: packets never come by here.
    Kernel(kernel::Unit),
    /// Of the kernel's PPP: they do.
    Fed(FedUnit),
    /// A TUN.
    Tun(TunUnit),
}

impl Unit {
    /// Makes one; no packet passes yet.
    pub(crate) fn make(carrier: Carrier, spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        Ok(match carrier {
            Carrier::Kernel => Self::Kernel(kernel::Unit::make(spec)?),
            Carrier::Fed => Self::Fed(FedUnit::make(spec)?),
            Carrier::Tun => Self::Tun(TunUnit::make(spec)?),
        })
    }

    /// What it has where packets go by this process.
    pub(crate) fn packets_here(&self) -> Option<&dyn Packets> {
        match self {
            Self::Kernel(_) => None,
            Self::Fed(unit) => Some(unit),
            Self::Tun(unit) => Some(unit),
        }
    }

    const fn of_kernel(&self) -> Result<&kernel::Unit, &TunUnit> {
        match self {
            Self::Kernel(unit) => Ok(unit),
            Self::Fed(unit) => Ok(unit.unit()),
            Self::Tun(unit) => Err(unit),
        }
    }

    /// The interface's name.
    pub(crate) fn name(&self) -> &str {
        match self.of_kernel() {
            Ok(unit) => unit.name(),
            Err(unit) => unit.tun().name(),
        }
    }

    /// The interface's index.
    pub(crate) const fn index(&self) -> u32 {
        match self.of_kernel() {
            Ok(unit) => unit.index(),
            Err(unit) => unit.tun().index(),
        }
    }

    /// Joins a channel of the kernel to it.
    pub(crate) fn connect(&self, channel: &Channel) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.connect(channel),
            Self::Fed(_) | Self::Tun(_) => Err(PppError::Invalid("its frames go by this process".into())),
        }
    }

    /// Lets packets of a family pass, or drops them.
    pub(crate) fn pass(&self, family: Family, pass: bool) -> Result<(), PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.pass(family, pass),
            Err(unit) => {
                unit.pass(family, pass);
                Ok(())
            }
        }
    }

    /// What is sent into it comes back by [`Unit::receive`].
    pub(crate) fn hold(&self) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.hold(),
            Self::Fed(unit) => unit.hold(),
            // It always does.
            Self::Tun(_) => Ok(()),
        }
    }

    /// The opposite of [`Unit::hold`]: what has come back so far, oldest first.
    pub(crate) fn release(&self) -> Result<Vec<Vec<u8>>, PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.release(),
            Err(unit) => Ok(unit.release()),
        }
    }

    /// Sets the interface up, with this MTU in octets.
    pub(crate) fn set_up(&self, mtu: u16) -> Result<(), PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.set_up(mtu),
            Err(unit) => unit.tun().set_up(mtu),
        }
    }

    /// Prepares encryption by the kernel of one direction.
    pub(crate) fn prepare(&self, compression: &Compression) -> Result<(), PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.prepare(compression),
            Err(_) => Err(PppError::Invalid("a TUN does not encrypt".into())),
        }
    }

    /// Encryption by the kernel stands, or does not.
    pub(crate) fn encrypted(&self, stands: bool) -> Result<(), PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.encrypted(stands),
            Err(_) if !stands => Ok(()),
            Err(_) => Err(PppError::Invalid("a TUN does not encrypt".into())),
        }
    }

    /// What it has carried.
    pub(crate) fn statistics(&self) -> Result<Statistics, PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.statistics(),
            Err(unit) => unit.tun().statistics(),
        }
    }

    /// Packets that have gone through it, but for what neighbours tell each other.
    pub(crate) fn packets(&self) -> Result<u64, PppError> {
        match self.of_kernel() {
            Ok(unit) => unit.packets(),
            Err(unit) => unit.tun().packets(),
        }
    }

    /// The next frame that comes back here. Cancel-safe.
    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        match self.of_kernel() {
            Ok(unit) => unit.receive().await,
            Err(unit) => unit.receive().await,
        }
    }

    /// Sends a frame to the peer.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        match self.of_kernel() {
            Ok(unit) => unit.send(frame),
            Err(unit) => {
                unit.send(frame);
                Ok(())
            }
        }
    }
}

/// A frame's packet, if it is one of the frame's protocol.
pub(super) fn packet_in(frame: &[u8]) -> Option<&[u8]> {
    let (protocol, packet) = split_frame(frame).ok()?;
    (protocol_of(packet) == Some(protocol)).then_some(packet)
}

fn protocol_of(packet: &[u8]) -> Option<Protocol> {
    match packet.first()? >> 4 {
        4 => Some(Protocol::IP),
        6 => Some(Protocol::IPV6),
        _ => None,
    }
}

/// A packet, as PPP has it.
pub(super) fn framed(packet: &[u8]) -> Option<Vec<u8>> {
    protocol_of(packet).map(|protocol| emit_frame(protocol, packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_framed_by_its_version() {
        assert_eq!(framed(&[0x45, 1]), Some(vec![0, 0x21, 0x45, 1]));
        assert_eq!(framed(&[0x60]), Some(vec![0, 0x57, 0x60]));
        assert_eq!((framed(&[]), framed(&[0x10])), (None, None));
    }

    #[test]
    fn a_frame_of_another_protocol_has_no_packet() {
        assert_eq!(packet_in(&[0, 0x21, 0x45, 1]), Some(&[0x45, 1][..]));
        assert_eq!(packet_in(&[0, 0x57, 0x45, 1]), None);
        assert_eq!((packet_in(&[0, 0x21]), packet_in(&[])), (None, None));
    }
}
