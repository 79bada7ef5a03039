use std::collections::BTreeMap;

use proptest::prelude::{Just, any, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

use super::*;

const RACE: Rule = Rule { race: true, weak: true, sstp_after_bad_certificate: false };
const ONE_BY_ONE: Rule = Rule { race: false, ..RACE };

/// IKEv2, SSTP, PPTP, L2TP with a group's key.
fn auto() -> Vec<Candidate> {
    let of = |kind| Candidate { kind, weak: kind >= 2, sstp: kind == 1 };
    (0..4).map(of).collect()
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn acts(strategy: &mut Strategy) -> Vec<Act> {
    core::iter::from_fn(|| strategy.poll()).collect()
}

fn give(strategy: &mut Strategy, ms: u64, input: Input) -> Vec<Act> {
    strategy.handle(at(ms), input);
    let acts = acts(strategy);
    call(strategy, ms, &acts);
    acts
}

/// Those that begin have nothing to prepare.
fn call(strategy: &mut Strategy, ms: u64, acts: &[Act]) {
    for act in acts {
        if let Act::Start(number) = act {
            strategy.handle(at(ms), Input::Called(*number));
        }
    }
}

fn begin(rule: Rule) -> Strategy {
    let mut strategy = Strategy::new(at(0), rule, &auto(), None);
    assert_eq!(acts(&mut strategy), [Act::Start(0)]);
    call(&mut strategy, 0, &[Act::Start(0)]);
    strategy
}

#[test]
fn the_first_one_that_works_is_the_only_one_that_begins() {
    for rule in [RACE, ONE_BY_ONE] {
        let mut s = begin(rule);
        assert_eq!(give(&mut s, 100, Input::Answered(0)), []);
        assert_eq!(s.deadline(), Some(at(100) + STUCK));
        assert_eq!(give(&mut s, 5_000, Input::Wake), []);
        assert_eq!(give(&mut s, 5_001, Input::Verified(0)), [Act::LogIn(0)]);
        // A person may think for as long as they like.
        assert_eq!(s.deadline(), None);
        assert_eq!(give(&mut s, 90_000, Input::Up(0)), [Act::Over(Verdict::Up(0))]);
        assert!(!s.is_running());
    }
}

#[test]
fn one_by_one_the_next_waits_until_nothing_of_a_silent_one_is_left() {
    let mut s = begin(ONE_BY_ONE);
    assert_eq!(s.deadline(), Some(at(8_000)));
    assert_eq!(give(&mut s, 7_999, Input::Wake), []);
    assert_eq!(give(&mut s, 8_000, Input::Wake), [Act::Stop(0, Why::Silent)]);
    assert_eq!(give(&mut s, 8_100, Input::Gone(0)), [Act::Start(1)]);
    assert_eq!(give(&mut s, 8_200, Input::Failed(1, Outcome::NotEstablished)), [Act::Start(2)]);
}

#[test]
fn in_a_race_the_next_begins_beside_a_silent_one_and_logs_in_alone() {
    let mut s = begin(RACE);
    assert_eq!(s.deadline(), Some(at(500)));
    assert_eq!(give(&mut s, 500, Input::Wake), [Act::Start(1)]);
    // The weak ones are not begun beside anything.
    assert_eq!(give(&mut s, 1_500, Input::Wake), []);
    assert_eq!(give(&mut s, 1_600, Input::Answered(1)), []);
    assert_eq!(give(&mut s, 1_700, Input::Verified(1)), [Act::Stop(0, Why::Beaten), Act::LogIn(1)]);
    // Too late.
    assert_eq!(give(&mut s, 1_701, Input::Verified(0)), []);
    assert_eq!(give(&mut s, 1_702, Input::Gone(0)), []);
    assert_eq!(give(&mut s, 1_900, Input::Up(1)), [Act::Over(Verdict::Up(1))]);
}

/// A host that takes its time before the first packet is no server that says nothing.
#[test]
fn what_is_done_here_first_is_no_silence() {
    let mut s = Strategy::new(at(0), RACE, &auto(), None);
    assert_eq!(acts(&mut s), [Act::Start(0)]);
    s.handle(at(5_000), Input::Wake);
    assert_eq!(acts(&mut s), []);
    s.handle(at(6_000), Input::Called(0));
    assert_eq!(s.deadline(), Some(at(6_500)));
    assert_eq!(give(&mut s, 6_500, Input::Wake), [Act::Start(1)]);
    assert_eq!(give(&mut s, 14_000, Input::Wake), [Act::Stop(0, Why::Silent)]);
    // But for ever it does not.
    let mut s = Strategy::new(at(0), ONE_BY_ONE, &auto(), None);
    s.handle(at(8_000), Input::Wake);
    assert_eq!(acts(&mut s), [Act::Start(0), Act::Stop(0, Why::Silent)]);
}

#[test]
fn one_that_answers_is_never_overtaken() {
    let mut s = begin(RACE);
    assert_eq!(give(&mut s, 500, Input::Wake), [Act::Start(1)]);
    assert_eq!(give(&mut s, 600, Input::Answered(0)), []);
    assert_eq!(give(&mut s, 700, Input::Verified(1)), []);
    // Until it has had its time.
    assert_eq!(s.deadline(), Some(at(600) + STUCK));
    assert_eq!(give(&mut s, 15_600, Input::Wake), [Act::Stop(0, Why::Stuck), Act::LogIn(1)]);
}

#[test]
fn a_log_in_that_fails_is_the_end_of_it() {
    for outcome in [Outcome::NotEstablished, Outcome::Certificate, Outcome::Final] {
        let mut s = begin(RACE);
        give(&mut s, 500, Input::Wake);
        give(&mut s, 600, Input::Verified(1));
        assert_eq!(give(&mut s, 700, Input::Failed(1, outcome)), [], "one is still there");
        assert_eq!(give(&mut s, 701, Input::Gone(0)), [Act::Over(Verdict::Ended(1))]);
    }
}

#[test]
fn a_bad_certificate_ends_it_but_for_sstp_where_that_is_said() {
    let mut s = begin(ONE_BY_ONE);
    let bad = Input::Failed(0, Outcome::Certificate);
    assert_eq!(give(&mut s, 10, bad), [Act::Over(Verdict::Ended(0))]);

    let mut s = begin(Rule { sstp_after_bad_certificate: true, ..RACE });
    assert_eq!(give(&mut s, 10, bad), [Act::Start(1)]);
    // And to nothing weaker.
    let blocked = Input::Failed(1, Outcome::NotEstablished);
    assert_eq!(give(&mut s, 20, blocked), [Act::Over(Verdict::Ended(0))]);

    let mut s = begin(Rule { sstp_after_bad_certificate: true, ..RACE });
    give(&mut s, 10, bad);
    let worse = Input::Failed(1, Outcome::Certificate);
    assert_eq!(give(&mut s, 20, worse), [Act::Over(Verdict::Ended(1))]);
}

#[test]
fn what_ends_a_later_one_does_not_end_one_before_it() {
    let mut s = begin(RACE);
    give(&mut s, 500, Input::Wake);
    // A network that answers in the place of the server.
    assert_eq!(give(&mut s, 700, Input::Failed(1, Outcome::Certificate)), []);
    let mut other = begin(RACE);
    give(&mut other, 500, Input::Wake);
    give(&mut other, 700, Input::Failed(1, Outcome::Certificate));
    assert_eq!(give(&mut s, 800, Input::Verified(0)), [Act::LogIn(0)]);
    assert_eq!(give(&mut other, 8_000, Input::Wake), [Act::Stop(0, Why::Silent)]);
    assert_eq!(give(&mut other, 8_001, Input::Gone(0)), [Act::Over(Verdict::Ended(1))]);
}

#[test]
fn weak_ones_begin_when_every_stronger_one_is_gone_and_are_never_first() {
    let mut s = Strategy::new(at(0), RACE, &auto(), Some(2));
    assert_eq!(acts(&mut s), [Act::Start(0)]);
    call(&mut s, 0, &[Act::Start(0)]);
    assert_eq!(give(&mut s, 500, Input::Wake), [Act::Start(1)]);
    assert_eq!(give(&mut s, 600, Input::Failed(0, Outcome::NotEstablished)), []);
    assert_eq!(give(&mut s, 700, Input::Failed(1, Outcome::NotEstablished)), [Act::Start(2)]);
    assert_eq!(give(&mut s, 1_200, Input::Wake), [Act::Start(3)]);

    let strict = Rule { weak: false, ..RACE };
    let mut s = Strategy::new(at(0), strict, &auto(), None);
    let begun = acts(&mut s);
    call(&mut s, 0, &begun);
    give(&mut s, 600, Input::Failed(0, Outcome::NotEstablished));
    let over = give(&mut s, 700, Input::Failed(1, Outcome::NotEstablished));
    assert_eq!(over, [Act::Over(Verdict::Exhausted)]);
}

#[test]
fn what_worked_is_first() {
    assert_eq!(order(&auto(), Some(1)), [1, 0, 2, 3]);
    assert_eq!(order(&auto(), Some(3)), [0, 1, 2, 3], "but for the weak ones");
    // Addresses of a type stay together, in their order.
    let two: Vec<Candidate> = auto().into_iter().flat_map(|c| [c, c]).collect();
    assert_eq!(order(&two, Some(1)), [2, 3, 0, 1, 4, 5, 6, 7]);
    // PPTP before all others: whoever writes that gets it last of those that are stronger.
    let pptp_first: Vec<Candidate> =
        auto().into_iter().map(|c| Candidate { kind: (c.kind + 2) % 4, ..c }).collect();
    assert_eq!(order(&pptp_first, None), [0, 1, 2, 3]);
}

/// What a candidate does when it has begun.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Its first packet leaves after so many milliseconds.
    called: u64,
    /// It answers after so many milliseconds, if it does.
    answers: Option<u64>,
    /// And wants to log in so much later, if it does.
    verified: Option<u64>,
    /// How it ends, after so many milliseconds since the last thing that it did; `None`: it stands, if it logs in.
    ends: Option<(u64, Outcome)>,
    /// How long it takes to go.
    leaves: u64,
}

fn fate() -> impl proptest::strategy::Strategy<Value = Fate> {
    let outcome = prop_oneof![
        4 => Just(Outcome::NotEstablished),
        1 => Just(Outcome::Certificate),
        1 => Just(Outcome::Final),
    ];
    let time = || 1_u64..20_000;
    let sometimes = proptest::option::of(time());
    (0_u64..9_000, sometimes.clone(), sometimes, proptest::option::of((time(), outcome)), 0_u64..3_000)
        .prop_map(|(called, answers, verified, ends, leaves)| Fate {
            called,
            answers,
            verified,
            ends,
            leaves,
        })
}

/// What the test knows of a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Waits,
    Runs {
        answered: bool,
    },
    /// Its server has proven itself.
    Proven,
    LogsIn,
    Leaves,
    Gone,
}

impl Known {
    fn is_there(&self) -> bool {
        !matches!(self, Self::Waits | Self::Gone)
    }
}

/// A world in which every candidate has its fate, and what must hold at each step.
struct World {
    now: u64,
    rule: Rule,
    candidates: Vec<Candidate>,
    fates: Vec<Fate>,
    known: Vec<Known>,
    /// The first thing that was not "could not be established".
    fatal: Option<usize>,
    started: Vec<usize>,
    logged_in: Vec<usize>,
    /// Those that went since another one logs in, and how they stood.
    beaten: BTreeMap<usize, Known>,
    coming: BTreeMap<(u64, usize), Input>,
    count: usize,
    verdict: Option<Verdict>,
}

impl World {
    fn new(rule: Rule, candidates: Vec<Candidate>, fates: Vec<Fate>) -> Self {
        let known = vec![Known::Waits; candidates.len()];
        Self {
            now: 0,
            rule,
            candidates,
            fates,
            known,
            fatal: None,
            started: Vec::new(),
            logged_in: Vec::new(),
            beaten: BTreeMap::new(),
            coming: BTreeMap::new(),
            count: 0,
            verdict: None,
        }
    }

    fn comes(&mut self, after: u64, input: Input) {
        self.count += 1;
        self.coming.insert((self.now + after, self.count), input);
    }

    fn run(&mut self, first: Option<usize>) {
        let mut s = Strategy::new(at(0), self.rule, &self.candidates, first);
        for _ in 0..1_000 {
            while let Some(act) = s.poll() {
                self.act(act, first);
            }
            self.one_holder();
            self.none_after_the_end(first);
            let wakes = s.deadline().map(|d| d.as_nanos() / 1_000_000);
            let next = self.coming.first_key_value().map(|((when, _), _)| *when);
            let Some(when) = wakes.into_iter().chain(next).min() else { break };
            assert!(when >= self.now, "no deadline is in the past");
            self.now = when;
            match self.coming.first_entry().filter(|entry| entry.key().0 <= when) {
                Some(entry) => {
                    let input = entry.remove();
                    if self.happens(input) {
                        s.handle(at(when), input);
                    }
                }
                None => s.handle(at(when), Input::Wake),
            }
        }
        assert!(!s.is_running(), "no attempt is left");
        self.at_the_end();
    }

    fn act(&mut self, act: Act, first: Option<usize>) {
        let line = order(&self.candidates, first);
        let running = Known::is_there;
        match act {
            Act::Start(number) => self.starts(number, &line),
            Act::LogIn(number) => self.logs_in(number, &line),
            Act::Stop(number, why) => {
                if why == Why::Beaten {
                    self.beaten.insert(number, self.known[number]);
                }
                assert!(running(&self.known[number]) && self.known[number] != Known::Leaves);
                assert_ne!(self.known[number], Known::LogsIn, "who logs in is not stopped");
                self.known[number] = Known::Leaves;
                self.comes(self.fates[number].leaves, Input::Gone(number));
            }
            Act::Over(verdict) => {
                assert!(self.verdict.replace(verdict).is_none(), "one verdict");
                if !matches!(verdict, Verdict::Up(_)) {
                    assert!(!self.known.iter().any(running), "it is over when nothing is left");
                }
            }
        }
    }

    fn starts(&mut self, number: usize, line: &[usize]) {
        assert_eq!(self.known[number], Known::Waits, "nobody begins twice");
        assert!(self.verdict.is_none() && self.logged_in.is_empty(), "nobody begins after a log-in");
        let skipped = line.iter().take_while(|n| **n != number).filter(|n| !self.started.contains(n));
        for skipped in skipped {
            let followed = self.rule.sstp_after_bad_certificate && self.candidates[number].sstp;
            assert!(self.fatal.is_some() && followed, "{skipped} comes before {number}");
        }
        if let Some(fatal) = self.fatal {
            let place = |n| line.iter().position(|other| *other == n);
            let followed = self.rule.sstp_after_bad_certificate && self.candidates[number].sstp;
            assert!(place(number) < place(fatal) || followed, "nobody begins after what ends it");
        }
        if self.candidates[number].weak {
            assert!(self.rule.weak && self.fatal.is_none(), "a weak one after a failure of another kind");
            let strong = |n: &usize| !self.candidates[*n].weak;
            let all = (0..self.candidates.len()).filter(strong).all(|n| self.known[n] == Known::Gone);
            assert!(all, "a weak one begins before every stronger one has failed");
        }
        if !self.rule.race {
            assert!(!self.known.iter().any(Known::is_there), "one at a time");
        }
        self.started.push(number);
        self.known[number] = Known::Runs { answered: false };
        self.begins(number);
    }

    fn logs_in(&mut self, number: usize, line: &[usize]) {
        self.logged_in.push(number);
        assert_eq!(self.logged_in.len(), 1, "one log-in a connection");
        assert_eq!(self.known[number], Known::Proven, "who logs in has a server that has proven itself");
        let answered = [Known::Runs { answered: true }, Known::Proven];
        for before in line.iter().take_while(|n| **n != number) {
            let beaten = self.beaten.get(before).is_some_and(|known| answered.contains(known));
            assert!(!beaten && !answered.contains(&self.known[*before]), "{before} was overtaken");
        }
        self.known[number] = Known::LogsIn;
        match self.fates[number].ends {
            Some((after, outcome)) => self.comes(after, Input::Failed(number, outcome)),
            None => self.comes(1, Input::Up(number)),
        }
    }

    fn begins(&mut self, number: usize) {
        let fate = self.fates[number];
        let mut after = fate.called;
        self.comes(after, Input::Called(number));
        if let Some(answers) = fate.answers {
            after += answers;
            self.comes(after, Input::Answered(number));
            if let Some(verified) = fate.verified {
                after += verified;
                return self.comes(after, Input::Verified(number));
            }
        }
        if let Some((ends, outcome)) = fate.ends {
            self.comes(after + ends, Input::Failed(number, outcome));
        }
    }

    /// Beside the one that logs in everybody else is on the way out.
    fn one_holder(&self) {
        if !self.logged_in.is_empty() {
            let others = (0..self.known.len()).filter(|n| Some(n) != self.logged_in.first());
            for other in others {
                let known = self.known[other];
                assert!(
                    matches!(known, Known::Waits | Known::Leaves | Known::Gone),
                    "{other} is still {known:?}"
                );
            }
        }
    }

    /// Whoever comes after one that has ended it is on the way out, but for an SSTP that may follow.
    fn none_after_the_end(&self, first: Option<usize>) {
        let Some(fatal) = self.fatal else { return };
        let line = order(&self.candidates, first);
        for after in line.into_iter().skip_while(|n| *n != fatal).skip(1) {
            let follows = self.rule.sstp_after_bad_certificate && self.candidates[after].sstp;
            let left = matches!(self.known[after], Known::Waits | Known::Leaves | Known::Gone);
            assert!(left || follows, "{after} goes on after {fatal}");
        }
    }

    /// Whether it really happens: who has been told to go does nothing more but that.
    fn happens(&mut self, input: Input) -> bool {
        match input {
            Input::Answered(n) | Input::Verified(n) => {
                let runs = matches!(self.known[n], Known::Runs { .. });
                if runs {
                    let proven = matches!(input, Input::Verified(_));
                    self.known[n] = if proven { Known::Proven } else { Known::Runs { answered: true } };
                }
                runs
            }
            Input::Failed(n, outcome) => {
                let logged_in = self.known[n] == Known::LogsIn;
                let runs = logged_in || matches!(self.known[n], Known::Runs { .. } | Known::Proven);
                if runs {
                    self.known[n] = Known::Gone;
                    if logged_in || outcome != Outcome::NotEstablished {
                        self.fatal = self.fatal.or(Some(n));
                    }
                }
                runs
            }
            Input::Gone(n) => {
                self.known[n] = Known::Gone;
                true
            }
            Input::Called(_) | Input::Up(_) | Input::Wake => true,
        }
    }

    fn at_the_end(&self) {
        let verdict = self.verdict.expect("there is a verdict");
        for (number, known) in self.known.iter().enumerate() {
            let stands = verdict == Verdict::Up(number) && *known == Known::LogsIn;
            assert!(stands || matches!(known, Known::Waits | Known::Gone), "{number} is left, {known:?}");
        }
        match (verdict, self.logged_in.first()) {
            (Verdict::Up(number) | Verdict::Ended(number), Some(logged_in)) => assert_eq!(number, *logged_in),
            (Verdict::Ended(_), None) => assert!(self.fatal.is_some()),
            (Verdict::Exhausted, None) => {
                assert!(self.fatal.is_none());
                let takes_part = |c: &&Candidate| self.rule.weak || !c.weak;
                let all = self.candidates.iter().filter(takes_part).count();
                assert_eq!(self.started.len(), all, "everything has been tried");
            }
            (verdict, logged_in) => panic!("{verdict:?} with a log-in of {logged_in:?}"),
        }
    }
}

proptest! {
    #[test]
    fn whatever_becomes_of_each(
        fates in proptest::collection::vec(fate(), 8),
        addresses in 1_usize..=2,
        (race, weak, sstp_after_bad_certificate) in any::<(bool, bool, bool)>(),
        rotated in 0_usize..4,
        first in proptest::option::of(0_usize..4),
    ) {
        let rule = Rule { race, weak, sstp_after_bad_certificate };
        let of = |c: Candidate| Candidate { kind: (c.kind + rotated) % 4, ..c };
        let candidates: Vec<Candidate> =
            auto().into_iter().map(of).flat_map(|c| core::iter::repeat_n(c, addresses)).collect();
        World::new(rule, candidates, fates).run(first);
    }
}

/// Everything that may become of one candidate, soon, and where it matters also after the next has begun beside it.
const FATES: [Fate; 10] = {
    let silent = Fate { called: 0, answers: None, verified: None, ends: None, leaves: 10 };
    let answers = Fate { answers: Some(200), ..silent };
    let proven = Fate { verified: Some(200), ..answers };
    let late = Fate { answers: Some(700), ..silent };
    [
        silent,
        // Refused, or reset.
        Fate { ends: Some((100, Outcome::NotEstablished)), ..silent },
        // It answers, and does not get on.
        answers,
        Fate { ends: Some((100, Outcome::NotEstablished)), ..answers },
        Fate { ends: Some((100, Outcome::Certificate)), ..answers },
        Fate { ends: Some((100, Outcome::Final)), ..answers },
        // It logs in, and stands; or it is refused.
        proven,
        Fate { ends: Some((100, Outcome::Final)), ..proven },
        Fate { verified: Some(3_000), ..late },
        Fate { ends: Some((100, Outcome::Final)), ..late },
    ]
};

/// Four types of tunnel, each with every fate, by every rule, whatever has worked last: 10⁴ · 8 · 3 attempts.
#[test]
fn every_outcome_of_every_attempt() {
    for number in 0..FATES.len().pow(4) {
        let fate = |place: u32| FATES[number / FATES.len().pow(place) % FATES.len()];
        let fates: Vec<Fate> = (0..4).map(fate).collect();
        for bits in 0..8 {
            let rule =
                Rule { race: bits & 1 != 0, weak: bits & 2 != 0, sstp_after_bad_certificate: bits & 4 != 0 };
            for first in [None, Some(1), Some(3)] {
                World::new(rule, auto(), fates.clone()).run(first);
            }
        }
    }
}
