//! A connection that the first packet raises that wants it, and that goes down again when nothing goes through it any more. Its
//! interface stands all the while: what is sent into it while the link is down comes back to this daemon, which holds a few
//! packets, dials, and sends them through the tunnel. Nothing of it can leave another way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, Step};
use adit_ppp::wire::{Protocol, split_frame};

use super::{Attempt, Ended, Proof};
use crate::client::{PAUSES, down, not_armed, unless};
use crate::ppp::Unit;
use crate::registry::State;

impl Attempt {
    /// Returns when the connection is to go away for good: only `down` ends it, once it waits.
    pub(super) async fn wait_and_hold(&mut self) -> Ended {
        // Whoever raises it by name does not wait for a packet first, and is told what stands in the way.
        let mut by_name = !self.persistent;
        let mut pause = PAUSES.0;
        loop {
            let unit = match unless(self.stopped.clone(), self.armed(by_name)).await {
                None => return Ended::Stopped,
                Some(Err(failure)) => return Ended::Lost(failure),
                Some(Ok(unit)) => unit,
            };
            if !std::mem::take(&mut by_name) {
                match unless(self.stopped.clone(), self.until_wanted(&unit)).await {
                    None => return Ended::Stopped,
                    // Somebody has taken the interface away.
                    Some(false) => continue,
                    Some(true) => self.state(State::Connecting, "wanted"),
                }
            }
            // Whoever holds it last closes it, which takes the kernel its time.
            drop(unit);
            let (failure, rest) = match self.connect_asking().await {
                None => return Ended::Stopped,
                Some(Err(failure)) => (failure, pause),
                Some(Ok(())) => {
                    pause = PAUSES.0;
                    match unless(self.stopped.clone(), self.hold()).await {
                        None => return Ended::Stopped,
                        Some(failure) => (failure, Duration::ZERO),
                    }
                }
            };
            self.lower().await;
            let armed = self.installation.wait().await.map(drop);
            down(&self.daemon, self.id, failure, armed, false);
            // A server that is not there is not dialled by every packet.
            if unless(self.stopped.clone(), tokio::time::sleep(rest)).await.is_none() {
                return Ended::Stopped;
            }
            if !rest.is_zero() {
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// What wants the tunnel is held back from here on. Where that can't be done yet, it is tried again and again, unless
    /// somebody waits for the outcome.
    async fn armed(&mut self, somebody_waits: bool) -> Result<Arc<Unit>, Failure> {
        let mut pause = PAUSES.0;
        loop {
            let failure = match self.arm(somebody_waits).await {
                Ok(unit) => return Ok(unit),
                Err(failure) if somebody_waits => return Err(failure),
                Err(failure) => failure,
            };
            not_armed(&self.daemon, self.id, &failure, &mut pause).await;
        }
    }

    async fn arm(&mut self, somebody_waits: bool) -> Result<Arc<Unit>, Failure> {
        if self.known.is_empty() {
            self.carriage().is_in_kernel().await?;
            // What is missing is told now, and not with the first packet. Where nobody waits for it, nobody is asked.
            if somebody_waits || !self.passwords.certificate_wants_somebody() {
                Proof::read(self.daemon.files(), &self.profile, &self.passwords).await?;
            }
            self.look_up().await?;
        }
        self.installation.wait().await
    }

    /// Returns when a packet, or a person, wants it (true), or when its interface is gone.
    async fn until_wanted(&self, unit: &Unit) -> bool {
        self.state(State::Standby, "for a packet");
        tokio::select! {
            frame = wanting(unit) => {
                let Ok(frame) = frame else { return false };
                self.progress(Step::Resolve, "a packet wants to go there");
                self.installation.keep(frame).await;
            }
            () = self.asked.notified() => {}
        }
        true
    }
}

/// The next frame that wants the tunnel. Fails where the interface is gone.
async fn wanting(unit: &Unit) -> io::Result<Vec<u8>> {
    loop {
        let frame = unit.receive().await?;
        if wants(&frame) {
            return Ok(frame);
        }
    }
}

/// What an interface says of itself to its neighbours (multicast) wants no tunnel.
fn wants(frame: &[u8]) -> bool {
    match split_frame(frame) {
        Ok((Protocol::IP, packet)) => packet.get(16).is_some_and(|first| *first < 224),
        Ok((Protocol::IPV6, packet)) => packet.get(24).is_some_and(|first| *first != 0xff),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use adit_ppp::wire::emit_frame;

    use super::*;

    fn packet(length: usize, at: usize, first: u8) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[at] = first;
        packet
    }

    #[test]
    fn a_packet_for_somebody_wants_the_tunnel_and_one_for_the_neighbours_does_not() {
        let v4 = |first| wants(&emit_frame(Protocol::IP, &packet(20, 16, first)));
        let v6 = |first| wants(&emit_frame(Protocol::IPV6, &packet(40, 24, first)));
        assert!(v4(10) && v6(0xfd));
        assert!(!v4(224) && !v4(255) && !v6(0xff));
        assert!(!wants(&emit_frame(Protocol::IP, &[0x45])) && !wants(&[]));
    }
}
