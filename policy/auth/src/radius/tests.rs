use core::time::Duration;

use adit_core::{Entropy, Instant, Secret};
use proptest::prelude::*;

use super::dynamic::{Outcome, Request, Wish};
use super::protect::{begin_signed, hide_password, sign, sign_accounting, sign_answer, write_salted};
use super::*;

struct Counting(u8);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

fn secret(text: &str) -> Secret {
    Secret::from(text.as_bytes())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(core::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn client(servers: &[&str]) -> Client {
    let servers = servers.iter().map(|name| Server { name: (*name).into(), secret: secret(name) }).collect();
    Client::new(servers, Box::new(Counting(0)))
}

fn access() -> Box<Query> {
    Box::new(Query::Access {
        attributes: vec![(attribute::USER_NAME, b"ann".to_vec())],
        eap: Some(vec![7; 600]),
        password: None,
        state: None,
    })
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// What a server answers, rightly signed.
fn answer(request: &[u8], code: Code, secret: &Secret, write: impl FnOnce(&mut Writer, [u8; 16])) -> Vec<u8> {
    let request = Packet::parse(request).unwrap();
    let mut writer = Writer::new(code, request.identifier(), request.authenticator());
    let at = begin_signed(&mut writer);
    write(&mut writer, request.authenticator());
    let mut packet = writer.finish().unwrap();
    sign(&mut packet, at, secret);
    sign_answer(&mut packet, secret);
    packet.to_vec()
}

fn transmits(client: &mut Client) -> Vec<(ServerId, u32, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(output) = client.poll() {
        if let Output::Transmit { server, socket, payload } = output {
            out.push((server, socket, payload.to_vec()));
        }
    }
    out
}

fn verdicts(client: &mut Client) -> Vec<Verdict> {
    let mut out = Vec::new();
    while let Some(output) = client.poll() {
        if let Output::Answer(answer) = output {
            out.push(answer.verdict);
        }
    }
    out
}

fn datagram<'a>(server: usize, payload: &'a [u8]) -> Input<'a> {
    Input::Datagram { server: ServerId(server), socket: 0, payload }
}

/// RFC 2865 §7.1: nemo's password, as the RFC hides it.
#[test]
fn the_password_of_rfc_2865() {
    let authenticator: [u8; 16] = hex("0f403f9473978057bd83d5cb98f4227a").try_into().unwrap();
    let hidden = hide_password(&secret("arctangent"), &authenticator, &secret("xyzzy5461")).unwrap();
    assert_eq!(*hidden, hex("0dbe708d93d413ce3196e43f782a0aee"));
}

/// RFC 2865 §7.1: the answer that goes with it.
#[test]
fn the_answer_of_rfc_2865() {
    let request: [u8; 16] = hex("0f403f9473978057bd83d5cb98f4227a").try_into().unwrap();
    let accept = hex("0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103");
    let packet = Packet::parse(&accept).unwrap();
    // It is of an age without Message-Authenticator, and its Response Authenticator is right.
    assert_eq!(believe(&packet, &request, &secret("xyzzy5461")), Err(Unbelievable::NoMessageAuthenticator));
    assert_eq!(believe(&packet, &request, &secret("xyzzy")), Err(Unbelievable::Authenticator));
}

#[test]
fn an_access_request_is_signed_and_its_answer_read() {
    let mut client = client(&["one"]);
    client.handle(at(0), Input::Ask(QueryId(1), access()));
    let [(_, 0, request)] = &transmits(&mut client)[..] else { panic!("one packet") };
    let packet = Packet::parse(request).unwrap();
    let first = packet.attributes().next().unwrap();
    assert_eq!(first.1, attribute::MESSAGE_AUTHENTICATOR);
    assert_eq!(packet.joined(attribute::EAP_MESSAGE).unwrap(), [7; 600]);
    let secret = secret("one");
    let accept = answer(request, Code::ACCESS_ACCEPT, &secret, |w, authenticator| {
        let send = write_salted(&[1; 32], [0x80, 1], &authenticator, &secret);
        let receive = write_salted(&[2; 32], [0x80, 2], &authenticator, &secret);
        w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_SEND_KEY.wrap(&send));
        w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_RECV_KEY.wrap(&receive));
        w.attribute(attribute::FRAMED_IP_ADDRESS, &[10, 9, 0, 7]);
        w.attribute(attribute::FRAMED_ROUTE, b"10.7.0.0/16 0.0.0.0 1");
        w.number(attribute::SESSION_TIMEOUT, 3600).number(attribute::ACCT_INTERIM_INTERVAL, 5);
        w.attribute(attribute::CLASS, b"a").attribute(attribute::CLASS, b"b");
        w.attribute(attribute::REPLY_MESSAGE, b"wel\x1bcome");
    });
    client.handle(at(1), datagram(0, &accept));
    let [Verdict::Accept(granted)] = &verdicts(&mut client)[..] else { panic!("accepted") };
    let (send, receive) = granted.keys.as_ref().unwrap();
    assert!(send.equals(&[1; 32]) && receive.equals(&[2; 32]));
    assert_eq!(granted.address, Some("10.9.0.7".parse().unwrap()));
    assert_eq!(granted.routes, ["10.7.0.0/16".parse().unwrap()]);
    assert_eq!(
        (granted.session, granted.interim),
        (Some(Duration::from_secs(3600)), Some(Duration::from_secs(60)))
    );
    assert_eq!(granted.class, [b"a", b"b"]);
    assert_eq!(granted.message.as_deref(), Some("welcome"));
    assert_eq!((client.open(), client.deadline()), (0, None));
}

#[test]
fn a_forged_answer_is_as_if_it_had_never_come() {
    let mut client = client(&["one"]);
    client.handle(at(0), Input::Ask(QueryId(1), access()));
    let request = transmits(&mut client).remove(0).2;
    let right = answer(&request, Code::ACCESS_ACCEPT, &secret("one"), |_, _| {});
    // Any bit, another secret, no Message-Authenticator, another kind of answer.
    for bit in 0..right.len() * 8 {
        let mut forged = right.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        client.handle(at(0), datagram(0, &forged));
    }
    client.handle(at(0), datagram(0, &answer(&request, Code::ACCESS_ACCEPT, &secret("two"), |_, _| {})));
    let mut bare =
        Writer::new(Code::ACCESS_ACCEPT, right[1], Packet::parse(&request).unwrap().authenticator())
            .finish()
            .unwrap();
    sign_answer(&mut bare, &secret("one"));
    client.handle(at(0), datagram(0, &bare));
    client
        .handle(at(0), datagram(0, &answer(&request, Code::ACCOUNTING_RESPONSE, &secret("one"), |_, _| {})));
    assert!(verdicts(&mut client).is_empty());
    client.handle(at(0), datagram(0, &right));
    assert!(matches!(verdicts(&mut client)[..], [Verdict::Accept(_)]));
}

#[test]
fn a_silent_server_is_followed_by_the_next_one_and_asked_whether_it_is_back() {
    let mut client = client(&["one", "two"]);
    client.handle(at(0), Input::Ask(QueryId(1), access()));
    let first = transmits(&mut client).remove(0).2;
    client.handle(at(2), Input::Wake);
    assert_eq!(transmits(&mut client), [(ServerId(0), 0, first.clone())]);
    client.handle(at(6), Input::Wake);
    assert_eq!(transmits(&mut client), [(ServerId(0), 0, first)]);
    client.handle(at(14), Input::Wake);
    let (server, _, second) = transmits(&mut client).remove(0);
    assert_eq!(server, ServerId(1));
    let reject = answer(&second, Code::ACCESS_REJECT, &secret("two"), |w, _| {
        let error = [&[9][..], b"E=691 R=0"].concat();
        w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::CHAP_ERROR.wrap(&error));
    });
    client.handle(at(14), datagram(1, &reject));
    let [Verdict::Reject { message, .. }] = &verdicts(&mut client)[..] else { panic!("rejected") };
    assert_eq!(message.as_deref(), Some("E=691 R=0"));
    // The next question goes to the second one at once.
    client.handle(at(15), Input::Ask(QueryId(2), access()));
    let (server, _, third) = transmits(&mut client).remove(0);
    assert_eq!(server, ServerId(1));
    client.handle(at(15), datagram(1, &answer(&third, Code::ACCESS_ACCEPT, &secret("two"), |_, _| {})));
    verdicts(&mut client);
    let due = client.deadline().unwrap();
    client.handle(due, Input::Wake);
    let (server, _, probe) = transmits(&mut client).remove(0);
    assert_eq!((server, probe[0]), (ServerId(0), Code::STATUS_SERVER.0));
    client.handle(due, datagram(0, &answer(&probe, Code::ACCESS_ACCEPT, &secret("one"), |_, _| {})));
    assert!(matches!(client.poll(), Some(Output::Reachable(ServerId(0), true))));
    client.handle(due, Input::Ask(QueryId(3), access()));
    assert_eq!(transmits(&mut client)[0].0, ServerId(0));
}

#[test]
fn a_conversation_stays_with_its_server_and_ends_with_it() {
    let mut client = client(&["one", "two"]);
    client.handle(at(0), Input::Ask(QueryId(1), access()));
    let request = transmits(&mut client).remove(0).2;
    let challenge = answer(&request, Code::ACCESS_CHALLENGE, &secret("one"), |w, _| {
        w.attribute(attribute::STATE, b"cookie").attribute(attribute::EAP_MESSAGE, &[1; 300]);
    });
    client.handle(at(0), datagram(0, &challenge));
    let Some(Verdict::Challenge { eap, state, .. }) = verdicts(&mut client).pop() else {
        panic!("challenged")
    };
    assert_eq!((eap.unwrap().len(), &state), (300, &(ServerId(0), b"cookie".to_vec())));
    let next =
        Query::Access { attributes: Vec::new(), eap: Some(vec![2; 9]), password: None, state: Some(state) };
    client.handle(at(1), Input::Ask(QueryId(2), Box::new(next)));
    let request = transmits(&mut client).remove(0).2;
    assert_eq!(Packet::parse(&request).unwrap().value(attribute::STATE), Some(&b"cookie"[..]));
    let mut last = Vec::new();
    while last.is_empty() {
        client.handle(client.deadline().unwrap(), Input::Wake);
        last = verdicts(&mut client);
    }
    let [Verdict::None(why)] = &last[..] else { panic!("{last:?}") };
    assert!(why.text.contains("no RADIUS server answers"), "{why}");
}

#[test]
fn an_hour_without_a_server_loses_no_record() {
    let mut client = client(&["one"]);
    for n in 0..20 {
        let attributes = vec![(attribute::ACCT_SESSION_ID, vec![n])];
        let query = Query::Accounting { attributes, interim: n % 2 == 0 };
        client.handle(at(0), Input::Ask(QueryId(n.into()), Box::new(query)));
    }
    transmits(&mut client);
    let mut now = at(0);
    while now < at(3600) {
        now = client.deadline().unwrap();
        client.handle(now, Input::Wake);
        assert!(transmits(&mut client).len() <= 41);
    }
    assert_eq!(client.open(), 20);
    let mut noted = std::collections::BTreeSet::new();
    for _ in 0..200 {
        for (server, socket, request) in transmits(&mut client) {
            let packet = Packet::parse(&request).unwrap();
            if packet.code() == Code::ACCOUNTING_REQUEST {
                noted.insert(packet.value(attribute::ACCT_SESSION_ID).unwrap().to_vec());
                let mut unsigned = request.clone();
                unsigned[4..20].fill(0);
                sign_accounting(&mut unsigned, &secret("one"));
                assert_eq!(unsigned, request);
                let delay = packet.value(attribute::ACCT_DELAY_TIME).unwrap();
                assert!(u32::from_be_bytes(delay.try_into().unwrap()) >= 3540);
            }
            let code = if request[0] == 12 { Code::ACCESS_ACCEPT } else { Code::ACCOUNTING_RESPONSE };
            let payload = &answer(&request, code, &secret("one"), |_, _| {});
            client.handle(now, Input::Datagram { server, socket, payload });
        }
        if client.open() == 0 {
            break;
        }
        now = client.deadline().unwrap();
        client.handle(now, Input::Wake);
    }
    assert_eq!((client.open(), noted.len()), (0, 20));
}

#[test]
fn a_server_ends_a_session_only_with_the_secret() {
    let mut writer = Writer::new(Code::DISCONNECT_REQUEST, 7, [0; 16]);
    writer.attribute(attribute::USER_NAME, b"ann").attribute(attribute::PROXY_STATE, b"p");
    let mut packet = writer.finish().unwrap();
    sign_accounting(&mut packet, &secret("one"));
    let request = Request::read(&packet, &secret("one")).unwrap().unwrap();
    assert_eq!((request.whose.user.as_deref(), &request.wish), (Some("ann"), &Wish::Disconnect));
    assert!(request.whose.names_somebody());
    let reply = request.answer(Outcome::NoSession, &secret("one")).unwrap();
    let reply = Packet::parse(&reply).unwrap();
    assert_eq!((reply.code(), reply.identifier()), (Code::DISCONNECT_NAK, 7));
    assert_eq!(reply.value(attribute::PROXY_STATE), Some(&b"p"[..]));
    assert_eq!(believe(&reply, &Packet::parse(&packet).unwrap().authenticator(), &secret("one")), Ok(()));
    assert_eq!(Request::read(&packet, &secret("two")), Err(Unbelievable::Authenticator));
}

#[test]
fn a_change_of_authorization_is_whole_or_not_at_all() {
    let read = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new(Code::COA_REQUEST, 7, [0; 16]);
        writer.attribute(attribute::USER_NAME, b"ann").number(attribute::SESSION_TIMEOUT, 60);
        write(&mut writer);
        let mut packet = writer.finish().unwrap();
        sign_accounting(&mut packet, &secret("one"));
        Request::read(&packet, &secret("one")).unwrap().unwrap()
    };
    let minute = Some(core::time::Duration::from_secs(60));
    let plain = read(&|w| {
        w.number(attribute::EVENT_TIMESTAMP, 1);
    });
    assert_eq!(plain.wish, Wish::Change { session: minute, idle: None, others: false });
    let filtered = read(&|w| {
        w.attribute(attribute::FILTER_ID, b"vip").number(attribute::IDLE_TIMEOUT, 60);
    });
    assert_eq!(filtered.wish, Wish::Change { session: minute, idle: minute, others: true });
    for (outcome, code) in [(Outcome::Done, Code::COA_ACK), (Outcome::Unsupported, Code::COA_NAK)] {
        let answer = filtered.answer(outcome, &secret("one")).unwrap();
        assert_eq!(Packet::parse(&answer).unwrap().code(), code);
    }
}

#[test]
fn more_than_256_questions_take_more_sockets() {
    let mut client = client(&["one"]);
    for n in 0..600 {
        client.handle(at(0), Input::Ask(QueryId(n), access()));
    }
    let sent = transmits(&mut client);
    let distinct: std::collections::BTreeSet<_> = sent.iter().map(|(_, s, p)| (*s, p[1])).collect();
    assert_eq!((sent.len(), distinct.len()), (600, 600));
    assert_eq!(sent.iter().map(|(_, s, _)| *s).max(), Some(2));
}

proptest! {
    #[test]
    fn nothing_from_the_network_panics(payload: Vec<u8>, rest: Vec<u8>) {
        let mut client = client(&["one"]);
        client.handle(at(0), Input::Ask(QueryId(1), access()));
        let request = transmits(&mut client).remove(0).2;
        client.handle(at(0), datagram(0, &payload));
        let _ = Request::read(&payload, &secret("one"));
        // Whatever the server itself says.
        for code in [Code::ACCESS_ACCEPT, Code::ACCESS_CHALLENGE, Code::ACCESS_REJECT] {
            let made = answer(&request, code, &secret("one"), |w, _| {
                for (n, value) in rest.chunks(7).enumerate() {
                    w.attribute(value[0], &payload.get(..n).unwrap_or_default().repeat(3));
                    w.attribute(attribute::VENDOR_SPECIFIC, value);
                }
            });
            let mut again = self::client(&["one"]);
            again.handle(at(0), Input::Ask(QueryId(1), access()));
            again.handle(at(0), datagram(0, &made));
        }
    }
}
