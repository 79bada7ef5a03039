//! Two endpoints, and a link between them that the test holds in its hands.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use adit_core::{Entropy, Failure, FailureCode, Instant, Path, Secret, Step, Transmit};

use crate::wire::{Avp, Control, Message};
use crate::{
    Answer, Ask, Association, Call, Config, Dial, Endpoint, Event, Ids, Input, Limits, Listen, Output,
    SessionNumber, Takes, Timing, TunnelNumber,
};

/// Numbers that a test can know.
pub(super) struct Counting(pub(super) u64);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let bytes = self.0.to_be_bytes();
        out.iter_mut().zip(bytes.iter().cycle()).for_each(|(to, from)| *to = *from);
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

pub(super) fn lac_address() -> SocketAddr {
    "192.0.2.1:40001".parse().unwrap()
}

pub(super) fn lns_address() -> SocketAddr {
    "198.51.100.1:1701".parse().unwrap()
}

pub(super) const LIMITS: Limits = Limits { tunnels: 100, unproven: 10, unproven_per_address: 4, sessions: 3 };

pub(super) fn secret(text: &str) -> Option<Arc<Secret>> {
    Some(Arc::new(Secret::from(text.as_bytes())))
}

pub(super) struct End {
    pub(super) endpoint: Endpoint,
    pub(super) entropy: Counting,
    pub(super) refuses: bool,
    /// Questions that are not answered by themselves.
    pub(super) holds: bool,
    pub(super) held: Vec<crate::AskId>,
    pub(super) carried: Vec<(Ids, bool)>,
    pub(super) tunnels: Vec<TunnelNumber>,
    pub(super) up: Vec<(SessionNumber, bool)>,
    pub(super) sessions_down: Vec<(SessionNumber, Result<(), Failure>)>,
    pub(super) down: Vec<Result<(), Failure>>,
    pub(super) refused: Vec<Failure>,
}

impl End {
    pub(super) fn new(seed: u64, listen: Option<Listen>) -> Self {
        let config = Config { host_name: "host".into(), listen, window: 8, timing: Timing::default() };
        Self {
            endpoint: Endpoint::new(config),
            entropy: Counting(seed),
            refuses: false,
            holds: false,
            held: Vec::new(),
            carried: Vec::new(),
            tunnels: Vec::new(),
            up: Vec::new(),
            sessions_down: Vec::new(),
            down: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) -> Vec<Transmit> {
        self.endpoint.handle(now, &mut self.entropy, input);
        self.drain(now)
    }

    pub(super) fn drain(&mut self, now: Instant) -> Vec<Transmit> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit { transmit, .. } => sent.push(transmit),
                Output::Ask { id, ask: Ask::Carry { ids, lns, .. } } => {
                    self.carried.push((ids, lns));
                    if self.holds {
                        self.held.push(id);
                        continue;
                    }
                    let no = || Failure::new(FailureCode::KernelRefused, Step::Kernel, "no");
                    let answer = Answer::Carried(if self.refuses { Err(no()) } else { Ok(()) });
                    self.endpoint.handle(now, &mut self.entropy, Input::Answer { id, answer });
                }
                Output::Event(Event::TunnelUp { tunnel, .. }) => self.tunnels.push(tunnel),
                Output::Event(Event::TunnelDown { why, .. }) => self.down.push(why),
                Output::Event(Event::SessionUp { session, sequencing, .. }) => {
                    self.up.push((session, sequencing))
                }
                Output::Event(Event::SessionDown { session, why, .. }) => {
                    self.sessions_down.push((session, why))
                }
                Output::Event(Event::Refused { why, .. }) => self.refused.push(why),
                Output::Event(Event::Peer { .. }) => {}
            }
        }
        sent
    }

    /// Why its one tunnel is over.
    pub(super) fn code(&self) -> FailureCode {
        match self.down.as_slice() {
            [Err(why)] => why.code,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) lac: End,
    pub(super) lns: End,
    /// What is on its way.
    pub(super) link: VecDeque<Transmit>,
    /// What was ever sent.
    pub(super) sent: Vec<Transmit>,
}

/// Takes every call of an LAC's.
pub(super) fn listen(secret: Option<Arc<Secret>>) -> Listen {
    let takes = Takes { incoming: true, outgoing: false };
    Listen { secret, hide: false, takes, limits: LIMITS }
}

pub(super) fn dial(secret: Option<Arc<Secret>>) -> Dial {
    Dial {
        path: Path { local: lac_address(), remote: lns_address() },
        secret,
        hide: false,
        only: false,
        call: Some(Call::Incoming),
        takes: Takes::default(),
        sessions: 4,
    }
}

impl Pair {
    pub(super) fn of(listen: Listen, dial: Dial) -> Self {
        let mut pair = Self::idle(listen);
        pair.dial(dial);
        pair
    }

    pub(super) fn idle(listen: Listen) -> Self {
        let (lac, lns) = (End::new(1, None), End::new(2, Some(listen)));
        Self { now: Instant::ZERO, lac, lns, link: VecDeque::new(), sent: Vec::new() }
    }

    pub(super) fn dial(&mut self, dial: Dial) {
        let End { endpoint, entropy, .. } = &mut self.lac;
        endpoint.dial(self.now, entropy, dial).unwrap();
        let sent = self.lac.drain(self.now);
        self.post(sent);
    }

    /// Up, with a call.
    pub(super) fn up() -> Self {
        let mut pair = Self::of(listen(None), dial(None));
        pair.exchange();
        pair
    }

    pub(super) fn post(&mut self, sent: Vec<Transmit>) {
        self.sent.extend(sent.iter().cloned());
        self.link.extend(sent);
    }

    /// Delivers one datagram.
    pub(super) fn deliver(&mut self, transmit: Transmit) {
        let Transmit { path: Path { local, remote }, payload } = transmit;
        let to = if remote == lns_address() { &mut self.lns } else { &mut self.lac };
        let path = Path { local: remote, remote: local };
        let sent = to
            .handle(self.now, Input::Datagram { path, association: Association::default(), octets: payload });
        self.post(sent);
    }

    pub(super) fn exchange(&mut self) {
        while let Some(transmit) = self.link.pop_front() {
            self.deliver(transmit);
        }
    }

    pub(super) fn lac_does(&mut self, input: Input) {
        let sent = self.lac.handle(self.now, input);
        self.post(sent);
    }

    pub(super) fn lns_does(&mut self, input: Input) {
        let sent = self.lns.handle(self.now, input);
        self.post(sent);
    }

    /// Lets time pass; what is sent is delivered while `delivers`.
    pub(super) fn sleep(&mut self, time: Duration, delivers: bool) {
        let until = self.now + time;
        for _ in 0..2000 {
            let ends = [&self.lac.endpoint, &self.lns.endpoint];
            let Some(at) = ends.iter().filter_map(|e| e.deadline()).map(|(at, _)| at).min() else { break };
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            self.lac_does(Input::Wake);
            self.lns_does(Input::Wake);
            match delivers {
                true => self.exchange(),
                false => self.link.clear(),
            }
        }
        self.now = until;
    }

    /// What a datagram says.
    pub(super) fn read(transmit: &Transmit) -> Option<(u16, u16, Message)> {
        let control = Control::parse(&transmit.payload).unwrap().unwrap();
        if control.is_zero_length_body() {
            return None;
        }
        let avps = Avp::parse_all(control.body).unwrap();
        let message = Message::read(&avps).ok()?.message;
        Some((control.tunnel, control.session, message))
    }

    pub(super) fn last(&self) -> Message {
        self.sent.iter().rev().find_map(Self::read).unwrap().2
    }
}
