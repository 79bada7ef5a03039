//! What the codec refuses, where, and why; bytes are written out by hand.

use adit_isakmp::payload::{ConfigAttribute, Delete, NotifyType, Payload, PayloadType, RawPayload, Selector};
use adit_isakmp::{ExchangeType, Flags, HeaderView, Message};

fn parse(kind: PayloadType, body: &[u8]) -> Result<Payload, (usize, &'static str)> {
    let raw = RawPayload { kind, next: PayloadType::NONE, critical: false, at: 0, body };
    Payload::parse(&raw).map_err(|e| (e.at, e.why))
}

/// A datagram with this first payload type and these bytes after the header.
fn datagram(next: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, next, 0x20, 37, 0x08, 0, 0, 0, 9];
    out.extend_from_slice(&u32::try_from(28 + body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn refused(datagram: &[u8]) -> (usize, &'static str) {
    Message::parse(datagram).map_err(|e| (e.at, e.why)).unwrap_err()
}

// [7296:3.1-10] [7296:3.1-13]
#[test]
fn a_header_is_read_by_its_fields() {
    let bytes = datagram(0, &[]);
    let view = HeaderView::parse(&bytes).unwrap();
    let header = view.header();
    assert_eq!((header.initiator_spi, header.responder_spi), (0x0102_0304_0506_0708, 0));
    assert_eq!((header.exchange, header.message_id), (ExchangeType::INFORMATIONAL, 9));
    assert!(header.flags.initiator() && !header.flags.response());
    assert_eq!(Flags::of(true, true), Flags(0x28));
    assert_eq!(Message::parse(&bytes).unwrap().emit().unwrap(), bytes);
}

// [7296:3.1-2] [7296:2.5-2] [7296:3.1-6]
// [5723:5-1]
#[test]
fn a_header_is_refused_where_it_is_wrong() {
    let good = datagram(0, &[]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        refused(&bytes)
    };
    assert_eq!(refused(&good[..27]), (24, "the ISAKMP header is cut off"));
    assert_eq!(with(27, 29), (24, "the header's length is not the datagram's"));
    assert_eq!(with(17, 0x10), (17, "the major version is not 2"));
    assert_eq!(with(17, 0x30), (17, "the major version is not 2"));
    assert_eq!(with(18, 2), (18, "the exchange type is not one of IKEv2"));
    assert_eq!(with(18, 34), (20, "the Message ID of IKE_SA_INIT is not 0"));
    assert_eq!(with(18, 38), (20, "the Message ID of IKE_SESSION_RESUME is not 0"));
    let mut no_spi = good.clone();
    no_spi[..8].fill(0);
    assert_eq!(refused(&no_spi), (0, "the initiator's SPI is 0"));
    // IKEv1 and later versions pass the view: what to answer is the caller's business.
    let mut v3 = good;
    v3[17] = 0x30;
    assert_eq!(HeaderView::parse(&v3).unwrap().header().major(), 3);
}

// [7296:3.1-1] [7296:3.14-1] [7383:2.5-1]
#[test]
fn a_chain_is_refused_where_it_breaks() {
    assert_eq!(refused(&datagram(0, &[1])).0, 28);
    assert_eq!(refused(&datagram(43, &[0, 0, 0, 3])), (30, "the payload's length is less than its header"));
    assert_eq!(refused(&datagram(43, &[0, 0, 0, 5])), (32, "the payload is longer than the message"));
    assert_eq!(refused(&datagram(43, &[43, 0, 0, 4])), (32, "the generic payload header is cut off"));
    assert_eq!(refused(&datagram(46, &[0, 0, 0, 4, 0])), (32, "there are bytes after the encrypted payload"));
}

#[test]
fn sixty_four_payloads_are_enough() {
    let chain = |count: usize| {
        let mut body: Vec<u8> = [43, 0, 0, 4].repeat(count);
        let last = body.len() - 4;
        body[last] = 0;
        datagram(43, &body)
    };
    assert_eq!(Message::parse(&chain(64)).unwrap().payloads.len(), 64);
    assert_eq!(refused(&chain(65)), (28 + 64 * 4, "the message has more than 64 payloads"));
}

// [7296:2.5-7] [7296:2.5-8] [7296:2.5-9] [7296:4-2] [7296:4-3] [7296:3.2-3]
#[test]
fn an_unknown_payload_survives_with_its_critical_bit() {
    let bytes = datagram(200, &[0, 0x80, 0, 6, 1, 2]);
    let message = Message::parse(&bytes).unwrap();
    let unknown = Payload::Unknown { kind: PayloadType(200), critical: true, body: vec![1, 2] };
    assert_eq!(message.payloads, [unknown]);
    assert_eq!(message.unsupported_critical(), Some(PayloadType(200)));
    assert_eq!(message.emit().unwrap(), bytes);
    // The critical bit of a payload that we know means nothing.
    let known = Message::parse(&datagram(43, &[0, 0x80, 0, 6, 1, 2])).unwrap();
    assert_eq!(known.unsupported_critical(), None);
}

// [7296:3.3-2] [7296:3.3-3] [7296:3.3-4] [7296:3.3.1-3]
#[test]
#[rustfmt::skip]
fn proposals_are_checked_for_their_substructures() {
    let proposal = |last: u8, number: u8, transform: &[u8]| {
        let mut out = vec![last, 0, 0, 0, number, 1, 0, 1];
        out.extend_from_slice(transform);
        out[3] = u8::try_from(out.len()).unwrap();
        out
    };
    let good: &[u8] = &[0, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0];
    let sa = |parts: &[Vec<u8>]| parse(PayloadType::SA, &parts.concat());
    let Ok(Payload::Sa(read)) = sa(&[proposal(2, 1, good), proposal(0, 2, good)]) else { panic!("it is good") };
    assert_eq!(read.proposals.len(), 2);
    assert_eq!(read.proposals[0].transforms[0].key_length, Some(256));
    // An answer carries the number that was chosen.
    assert!(sa(&[proposal(0, 3, good)]).is_ok());
    assert_eq!(sa(&[proposal(0, 0, good)]), Err((4, "a proposal's number is 0")));
    assert_eq!(sa(&[proposal(2, 2, good), proposal(0, 3, good)]), Err((0, "the first proposal's number is not 1")));
    assert_eq!(
        sa(&[proposal(2, 1, good), proposal(0, 3, good)]),
        Err((20, "the proposals are not numbered one by one"))
    );
    assert_eq!(sa(&[proposal(2, 1, good)]), Err((20, "the proposal is cut off")));
    assert_eq!(
        sa(&[proposal(0, 1, good), proposal(0, 2, good)]),
        Err((20, "there are bytes after the last proposal"))
    );
    assert_eq!(sa(&[proposal(3, 1, good)]).unwrap_err().0, 0);
    let more: &[u8] = &[3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0];
    assert_eq!(
        sa(&[proposal(0, 1, more)]),
        Err((8, "Last Substruc and the number of transforms disagree"))
    );
    let long: &[u8] = &[0, 0, 0, 13, 1, 0, 0, 12, 0x80, 14, 1, 0];
    assert_eq!(sa(&[proposal(0, 1, long)]), Err((12, "the transform is cut off")));
    // An ESP proposal has an SPI of 4 bytes.
    assert_eq!(
        parse(PayloadType::SA, &[0, 0, 0, 8, 1, 3, 0, 0]),
        Err((6, "the SPI size is not the protocol's"))
    );
}

// [7296:3.13.1-4]
#[test]
fn traffic_selectors_are_ranges_or_opaque() {
    let ts = |ports: [u8; 4], first: u8, last: u8| {
        let mut body = vec![1, 0, 0, 0, 7, 6, 0, 16];
        body.extend_from_slice(&ports);
        body.extend_from_slice(&[10, 0, 0, first, 10, 0, 0, last]);
        parse(PayloadType::TS_I, &body)
    };
    assert!(ts([0, 80, 0, 90], 1, 2).is_ok());
    assert!(ts([255, 255, 0, 0], 1, 1).is_ok());
    assert_eq!(ts([0, 81, 0, 80], 1, 2), Err((8, "the first port is above the last")));
    assert_eq!(ts([0, 80, 0, 90], 3, 2), Err((12, "the first address is above the last")));
    assert_eq!(parse(PayloadType::TS_I, &[1, 0, 0, 0, 7, 0, 0, 3]).unwrap_err().0, 6);
    assert_eq!(parse(PayloadType::TS_I, &[2, 0, 0, 0]).unwrap_err().0, 4);
    assert_eq!(parse(PayloadType::TS_I, &[0, 0, 0, 0, 9]).unwrap_err().0, 4);
    let Ok(Payload::TsI(unknown)) = parse(PayloadType::TS_I, &[1, 0, 0, 0, 9, 0, 0, 5, 1]) else {
        panic!("an unknown type is kept")
    };
    assert_eq!(unknown.0, [Selector::Unknown { kind: 9, protocol: 0, body: vec![1] }]);
    assert_eq!(unknown.ranges().count(), 0);
}

#[test]
fn configuration_values_have_their_lengths_or_are_passed_over() {
    let cp = |attribute: &[u8]| {
        let body = [&[1, 0, 0, 0], attribute].concat();
        parse(PayloadType::CP, &body).map(|p| match p {
            Payload::Configuration(c) => c.attributes,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(cp(&[0, 1, 0, 0]), Ok(vec![ConfigAttribute::Ip4Address(None)]));
    // The highest bit is reserved.
    assert_eq!(cp(&[0x80, 1, 0, 0]), Ok(vec![ConfigAttribute::Ip4Address(None)]));
    let passed_over = |attribute: &[u8]| {
        let (kind, value) = (u16::from_be_bytes([attribute[0], attribute[1]]), attribute[4..].to_vec());
        assert_eq!(cp(attribute), Ok(vec![ConfigAttribute::Unknown { kind, value }]));
    };
    passed_over(&[0, 1, 0, 3, 1, 2, 3]);
    passed_over(&[0, 1, 0, 5, 1, 2, 3, 4, 5]);
    passed_over(&[0, 13, 0, 4, 1, 2, 3, 4]);
    assert_eq!(cp(&[0, 1, 0, 5, 1, 2, 3]).unwrap_err().1, "the configuration attribute is cut off");
    let address: &[u8] = &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let prefix = |length| [&[0, 8, 0, 17], address, &[length]].concat();
    assert_eq!(
        cp(&prefix(64)),
        Ok(vec![ConfigAttribute::Ip6Address(Some(("2001:db8::1".parse().unwrap(), 64)))])
    );
    passed_over(&prefix(129));
    passed_over(&[&[0, 8, 0, 16], address].concat());
}

// [7296:3.9-1] [7296:3.11-3] [7296:3.16-2] [7383:2.5-4] [7383:2.5-5] [7383:2.5-6] [7383:2.6-1]
#[test]
fn other_payloads_are_checked_for_their_lengths() {
    assert!(parse(PayloadType::NONCE, &[0; 15]).is_err());
    assert!(parse(PayloadType::NONCE, &[0; 16]).is_ok() && parse(PayloadType::NONCE, &[0; 256]).is_ok());
    assert!(parse(PayloadType::NONCE, &[0; 257]).is_err());
    assert_eq!(parse(PayloadType::EAP, &[1, 2, 0, 5]).unwrap_err().0, 2);
    assert_eq!(parse(PayloadType::DELETE, &[1, 0, 0, 0]), Ok(Payload::Delete(Delete::Ike)));
    assert_eq!(parse(PayloadType::DELETE, &[1, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap_err().0, 1);
    assert_eq!(parse(PayloadType::DELETE, &[3, 4, 0, 1, 0, 0, 0, 9]), Ok(Payload::Delete(Delete::esp(9))));
    assert_eq!(parse(PayloadType::DELETE, &[3, 4, 0, 2, 0, 0, 0, 9]).unwrap_err().0, 1);
    assert_eq!(parse(PayloadType::DELETE, &[3, 0, 0, 0]).unwrap_err().0, 1);
    assert_eq!(parse(PayloadType::NOTIFY, &[3, 4, 0, 14, 1, 2, 3]).unwrap_err().0, 4);
    assert_eq!(parse(PayloadType::SKF, &[0, 0, 0, 1]).unwrap_err().0, 0);
    assert_eq!(parse(PayloadType::SKF, &[0, 3, 0, 2]).unwrap_err().0, 0);
    assert!(parse(PayloadType::SKF, &[0, 2, 0, 2]).is_ok());
}

#[test]
fn notifies_have_names() {
    assert_eq!(NotifyType::NO_PROPOSAL_CHOSEN.to_string(), "NO_PROPOSAL_CHOSEN (14)");
    assert_eq!(NotifyType(40_000).to_string(), "40000");
    assert!(NotifyType(8191).is_error() && !NotifyType::INITIAL_CONTACT.is_error());
    for pair in NotifyType::NAMED.windows(2) {
        assert!(pair[0] < pair[1], "{} is out of order or twice", pair[1]);
    }
}

// [7296:2-1]
#[test]
fn what_is_too_long_is_not_written() {
    let header = HeaderView::parse(&datagram(0, &[])).unwrap().header();
    let message = |payloads| Message { header, payloads }.emit().is_ok();
    assert!(message(vec![Payload::Vendor(vec![0; 65_000])]));
    assert!(!message(vec![Payload::Vendor(vec![0; 65_532])]));
    assert!(!message(vec![Payload::Vendor(vec![0; 40_000]), Payload::Vendor(vec![0; 40_000])]));
}
