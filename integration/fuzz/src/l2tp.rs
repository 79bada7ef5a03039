//! L2TP: datagrams, and an endpoint with peers that say anything.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use adit_core::{Entropy, Instant, Path, Secret};
use adit_l2tp::wire::{Avp, Control, Message, Start, reveal};
use adit_l2tp::{
    Answer, Association, Call, Config, Dial, Endpoint, Event, Input, Limits, Listen, Output, Rules, Takes,
    Timing, TunnelNumber,
};

struct Zero;

impl Entropy for Zero {
    fn public(&mut self, out: &mut [u8]) {
        out.fill(7);
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

/// A datagram: what was understood means the same after it was written.
pub fn message(data: &[u8]) {
    let Ok(Some(control)) = Control::parse(data) else { return };
    let written = control.emit();
    assert_eq!(Control::parse(&written), Ok(Some(control)));
    let Ok(avps) = Avp::parse_all(control.body) else { return };
    assert_eq!(Avp::emit_all(&avps), control.body);
    let secret = Secret::from(&b"secret"[..]);
    let Ok(avps) = reveal(avps, Some(&secret)) else { return };
    let Ok(read) = Message::read(&avps) else { return };
    let again = Message::read(&read.message.avps()).expect("what was read can be written");
    assert_eq!(again.message, read.message);
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// An endpoint that listens and has dialled; the peer says the rest, in pieces that begin with their length and where they
/// come from.
pub fn endpoint(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let secret = (first & 1 == 1).then(|| Arc::new(Secret::from(&b"secret"[..])));
    let takes = Takes { incoming: true, outgoing: first & 2 == 2 };
    let limits = Limits { tunnels: 8, unproven: 4, unproven_per_address: 3, sessions: 3 };
    let listen = Some(Listen { secret: secret.clone(), hide: first & 4 == 4, takes, limits });
    let config = Config { host_name: "a".into(), listen, window: 4, timing: Timing::default() };
    let mut endpoint = Endpoint::new(config);
    let path = Path { local: address("192.0.2.1:1701"), remote: address("192.0.2.2:1701") };
    let mut now = Instant::ZERO;
    let dial = Dial {
        path,
        secret,
        hide: false,
        only: first & 8 == 8,
        call: Some(Call::Incoming),
        takes,
        sessions: 3,
    };
    let mut tunnels: Vec<TunnelNumber> = endpoint.dial(now, &mut Zero, dial).into_iter().collect();
    drain(&mut endpoint, now, &mut tunnels);
    while let Some(([length, from], more)) = rest.split_first_chunk::<2>() {
        let octets = more.get(..usize::from(*length)).unwrap_or(more).to_vec();
        rest = more.get(usize::from(*length)..).unwrap_or_default();
        let path = Path { remote: address(&format!("192.0.2.{}:1701", 2 + (from & 3))), ..path };
        let input = match (from >> 6, tunnels.last().copied()) {
            (3, _) => {
                now = endpoint.deadline().map_or(now, |(at, _)| at.max(now)) + Duration::from_millis(1);
                Input::Wake
            }
            (2, Some(tunnel)) if from & 0x20 == 0 => Input::Place { tunnel, call: Call::Incoming },
            (2, Some(tunnel)) => Input::Close { tunnel },
            _ => Input::Datagram { path, association: Association::default(), octets },
        };
        endpoint.handle(now, &mut Zero, input);
        drain(&mut endpoint, now, &mut tunnels);
    }
}

fn drain(endpoint: &mut Endpoint, now: Instant, tunnels: &mut Vec<TunnelNumber>) {
    for _ in 0..2000 {
        match endpoint.poll() {
            None => return,
            Some(Output::Ask { id, .. }) => {
                let answer = Answer::Carried(Ok(()));
                endpoint.handle(now, &mut Zero, Input::Answer { id, answer });
            }
            Some(Output::Event(Event::TunnelUp { tunnel, .. })) => tunnels.push(tunnel),
            Some(Output::Transmit { .. } | Output::Event(_)) => {}
        }
    }
    panic!("it does not stop talking");
}

/// What is handed over is refused, or gone on with: then it means the same when it is handed on once more, and it ends by itself
/// when all is silent.
pub fn snapshot(data: &[u8]) {
    let takes = Takes { incoming: true, outgoing: true };
    let rules = Rules { secret: None, hide: false, takes, sessions: 5 };
    let new = || {
        let config = Config { host_name: "a".into(), listen: None, window: 4, timing: Timing::default() };
        Endpoint::new(config)
    };
    let (mut end, mut now) = (new(), Instant::ZERO);
    let Some(restored) = end.restore(now, &mut Zero, data, &rules) else {
        assert!(end.is_idle());
        return;
    };
    let again = end.snapshot(restored.tunnel);
    if let Some(again) = again {
        let same = new().restore(now, &mut Zero, &again, &rules).expect("it was written here");
        assert_eq!((same.path, same.ids), (restored.path, restored.ids));
        assert_eq!(same.sessions.len(), restored.sessions.len());
    }
    let mut tunnels = Vec::new();
    for _ in 0..5000 {
        drain(&mut end, now, &mut tunnels);
        let Some((at, _)) = end.deadline() else { break };
        now = now.max(at);
        end.handle(now, &mut Zero, Input::Wake);
    }
    assert!(end.is_idle(), "it neither ends nor lives");
}

/// A tunnel that stands with its call, as it is handed on.
fn left() -> Vec<u8> {
    let path = Path { local: address("192.0.2.1:1701"), remote: address("192.0.2.2:1701") };
    let config = Config { host_name: "a".into(), listen: None, window: 4, timing: Timing::default() };
    let (mut endpoint, mut tunnels) = (Endpoint::new(config), Vec::new());
    let takes = Takes { incoming: true, outgoing: true };
    let dial =
        Dial { path, secret: None, hide: false, only: false, call: Some(Call::Incoming), takes, sessions: 3 };
    endpoint.dial(Instant::ZERO, &mut Zero, dial);
    let start = Start {
        version: (1, 0),
        framing: 3,
        bearer: None,
        host_name: "lns".into(),
        vendor: None,
        firmware: None,
        tunnel: 5,
        window: Some(4),
        challenge: None,
        response: None,
        tie_breaker: None,
    };
    // All of our own IDs are 0x0707 here.
    for (ns, session, message) in [(0, 0, Message::Sccrp(start)), (1, 0x0707, Message::Icrp { session: 6 })] {
        let body = Avp::emit_all(&message.avps());
        let octets = Control { tunnel: 0x0707, session, ns, nr: ns + 1, body: &body }.emit();
        let association = Association::default();
        endpoint.handle(Instant::ZERO, &mut Zero, Input::Datagram { path, association, octets });
        drain(&mut endpoint, Instant::ZERO, &mut tunnels);
    }
    tunnels.first().and_then(|tunnel| endpoint.snapshot(*tunnel)).expect("it stands").to_vec()
}

/// Seeds: a wish for a tunnel, and a call in it.
#[must_use]
pub fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let start = Start {
        version: (1, 0),
        framing: 3,
        bearer: Some(3),
        host_name: "lac".into(),
        vendor: Some("x".into()),
        firmware: Some(1),
        tunnel: 5,
        window: Some(4),
        challenge: Some(vec![9; 16]),
        response: None,
        tie_breaker: Some([1; 8]),
    };
    let octets = |tunnel, ns, message: &Message| {
        Control { tunnel, session: 0, ns, nr: 1, body: &Avp::emit_all(&message.avps()) }.emit()
    };
    let open = Start { challenge: None, tie_breaker: None, ..start.clone() };
    let call = adit_l2tp::wire::IncomingCall { session: 6, serial: 1, called: None, calling: None };
    // The endpoint's own IDs are 0x0707 and the next.
    let talk = [
        octets(0, 0, &Message::Sccrq(open)),
        octets(0x0708, 1, &Message::Scccn { response: None }),
        octets(0x0708, 2, &Message::Icrq(call)),
    ];
    let framed = talk.iter().flat_map(|m| [&[m.len() as u8, 1][..], m].concat());
    let talk: Vec<u8> = [2].into_iter().chain(framed).chain([0, 0xc0]).collect();
    vec![
        ("l2tp_message", "sccrq", octets(0, 0, &Message::Sccrq(start))),
        ("l2tp_message", "hello", octets(7, 3, &Message::Hello)),
        ("l2tp_endpoint", "talk", talk),
        ("l2tp_snapshot", "up", left()),
    ]
}
