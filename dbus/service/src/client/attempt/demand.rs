//! A connection that the first packet raises that wants it, and that goes down again when nothing goes through it any
//! more. Until it is up, and between two times, what wants it is dropped and never sent in clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, Path, Step};
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::super::life::{PAUSES, down, no_route, not_armed, unless};
use super::super::roaming::Over;
use super::{Attempt, Ended, internal};
use crate::handover::{Found, Waits};
use crate::ike::Ports;
use crate::registry::State;

/// How often is looked whether the way to the server is another.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl Attempt {
    /// Returns when the connection is to go away for good: only `down` ends it, once it waits.
    pub(super) async fn wait_and_hold(&mut self) -> Ended {
        // Whoever raises it by name does not wait for a packet first, and is told what stands in the way.
        let mut by_name = !self.persistent && self.left.is_none();
        let mut at_once = by_name;
        if let Some(found) = self.left.take() {
            match self.go_on_and_hold(found).await {
                None => return Ended::Stopped,
                Some(again) => at_once = again,
            }
        }
        loop {
            let wake = match unless(self.stopped.clone(), self.armed(std::mem::take(&mut by_name))).await {
                None => return Ended::Stopped,
                Some(Err(failure)) => return Ended::Lost(failure),
                Some(Ok(wake)) => wake,
            };
            if !std::mem::take(&mut at_once) {
                match unless(self.stopped.clone(), self.until_wanted(&wake)).await {
                    None => return Ended::Stopped,
                    // Perhaps this host has another uplink by now.
                    Some(false) => continue,
                    Some(true) => self.state(State::Connecting, "wanted"),
                }
            }
            let failure = match self.connect_asking().await {
                None => return Ended::Stopped,
                Some(Err(failure)) => failure,
                Some(Ok(())) => match self.hold_wanted(&wake).await {
                    None => return Ended::Stopped,
                    Some((failure, again)) => {
                        at_once = again;
                        failure
                    }
                },
            };
            self.lower_and_wait(failure, at_once).await;
        }
    }

    /// One that a process before had raised: returns when it is down, and whether it is to be dialled anew at once. `None`:
    /// somebody takes it down.
    async fn go_on_and_hold(&mut self, found: Found) -> Option<bool> {
        // What stands is known before anybody can want it gone.
        if let Some(waits) = found.told.waits.clone() {
            self.wait_again(found, waits).await;
            return Some(false);
        }
        let (failure, at_once) = match self.go_on(found).await {
            Ok(()) => self.hold_raised().await?,
            // It was wanted.
            Err(failure) => (failure, true),
        };
        self.lower_and_wait(failure, at_once).await;
        Some(at_once)
    }

    /// One that waited, or was dialled for what had come: what wants it is held back still.
    async fn wait_again(&mut self, found: Found, waits: Waits) {
        let Found { told, keeper, .. } = found;
        self.installation.handing.begin(told.print, told.gateway, Some(keeper));
        self.installation.hand_on_waiting(Some(waits.clone()));
        if let Err(failure) = self.installation.trap_again(waits).await {
            self.installation.hand_on_waiting(None);
            self.progress(Step::Network, &format!("not waited for where it was: {failure}"));
        }
    }

    /// Returns when it is down, and why; and whether it is to be dialled anew at once, over another link. `None`: somebody
    /// takes it down.
    async fn hold_wanted(&mut self, wake: &Notify) -> Option<(Failure, bool)> {
        // Packets on the way up may have asked twice.
        let _ = wake.notified().now_or_never();
        self.hold_raised().await
    }

    async fn hold_raised(&mut self) -> Option<(Failure, bool)> {
        self.installation.trap_answered().await;
        match unless(self.stopped.clone(), self.hold()).await? {
            Over::Redial(failure, path) => {
                unless(self.stopped.clone(), self.part(path)).await?;
                Some((failure, true))
            }
            Over::Ended(failure) | Over::Reconnect(failure) | Over::Idle(failure) => Some((failure, false)),
        }
    }

    /// What wants it is held back again. It waits for a packet, or is dialled anew at once.
    async fn lower_and_wait(&mut self, failure: Failure, at_once: bool) {
        self.roaming = None;
        self.end_renewal();
        self.farewell().await;
        let armed = self.installation.lower_to_trap().await;
        down(&self.daemon, self.id, failure, armed, at_once);
    }

    /// What wants the tunnel is held back from here on, and tells of itself. Where that can't be done yet, it is tried
    /// again and again, unless somebody waits for the outcome.
    async fn armed(&mut self, somebody_waits: bool) -> Result<Arc<Notify>, Failure> {
        let mut pause = PAUSES.0;
        loop {
            let failure = match self.arm(somebody_waits).await {
                Ok(wake) => return Ok(wake),
                Err(failure) if somebody_waits => return Err(failure),
                Err(failure) => failure,
            };
            // The one that stands leads to where the server was, which is enough to tell of a packet.
            if let Some(wake) = self.installation.trap_that_stands().await {
                return Ok(wake);
            }
            not_armed(&self.daemon, self.id, &failure, &mut pause).await;
        }
    }

    async fn arm(&mut self, somebody_waits: bool) -> Result<Arc<Notify>, Failure> {
        if self.known.iter().all(|(_, addresses)| addresses.is_empty()) {
            self.check_kernel().await?;
            self.check_credentials(somebody_waits).await?;
            // Who drives IKE_SAs hears the kernel, too.
            self.daemon.ike(Ports::default(), false).await?;
            self.look_up().await?;
        }
        let first = self.known.iter().find_map(|(gateway, all)| Some((gateway.clone(), *all.first()?)));
        let (gateway, remote) = first.ok_or_else(|| internal("the server has no address"))?;
        self.may_hand_on(&gateway);
        let uplink = self.daemon.host().path_to(remote.ip()).await.map_err(|e| no_route(remote.ip(), &e))?;
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
