//! A TUN, whose packets are framed here, many at once where the kernel can.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_ppp_kernel::offload::{Joiner, split};
use adit_ppp_kernel::{Family, LinkSpec, PppError, Tun};
use tokio::sync::Notify;

use super::unit::{Next, Packets, framed, packet_in};

/// More packets than wait for a link.
const MOST_HELD: usize = 64;
/// Packets of the peer's that are kept until they may pass.
const MOST_EARLY: usize = 8;

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
    /// The peer's first packets: it may have its addresses before this host has installed them.
    early: Mutex<Vec<Vec<u8>>>,
}

impl TunUnit {
    pub(super) fn make(spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        Ok(Self {
            tun: Tun::make(spec)?,
            v4: AtomicBool::new(false),
            v6: AtomicBool::new(false),
            first: Mutex::default(),
            sent: Notify::new(),
            joiner: Mutex::default(),
            early: Mutex::default(),
        })
    }

    pub(super) const fn tun(&self) -> &Tun {
        &self.tun
    }

    pub(super) fn pass(&self, family: Family, pass: bool) {
        let of_family = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        // Who finds that a packet may not pass yet keeps it before this, or finds that it may.
        let mut early = self.early();
        of_family.store(pass, Ordering::Release);
        let kept = std::mem::take(&mut *early);
        let (now, later): (Vec<_>, Vec<_>) = kept.into_iter().partition(|packet| self.passes(packet));
        if pass {
            *early = later;
        }
        drop(early);
        now.iter().for_each(|packet| self.joiner().add(packet, |octets| self.write(octets)));
        self.flush();
        self.sent.notify_one();
    }

    /// Lets nothing pass; what waits in it so far, oldest first.
    pub(super) fn release(&self) -> Vec<Vec<u8>> {
        for family in [Family::V4, Family::V6] {
            self.pass(family, false);
        }
        let mut held = Vec::new();
        while held.len() < MOST_HELD {
            let mut take = |octets: &[u8]| split(octets, |packet| held.extend(framed(packet)));
            if self.tun.read_now(&mut take).is_none() {
                break;
            }
        }
        held
    }

    /// The next frame of this host's, whatever passes.
    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut frames = VecDeque::new();
            self.tun.read(|octets| split(octets, |packet| frames.extend(framed(packet)))).await?;
            if let Some(frame) = frames.pop_front() {
                frames.iter().for_each(|rest| self.send(rest));
                return Ok(frame);
            }
        }
    }

    /// A frame that goes to the peer before others.
    pub(super) fn send(&self, frame: &[u8]) {
        let mut first = self.first();
        if first.len() < MOST_HELD {
            first.push_back(frame.to_vec());
        }
        drop(first);
        self.sent.notify_one();
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

    fn for_peer(&self, octets: &[u8], frames: &mut VecDeque<Vec<u8>>) {
        split(octets, |packet| {
            if self.passes(packet) {
                frames.extend(framed(packet));
            }
        });
    }

    async fn wait(&self, frames: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        loop {
            frames.append(&mut self.first());
            if !frames.is_empty() {
                return Ok(());
            }
            let any = self.v4.load(Ordering::Acquire) || self.v6.load(Ordering::Acquire);
            tokio::select! {
                () = self.sent.notified() => {}
                // Nothing passes yet: it waits in the kernel.
                read = self.tun.read(|octets| self.for_peer(octets, frames)), if any => read?,
            }
        }
    }

    fn write(&self, octets: &[u8]) {
        if let Err(error) = self.tun.write(octets) {
            tracing::debug!(%error, "a packet was not taken");
        }
    }

    fn early(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joiner(&self) -> MutexGuard<'_, Joiner> {
        self.joiner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Packets for TunUnit {
    fn next<'a>(&'a self, frames: &'a mut VecDeque<Vec<u8>>) -> Next<'a> {
        Box::pin(self.wait(frames))
    }

    fn next_now(&self, frames: &mut VecDeque<Vec<u8>>) -> bool {
        self.tun.read_now(|octets| self.for_peer(octets, frames)).is_some()
    }

    fn deliver(&self, frame: &[u8]) {
        let Some(packet) = packet_in(frame) else { return };
        if self.passes(packet) {
            return self.joiner().add(packet, |octets| self.write(octets));
        }
        let mut early = self.early();
        if self.passes(packet) {
            drop(early);
            self.joiner().add(packet, |octets| self.write(octets));
        } else if early.len() < MOST_EARLY {
            early.push(packet.to_vec());
        }
    }

    fn flush(&self) {
        self.joiner().finish(|octets| self.write(octets));
    }
}
