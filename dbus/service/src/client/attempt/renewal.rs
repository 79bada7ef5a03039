//! Authenticating again (RFC 7296 §2.8.3): a second IKE_SA comes up beside the first, and then takes its place.

use adit_core::{Failure, Step};
use adit_ikev2::api::Event;

use super::{AGAIN, Attempt, internal};

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
        let begun = match self.credentials() {
            Ok((own, trusted)) => self.initiate(&ike, &gateway, remote, own.as_ref(), trusted).await,
            Err(failure) => Err(failure),
        };
        match begun {
            Ok(live) => self.renewal = Some(live),
            Err(failure) => self.renew_later(&failure),
        }
    }

    /// A failure where there is nothing to go back to.
    pub(super) fn renewal_said(&mut self, event: Event) -> Option<Failure> {
        match event {
            Event::Established(facts) => {
                let old = std::mem::replace(&mut self.live, self.renewal.take());
                self.established(&facts);
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
