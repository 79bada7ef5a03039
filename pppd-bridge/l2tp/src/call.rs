//! Sessions of a control connection (RFC 2661 §5.2, §7.3 to §7.5).

use adit_core::snapshot::{Reader, Writer};
use adit_core::{Failure, FailureCode, Instant};

use crate::api::{Ask, Call, Event, Ids, SessionNumber};
use crate::explain::{disconnected, failure};
use crate::tunnel::{
    GENERAL_ERROR, Plan, State as TunnelState, Tunnel, UNKNOWN_AVP, World, unknown_avp, unused,
};
use crate::wire::{Connected, IncomingCall, Message, OutgoingCall, Read, ResultCode};

/// CDN's Result Codes (§4.4.2).
const ADMINISTRATIVE: u16 = 3;
const NO_FACILITIES: u16 = 4;
const NOT_IN_TIME: u16 = 10;
/// Error Code: insufficient resources.
const NO_RESOURCES: u16 = 4;
/// Bits a second that are claimed: nothing limits a call here.
const SPEED: u32 = 100_000_000;
/// Framing Type: synchronous.
const SYNCHRONOUS: u32 = 1;

/// Who has begun it, and what we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// We, as LAC.
    OurIncoming,
    /// The peer, as LAC.
    TheirIncoming,
    /// We, as LNS.
    OurOutgoing,
    /// The peer, as LNS.
    TheirOutgoing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Our request is out.
    Requested,
    /// The kernel gets ready; whether the peer has said Connected already, and wants sequence numbers.
    Opening(Option<bool>),
    /// Our reply is out, or the LAC dials: Connected is awaited.
    Connecting,
    Up,
}

/// A session.
pub(crate) struct Session {
    origin: Origin,
    state: State,
    pub(crate) local: u16,
    peer: Option<u16>,
    pub(crate) until: Option<Instant>,
}

impl Session {
    /// Whether somebody else could go on with it from here.
    pub(crate) fn can_be_left(&self) -> bool {
        self.state == State::Up && self.peer.is_some()
    }

    /// One that is up.
    pub(crate) fn save(&self, w: &mut Writer) {
        w.u8(match self.origin {
            Origin::OurIncoming => 0,
            Origin::TheirIncoming => 1,
            Origin::OurOutgoing => 2,
            Origin::TheirOutgoing => 3,
        });
        w.u16(self.local);
        w.u16(self.peer.unwrap_or(0));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let origin = match r.u8()? {
            0 => Origin::OurIncoming,
            1 => Origin::TheirIncoming,
            2 => Origin::OurOutgoing,
            3 => Origin::TheirOutgoing,
            _ => return None,
        };
        let (local, peer) = (r.u16()?, r.u16()?);
        let right = local != 0 && peer != 0;
        right.then_some(Self { origin, state: State::Up, local, peer: Some(peer), until: None })
    }

    /// Whether we are its LNS.
    pub(crate) const fn is_lns(&self) -> bool {
        matches!(self.origin, Origin::TheirIncoming | Origin::OurOutgoing)
    }

    /// The peer's Session ID.
    pub(crate) const fn of_peer(&self) -> Option<u16> {
        self.peer
    }
}

impl Tunnel {
    /// Places a call.
    // [2661:6.6-1]
    pub(crate) fn place(&mut self, world: &mut World<'_>, call: Call) {
        if self.state != TunnelState::Established {
            return;
        }
        let origin = match call {
            Call::Incoming => Origin::OurIncoming,
            Call::Outgoing { .. } => Origin::OurOutgoing,
        };
        let number = SessionNumber(world.number());
        let Some(session) = self.add(world, number, origin, State::Requested, None) else { return };
        let serial = (number.0 & 0xffff_ffff) as u32;
        let message = match call {
            Call::Incoming => Message::Icrq(IncomingCall { session, serial, called: None, calling: None }),
            Call::Outgoing { called } => Message::Ocrq(OutgoingCall { session, serial, called }),
        };
        self.say(world, 0, &message);
    }

    fn add(
        &mut self,
        world: &mut World<'_>,
        number: SessionNumber,
        origin: Origin,
        state: State,
        peer: Option<u16>,
    ) -> Option<u16> {
        let local = unused(world.entropy, |id| self.sessions.values().any(|s| s.local == id))?;
        let until = Some(world.now + world.config.timing.reply);
        self.sessions.insert(number, Session { origin, state, local, peer, until });
        Some(local)
    }

    /// A message of a call, in a tunnel that is up.
    pub(crate) fn of_call(&mut self, world: &mut World<'_>, session: u16, read: Read) {
        let of_peer = match &read.message {
            Message::Cdn { session, .. } => Some(*session),
            _ => None,
        };
        if let Some(unknown) = read.unknown.filter(|_| of_peer.is_none()) {
            return self.not_understood(world, session, &read.message, unknown);
        }
        match read.message {
            Message::Icrq(call) => self.wanted(world, call.session, Origin::TheirIncoming),
            Message::Ocrq(call) => self.wanted(world, call.session, Origin::TheirOutgoing),
            message => {
                // [2661:5.6-1]: who does not know our ID yet says its own.
                let found = self.sessions.iter().find(|(_, s)| match session {
                    0 => s.peer.is_some() && s.peer == of_peer,
                    id => s.local == id,
                });
                if let Some(number) = found.map(|(number, _)| *number) {
                    self.of_session(world, number, message);
                }
            }
        }
    }

    // [2661:4.1-4]
    fn not_understood(
        &mut self,
        world: &mut World<'_>,
        session: u16,
        message: &Message,
        unknown: (u16, u16),
    ) {
        let result = ResultCode::new(GENERAL_ERROR, Some(UNKNOWN_AVP));
        match message {
            Message::Icrq(IncomingCall { session: peer, .. })
            | Message::Ocrq(OutgoingCall { session: peer, .. }) => {
                self.refuse(world, *peer, result);
            }
            _ => {
                let found = self.sessions.iter().find(|(_, s)| s.local == session).map(|(n, _)| *n);
                if let Some(number) = found {
                    self.end(world, number, result, Err(unknown_avp(unknown)));
                }
            }
        }
    }

    /// The peer wants a session.
    // [2661:6.7-1] [2661:6.9-1]
    fn wanted(&mut self, world: &mut World<'_>, peer: u16, origin: Origin) {
        let takes = match origin {
            Origin::TheirIncoming => self.plan.takes.incoming,
            _ => self.plan.takes.outgoing,
        };
        if !takes {
            return self.refuse(world, peer, ResultCode::new(ADMINISTRATIVE, None));
        }
        if self.sessions.len() >= self.plan.sessions || self.sessions.values().any(|s| s.peer == Some(peer)) {
            return self.refuse(world, peer, ResultCode::new(NO_FACILITIES, None));
        }
        let number = SessionNumber(world.number());
        if self.add(world, number, origin, State::Opening(None), Some(peer)).is_some() {
            self.carry(world, number);
        }
    }

    /// Of a session that we never had: it has an ID of ours all the same, as a CDN must.
    fn refuse(&mut self, world: &mut World<'_>, peer: u16, result: ResultCode) {
        let taken = |id| self.sessions.values().any(|s| s.local == id);
        if let Some(session) = unused(world.entropy, taken) {
            self.say(world, peer, &Message::Cdn { session, result });
        }
    }

    /// Has the kernel get ready for it.
    fn carry(&mut self, world: &mut World<'_>, number: SessionNumber) {
        let Some(session) = self.sessions.get(&number) else { return };
        let (Some(peer_session), Some(peer_tunnel)) = (session.peer, self.peer) else { return };
        let ids = Ids { tunnel: self.local, peer_tunnel, session: session.local, peer_session };
        let lns = session.is_lns();
        let Plan { path, association, .. } = self.plan;
        let ask = Ask::Carry { tunnel: self.number, session: number, ids, path, association, lns };
        world.ask(self.number, number, ask);
    }

    fn of_session(&mut self, world: &mut World<'_>, number: SessionNumber, message: Message) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        match (session.origin, session.state, message) {
            (_, state, Message::Cdn { result, .. }) => {
                let why = disconnected(&result, state == State::Up);
                self.sessions.remove(&number);
                world.event(Event::SessionDown { tunnel: self.number, session: number, why: Err(why) });
            }
            (Origin::OurIncoming, State::Requested, Message::Icrp { session: peer })
            | (Origin::OurOutgoing, State::Requested, Message::Ocrp { session: peer }) => {
                (session.peer, session.state) = (Some(peer), State::Opening(None));
                self.carry(world, number);
            }
            (Origin::TheirIncoming, State::Connecting, Message::Iccn(connected))
            | (Origin::OurOutgoing, State::Connecting, Message::Occn(connected)) => {
                self.is_up(world, number, connected.sequencing);
            }
            (Origin::OurOutgoing, State::Opening(None), Message::Occn(connected)) => {
                session.state = State::Opening(Some(connected.sequencing));
            }
            // WEN counts errors of a line, and SLI says which characters it escapes: here there is none.
            _ => {}
        }
    }

    /// The kernel is ready for a session, or refuses.
    pub(crate) fn carried(
        &mut self,
        world: &mut World<'_>,
        number: SessionNumber,
        done: Result<(), Failure>,
    ) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let State::Opening(early) = session.state else { return };
        if let Err(why) = done {
            let result = ResultCode::new(GENERAL_ERROR, Some(NO_RESOURCES));
            return self.end(world, number, result, Err(why));
        }
        let (ours, Some(peer)) = (session.local, session.peer) else { return };
        let connected = || Connected { speed: SPEED, framing: SYNCHRONOUS, ..Connected::default() };
        match (session.origin, early) {
            (Origin::OurIncoming, _) => {
                self.say(world, peer, &Message::Iccn(connected()));
                self.is_up(world, number, false);
            }
            (Origin::TheirIncoming, _) => {
                session.state = State::Connecting;
                self.say(world, peer, &Message::Icrp { session: ours });
            }
            (Origin::OurOutgoing, None) => session.state = State::Connecting,
            (Origin::OurOutgoing, Some(sequencing)) => self.is_up(world, number, sequencing),
            (Origin::TheirOutgoing, _) => {
                self.say(world, peer, &Message::Ocrp { session: ours });
                self.say(world, peer, &Message::Occn(connected()));
                self.is_up(world, number, false);
            }
        }
    }

    fn is_up(&mut self, world: &mut World<'_>, number: SessionNumber, sequencing: bool) {
        if let Some(session) = self.sessions.get_mut(&number) {
            (session.state, session.until) = (State::Up, None);
            world.event(Event::SessionUp { tunnel: self.number, session: number, sequencing });
        }
    }

    /// Calls that took too long.
    pub(crate) fn calls_in_time(&mut self, world: &mut World<'_>) {
        let late = |s: &Session| s.until.is_some_and(|until| until <= world.now);
        let late: Vec<SessionNumber> =
            self.sessions.iter().filter(|(_, s)| late(s)).map(|(number, _)| *number).collect();
        for number in late {
            let why = failure(FailureCode::PeerLost, "L2TP: the call did not come up in time");
            self.end(world, number, ResultCode::new(NOT_IN_TIME, None), Err(why));
        }
    }

    /// Somebody wants a session to end.
    pub(crate) fn clear(&mut self, world: &mut World<'_>, number: SessionNumber) {
        self.end(world, number, ResultCode::new(ADMINISTRATIVE, None), Ok(()));
    }

    /// Ends a session and tells the peer: from now on nothing of it counts.
    // [2661:5.6-2]
    fn end(
        &mut self,
        world: &mut World<'_>,
        number: SessionNumber,
        result: ResultCode,
        why: Result<(), Failure>,
    ) {
        let Some(Session { local, peer, .. }) = self.sessions.remove(&number) else { return };
        world.event(Event::SessionDown { tunnel: self.number, session: number, why });
        self.say(world, peer.unwrap_or(0), &Message::Cdn { session: local, result });
    }

    /// The tunnel ends, and with it all of them.
    // [2661:5.7-2]
    pub(crate) fn end_sessions(&mut self, world: &mut World<'_>, why: &Result<(), Failure>) {
        for session in core::mem::take(&mut self.sessions).into_keys() {
            world.event(Event::SessionDown { tunnel: self.number, session, why: why.clone() });
        }
    }
}
