//! SSTP: the HTTP preface, packets, and calls whose stream comes in any pieces.

use adit_core::{Instant, Secret};
use adit_sstp::binding::{CertificateHashes, HashProtocol, Hlak};
use adit_sstp::forwarded::{Progress, read};
use adit_sstp::proxy::{Answer, Connect, Login};
use adit_sstp::wire::{LONGEST, Message, Packet, next};
use adit_sstp::{Call, Config, Event, Input, Output, Role, Timing};

/// A stream of packets.
pub fn packets(data: &[u8]) {
    let mut at = 0;
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let Ok(Some((packet, length))) = next(rest) else { return };
        assert!((4..=LONGEST).contains(&length));
        if let Packet::Control(packet) = packet
            && let Ok(message) = Message::parse(packet)
        {
            let written = message.emit();
            let Ok(Some((Packet::Control(again), _))) = next(&written) else {
                panic!("it is no packet any more")
            };
            assert_eq!(Message::parse(again), Ok(message));
        }
        at += length;
    }
}

fn config(first: u8) -> Config {
    let hashes = vec![HashProtocol::Sha256, HashProtocol::Sha1];
    let role = match first & 1 {
        0 => Role::Client { host: "vpn.example.com".into(), correlation: [1; 16] },
        _ => Role::Server { nonce: [2; 32], hashes },
    };
    Config { role, certificate: CertificateHashes::of(b"certificate"), timing: Timing::default() }
}

/// A call as client (the first octet is even) or server, whose peer says the rest. The second octet says how long the
/// pieces are; a piece that begins with 0xff stands for time that passes, or for the end of the authentication.
pub fn call(data: &[u8]) {
    let Some(([first, length], rest)) = data.split_first_chunk() else { return };
    let mut call = Call::new(config(*first));
    let (mut now, mut bound, mut authenticated) = (Instant::ZERO, false, false);
    let mut feed = |call: &mut Call, now, input: Input<'_>| {
        call.handle(now, input);
        while let Some(output) = call.poll() {
            match output {
                Output::Event(Event::Bound(_)) => bound = true,
                Output::Frame(frame) => {
                    let protocol = u16::from_be_bytes([frame[0], frame[1]]);
                    assert!(bound || protocol >= 0x8000, "a packet of the network passed too early");
                }
                _ => {}
            }
        }
        bound
    };
    feed(&mut call, now, Input::Connected);
    for piece in rest.chunks(usize::from(*length).max(1)) {
        let is_bound = if piece.first() != Some(&0xff) {
            feed(&mut call, now, Input::Received(piece))
        } else if authenticated {
            now = call.deadline().map_or(now, |(at, _)| at.max(now));
            feed(&mut call, now, Input::Wake)
        } else {
            authenticated = true;
            feed(&mut call, now, Input::Authenticated(Hlak::of(&Secret::from(&[3; 32][..]))))
        };
        assert!(authenticated || !is_bound, "bound before the authentication");
    }
}

/// The same stream, whole and in pieces: it comes to the same. The first octet is the role, the second the pieces' length.
pub fn splits(data: &[u8]) {
    let Some(([first, length], rest)) = data.split_first_chunk() else { return };
    let all = |pieces: usize| {
        let mut call = Call::new(config(*first));
        let mut out = Vec::new();
        let mut drain = |call: &mut Call| {
            while let Some(output) = call.poll() {
                out.push(format!("{output:?}"));
            }
        };
        call.handle(Instant::ZERO, Input::Connected);
        drain(&mut call);
        for piece in rest.chunks(pieces.max(1)) {
            call.handle(Instant::ZERO, Input::Received(piece));
            drain(&mut call);
        }
        out
    };
    assert_eq!(all(rest.len()), all(usize::from(*length)));
}

/// What a proxy says, in two pieces.
pub fn proxy(data: &[u8]) {
    let login = || Login { user: "ann".into(), password: Secret::from(&b"password"[..]) };
    let mut connect = Connect::new("vpn.example.com:443".into(), Some(login()), [1; 16]);
    let (first, rest) = data.split_at(data.len() / 2);
    for piece in [first, rest] {
        match connect.received(piece) {
            Answer::More | Answer::Again(_) => {}
            Answer::Who(_) => drop(connect.tell(login())),
            Answer::Open | Answer::Refused(_) => return,
        }
    }
}

/// What a load balancer says first: no more octets are asked for than it says.
pub fn forwarded(data: &[u8]) {
    let mut at = 0;
    while let Ok(Progress::More(more)) = read(data.get(..at).unwrap_or_default()) {
        assert!(more > 0);
        at += more;
        if at > data.len() {
            return;
        }
    }
}

/// Seeds: a client's first words and a server's.
#[must_use]
pub fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let asked = b"SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let accepted = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let request = Message::ConnectRequest { protocol: 1 }.emit();
    let acknowledged = Message::ConnectAck { hashes: 3, nonce: [2; 32] }.emit();
    let frame = [0x10, 0, 0, 12, 0xff, 3, 0xc0, 0x21, 1, 1, 0, 4];
    let client = [&asked[..], &request, &frame].concat();
    let server = [&accepted[..], &acknowledged, &frame].concat();
    let digest =
        b"HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"a\", nonce=\"b\", qop=\"auth\"\r\n\r\n";
    let to = |first: u8, stream: &[u8]| [&[first, 40][..], stream].concat();
    let balanced =
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x11, 0, 12], &[192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4]]
            .concat();
    vec![
        ("sstp_packets", "request", [&request[..], &frame].concat()),
        ("sstp_packets", "acknowledged", acknowledged),
        ("sstp_proxy", "digest", digest.to_vec()),
        ("sstp_forwarded", "line", b"PROXY TCP4 192.0.2.1 192.0.2.2 258 772\r\n".to_vec()),
        ("sstp_forwarded", "binary", balanced),
        ("sstp_call", "client", to(0, &server)),
        ("sstp_call", "server", to(1, &client)),
        ("sstp_splits", "client", to(0, &server)),
        ("sstp_splits", "server", to(1, &client)),
        ("sstp_splits", "browser", to(1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
    ]
}
