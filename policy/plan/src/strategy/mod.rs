//! Which tunnel next: one connection, several types of tunnel and several addresses, of which one is to come up.
//!
//! A value like every core: [`Strategy::handle`], then [`Strategy::poll`] to `None`, then nothing until
//! [`Strategy::deadline`]. It sees what becomes of each candidate; it says which is to begin, which may log in, and which is
//! to go. What it goes by:
//!
//! - The next one begins where one could not be established. Where candidates are raced, it also begins a little later than
//!   one that is silent; one that has answered is waited for, and is never overtaken by one that comes after it.
//! - One candidate logs in, after its server has proven itself, and none beside it or after it: whatever becomes of that
//!   log-in is what becomes of the connection. The others go when it begins.
//! - A server whose certificate is not good, or that refuses who we are, ends it, for all that come after that one. Where the
//!   rule says so, SSTP may still follow a bad certificate.
//! - Weak candidates begin when every stronger one has failed, and only where the rule lets them.

mod memory;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{FailureCode, Instant};

pub use memory::{Memory, NetworkKey};

/// The next candidate begins so long after one that is silent.
pub const STAGGER: Duration = Duration::from_millis(500);
/// One that has said nothing for so long is not there: IKEv2's first packet has gone after 0, 1, 3 and 7 s.
pub const SILENT: Duration = Duration::from_secs(8);
/// One that has answered gets so long to prove who it is.
pub const STUCK: Duration = Duration::from_secs(15);

/// What a profile says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Candidates begin while earlier ones are silent.
    pub race: bool,
    /// Weak candidates take part.
    pub weak: bool,
    /// SSTP may follow a server's certificate that is not good.
    pub sstp_after_bad_certificate: bool,
}

/// What may be tried: a type of tunnel to one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Where its type stands in the list, from 0.
    pub kind: usize,
    /// Its server proves nothing before the password's proof leaves, or no more than that it is one of a group.
    pub weak: bool,
    /// It is SSTP.
    pub sstp: bool,
}

/// The order in which candidates are tried: strong ones before weak ones; `first`, a type that is strong and has worked here,
/// before the others; then as they are listed. Numbers of `candidates`.
#[must_use]
pub fn order(candidates: &[Candidate], first: Option<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|at| {
        candidates.get(*at).map(|c| (c.weak, c.weak || first != Some(c.kind), c.kind, *at))
    });
    order
}

/// Why a candidate came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// No tunnel could be established: no answer, refused, blocked, no proposal.
    NotEstablished,
    /// The server's certificate is not good.
    Certificate,
    /// It refuses who we are, or what we want of it; or something is wrong here that is so for every type.
    Final,
}

impl Outcome {
    /// What it means that a candidate failed before it logged in. Nobody is believed yet by then: what a network can make up
    /// leads on to the next candidate that is as strong, and nowhere else.
    #[must_use]
    pub const fn of(code: FailureCode) -> Self {
        match code {
            FailureCode::CertificateUntrusted
            | FailureCode::CertificateName
            | FailureCode::CertificateExpired
            | FailureCode::CertificateRevoked
            | FailureCode::CertificateUnusable => Self::Certificate,
            FailureCode::NameUnresolved
            | FailureCode::ServerUnreachable
            | FailureCode::ProposalMismatch
            | FailureCode::PeerMisbehaved
            | FailureCode::PeerClosed
            | FailureCode::PeerLost
            | FailureCode::PeerBusy
            | FailureCode::KernelUnsupported
            | FailureCode::KernelRefused
            | FailureCode::TimedOut => Self::NotEstablished,
            FailureCode::AuthenticationFailed
            | FailureCode::TrafficSelectors
            | FailureCode::NoAddress
            | FailureCode::ConfigurationInvalid
            | FailureCode::SecretExposed
            | FailureCode::NoSecret
            | FailureCode::NotFound
            | FailureCode::NotAuthorized
            | FailureCode::Idle
            | FailureCode::Cancelled
            | FailureCode::Internal => Self::Final,
        }
    }
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// This candidate's first packet leaves: what is to be done here before is done.
    Called(usize),
    /// Something has come of its server.
    Answered(usize),
    /// Its server has proven itself, as far as its type does: it wants to log in.
    Verified(usize),
    /// It stands.
    Up(usize),
    /// It has come to nothing, and nothing of it is left.
    Failed(usize, Outcome),
    /// It was told to go, and nothing of it is left.
    Gone(usize),
    /// The deadline has come.
    Wake,
}

/// Why a candidate is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It has said nothing for too long.
    Silent,
    /// It has answered, and did not get on.
    Stuck,
    /// Another one logs in.
    Beaten,
    /// It comes after one that ends it all.
    Ended,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// This candidate begins.
    Start(usize),
    /// It may log in; no other one may, ever.
    LogIn(usize),
    /// It is to go.
    Stop(usize, Why),
    /// This is what has become of it. Nothing comes after that but others that have been told to go.
    Over(Verdict),
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// This one stands.
    Up(usize),
    /// Why this one failed is why nothing stands.
    Ended(usize),
    /// None could be established.
    Exhausted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It has not begun.
    Waiting,
    /// It prepares itself since then.
    Starting(Instant),
    /// It has said nothing since then.
    Silent(Instant),
    /// It has answered then.
    Answered(Instant),
    /// It wants to log in.
    Ready,
    /// It logs in.
    LoggingIn,
    Up,
    /// It has been told to go.
    Leaving,
    /// Nothing is left of it, or it never begins.
    Done,
}

impl State {
    const fn is_running(self) -> bool {
        !matches!(self, Self::Waiting | Self::Done)
    }
}

/// One attempt of a connection.
#[derive(Debug)]
pub struct Strategy {
    rule: Rule,
    /// In the order in which they are tried, with the number that the caller has for each.
    line: Vec<(usize, Candidate, State)>,
    /// The next one may begin then, where that is a matter of time.
    next_at: Instant,
    /// Whoever comes at or after this place begins no more.
    limit: usize,
    /// Why it ends.
    because: Option<usize>,
    /// Somebody logs in, or has.
    granted: bool,
    over: bool,
    out: VecDeque<Act>,
}

impl Strategy {
    /// Begins at once. `first`: the type that is tried before others, see [`order`].
    #[must_use]
    pub fn new(now: Instant, rule: Rule, candidates: &[Candidate], first: Option<usize>) -> Self {
        let numbered = |at: usize| candidates.get(at).map(|c| (at, *c, State::Waiting));
        let mut line: Vec<_> = order(candidates, first).into_iter().filter_map(numbered).collect();
        line.retain(|(_, candidate, _)| rule.weak || !candidate.weak);
        let limit = line.len();
        let mut strategy = Self {
            rule,
            line,
            next_at: now,
            limit,
            because: None,
            granted: false,
            over: false,
            out: VecDeque::new(),
        };
        strategy.go_on(now);
        strategy
    }

    /// Something has happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Called(number) => {
                if let Some((at, State::Starting(_))) = self.find(number) {
                    self.set(at, State::Silent(now));
                    self.next_at = now + STAGGER;
                }
            }
            Input::Answered(number) => {
                if let Some((at, State::Starting(_) | State::Silent(_))) = self.find(number) {
                    self.set(at, State::Answered(now));
                }
            }
            Input::Verified(number) => {
                if let Some((at, State::Starting(_) | State::Silent(_) | State::Answered(_))) =
                    self.find(number)
                {
                    self.set(at, State::Ready);
                }
            }
            Input::Up(number) => {
                if let Some((at, State::LoggingIn)) = self.find(number) {
                    self.set(at, State::Up);
                    self.end(Verdict::Up(number));
                }
            }
            Input::Failed(number, outcome) => self.failed(now, number, outcome),
            Input::Gone(number) => {
                if let Some((at, State::Leaving)) = self.find(number) {
                    self.set(at, State::Done);
                }
            }
            Input::Wake => {}
        }
        self.go_on(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Act> {
        self.out.pop_front()
    }

    /// When to wake it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let patience = self.line.iter().filter_map(|(_, _, state)| match state {
            State::Starting(since) | State::Silent(since) => Some(*since + SILENT),
            State::Answered(since) => Some(*since + STUCK),
            _ => None,
        });
        let begins = self.next().filter(|_| self.may_begin()).map(|_| self.next_at);
        patience.chain(begins).min()
    }

    /// Whether anything that has begun is still there, the one that stands aside.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.line.iter().any(|(_, _, state)| state.is_running() && *state != State::Up)
    }

    fn find(&self, number: usize) -> Option<(usize, State)> {
        let at = self.line.iter().position(|(of, ..)| *of == number)?;
        self.line.get(at).map(|(_, _, state)| (at, *state))
    }

    fn set(&mut self, at: usize, new: State) {
        if let Some((_, _, state)) = self.line.get_mut(at) {
            *state = new;
        }
    }

    fn end(&mut self, verdict: Verdict) {
        if !core::mem::replace(&mut self.over, true) {
            self.out.push_back(Act::Over(verdict));
        }
    }

    fn failed(&mut self, now: Instant, number: usize, outcome: Outcome) {
        let Some((at, state)) = self.find(number).filter(|(_, state)| state.is_running()) else { return };
        self.set(at, State::Done);
        // The others wait for nothing any more.
        self.next_at = now;
        match (state, outcome) {
            // It was on its way out.
            (State::Leaving, _) => {}
            (State::LoggingIn | State::Up, _) | (_, Outcome::Final) => self.ends_at(at, number, |_| false),
            (_, Outcome::NotEstablished) => {}
            (_, Outcome::Certificate) => {
                let follows = self.rule.sstp_after_bad_certificate;
                self.ends_at(at, number, |candidate| follows && candidate.sstp && !candidate.weak);
            }
        }
    }

    /// Nothing that comes after this place goes on, but for what `may` says. What comes before goes its way, as if that place
    /// had not been reached yet.
    fn ends_at(&mut self, place: usize, number: usize, may: impl Fn(&Candidate) -> bool) {
        self.because = Some(number);
        let after = place.saturating_add(1);
        let places: Vec<usize> = (after..self.line.len()).collect();
        for at in places {
            let Some((_, candidate, state)) = self.line.get(at).copied() else { continue };
            match state {
                _ if may(&candidate) => {}
                State::Waiting => self.set(at, State::Done),
                _ => self.stop(at, Why::Ended),
            }
        }
        if !self.line.iter().skip(after).any(|(_, candidate, _)| may(candidate)) {
            self.limit = self.limit.min(place);
        }
    }

    fn stop(&mut self, at: usize, why: Why) {
        if let Some((number, _, state)) = self.line.get_mut(at)
            && state.is_running()
            && *state != State::Leaving
        {
            *state = State::Leaving;
            self.out.push_back(Act::Stop(*number, why));
        }
    }

    fn go_on(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.lose_patience(now);
        self.let_one_log_in();
        while self.may_begin() && now >= self.next_at {
            let Some(at) = self.next() else { break };
            self.set(at, State::Starting(now));
            if let Some((number, ..)) = self.line.get(at) {
                self.out.push_back(Act::Start(*number));
            }
        }
        if !self.is_running() && self.next().is_none() {
            self.end(self.because.map_or(Verdict::Exhausted, Verdict::Ended));
        }
    }

    fn lose_patience(&mut self, now: Instant) {
        for at in 0..self.line.len() {
            let why = match self.line.get(at) {
                Some((_, _, State::Starting(since) | State::Silent(since))) if now >= *since + SILENT => {
                    Why::Silent
                }
                Some((_, _, State::Answered(since))) if now >= *since + STUCK => Why::Stuck,
                _ => continue,
            };
            self.stop(at, why);
            self.next_at = now;
        }
    }

    /// The first one in the line that wants to, unless one before it has answered.
    fn let_one_log_in(&mut self) {
        if self.granted {
            return;
        }
        let waited_for = |state: &State| matches!(state, State::Answered(_) | State::Ready);
        let first = self.line.iter().position(|(_, _, state)| waited_for(state));
        let Some((at, (number, _, State::Ready))) = first.and_then(|at| Some((at, *self.line.get(at)?)))
        else {
            return;
        };
        self.granted = true;
        self.set(at, State::LoggingIn);
        // Whatever becomes of it, no other one follows.
        for other in 0..self.line.len() {
            match self.line.get(other) {
                Some((_, _, State::Waiting)) => self.set(other, State::Done),
                Some(_) if other != at => self.stop(other, Why::Beaten),
                _ => {}
            }
        }
        self.out.push_back(Act::LogIn(number));
    }

    /// Whether anybody may begin, apart from the time.
    fn may_begin(&self) -> bool {
        let mut running = self.line.iter().map(|(_, _, state)| *state).filter(|state| state.is_running());
        match self.rule.race {
            true => running.all(|state| matches!(state, State::Silent(_) | State::Leaving)),
            false => running.next().is_none(),
        }
    }

    /// Whose turn it is.
    fn next(&self) -> Option<usize> {
        if self.granted {
            return None;
        }
        let at = self.line.iter().position(|(_, _, state)| *state == State::Waiting)?;
        let (_, candidate, _) = self.line.get(at).filter(|_| at < self.limit)?;
        let stronger = self.line.iter().any(|(_, other, state)| !other.weak && state.is_running());
        (!candidate.weak || !stronger).then_some(at)
    }
}
