//! What each fuzz target asserts: nothing panics, and whatever was understood means the same after it was written
//! and read again.

pub mod auth;
pub mod certificates;
pub mod dhcp;
pub mod dns;
pub mod ikev1;
pub mod import;
pub mod l2tp;
pub mod ppp;
pub mod samples;
pub mod session;
pub mod sstp;

use core::fmt::Debug;
use core::ops::Range;
use core::str::FromStr;

use adit_isakmp::crypto::{CryptoError, SkCipher};
use adit_isakmp::payload::{Payload, PayloadType, RawPayload, SecurityAssociation};
use adit_isakmp::proposal::{
    EspProposal, IkeProposal, accept_esp, accept_ike, choose_esp, choose_ike, describe,
};
use adit_isakmp::{HeaderView, Message, signature, sk};

/// A whole datagram.
pub fn message(data: &[u8]) {
    let _ = HeaderView::parse(data);
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let written = message.emit().expect("what was read fits its length fields");
    assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
    let _ = message.unsupported_critical();
    message.payloads.iter().for_each(look_at);
}

/// The body of an SA payload, and both sides of the choice.
pub fn sa(data: &[u8]) {
    let Some(Payload::Sa(sa)) = payload(PayloadType::SA, data) else {
        return;
    };
    assert!(describe(&sa).len() < 8192);
    choose(&sa);
}

/// The body of a KE payload.
pub fn ke(data: &[u8]) {
    payload(PayloadType::KE, data);
}

/// The body of an ID payload.
pub fn id(data: &[u8]) {
    payload(PayloadType::ID_I, data);
    payload(PayloadType::ID_R, data);
}

/// The body of a CERT payload.
pub fn cert(data: &[u8]) {
    payload(PayloadType::CERT, data);
}

/// The body of a CERTREQ payload.
pub fn certreq(data: &[u8]) {
    payload(PayloadType::CERTREQ, data);
}

/// The body of an AUTH payload.
pub fn auth(data: &[u8]) {
    payload(PayloadType::AUTH, data);
}

/// The body of a nonce.
pub fn nonce(data: &[u8]) {
    payload(PayloadType::NONCE, data);
}

/// The body of a Notify payload.
pub fn notify(data: &[u8]) {
    payload(PayloadType::NOTIFY, data);
}

/// The body of a Delete payload.
pub fn delete(data: &[u8]) {
    payload(PayloadType::DELETE, data);
}

/// The body of a Vendor ID payload.
pub fn vendor(data: &[u8]) {
    payload(PayloadType::VENDOR, data);
}

/// The body of a TS payload.
pub fn ts(data: &[u8]) {
    payload(PayloadType::TS_I, data);
    payload(PayloadType::TS_R, data);
}

/// The body of an SKF payload.
pub fn skf(data: &[u8]) {
    payload(PayloadType::SKF, data);
}

/// The body of a CP payload.
pub fn cp(data: &[u8]) {
    payload(PayloadType::CP, data);
}

/// The body of an EAP payload.
pub fn eap(data: &[u8]) {
    payload(PayloadType::EAP, data);
}

/// A protected message, with ciphers that let everything through, so that what is behind them is reached.
pub fn sk(data: &[u8]) {
    payload(PayloadType::SK, data);
    for cipher in [Open { block: 1 }, Open { block: 16 }] {
        let mut datagram = data.to_vec();
        let Ok(message) = sk::open(&mut datagram, &cipher) else {
            continue;
        };
        message.payloads.iter().for_each(look_at);
        let iv = vec![0; cipher.iv_len()];
        // Padding may make the longest messages longer than a datagram.
        let Ok(mut sealed) = sk::seal(&message.header, &message.payloads, &cipher, &iv) else {
            assert!(data.len() > 65_000);
            continue;
        };
        assert_eq!(sk::open(&mut sealed, &cipher).as_ref(), Ok(&message));
    }
}

/// A message in fragments of any size: put together again it is the same, and so is what IntAuth is over.
pub fn fragments(data: &[u8]) {
    let Some(([high, low, block], rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    let limit = 100 + usize::from(u16::from_be_bytes([*high, *low])) % 1400;
    let cipher = Open { block: if block & 1 == 0 { 1 } else { 16 } };
    let Ok(message) = Message::parse(rest) else {
        return;
    };
    let inside = |p: &Payload| !matches!(p, Payload::Sk { .. } | Payload::Skf { .. });
    let payloads: Vec<Payload> = message.payloads.into_iter().filter(inside).collect();
    let header = message.header;
    let iv = || vec![0; cipher.iv_len()];
    let Ok(datagrams) = sk::seal_within(&header, &payloads, &cipher, limit, iv) else {
        return;
    };
    let whole = sk::payloads_as_whole(&header, &payloads).expect("it was sealed");
    let total = datagrams.len();
    let (mut first, mut reserved, mut content) = (PayloadType::NONE, 0, Vec::new());
    for mut datagram in datagrams {
        assert!(datagram.len() <= limit);
        match sk::open_any(&mut datagram, &cipher).expect("ours") {
            sk::Opened::Message(message, inner) => {
                assert_eq!((total, message.payloads), (1, payloads));
                let again = sk::as_whole(&header, inner.first, inner.reserved, &datagram[inner.content]);
                assert_eq!(again, Ok(whole));
                return;
            }
            sk::Opened::Fragment(fragment) => {
                if fragment.number == 1 {
                    (first, reserved) = (fragment.first, fragment.reserved);
                }
                content.extend_from_slice(&fragment.content);
            }
        }
    }
    assert_eq!(sk::read(header, first, &content, 0).expect("ours").payloads, payloads);
    assert_eq!(sk::as_whole(&header, first, reserved, &content), Ok(whole));
}

/// Proposals as people write them.
pub fn proposal_text(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    written_again::<IkeProposal>(text);
    written_again::<EspProposal>(text);
}

fn written_again<P>(text: &str)
where
    P: FromStr<Err: ToString> + ToString + PartialEq + Debug,
{
    match text.parse::<P>() {
        Ok(proposal) => {
            let again = proposal.to_string().parse::<P>();
            assert_eq!(again.ok().as_ref(), Some(&proposal));
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// Reads `body` as a payload of this type; if it is one, writes it, reads it again, and compares.
fn payload(kind: PayloadType, body: &[u8]) -> Option<Payload> {
    let raw = |body| RawPayload { kind, next: PayloadType::NONE, critical: false, at: 32, body };
    let read = Payload::parse(&raw(body)).ok()?;
    let mut written = Vec::new();
    read.emit(&mut written).expect("what was read fits its length fields");
    assert_eq!(Payload::parse(&raw(&written)).as_ref(), Ok(&read));
    look_at(&read);
    Some(read)
}

/// Everything that is computed from a payload that was read.
fn look_at(payload: &Payload) {
    match payload {
        Payload::Sa(sa) => _ = describe(sa),
        Payload::Ke(ke) => _ = ke.known(),
        Payload::IdI(id) | Payload::IdR(id) => {
            if let Some(identity) = id.identity() {
                assert_eq!((identity.id_type(), identity.data()), (id.id_type, id.data.clone()));
                assert!(!format!("{identity:?} {identity}").is_empty());
            }
        }
        Payload::CertReq(request) => assert!(request.authorities().count() <= request.authority.len() / 20),
        Payload::Auth(auth) => {
            if let Ok((identifier, signature)) = auth.as_digital_signature() {
                assert_eq!(identifier.len() + signature.len() + 1, auth.data.len());
                let _ = signature::schemes(identifier);
            }
            let _ = signature::schemes(&auth.data);
        }
        Payload::Notify(notify) => {
            _ = notify.data_u16();
            assert!(signature::parse_hashes(&notify.data).count() <= notify.data.len() / 2);
        }
        Payload::TsI(ts) | Payload::TsR(ts) => {
            for range in ts.ranges() {
                assert_eq!(range.intersection(range), Some(range));
                assert!(!range.to_string().is_empty());
            }
        }
        Payload::Cert(_)
        | Payload::Nonce(_)
        | Payload::Delete(_)
        | Payload::Vendor(_)
        | Payload::Configuration(_)
        | Payload::Eap(_)
        | Payload::Sk { .. }
        | Payload::Skf { .. }
        | Payload::Unknown { .. } => {}
    }
}

/// A responder's choice from `offered` must be one that an initiator who offered our own proposals accepts where
/// `offered` is ours, and never one that we don't allow.
fn choose(offered: &SecurityAssociation) {
    let (ike, esp) = (IkeProposal::defaults(), EspProposal::defaults());
    if let Ok(chosen) = choose_ike(&ike, offered, &[]) {
        assert!(
            ike.iter()
                .any(|p| p.encryption.contains(&chosen.suite.encryption) && p.ke.contains(&chosen.suite.ke))
        );
        assert_eq!(chosen.reply.proposals.len(), 1);
    }
    for with_ke in [false, true] {
        if let Ok(chosen) = choose_esp(&esp, offered, 7, with_ke) {
            assert!(esp.iter().any(|p| p.encryption.contains(&chosen.suite.encryption)));
            assert!(with_ke || chosen.suite.ke.is_none());
            _ = chosen.peer_spi();
        }
        _ = accept_esp(&esp, offered, with_ke);
    }
    _ = accept_ike(&ike, offered);
}

/// Neither hides nor checks anything.
pub(crate) struct Open {
    pub(crate) block: usize,
}

pub(crate) const ICV: usize = 16;

impl SkCipher for Open {
    fn iv_len(&self) -> usize {
        if self.block == 1 { 8 } else { self.block }
    }

    fn icv_len(&self) -> usize {
        ICV
    }

    fn block_len(&self) -> usize {
        self.block
    }

    fn iv_is_random(&self) -> bool {
        self.block != 1
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        self.open(message, body).map(|_| ())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let end = message.len().checked_sub(ICV).ok_or(CryptoError::Length)?;
        let start = body + self.iv_len();
        let length = end.checked_sub(start).ok_or(CryptoError::Length)?;
        if length == 0 || !length.is_multiple_of(self.block) {
            return Err(CryptoError::Length);
        }
        Ok(start..end)
    }
}
