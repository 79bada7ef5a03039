//! A connection that the first packet raises that wants it, and that goes down again when nothing goes through it any
//! more. Until it is up, and between two times, what wants it is dropped and never sent in clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Path, Step};
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::super::roaming::{Over, no_route};
use super::{Attempt, Ended, PAUSES, internal};
use crate::ike::Ports;
use crate::registry::State;

/// How often is looked whether the way to the server is another.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl Attempt {
    /// Returns when the connection is to go away for good: only `down` ends it, once it waits.
    pub(super) async fn wait_and_hold(&mut self) -> Ended {
        // Whoever raises it by name does not wait for a packet first.
        let mut at_once = !self.persistent;
        loop {
            let wake = match self.unless_stopped(async |a: &mut Self| a.armed(at_once).await).await {
                None => return Ended::Stopped,
                Some(Err(failure)) => return Ended::Lost(failure),
                Some(Ok(wake)) => wake,
            };
            if !std::mem::take(&mut at_once) {
                match self.unless_stopped(async |a: &mut Self| a.until_wanted(&wake).await).await {
                    None => return Ended::Stopped,
                    // Perhaps this host has another uplink by now.
                    Some(false) => continue,
                    Some(true) => self.state(State::Connecting, "wanted"),
                }
            }
            let failure = match self.unless_stopped(Self::connect).await {
                None => return Ended::Stopped,
                Some(Err(failure)) => failure,
                Some(Ok(())) => {
                    // Packets on the way up may have asked twice.
                    let _ = wake.notified().now_or_never();
                    self.installation.trap_answered().await;
                    match self.unless_stopped(Self::hold).await {
                        None => return Ended::Stopped,
                        Some(Over::Redial(failure, path)) => {
                            at_once = true;
                            if self.unless_stopped(async |a: &mut Self| a.part(path).await).await.is_none() {
                                return Ended::Stopped;
                            }
                            failure
                        }
                        Some(Over::Ended(failure) | Over::Reconnect(failure) | Over::Idle(failure)) => {
                            failure
                        }
                    }
                }
            };
            self.roaming = None;
            self.end_renewal();
            self.farewell().await;
            if let Err(failure) = self.installation.lower_to_trap().await {
                self.progress(Step::Network, &format!("packets are not waited for: {failure}"));
            }
            self.progress(Step::Established, &format!("down: {failure} Waiting for a packet."));
            let (code, idle) = (failure.code.as_str(), failure.code == FailureCode::Idle);
            self.daemon.registry().set_state(self.id, State::Standby, code, Some(failure).filter(|_| !idle));
        }
    }

    /// What wants the tunnel is held back from here on, and tells of itself. Where that can't be done yet, it is tried
    /// again and again, unless somebody waits for the outcome.
    async fn armed(&mut self, somebody_waits: bool) -> Result<Arc<Notify>, Failure> {
        let mut pause = PAUSES.0;
        loop {
            let failure = match self.arm().await {
                Ok(wake) => return Ok(wake),
                Err(failure) if somebody_waits => return Err(failure),
                Err(failure) => failure,
            };
            // The one that stands leads to where the server was, which is enough to tell of a packet.
            if let Some(wake) = self.installation.trap_that_stands().await {
                return Ok(wake);
            }
            let text =
                format!("cannot wait for packets yet: {failure} Trying again in {} s.", pause.as_secs());
            self.progress(Step::Network, &text);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn arm(&mut self) -> Result<Arc<Notify>, Failure> {
        if self.known.iter().all(Vec::is_empty) {
            self.check_kernel().await?;
            // What is missing is told now, and not with the first packet.
            self.credentials()?;
            // Who drives IKE_SAs hears the kernel, too.
            self.daemon.ike(Ports::default(), false).await?;
            self.look_up().await?;
        }
        let first = self.known.iter().flatten().next().copied();
        let remote = first.ok_or_else(|| internal("the server has no address"))?;
        let uplink = self.daemon.host().path_to(remote.ip()).await.map_err(|e| no_route(remote, &e))?;
        let local = SocketAddr::new(self.profile.local_address.unwrap_or(uplink.source), 0);
        self.installation.trap(&uplink, Path { local, remote }).await
    }

    /// Returns when a packet, or a person, wants it (true), or when it is time to look where the server is.
    async fn until_wanted(&mut self, wake: &Notify) -> bool {
        self.state(State::Standby, "for a packet");
        let asked = Arc::clone(&self.asked);
        tokio::select! {
            () = wake.notified() => self.progress(Step::Resolve, "a packet wants to go there"),
            () = asked.notified() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => return false,
        }
        true
    }
}
