//! PPP and PPTP: packets, and whole conversations with a peer that says anything.

use std::net::Ipv4Addr;

use adit_core::{Entropy, Instant, Secret};
use adit_ppp::wire::{
    ChapMessage, Code, ConfigOption, Dhcpv6Message, Options, Packet, PapMessage, RouterAdvertisement,
    emit_options, emit_packet, split_frame,
};
use adit_ppp::{
    Addresses, Answer, Ask, AuthMethod, EapConfig, EapStep, Host, HostInput, Input, KnownUser, Link,
    LinkConfig, Mppe, NameServers, NetworkPlan, Output, Router, RouterConfig, RouterInput, Timing,
};
use adit_pptp::wire::{Message, next};

struct Zero;

impl Entropy for Zero {
    fn public(&mut self, out: &mut [u8]) {
        out.fill(7);
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

/// Other numbers each time.
struct Dice(u64);

impl Entropy for Dice {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

/// A frame, and what it may carry.
pub fn packet(data: &[u8]) {
    let Ok((_, bytes)) = split_frame(data) else { return };
    let Ok(packet) = Packet::parse(bytes) else { return };
    assert_eq!(Packet::parse(&packet.emit()), Ok(packet));
    if let Ok(options) = Options::parse(packet.data) {
        let all: Vec<ConfigOption<'_>> = options.iter().collect();
        assert_eq!(emit_options(all), options.bytes());
    }
    if let Ok(message) = PapMessage::parse(packet) {
        let written = message.emit(packet.identifier);
        assert_eq!(Packet::parse(&written).and_then(PapMessage::parse), Ok(message));
    }
    if let Ok(message) = ChapMessage::parse(packet) {
        let written = message.emit(packet.identifier);
        assert_eq!(Packet::parse(&written).and_then(ChapMessage::parse), Ok(message));
    }
}

/// A link, as client (the first octet is even) or server, whose peer says the rest: frames with a length in front, and
/// time that passes. A packet that answers a request of ours gets its Identifier where its own is 0.
pub fn link(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let server = first & 1 == 1;
    let methods = vec![
        AuthMethod::Eap,
        AuthMethod::MsChapV2,
        AuthMethod::MsChapV1,
        AuthMethod::ChapMd5,
        AuthMethod::Pap,
    ];
    let mppe =
        if first & 2 == 2 { Mppe { bits40: true, stateful: true, ..Mppe::REQUIRED } } else { Mppe::OFF };
    let (prove, demand) = if server { (Vec::new(), methods) } else { (methods, Vec::new()) };
    let mut link = Link::new(LinkConfig {
        mru: 1400,
        compress_header: true,
        prove,
        demand,
        name: "ann".into(),
        eap: EapConfig::of(vec![adit_auth::eap::Method::MSCHAPV2]),
        mppe,
        ipv4: true,
        ipv6: true,
        addresses: if server { Addresses::ForPeer } else { Addresses::FromPeer { wanted: None, servers: NameServers::ALL } },
        timing: Timing::default(),
    });
    let mut now = Instant::ZERO;
    let mut last = 0;
    feed(&mut link, now, Input::Up, &mut last);
    while let Some((length, more)) = rest.split_first() {
        if *length == 0xff {
            now = link.deadline().map_or(now, |(at, _)| at.max(now));
            feed(&mut link, now, Input::Wake, &mut last);
            rest = more;
            continue;
        }
        let (frame, more) = more.split_at(usize::from(*length).min(more.len()));
        let mut frame = frame.to_vec();
        if let Some(identifier) = frame.get_mut(3).filter(|id| **id == 0) {
            *identifier = last;
        }
        feed(&mut link, now, Input::Frame(frame), &mut last);
        rest = more;
    }
}

fn feed(link: &mut Link, now: Instant, input: Input, last: &mut u8) {
    link.handle(now, &mut Zero, input);
    // Each input may make no more than a small multiple of itself.
    for _ in 0..200 {
        match link.poll() {
            None => return,
            Some(Output::Transmit(frame)) => *last = frame.get(3).copied().unwrap_or_default(),
            Some(Output::Event(_)) => {}
            Some(Output::Ask { id, ask }) => {
                let answer = answer(ask);
                link.handle(now, &mut Zero, Input::Answer { id, answer });
            }
        }
    }
    panic!("it does not stop talking");
}

fn answer(ask: Ask) -> Answer {
    let known = || KnownUser::with_password(Secret::from(&b"secret"[..]));
    match ask {
        Ask::Password { .. } | Ask::NewPassword { .. } => Answer::Secret(Ok(Secret::from(&b"secret"[..]))),
        Ask::Verify(claim) => Answer::Verdict(Ok(claim.verify(known().as_ref()))),
        Ask::Eap(adit_auth::eap::AuthenticatorAsk::User { .. }) => {
            Answer::EapUser(Ok(known().map(|u| adit_auth::eap::UserSecret {
                hash: u.hash,
                expired: false,
                clear: None,
            })))
        }
        Ask::Tls { .. } => Answer::Tls(adit_auth::eap::TlsAnswer::default()),
        Ask::EapPacket(packet) => Answer::EapStep(Ok(EapStep::Send(packet))),
        Ask::Eap(_) | Ask::StorePassword { .. } => Answer::Stored(Ok(())),
        Ask::Network { .. } => Answer::Network(Ok(NetworkPlan {
            v4: Some((Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))),
            v6: true,
            ..NetworkPlan::default()
        })),
        Ask::Compress(_) | Ask::Encrypted(_) => Answer::Compressed(Ok(())),
        Ask::Install(_) => Answer::Installed(Ok(())),
    }
}

fn plain(server: bool) -> LinkConfig {
    let (prove, demand) = (vec![AuthMethod::MsChapV2], Vec::new());
    let (prove, demand) = if server { (demand, prove) } else { (prove, demand) };
    LinkConfig {
        mru: 1400,
        compress_header: true,
        prove,
        demand,
        name: "ann".into(),
        eap: EapConfig::default(),
        mppe: Mppe::REQUIRED,
        ipv4: true,
        ipv6: true,
        addresses: if server { Addresses::ForPeer } else { Addresses::FromPeer { wanted: None, servers: NameServers::ALL } },
        timing: Timing::default(),
    }
}

/// Two links that are up with each other, as they are left: the client's, and the server's.
fn left() -> [Vec<u8>; 2] {
    let mut ends = [false, true].map(|server| Link::new(plain(server)));
    let mut frames = [Vec::new(), Vec::new()];
    let mut dice = Dice(1);
    for link in &mut ends {
        link.handle(Instant::ZERO, &mut dice, Input::Up);
    }
    for _ in 0..40 {
        for (end, link) in ends.iter_mut().enumerate() {
            for frame in std::mem::take(&mut frames[end]) {
                link.handle(Instant::ZERO, &mut dice, Input::Frame(frame));
            }
            while let Some(output) = link.poll() {
                match output {
                    Output::Transmit(frame) => frames[1 - end].push(frame),
                    Output::Event(_) => {}
                    Output::Ask { id, ask } => {
                        let plan = matches!(ask, Ask::Network { .. }) && end == 0;
                        let answer =
                            if plan { Answer::Network(Ok(NetworkPlan::default())) } else { answer(ask) };
                        link.handle(Instant::ZERO, &mut dice, Input::Answer { id, answer });
                    }
                }
            }
        }
    }
    ends.map(|link| link.snapshot().expect("it stands"))
}

/// What another process has left of a link: refused, or a link that stands and can be left again.
pub fn snapshot(data: &[u8]) {
    for server in [false, true] {
        let Some((mut link, restored)) = Link::restore(Instant::ZERO, plain(server), data) else { continue };
        let again = link.snapshot().expect("it stands");
        let (same, facts) = Link::restore(Instant::ZERO, plain(server), &again).expect("it is its own");
        assert_eq!((same.snapshot(), facts), (Some(again), restored));
        let mut last = 0;
        feed(&mut link, Instant::ZERO, Input::Wake, &mut last);
        for frame in data.chunks(40) {
            feed(&mut link, Instant::ZERO, Input::Frame(frame.to_vec()), &mut last);
        }
        feed(&mut link, Instant::ZERO, Input::Close, &mut last);
    }
}

/// What a host says to its router, and what a router says.
pub fn router(data: &[u8]) {
    if let Ok(message) = RouterAdvertisement::parse(data) {
        assert_eq!(RouterAdvertisement::parse(&message.emit()), Ok(message));
    }
    if let Ok(message) = Dhcpv6Message::parse(data) {
        assert_eq!(message.emit(), data);
    }
    let mut host = Host::new(Instant::ZERO, [2; 8]);
    let knows_more = RouterAdvertisement { other: true, ..RouterAdvertisement::default() };
    let later = Instant::ZERO + std::time::Duration::from_secs(2);
    for (now, input) in [
        (Instant::ZERO, HostInput::Icmp(data.to_vec())),
        (Instant::ZERO, HostInput::Icmp(knows_more.emit())),
        (later, HostInput::Wake),
        (later, HostInput::Dhcp(data.to_vec())),
    ] {
        host.handle(now, &mut Zero, input);
        while host.poll().is_some() {}
    }
    let dns = vec![std::net::Ipv6Addr::LOCALHOST];
    let config = RouterConfig { prefix: std::net::Ipv6Addr::LOCALHOST, dns, server: [7; 16] };
    let mut router = Router::new(Instant::ZERO, config);
    for input in [RouterInput::Wake, RouterInput::Icmp(data.to_vec()), RouterInput::Dhcp(data.to_vec())] {
        router.handle(Instant::ZERO, &mut Zero, input);
        let _ = router.poll();
    }
}

/// A stream of PPTP's control messages.
pub fn pptp_message(data: &[u8]) {
    let mut at = 0;
    while let Some(rest) = data.get(at..).filter(|r| !r.is_empty()) {
        let Ok(Some((message, length))) = next(rest) else { return };
        if !matches!(message, Message::Unknown(_)) {
            let written = message.emit();
            assert_eq!(next(&written), Ok(Some((message, written.len()))));
        }
        at += length;
    }
}

/// A control connection, as PNS (the first octet is even) or PAC, whose peer says the rest.
pub fn pptp_control(data: &[u8]) {
    use adit_pptp::{Answer, Config, Control, Input, Output, Role};
    let Some((first, rest)) = data.split_first() else { return };
    let role = if first & 1 == 0 { Role::Pns } else { Role::Pac };
    let config = Config { role, host_name: "a".into(), calls: 2, timing: adit_pptp::Timing::default() };
    let mut control = Control::new(config);
    let mut now = Instant::ZERO;
    let mut id = 1;
    let mut feed = |now, input| {
        control.handle(now, input);
        for _ in 0..200 {
            match control.poll() {
                None => return control.deadline(),
                Some(Output::Ask { id: ask, .. }) => {
                    id += 1;
                    control.handle(now, Input::Answer { id: ask, answer: Answer::CallId(Ok(id)) });
                }
                Some(_) => {}
            }
        }
        panic!("it does not stop talking");
    };
    let mut deadline = feed(now, Input::Connected);
    for chunk in rest.chunks(168) {
        if chunk.first() == Some(&0xff) {
            now = deadline.map_or(now, |(at, _)| at.max(now));
            deadline = feed(now, Input::Wake);
        } else {
            deadline = feed(now, Input::Received(chunk.to_vec()));
        }
    }
}

/// What another process has left of a control connection: refused, or one that stands, and is left as the same octets.
pub fn pptp_snapshot(data: &[u8]) {
    use adit_pptp::{Config, Control, Input, Role, Timing};
    for role in [Role::Pns, Role::Pac] {
        let config = Config { role, host_name: "a".into(), calls: 2, timing: Timing::default() };
        let Some((mut control, calls)) = Control::restore(Instant::ZERO, config, data) else { continue };
        assert_eq!(control.snapshot().as_deref(), Some(data));
        assert!(!calls.is_empty());
        control.handle(Instant::ZERO, Input::Wake);
        control.handle(Instant::ZERO, Input::Received(data.to_vec()));
        control.handle(Instant::ZERO, Input::Stop);
        while control.poll().is_some() {}
    }
}

/// Seeds: packets, and the beginning of a conversation.
#[must_use]
pub fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let lcp = |packet: Vec<u8>| [&[0xc0, 0x21][..], &packet].concat();
    let request = lcp(emit_packet(
        Code::CONFIGURE_REQUEST,
        1,
        &[&[1, 4, 5, 0x78, 3, 5, 0xc2, 0x23, 0x81, 5, 6, 1, 2, 3, 4, 7, 2, 8, 2]],
    ));
    let ack = lcp(emit_packet(Code::CONFIGURE_ACK, 0, &[&[1, 4, 5, 0x78, 5, 6, 7, 7, 7, 7, 7, 2, 8, 2]]));
    let framed = |frame: &[u8]| [&[frame.len() as u8][..], frame].concat();
    let chap =
        [&[0xc2, 0x23][..], &ChapMessage::Challenge { value: &[1; 16], name: b"vpn" }.emit(9)].concat();
    let talk = [&[2][..], &framed(&request), &framed(&ack), &framed(&chap), &[0xff]].concat();
    let start = Message::EchoRequest { identifier: 7 }.emit();
    let [client, server] = left();
    vec![
        ("ppp_snapshot", "client", client),
        ("ppp_snapshot", "server", server),
        ("ppp_packet", "request", request),
        ("ppp_packet", "challenge", chap),
        ("ppp_link", "talk", talk),
        ("ppp_router", "solicitation", vec![133, 0, 0, 0, 0, 0, 0, 0]),
        ("ppp_router", "information-request", vec![11, 1, 2, 3, 0, 1, 0, 3, 7, 7, 7, 0, 6, 0, 2, 0, 23]),
        ("pptp_message", "echo", start.clone()),
        ("pptp_control", "echo", [&[1][..], &start].concat()),
        (
            "pptp_snapshot",
            "pns",
            [&[1, 0][..], &9_u64.to_be_bytes(), &1_u64.to_be_bytes(), &[0, 7, 0, 9]].concat(),
        ),
        (
            "pptp_snapshot",
            "pac",
            [&[1, 1][..], &9_u64.to_be_bytes(), &1_u64.to_be_bytes(), &[0, 9, 0, 7]].concat(),
        ),
    ]
}
