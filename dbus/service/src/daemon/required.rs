//! `requires`: a connection that another one has to stand for.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{Profile, ProfileName};
use tokio::sync::broadcast::error::RecvError;

use super::Daemon;
use crate::raise::Raise;
use crate::registry::{ConnectionId, State};

/// As many may stand on each other.
const MOST: usize = 8;

impl Daemon {
    /// Returns when what this profile requires is up; it is raised if it is not.
    ///
    /// # Errors
    /// It can't be, or did not come up.
    pub(crate) async fn raise_required(
        self: &Arc<Self>,
        id: ConnectionId,
        profile: &Profile,
    ) -> Result<(), Failure> {
        let Some(wanted) = &profile.requires else { return Ok(()) };
        self.no_circle(profile)?;
        // Before it is raised: what it says from then on is heard.
        let mut news = self.registry.subscribe();
        let other =
            self.up_as(wanted.as_str(), Raise::default()).await.map_err(|why| missing(wanted, &why))?;
        if !self.is_up(other) {
            let text = format!("waiting for {wanted}, which is required");
            self.registry.progress(id, Step::Resolve.as_str(), &text);
        }
        while !self.is_up(other) {
            let facts = self.registry.get(other);
            match facts.filter(|facts| !facts.state.is_final()) {
                Some(_) => {}
                None => {
                    let last = self.registry.get(other).and_then(|facts| facts.last_error).map(|why| *why);
                    let taken_down =
                        || Failure::new(FailureCode::Cancelled, Step::Resolve, "it was taken down");
                    return Err(missing(wanted, &last.unwrap_or_else(taken_down)));
                }
            }
            if let Err(RecvError::Closed) = news.recv().await {
                return Err(missing(
                    wanted,
                    &Failure::new(FailureCode::Internal, Step::Resolve, "nobody tells"),
                ));
            }
        }
        Ok(())
    }

    fn is_up(&self, id: ConnectionId) -> bool {
        self.registry.get(id).is_some_and(|facts| matches!(facts.state, State::Connected | State::Waiting))
    }

    /// What one stands on must not stand on it.
    fn no_circle(&self, profile: &Profile) -> Result<(), Failure> {
        let mut way = vec![profile.name.clone()];
        let mut next = profile.requires.clone();
        while let Some(name) = next {
            if way.contains(&name) || way.len() >= MOST {
                let shown: Vec<&str> = way.iter().map(ProfileName::as_str).collect();
                let text = format!("profiles require each other: {}, {name}", shown.join(", "));
                return Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
                    .hint("take  requires  out of one of them"));
            }
            next = self.files.profile(name.as_str()).map_err(|why| missing(&name, &why))?.requires;
            way.push(name);
        }
        Ok(())
    }
}

/// As whatever kept it from coming up, of which it tells.
fn missing(wanted: &ProfileName, why: &Failure) -> Failure {
    let text = format!("{wanted}, which is required, is not up: {}", why.text);
    let failure = Failure::new(why.code, why.step, text);
    match &why.hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure,
    }
}
