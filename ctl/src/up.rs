use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    ConnectionProxy, ConnectionState, ConnectionStatus, ManagerProxy, Seen, Told, WantedParts, failure_of,
    seen, signals, status_of,
};
use adit_import::check_suite;
use adit_profile::{ProfileName, ProxyRule, Source, parse_profile};
use futures_util::{FutureExt, StreamExt};
use zbus::{Connection, Message, MessageStream, Variant};
use zeroize::Zeroizing;

use crate::args::{BusChoice, Up};
use crate::desktop;
use crate::ended::Ended;
use crate::exit::Status;
use crate::foreground::Daemon;
use crate::interrupt::Interrupts;
use crate::json::{self, ConnectionJson};
use crate::output::Output;
use crate::profile_file;
use crate::render;
use crate::render::says::{self, Became};
use crate::secret::Secrets;
use crate::session;
use crate::steps::Steps;

/// `ctl up`.
pub(crate) async fn up(args: &Up, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let content = args.file.as_deref().map(|path| read(path, args.name.as_deref(), output)).transpose()?;
    let name = match (&content, &args.name) {
        (Some(content), _) => content.name.clone(),
        (None, name) => name.clone().unwrap_or_default(),
    };
    let secrets = Secrets::new(args.password_fd).map_err(|failure| Ended::failed(&name, failure))?;
    if !args.foreground {
        let connection = session::open(bus).await?;
        let mut interrupts = Interrupts::listen();
        return raise(args, &name, content, &secrets, (&connection, &mut interrupts), output).await;
    }
    // Until here Ctrl-C ends this command, and with it the daemon.
    let daemon = Daemon::start(&name, output).await?;
    let mut interrupts = Interrupts::listen();
    let connection = daemon.connection.clone();
    let done = raise(args, &name, content, &secrets, (&connection, &mut interrupts), output).await;
    drop(connection);
    // What kept it from coming up, or from staying, matters more than how the daemon ended.
    done.and(daemon.end(&name, &mut interrupts).await)
}

/// Raises it by the daemon at the other end of `connection`.
async fn raise(
    args: &Up,
    name: &str,
    content: Option<Content>,
    secrets: &Secrets,
    (connection, interrupts): (&Connection, &mut Interrupts),
    output: Output,
) -> Result<(), Ended> {
    // Before the call: the first signal may come before its reply.
    let mut stream = signals(connection).await.map_err(|e| Ended::call(name, &e))?;
    let manager = ManagerProxy::new(connection).await.map_err(|e| Ended::call(name, &e))?;
    let server = match &content {
        Some(content) => content.by_host.clone(),
        None => desktop::server_by_host(connection, name).await,
    };
    let proxy =
        desktop::proxy_for(server.as_deref()).await.map_err(|failure| Ended::failed(name, failure))?;
    let options: HashMap<&str, Variant<'_>> =
        proxy.iter().map(|proxy| ("proxy", proxy.as_str().into())).collect();
    let path = match &content {
        Some(Content { text, .. }) => manager.up_content(name, text, options).await,
        None => manager.up(name, options).await,
    };
    drop(content);
    let path = path.map_err(|e| Ended::call(name, &e))?;
    if args.waiting.no_wait {
        return begun(connection, path.as_str(), name, output).await;
    }
    let limit = Duration::from_secs(args.waiting.timeout.into());
    let wait = Wait { connection, path: path.as_str(), name, limit, output, secrets };
    wait.finish(&mut stream, interrupts).await?;
    if args.foreground { wait.stay(&mut stream, interrupts).await } else { Ok(()) }
}

async fn begun(connection: &Connection, path: &str, name: &str, output: Output) -> Result<(), Ended> {
    if !output.json {
        return output.line(&says::going_up(name));
    }
    let status = status_of(connection, path).await.map_err(|e| Ended::call(name, &e))?;
    output.line(&json::document("connection", &ConnectionJson::new(&status, None)))
}

/// As long as a timer of tokio's can be set for.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 30);

/// Waiting for a connection to be up or failed.
#[derive(Clone, Copy)]
struct Wait<'w> {
    connection: &'w Connection,
    path: &'w str,
    name: &'w str,
    limit: Duration,
    output: Output,
    secrets: &'w Secrets,
}

impl Wait<'_> {
    async fn finish(&self, stream: &mut MessageStream, interrupts: &mut Interrupts) -> Result<(), Ended> {
        let mut steps = Steps::new(self.output);
        let mut told = Told::of(self.path);
        let mut early = come(stream);
        let first = self.first(&early, &mut told).await?;
        if settled(first.state) {
            early.extend(come(stream));
            for message in early {
                if let Some(Seen::Progress { text, .. }) = seen(&message, self.path) {
                    steps.step(&text)?;
                }
            }
            steps.end(first.state == ConnectionState::Connected);
            return self.end(first.state, Some(first));
        }
        let deadline = tokio::time::sleep(self.limit);
        tokio::pin!(deadline);
        let mut question = self.question(first.wanted_secret.clone(), &steps);
        // The signal that tells of this question may come only now: nobody is asked twice for it.
        let mut known = first.wanted_secret;
        let state = loop {
            tokio::select! {
                answer = answered(&mut question) => {
                    question = None;
                    steps.go_on();
                    if let Err(failure) = self.provide(answer).await {
                        steps.end(false);
                        return Err(failure);
                    }
                    // What a person takes does not count.
                    deadline.as_mut().reset(tokio::time::Instant::now() + self.limit);
                }
                message = next(&mut early, stream) => match message {
                    Some(Ok(message)) => match self.heard(&message, &mut told) {
                        Some(Seen::Progress { text, .. }) => steps.step(&text)?,
                        // What a packet raises waits for the next one when it fails.
                        Some(Seen::State { new, .. }) if settled(new) || new == ConnectionState::Standby => break new,
                        Some(Seen::Removed) => break ConnectionState::Disconnected,
                        Some(Seen::Wanted(wanted)) => match known.take() {
                            Some(known) if wanted.as_ref() == Some(&known) => {}
                            _ => question = self.question(wanted, &steps),
                        },
                        _ => {}
                    },
                    Some(Err(_)) => {}
                    None => return Err(Ended::gone(self.name)),
                },
                () = &mut deadline, if question.is_none() => {
                    steps.end(false);
                    return Err(self.timed_out());
                }
                () = interrupts.next() => {
                    steps.end(false);
                    return Err(self.take_down(interrupts).await);
                }
            }
        };
        drop(question);
        steps.end(state == ConnectionState::Connected);
        let status = self.last(state, &told).await;
        self.end(state, status)
    }

    /// Its status at the beginning. It may have come up before the subscription, if somebody else raised it; the answer is later
    /// than every signal that tells of what it says.
    async fn first(&self, early: &VecDeque<Message>, told: &mut Told) -> Result<ConnectionStatus, Ended> {
        early.iter().for_each(|message| told.hear(message));
        match told.status() {
            Some(first) => Ok(first),
            None => status_of(self.connection, self.path).await.map_err(|e| Ended::call(self.name, &e)),
        }
    }

    /// Its status at the end. Who reads everything is to have it as it is then.
    async fn last(&self, state: ConnectionState, told: &Told) -> Option<ConnectionStatus> {
        let told = told.status().filter(|s| state == ConnectionState::Connected && s.state == state);
        match told.filter(|_| !self.output.json) {
            Some(status) => Some(status),
            None => status_of(self.connection, self.path).await.ok(),
        }
    }

    fn heard(&self, message: &Message, told: &mut Told) -> Option<Seen> {
        told.hear(message);
        seen(message, self.path)
    }

    /// Stays as long as it is up, or on its way up again, until Ctrl-C or until somebody takes it down.
    async fn stay(&self, stream: &mut MessageStream, interrupts: &mut Interrupts) -> Result<(), Ended> {
        if self.output.live {
            self.output.remark(says::CTRL_C_TAKES_IT_DOWN);
        }
        loop {
            let state = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(message)) => match seen(&message, self.path) {
                        Some(Seen::State { new, .. }) => new,
                        Some(Seen::Removed) => ConnectionState::Disconnected,
                        _ => continue,
                    },
                    Some(Err(_)) => continue,
                    None => return Err(Ended::gone(self.name)),
                },
                () = interrupts.next() => return match self.take_down(interrupts).await {
                    Ended::Said(_) => Ok(()),
                    failed @ Ended::Failure { .. } => Err(failed),
                },
            };
            match state {
                ConnectionState::Connected | ConnectionState::Disconnecting => {}
                ConnectionState::Disconnected => {
                    return self.output.became(self.name, Became::TakenDown);
                }
                ConnectionState::Failed => {
                    return self.end(state, status_of(self.connection, self.path).await.ok());
                }
                // It comes back by itself, however long that takes.
                _ => Wait { limit: FOR_EVER, ..*self }.finish(stream, interrupts).await?,
            }
        }
    }

    /// Begins to find out a secret that is wanted.
    fn question(&self, wanted: Option<WantedParts>, steps: &Steps) -> Option<Question<'_>> {
        let wanted = wanted?;
        if self.secrets.at_terminal() {
            steps.pause();
        }
        Some(Box::pin(async move {
            let secret = self.secrets.get(&wanted).await?;
            Ok((wanted.0, secret))
        }))
    }

    /// Hands a secret over. Where there is none, the connection has no use any more.
    async fn provide(&self, answer: Answer) -> Result<(), Ended> {
        let proxy =
            ConnectionProxy::new(self.connection, self.path).await.map_err(|e| Ended::call(self.name, &e))?;
        match answer {
            // One that is not waited for any more is nobody's mistake: what became of it is told by its state.
            Ok((field, secret)) => match proxy.provide_secret(&field, &secret).await {
                Err(error) if !is_not_found(&error) => Err(Ended::call(self.name, &error)),
                _ => Ok(()),
            },
            Err(failure) => {
                let _ = proxy.down().await;
                Err(Ended::failed(self.name, failure))
            }
        }
    }

    fn end(&self, state: ConnectionState, status: Option<ConnectionStatus>) -> Result<(), Ended> {
        match (state, status) {
            (ConnectionState::Connected, Some(status)) if self.output.json => {
                self.output.line(&json::document("connection", &ConnectionJson::new(&status, None)))
            }
            (ConnectionState::Connected, Some(status)) => {
                self.output.line(&render::up_line(&status, self.output.out))
            }
            (ConnectionState::Connected, None) => self.output.became(self.name, Became::Up),
            (_, Some(ConnectionStatus { last_error: Some(failure), .. })) => {
                Err(Ended::failed(self.name, failure))
            }
            (ConnectionState::Failed, _) => {
                let failure =
                    Failure::new(FailureCode::Internal, Step::Close, "it failed, and aditd did not say why")
                        .hint("journalctl -u aditd -e");
                Err(Ended::failed(self.name, failure).or(Status::ACTIVATION))
            }
            _ => Err(Ended::failed(
                self.name,
                Failure::new(
                    FailureCode::Cancelled,
                    Step::Close,
                    "somebody took it down while it was coming up",
                ),
            )),
        }
    }

    fn timed_out(&self) -> Ended {
        let text = format!("it was not up after {} s; it goes on trying", self.limit.as_secs());
        let name = self.name;
        let failure = Failure::new(FailureCode::TimedOut, Step::Close, text).hint(format!(
            "see where it is: ctl status {name}; stop it: ctl down {name}; wait longer: --timeout 300"
        ));
        Ended::failed(name, failure)
    }

    /// After Ctrl-C. A second one ends the wait for this, too.
    async fn take_down(&self, interrupts: &mut Interrupts) -> Ended {
        self.output.remark(&says::interrupted(self.name));
        let down = async { ConnectionProxy::new(self.connection, self.path).await?.down().await };
        tokio::select! {
            result = down => match result {
                Ok(()) => {
                    self.output.remark(&says::became(self.name, Became::Down, self.output.err));
                    Ended::Said(Status::INTERRUPTED)
                }
                Err(error) => Ended::call(self.name, &error).or(Status::DEACTIVATION),
            },
            () = interrupts.next() => Ended::Said(Status::INTERRUPTED),
        }
    }
}

/// What has come by now.
fn come(stream: &mut MessageStream) -> VecDeque<Message> {
    let mut came = VecDeque::new();
    while let Some(Some(Ok(message))) = stream.next().now_or_never() {
        came.push_back(message);
    }
    came
}

/// What comes next: first what has come `early`. Cancel-safe.
async fn next(early: &mut VecDeque<Message>, stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    match early.pop_front() {
        Some(message) => Some(Ok(message)),
        None => stream.next().await,
    }
}

/// A secret's field and text, or why there is none.
type Answer = Result<(String, Zeroizing<Vec<u8>>), Failure>;
type Question<'q> = Pin<Box<dyn Future<Output = Answer> + 'q>>;

async fn answered(question: &mut Option<Question<'_>>) -> Answer {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}

fn is_not_found(error: &zbus::Error) -> bool {
    failure_of(error).code == FailureCode::NotFound
}

const fn settled(state: ConnectionState) -> bool {
    match state {
        ConnectionState::Connected | ConnectionState::Failed | ConnectionState::Disconnected => true,
        ConnectionState::Standby
        | ConnectionState::Connecting
        | ConnectionState::Waiting
        | ConnectionState::Dormant
        | ConnectionState::Disconnecting => false,
    }
}

/// A profile of the caller's.
struct Content {
    name: String,
    text: Zeroizing<String>,
    /// Its server, where the host says by which proxy that is reached.
    by_host: Option<String>,
}

/// Reads a profile of the caller's and shows its mistakes here, where its lines are.
fn read(path: &Path, name: Option<&str>, output: Output) -> Result<Content, Ended> {
    let shown =
        if path == Path::new("-") { "(standard input)".to_owned() } else { path.display().to_string() };
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = match (name, stem.as_str()) {
        (Some(name), _) => name.to_owned(),
        (None, "-") => "stdin".to_owned(),
        (None, stem) => stem.to_owned(),
    };
    let bad = |text: String, hint: String| {
        Ended::failed(&name, Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint))
    };
    let profile_name: ProfileName = name.parse().map_err(|e: adit_profile::NameError| {
        bad(e.why, format!("give it one: ctl up NAME --file {shown}"))
    })?;
    let (text, access) = profile_file::content(path)
        .map_err(|e| bad(format!("{shown} cannot be read: {e}"), "name a profile, as TOML".into()))?;
    let source = Source { file: &shown, text: &text, access };
    match parse_profile(&profile_name, &source, &check_suite) {
        Ok(profile) => {
            let by_host = profile.proxy() == Some(&ProxyRule::System);
            Ok(Content { name, text, by_host: by_host.then(|| profile.server()) })
        }
        Err(errors) if output.json => Err(Ended::failed(&name, errors.into())),
        Err(errors) => {
            output.complain(&render::mistakes(&errors, &text, output.err, output.width));
            let failure = Failure::from(errors);
            Err(Ended::Said(Status::of(failure.code)))
        }
    }
}
