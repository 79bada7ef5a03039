use adit_core::Secret;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::wire::{
    Avp, CallErrors, Connected, Control, HIDABLE, IncomingCall, Message, NotRevealed, OutgoingCall, Proxy,
    ResultCode, Start, challenge_response, hide, reveal,
};

fn text() -> impl Strategy<Value = String> {
    "[ -~]{0,60}"
}

fn start() -> impl Strategy<Value = Start> {
    let who = (any::<(u8, u8)>(), any::<u32>(), option::of(any::<u32>()), text(), option::of(text()));
    let how = (
        option::of(any::<u16>()),
        1..=u16::MAX,
        option::of(1..=u16::MAX),
        option::of(vec(any::<u8>(), 1..40)),
        option::of(any::<[u8; 16]>()),
        option::of(any::<[u8; 8]>()),
    );
    (who, how).prop_map(|((version, framing, bearer, host_name, vendor), how)| {
        let (firmware, tunnel, window, challenge, response, tie_breaker) = how;
        Start {
            version,
            framing,
            bearer,
            host_name,
            vendor,
            firmware,
            tunnel,
            window,
            challenge,
            response,
            tie_breaker,
        }
    })
}

fn result() -> impl Strategy<Value = ResultCode> {
    (any::<u16>(), option::of((any::<u16>(), text()))).prop_map(|(result, more)| {
        let (error, message) = more.map_or((None, String::new()), |(error, message)| (Some(error), message));
        ResultCode { result, error, message }
    })
}

fn connected() -> impl Strategy<Value = Connected> {
    let bytes = || option::of(vec(any::<u8>(), 0..40));
    let lcp = (bytes(), bytes(), bytes());
    let authen = (option::of(any::<u16>()), bytes(), bytes(), option::of(any::<u16>()), bytes());
    (any::<(u32, u32, bool)>(), lcp, authen).prop_map(|((speed, framing, sequencing), lcp, authen)| {
        let (initial_lcp, last_sent_lcp, last_received_lcp) = lcp;
        let (authen_type, authen_name, authen_challenge, authen_id, authen_response) = authen;
        let proxy = Proxy {
            initial_lcp,
            last_sent_lcp,
            last_received_lcp,
            authen_type,
            authen_name,
            authen_challenge,
            authen_id,
            authen_response,
        };
        Connected { speed, framing, sequencing, proxy }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let id = || 1..=u16::MAX;
    prop_oneof![
        start().prop_map(Message::Sccrq),
        start().prop_map(Message::Sccrp),
        option::of(any::<[u8; 16]>()).prop_map(|response| Message::Scccn { response }),
        (any::<u16>(), result()).prop_map(|(tunnel, result)| Message::StopCcn { tunnel, result }),
        Just(Message::Hello),
        (id(), any::<u32>(), text()).prop_map(|(session, serial, called)| Message::Ocrq(OutgoingCall {
            session,
            serial,
            called
        })),
        id().prop_map(|session| Message::Ocrp { session }),
        connected().prop_map(Message::Occn),
        (id(), any::<u32>(), option::of(text()), option::of(text())).prop_map(
            |(session, serial, called, calling)| {
                Message::Icrq(IncomingCall { session, serial, called, calling })
            }
        ),
        id().prop_map(|session| Message::Icrp { session }),
        connected().prop_map(Message::Iccn),
        (any::<u16>(), result()).prop_map(|(session, result)| Message::Cdn { session, result }),
        any::<[u32; 6]>().prop_map(|counts| Message::Wen(CallErrors { counts })),
        any::<(u32, u32)>().prop_map(|(send, receive)| Message::Sli { send, receive }),
        (17..=u16::MAX).prop_map(Message::Unknown),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(message in message(), ids in any::<[u16; 4]>()) {
        let [tunnel, session, ns, nr] = ids;
        let body = Avp::emit_all(&message.avps());
        let octets = Control { tunnel, session, ns, nr, body: &body }.emit();
        let control = Control::parse(&octets).unwrap().unwrap();
        prop_assert_eq!((control.tunnel, control.session, control.ns, control.nr), (tunnel, session, ns, nr));
        let read = Message::read(&Avp::parse_all(control.body).unwrap()).unwrap();
        prop_assert_eq!(read.message, message);
        prop_assert!(read.mandatory && read.unknown.is_none());
    }

    /// [2661:4.3-1] [2661:4.3-2]
    #[test]
    fn what_is_hidden_is_revealed_by_the_same_secret(message in message(), vector in any::<[u8; 16]>()) {
        let secret = Secret::from(&b"secret"[..]);
        let clear = message.avps();
        let hidden = hide(clear.clone(), HIDABLE, &secret, vector);
        let touched = clear.iter().any(|avp| HIDABLE.contains(&avp.kind));
        prop_assert_eq!(hidden.len(), clear.len() + usize::from(touched));
        for (avp, before) in hidden.iter().filter(|avp| avp.kind != 36).zip(&clear) {
            prop_assert!(avp.hidden == HIDABLE.contains(&avp.kind));
            prop_assert!(!avp.hidden || avp.value != before.value);
        }
        let sent = Avp::parse_all(&Avp::emit_all(&hidden)).unwrap();
        let read = Message::read(&reveal(sent.clone(), Some(&secret)).unwrap()).unwrap();
        prop_assert_eq!(read.message, message);
        prop_assert!(read.unknown.is_none());
        if touched && clear.iter().any(|avp| avp.mandatory && HIDABLE.contains(&avp.kind)) {
            prop_assert_eq!(reveal(sent.clone(), None).unwrap_err(), NotRevealed::NoSecret);
            let without: Vec<Avp> = sent.into_iter().filter(|avp| avp.kind != 36).collect();
            prop_assert_eq!(reveal(without, Some(&secret)).unwrap_err(), NotRevealed::NoVector);
        }
    }

    #[test]
    fn nothing_panics(octets in vec(any::<u8>(), 0..250)) {
        let _ = Control::parse(&octets);
        if let Ok(all) = Avp::parse_all(&octets) {
            prop_assert_eq!(Avp::emit_all(&all), octets);
            let _ = Message::read(&all);
            let secret = Secret::from(&b"secret"[..]);
            let _ = reveal(all, Some(&secret)).map(|all| Message::read(&all).is_ok());
        }
    }
}

/// [2661:3.1-1] [2661:3.1-2] [2661:3.1-3] [2661:3.1-4] [2661:3.1-5] [2661:3.1-6]
#[test]
fn a_control_message_has_the_flags_of_one() {
    let good = Control { tunnel: 1, session: 2, ns: 3, nr: 4, body: &[] }.emit();
    assert_eq!(good, [0xc8, 2, 0, 12, 0, 1, 0, 2, 0, 3, 0, 4]);
    assert!(Control::parse(&good).unwrap().unwrap().is_zero_length_body());
    let with = |first: u8, second: u8| {
        let mut bad = good.clone();
        (bad[0], bad[1]) = (first, second);
        bad
    };
    // Without a length, without numbers, with an offset, with priority, of versions 1 and 3.
    for bad in [with(0x88, 2), with(0xc0, 2), with(0xca, 2), with(0xc9, 2), with(0xc8, 1), with(0xc8, 3)] {
        assert!(Control::parse(&bad).is_err(), "{bad:x?}");
    }
    assert!(Control::parse(&with(0x48, 2)).unwrap().is_none(), "that is data");
    // A length that does not fit; one that is shorter is taken, the rest is padding.
    for (length, fits) in [(11, false), (13, false), (12, true)] {
        let mut octets = good.clone();
        octets[3] = length;
        assert_eq!(Control::parse(&octets).is_ok(), fits, "{length}");
    }
    let padded = [&good[..], &[0; 6]].concat();
    assert!(Control::parse(&padded).unwrap().unwrap().is_zero_length_body());
}

/// [2661:4.1-1] [2661:4.4.1-3]
#[test]
fn avps_are_laid_out_as_the_rfc_has_them() {
    assert_eq!(Avp::emit_all(&Message::Hello.avps()), [0x80, 8, 0, 0, 0, 0, 0, 6]);
    let all = Message::StopCcn { tunnel: 5, result: ResultCode::new(1, Some(0)) }.avps();
    let body = Avp::emit_all(&all);
    assert_eq!(body[8..], [0x80, 8, 0, 0, 0, 9, 0, 5, 0x80, 10, 0, 0, 0, 1, 0, 1, 0, 0]);
    for bad in [&[0x80, 5, 0, 0, 0, 0][..], &[0x80, 7, 0, 0, 0, 0], &[0x80, 8, 0, 0, 0]] {
        assert!(Avp::parse_all(bad).is_err());
    }
}

/// [2661:4.4.1-1] [2661:4.4.1-2] [2661:4.4.3-1] [2661:4.4.3-2] [2661:4.4.4-1] [2661:6-1]
#[test]
fn a_message_without_what_it_must_have_is_none() {
    let start = Start {
        version: (1, 0),
        framing: 3,
        bearer: None,
        host_name: "x".into(),
        vendor: None,
        firmware: None,
        tunnel: 7,
        window: Some(4),
        challenge: None,
        response: None,
        tie_breaker: None,
    };
    let connected = Connected { speed: 1, framing: 1, ..Connected::default() };
    let result = || ResultCode::new(1, None);
    let call = || IncomingCall { session: 1, serial: 1, called: None, calling: None };
    // How many AVPs may be left out.
    let all = [
        (Message::Sccrq(start.clone()), 1),
        (Message::Sccrp(start.clone()), 1),
        (Message::StopCcn { tunnel: 1, result: result() }, 0),
        (Message::Icrq(call()), 0),
        (Message::Icrp { session: 1 }, 0),
        (Message::Iccn(connected.clone()), 0),
        (Message::Cdn { session: 1, result: result() }, 0),
    ];
    for (message, optional) in all {
        let avps = message.avps();
        let without = (0..avps.len()).filter(|n| {
            let mut less = avps.clone();
            less.remove(*n);
            Message::read(&less).is_ok()
        });
        assert_eq!(without.count(), optional, "{message:?}");
        // The type is the first.
        let turned: Vec<Avp> = avps.iter().rev().cloned().collect();
        assert!(Message::read(&turned).is_err());
    }
    let zero = |message: Message| Message::read(&message.avps()).is_err();
    assert!(zero(Message::Sccrq(Start { tunnel: 0, ..start.clone() })));
    assert!(zero(Message::Sccrq(Start { window: Some(0), ..start })));
    assert!(zero(Message::Icrq(IncomingCall { session: 0, ..call() })));
}

/// RFC 2661 §4.4.3: MD5 of the message's type, the secret and the challenge; here by openssl.
/// [2661:4.4.3-5]
#[test]
fn a_response_is_the_hash_that_it_is_to_be() {
    let secret = Secret::from(&b"secret"[..]);
    let made = challenge_response(2, &secret, b"challenge");
    let hex: String = made.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "c26be3d6eb81033f92f16093b1c7b47b");
}
