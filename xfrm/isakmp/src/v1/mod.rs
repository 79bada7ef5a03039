//! What only IKEv1 has (RFC 2408, RFC 2409, RFC 2407): its payloads, its proposals, its key derivation.

mod describe;
mod id;
pub mod keys;
mod payload;
pub mod proposal;
mod sa;

pub use id::Identification;
pub use payload::{
    CertData, Delete, Fragment, Kind, MAX_PAYLOADS, Notify, NotifyKind, Payload, X509_SIGNATURE, emit_chain,
    first_kind, parse_chain,
};
pub use sa::{Proposal, SecurityAssociation, Transform};

use core::ops::Range;

use adit_core::{DecodeError, Secret};

use crate::algorithm::{Encryption, Prf};
use crate::crypto::{CryptoError, CryptoProvider};
use crate::header::{HEADER_LEN, Header, HeaderView, finish_length};
use crate::payload::PayloadType;
use crate::wire::EncodeError;

/// The flags of an IKEv1 header (RFC 2408 §3.1).
pub mod flags {
    use crate::header::Flags;

    /// The payloads are encrypted.
    pub const ENCRYPTION: Flags = Flags(0x01);
    /// The commit bit: wait for CONNECTED before an SA is used.
    pub const COMMIT: Flags = Flags(0x02);
}

/// What IKEv1 needs of cryptography besides.
pub trait Provider: CryptoProvider {
    /// The hash that the HMAC of `prf` is made of, of the concatenated parts: `prf.output_len()` bytes.
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8>;

    /// A cipher in CBC mode, without anything that authenticates.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] if it is none in CBC mode or the key has the wrong length.
    fn cbc(&self, encryption: Encryption, key: &Secret) -> Result<Box<dyn Cbc>, CryptoError>;
}

/// A cipher in CBC mode. The data is a whole number of blocks, the IV is one.
pub trait Cbc: Send {
    /// Encrypts in place.
    ///
    /// # Errors
    /// [`CryptoError::Length`].
    fn encrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError>;

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`CryptoError::Length`].
    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError>;
}

/// A message in clear, or one that has been decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The payloads, in order, and where the body of each lies.
    pub payloads: Vec<(Payload, Range<usize>)>,
}

impl Message {
    /// Reads a datagram whose payloads are in clear; with `padded` what was decrypted.
    ///
    /// # Errors
    /// The first thing that is wrong, and at which byte.
    pub fn parse(datagram: &[u8], padded: bool) -> Result<Self, DecodeError> {
        let view = HeaderView::parse(datagram)?;
        let header = view.header();
        // [2408:5.2-2]
        if header.major() != 1 {
            return Err(DecodeError::new(17, "the major version is not 1"));
        }
        let payloads = parse_chain(Kind(view.next_payload().0), view.body(), HEADER_LEN, padded)?;
        if payloads.is_empty() {
            return Err(DecodeError::new(16, "the message has no payload"));
        }
        Ok(Self { header, payloads })
    }

    /// Where the body of the first payload of this kind lies in the datagram.
    #[must_use]
    pub fn body(&self, kind: Kind) -> Option<Range<usize>> {
        self.payloads.iter().find(|(p, _)| p.kind() == kind).map(|(_, at)| at.clone())
    }

    /// What follows the first payload, up to the end of the last: what the hashes of RFC 2409 §5.5 cover.
    #[must_use]
    pub fn after_first(&self) -> Range<usize> {
        let start = self.payloads.first().map_or(0, |(_, at)| at.end);
        let end = self.payloads.last().map_or(0, |(_, at)| at.end);
        start..end.max(start)
    }

    /// The payloads alone.
    pub fn iter(&self) -> impl Iterator<Item = &Payload> {
        self.payloads.iter().map(|(p, _)| p)
    }
}

/// A datagram in clear.
///
/// # Errors
/// [`EncodeError`] if something does not fit its length field.
pub fn emit(header: &Header, payloads: &[Payload]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(512);
    header.emit(PayloadType(first_kind(payloads).0), &mut out);
    emit_chain(payloads, &mut out)?;
    finish_length(&mut out)?;
    Ok(out)
}

/// An encrypted datagram, and the IV of the next message under the same keys: its last block.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    header: &Header,
    payloads: &[Payload],
    cipher: &dyn Cbc,
    iv: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), SealError> {
    let mut out = emit(header, payloads)?;
    let block = iv.len().max(1);
    let length = out.len().saturating_sub(HEADER_LEN).next_multiple_of(block);
    out.resize(HEADER_LEN.saturating_add(length), 0);
    finish_length(&mut out)?;
    let body = out.get_mut(HEADER_LEN..).ok_or(CryptoError::Length)?;
    cipher.encrypt(iv, body)?;
    let next = last_block(&out, block).ok_or(CryptoError::Length)?;
    Ok((out, next))
}

/// Decrypts and reads an encrypted datagram: the plain datagram, what is in it, and the IV of the next message. Nothing
/// has been authenticated then.
///
/// # Errors
/// What is wrong with it: with the wrong key, nearly everything.
pub fn open(
    datagram: &[u8],
    cipher: &dyn Cbc,
    iv: &[u8],
) -> Result<(Vec<u8>, Message, Vec<u8>), DecodeError> {
    let block = iv.len().max(1);
    let next = last_block(datagram, block).ok_or(DecodeError::new(HEADER_LEN, "there is no whole block"))?;
    let mut plain = datagram.to_vec();
    let body = plain.get_mut(HEADER_LEN..).unwrap_or_default();
    cipher
        .decrypt(iv, body)
        .map_err(|_| DecodeError::new(HEADER_LEN, "the ciphertext is not a whole number of blocks"))?;
    let message = Message::parse(&plain, true)?;
    Ok((plain, message, next))
}

/// Why a message could not be sealed. Only a local mistake leads here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// It does not fit.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It can't be encrypted.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

fn last_block(datagram: &[u8], block: usize) -> Option<Vec<u8>> {
    let body = datagram.get(HEADER_LEN..)?;
    let start = body.len().checked_sub(block).filter(|_| body.len().is_multiple_of(block))?;
    body.get(start..).map(<[u8]>::to_vec)
}
