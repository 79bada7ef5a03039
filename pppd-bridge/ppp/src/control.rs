//! A control protocol that runs by the automaton: LCP and every NCP are this, with options of their own.

use core::time::Duration;

use adit_core::{Entropy, Instant};

use crate::automaton::{Action, Event, State};
use crate::config::Timing;
use crate::wire::{Code, Options, Packet, Protocol, emit_frame, emit_packet};
use adit_core::snapshot::{Reader, Writer};

/// Max-Configure (RFC 1661 §4.6).
const MAX_CONFIGURE: u8 = 10;
/// Max-Terminate.
const MAX_TERMINATE: u8 = 2;
/// Max-Failure.
const MAX_FAILURE: u8 = 5;
/// As many Naks and Rejects of ours in a row show that the peer will never agree.
const MAX_REFUSALS: u8 = 20;

/// What a Configure-Request is answered with.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// All of it is fine.
    Ack,
    /// These values instead, and perhaps options that were missing.
    Nak(Vec<u8>),
    /// Not these options at all.
    Reject(Vec<u8>),
}

/// What the options of one control protocol mean.
pub(crate) trait Negotiation {
    const PROTOCOL: Protocol;
    /// A Configure-Request that is sent again has an Identifier of its own (RFC 1661 §5.1 leaves that to us).
    const EACH_REQUEST_IS_NEW: bool = false;
    /// The options of our Configure-Request as they stand.
    fn request(&mut self, entropy: &mut dyn Entropy) -> Vec<u8>;
    /// Negotiation begins anew.
    fn restart(&mut self);
    /// The peer's request. What is acknowledged holds from then on.
    fn judge(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) -> Judgement;
    /// The peer would rather have these values.
    fn naked(&mut self, options: Options<'_>, entropy: &mut dyn Entropy);
    /// The peer does not have these options.
    fn rejected(&mut self, options: Options<'_>);
    /// Whether what the peer has said leaves nothing to ask for: whoever drives this ends it.
    fn gives_up(&self) -> bool {
        false
    }
    /// Whether our first request may have gone before the peer could hear: what the peer then asks shows that it can.
    fn comes_early(&self) -> bool {
        false
    }
    /// Whether a code beyond the seven common ones is known.
    fn knows(&self, _code: Code) -> bool {
        false
    }
}

/// What the layers above and below are to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layer {
    Up,
    Down,
    Finished,
}

/// What came of an input, in order.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Frames to send.
    pub(crate) frames: Vec<Vec<u8>>,
    /// What changed. [`Layer::Up`] comes after the frames, the others before.
    pub(crate) layers: Vec<Layer>,
}

pub(crate) struct Control<N> {
    pub(crate) options: N,
    state: State,
    restart_counter: u8,
    deadline: Option<Instant>,
    pause: Duration,
    timing: Timing,
    /// Identifier of the newest packet that we began.
    identifier: u8,
    /// Options of our Configure-Request that has no answer yet.
    request: Option<Vec<u8>>,
    /// Naks since the last Ack.
    naks: u8,
    /// Naks and Rejects that came since the last Ack.
    refusals: u8,
    /// The peer has said something.
    heard: bool,
    /// The peer's Configure-Request that was acknowledged last.
    acked: Option<(u8, Vec<u8>)>,
    /// What the last Terminate-Request of the peer said.
    farewell: Option<Vec<u8>>,
    /// What ours says.
    reason: Vec<u8>,
}

/// What the automaton's actions work on.
struct Material<'a> {
    identifier: u8,
    answer: Option<(Code, Vec<u8>)>,
    received: &'a [u8],
}

impl<N: Negotiation> Control<N> {
    pub(crate) fn new(options: N, timing: Timing) -> Self {
        Self {
            options,
            state: State::Initial,
            restart_counter: 0,
            deadline: None,
            pause: timing.restart_first,
            timing,
            identifier: 0,
            request: None,
            naks: 0,
            refusals: 0,
            heard: false,
            acked: None,
            farewell: None,
            reason: Vec::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Opened
    }

    /// Whether it is over: nothing is negotiated, and nothing will be unless the peer begins.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, State::Stopped | State::Closed | State::Initial)
    }

    /// Whether nothing is negotiated, nor being ended: both have agreed, or nothing comes of it unless the peer begins again.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.state, State::Opened | State::Stopped) && self.deadline.is_none()
    }

    /// What the next process needs of one that rests.
    pub(crate) fn save(&self, w: &mut Writer, options: impl FnOnce(&mut Writer, &N)) {
        options(w, &self.options);
        w.flag(self.is_open());
        w.u8(self.identifier);
        w.flag(self.heard);
        w.option(self.acked.as_ref(), |w, (identifier, options)| {
            w.u8(*identifier);
            w.bytes(options);
        });
    }

    /// The same, read.
    pub(crate) fn restore<'a>(
        r: &mut Reader<'a>,
        timing: Timing,
        options: impl FnOnce(&mut Reader<'a>) -> Option<N>,
    ) -> Option<Self> {
        let options = options(r)?;
        let state = if r.flag()? { State::Opened } else { State::Stopped };
        Some(Self {
            state,
            restart_counter: MAX_CONFIGURE,
            identifier: r.u8()?,
            heard: r.flag()?,
            acked: r.option(|r| Some((r.u8()?, r.bytes()?.to_vec())))?,
            ..Self::new(options, timing)
        })
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the peer's Terminate-Request said.
    pub(crate) fn farewell(&self) -> Option<&[u8]> {
        self.farewell.as_deref()
    }

    /// What our Terminate-Request is to say.
    pub(crate) fn say(&mut self, reason: &str) {
        self.reason = reason.as_bytes().get(..200).unwrap_or(reason.as_bytes()).to_vec();
    }

    pub(crate) fn event(&mut self, now: Instant, entropy: &mut dyn Entropy, event: Event) -> Outcome {
        if event == Event::Up {
            self.options.restart();
            (self.naks, self.refusals) = (0, 0);
            (self.request, self.acked, self.farewell) = (None, None, None);
        }
        self.step(now, entropy, event, Material { identifier: 0, answer: None, received: &[] })
    }

    /// The time has come.
    pub(crate) fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Outcome {
        if self.deadline.is_none_or(|at| at > now) {
            return Outcome::default();
        }
        // [1661:4.3-1]
        let event = if self.restart_counter > 0 { Event::TimeoutAgain } else { Event::TimeoutLast };
        self.event(now, entropy, event)
    }

    /// The peer's Configure-Request that is acknowledged already, word for word: its Ack was lost (§5.1).
    pub(crate) fn is_repeated(&self, packet: Packet<'_>) -> bool {
        self.state == State::Opened
            && self.acked.as_ref().is_some_and(|(id, asked)| *id == packet.identifier && asked == packet.data)
    }

    /// Both had agreed, and our own half is asked for once more; the peer's stands. It is not asked again before the answer can
    /// be here, however long the way.
    pub(crate) fn ask_again(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Outcome {
        if self.state != State::Opened {
            return Outcome::default();
        }
        self.state = State::AckSent;
        self.request = None;
        self.restart_counter = MAX_CONFIGURE;
        self.pause = self.timing.restart_last;
        let request = emit_frame(N::PROTOCOL, &self.configure(now, entropy));
        Outcome { frames: vec![request], layers: Vec::new() }
    }

    /// A packet of this protocol came. Codes beyond the common ones that the options know are the caller's.
    pub(crate) fn packet(&mut self, now: Instant, entropy: &mut dyn Entropy, bytes: &[u8]) -> Outcome {
        let Ok(packet) = Packet::parse(bytes) else { return Outcome::default() };
        let first = !core::mem::replace(&mut self.heard, true);
        match packet.code {
            Code::CONFIGURE_REQUEST if first && self.state == State::RequestSent => {
                let early = self.early_request();
                let mut outcome = self.configure_request(now, entropy, packet);
                outcome.frames.splice(0..0, early);
                outcome
            }
            Code::CONFIGURE_REQUEST => self.configure_request(now, entropy, packet),
            Code::CONFIGURE_ACK => self.configure_ack(now, entropy, packet),
            Code::CONFIGURE_NAK | Code::CONFIGURE_REJECT => self.configure_nak(now, entropy, packet),
            Code::TERMINATE_REQUEST => {
                if self.state == State::Opened {
                    self.farewell = Some(packet.data.get(..200).unwrap_or(packet.data).to_vec());
                }
                let identifier = packet.identifier;
                let material = Material { identifier, answer: None, received: &[] };
                self.step(now, entropy, Event::ReceiveTerminateRequest, material)
            }
            Code::TERMINATE_ACK => self.event(now, entropy, Event::ReceiveTerminateAck),
            Code::CODE_REJECT => self.code_reject(now, entropy, packet),
            other if self.options.knows(other) => Outcome::default(),
            _ => {
                // [1661:5-1] [1661:5.6-1]
                let material = Material { identifier: 0, answer: None, received: bytes };
                self.step(now, entropy, Event::ReceiveUnknownCode, material)
            }
        }
    }

    /// Our request as it is, word for word, where the peer may not have heard it: nobody waits for the restart timer. It goes
    /// before our answer, so that it can't look like a new negotiation.
    fn early_request(&self) -> Option<Vec<u8>> {
        let options = self.request.as_ref().filter(|_| self.options.comes_early())?;
        Some(emit_frame(N::PROTOCOL, &emit_packet(Code::CONFIGURE_REQUEST, self.identifier, &[options])))
    }

    fn configure_request(&mut self, now: Instant, entropy: &mut dyn Entropy, packet: Packet<'_>) -> Outcome {
        let Ok(options) = Options::parse(packet.data) else { return Outcome::default() };
        let (identifier, received) = (packet.identifier, packet.data);
        if self.is_repeated(packet) {
            // Not a new negotiation.
            let ack = emit_packet(Code::CONFIGURE_ACK, identifier, &[received]);
            return Outcome { frames: vec![emit_frame(N::PROTOCOL, &ack)], layers: Vec::new() };
        }
        if self.state == State::Stopped || self.state == State::Opened {
            self.options.restart();
            self.naks = 0;
        }
        let (event, code, answer) = match self.converge(options, entropy) {
            // [1661:5.2-1]
            Judgement::Ack => (Event::ReceiveGoodRequest, Code::CONFIGURE_ACK, received.to_vec()),
            Judgement::Nak(values) => (Event::ReceiveBadRequest, Code::CONFIGURE_NAK, values),
            Judgement::Reject(those) => (Event::ReceiveBadRequest, Code::CONFIGURE_REJECT, those),
        };
        self.acked = (code == Code::CONFIGURE_ACK).then(|| (identifier, received.to_vec()));
        self.step(now, entropy, event, Material { identifier, answer: Some((code, answer)), received })
    }

    /// After Max-Failure Naks what would be one more is a Reject, and we wish for nothing more. [1661:4.6-1]
    fn converge(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) -> Judgement {
        match self.options.judge(options, entropy) {
            Judgement::Nak(values) if self.naks >= MAX_FAILURE => {
                let wished: Vec<u8> =
                    Options::parse(&values).map(|o| o.iter().map(|o| o.kind).collect()).unwrap_or_default();
                let theirs = options.iter().filter(|o| wished.contains(&o.kind));
                match crate::wire::emit_options(theirs) {
                    those if those.is_empty() => Judgement::Ack,
                    those => Judgement::Reject(those),
                }
            }
            Judgement::Nak(values) => {
                self.naks = self.naks.saturating_add(1);
                Judgement::Nak(values)
            }
            Judgement::Ack => {
                self.naks = 0;
                Judgement::Ack
            }
            reject @ Judgement::Reject(_) => reject,
        }
    }

    fn configure_ack(&mut self, now: Instant, entropy: &mut dyn Entropy, packet: Packet<'_>) -> Outcome {
        // [1661:5.2-2] [1661:5.2-3]
        if packet.identifier != self.identifier || self.request.as_deref() != Some(packet.data) {
            return Outcome::default();
        }
        (self.request, self.refusals) = (None, 0);
        self.event(now, entropy, Event::ReceiveAck)
    }

    fn configure_nak(&mut self, now: Instant, entropy: &mut dyn Entropy, packet: Packet<'_>) -> Outcome {
        // [1661:5.3-1] [1661:5.4-1]
        let Ok(options) = Options::parse(packet.data) else { return Outcome::default() };
        let Some(ours) = self.request.as_deref().filter(|_| packet.identifier == self.identifier) else {
            return Outcome::default();
        };
        if packet.code == Code::CONFIGURE_REJECT {
            // [1661:5.4-2]: what is rejected must be ours.
            let asked: Vec<_> = Options::parse(ours).map(|o| o.iter().collect()).unwrap_or_default();
            if options.iter().next().is_none() || !options.iter().all(|o| asked.contains(&o)) {
                return Outcome::default();
            }
            self.options.rejected(options);
        } else {
            self.options.naked(options, entropy);
        }
        self.request = None;
        if self.options.gives_up() {
            return Outcome::default();
        }
        self.refusals = self.refusals.saturating_add(1);
        // Nothing in RFC 1661 ends a negotiation that goes round in circles as fast as the line.
        let event = match self.refusals > MAX_REFUSALS {
            true => Event::ReceiveCatastrophicReject,
            false => Event::ReceiveNak,
        };
        self.event(now, entropy, event)
    }

    /// A code that every implementation has to know is rejected only by one that can't go on.
    fn code_reject(&mut self, now: Instant, entropy: &mut dyn Entropy, packet: Packet<'_>) -> Outcome {
        let event = match packet.data.first() {
            Some(1..=7) => Event::ReceiveCatastrophicReject,
            _ => Event::ReceivePermittedReject,
        };
        self.event(now, entropy, event)
    }

    fn step(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        event: Event,
        material: Material<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let Some((actions, next)) = self.state.after(event) else { return outcome };
        self.state = next;
        for action in actions {
            self.act(now, entropy, *action, actions, &material, &mut outcome);
        }
        if !self.state.waits() {
            self.deadline = None;
        } else if matches!(event, Event::TimeoutAgain) || self.deadline.is_none() {
            self.deadline = Some(now + self.pause);
        }
        outcome
    }

    fn act(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        action: Action,
        all: &[Action],
        material: &Material<'_>,
        outcome: &mut Outcome,
    ) {
        let Material { identifier, received, .. } = *material;
        let packet = match action {
            Action::LayerUp => return outcome.layers.push(Layer::Up),
            Action::LayerDown => return outcome.layers.push(Layer::Down),
            Action::LayerFinished => return outcome.layers.push(Layer::Finished),
            Action::LayerStarted => return,
            Action::InitRestartCount => {
                let ending = all.contains(&Action::SendTerminateRequest);
                self.restart_counter = if ending { MAX_TERMINATE } else { MAX_CONFIGURE };
                self.pause = self.timing.restart_first;
                return;
            }
            Action::ZeroRestartCount => {
                self.restart_counter = 0;
                self.deadline = Some(now + self.timing.restart_last);
                return;
            }
            Action::SendConfigureRequest => self.configure(now, entropy),
            Action::SendConfigureAck | Action::SendConfigureNak => match &material.answer {
                Some((code, options)) => emit_packet(*code, identifier, &[options]),
                None => return,
            },
            Action::SendTerminateRequest => {
                self.count_down(now);
                self.identifier = self.identifier.wrapping_add(1);
                emit_packet(Code::TERMINATE_REQUEST, self.identifier, &[&self.reason])
            }
            Action::SendTerminateAck => emit_packet(Code::TERMINATE_ACK, identifier, &[]),
            Action::SendCodeReject => {
                self.identifier = self.identifier.wrapping_add(1);
                emit_packet(Code::CODE_REJECT, self.identifier, &[received.get(..64).unwrap_or(received)])
            }
            // Echoes are LCP's own.
            Action::SendEchoReply => return,
        };
        outcome.frames.push(emit_frame(N::PROTOCOL, &packet));
    }

    /// The Identifier changes with the options, and when the last one was answered.
    fn configure(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Vec<u8> {
        self.count_down(now);
        let options = match self.request.take().filter(|_| !N::EACH_REQUEST_IS_NEW) {
            Some(same) => same,
            // [1661:5.1-1]
            None => {
                self.identifier = self.identifier.wrapping_add(1);
                self.options.request(entropy)
            }
        };
        let packet = emit_packet(Code::CONFIGURE_REQUEST, self.identifier, &[&options]);
        self.request = Some(options);
        packet
    }

    fn count_down(&mut self, now: Instant) {
        self.restart_counter = self.restart_counter.saturating_sub(1);
        self.deadline = Some(now + self.pause);
        self.pause = self.pause.saturating_mul(2).min(self.timing.restart_last);
    }
}
