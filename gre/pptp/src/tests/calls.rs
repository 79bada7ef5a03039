use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{Failure, FailureCode, Instant, Step};

use crate::wire::{Message, OutgoingCall, next, whole};
use crate::{
    Answer, Ask, CallNumber, Config, Control, Event, Input, Output, RestoredCall, Role, Timer, Timing,
};

struct End {
    control: Control,
    next_id: u16,
    refuses: bool,
    asked: Vec<Option<u16>>,
    up: Vec<(CallNumber, u16, u16)>,
    down: Vec<Result<(), Failure>>,
    closed: Option<Result<(), Failure>>,
    sent: Vec<Message>,
}

impl End {
    fn new(role: Role, first_id: u16) -> Self {
        let config = config(role);
        let (asked, up, down, sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let control = Control::new(config);
        Self { control, next_id: first_id, refuses: false, asked, up, down, closed: None, sent }
    }

    fn handle(&mut self, now: Instant, input: Input) -> Vec<u8> {
        self.control.handle(now, input);
        let mut stream = Vec::new();
        while let Some(output) = self.control.poll() {
            match output {
                Output::Transmit(octets) => {
                    self.sent.push(next(&octets).unwrap().unwrap().0);
                    stream.extend(octets);
                }
                Output::Ask { id, ask: Ask::Open { peer }, .. } => {
                    self.asked.push(peer);
                    let answer = match self.refuses {
                        true => Err(Failure::new(FailureCode::KernelRefused, Step::Kernel, "no")),
                        false => Ok(self.next_id),
                    };
                    self.control.handle(now, Input::Answer { id, answer: Answer::CallId(answer) });
                }
                Output::Event(Event::CallUp { call, local, peer }) => self.up.push((call, local, peer)),
                Output::Event(Event::CallDown { why, .. }) => self.down.push(why),
                Output::Event(Event::Peer { .. }) => {}
                Output::Close(why) => self.closed = Some(why),
            }
        }
        stream
    }

    fn say(&mut self, message: &Message) {
        self.handle(Instant::ZERO, Input::Received(message.emit()));
    }

    fn code(&self) -> FailureCode {
        match &self.closed {
            Some(Err(why)) => why.code,
            other => panic!("{other:?}"),
        }
    }
}

fn config(role: Role) -> Config {
    Config { role, host_name: "host".into(), calls: 1, timing: Timing::default() }
}

struct Pair {
    now: Instant,
    pns: End,
    pac: End,
}

impl Pair {
    fn up() -> Self {
        Self::with(End::new(Role::Pns, 7), End::new(Role::Pac, 9))
    }

    fn with(pns: End, pac: End) -> Self {
        let mut pair = Self { now: Instant::ZERO, pns, pac };
        let to_pac = pair.pns.handle(pair.now, Input::Connected);
        let to_pns = pair.pac.handle(pair.now, Input::Connected);
        pair.exchange(to_pns, to_pac);
        pair
    }

    /// Octets arrive one by one: a message may be torn anywhere.
    fn exchange(&mut self, to_pns: Vec<u8>, to_pac: Vec<u8>) {
        let (mut to_pns, mut to_pac) = (VecDeque::from(to_pns), VecDeque::from(to_pac));
        loop {
            if let Some(octet) = to_pac.pop_front() {
                to_pns.extend(self.pac.handle(self.now, Input::Received(vec![octet])));
            } else if let Some(octet) = to_pns.pop_front() {
                to_pac.extend(self.pns.handle(self.now, Input::Received(vec![octet])));
            } else {
                return;
            }
        }
    }

    fn sleep(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1000 {
            let ends = [&self.pns.control, &self.pac.control];
            let Some(at) = ends.iter().filter_map(|c| c.deadline()).map(|(at, _)| at).min() else { break };
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            let to_pac = self.pns.handle(self.now, Input::Wake);
            let to_pns = self.pac.handle(self.now, Input::Wake);
            self.exchange(to_pns, to_pac);
        }
        self.now = until;
    }
}

/// [2637:2.8-1]
#[test]
fn a_call_comes_up_with_each_ends_own_call_id() {
    let pair = Pair::up();
    assert_eq!(pair.pns.up.iter().map(|c| (c.1, c.2)).collect::<Vec<_>>(), [(7, 9)]);
    assert_eq!(pair.pac.up.iter().map(|c| (c.1, c.2)).collect::<Vec<_>>(), [(9, 7)]);
    assert_eq!(pair.pns.asked, [None]);
    // The PAC's GRE flows before its reply goes.
    assert_eq!(pair.pac.asked, [Some(7)]);
}

/// [2637:2.6-1] [2637:3.1.4-1]
#[test]
fn an_idle_connection_lives_by_echoes() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(3600));
    assert!(pair.pns.closed.is_none() && pair.pac.closed.is_none());
    assert!(pair.pns.sent.iter().any(|m| matches!(m, Message::EchoRequest { .. })));
}

#[test]
fn a_dead_peer_is_lost_after_two_minutes() {
    let mut pair = Pair::up();
    pair.pac = End::new(Role::Pac, 9);
    pair.sleep(Duration::from_secs(119));
    assert!(pair.pns.closed.is_none());
    pair.sleep(Duration::from_secs(2));
    assert_eq!(pair.pns.code(), FailureCode::PeerLost);
    assert!(matches!(pair.pns.down.as_slice(), [Err(_)]));
}

#[test]
fn a_silent_server_is_told_within_seconds() {
    let mut end = End::new(Role::Pns, 7);
    end.handle(Instant::ZERO, Input::Connected);
    let (at, _) = end.control.deadline().unwrap();
    assert!(at <= Instant::ZERO + Duration::from_secs(10));
    end.handle(at, Input::Wake);
    assert_eq!(end.code(), FailureCode::ServerUnreachable);
}

/// [2637:2.4-1] [2637:2.13-1]
#[test]
fn each_end_may_end_it() {
    let mut pair = Pair::up();
    let call = pair.pns.up[0].0;
    let to_pac = pair.pns.handle(pair.now, Input::Clear { call });
    pair.exchange(Vec::new(), to_pac);
    assert!(matches!(pair.pns.down.as_slice(), [Ok(())]));
    assert!(matches!(pair.pac.down.as_slice(), [Err(_)]));
    let to_pac = pair.pns.handle(pair.now, Input::Stop);
    pair.exchange(Vec::new(), to_pac);
    assert!(matches!(pair.pns.closed, Some(Ok(()))), "{:?}", pair.pns.closed);
    assert_eq!(pair.pac.code(), FailureCode::PeerClosed);

    let mut pair = Pair::up();
    let to_pns = pair.pac.handle(pair.now, Input::Stop);
    pair.exchange(to_pns, Vec::new());
    assert_eq!(pair.pns.code(), FailureCode::PeerClosed);
    assert!(matches!(pair.pac.closed, Some(Ok(()))));
}

#[test]
fn a_stop_that_nobody_answers_ends_by_itself() {
    let mut pair = Pair::up();
    pair.pns.handle(pair.now, Input::Stop);
    pair.sleep(Duration::from_secs(3));
    assert!(matches!(pair.pns.closed, Some(Ok(()))));
}

#[test]
fn a_server_without_room_refuses_the_call() {
    let mut pac = End::new(Role::Pac, 9);
    pac.refuses = true;
    let pair = Pair::with(End::new(Role::Pns, 7), pac);
    assert!(pair.pns.up.is_empty());
    assert!(
        matches!(pair.pns.down.as_slice(), [Err(why)] if why.code == FailureCode::PeerBusy),
        "{:?}",
        pair.pns.down
    );
}

#[test]
fn one_call_more_than_may_be_is_refused() {
    let mut pair = Pair::up();
    let more = Message::OutgoingCallRequest(OutgoingCall { call_id: 8, serial: 2, window: 1 });
    pair.pac.say(&more);
    assert!(
        matches!(pair.pac.sent.last(), Some(Message::OutgoingCallReply(r)) if r.result == 2 && r.peer_call_id == 8)
    );
    assert_eq!(pair.pac.up.len(), 1);
}

/// What Windows and pptpd send beside calls is taken, and nothing comes of it.
#[test]
fn link_info_and_errors_of_the_line_are_accepted() {
    let mut pair = Pair::up();
    pair.pac.say(&Message::SetLinkInfo { peer_call_id: 9, send_accm: u32::MAX, receive_accm: u32::MAX });
    pair.pac.say(&Message::WanErrorNotify { peer_call_id: 9 });
    pair.pac.say(&Message::Unknown(77));
    assert!(pair.pac.closed.is_none());
}

#[test]
fn a_call_from_the_pac_is_taken_where_there_is_none() {
    let mut end = End::new(Role::Pns, 7);
    end.refuses = true;
    let mut pair = Pair::with(end, End::new(Role::Pac, 9));
    assert!(pair.pns.up.is_empty());
    pair.pns.refuses = false;
    pair.pns.say(&Message::IncomingCallRequest { call_id: 12, serial: 1 });
    assert!(
        matches!(pair.pns.sent.last(), Some(Message::IncomingCallReply(r)) if r.result == 1 && r.call_id == 7)
    );
    pair.pns.say(&Message::IncomingCallConnected { peer_call_id: 7 });
    assert_eq!(pair.pns.up.iter().map(|c| (c.1, c.2)).collect::<Vec<_>>(), [(7, 12)]);
    // A second one is not.
    pair.pns.say(&Message::IncomingCallRequest { call_id: 13, serial: 2 });
    assert!(matches!(pair.pns.sent.last(), Some(Message::IncomingCallReply(r)) if r.result == 3));
}

#[test]
fn a_peer_that_talks_too_much_or_nonsense_is_closed() {
    let mut end = End::new(Role::Pac, 9);
    end.handle(Instant::ZERO, Input::Connected);
    end.handle(Instant::ZERO, Input::Received(b"GET / HTTP/1.0\r\n\r\n".to_vec()));
    assert_eq!(end.code(), FailureCode::PeerMisbehaved);
    let mut end = End::new(Role::Pac, 9);
    end.handle(Instant::ZERO, Input::Connected);
    let (at, _) = end.control.deadline().unwrap();
    assert_eq!(at, Instant::ZERO + Duration::from_secs(30));
    end.handle(at, Input::Wake);
    assert!(end.closed.is_some());
}

/// Another process goes on with it: the call, its IDs, and the echoes.
#[test]
fn a_connection_that_stands_goes_on_in_another_process() {
    for role in [Role::Pns, Role::Pac] {
        let mut pair = Pair::up();
        pair.sleep(Duration::from_secs(90));
        let (end, ids) = match role {
            Role::Pns => (&mut pair.pns, (7, 9)),
            Role::Pac => (&mut pair.pac, (9, 7)),
        };
        let left = end.control.snapshot().expect("it stands");
        let (control, calls) =
            Control::restore(pair.now, config(role), &left).expect("it can be gone on with");
        let [RestoredCall { call, local, peer }] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!((*call, (*local, *peer)), (end.up[0].0, ids));
        assert_eq!(control.deadline(), Some((pair.now, Timer::Echo)));
        assert_eq!(control.snapshot(), Some(left));
        end.control = control;
        pair.sleep(Duration::from_secs(3600));
        assert!(pair.pns.closed.is_none() && pair.pac.closed.is_none());
        let to_pac = pair.pns.handle(pair.now, Input::Stop);
        pair.exchange(Vec::new(), to_pac);
        assert!(matches!(pair.pns.closed, Some(Ok(()))));
        assert_eq!(pair.pac.code(), FailureCode::PeerClosed);
    }
}

#[test]
fn nothing_is_handed_on_that_is_set_up_or_torn() {
    let mut end = End::new(Role::Pns, 7);
    assert!(end.control.snapshot().is_none());
    end.handle(Instant::ZERO, Input::Connected);
    assert!(end.control.snapshot().is_none());
    let mut pair = Pair::up();
    let echo = Message::EchoRequest { identifier: 4 }.emit();
    pair.pns.handle(pair.now, Input::Received(echo[..9].to_vec()));
    assert!(pair.pns.control.snapshot().is_none());
    pair.pns.handle(pair.now, Input::Received(echo[9..].to_vec()));
    assert!(pair.pns.control.snapshot().is_some());
    let call = pair.pns.up[0].0;
    pair.pns.handle(pair.now, Input::Clear { call });
    assert!(pair.pns.control.snapshot().is_none());
}

#[test]
fn a_snapshot_that_is_damaged_is_refused_or_means_something() {
    let pair = Pair::up();
    let left = pair.pns.control.snapshot().unwrap();
    let restore = |bytes: &[u8]| Control::restore(Instant::ZERO, config(Role::Pns), bytes);
    for length in 0..left.len() {
        assert!(restore(&left[..length]).is_none(), "cut off after {length}");
    }
    assert!(restore(&[&left[..], &[0]].concat()).is_none());
    assert!(restore(&[&left[..], &left[10..]].concat()).is_none(), "a call twice");
    assert!(Control::restore(Instant::ZERO, config(Role::Pac), &left).is_none(), "the other end's");
    for at in 0..left.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = left.clone();
            bytes[at] ^= flip;
            if let Some((control, _)) = restore(&bytes) {
                assert_eq!(control.snapshot(), Some(bytes));
            }
        }
    }
}

#[test]
fn what_has_come_in_part_is_left_where_it_is() {
    let echo = Message::EchoRequest { identifier: 4 }.emit();
    let two = [&echo[..], &echo[..]].concat();
    for length in 0..two.len() {
        assert_eq!(whole(&two[..length]), length / echo.len() * echo.len());
    }
    assert_eq!(whole(b"GET / HTTP/1.0\r\n\r\n"), 18);
}
