//! Authenticating again (RFC 7296 §2.8.3): a second IKE_SA comes up beside the first, and then takes its place.

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::{Failure, Step};
use adit_ikev2::api::Event;
use adit_profile::ServerName;

use super::{Attempt, Live, internal};
use crate::ike::IkeDriver;

/// Pause after a re-authentication that failed, while the connection that it was to follow still stands.
const AGAIN: Duration = Duration::from_secs(60);

impl Attempt {
    /// Authenticates again: dials a second IKE_SA, which takes over when it is up. Until then this one carries on.
    pub(super) async fn renew(&mut self) {
        self.renew_at = None;
        let Some((ike, gateway, remote)) =
            self.live.as_ref().map(|live| (live.ike.clone(), live.gateway.clone(), live.remote))
        else {
            return;
        };
        if self.renewal.is_some() {
            return;
        }
        match self.begin_renewal(&ike, &gateway, remote).await {
            Ok(live) => self.renewal = Some(live),
            Err(failure) => self.renew_later(&failure),
        }
    }

    async fn begin_renewal(
        &self,
        ike: &IkeDriver,
        gateway: &ServerName,
        remote: SocketAddr,
    ) -> Result<Live, Failure> {
        let (own, trusted) = self.credentials().await?;
        // The path in use works, as far as is known; the routes' own may lead nowhere.
        let way = match &self.roaming {
            Some(roaming) => Some(roaming.way(&self.daemon).await?),
            None => self.ways(remote).await?.into_iter().next(),
        };
        let way = way.ok_or_else(|| internal("there is no way to the server"))?;
        self.initiate(ike, (gateway, remote), way, (own.as_ref(), trusted), None).await
    }

    /// A failure where there is nothing to go back to.
    pub(super) async fn renewal_said(&mut self, event: Event) -> Option<Failure> {
        match event {
            Event::Established(facts) => {
                let old = std::mem::replace(&mut self.live, self.renewal.take());
                self.established(&facts).await;
                if let Some(old) = old {
                    old.ike.close(old.sa);
                }
            }
            Event::Closed(result) => {
                self.renewal = None;
                let failure = result.err().unwrap_or_else(|| internal("the IKE_SA was closed"));
                if self.live.is_none() {
                    return Some(failure);
                }
                self.renew_later(&failure);
            }
            _ => {}
        }
        None
    }

    pub(super) fn renew_later(&mut self, failure: &Failure) {
        self.renew_at = Some(tokio::time::Instant::now() + AGAIN);
        let text = format!("re-authentication failed: {failure} Trying again in {} s.", AGAIN.as_secs());
        self.progress(Step::Established, &text);
    }

    pub(super) fn end_renewal(&mut self) {
        self.renew_at = None;
        if let Some(renewal) = self.renewal.take() {
            renewal.ike.close(renewal.sa);
        }
    }
}
