//! A connection that is dialled, as others have hold of it; and what one is made of, whatever carries it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_ikev2::api::SaId;
use adit_profile::{Profile, ServerName};
use adit_xfrm_kernel::StateId;
use tokio::sync::{Notify, watch};

use super::eap::Passwords;
use super::install::Installation;
use super::login::LogIn;
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::handover::FoundLink;
use crate::ppp::client::SharedUnit;
use crate::ppp::{Handing, Unit};
use crate::registry::ConnectionId;

/// A connection to raise.
pub struct Dial {
    /// Where it is in the registry.
    pub id: ConnectionId,
    /// What to raise.
    pub profile: Profile,
    /// Everything else.
    pub daemon: Arc<Daemon>,
    /// Whether to go on where the first attempt fails, as after one that succeeded.
    pub persistent: bool,
    /// What a process before has left of it.
    pub(crate) found: Option<(Found, Numbers)>,
}

/// What a process before has left of a connection.
pub(crate) enum Found {
    /// An IKE_SA.
    Ike(Box<crate::handover::Found>),
    /// A PPP link.
    Link(Box<FoundLink>),
}

/// A handle on the task.
#[derive(Clone)]
pub struct ClientHandle {
    stop: watch::Sender<bool>,
    outcome: watch::Receiver<Option<Result<(), Failure>>>,
    carried: Carrying,
    asked: Arc<Notify>,
    passwords: Arc<Passwords>,
}

/// What carries it.
#[derive(Clone)]
pub(crate) enum Carried {
    /// CHILD_SAs.
    Esp(Arc<Installation>),
    /// A PPP link.
    Ppp(SharedUnit, Arc<Handing>),
}

/// What carries it now, where that may be one or the other.
pub(crate) type Carrying = Arc<Mutex<Option<Carried>>>;

impl ClientHandle {
    /// Of a connection that has such a task.
    pub(crate) fn new(
        stop: watch::Sender<bool>,
        outcome: watch::Receiver<Option<Result<(), Failure>>>,
        carried: Carrying,
        passwords: Arc<Passwords>,
        asked: Arc<Notify>,
    ) -> Self {
        Self { stop, outcome, carried, asked, passwords }
    }

    fn carried(&self) -> Option<Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the next process can go on with it.
    pub(crate) fn is_handed_on(&self) -> bool {
        match self.carried() {
            Some(Carried::Esp(installation)) => installation.is_handed_on(),
            Some(Carried::Ppp(_, handing)) => handing.is_handed_on(),
            None => false,
        }
    }

    /// Whether the next process knows of it, and dials it anew where it can't go on with it.
    pub(crate) fn is_told_of(&self) -> bool {
        match self.carried() {
            Some(Carried::Esp(installation)) => installation.is_told_of(),
            Some(Carried::Ppp(..)) | None => false,
        }
    }

    /// Whether that may be so before long: it is up, and its profile lets it.
    pub(crate) fn may_settle(&self) -> bool {
        match self.carried() {
            Some(Carried::Esp(installation)) => installation.hands_on() && installation.states().is_some(),
            Some(Carried::Ppp(_, handing)) => handing.hands_on() && self.unit().is_some(),
            None => false,
        }
    }

    /// Its PPP unit, if it has one.
    pub(crate) fn unit(&self) -> Option<Arc<Unit>> {
        match self.carried()? {
            Carried::Esp(_) => None,
            Carried::Ppp(unit, _) => unit.lock().unwrap_or_else(PoisonError::into_inner).upgrade(),
        }
    }

    /// Takes the connection down; returns when nothing of it is left.
    ///
    /// # Errors
    /// What could not be undone.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or(Ok(())),
            // The task is gone without a word: it panicked, and its undos stand in the journal.
            Err(_) => {
                let text = "the connection's task died; what it changed is undone at the next start";
                Err(Failure::new(FailureCode::Internal, Step::Established, text))
            }
        }
    }

    /// Hands over a secret that it waits for.
    ///
    /// # Errors
    /// It does not wait for that.
    pub fn provide_secret(&self, field: &str, secret: Secret) -> Result<(), Failure> {
        self.passwords.asker.provide(field, secret)
    }

    /// Raises a connection that waits for a packet.
    pub fn raise(&self) {
        self.asked.notify_one();
    }

    /// Its IKE_SA, while there is one.
    #[must_use]
    pub fn ike_sa(&self) -> Option<SaId> {
        match self.carried()? {
            Carried::Esp(installation) => installation.newest(),
            Carried::Ppp(..) => None,
        }
    }

    /// The inbound and outbound state, while there are any.
    #[must_use]
    pub fn states(&self) -> Option<(StateId, StateId)> {
        match self.carried()? {
            Carried::Esp(installation) => installation.states(),
            Carried::Ppp(..) => None,
        }
    }
}

/// What an attempt is made of.
pub(crate) struct Part {
    pub(crate) id: ConnectionId,
    pub(crate) profile: Arc<Profile>,
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) persistent: bool,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) passwords: Arc<Passwords>,
    /// Somebody wants what waits for a packet.
    pub(crate) asked: Arc<Notify>,
    /// It is one of several ways.
    pub(crate) way: Option<OneWay>,
}

/// One of several ways to come to a connection: to that address of that gateway.
pub(crate) struct OneWay {
    pub(crate) gateway: ServerName,
    pub(crate) remote: SocketAddr,
    /// The interface's name, which whoever chooses has reserved.
    pub(crate) interface: String,
    pub(crate) login: LogIn,
}

/// What comes after it was up.
pub(crate) enum After {
    /// Somebody takes it down.
    Stopped,
    /// It goes away for good, because of this.
    Ended(Failure),
    /// Nothing goes through it any more.
    Idle,
    /// It is lost; whether it is to come back at once.
    Again(Failure, bool),
}
