//! Which path next: how a connection follows its host from network to network.
//!
//! A value like every core: [`Mobility::handle`], then [`Mobility::poll`] to `None`, then nothing until
//! [`Mobility::deadline`]. It sees links and addresses come and go, what answers, and what the tunnel carries; it says
//! when to move where, and what to try. What it goes by:
//!
//! - A path whose link or address is gone is left at once, for the best one that is left.
//! - A better one is proven first and taken then; the old one carries meanwhile.
//! - A path that looks alive and brings nothing back is suspected: it and all others are tried at the same time, and if
//!   another one answers and it does not, it is left.
//! - So is one whose link the system calls limited, once: what the system looks for is something else than the peer.
//! - A link that comes and goes is not followed.

mod better;
mod table;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{Instant, Path, PathNews};

use better::Better;
use table::{Candidate, Table};

pub use table::{LinkKind, Uplink, Way, ways_to};

/// Between two looks at what the tunnel carries, while it carries something.
const SAMPLE: Duration = Duration::from_millis(250);
/// The same, when it is idle.
const IDLE_SAMPLE: Duration = Duration::from_secs(1);
/// What goes out so long without anything coming back makes the path suspect.
const QUIET: Duration = Duration::from_millis(800);
/// A path that is suspected gets so long to answer, at least.
const GRACE: Duration = Duration::from_millis(300);
/// The next path is tried so long after the one before.
const STAGGER: Duration = Duration::from_millis(150);
/// Between two tries of everything: doubles from the first to the last.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A peer that answers over no path for so long has forgotten us.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// A path that the peer has refused is not tried again for so long.
const REFUSED: Duration = Duration::from_secs(60);
/// One-way traffic over a path that has answered makes it suspect again only after so long.
const ONE_WAY: Duration = Duration::from_secs(10);
/// Moves that have not been confirmed, as far as they are remembered.
const MOST_SENT: usize = 8;
/// A deadline that is so late means that the host has slept.
const SLEPT: Duration = Duration::from_secs(3);

/// What a person wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// Links, best first: `wired`, `wifi`, `wwan`, or names. What is not named comes after all that is.
    pub prefer: Vec<String>,
    /// A connection that has no path for so long ends; `None`: never.
    pub outage: Option<Duration>,
    /// The peer can't be asked whether a path works: then none is suspected, and no better one is looked for.
    pub untestable: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its path answers, as far as is known.
    Connected,
    /// It has gone over to another path, which has not answered yet.
    Waiting,
    /// There is no path.
    Dormant,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Input {
    /// These are the ways out now.
    Uplinks(Vec<Uplink>),
    /// What the connection says of its paths.
    Path(PathNews),
    /// Packets that the tunnel has sent and received so far.
    Traffic {
        /// Sent.
        sent: u64,
        /// Received.
        received: u64,
    },
    /// The host has been asleep.
    Resumed,
    /// The deadline has come.
    Wake,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Go over this path.
    Move(Path),
    /// Tell the peer once more that it goes over this path: it answers there, and sends nothing.
    Tell(Path),
    /// See which of these answer.
    Probe(Vec<Path>),
    /// Look at the ways out again: an event may have been missed.
    Look,
    /// Tell what the tunnel has carried.
    Sample,
    /// The connection stands like this now.
    Standing(Standing),
    /// Over no path the peer answers: begin anew.
    Reconnect,
    /// There has been no path for too long.
    End,
}

/// The mobility of one connection.
#[derive(Debug)]
pub struct Mobility {
    wishes: Wishes,
    table: Table,
    path: Path,
    /// Where the connection is, as it said last, and where it has been sent since.
    at: Path,
    sent: VecDeque<Path>,
    standing: Standing,
    since: Instant,
    /// What a person allows for an outage is counted from then.
    outage_from: Instant,
    /// What has answered since the last time that everything was tried.
    answered: Vec<Path>,
    /// How long the path in use takes to answer.
    round_trip: Duration,
    trying: Option<Trying>,
    /// A request was given up as unanswered, and none has been answered since.
    dead: bool,
    better: Option<Better>,
    traffic: Traffic,
    look_at: Option<(Instant, Duration)>,
    over: bool,
    out: VecDeque<Act>,
}

/// Paths that are being tried, since the one in use does not answer.
#[derive(Debug)]
struct Trying {
    since: Instant,
    /// Until then the path in use may still answer.
    decide: Instant,
    /// The next that are to be tried, at `next`, and then all again after `pause`.
    untried: VecDeque<Path>,
    next: Instant,
    pause: Duration,
    /// The tunnel brings nothing back: that is why.
    brings_nothing: bool,
    /// The path in use has answered before it was taken: it is left only if it does not do so again.
    proven: bool,
}

#[derive(Debug)]
struct Traffic {
    sent: u64,
    received: u64,
    /// The last look at them.
    seen: Instant,
    /// Since when packets go out and none comes in.
    quiet: Option<Instant>,
    /// Not before then it is a reason to suspect the path.
    suspect_from: Instant,
    patience: Duration,
    moving: Instant,
    next: Instant,
}

impl Mobility {
    /// A connection that has come up over `path`; the peer can be reached at `peers` besides.
    #[must_use]
    pub fn new(now: Instant, wishes: Wishes, path: Path, peers: &[IpAddr]) -> Self {
        let at = |a: &IpAddr| SocketAddr::new(*a, path.remote.port());
        let mut all = vec![path.remote];
        all.extend(peers.iter().map(at).filter(|p| *p != path.remote));
        Self {
            table: Table::new(wishes.prefer.clone(), all),
            wishes,
            path,
            at: path,
            sent: VecDeque::new(),
            standing: Standing::Connected,
            since: now,
            outage_from: now,
            answered: Vec::new(),
            round_trip: Duration::from_millis(100),
            trying: None,
            dead: false,
            better: None,
            traffic: Traffic {
                sent: 0,
                received: 0,
                seen: now,
                quiet: None,
                suspect_from: now,
                patience: ONE_WAY,
                moving: now,
                next: now + SAMPLE,
            },
            look_at: None,
            over: false,
            out: VecDeque::new(),
        }
    }

    /// The path in use.
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Where it stands, and since when.
    #[must_use]
    pub const fn standing(&self) -> (Standing, Instant) {
        (self.standing, self.since)
    }

    /// The link that the path in use goes over.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        self.table.link_of(self.path).map(|u| u.name.as_str())
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Act> {
        self.out.pop_front()
    }

    /// When to come back.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let look = self.look_at.map(|(at, _)| at);
        let trying = self.trying.as_ref().map(|t| t.decide.min(t.next).min(t.since + FORGOTTEN));
        let better = self.better.as_ref().map(|better| better.at);
        let sample = (self.standing == Standing::Connected).then_some(self.traffic.next);
        let outage =
            self.wishes.outage.filter(|_| self.standing == Standing::Dormant).map(|o| self.outage_from + o);
        [look, trying, better, sample, outage].into_iter().flatten().min()
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.over {
            return;
        }
        let late = self.deadline().map(|at| now.since(at)).filter(|late| *late >= SLEPT);
        let late = late.or_else(|| matches!(input, Input::Resumed).then_some(Duration::ZERO));
        let looked = matches!(input, Input::Uplinks(_));
        match input {
            Input::Uplinks(uplinks) => self.uplinks(now, uplinks),
            Input::Path(news) => self.news(now, news),
            Input::Traffic { sent, received } => self.carried(now, sent, received),
            Input::Resumed | Input::Wake => {}
        }
        if let Some(asleep) = late.filter(|_| !self.over) {
            self.slept(now, asleep, looked);
        }
        self.wake(now);
    }

    fn news(&mut self, now: Instant, news: PathNews) {
        match news {
            PathNews::Peers(peers) => self.peers(now, &peers),
            PathNews::Changed(path) => self.moved(now, path),
            PathNews::Answered(path, round_trip) => self.answered(now, path, round_trip),
            PathNews::Unanswered => self.suspect(now),
            PathNews::Dead => {
                self.dead = true;
                self.suspect(now);
            }
            PathNews::Refused(path) => self.refused(now, path),
        }
    }

    /// The host has been asleep for so long. Nobody was away meanwhile, and nobody failed to answer.
    fn slept(&mut self, now: Instant, asleep: Duration, looked: bool) {
        self.outage_from = (self.outage_from + asleep).min(now);
        if let Some(trying) = &mut self.trying {
            trying.since = (trying.since + asleep).min(now);
        }
        match &mut self.look_at {
            Some(look_at) => *look_at = (now, RETRIES.0),
            None if looked => {}
            None => self.out.push_back(Act::Look),
        }
        if self.standing == Standing::Connected {
            self.suspect(now);
        }
    }

    fn uplinks(&mut self, now: Instant, uplinks: Vec<Uplink>) {
        let was_limited = self.is_limited();
        self.table.set_uplinks(now, uplinks);
        if self.table.link_of(self.path).is_none() {
            return self.leave(now);
        }
        match self.standing {
            // It was here when everything went: it is as good as any.
            Standing::Dormant => self.leave(now),
            // There may be more to try.
            Standing::Waiting => self.try_all(now),
            Standing::Connected => self.look_for_better(now),
        }
        if self.is_limited() && !was_limited && self.standing == Standing::Connected {
            self.suspect(now);
        }
    }

    /// Whether the system suspects the link of the path in use.
    fn is_limited(&self) -> bool {
        self.table.link_of(self.path).is_some_and(|uplink| uplink.limited)
    }

    fn peers(&mut self, now: Instant, peers: &[IpAddr]) {
        let port = self.path.remote.port();
        self.table.set_peers(peers.iter().map(|a| SocketAddr::new(*a, port)).collect());
        if !self.table.peers().contains(&self.path.remote) {
            self.leave(now);
        }
    }

    /// The path in use is none any more.
    fn leave(&mut self, now: Instant) {
        self.better = None;
        let mut candidates = self.candidates(now).into_iter();
        let Some(best) = candidates.next() else {
            self.trying = None;
            self.stand(now, Standing::Dormant);
            self.look_at.get_or_insert((now + RETRIES.0, RETRIES.0));
            return;
        };
        self.go(now, best.path);
        if let Some(trying) = &mut self.trying {
            trying.untried = candidates.map(|c| c.path).collect();
        }
    }

    /// Goes over to a path that has not answered yet.
    fn go(&mut self, now: Instant, path: Path) {
        if path != self.at || !self.sent.is_empty() {
            self.sent.push_back(path);
        }
        if self.sent.len() > MOST_SENT {
            self.sent.pop_front();
        }
        self.out.push_back(Act::Move(path));
        self.is_on(now, path);
    }

    /// It is on a path that has not answered yet.
    fn is_on(&mut self, now: Instant, path: Path) {
        self.look_at = None;
        self.path = path;
        self.answered.clear();
        self.trying = Some(Trying {
            since: now,
            decide: now + FORGOTTEN,
            untried: VecDeque::new(),
            next: now + STAGGER,
            pause: RETRIES.0,
            brings_nothing: false,
            proven: false,
        });
        self.stand(now, Standing::Waiting);
    }

    fn stand(&mut self, now: Instant, standing: Standing) {
        if self.standing != standing {
            (self.standing, self.since, self.outage_from) = (standing, now, now);
            self.out.push_back(Act::Standing(standing));
        }
        if standing == Standing::Connected {
            self.traffic.quiet = None;
            self.traffic.next = now + SAMPLE;
        }
    }

    /// What it was told; or, where it was told nothing since, what it did by itself: the peer had taken another path.
    fn moved(&mut self, now: Instant, path: Path) {
        self.at = path;
        if let Some(told) = self.sent.iter().position(|sent| *sent == path) {
            self.sent.drain(..=told);
        } else if self.sent.is_empty() && path != self.path {
            self.is_on(now, path);
        }
    }

    fn answered(&mut self, now: Instant, path: Path, round_trip: Duration) {
        self.dead = false;
        if path == self.path {
            self.round_trip = round_trip;
            if self.trying.as_ref().is_some_and(|t| t.brings_nothing) {
                self.out.push_back(Act::Tell(path));
            }
            self.alive(now);
            return;
        }
        if !self.answered.contains(&path) {
            self.answered.push(path);
        }
        let better = self.better.as_ref().is_some_and(|b| b.paths.iter().any(|(p, _)| *p == path));
        let proven = self.trying.as_ref().is_some_and(|trying| trying.proven);
        if (self.standing == Standing::Waiting && !proven) || (better && self.trying.is_none()) {
            self.better = None;
            self.round_trip = round_trip;
            self.go_proven(now, path);
        }
    }

    /// Goes over to a path that has answered, and will do so again soon: where all answer alike, there is no end to
    /// going where the last answer came from.
    fn go_proven(&mut self, now: Instant, path: Path) {
        self.go(now, path);
        let decide = now + self.grace();
        if let Some(trying) = &mut self.trying {
            (trying.proven, trying.decide) = (true, decide);
        }
    }

    /// So long the path in use may take to answer.
    fn grace(&self) -> Duration {
        GRACE.max(self.round_trip.saturating_mul(3))
    }

    /// The path in use works.
    fn alive(&mut self, now: Instant) {
        self.trying = None;
        if self.standing != Standing::Connected {
            self.stand(now, Standing::Connected);
            self.look_for_better(now);
        }
    }

    fn refused(&mut self, now: Instant, path: Path) {
        self.table.refuse(path, now + REFUSED);
        if path == self.path {
            self.leave(now);
        }
    }

    /// The path in use may be dead: it and all others are tried.
    fn suspect(&mut self, now: Instant) {
        if self.wishes.untestable || self.trying.is_some() || self.standing == Standing::Dormant {
            return;
        }
        self.answered.clear();
        self.trying = Some(Trying {
            since: now,
            decide: now + self.grace(),
            untried: VecDeque::new(),
            next: now,
            pause: RETRIES.0,
            brings_nothing: false,
            proven: false,
        });
        self.try_all(now);
    }

    fn try_all(&mut self, now: Instant) {
        let mut paths: Vec<Path> = self.candidates(now).into_iter().map(|c| c.path).collect();
        if !paths.contains(&self.path) && self.table.link_of(self.path).is_some() {
            paths.push(self.path);
        }
        if let Some(trying) = &mut self.trying {
            trying.untried.clear();
            trying.next = now + trying.pause;
            trying.pause = trying.pause.saturating_mul(2).min(RETRIES.1);
        }
        if !paths.is_empty() {
            self.out.push_back(Act::Probe(paths));
        }
    }

    fn carried(&mut self, now: Instant, sent: u64, received: u64) {
        let traffic = &mut self.traffic;
        let (more_sent, more_received) = (sent > traffic.sent, received > traffic.received);
        (traffic.sent, traffic.received) = (sent, received);
        let before = core::mem::replace(&mut traffic.seen, now);
        if more_sent || more_received {
            traffic.moving = now;
        }
        if more_received {
            (traffic.quiet, traffic.patience, traffic.suspect_from) = (None, ONE_WAY, now);
            if self.standing == Standing::Connected {
                self.trying = None;
                // What comes back by the tunnel does so of itself, but nobody asks again what was given up.
                if core::mem::take(&mut self.dead) {
                    self.out.push_back(Act::Probe(vec![self.path]));
                }
            }
            return;
        }
        if more_sent {
            // They may have gone out right after the last look, or right before this one.
            let began = before + now.since(before).saturating_sub(SAMPLE);
            let due = *traffic.quiet.get_or_insert(began) + QUIET;
            if due > now {
                traffic.next = traffic.next.min(due);
            }
        }
        let dead = traffic.quiet.is_some_and(|since| now.since(since) >= QUIET);
        if dead && now >= traffic.suspect_from && self.standing == Standing::Connected {
            traffic.quiet = None;
            traffic.suspect_from = now + traffic.patience;
            traffic.patience = traffic.patience.saturating_mul(2).min(FORGOTTEN);
            self.suspect(now);
            self.trying.iter_mut().for_each(|t| t.brings_nothing = true);
        }
    }

    fn wake(&mut self, now: Instant) {
        if self.look_at.is_some_and(|(at, _)| at <= now) {
            let pause = self.look_at.map_or(RETRIES.0, |(_, p)| p).saturating_mul(2).min(RETRIES.1);
            self.look_at = Some((now + pause, pause));
            self.out.push_back(Act::Look);
        }
        let ends = self.wishes.outage.is_some_and(|o| now.since(self.outage_from) >= o);
        if ends && self.standing == Standing::Dormant {
            return self.finish(Act::End);
        }
        self.wake_trying(now);
        self.wake_better(now);
        if self.standing == Standing::Connected && self.traffic.next <= now {
            let idle = now.since(self.traffic.moving) >= ONE_WAY;
            self.traffic.next = now + if idle { IDLE_SAMPLE } else { SAMPLE };
            self.out.push_back(Act::Sample);
        }
    }

    fn wake_trying(&mut self, now: Instant) {
        let Some(trying) = &mut self.trying else { return };
        if now.since(trying.since) >= FORGOTTEN {
            return self.finish(Act::Reconnect);
        }
        if trying.decide <= now {
            let answered = |c: &Candidate| self.answered.contains(&c.path);
            let best = self.candidates(now).into_iter().find(answered);
            if let Some(best) = best {
                return self.go_proven(now, best.path);
            }
        }
        let Some(trying) = &mut self.trying else { return };
        if trying.decide <= now {
            trying.decide = now + STAGGER;
        }
        if trying.next <= now {
            match trying.untried.pop_front() {
                Some(path) => {
                    trying.next = now + STAGGER;
                    self.out.push_back(Act::Probe(vec![path]));
                }
                None => self.try_all(now),
            }
        }
    }

    fn finish(&mut self, act: Act) {
        self.over = true;
        self.out.push_back(act);
    }

    fn candidates(&self, now: Instant) -> Vec<Candidate> {
        self.table.candidates(now, self.path.local.port())
    }
}
