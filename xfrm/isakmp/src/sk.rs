//! SK: encrypted and authenticated messages (RFC 7296 §3.14, RFC 5282).

use adit_core::DecodeError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, SkCipher};
use crate::header::{HEADER_LEN, Header, HeaderView, finish_length};
use crate::message::Message;
use crate::payload::{GENERIC_LEN, Payload, PayloadType, Payloads, emit_chain, first_kind, parse_chain};
use crate::wire::{EncodeError, patch_length};

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
    if iv.len() != cipher.iv_len() {
        return Err(CryptoError::Length.into());
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(2048));
    emit_chain(payloads, &mut plain)?;
    // No padding beyond what the cipher needs; the content of padding is free (RFC 7296 §3.14).
    let block = cipher.block_len().max(1);
    let unpadded = plain.len().saturating_add(1);
    // [7296:3.14-4]
    let padding = unpadded.next_multiple_of(block).saturating_sub(unpadded);
    let pad_length = u8::try_from(padding).map_err(|_| CryptoError::Length)?;

    let overhead = HEADER_LEN + GENERIC_LEN + 64;
    let mut out = Vec::with_capacity(plain.len().saturating_add(overhead).saturating_add(padding));
    header.emit(PayloadType::SK, &mut out);
    out.extend_from_slice(&[first_kind(payloads).0, 0, 0, 0]);
    let body = out.len();
    out.extend_from_slice(iv);
    out.extend_from_slice(&plain);
    out.resize(out.len().saturating_add(padding), 0);
    out.push(pad_length);
    out.resize(out.len().saturating_add(cipher.icv_len()), 0);
    patch_length_of_payload(&mut out)?;
    finish_length(&mut out)?;
    // [7296:3.14-6]
    cipher.seal(&mut out, body)?;
    Ok(out)
}

/// Authenticates and decrypts a message in place, and reads it: the header, and the payloads that were inside SK.
/// Payloads in front of SK, which no exchange of RFC 7296 has, are left out.
///
/// # Errors
/// [`OpenError`]. After an error the datagram's bytes are worthless.
pub fn open(datagram: &mut [u8], cipher: &dyn SkCipher) -> Result<Message, OpenError> {
    let (header, first, body) = find(datagram).map_err(OpenError::Outer)?;
    let padded = cipher.open(datagram, body).map_err(OpenError::Crypto)?;
    let at = padded.start;
    let plain = datagram
        .get(padded)
        .and_then(unpad)
        .ok_or(OpenError::Inner(DecodeError::new(at, "the padding is longer than the content")))?;
    let payloads = parse_chain(first, plain, at).map_err(OpenError::Inner)?;
    // [7296:3.1-1]
    if payloads.iter().any(|p| matches!(p, Payload::Sk { .. } | Payload::Skf { .. })) {
        let error = DecodeError::new(at, "an encrypted payload is inside another");
        return Err(OpenError::Inner(error));
    }
    Ok(Message { header, payloads })
}

/// The header, the type of the first payload inside SK, and where SK's body begins.
fn find(datagram: &[u8]) -> Result<(Header, PayloadType, usize), DecodeError> {
    let view = HeaderView::parse(datagram)?;
    let header = view.header();
    header.check_ikev2()?;
    for raw in Payloads::new(view.next_payload(), view.body(), HEADER_LEN) {
        let raw = raw?;
        if raw.kind == PayloadType::SK {
            return Ok((header, raw.next, raw.at));
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
