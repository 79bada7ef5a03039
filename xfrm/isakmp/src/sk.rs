//! SK and SKF: encrypted and authenticated messages, whole (RFC 7296 §3.14, RFC 5282) or in fragments (RFC 7383 §2.5).

use core::ops::Range;

use adit_core::DecodeError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, SkCipher};
use crate::header::{HEADER_LEN, Header, HeaderView, finish_length};
use crate::message::Message;
use crate::payload::{GENERIC_LEN, Payload, PayloadType, Payloads, emit_chain, first_kind, parse_chain};
use crate::wire::{EncodeError, patch_length};

/// Fragment Number and Total Fragments.
const NUMBERS_LEN: usize = 4;

/// Why a message was not protected. Only a local mistake leads here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SealError {
    /// Something does not fit its length field.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The IV has not the cipher's length, or the cipher refused.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Why a protected message gave nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// It could not be read before it was authenticated: to be dropped without a word.
    #[error("not a protected message: {0}")]
    Outer(DecodeError),
    /// It is not authentic: to be dropped without a word.
    #[error(transparent)]
    Crypto(CryptoError),
    /// It is authentic, and malformed inside: INVALID_SYNTAX.
    #[error("authentic, but malformed: {0}")]
    Inner(DecodeError),
}

/// One of the messages that a message too long for the path was cut into (RFC 7383 §2.5), authenticated and decrypted.
pub struct Fragment {
    /// Its header. Message ID, exchange type and flags are those of the whole message.
    pub header: Header,
    /// Fragment Number: 1 to `total`.
    pub number: u16,
    /// Total Fragments.
    pub total: u16,
    /// The type of the first payload inside the whole message; of the first fragment only.
    pub first: PayloadType,
    /// The byte with the critical bit of its payload's header.
    pub reserved: u8,
    /// Its part of the content.
    pub content: Zeroizing<Vec<u8>>,
}

/// What a protected datagram holds.
pub enum Opened {
    /// A message, and what it was made of.
    Message(Message, Inner),
    /// A part of one.
    Fragment(Fragment),
}

/// Where the content of a message lies in its datagram, once that is decrypted.
pub struct Inner {
    /// The type of the first payload inside.
    pub first: PayloadType,
    /// The byte with the critical bit of SK's header.
    pub reserved: u8,
    /// The payloads inside, without padding.
    pub content: Range<usize>,
}

/// What stands between the generic payload header and the IV.
struct Envelope {
    kind: PayloadType,
    first: PayloadType,
    /// Fragment Number and Total Fragments, of SKF.
    numbers: Option<(u16, u16)>,
}

/// Protects `payloads` as one message. `iv` has `cipher.iv_len()` bytes: unpredictable ones where
/// `cipher.iv_is_random()`, else a counter that never comes twice with this key.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    header: &Header,
    payloads: &[Payload],
    cipher: &dyn SkCipher,
    iv: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(2048));
    emit_chain(payloads, &mut plain)?;
    let envelope = Envelope { kind: PayloadType::SK, first: first_kind(payloads), numbers: None };
    seal_part(header, &envelope, &plain, cipher, iv)
}

/// Protects `payloads` as one message if it has at most `limit` bytes so, else as fragments of at most `limit` bytes
/// each (RFC 7383 §2.5). Each takes an IV of its own from `iv`.
///
/// # Errors
/// [`SealError`]; also a limit too small for anything, or more than 65,535 fragments.
pub fn seal_within(
    header: &Header,
    payloads: &[Payload],
    cipher: &dyn SkCipher,
    limit: usize,
    mut iv: impl FnMut() -> Vec<u8>,
) -> Result<Vec<Vec<u8>>, SealError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(2048));
    emit_chain(payloads, &mut plain)?;
    let first = first_kind(payloads);
    let block = cipher.block_len().max(1);
    let fixed = HEADER_LEN + GENERIC_LEN + cipher.iv_len() + cipher.icv_len();
    let whole = plain.len().saturating_add(1).next_multiple_of(block).saturating_add(fixed);
    if whole <= limit {
        let envelope = Envelope { kind: PayloadType::SK, first, numbers: None };
        return Ok(vec![seal_part(header, &envelope, &plain, cipher, &iv())?]);
    }
    let room = limit.saturating_sub(fixed + NUMBERS_LEN);
    let content = (room / block).saturating_mul(block).saturating_sub(1);
    if content == 0 {
        return Err(CryptoError::Length.into());
    }
    let total = u16::try_from(plain.len().div_ceil(content)).map_err(|_| CryptoError::Length)?;
    // [7383:2.5-2] [7383:2.5-3] The first one alone says which payload is the first inside.
    let kinds = core::iter::once(first).chain(core::iter::repeat(PayloadType::NONE));
    let parts = plain.chunks(content).zip(1_u16..).zip(kinds);
    parts
        .map(|((part, number), first)| {
            let envelope = Envelope { kind: PayloadType::SKF, first, numbers: Some((number, total)) };
            seal_part(header, &envelope, part, cipher, &iv())
        })
        .collect()
}

fn seal_part(
    header: &Header,
    envelope: &Envelope,
    plain: &[u8],
    cipher: &dyn SkCipher,
    iv: &[u8],
) -> Result<Vec<u8>, SealError> {
    if iv.len() != cipher.iv_len() {
        return Err(CryptoError::Length.into());
    }
    // No padding beyond what the cipher needs; the content of padding is free (RFC 7296 §3.14).
    let block = cipher.block_len().max(1);
    let unpadded = plain.len().saturating_add(1);
    // [7296:3.14-4]
    let padding = unpadded.next_multiple_of(block).saturating_sub(unpadded);
    let pad_length = u8::try_from(padding).map_err(|_| CryptoError::Length)?;

    let overhead = HEADER_LEN + GENERIC_LEN + 64;
    let mut out = Vec::with_capacity(plain.len().saturating_add(overhead).saturating_add(padding));
    // [7383:2.5-7]
    header.emit(envelope.kind, &mut out);
    out.extend_from_slice(&[envelope.first.0, 0, 0, 0]);
    if let Some((number, total)) = envelope.numbers {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&total.to_be_bytes());
    }
    let body = out.len();
    out.extend_from_slice(iv);
    out.extend_from_slice(plain);
    out.resize(out.len().saturating_add(padding), 0);
    out.push(pad_length);
    out.resize(out.len().saturating_add(cipher.icv_len()), 0);
    patch_length_of_payload(&mut out)?;
    finish_length(&mut out)?;
    // [7296:3.14-6]
    cipher.seal(&mut out, body)?;
    Ok(out)
}

/// [`open_any`] where only a whole message will do.
///
/// # Errors
/// [`OpenError`].
pub fn open(datagram: &mut [u8], cipher: &dyn SkCipher) -> Result<Message, OpenError> {
    match open_any(datagram, cipher)? {
        Opened::Message(message, _) => Ok(message),
        Opened::Fragment(_) => Err(OpenError::Outer(DecodeError::new(16, "the message is a fragment"))),
    }
}

/// Authenticates and decrypts a message in place, and reads it: the header, and the payloads that were inside SK, or
/// one fragment of them. Payloads in front of SK, which no exchange of RFC 7296 has, are left out.
///
/// # Errors
/// [`OpenError`]. After an error the datagram's bytes are worthless.
pub fn open_any(datagram: &mut [u8], cipher: &dyn SkCipher) -> Result<Opened, OpenError> {
    let found = find(datagram).map_err(OpenError::Outer)?;
    let Found { header, first, reserved, body, numbers } = found;
    let padded = cipher.open(datagram, body).map_err(OpenError::Crypto)?;
    let at = padded.start;
    let plain = datagram
        .get(padded)
        .and_then(unpad)
        .ok_or(OpenError::Inner(DecodeError::new(at, "the padding is longer than the content")))?;
    match numbers {
        None => {
            let inner = Inner { first, reserved, content: at..at.saturating_add(plain.len()) };
            read(header, first, plain, at).map(|m| Opened::Message(m, inner)).map_err(OpenError::Inner)
        }
        Some((number, total)) => {
            let content = Zeroizing::new(plain.to_vec());
            Ok(Opened::Fragment(Fragment { header, number, total, first, reserved, content }))
        }
    }
}

/// Reads the content of a message, perhaps put together from fragments (RFC 7383 §2.6).
///
/// # Errors
/// It is malformed: INVALID_SYNTAX.
pub fn read(header: Header, first: PayloadType, content: &[u8], at: usize) -> Result<Message, DecodeError> {
    let payloads = parse_chain(first, content, at)?;
    // [7296:3.1-1]
    if payloads.iter().any(|p| matches!(p, Payload::Sk { .. } | Payload::Skf { .. })) {
        return Err(DecodeError::new(at, "an encrypted payload is inside another"));
    }
    Ok(Message { header, payloads })
}

/// A and P of a message's IntAuth (RFC 9242 §3.3.2): the message as it would be in clear, with SK's header around its
/// content, and with neither IV nor padding nor ICV. Whether it was cut into fragments makes no difference; `reserved` is
/// that of the first one then.
///
/// # Errors
/// It is too long.
pub fn as_whole(
    header: &Header,
    first: PayloadType,
    reserved: u8,
    content: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let length = HEADER_LEN.saturating_add(GENERIC_LEN).saturating_add(content.len());
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    // [9242:3.3.2-1] [9242:3.3.2-2]
    header.emit(PayloadType::SK, &mut out);
    // [9242:3.3.2-3]
    out.extend_from_slice(&[first.0, reserved, 0, 0]);
    out.extend_from_slice(content);
    patch_length_of_payload(&mut out)?;
    finish_length(&mut out)?;
    Ok(out)
}

/// [`as_whole`] of a message that is to be sent.
///
/// # Errors
/// It is too long.
pub fn payloads_as_whole(header: &Header, payloads: &[Payload]) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(2048));
    emit_chain(payloads, &mut plain)?;
    as_whole(header, first_kind(payloads), 0, &plain)
}

/// The number of a fragment, as it says in clear: nothing is proven.
#[must_use]
pub fn fragment_number(datagram: &[u8]) -> Option<u16> {
    find(datagram).ok()?.numbers.map(|(number, _)| number)
}

struct Found {
    header: Header,
    /// The type of the first payload inside.
    first: PayloadType,
    reserved: u8,
    /// Where the IV begins.
    body: usize,
    numbers: Option<(u16, u16)>,
}

fn find(datagram: &[u8]) -> Result<Found, DecodeError> {
    let view = HeaderView::parse(datagram)?;
    let header = view.header();
    header.check_ikev2()?;
    for raw in Payloads::new(view.next_payload(), view.body(), HEADER_LEN) {
        let raw = raw?;
        let flags = raw.at.checked_sub(GENERIC_LEN - 1).and_then(|at| datagram.get(at));
        let reserved = flags.copied().unwrap_or(0);
        match (raw.kind, raw.body) {
            (PayloadType::SK, _) => {
                return Ok(Found { header, first: raw.next, reserved, body: raw.at, numbers: None });
            }
            (PayloadType::SKF, [a, b, c, d, ..]) => {
                let numbers = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                // [7383:2.5-4] [7383:2.5-5] [7383:2.5-6] [7383:2.6-1]
                if numbers.0 == 0 || numbers.0 > numbers.1 {
                    return Err(DecodeError::new(raw.at, "a fragment's number is not among its total"));
                }
                let body = raw.at.saturating_add(NUMBERS_LEN);
                return Ok(Found { header, first: raw.next, reserved, body, numbers: Some(numbers) });
            }
            _ => {}
        }
    }
    Err(DecodeError::new(16, "the message has no SK payload"))
}

fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let (pad_length, rest) = padded.split_last()?;
    // [7296:3.14-5]
    rest.len().checked_sub(usize::from(*pad_length)).and_then(|n| rest.get(..n))
}

fn patch_length_of_payload(message: &mut [u8]) -> Result<(), EncodeError> {
    patch_length(message, HEADER_LEN, "the SK payload")
}
