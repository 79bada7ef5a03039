//! A control connection (RFC 2637 §3.1) and its calls (§3.2).

use std::collections::{BTreeMap, VecDeque};

use adit_core::{Failure, FailureCode, Instant};

use crate::api::{Answer, Ask, AskId, CallNumber, Config, Event, Input, Output, Role, Timer};
use crate::explain::{call_refused, disconnected, failure, start_refused, stopped};
use crate::wire::{CallReply, Hello, Message, OutgoingCall, StartReply, next};

/// Protocol Version: 1.0.
const VERSION: u16 = 0x0100;
const RESULT_OK: u8 = 1;
const RESULT_ERROR: u8 = 2;
const NO_RESOURCE: u8 = 4;
/// Call-Disconnect-Notify's results.
const SHUT_DOWN: u8 = 3;
const AS_ASKED: u8 = 4;
/// Packet Recv. Window Size: what the kernel takes it does not queue, so that nothing limits it.
const WINDOW: u16 = 64;
/// Octets that may wait for the rest of their message.
const MOST_PENDING: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// TCP is on its way.
    Idle,
    /// The reply to our start is awaited, or the peer's start.
    Starting,
    Established,
    /// Our stop is out.
    Stopping,
    Over,
}

pub(crate) struct Call {
    pub(crate) state: CallState,
    pub(crate) local: Option<u16>,
    pub(crate) peer: Option<u16>,
    pub(crate) until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallState {
    /// A call ID of ours is looked for; `incoming`: for a call that the PAC announced.
    Opening {
        incoming: bool,
    },
    /// Our request is out.
    Requested,
    /// Our reply to an Incoming-Call-Request is out.
    Announced,
    Up,
    /// Our Call-Clear-Request is out.
    Clearing,
}

/// A control connection.
pub struct Control {
    pub(crate) config: Config,
    pub(crate) phase: Phase,
    pub(crate) received: Vec<u8>,
    pub(crate) calls: BTreeMap<CallNumber, Call>,
    pub(crate) asks: BTreeMap<AskId, CallNumber>,
    pub(crate) last: u64,
    /// For what the phase waits, until then.
    pub(crate) until: Option<Instant>,
    /// The next Echo-Request, or the end of the wait for its reply.
    pub(crate) echo: Option<Instant>,
    echo_out: Option<u32>,
    pub(crate) out: VecDeque<Output>,
}

impl Control {
    /// One that waits for TCP ([`Input::Connected`]). A PNS places its call by itself.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Idle,
            received: Vec::new(),
            calls: BTreeMap::new(),
            asks: BTreeMap::new(),
            last: 0,
            until: None,
            echo: None,
            echo_out: None,
            out: VecDeque::new(),
        }
    }

    /// Tells it something; then [`Control::poll`] until `None`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Connected => self.connected(now),
            Input::Received(octets) => self.receive(now, &octets),
            Input::Disconnected(why) => self.disconnected(why),
            Input::Answer { id, answer } => self.answer(now, id, answer),
            Input::Clear { call } => self.clear(now, call),
            Input::Stop => self.stop(now),
            Input::Wake => {}
        }
        self.wake(now);
    }

    /// What is to be done, in this order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to wake it at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let phase = if self.phase == Phase::Stopping { Timer::Farewell } else { Timer::Reply };
        let calls = self.calls.values().filter_map(|c| c.until).min();
        [(self.until, phase), (calls, Timer::Reply), (self.echo, Timer::Echo)]
            .into_iter()
            .filter_map(|(at, timer)| Some((at?, timer)))
            .min_by_key(|(at, _)| *at)
    }

    fn connected(&mut self, now: Instant) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Starting;
        match self.config.role {
            Role::Pns => {
                self.until = Some(now + self.config.timing.reply);
                let hello = self.hello();
                self.send(&Message::StartRequest(hello));
            }
            Role::Pac => self.until = Some(now + self.config.timing.idle),
        }
    }

    fn hello(&self) -> Hello {
        let channels = match self.config.role {
            Role::Pns => 0,
            Role::Pac => u16::try_from(self.config.calls).unwrap_or(u16::MAX),
        };
        let (host_name, vendor) = (self.config.host_name.clone(), "Adit".to_owned());
        Hello { version: VERSION, framing: 3, bearer: 3, channels, host_name, vendor }
    }

    fn receive(&mut self, now: Instant, octets: &[u8]) {
        self.received.extend_from_slice(octets);
        self.echo = Some(now + self.config.timing.echo);
        self.echo_out = None;
        while self.phase != Phase::Over {
            match next(&self.received) {
                Ok(Some((message, length))) => {
                    self.received.drain(..length);
                    self.message(now, message);
                }
                Ok(None) => break,
                Err(error) => {
                    // [2637:1.4-1]
                    let text = format!("what the peer sends is not PPTP: {error}");
                    return self.close(Err(failure(FailureCode::PeerMisbehaved, text)));
                }
            }
        }
        if self.received.len() > MOST_PENDING {
            self.close(Err(failure(FailureCode::PeerMisbehaved, "the peer sends more than it may")));
        }
    }

    fn message(&mut self, now: Instant, message: Message) {
        match (self.phase, message) {
            (Phase::Starting, Message::StartRequest(hello)) if self.config.role == Role::Pac => {
                self.started(&hello);
            }
            (Phase::Starting, Message::StartReply(reply)) if self.config.role == Role::Pns => {
                self.start_reply(now, &reply);
            }
            (Phase::Stopping, Message::StopReply { .. }) => self.close(Ok(())),
            (_, Message::StopRequest { reason }) => {
                // [2637:2.4-1]
                self.send(&Message::StopReply { result: RESULT_OK });
                self.close(Err(stopped(reason)));
            }
            (Phase::Established | Phase::Stopping, Message::EchoRequest { identifier }) => {
                // [2637:2.6-1]
                self.send(&Message::EchoReply { identifier, result: RESULT_OK });
            }
            (Phase::Established | Phase::Stopping, message) => self.of_call(now, message),
            // Nothing counts before the connection stands; a peer that says nothing else runs into its time.
            _ => {}
        }
    }

    fn started(&mut self, hello: &Hello) {
        let fits = hello.version == VERSION;
        let result = if fits { RESULT_OK } else { 5 };
        let reply = StartReply { result, error: 0, hello: self.hello() };
        self.send(&Message::StartReply(reply));
        if !fits {
            let text = format!("the peer has PPTP's version {:#06x}", hello.version);
            return self.close(Err(failure(FailureCode::ProposalMismatch, text)));
        }
        self.phase = Phase::Established;
        self.peer(hello);
    }

    fn start_reply(&mut self, now: Instant, reply: &StartReply) {
        if reply.result != RESULT_OK {
            return self.close(Err(start_refused(reply.result, reply.error)));
        }
        (self.phase, self.until) = (Phase::Established, None);
        self.peer(&reply.hello);
        let call = self.number();
        let state = CallState::Opening { incoming: false };
        self.calls.insert(call, Call { state, local: None, peer: None, until: self.reply_until(now) });
        self.ask(call, Ask::Open { peer: None });
    }

    fn peer(&mut self, hello: &Hello) {
        let (host_name, vendor) = (hello.host_name.clone(), hello.vendor.clone());
        self.out.push_back(Output::Event(Event::Peer { host_name, vendor }));
    }

    fn of_call(&mut self, now: Instant, message: Message) {
        match (self.config.role, message) {
            (Role::Pac, Message::OutgoingCallRequest(request)) => self.requested(now, request),
            (Role::Pns, Message::OutgoingCallReply(reply)) => self.replied(reply),
            (Role::Pns, Message::IncomingCallRequest { call_id, .. }) => self.announced(now, call_id),
            (Role::Pns, Message::IncomingCallConnected { peer_call_id }) => {
                if let Some(call) = self.by_local(peer_call_id, CallState::Announced) {
                    self.call_up(call);
                }
            }
            (Role::Pac, Message::CallClearRequest { call_id }) => {
                // [2637:2.13-1]: the peer's ID, and ours back.
                if let Some(call) = self.by_peer(call_id) {
                    let local = self.calls.get(&call).and_then(|c| c.local).unwrap_or_default();
                    self.notify(local, AS_ASKED);
                    let why = failure(FailureCode::PeerClosed, "the peer ended the call");
                    self.call_down(call, Err(why));
                }
            }
            (Role::Pns, Message::CallDisconnectNotify { call_id, result, error }) => {
                if let Some(call) = self.by_peer(call_id) {
                    let ours = self.calls.get(&call).is_some_and(|c| c.state == CallState::Clearing);
                    let why = if ours { Ok(()) } else { Err(disconnected(result, error)) };
                    self.call_down(call, why);
                }
            }
            // Set-Link-Info and WAN-Error-Notify say something of asynchronous lines; here there are none.
            _ => {}
        }
    }

    /// As PAC: somebody places a call.
    fn requested(&mut self, now: Instant, request: OutgoingCall) {
        let refuse = |result, error| {
            let OutgoingCall { call_id: peer_call_id, .. } = request;
            Message::OutgoingCallReply(CallReply { call_id: 0, peer_call_id, result, error, window: 0 })
        };
        if self.by_peer(request.call_id).is_some() {
            return self.send(&refuse(RESULT_ERROR, 5));
        }
        if self.calls.len() >= self.config.calls || self.phase == Phase::Stopping {
            return self.send(&refuse(RESULT_ERROR, NO_RESOURCE));
        }
        self.until = None;
        let call = self.number();
        let state = CallState::Opening { incoming: false };
        let until = self.reply_until(now);
        self.calls.insert(call, Call { state, local: None, peer: Some(request.call_id), until });
        self.ask(call, Ask::Open { peer: Some(request.call_id) });
    }

    /// As PNS: the answer to our call.
    fn replied(&mut self, reply: CallReply) {
        let Some(call) = self.by_local(reply.peer_call_id, CallState::Requested) else { return };
        if reply.result != RESULT_OK {
            return self.call_down(call, Err(call_refused(reply.result, reply.error)));
        }
        if let Some(call) = self.calls.get_mut(&call) {
            call.peer = Some(reply.call_id);
        }
        self.call_up(call);
    }

    /// As PNS: the PAC has a call for us. One at a time; it is taken where ours was not.
    fn announced(&mut self, now: Instant, call_id: u16) {
        if !self.calls.is_empty() || self.phase == Phase::Stopping {
            // 3: do not accept (§2.10).
            let reply = CallReply { call_id: 0, peer_call_id: call_id, result: 3, error: 0, window: 0 };
            return self.send(&Message::IncomingCallReply(reply));
        }
        let call = self.number();
        let state = CallState::Opening { incoming: true };
        let until = self.reply_until(now);
        self.calls.insert(call, Call { state, local: None, peer: Some(call_id), until });
        self.ask(call, Ask::Open { peer: Some(call_id) });
    }

    fn answer(&mut self, now: Instant, id: AskId, answer: Answer) {
        let Some(number) = self.asks.remove(&id) else { return };
        let until = self.reply_until(now);
        let Some(call) = self.calls.get_mut(&number) else { return };
        let CallState::Opening { incoming } = call.state else { return };
        let Answer::CallId(opened) = answer;
        let peer_call_id = call.peer.unwrap_or_default();
        let reply =
            |call_id, result, error| CallReply { call_id, peer_call_id, result, error, window: WINDOW };
        let local = match opened {
            Ok(local) => local,
            Err(why) => {
                let refused = reply(0, RESULT_ERROR, NO_RESOURCE);
                match (self.config.role, incoming) {
                    (Role::Pac, _) => self.send(&Message::OutgoingCallReply(refused)),
                    (Role::Pns, true) => self.send(&Message::IncomingCallReply(refused)),
                    (Role::Pns, false) => {}
                }
                return self.call_down(number, Err(why));
            }
        };
        call.local = Some(local);
        match (self.config.role, incoming) {
            (Role::Pac, _) => {
                // [2637:2.8-1]
                self.send(&Message::OutgoingCallReply(reply(local, RESULT_OK, 0)));
                self.call_up(number);
            }
            (Role::Pns, false) => {
                (call.state, call.until) = (CallState::Requested, until);
                let serial = u16::try_from(number.0 & 0xffff).unwrap_or_default();
                let request = OutgoingCall { call_id: local, serial, window: WINDOW };
                self.send(&Message::OutgoingCallRequest(request));
            }
            (Role::Pns, true) => {
                (call.state, call.until) = (CallState::Announced, until);
                self.send(&Message::IncomingCallReply(reply(local, RESULT_OK, 0)));
            }
        }
    }

    fn call_up(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let (Some(local), Some(peer)) = (call.local, call.peer) else { return };
        (call.state, call.until) = (CallState::Up, None);
        self.out.push_back(Output::Event(Event::CallUp { call: number, local, peer }));
    }

    fn call_down(&mut self, call: CallNumber, why: Result<(), Failure>) {
        if self.calls.remove(&call).is_none() {
            return;
        }
        self.asks.retain(|_, of| *of != call);
        self.out.push_back(Output::Event(Event::CallDown { call, why }));
    }

    fn clear(&mut self, now: Instant, number: CallNumber) {
        let until = Some(now + self.config.timing.farewell);
        let Some(call) = self.calls.get_mut(&number) else { return };
        match (self.config.role, call.local) {
            (Role::Pns, Some(local)) if call.state == CallState::Up => {
                (call.state, call.until) = (CallState::Clearing, until);
                self.send(&Message::CallClearRequest { call_id: local });
            }
            (Role::Pac, Some(local)) => {
                self.notify(local, AS_ASKED);
                self.call_down(number, Ok(()));
            }
            _ => self.call_down(number, Ok(())),
        }
    }

    fn stop(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Established) {
            return self.close(Ok(()));
        }
        let calls: Vec<(CallNumber, Option<u16>)> = self.calls.iter().map(|(n, c)| (*n, c.local)).collect();
        for (call, local) in calls {
            match (self.config.role, local) {
                (Role::Pns, Some(call_id)) => self.send(&Message::CallClearRequest { call_id }),
                (Role::Pac, Some(local)) => self.notify(local, SHUT_DOWN),
                (_, None) => {}
            }
            self.call_down(call, Ok(()));
        }
        self.send(&Message::StopRequest { reason: 1 });
        (self.phase, self.until) = (Phase::Stopping, Some(now + self.config.timing.farewell));
        self.echo = None;
    }

    fn notify(&mut self, call_id: u16, result: u8) {
        self.send(&Message::CallDisconnectNotify { call_id, result, error: 0 });
    }

    fn disconnected(&mut self, why: Option<Failure>) {
        let why = match (self.phase, why) {
            (Phase::Stopping, _) => Ok(()),
            (Phase::Starting, None) => Err(failure(
                FailureCode::PeerClosed,
                "the server closed the control connection before it was up",
            )),
            (_, None) => Err(failure(FailureCode::PeerClosed, "the peer closed the control connection")),
            (_, Some(why)) => Err(why),
        };
        self.close(why);
    }

    fn wake(&mut self, now: Instant) {
        if self.until.is_some_and(|at| at <= now) {
            return match self.phase {
                Phase::Stopping => self.close(Ok(())),
                _ => {
                    let text = match self.config.role {
                        Role::Pns => "the server takes the connection to TCP port 1723 and then says nothing",
                        Role::Pac => "the peer connected and then said nothing",
                    };
                    self.close(Err(failure(FailureCode::ServerUnreachable, text)))
                }
            };
        }
        let late: Vec<CallNumber> =
            self.calls.iter().filter(|(_, c)| c.until.is_some_and(|at| at <= now)).map(|(n, _)| *n).collect();
        for call in late {
            let clearing = self.calls.get(&call).is_some_and(|c| c.state == CallState::Clearing);
            let text = "the server does not answer the call";
            let why = if clearing { Ok(()) } else { Err(failure(FailureCode::ServerUnreachable, text)) };
            self.call_down(call, why);
        }
        if self.phase == Phase::Established && self.echo.is_some_and(|at| at <= now) {
            self.ask_whether_it_lives(now);
        }
    }

    /// [2637:3.1.4-1]
    fn ask_whether_it_lives(&mut self, now: Instant) {
        if self.echo_out.is_some() {
            let text = "the peer does not answer on the control connection";
            return self.close(Err(failure(FailureCode::PeerLost, text)));
        }
        self.last = self.last.wrapping_add(1);
        let identifier = u32::try_from(self.last & 0xffff_ffff).unwrap_or_default();
        self.send(&Message::EchoRequest { identifier });
        (self.echo, self.echo_out) = (Some(now + self.config.timing.echo), Some(identifier));
    }

    fn close(&mut self, why: Result<(), Failure>) {
        self.phase = Phase::Over;
        (self.until, self.echo) = (None, None);
        let calls: Vec<CallNumber> = self.calls.keys().copied().collect();
        calls.into_iter().for_each(|call| self.call_down(call, why.clone()));
        self.out.push_back(Output::Close(why));
    }

    fn by_local(&self, id: u16, state: CallState) -> Option<CallNumber> {
        self.calls.iter().find(|(_, c)| c.local == Some(id) && c.state == state).map(|(n, _)| *n)
    }

    fn by_peer(&self, id: u16) -> Option<CallNumber> {
        self.calls.iter().find(|(_, c)| c.peer == Some(id)).map(|(n, _)| *n)
    }

    fn reply_until(&self, now: Instant) -> Option<Instant> {
        Some(now + self.config.timing.reply)
    }

    fn number(&mut self) -> CallNumber {
        self.last = self.last.wrapping_add(1);
        CallNumber(self.last)
    }

    fn ask(&mut self, call: CallNumber, ask: Ask) {
        self.last = self.last.wrapping_add(1);
        let id = AskId(self.last);
        self.asks.insert(id, call);
        self.out.push_back(Output::Ask { id, call, ask });
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(Output::Transmit(message.emit()));
    }
}
