//! The network interface of a link: a unit of the kernel's PPP, or a TUN whose packets go by this process.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_ppp::wire::{Protocol, emit_frame, split_frame};
use adit_ppp_kernel::offload::{HEADER, Joiner, split};
use adit_ppp_kernel::{self as kernel, Channel, Compression, Family, LinkSpec, PppError, Statistics, Tun};
use tokio::sync::Notify;

/// What is read at once: many segments of a TCP connection, as one packet.
const LONGEST: usize = HEADER + 65_535;
/// More packets than wait for a link.
const MOST_HELD: usize = 64;

/// What carries packets between this host and a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// The kernel's PPP.
    Kernel,
    /// A TUN, whose packets are framed here.
    Tun,
}

/// An interface. It is gone when this is dropped, which takes the kernel its time.
#[derive(Debug)]
pub(crate) enum Unit {
    /// Of the kernel's PPP: packets never come by here.
    Kernel(kernel::Unit),
    /// A TUN.
    Tun(TunUnit),
}

/// A TUN, and what the kernel's PPP would know of it.
#[derive(Debug)]
pub(crate) struct TunUnit {
    tun: Tun,
    /// Whether packets of IPv4, and of IPv6, pass.
    v4: AtomicBool,
    v6: AtomicBool,
    /// Frames that go to the peer first.
    first: Mutex<VecDeque<Vec<u8>>>,
    sent: Notify,
    /// What is on its way to this host.
    joiner: Mutex<Joiner>,
}

impl Unit {
    /// Makes one; no packet passes yet.
    pub(crate) fn make(carrier: Carrier, spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        Ok(match carrier {
            Carrier::Kernel => Self::Kernel(kernel::Unit::make(spec)?),
            Carrier::Tun => Self::Tun(TunUnit {
                tun: Tun::make(spec)?,
                v4: AtomicBool::new(false),
                v6: AtomicBool::new(false),
                first: Mutex::default(),
                sent: Notify::new(),
                joiner: Mutex::default(),
            }),
        })
    }

    /// The interface's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Kernel(unit) => unit.name(),
            Self::Tun(unit) => unit.tun.name(),
        }
    }

    /// The interface's index.
    pub(crate) const fn index(&self) -> u32 {
        match self {
            Self::Kernel(unit) => unit.index(),
            Self::Tun(unit) => unit.tun.index(),
        }
    }

    /// Joins a channel of the kernel to it.
    pub(crate) fn connect(&self, channel: &Channel) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.connect(channel),
            Self::Tun(_) => Err(PppError::Invalid("a TUN has no channel".into())),
        }
    }

    /// Lets packets of a family pass, or drops them.
    pub(crate) fn pass(&self, family: Family, pass: bool) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.pass(family, pass),
            Self::Tun(unit) => {
                unit.family(family).store(pass, Ordering::Release);
                unit.sent.notify_one();
                Ok(())
            }
        }
    }

    /// What is sent into it comes back by [`Unit::receive`].
    pub(crate) fn hold(&self) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.hold(),
            // It always does.
            Self::Tun(_) => Ok(()),
        }
    }

    /// The opposite of [`Unit::hold`]: what has come back so far, oldest first.
    pub(crate) fn release(&self) -> Result<Vec<Vec<u8>>, PppError> {
        match self {
            Self::Kernel(unit) => unit.release(),
            Self::Tun(unit) => {
                for family in [Family::V4, Family::V6] {
                    self.pass(family, false)?;
                }
                let (mut buffer, mut held) = (vec![0; LONGEST], Vec::new());
                while let Some(length) = unit.tun.read_now(&mut buffer).filter(|_| held.len() < MOST_HELD) {
                    split(buffer.get(..length).unwrap_or_default(), |packet| held.extend(framed(packet)));
                }
                Ok(held)
            }
        }
    }

    /// Sets the interface up, with this MTU in octets.
    pub(crate) fn set_up(&self, mtu: u16) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.set_up(mtu),
            Self::Tun(unit) => unit.tun.set_up(mtu),
        }
    }

    /// Prepares encryption by the kernel of one direction.
    pub(crate) fn prepare(&self, compression: &Compression) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.prepare(compression),
            Self::Tun(_) => Err(PppError::Invalid("a TUN does not encrypt".into())),
        }
    }

    /// Encryption by the kernel stands, or does not.
    pub(crate) fn encrypted(&self, stands: bool) -> Result<(), PppError> {
        match self {
            Self::Kernel(unit) => unit.encrypted(stands),
            Self::Tun(_) if !stands => Ok(()),
            Self::Tun(_) => Err(PppError::Invalid("a TUN does not encrypt".into())),
        }
    }

    /// What it has carried.
    pub(crate) fn statistics(&self) -> Result<Statistics, PppError> {
        match self {
            Self::Kernel(unit) => unit.statistics(),
            Self::Tun(unit) => unit.tun.statistics(),
        }
    }

    /// Packets that have gone through it, but for what neighbours tell each other.
    pub(crate) fn packets(&self) -> Result<u64, PppError> {
        match self {
            Self::Kernel(unit) => unit.packets(),
            Self::Tun(unit) => unit.tun.packets(),
        }
    }

    /// The next frame that comes back here. Cancel-safe.
    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Kernel(unit) => unit.receive().await,
            Self::Tun(unit) => {
                let mut buffer = vec![0; LONGEST];
                loop {
                    let length = unit.tun.read(&mut buffer).await?;
                    let mut frames = VecDeque::new();
                    split(buffer.get(..length).unwrap_or_default(), |packet| frames.extend(framed(packet)));
                    if let Some(frame) = frames.pop_front() {
                        for rest in frames {
                            self.send(&rest)?;
                        }
                        return Ok(frame);
                    }
                }
            }
        }
    }

    /// Sends a frame to the peer.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Kernel(unit) => unit.send(frame),
            Self::Tun(unit) => {
                let mut first = unit.first();
                if first.len() < MOST_HELD {
                    first.push_back(frame.to_vec());
                }
                drop(first);
                unit.sent.notify_one();
                Ok(())
            }
        }
    }
}

impl TunUnit {
    const fn family(&self, family: Family) -> &AtomicBool {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn first(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passes(&self, packet: &[u8]) -> bool {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => self.v4.load(Ordering::Acquire),
            Some(6) => self.v6.load(Ordering::Acquire),
            _ => false,
        }
    }

    /// Waits for the next frames for the peer, of families that pass, as PPP has them. Cancel-safe.
    pub(crate) async fn next(&self, buffer: &mut Vec<u8>, frames: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        buffer.resize(LONGEST, 0);
        loop {
            frames.append(&mut self.first());
            if !frames.is_empty() {
                return Ok(());
            }
            let any = self.v4.load(Ordering::Acquire) || self.v6.load(Ordering::Acquire);
            let length = tokio::select! {
                () = self.sent.notified() => continue,
                // Nothing passes yet: it waits in the kernel.
                length = self.tun.read(buffer), if any => length?,
            };
            self.for_peer(buffer.get(..length).unwrap_or_default(), frames);
        }
    }

    /// The same, if some wait already; whether any did.
    pub(crate) fn next_now(&self, buffer: &mut Vec<u8>, frames: &mut VecDeque<Vec<u8>>) -> bool {
        buffer.resize(LONGEST, 0);
        let Some(length) = self.tun.read_now(buffer) else { return false };
        self.for_peer(buffer.get(..length).unwrap_or_default(), frames);
        true
    }

    fn for_peer(&self, octets: &[u8], frames: &mut VecDeque<Vec<u8>>) {
        split(octets, |packet| {
            if self.passes(packet) {
                frames.extend(framed(packet));
            }
        });
    }

    /// A packet of the peer's, as PPP has it, for this host with the next [`TunUnit::flush`] at the latest. One of a family that
    /// does not pass is dropped, and so is one whose protocol is not its own.
    pub(crate) fn deliver(&self, frame: &[u8]) {
        let Ok((protocol, packet)) = split_frame(frame) else { return };
        if self.passes(packet) && protocol_of(packet) == Some(protocol) {
            self.joiner().add(packet, |octets| self.write(octets));
        }
    }

    /// Nothing more has come by now.
    pub(crate) fn flush(&self) {
        self.joiner().finish(|octets| self.write(octets));
    }

    fn write(&self, octets: &[u8]) {
        if let Err(error) = self.tun.write(octets) {
            tracing::debug!(%error, "a packet was not taken");
        }
    }

    fn joiner(&self) -> MutexGuard<'_, Joiner> {
        self.joiner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn protocol_of(packet: &[u8]) -> Option<Protocol> {
    match packet.first()? >> 4 {
        4 => Some(Protocol::IP),
        6 => Some(Protocol::IPV6),
        _ => None,
    }
}

fn framed(packet: &[u8]) -> Option<Vec<u8>> {
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
}
