//! One connection of NetworkManager's, and the one of the daemon's behind it.

pub(crate) mod follow;

use std::collections::HashMap;

use adit_core::{Failure, FailureCode};
use adit_dbus_api::{ConnectionProxy, ManagerProxy, failure_of, signals};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tracing::{info, warn};
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};
use zbus::{Connection, Variant};

use crate::draft::Draft;
use crate::plugin::{Call, State, Voice, broken};
use crate::queue::Turn;
use crate::settings::Settings;
use follow::Followed;

/// How often a person is asked for one secret anew.
const MOST_QUESTIONS: u32 = 3;

/// Who owns a bus name, from now on.
pub(crate) struct Owner(NameOwnerChangedStream);

impl Owner {
    pub(crate) async fn of(bus: &Connection, name: &str) -> zbus::Result<Self> {
        Ok(Self(DBusProxy::new(bus).await?.receive_name_owner_changed_with_args(&[(0, name)]).await?))
    }

    /// Nobody does any more, or the bus is gone.
    pub(crate) async fn gone(&mut self) {
        self.until(false).await;
    }

    /// Somebody does, or the bus is gone.
    async fn came(&mut self) {
        self.until(true).await;
    }

    async fn until(&mut self, owned: bool) {
        while let Some(change) = self.0.next().await {
            if change.args().is_ok_and(|args| args.new_owner().is_some() == owned) {
                return;
            }
        }
    }
}

/// How it ended.
pub(crate) enum Ended {
    /// Somebody wanted it so.
    Down,
    /// For this reason.
    Failed(Failure),
    /// NetworkManager is gone, and the tunnel stands.
    Orphaned,
}

/// What comes from NetworkManager while something else is waited for.
enum Interrupt {
    Secrets(Box<Settings>),
    Disconnect,
    Gone,
}

pub(crate) struct Bridge {
    pub(crate) bus: Connection,
    pub(crate) voice: Voice,
    pub(crate) calls: mpsc::Receiver<Call>,
    /// NetworkManager's name.
    pub(crate) manager: Owner,
    /// The daemon's.
    pub(crate) daemon: Owner,
    /// Whether somebody is there who can be asked.
    pub(crate) interactive: bool,
    /// Codes that were asked for.
    pub(crate) codes: u32,
}

impl Bridge {
    /// Raises the connection and follows it to its end.
    pub(crate) async fn run(&mut self, settings: &Settings) -> Ended {
        self.voice.state(State::Starting).await;
        let draft = match draft(settings) {
            Ok(draft) => draft,
            Err(failure) => return Ended::Failed(failure),
        };
        let (bus, uuid) = (self.bus.clone(), settings.uuid.clone());
        let turn = tokio::select! {
            turn = Turn::wait(&bus, &uuid) => turn,
            _ = self.left() => return Ended::Down,
        };
        match turn {
            Ok(turn) => {
                let ended = self.carry(draft).await;
                turn.pass().await;
                ended
            }
            Err(error) => Ended::Failed(broken(format!("the bus gives no turn: {error}"))),
        }
    }

    async fn carry(&mut self, mut draft: Draft) -> Ended {
        let mut questions = 0;
        let mut raised_before = false;
        loop {
            let mut asked = false;
            let followed = match self.raise(&draft).await {
                Ok((mut stream, path)) => self.follow(&mut draft, &mut stream, &path, &mut asked).await,
                // One that was there before is on its way back.
                Err(failure) if raised_before && failure.code == FailureCode::PeerLost => {
                    Followed::DaemonGone
                }
                Err(failure) => Followed::Failed(failure),
            };
            raised_before = true;
            let wrong = |failure: &Failure| failure.code == FailureCode::AuthenticationFailed;
            match followed {
                Followed::Down => return Ended::Down,
                Followed::Orphaned => return Ended::Orphaned,
                Followed::Leaving => {}
                // What the daemon asks for, it asks for again by itself.
                Followed::Failed(failure)
                    if wrong(&failure) && !asked && self.asks() && questions < MOST_QUESTIONS =>
                {
                    questions += 1;
                    match self.ask_again(&draft, failure).await {
                        Ok(anew) => draft = anew,
                        Err(ended) => return ended,
                    }
                }
                Followed::Failed(failure) => return Ended::Failed(failure),
                Followed::Gone if !self.daemon_stops().await => return Ended::Down,
                Followed::Gone => {
                    tokio::select! {
                        () = self.daemon.gone() => {}
                        () = left(&mut self.calls, &mut self.manager) => return Ended::Down,
                    }
                    if self.daemon_comes().await.is_none() {
                        return Ended::Down;
                    }
                }
                Followed::DaemonGone => {
                    if self.daemon_comes().await.is_none() {
                        return Ended::Down;
                    }
                }
            }
        }
    }

    /// Has the daemon raise it; its signals, from before that on, and its path.
    async fn raise(&self, draft: &Draft) -> Result<(zbus::MessageStream, String), Failure> {
        let raise = async {
            let stream = signals(&self.bus).await?;
            let manager = ManagerProxy::new(&self.bus).await?;
            let options = HashMap::from([("dns", Variant::from("caller"))]);
            let path = manager.up_content(&draft.name, &draft.toml, options).await?;
            Ok((stream, path.as_str().to_owned()))
        };
        raise.await.map_err(|error: zbus::Error| failure_of(&error))
    }

    /// Whether a person can still be asked: once it is up, a wrong secret is no typing error.
    fn asks(&self) -> bool {
        self.interactive && self.voice.is(State::Starting)
    }

    /// The server did not take who we are: a person is told, and asked for the secret anew.
    async fn ask_again(&mut self, draft: &Draft, failure: Failure) -> Result<Draft, Ended> {
        let Some(secret) = draft.proof else { return Err(Ended::Failed(failure)) };
        info!("asking again: {failure}");
        self.voice.asks(&failure.text, secret).await;
        match self.interrupt().await {
            Interrupt::Secrets(settings) => {
                let anew = self::draft(&settings).map_err(Ended::Failed)?;
                if anew.missing.is_empty() { Ok(anew) } else { Err(Ended::Failed(failure)) }
            }
            Interrupt::Disconnect | Interrupt::Gone => Err(Ended::Down),
        }
    }

    /// Whether the daemon has ended it because it ends itself.
    async fn daemon_stops(&self) -> bool {
        let asked = async { ManagerProxy::new(&self.bus).await?.stopping().await };
        // Who does not answer any more is gone.
        asked.await.unwrap_or(true)
    }

    /// The daemon is gone, and started again by whoever starts it. NetworkManager shows that it waits, and ends it after its
    /// own time.
    async fn daemon_comes(&mut self) -> Option<()> {
        warn!("aditd is gone: the connection is raised again when it is back");
        self.voice.state(State::Starting).await;
        tokio::select! {
            () = self.daemon.came() => Some(()),
            () = left(&mut self.calls, &mut self.manager) => None,
        }
    }

    /// Takes it down; returns when nothing of it is left.
    async fn down(&self, path: &str) {
        self.voice.state(State::Stopping).await;
        let down = async { ConnectionProxy::new(&self.bus, path).await?.down().await };
        if let Err(error) = down.await {
            warn!("not taken down: {}", failure_of(&error));
        }
    }

    async fn left(&mut self) {
        left(&mut self.calls, &mut self.manager).await;
    }

    async fn interrupt(&mut self) -> Interrupt {
        interrupt(&mut self.calls, &mut self.manager).await
    }
}

/// Something of NetworkManager's.
async fn interrupt(calls: &mut mpsc::Receiver<Call>, manager: &mut Owner) -> Interrupt {
    loop {
        tokio::select! {
            call = calls.recv() => match call {
                Some(Call::Secrets(settings)) => return Interrupt::Secrets(settings),
                Some(Call::Disconnect) | None => return Interrupt::Disconnect,
                Some(Call::Connect(..) | Call::Asked) => {}
            },
            () = manager.gone() => return Interrupt::Gone,
        }
    }
}

/// NetworkManager wants it no more, or is gone.
async fn left(calls: &mut mpsc::Receiver<Call>, manager: &mut Owner) {
    while let Interrupt::Secrets(_) = interrupt(calls, manager).await {}
}

fn draft(settings: &Settings) -> Result<Draft, Failure> {
    Draft::of(settings, &|file, what| crate::files::pem(settings, file, what))
}
