//! `ctl agent`: a person's own. It answers what connections ask for, from their keyring or by asking them, and tells them of
//! failures. It is whoever may answer on `org.adit1` anyway: the daemon knows no agents, and keeps no secrets.

mod keyring;
mod person;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use adit_core::FailureCode;
use adit_dbus_api::{
    ConnectionProxy, ConnectionState, ConnectionStatus, Role, Seen, WantedParts, failure_of, names, seen,
    signals, status_of,
};
use futures_util::StreamExt;
use zbus::{Connection, Message};
use zeroize::Zeroizing;

use crate::args::{Agent as Args, BusChoice};
use crate::desktop::{be_agent, has_session};
use crate::ended::Ended;
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::render::says;
use crate::session;
use keyring::{About, Keyring};
use person::Person;

/// What may be kept. A one-time code is of no use again, and a token's PIN, once wrong, locks the token.
const KEPT: [&str; 3] = ["password", "proxy-user", "proxy-password"];

/// `ctl agent`, until Ctrl-C or until the daemon goes.
pub(crate) async fn agent(args: &Args, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let daemon = session::open(bus).await?;
    let mut interrupts = Interrupts::listen();
    let mut stream = signals(&daemon).await.map_err(|e| Ended::call("", &e))?;
    let own = match has_session() {
        true => Connection::session().await.ok(),
        false => None,
    };
    let keyring = match &own {
        Some(own) if !args.no_keyring => Keyring::open(own).await.ok(),
        _ => None,
    };
    if let Some(own) = &own {
        be_agent(own).await;
    }
    let person = Person::new(own);
    let mut agent = Agent {
        daemon,
        keyring,
        person,
        output,
        waiting: VecDeque::new(),
        asked: None,
        given: BTreeMap::new(),
    };
    agent.begin().await?;
    loop {
        agent.next_question();
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(message)) => agent.hear(&message).await,
                Some(Err(_)) => {}
                None => return Err(Ended::gone("")),
            },
            (path, question, answer) = answered(&mut agent.asked) => agent.answer(path, question, answer).await,
            () = interrupts.next() => return Ok(()),
        }
    }
}

struct Agent {
    daemon: Connection,
    keyring: Option<Keyring>,
    person: Person,
    output: Output,
    /// Questions that nobody has been asked yet, by their connections' paths: a person is asked one after the other.
    waiting: VecDeque<(String, WantedParts)>,
    asked: Option<Asked>,
    /// What was typed, by its connection's path, until it is known whether it was right.
    given: BTreeMap<String, Vec<Given>>,
}

/// A secret that was typed, and what to keep it as.
type Given = (About, Zeroizing<Vec<u8>>);

/// The question that stands.
struct Asked {
    path: String,
    question: WantedParts,
    answer: Pin<Box<dyn Future<Output = Found>>>,
}

/// An answer.
struct Found {
    secret: person::Answer,
    /// What to keep it as, if it is right; `None`: it is kept, or not to be.
    keep: Option<About>,
    name: String,
}

async fn answered(asked: &mut Option<Asked>) -> (String, WantedParts, Found) {
    let Some(standing) = asked else { return std::future::pending().await };
    let found = standing.answer.as_mut().await;
    let (path, question) = (std::mem::take(&mut standing.path), standing.question.clone());
    *asked = None;
    (path, question, found)
}

impl Agent {
    /// What is asked for already.
    async fn begin(&mut self) -> Result<(), Ended> {
        let snapshot = session::snapshot(&self.daemon).await?;
        for row in snapshot.connections.iter().filter(|row| !row.is_client_of_ours()) {
            let Some(status) = session::details(&self.daemon, row).await else { continue };
            if let Some(question) = status.wanted_secret {
                self.wants(&status.path, question);
            }
        }
        if self.output.json { Ok(()) } else { self.output.line(says::ready(self.keyring.is_some())) }
    }

    async fn hear(&mut self, message: &Message) {
        let header = message.header();
        let about = header.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let known =
            self.waiting.iter().map(|(path, _)| path).chain(self.asked.iter().map(|asked| &asked.path));
        let known: Vec<String> = known.chain(self.given.keys()).cloned().collect();
        for path in known {
            if seen(message, &path) == Some(Seen::Removed) {
                self.forget(&path);
            }
        }
        if !about.starts_with(names::CONNECTIONS) {
            return;
        }
        match seen(message, &about) {
            Some(Seen::Wanted(Some(question))) => self.wants(&about, question),
            Some(Seen::Wanted(None)) => self.wants_no_more(&about),
            Some(Seen::State { new: ConnectionState::Connected, .. }) => self.was_right(&about).await,
            Some(Seen::State { new: ConnectionState::Failed, .. }) => {
                self.forget(&about);
                if let Ok(status) = status_of(&self.daemon, &about).await {
                    self.has_failed(&status).await;
                }
            }
            _ => {}
        }
    }

    fn wants(&mut self, path: &str, question: WantedParts) {
        // Told twice, it is one: the signal of a question may come after the first look.
        let same = |asked: &Asked| asked.path == path && asked.question == question;
        if self.asked.as_ref().is_some_and(same) {
            return;
        }
        self.wants_no_more(path);
        self.waiting.push_back((path.to_owned(), question));
    }

    fn wants_no_more(&mut self, path: &str) {
        self.waiting.retain(|(waiting, _)| waiting != path);
        self.asked.take_if(|asked| asked.path == path);
    }

    fn forget(&mut self, path: &str) {
        self.wants_no_more(path);
        self.given.remove(path);
    }

    fn next_question(&mut self) {
        if self.asked.is_some() {
            return;
        }
        let Some((path, question)) = self.waiting.pop_front() else { return };
        let (daemon, keyring, person) = (self.daemon.clone(), self.keyring.clone(), self.person.clone());
        let answer = Box::pin(find((daemon, path.clone()), question.clone(), keyring, person));
        self.asked = Some(Asked { path, question, answer });
    }

    async fn answer(&mut self, path: String, (field, ..): WantedParts, found: Found) {
        let secret = match found.secret {
            Ok(secret) => secret,
            // It stands, and somebody else may answer it.
            Err(why) => return self.output.remark(&says::not_answered(&found.name, &why)),
        };
        let provided = async {
            ConnectionProxy::new(&self.daemon, path.as_str()).await?.provide_secret(&field, &secret).await
        };
        match provided.await {
            Ok(()) => {
                if let Some(about) = found.keep {
                    let given = self.given.entry(path).or_default();
                    given.retain(|(before, _)| *before != about);
                    given.push((about, secret));
                }
            }
            // Somebody else was faster.
            Err(error) if failure_of(&error).code == FailureCode::NotFound => {}
            Err(error) => self.output.remark(&says::not_taken(&found.name, &failure_of(&error).text)),
        }
    }

    /// It is up: what was typed for it is worth keeping.
    async fn was_right(&mut self, path: &str) {
        let (Some(keyring), Some(given)) = (&self.keyring, self.given.remove(path)) else { return };
        for (about, secret) in given {
            match keyring.keep(&about, &secret).await {
                Ok(true) => self.output.remark(&says::kept(&about.profile, &about.field)),
                Ok(false) => {}
                Err(error) => self.output.remark(&says::not_kept(&about.profile, &error.to_string())),
            }
        }
    }

    async fn has_failed(&self, status: &ConnectionStatus) {
        let Some(failure) = status.last_error.as_ref().filter(|_| status.role == Role::Client) else {
            return;
        };
        let hint = failure.hint.iter().map(|hint| format!("\n{hint}")).collect::<String>();
        let summary = says::has_failed(&status.profile);
        self.output.remark(&says::not_taken(&summary, &failure.to_string()));
        self.person.tell(&summary, &format!("{}{hint}", failure.text)).await;
    }
}

/// From the keyring, if it is asked for the first time; else from the person.
async fn find(
    (daemon, path): (Connection, String),
    question: WantedParts,
    keyring: Option<Keyring>,
    person: Person,
) -> Found {
    let (field, _, reason) = &question;
    let status = match status_of(&daemon, &path).await {
        Ok(status) => status,
        Err(error) => {
            let secret = Err(failure_of(&error).text);
            return Found { secret, keep: None, name: path };
        }
    };
    let name = status.profile;
    // A new password is the password from then on.
    let kept_as = if field == "new-password" { "password" } else { field };
    let about = About { profile: name.clone(), server: status.server, field: kept_as.to_owned() };
    let keeps = KEPT.contains(&kept_as);
    if let (Some(keyring), true, true) = (&keyring, keeps && field == kept_as, reason.is_empty())
        && let Ok(Some(secret)) = keyring.find(&about).await
    {
        return Found { secret: Ok(secret), keep: None, name };
    }
    let secret = person.ask(&name, &question).await;
    Found { secret, keep: keeps.then_some(about), name }
}
