//! SK: what was sealed opens, and nothing else does.

use adit_core::Secret;
use adit_isakmp::algorithm::KeyBits;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, SkCipher};
use adit_isakmp::payload::{Delete, Notify, NotifyType, Payload, PayloadType};
use adit_isakmp::sk::{
    OpenError, Opened, SealError, as_whole, open, open_any, payloads_as_whole, read, seal, seal_within,
};
use adit_isakmp::{Encryption, ExchangeType, Flags, Header, Integrity, Message, VERSION_2};
use proptest::prelude::*;

use crate::provider::Provider;

fn cipher(key: u8) -> Box<dyn SkCipher> {
    Provider
        .sk_cipher(
            Encryption::AesCbc(KeyBits::B256),
            Some(Integrity::HmacSha256_128),
            Secret::from(&[key; 32][..]),
            Secret::from(&[key; 32][..]),
        )
        .unwrap()
}

fn header() -> Header {
    Header {
        initiator_spi: 1,
        responder_spi: 2,
        version: VERSION_2,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags::of(true, false),
        message_id: 7,
    }
}

fn payloads() -> Vec<Payload> {
    vec![
        Payload::Notify(Notify::new(NotifyType::COOKIE2, [3; 21])),
        Payload::Delete(Delete::esp(0x1234_5678)),
    ]
}

fn sealed(payloads: &[Payload]) -> Vec<u8> {
    seal(&header(), payloads, &*cipher(1), &[9; 16]).unwrap()
}

// [7296:3.14-6]
#[test]
fn what_was_sealed_opens() {
    for content in [payloads(), Vec::new()] {
        let mut datagram = sealed(&content);
        let outer = Message::parse(&datagram).unwrap();
        let first = content.first().map_or(PayloadType::NONE, Payload::kind);
        assert!(matches!(&outer.payloads[..], [Payload::Sk { first: f, .. }] if *f == first));
        let opened = open(&mut datagram, &*cipher(1)).unwrap();
        assert_eq!(opened, Message { header: header(), payloads: content });
    }
}

// [7296:3.14-4]
#[test]
fn padding_fills_the_block_and_no_more() {
    for length in 0..40 {
        let content = [Payload::Vendor(vec![5; length])];
        let datagram = sealed(&content);
        // Header, generic header, IV, generic header inside, content, Pad Length, ICV.
        let blocks = (4 + length + 1).div_ceil(16);
        assert_eq!(datagram.len(), 28 + 4 + 16 + blocks * 16 + 16);
        assert_eq!(open(&mut datagram.clone(), &*cipher(1)).unwrap().payloads, content);
    }
}

// [7296:3.14-6]
#[test]
fn no_bit_may_change() {
    let datagram = sealed(&payloads());
    for at in 0..datagram.len() {
        for bit in 0..8 {
            let mut changed = datagram.clone();
            changed[at] ^= 1 << bit;
            assert!(open(&mut changed, &*cipher(1)).is_err(), "byte {at} bit {bit}");
        }
    }
    assert_eq!(open(&mut datagram.clone(), &*cipher(2)), Err(OpenError::Crypto(CryptoError::Integrity)));
}

// [7296:3.14-5]
#[test]
fn too_much_padding_is_malformed_inside() {
    // One block of plaintext: 15 bytes, then a Pad Length of 16.
    let mut datagram = seal(&header(), &[Payload::Vendor(vec![0; 11])], &*cipher(1), &[9; 16]).unwrap();
    let forged = {
        let body = 32;
        cipher(1).open(&mut datagram, body).unwrap();
        let pad_length = datagram.len() - 17;
        datagram[pad_length] = 16;
        cipher(1).seal(&mut datagram, body).unwrap();
        &mut datagram
    };
    let error = open(forged, &*cipher(1)).unwrap_err();
    assert!(matches!(error, OpenError::Inner(e) if e.why == "the padding is longer than the content"));
}

#[test]
fn an_open_message_is_not_taken_for_a_protected_one() {
    let mut datagram = Message { header: header(), payloads: payloads() }.emit().unwrap();
    assert!(matches!(open(&mut datagram, &*cipher(1)), Err(OpenError::Outer(_))));
}

// [7296:3.1-1]
#[test]
fn encryption_is_not_nested() {
    let mut datagram = sealed(&[Payload::Sk { first: PayloadType::NONE, body: vec![0; 64] }]);
    assert!(matches!(open(&mut datagram, &*cipher(1)), Err(OpenError::Inner(_))));
}

#[test]
fn payloads_in_front_of_sk_are_left_out() {
    let inner = sealed(&payloads());
    let outer = Message::parse(&inner).unwrap();
    let mut with_front = outer.clone();
    with_front.payloads.insert(0, Payload::Vendor(b"in front".to_vec()));
    let mut datagram = with_front.emit().unwrap();
    // Sealed again, as a sender would who really puts something there.
    let body = datagram.len() - (inner.len() - 32);
    let plain = cipher(1).open(&mut inner.clone(), 32).unwrap();
    let mut opened = inner;
    cipher(1).open(&mut opened, 32).unwrap();
    datagram[body + 16..body + 16 + plain.len()].copy_from_slice(&opened[plain]);
    cipher(1).seal(&mut datagram, body).unwrap();
    assert_eq!(open(&mut datagram, &*cipher(1)).unwrap().payloads, payloads());
}

#[test]
fn a_wrong_iv_is_refused() {
    let error = seal(&header(), &[], &*cipher(1), &[9; 8]);
    assert_eq!(error, Err(SealError::Crypto(CryptoError::Length)));
}

// [7296:3.14-5]
#[test]
fn more_padding_than_needed_is_taken() {
    // Two blocks: 4 + 11 bytes of a payload, 16 of padding, Pad Length.
    let content = [Payload::Vendor(vec![5; 11])];
    let filler = [Payload::Vendor(vec![5; 11 + 16])];
    let mut datagram = seal(&header(), &filler, &*cipher(1), &[9; 16]).unwrap();
    let body = 32;
    let plain = cipher(1).open(&mut datagram, body).unwrap();
    datagram[plain.start + 3] = 15;
    datagram[plain.end - 1] = 16;
    cipher(1).seal(&mut datagram, body).unwrap();
    assert_eq!(open(&mut datagram, &*cipher(1)).unwrap().payloads, content);
}

/// Cut to fit, opened one by one, put together.
fn there_and_back(content: &[Payload], limit: usize) -> (usize, Message) {
    let mut n = 0_u8;
    let iv = || {
        n = n.wrapping_add(1);
        vec![n; 16]
    };
    let datagrams = seal_within(&header(), content, &*cipher(1), limit, iv).unwrap();
    assert!(datagrams.iter().all(|d| d.len() <= limit));
    let total = datagrams.len();
    let (mut first, mut whole) = (PayloadType::NONE, Vec::new());
    for (datagram, expected) in datagrams.into_iter().zip(1_u16..) {
        let outer = Message::parse(&datagram).unwrap();
        assert_eq!(outer.header, header());
        let mut bytes = datagram.clone();
        match open_any(&mut bytes, &*cipher(1)).unwrap() {
            Opened::Message(message, _) => return (total, message),
            Opened::Fragment(fragment) => {
                assert!(matches!(&outer.payloads[..], [Payload::Skf { .. }]));
                assert_eq!((fragment.number, usize::from(fragment.total)), (expected, total));
                match expected {
                    1 => first = fragment.first,
                    _ => assert_eq!(fragment.first, PayloadType::NONE),
                }
                whole.extend_from_slice(&fragment.content);
            }
        }
        // A fragment is no message by itself.
        assert!(matches!(open(&mut datagram.clone(), &*cipher(1)), Err(OpenError::Outer(_))));
    }
    (total, read(header(), first, &whole, 0).unwrap())
}

proptest! {
    // [7383:2.5-1] [7383:2.5-2] [7383:2.5-3] [7383:2.5-7]
    #[test]
    fn what_was_cut_is_put_together(lengths in proptest::collection::vec(0_usize..3000, 0..6), limit in 100_usize..1500) {
        let content: Vec<Payload> = lengths.iter().map(|n| Payload::Vendor(vec![7; *n])).collect();
        let (total, message) = there_and_back(&content, limit);
        prop_assert_eq!(&message, &Message { header: header(), payloads: content });
        let whole = seal(&message.header, &message.payloads, &*cipher(1), &[9; 16]).unwrap();
        prop_assert_eq!(total == 1, whole.len() <= limit);
    }
}

// [9242:3.3.2-1] [9242:3.3.2-2] [9242:3.3.2-3]
#[test]
fn what_int_auth_is_over_is_the_message_in_clear_however_it_was_sent() {
    let content = [Payload::Vendor(vec![7; 900]), Payload::Nonce(vec![1; 32])];
    let whole = payloads_as_whole(&header(), &content).unwrap();
    // Lengths and all, it is the message with SK as if it were any payload.
    let inner = Message { header: header(), payloads: content.to_vec() }.emit().unwrap();
    assert_eq!(whole[..16], inner[..16]);
    assert_eq!((whole[16], &whole[17..24]), (46, &inner[17..24]));
    assert_eq!(whole[24..28], u32::try_from(inner.len() + 4).unwrap().to_be_bytes());
    assert_eq!(whole[28..30], [inner[16], 0]);
    assert_eq!(whole[30..32], u16::try_from(inner.len() - 28 + 4).unwrap().to_be_bytes());
    assert_eq!(whole[32..], inner[28..]);

    let mut datagram = seal(&header(), &content, &*cipher(1), &[9; 16]).unwrap();
    let Opened::Message(message, of) = open_any(&mut datagram, &*cipher(1)).unwrap() else {
        panic!("it is whole");
    };
    let again = as_whole(&message.header, of.first, of.reserved, &datagram[of.content]).unwrap();
    assert_eq!(again, whole);

    let sealed = seal_within(&header(), &content, &*cipher(1), 500, || vec![9; 16]).unwrap();
    let (mut first, mut reserved, mut plain) = (PayloadType::NONE, 0, Vec::new());
    for mut datagram in sealed {
        let Opened::Fragment(fragment) = open_any(&mut datagram, &*cipher(1)).unwrap() else {
            panic!("it is a fragment");
        };
        if fragment.number == 1 {
            (first, reserved) = (fragment.first, fragment.reserved);
        }
        plain.extend_from_slice(&fragment.content);
    }
    assert_eq!(as_whole(&header(), first, reserved, &plain).unwrap(), whole);
}

// [7383:2.5-4] [7383:2.5-5] [7383:2.5-6]
#[test]
fn numbers_that_make_no_sense_are_no_fragment() {
    let mut n = 0;
    let iv = || {
        n += 1;
        vec![n; 16]
    };
    let content = [Payload::Vendor(vec![7; 900])];
    let fragment = seal_within(&header(), &content, &*cipher(1), 500, iv).unwrap().remove(0);
    for numbers in [[0, 0, 0, 2], [0, 3, 0, 2], [0, 1, 0, 0], [0, 0, 0, 0]] {
        let mut changed = fragment.clone();
        changed[32..36].copy_from_slice(&numbers);
        assert!(matches!(open_any(&mut changed, &*cipher(1)), Err(OpenError::Outer(_))));
    }
    // Numbers are authenticated.
    let mut changed = fragment;
    changed[35] += 1;
    assert!(matches!(open_any(&mut changed, &*cipher(1)), Err(OpenError::Crypto(_))));
}

#[test]
fn nothing_fits_a_limit_without_room() {
    let content = [Payload::Vendor(vec![7; 900])];
    let sealed = seal_within(&header(), &content, &*cipher(1), 60, || vec![0; 16]);
    assert_eq!(sealed, Err(SealError::Crypto(CryptoError::Length)));
}
