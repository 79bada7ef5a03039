//! A unit of the kernel's PPP whose frames go by this process: for those who need an interface of PPP. A TUN carries more.

use std::collections::VecDeque;
use std::io;

use adit_ppp_kernel::{Feed, LinkSpec, PppError, Unit};

use super::unit::{Next, Packets, packet_in};

/// A unit and its channel. Which families pass is the kernel's to know, both ways.
#[derive(Debug)]
pub(crate) struct FedUnit {
    // Closed first.
    unit: Unit,
    feed: Feed,
}

impl FedUnit {
    pub(super) fn make(spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        let feed = Feed::make()?;
        let unit = Unit::make(spec)?;
        unit.connect(feed.channel())?;
        Ok(Self { unit, feed })
    }

    pub(super) const fn unit(&self) -> &Unit {
        &self.unit
    }

    /// What is sent into it comes back by its unit's file, and nothing of it by the channel any more.
    pub(super) fn hold(&self) -> Result<(), PppError> {
        self.unit.hold()?;
        while self.feed.receive_now(|_| ()).is_some() {}
        Ok(())
    }

    async fn wait(&self, frames: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        loop {
            tokio::select! {
                frame = self.feed.receive(<[u8]>::to_vec) => {
                    frames.push_back(frame?);
                    return Ok(());
                }
                // It fails where somebody has deleted the interface. What the kernel cannot read itself is nothing of IP.
                unread = self.unit.receive() => drop(unread?),
            }
        }
    }
}

impl Packets for FedUnit {
    fn next<'a>(&'a self, frames: &'a mut VecDeque<Vec<u8>>) -> Next<'a> {
        Box::pin(self.wait(frames))
    }

    fn next_now(&self, frames: &mut VecDeque<Vec<u8>>) -> bool {
        self.feed.receive_now(|frame| frames.push_back(frame.to_vec())).is_some()
    }

    fn deliver(&self, frame: &[u8]) {
        if packet_in(frame).is_some() {
            self.feed.send(frame);
        }
    }

    fn flush(&self) {
        self.feed.flush();
    }
}
