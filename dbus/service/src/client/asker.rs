//! Asks a person for a secret, by way of whoever looks at the connection on D-Bus.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Secret, Step};
use tokio::sync::oneshot;

use crate::registry::{ConnectionId, Registry, Wanted};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// The one question of a connection.
pub(crate) struct Asker {
    id: ConnectionId,
    registry: Arc<Registry>,
    waiting: Mutex<Option<(String, oneshot::Sender<Secret>)>>,
}

/// A question that stands; with it goes its notice.
struct Standing<'a>(&'a Asker);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.waiting().take();
        self.0.registry.update(self.0.id, |f| f.wanted = None);
    }
}

impl Asker {
    pub(crate) fn new(id: ConnectionId, registry: &Arc<Registry>) -> Self {
        Self { id, registry: Arc::clone(registry), waiting: Mutex::default() }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Nobody answered, or the question was taken back.
    pub(crate) async fn ask(&self, wanted: Wanted) -> Result<Secret, Failure> {
        let (sender, answer) = oneshot::channel();
        *self.waiting() = Some((wanted.field.clone(), sender));
        let standing = Standing(self);
        self.registry.update(self.id, |f| f.wanted = Some(Box::new(wanted)));
        let answered = tokio::time::timeout(PATIENCE, answer).await;
        drop(standing);
        match answered {
            Ok(Ok(secret)) => Ok(secret),
            Ok(Err(_)) => Err(none(FailureCode::Cancelled, "the question for a secret was taken back")),
            Err(_) => {
                let text = format!("nobody gave the secret that is needed in {} s", PATIENCE.as_secs());
                Err(none(FailureCode::NoSecret, &text))
            }
        }
    }

    /// Asks for the PIN of a token. `reason`: why again, if it is again.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub(crate) async fn ask_for_pin(&self, label: &str, reason: &str) -> Result<Secret, Failure> {
        self.registry.progress(self.id, Step::Profile.as_str(), "waiting for the token's PIN");
        let prompt = format!("PIN of the token {label}");
        self.ask(Wanted { field: "pin".into(), prompt, reason: reason.to_owned() }).await
    }

    /// Here it is.
    ///
    /// # Errors
    /// Nothing, or something else, is waited for.
    pub(crate) fn provide(&self, field: &str, secret: Secret) -> Result<(), Failure> {
        let asked = self.waiting().take_if(|(wanted, _)| wanted == field);
        match asked {
            Some((_, sender)) => sender.send(secret).map_err(|_| not_wanted(field)),
            None => Err(not_wanted(field)),
        }
    }

    /// The question does not stand any more.
    pub(crate) fn cancel(&self) {
        self.waiting().take();
    }

    fn waiting(&self) -> MutexGuard<'_, Option<(String, oneshot::Sender<Secret>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing of that name is waited for.
pub(crate) fn not_wanted(field: &str) -> Failure {
    let text = format!("the connection does not wait for a secret called \"{}\"", field.escape_debug());
    Failure::new(FailureCode::NotFound, Step::Authenticate, text)
}

fn none(code: FailureCode, text: &str) -> Failure {
    Failure::new(code, Step::Authenticate, text)
        .hint("ctl up NAME  asks at the terminal; or add  password-file = \"NAME\"  to the profile")
}
