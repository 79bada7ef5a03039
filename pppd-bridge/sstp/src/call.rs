//! A call ([MS-SSTP] §3): from the HTTP request to the last Call Disconnect Ack.

use std::collections::VecDeque;

use adit_core::{Failure, FailureCode, Instant};

use crate::api::{Config, Event, Input, Output, Role, Timer};
use crate::binding::{self, HashProtocol, Hlak};
use crate::explain::{aborted, disconnected, failure, http as http_refused, not_http, refused};
use crate::wire::{CryptoBinding, Invalid, Message, Packet, Status, StatusInfo, attribute, next};
use crate::{frame, http};

/// Call Connect Naks that a client gets before its call is broken off.
const MOST_NAKS: u8 = 3;
/// What is wrong with octets that are no packet.
const OUT_OF_STEP: &str = "what the peer sends is not SSTP";

/// [MS-SSTP] §3.1.1, §3.2.1.1.1, §3.3.1.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// TLS is on its way.
    Idle,
    /// The HTTP head is awaited.
    Http,
    /// Client_Connect_Request_Sent, Server_Connect_Request_Pending.
    Request,
    /// Client_Connect_Ack_Received, Server_Call_Connected_Pending: PPP negotiates, and nothing of the network passes.
    Pending,
    /// Client_Call_Connected, Server_Call_Connected.
    Connected,
    /// Call_Abort_Pending, or a wait after an abort: nothing counts but a Call Abort.
    Aborting,
    /// Call_Disconnect_Ack_Pending.
    Disconnecting,
    /// A wait for what the peer still has to read.
    Leaving,
    /// The same, of somebody who does not speak SSTP: nothing more is heard.
    Answered,
    Over,
}

/// A call.
pub struct Call {
    config: Config,
    state: State,
    received: Vec<u8>,
    /// Until then something must have come.
    until: Option<Instant>,
    /// The peer has been asked whether it lives.
    asked: bool,
    naks: u8,
    hlak: Option<Hlak>,
    /// What the client may prove itself by: the server's nonce, and the hash that we choose.
    offered: Option<(HashProtocol, [u8; 32])>,
    /// A Call Connected that has come before the authentication was over here.
    early: Option<(Vec<u8>, CryptoBinding)>,
    /// Why it ends, once it does.
    reason: Result<(), Failure>,
    out: VecDeque<Output>,
}

impl Call {
    /// One that waits for TLS ([`Input::Connected`]). A client dials by itself.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Idle,
            received: Vec::new(),
            until: None,
            asked: false,
            naks: 0,
            hlak: None,
            offered: None,
            early: None,
            reason: Ok(()),
            out: VecDeque::new(),
        }
    }

    /// Tells it something; then [`Call::poll`] until `None`.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.state == State::Over {
            return;
        }
        match input {
            Input::Connected => self.connected(now),
            Input::Received(octets) => self.receive(now, octets),
            Input::Disconnected(why) => self.lost(why),
            Input::Frame(frame) => self.send_frame(frame),
            Input::Authenticated(hlak) => self.authenticated(now, hlak),
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
        let timer = match self.state {
            State::Connected => Timer::Hello,
            State::Aborting => Timer::Abort,
            State::Disconnecting | State::Leaving | State::Answered => Timer::Disconnect,
            State::Idle | State::Http | State::Request | State::Pending | State::Over => Timer::Negotiation,
        };
        self.until.map(|at| (at, timer))
    }

    /// Whether packets of the network pass.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.state == State::Connected
    }

    fn connected(&mut self, now: Instant) {
        if self.state != State::Idle {
            return;
        }
        (self.state, self.until) = (State::Http, Some(now + self.config.timing.negotiation));
        if let Role::Client { host, correlation } = &self.config.role {
            let request = http::open(host, *correlation);
            self.out.push_back(Output::Transmit(request));
        }
    }

    fn receive(&mut self, now: Instant, octets: &[u8]) {
        if self.state == State::Answered {
            return;
        }
        if self.state == State::Connected {
            (self.until, self.asked) = (Some(now + self.config.timing.hello), false);
        }
        // Most come whole: then nothing is kept, and nothing copied.
        let mut kept = core::mem::take(&mut self.received);
        let received = match kept.is_empty() {
            true => octets,
            false => {
                kept.extend_from_slice(octets);
                &kept
            }
        };
        let mut at = if self.state == State::Http { self.head(now, received) } else { 0 };
        while !matches!(self.state, State::Idle | State::Http | State::Answered | State::Over) {
            match next(received.get(at..).unwrap_or_default()) {
                Ok(Some((packet, length))) => {
                    at = at.saturating_add(length);
                    self.packet(now, packet);
                }
                Ok(None) => break,
                // §3.1.5.1: the stream can't be relied on, also for saying so.
                Err(error) => {
                    let why = failure(FailureCode::PeerMisbehaved, format!("{OUT_OF_STEP}: {error}"));
                    return self.close(Err(why));
                }
            }
        }
        if !matches!(self.state, State::Answered | State::Over) {
            self.received = received.get(at..).unwrap_or_default().to_vec();
        }
    }

    /// The HTTP head, once it is whole: how long it is.
    fn head(&mut self, now: Instant, received: &[u8]) -> usize {
        match self.config.role {
            Role::Client { .. } => match http::response(received) {
                Ok(None) => return 0,
                Ok(Some(((200, _), length))) => {
                    self.state = State::Request;
                    self.until = Some(now + self.config.timing.negotiation);
                    self.send(&Message::ConnectRequest { protocol: crate::wire::PPP });
                    return length;
                }
                Ok(Some(((status, words), _))) => self.close(Err(http_refused(status, &words))),
                Err(_) => self.close(Err(not_http())),
            },
            Role::Server { .. } => match http::request(received) {
                Ok(None) => return 0,
                Ok(Some((request, length))) if request.is_sstp() => {
                    self.state = State::Request;
                    self.until = Some(now + self.config.timing.negotiation);
                    self.out.push_back(Output::Transmit(http::accept()));
                    let http::Request { host, correlation, .. } = request;
                    self.out.push_back(Output::Event(Event::Peer { host, correlation }));
                    return length;
                }
                Ok(Some((request, _))) => self.stranger(now, request.line(), request.answer()),
                Err(why) => self.stranger(now, "no HTTP".into(), http::refuse(why)),
            },
        }
        0
    }

    /// Whoever it is has the time to read the answer.
    fn stranger(&mut self, now: Instant, line: String, answer: Vec<u8>) {
        self.out.push_back(Output::Transmit(answer));
        self.out.push_back(Output::Event(Event::Stranger(line)));
        (self.state, self.until) = (State::Answered, Some(now + self.config.timing.disconnect.1));
    }

    fn packet(&mut self, now: Instant, packet: Packet<'_>) {
        match packet {
            Packet::Data(frame) => self.data(frame),
            Packet::Control(packet) => match Message::parse(packet) {
                Ok(message) => self.message(now, packet, message),
                Err(_) if matches!(self.state, State::Aborting | State::Leaving) => {}
                Err(error) => self.invalid(now, error),
            },
        }
    }

    /// PPP's own frames pass as soon as the call is acknowledged; the network's when it is bound.
    fn data(&mut self, frame: &[u8]) {
        let Some((protocol, frame)) = frame::unpack(frame) else { return };
        if self.passes(protocol) {
            self.out.push_back(Output::Frame(frame));
        }
    }

    fn passes(&self, protocol: u16) -> bool {
        match self.state {
            State::Connected => true,
            State::Pending => frame::is_control(protocol),
            _ => false,
        }
    }

    fn send_frame(&mut self, frame: &[u8]) {
        let passes = frame::protocol(frame).is_some_and(|protocol| self.passes(protocol));
        if let Some(packet) = passes.then(|| frame::pack(frame)).flatten() {
            self.out.push_back(Output::Transmit(packet));
        }
    }

    fn message(&mut self, now: Instant, packet: &[u8], message: Message) {
        let is_client = matches!(self.config.role, Role::Client { .. });
        match (self.state, message) {
            // §3.1.2.1: while aborting, only the peer's Call Abort counts.
            (State::Aborting, Message::Abort(_)) => {
                (self.state, self.until) = (State::Leaving, Some(now + self.config.timing.abort.1));
            }
            (State::Aborting | State::Leaving, _) => {}
            (_, Message::Abort(why)) => {
                self.reason = Err(aborted(why.as_ref()));
                self.send(&Message::Abort(None));
                (self.state, self.until) = (State::Leaving, Some(now + self.config.timing.abort.1));
            }
            (State::Disconnecting, Message::DisconnectAck) => self.close(self.reason.clone()),
            (state, Message::Disconnect(why)) => {
                if state != State::Disconnecting {
                    self.reason = Err(disconnected(why.as_ref()));
                }
                self.send(&Message::DisconnectAck);
                (self.state, self.until) = (State::Leaving, Some(now + self.config.timing.disconnect.1));
            }
            (State::Disconnecting, _) => {}
            (State::Connected, Message::EchoRequest) => self.send(&Message::EchoResponse),
            (State::Connected, Message::EchoResponse) => {}
            (State::Request, Message::ConnectAck { hashes, nonce }) if is_client => {
                self.acknowledged(now, hashes, nonce);
            }
            // There is nothing but PPP that could be asked for instead.
            (State::Request, Message::ConnectNak(why)) if is_client => {
                self.abort(now, None, refused(&why));
            }
            (State::Request, Message::ConnectRequest { protocol }) if !is_client => {
                self.requested(now, protocol);
            }
            (State::Pending, Message::Connected(binding)) if !is_client && self.early.is_none() => {
                self.early = Some((packet.to_vec(), binding));
                self.bind(now);
            }
            (_, _) => {
                let status = StatusInfo::of(attribute::NONE, Status::UNACCEPTED_FRAME);
                let why =
                    failure(FailureCode::PeerMisbehaved, "the peer sends an SSTP message at the wrong time");
                self.abort(now, Some(status), why);
            }
        }
    }

    /// As server.
    fn requested(&mut self, now: Instant, protocol: u16) {
        let Role::Server { nonce, hashes } = &self.config.role else { return };
        if protocol != crate::wire::PPP {
            self.naks = self.naks.saturating_add(1);
            let id = attribute::ENCAPSULATED_PROTOCOL;
            if self.naks > MOST_NAKS {
                let why = failure(FailureCode::PeerMisbehaved, "the client wants another protocol than PPP");
                return self.abort(now, Some(StatusInfo::of(id, Status::RETRY_COUNT)), why);
            }
            let value = protocol.to_be_bytes().to_vec();
            let refused = StatusInfo { attribute: id, status: Status::NOT_SUPPORTED, value };
            self.until = Some(now + self.config.timing.negotiation);
            return self.send(&Message::ConnectNak(vec![refused]));
        }
        let hashes = hashes.iter().fold(0, |all, hash| all | hash.bit());
        let acknowledgement = Message::ConnectAck { hashes, nonce: *nonce };
        self.send(&acknowledgement);
        self.pending(now);
    }

    /// As client.
    fn acknowledged(&mut self, now: Instant, hashes: u8, nonce: [u8; 32]) {
        let ours = [HashProtocol::Sha256, HashProtocol::Sha1];
        let Some(hash) = ours.into_iter().find(|hash| hash.bit() & hashes != 0) else {
            let status = StatusInfo::of(attribute::CRYPTO_BINDING_REQUEST, Status::NOT_SUPPORTED);
            let text = "the server wants a crypto binding with neither SHA-256 nor SHA-1";
            return self.abort(now, Some(status), failure(FailureCode::ProposalMismatch, text));
        };
        self.offered = Some((hash, nonce));
        self.pending(now);
    }

    fn pending(&mut self, now: Instant) {
        (self.state, self.until) = (State::Pending, Some(now + self.config.timing.negotiation));
        self.out.push_back(Output::Event(Event::LinkUp));
    }

    fn authenticated(&mut self, now: Instant, hlak: Hlak) {
        if self.state != State::Pending {
            return;
        }
        self.hlak = Some(hlak);
        self.bind(now);
    }

    /// Once both are there: the keys of the authentication, and what the other end has said.
    fn bind(&mut self, now: Instant) {
        let Some(hlak) = &self.hlak else { return };
        let hash = match (&self.config.role, self.offered, &self.early) {
            (Role::Client { .. }, Some((hash, nonce)), _) => {
                let proof = binding::prove(hlak, hash, nonce, &self.config.certificate);
                self.send(&Message::Connected(proof));
                hash
            }
            (Role::Server { nonce, hashes }, _, Some((packet, binding))) => {
                match binding::verify(packet, binding, hlak, (hashes, nonce), &self.config.certificate) {
                    Ok(hash) => hash,
                    Err(what) => {
                        let status = StatusInfo::of(attribute::CRYPTO_BINDING, Status::NOT_SUPPORTED);
                        let text = format!("the client's crypto binding is refused: {what}");
                        let why = failure(FailureCode::AuthenticationFailed, text)
                            .hint("something may stand between both ends and end TLS itself");
                        return self.abort(now, Some(status), why);
                    }
                }
            }
            _ => return,
        };
        self.hlak = None;
        (self.state, self.until) = (State::Connected, Some(now + self.config.timing.hello));
        self.out.push_back(Output::Event(Event::Bound(hash)));
    }

    fn invalid(&mut self, now: Instant, error: Invalid) {
        let text = format!("the peer sends an SSTP message that is malformed: {}", error.why);
        let status = StatusInfo::of(error.attribute, error.status);
        self.abort(now, Some(status), failure(FailureCode::PeerMisbehaved, text));
    }

    /// §3.1.5.1.
    fn abort(&mut self, now: Instant, status: Option<StatusInfo>, why: Failure) {
        if matches!(self.state, State::Aborting | State::Leaving | State::Answered | State::Over) {
            return;
        }
        self.reason = Err(why);
        self.send(&Message::Abort(status));
        (self.state, self.until) = (State::Aborting, Some(now + self.config.timing.abort.0));
    }

    fn stop(&mut self, now: Instant) {
        match self.state {
            State::Request | State::Pending | State::Connected => {
                self.send(&Message::Disconnect(Some(StatusInfo::of(attribute::NONE, Status::NO_ERROR))));
                (self.state, self.until) =
                    (State::Disconnecting, Some(now + self.config.timing.disconnect.0));
            }
            State::Idle | State::Http => self.close(Ok(())),
            State::Aborting | State::Disconnecting | State::Leaving | State::Answered | State::Over => {}
        }
    }

    fn lost(&mut self, why: Option<Failure>) {
        let why = match (self.state, why) {
            (State::Aborting | State::Disconnecting | State::Leaving | State::Answered, _) => {
                self.reason.clone()
            }
            (_, Some(why)) => Err(why),
            (State::Http, None) => Err(failure(
                FailureCode::PeerClosed,
                "the connection was closed before there was an answer to SSTP's HTTP request",
            )),
            (_, None) => Err(failure(FailureCode::PeerClosed, "the peer closed the connection")),
        };
        self.close(why);
    }

    fn wake(&mut self, now: Instant) {
        if self.until.is_none_or(|at| at > now) {
            return;
        }
        match self.state {
            State::Connected if !self.asked => {
                self.send(&Message::EchoRequest);
                (self.until, self.asked) = (Some(now + self.config.timing.hello), true);
            }
            // §3.1.2.3: nobody is there to be told.
            State::Connected => {
                self.close(Err(failure(FailureCode::PeerLost, "the peer does not answer any more")));
            }
            State::Http => {
                let text = match self.config.role {
                    Role::Client { .. } => "the server does not answer SSTP's HTTP request",
                    Role::Server { .. } => "the peer connected, and then asked for nothing",
                };
                self.close(Err(failure(FailureCode::ServerUnreachable, text)));
            }
            State::Request | State::Pending => {
                let text = match self.state {
                    State::Request => "the peer goes no further than HTTP",
                    _ => "the authentication inside of the call took too long",
                };
                let status = StatusInfo::of(attribute::NONE, Status::TIMEOUT);
                self.abort(now, Some(status), failure(FailureCode::TimedOut, text));
            }
            State::Aborting | State::Disconnecting | State::Leaving | State::Answered => {
                self.close(self.reason.clone());
            }
            State::Idle | State::Over => self.until = None,
        }
    }

    fn close(&mut self, why: Result<(), Failure>) {
        self.state = State::Over;
        (self.until, self.hlak, self.early) = (None, None, None);
        self.received = Vec::new();
        self.out.push_back(Output::Close(why));
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(Output::Transmit(message.emit()));
    }
}
