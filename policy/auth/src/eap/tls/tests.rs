use adit_core::{Entropy, Secret};
use proptest::prelude::*;

use super::frames::{Frames, Incoming, LONGEST};
use super::peap::{Compound, Cryptobinding, Extensions, Inside};
use super::{InnerConfig, TlsAnswer, TlsVersion, TtlsInner, Tunnel, ttls};
use crate::eap::authenticator::{Authenticator, AuthenticatorConfig, AuthenticatorStep};
use crate::eap::packet::{Code, Method, emit};
use crate::eap::peer::{Peer, PeerConfig, PeerStep};

struct Zero;

impl Entropy for Zero {
    fn public(&mut self, out: &mut [u8]) {
        out.fill(0);
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(core::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

// [MS-PEAP] §4.4.1.3.2.3 and §4.4.2.3.2.3: IPMK, CMK, and the TLVs of both sides as they were on the wire.
const COMPOUND: &str = "3A911C255473E83E9A0CC333AE1F8A35CDC74163 E7F60F6C65EF71C26442AAACA2B6F1EB4F25ECA3
    3355353B6920D074C782E475DFB0999D4DB467EB";
const SERVER: &str = "000C003800000000BDA7A599FA816521AD3064C2BDDBD16EAA949E7D98A8D794314 7CF425D85DA7B
    0CBF105E91755748224FBB83000626911CFB1B0F";
const CLIENT: &str = "000C0038000000016C6BA38784237457CCC90B1A908CBDF4711B69994D0CFE8D3DB44ECBCDAD37E9
    42E086071D1C8B8C8E458F7021F06A6EAB16B646";

fn binding(tlv: &[u8]) -> Cryptobinding {
    let packet = emit(Code::Request, 1, Some(Method(33)), tlv);
    match Inside::read(&packet) {
        Ok(Inside::Extensions(1, Extensions { success: None, binding: Some(binding) })) => binding,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_published_cryptobinding_is_ours() {
    let keys = Compound::of_bytes(&hex(COMPOUND));
    for (tlv, response) in [(hex(SERVER), false), (hex(CLIENT), true)] {
        let read = binding(&tlv);
        assert!(read.proves(response, &keys));
        assert!(!read.proves(!response, &keys), "a request is no response");
        let nonce = tlv[8..40].try_into().unwrap();
        assert_eq!(Cryptobinding::make(response, nonce, &keys), read);
        let written = Extensions { success: None, binding: Some(read) }.emit(Code::Request, 1);
        assert_eq!(written[5..], tlv);
        for bit in 0..tlv.len() * 8 {
            let mut forged = tlv.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Inside::Extensions(_, Extensions { binding: Some(forged), .. })) =
                Inside::read(&emit(Code::Request, 1, Some(Method(33)), &forged))
            {
                // The first four octets are not the TLV's own.
                assert!(bit < 32 || !forged.proves(response, &keys), "bit {bit}");
            }
        }
    }
}

#[test]
fn the_keys_of_peap_depend_on_both_parts() {
    let material = Secret::new((0..128).collect());
    let inner = Secret::new((0..64).rev().collect());
    let with = |material: &Secret, inner| Compound::derive(material, inner).msk();
    let msk = with(&material, Some(&inner));
    assert_eq!(msk.len(), 64);
    assert!(!msk.equals(with(&material, None).expose()));
    assert!(!msk.equals(with(&Secret::new((1..129).collect()), Some(&inner)).expose()));
}

#[test]
fn fragments_are_bounded() {
    let mut frames = Frames::default();
    assert!(frames.receive(&[0xc0, 0, 1, 0, 1, 7]).is_err(), "announced: 64 KiB and one octet");
    assert!(frames.receive(&[0x40]).is_err(), "a fragment of nothing");
    assert!(frames.receive(&[0xc0, 0, 0, 0, 2, 1, 2, 3]).is_err(), "more than was announced");
    assert_eq!(frames.receive(&[0xc0, 0, 0, 0, 3, 1, 2]), Ok(Incoming::Part));
    assert!(frames.receive(&[0]).is_err(), "less than was announced");
    let mut unannounced = Frames::default();
    let taken = (0..100).take_while(|_| unannounced.receive(&[&[0x40][..], &[7; 1000]].concat()).is_ok());
    assert_eq!(taken.count(), LONGEST / 1000);
}

fn peer(method: Method, ttls: TtlsInner) -> Peer {
    let inner = InnerConfig { ttls, ..InnerConfig::default() };
    let (identity, user) = ("anonymous".into(), "ann".into());
    Peer::new(PeerConfig { identity, user, methods: vec![method], inner })
}

/// An engine whose handshake is complete at once, and which says this.
fn engine(version: TlsVersion, said: &[u8]) -> TlsAnswer {
    TlsAnswer {
        records: b"records".to_vec(),
        plaintext: vec![Secret::from(said)],
        exported: vec![Secret::from(&[1; 128][..]), Secret::from(&[2; 17][..])],
        tunnel: Some(Tunnel { version, names: vec!["ann@example.com".into()] }),
        failure: None,
    }
}

#[test]
fn success_before_the_commitment_is_not_believed() {
    let success = emit(Code::Success, 9, None, &[]);
    let mut peer = peer(Method::TLS, TtlsInner::MsChapV2);
    assert!(matches!(peer.packet(&emit(Code::Request, 1, Some(Method::TLS), &[0x20])), PeerStep::Tls(_)));
    assert!(matches!(peer.packet(&success), PeerStep::Ignore), "before the handshake");
    assert!(matches!(peer.tls(&mut Zero, engine(TlsVersion::Tls13, &[])), PeerStep::Tls(_)));
    assert!(matches!(peer.tls(&mut Zero, engine(TlsVersion::Tls13, &[])), PeerStep::Send(_)));
    assert!(matches!(peer.packet(&success), PeerStep::Ignore), "before the server has said 0");
    assert!(matches!(
        peer.packet(&emit(Code::Request, 2, Some(Method::TLS), b"\0records")),
        PeerStep::Tls(_)
    ));
    assert!(matches!(peer.tls(&mut Zero, engine(TlsVersion::Tls13, &[0])), PeerStep::Send(_)));
    assert!(matches!(peer.packet(&success), PeerStep::Ended(Ok(_))));
}

/// In PPP both ends send again what was not answered in time, and an engine takes its time.
#[test]
fn what_comes_while_the_engine_works_is_not_heard() {
    let config = AuthenticatorConfig { methods: vec![Method::TLS], ..AuthenticatorConfig::new("vpn") };
    let (mut server, first) = Authenticator::begin(&mut Zero, config);
    server.packet(&mut Zero, &emit(Code::Response, first[1], Some(Method::IDENTITY), b"ann"));
    let hello = emit(Code::Response, server.last()[1], Some(Method::TLS), b"\0records");
    assert!(matches!(server.packet(&mut Zero, &hello), AuthenticatorStep::Tls(_)));
    assert!(matches!(server.packet(&mut Zero, &hello), AuthenticatorStep::Ignore), "the records go in once");
    assert!(
        matches!(server.user(&mut Zero, Ok(None)), AuthenticatorStep::Ignore),
        "nobody was asked for a user"
    );
    assert!(matches!(server.tls(&mut Zero, engine(TlsVersion::Tls12, &[])), AuthenticatorStep::Tls(_)));
    assert!(matches!(server.tls(&mut Zero, engine(TlsVersion::Tls12, &[])), AuthenticatorStep::Send(_)));
    assert!(matches!(server.tls(&mut Zero, engine(TlsVersion::Tls12, &[])), AuthenticatorStep::Ignore));

    // The server's last word is on its way through the engine: whoever says success now is somebody else.
    let success = emit(Code::Success, 9, None, &[]);
    let mut peer = peer(Method::TLS, TtlsInner::MsChapV2);
    assert!(matches!(peer.packet(&emit(Code::Request, 1, Some(Method::TLS), &[0x20])), PeerStep::Tls(_)));
    assert!(matches!(peer.tls(&mut Zero, engine(TlsVersion::Tls12, &[])), PeerStep::Tls(_)));
    assert!(matches!(peer.tls(&mut Zero, engine(TlsVersion::Tls12, &[])), PeerStep::Send(_)));
    assert!(matches!(
        peer.packet(&emit(Code::Request, 2, Some(Method::TLS), b"\0records")),
        PeerStep::Tls(_)
    ));
    assert!(matches!(peer.packet(&success), PeerStep::Ignore));
    assert!(matches!(peer.packet(&emit(Code::Failure, 9, None, &[])), PeerStep::Ended(Err(_))));
}

#[test]
fn success_before_the_inner_method_is_not_believed() {
    for method in [Method::PEAP, Method::TTLS] {
        let mut peer = peer(method, TtlsInner::MsChapV2);
        peer.packet(&emit(Code::Request, 1, Some(method), &[0x20]));
        peer.tls(&mut Zero, engine(TlsVersion::Tls12, &[]));
        peer.tls(&mut Zero, engine(TlsVersion::Tls12, &[]));
        assert!(matches!(peer.packet(&emit(Code::Success, 9, None, &[])), PeerStep::Ignore), "{method}");
        if method == Method::PEAP {
            // Nor is one that comes through the tunnel.
            let result = Extensions { success: Some(true), binding: None }.emit(Code::Request, 5);
            peer.packet(&emit(Code::Request, 2, Some(method), b"\0records"));
            let PeerStep::Ended(Err(why)) = peer.tls(&mut Zero, engine(TlsVersion::Tls12, &result)) else {
                panic!("believed");
            };
            assert!(why.text.contains("before the inner method"), "{why}");
        }
    }
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn messages_are_cut_and_put_together(message in proptest::collection::vec(any::<u8>(), 1..9000), first: bool) {
        let (mut ours, mut theirs) = (Frames::default(), Frames::default());
        let mut data = ours.send(message.clone(), first);
        loop {
            prop_assert!(data.len() <= 1024 - 5);
            match theirs.receive(&data).unwrap() {
                Incoming::Part => data = ours.next().unwrap(),
                Incoming::Whole(whole) => {
                    prop_assert_eq!(whole, message);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(ours.next().is_none());
    }

    #[test]
    fn avps_round_trip(values in proptest::collection::vec((0..2_u32, any::<u32>(), anything()), 0..5)) {
        let avps: Vec<_> = values.iter().map(|(v, c, value)| ((v * 311, *c), value.as_slice())).collect();
        let written = ttls::write(&avps);
        let read = ttls::read(written.expose()).unwrap();
        prop_assert_eq!(read.iter().map(|avp| (avp.kind, avp.value)).collect::<Vec<_>>(), avps);
    }

    #[test]
    fn nothing_from_the_network_or_from_inside_panics(
        packets in proptest::collection::vec((anything(), anything()), 0..12),
        kind in 0..3_usize,
        ttls in 0..3_usize,
        version: bool,
    ) {
        let method = [Method::TLS, Method::TTLS, Method::PEAP][kind];
        let version = if version { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
        let mut peer = peer(method, [TtlsInner::MsChapV2, TtlsInner::Pap, TtlsInner::Eap][ttls]);
        let config = AuthenticatorConfig { methods: vec![method], ..AuthenticatorConfig::new("vpn") };
        let (mut server, first) = Authenticator::begin(&mut Zero, config);
        server.packet(&mut Zero, &emit(Code::Response, first[1], Some(Method::IDENTITY), b"ann"));
        for (n, (outside, inside)) in (1..).zip(&packets) {
            let data = if n == 1 { vec![0x20] } else { [&[0], outside.as_slice()].concat() };
            let mut step = peer.packet(&emit(Code::Request, n, Some(method), &data));
            for _ in 0..8 {
                step = match step {
                    PeerStep::Ask(_) => peer.answer(&mut Zero, Ok(Secret::from(&outside[..]))),
                    PeerStep::Tls(_) => peer.tls(&mut Zero, engine(version, inside)),
                    _ => break,
                };
            }
            let mut step = server.packet(&mut Zero, &emit(Code::Response, n, Some(method), &data));
            for _ in 0..8 {
                step = match step {
                    AuthenticatorStep::Tls(_) => server.tls(&mut Zero, engine(version, inside)),
                    AuthenticatorStep::Ask(_) => server.user(&mut Zero, Ok(None)),
                    _ => break,
                };
            }
        }
    }
}
