//! One round: ways begin, one of them logs in, the others go. What is decided is `adit_plan::strategy`'s; here it is carried
//! out.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_plan::strategy::{Act, Input, Outcome, SILENT, STUCK, Strategy, Verdict, Why};
use adit_profile::TunnelKind;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::way::{Client, Place};
use super::{Choice, nothing};
use crate::client::handle::{OneWay, Part};
use crate::client::life::unless;
use crate::client::login::{LogIn, Said};
use crate::clock;
use crate::registry::Tried;

/// What has become of a round.
pub(super) enum Came {
    /// Somebody takes the connection down.
    Stopped,
    /// This one is up, and listens to this, whoever stops it.
    Up(Client, watch::Sender<bool>),
    /// None is, and why.
    Nothing(Failure),
}

/// What is left when a way has gone: nothing, but for what could not be undone.
pub(super) struct Gone {
    number: usize,
    /// Why it went; `None`: it was told to.
    why: Option<Failure>,
    undone: Result<(), Failure>,
    /// It stands.
    up: Option<Client>,
}

impl Gone {
    /// Takes it down if it stands all the same.
    pub(super) async fn end(self) -> Result<(), Failure> {
        match self.up {
            Some(mut client) => client.take_down().await,
            None => self.undone,
        }
    }
}

/// A way on its way.
struct Running {
    stop: watch::Sender<bool>,
    leave: watch::Sender<bool>,
}

pub(super) struct Round<'c> {
    choice: &'c mut Choice,
    interface: String,
    strategy: Strategy,
    told: mpsc::UnboundedSender<(usize, Said)>,
    says: mpsc::UnboundedReceiver<(usize, Said)>,
    running: BTreeMap<usize, Running>,
    ways: JoinSet<Gone>,
    /// Why those failed that have.
    failures: BTreeMap<usize, Failure>,
    up: Option<Client>,
}

impl<'c> Round<'c> {
    /// `known`: what worked here last.
    pub(super) fn new(choice: &'c mut Choice, interface: String, known: Option<TunnelKind>) -> Self {
        let candidates: Vec<_> = choice.places.iter().map(Place::candidate).collect();
        let first = known.and_then(|kind| choice.profiles.iter().position(|profile| profile.kind == kind));
        let (told, says) = mpsc::unbounded_channel();
        choice.daemon.registry().update(choice.id, |f| {
            f.begin_anew();
            f.tried.clear();
        });
        Self {
            strategy: Strategy::new(clock::now(), choice.rule, &candidates, first),
            choice,
            interface,
            told,
            says,
            running: BTreeMap::new(),
            ways: JoinSet::new(),
            failures: BTreeMap::new(),
            up: None,
        }
    }

    /// Returns when one is up or none is left. What still takes leave then is among those that the connection waits for at its
    /// end.
    pub(super) async fn run(mut self) -> Came {
        let mut stopped = self.choice.stopped.clone();
        let came = loop {
            if let Some(verdict) = self.act() {
                break self.came(verdict);
            }
            let deadline = self.strategy.deadline();
            let input = tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break Came::Stopped,
                Some((number, said)) = self.says.recv() => match said {
                    Said::Called => Input::Called(number),
                    Said::Answered => Input::Answered(number),
                    Said::Verified => Input::Verified(number),
                },
                Some(gone) = self.ways.join_next(), if !self.ways.is_empty() => match self.gone(gone) {
                    Some(input) => input,
                    None => break Came::Nothing(broke_off()),
                },
                () = clock::sleep_until(deadline) => Input::Wake,
            };
            self.strategy.handle(clock::now(), input);
        };
        for way in self.running.values() {
            way.stop.send_replace(true);
        }
        self.choice.leaving = self.ways;
        came
    }

    fn act(&mut self) -> Option<Verdict> {
        let mut verdict = None;
        while let Some(act) = self.strategy.poll() {
            match act {
                Act::Start(number) => self.start(number),
                Act::LogIn(number) => self.log_in(number),
                Act::Stop(number, why) => self.stop(number, why),
                Act::Over(over) => verdict = Some(over),
            }
        }
        verdict
    }

    fn start(&mut self, number: usize) {
        let Some(place) = self.choice.places.get(number).cloned() else { return };
        if !self.running.is_empty() {
            self.progress(&format!("{}: begun beside what has not answered", place.name()));
        }
        let (stop, stopped) = watch::channel(false);
        let (login, leave) = LogIn::new(number, &self.told);
        let way =
            OneWay { gateway: place.gateway, remote: place.remote, interface: self.interface.clone(), login };
        let mut client = Client::new(Part {
            id: self.choice.id,
            profile: place.profile,
            daemon: Arc::clone(&self.choice.daemon),
            persistent: false,
            // It is stopped from outside.
            stopped: stopped.clone(),
            passwords: Arc::clone(&self.choice.passwords),
            asked: Arc::clone(&self.choice.asked),
            way: Some(way),
        });
        self.running.insert(number, Running { stop, leave });
        self.ways.spawn(async move {
            let why = match unless(stopped, client.connect()).await {
                Some(Ok(())) => return Gone { number, why: None, undone: Ok(()), up: Some(client) },
                Some(Err(failure)) => Some(failure),
                None => None,
            };
            let undone = client.take_down().await;
            Gone { number, why, undone, up: None }
        });
    }

    fn log_in(&mut self, number: usize) {
        if let Some(place) = self.choice.places.get(number) {
            let kind = place.kind();
            self.choice.daemon.registry().update(self.choice.id, |f| f.tunnel = kind);
        }
        if let Some(way) = self.running.get(&number) {
            way.leave.send_replace(true);
        }
    }

    fn stop(&mut self, number: usize, why: Why) {
        let failure = match why {
            Why::Silent => {
                Some((FailureCode::ServerUnreachable, format!("no answer in {} s", SILENT.as_secs())))
            }
            Why::Stuck => {
                let text = format!("it has answered, and got no further in {} s", STUCK.as_secs());
                Some((FailureCode::ServerUnreachable, text))
            }
            Why::Beaten | Why::Ended => None,
        };
        if let Some((code, text)) = failure {
            self.failed(number, Failure::new(code, Step::Call, text));
        }
        if let Some(way) = self.running.get(&number) {
            way.stop.send_replace(true);
        }
    }

    /// What it means that a way's task has ended. `None`: it has died.
    fn gone(&mut self, gone: Result<Gone, JoinError>) -> Option<Input> {
        let Gone { number, why, undone, up } = gone.ok()?;
        if let Some(client) = up {
            self.up = Some(client);
            return Some(Input::Up(number));
        }
        self.running.remove(&number);
        if let Err(why) = undone {
            tracing::warn!(connection = self.choice.id.0, %why, "not undone");
        }
        let Some(why) = why else { return Some(Input::Gone(number)) };
        let outcome = Outcome::of(why.code);
        self.failed(number, why);
        Some(Input::Failed(number, outcome))
    }

    /// Tells of it, once.
    fn failed(&mut self, number: usize, why: Failure) {
        let Some(place) = self.choice.places.get(number) else { return };
        if self.failures.contains_key(&number) {
            return;
        }
        self.progress(&format!("{}: {why}", place.name()));
        let tried =
            Tried { tunnel: place.kind(), to: place.remote.ip(), code: why.code, text: why.text.clone() };
        self.choice.daemon.registry().update(self.choice.id, |f| f.tried.push(tried));
        self.failures.insert(number, why);
    }

    fn came(&mut self, verdict: Verdict) -> Came {
        match verdict {
            Verdict::Up(number) => {
                let up = self.up.take().zip(self.running.remove(&number));
                up.map_or_else(|| Came::Nothing(broke_off()), |(client, way)| Came::Up(client, way.stop))
            }
            Verdict::Ended(number) => Came::Nothing(self.failures.remove(&number).unwrap_or_else(broke_off)),
            Verdict::Exhausted => Came::Nothing(self.exhausted()),
        }
    }

    /// Nothing could be established.
    fn exhausted(&mut self) -> Failure {
        let places = &self.choice.places;
        let said = |(number, why): (&usize, &Failure)| {
            places.get(*number).map(|place| format!("{}: {why}", place.name()))
        };
        let all: Vec<String> = self.failures.iter().filter_map(said).collect();
        let Some((_, first)) = self.failures.pop_first() else { return nothing() };
        if all.len() < 2 && self.choice.left_out.is_empty() {
            return first;
        }
        let text = format!("no tunnel could be established. {}", all.join("; "));
        let left_out: Vec<String> =
            self.choice.left_out.iter().map(|(kind, why)| format!("{} ({why})", kind.name())).collect();
        let failure = Failure::new(first.code, first.step, text);
        match (left_out.is_empty(), first.hint) {
            (false, _) => failure.hint(format!("left out: {}", left_out.join(", "))),
            (true, Some(hint)) => failure.hint(hint),
            (true, None) => failure,
        }
    }

    fn progress(&self, text: &str) {
        self.choice.progress(Step::Call, text);
    }
}

fn broke_off() -> Failure {
    Failure::new(
        FailureCode::Internal,
        Step::Call,
        "a way broke off; what it changed is undone at the next start",
    )
}
