//! The daemon's connection as it goes: what it says is told to NetworkManager, and what it asks for is answered.

use std::collections::BTreeMap;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    ConnectionProxy, ConnectionState, ConnectionStatus, Seen, WantedParts, failure_of, seen, status_of,
};
use futures_util::StreamExt;
use tracing::{info, warn};
use zbus::{Message, MessageStream};
use zeroize::Zeroizing;

use super::{Bridge, Interrupt, interrupt};
use crate::config::Told;
use crate::draft::Draft;
use crate::plugin::State;

/// What a server asks for by EAP-GTC: the field of `WantedSecret`.
pub(crate) const CODE: &str = "code";

/// How it went on.
pub(super) enum Followed {
    /// NetworkManager did not want it any more, and it is down.
    Down,
    /// It failed.
    Failed(Failure),
    /// Somebody else has taken it down.
    Gone,
    /// It was on its way down when we came.
    Leaving,
    /// The daemon is gone.
    DaemonGone,
    /// NetworkManager is gone, and it stands.
    Orphaned,
}

/// What is known of it.
struct Watch<'d> {
    path: String,
    draft: &'d mut Draft,
    /// Whether the daemon asked for something that NetworkManager had not told.
    questioned: &'d mut bool,
    /// Answers that it has not had yet.
    answers: BTreeMap<&'static str, Zeroizing<String>>,
    /// What a person is asked for: the field, and its name in `vpn.secrets`.
    asked: Option<(String, String)>,
    /// What NetworkManager was told last.
    told: Option<Told>,
    /// Whether it was seen in another state than on its way down.
    lived: bool,
    /// Whether it was up: what went through it must not go in clear then.
    stood: bool,
}

impl Bridge {
    pub(super) async fn follow(
        &mut self,
        draft: &mut Draft,
        stream: &mut MessageStream,
        path: &str,
        questioned: &mut bool,
    ) -> Followed {
        let answers = draft.answers.clone();
        let own_path = path.to_owned();
        let mut watch = Watch {
            path: own_path,
            draft,
            questioned,
            answers,
            asked: None,
            told: None,
            lived: false,
            stood: false,
        };
        let first = match status_of(&self.bus, path).await {
            Ok(status) => status,
            Err(error) => return Followed::Failed(failure_of(&error)),
        };
        let mut known = first.wanted_secret.clone();
        if let Some(followed) = self.show(&mut watch, &first).await {
            return followed;
        }
        if let Some(wanted) = first.wanted_secret
            && let Some(followed) = self.wanted(&mut watch, &wanted).await
        {
            return followed;
        }
        loop {
            let followed = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(message)) => self.heard(&mut watch, &message, &mut known).await,
                    Some(Err(_)) => None,
                    None => Some(Followed::DaemonGone),
                },
                said = interrupt(&mut self.calls, &mut self.manager) => self.said(&mut watch, said).await,
                () = self.daemon.gone() => Some(Followed::DaemonGone),
            };
            if let Some(followed) = followed {
                return followed;
            }
        }
    }

    /// A signal of the daemon's.
    async fn heard(
        &mut self,
        watch: &mut Watch<'_>,
        message: &Message,
        known: &mut Option<WantedParts>,
    ) -> Option<Followed> {
        match seen(message, &watch.path) {
            Some(Seen::Removed) => return Some(watch.gone()),
            Some(Seen::Progress { text, .. }) => {
                info!("{text}");
                return None;
            }
            // The signal that tells of the question that was there first comes later than its answer may.
            Some(Seen::Wanted(wanted)) => {
                let first = known.take();
                if let Some(wanted) = wanted.filter(|wanted| first.as_ref() != Some(wanted)) {
                    return self.wanted(watch, &wanted).await;
                }
                return None;
            }
            Some(Seen::State { .. }) => {}
            None if is_about(message, &watch.path) => {}
            None => return None,
        }
        match status_of(&self.bus, &watch.path).await {
            Ok(status) => self.show(watch, &status).await,
            // The signal that says so is on its way.
            Err(_) => None,
        }
    }

    /// Tells NetworkManager how it is.
    async fn show(&mut self, watch: &mut Watch<'_>, status: &ConnectionStatus) -> Option<Followed> {
        watch.lived |= status.state != ConnectionState::Disconnecting;
        match status.state {
            ConnectionState::Failed => {
                let unknown = || Failure::new(FailureCode::Internal, Step::Established, "it failed");
                return Some(Followed::Failed(status.last_error.clone().unwrap_or_else(unknown)));
            }
            ConnectionState::Disconnected => return Some(watch.gone()),
            ConnectionState::Disconnecting => {}
            ConnectionState::Standby | ConnectionState::Connecting => {
                if self.voice.is(State::Started) {
                    self.voice.state(State::Starting).await;
                    watch.told = None;
                }
            }
            // A tunnel that looks for another path is up: what enters it is not lost to the clear.
            ConnectionState::Connected | ConnectionState::Waiting | ConnectionState::Dormant => {
                let told = Told::of(status, mtu(&status.interface));
                if told.is_some() && watch.told != told {
                    watch.told = told;
                    if let Some(told) = &watch.told {
                        self.voice.config(told).await;
                    }
                }
                watch.stood = true;
                self.voice.state(State::Started).await;
            }
        }
        None
    }

    /// The daemon asks for a secret.
    async fn wanted(&mut self, watch: &mut Watch<'_>, wanted: &WantedParts) -> Option<Followed> {
        let (field, prompt, reason) = wanted;
        if let Some(answer) = watch.answers.remove(field.as_str()) {
            self.provide(watch, field, &answer).await;
            return None;
        }
        *watch.questioned = true;
        let text = match reason.is_empty() {
            true => prompt.clone(),
            false => format!("{reason}. {prompt}"),
        };
        if !self.interactive {
            let code = match reason.is_empty() {
                true => FailureCode::NoSecret,
                false => FailureCode::AuthenticationFailed,
            };
            self.down(&watch.path).await;
            return Some(Followed::Failed(Failure::new(code, Step::Authenticate, text)));
        }
        let name = self.name_of(field);
        self.voice.asks(&text, &name).await;
        watch.asked = Some((field.clone(), name));
        None
    }

    /// What a field is called in a question. An agent offers what was typed before under the same name as a beginning, and a
    /// code is never the same: each has a name of its own.
    fn name_of(&mut self, field: &str) -> String {
        if field != CODE {
            return field.to_owned();
        }
        self.codes = self.codes.saturating_add(1);
        if self.codes == 1 { CODE.to_owned() } else { format!("{CODE}-{}", self.codes) }
    }

    /// NetworkManager says something.
    async fn said(&mut self, watch: &mut Watch<'_>, said: Interrupt) -> Option<Followed> {
        match said {
            Interrupt::Disconnect => {
                self.down(&watch.path).await;
                Some(Followed::Down)
            }
            Interrupt::Gone if watch.stood => Some(Followed::Orphaned),
            // Nothing has stood yet that could be left to itself.
            Interrupt::Gone => {
                self.down(&watch.path).await;
                Some(Followed::Down)
            }
            Interrupt::Secrets(settings) => {
                let (field, name) = watch.asked.take()?;
                let answer = settings.secrets.get(&name)?.clone();
                self.provide(watch, &field, &answer).await;
                // What the daemon has to be told anew, should it be started anew.
                if matches!(field.as_str(), "password" | "new-password") {
                    watch.draft.answers.insert("password", answer);
                }
                None
            }
        }
    }

    async fn provide(&self, watch: &Watch<'_>, field: &str, answer: &str) {
        let provide = async {
            let connection = ConnectionProxy::new(&self.bus, watch.path.as_str()).await?;
            connection.provide_secret(field, answer.as_bytes()).await
        };
        if let Err(error) = provide.await {
            warn!("a secret was not taken: {}", failure_of(&error));
        }
    }
}

impl Watch<'_> {
    const fn gone(&self) -> Followed {
        if self.lived { Followed::Gone } else { Followed::Leaving }
    }
}

/// Whether a signal tells of that object's properties.
fn is_about(message: &Message, path: &str) -> bool {
    message.header().path().is_some_and(|of| of.as_str() == path)
}

/// The interface's own, which the daemon has chosen.
fn mtu(interface: &str) -> Option<u32> {
    if interface.is_empty() || interface.contains('/') {
        return None;
    }
    std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?.trim().parse().ok()
}
