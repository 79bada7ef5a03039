//! What makes a RADIUS packet believable, and what hides a value in it.

use adit_core::Secret;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use thiserror::Error;
use zeroize::Zeroizing;

use super::attributes::attribute;
use super::packet::{Code, Packet, Writer};

const MAC_LEN: usize = 16;

/// Why an answer is as if it had never come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unbelievable {
    /// RFC 2865 §3: whoever sent it does not have the secret.
    #[error("the Response Authenticator is wrong: the secret differs, or somebody else sent it")]
    Authenticator,
    /// RFC 3579 §3.2.
    #[error("it has no Message-Authenticator: the server is too old, or the packet was forged (BlastRADIUS)")]
    NoMessageAuthenticator,
    /// RFC 3579 §3.2.
    #[error("the Message-Authenticator is wrong: the secret differs, or somebody has changed the packet")]
    MessageAuthenticator,
}

fn md5(parts: &[&[u8]]) -> Zeroizing<[u8; 16]> {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}

fn hmac_md5(secret: &Secret, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = <Hmac<Md5> as KeyInit>::new_from_slice(secret.expose()) else {
        return [0; MAC_LEN];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Signs an Access-Request or Status-Server: Message-Authenticator over the packet with its own octets as zero. It
/// stands first, so that a forger can't put chosen octets before it.
pub(super) fn begin_signed(writer: &mut Writer) -> usize {
    let at = writer.len().saturating_add(2);
    writer.attribute(attribute::MESSAGE_AUTHENTICATOR, &[0; MAC_LEN]);
    at
}

pub(super) fn sign(packet: &mut [u8], at: usize, secret: &Secret) {
    let mac = hmac_md5(secret, &[packet]);
    if let Some(field) = packet.get_mut(at..at.saturating_add(MAC_LEN)) {
        field.copy_from_slice(&mac);
    }
}

/// The Request Authenticator of Accounting-Request, Disconnect-Request and CoA-Request: MD5 over the packet with zeroes
/// in its place, and the secret (RFC 2866 §3, RFC 5176 §2.3).
pub(super) fn sign_accounting(packet: &mut [u8], secret: &Secret) {
    let digest = md5(&[packet, secret.expose()]);
    if let Some(field) = packet.get_mut(4..20) {
        field.copy_from_slice(&*digest);
    }
}

/// Response Authenticator: MD5 over the packet with the request's authenticator in its place, and the secret.
pub(super) fn sign_answer(packet: &mut [u8], secret: &Secret) {
    sign_accounting(packet, secret);
}

/// Whether `answer` was made by who has the secret, for the request with this authenticator (RFC 2865 §3, RFC 3579
/// §3.2).
///
/// # Errors
/// Why not.
pub fn believe(answer: &Packet<'_>, request: &[u8; 16], secret: &Secret) -> Result<(), Unbelievable> {
    let bytes = answer.bytes();
    let (head, rest) = (bytes.get(..4).unwrap_or_default(), bytes.get(20..).unwrap_or_default());
    let expected = md5(&[head, request, rest, secret.expose()]);
    if !Secret::from(&expected[..]).equals(&answer.authenticator()) {
        return Err(Unbelievable::Authenticator);
    }
    let access = [Code::ACCESS_ACCEPT, Code::ACCESS_REJECT, Code::ACCESS_CHALLENGE].contains(&answer.code());
    match message_authenticator(answer) {
        Some((at, got)) => verify_mac(bytes, request, at, &got, secret),
        None if access => Err(Unbelievable::NoMessageAuthenticator),
        None => Ok(()),
    }
}

/// Whether a Disconnect-Request or CoA-Request was made by who has the secret.
///
/// # Errors
/// Why not.
pub(super) fn believe_request(request: &Packet<'_>, secret: &Secret) -> Result<(), Unbelievable> {
    let bytes = request.bytes();
    let (head, rest) = (bytes.get(..4).unwrap_or_default(), bytes.get(20..).unwrap_or_default());
    let expected = md5(&[head, &[0; 16], rest, secret.expose()]);
    if !Secret::from(&expected[..]).equals(&request.authenticator()) {
        return Err(Unbelievable::Authenticator);
    }
    match message_authenticator(request) {
        // RFC 5176 §3.4: computed with zeroes in the place of the Request Authenticator.
        Some((at, got)) => verify_mac(bytes, &[0; 16], at, &got, secret),
        None => Ok(()),
    }
}

fn message_authenticator(packet: &Packet<'_>) -> Option<(usize, [u8; MAC_LEN])> {
    let (at, _, value) = packet.attributes().find(|(_, k, _)| *k == attribute::MESSAGE_AUTHENTICATOR)?;
    Some((at, value.try_into().unwrap_or_default()))
}

fn verify_mac(
    bytes: &[u8],
    request: &[u8; 16],
    at: usize,
    got: &[u8; MAC_LEN],
    secret: &Secret,
) -> Result<(), Unbelievable> {
    let before = bytes.get(20..at).unwrap_or_default();
    let after = bytes.get(at.saturating_add(MAC_LEN)..).unwrap_or_default();
    let head = bytes.get(..4).unwrap_or_default();
    let expected = hmac_md5(secret, &[head, request, before, &[0; MAC_LEN], after]);
    match Secret::from(&expected[..]).equals(got) {
        true => Ok(()),
        false => Err(Unbelievable::MessageAuthenticator),
    }
}

/// Hides a User-Password (RFC 2865 §5.2). `None`: it has more than 128 octets.
/// Where anybody may know the secret (RFC 6614 §2.3), nothing is hidden so.
pub(super) fn hide_password(
    password: &Secret,
    request: &[u8; 16],
    secret: &Secret,
) -> Option<Zeroizing<Vec<u8>>> {
    if password.len() > 128 {
        return None;
    }
    let mut padded = Zeroizing::new(password.expose().to_vec());
    padded.resize(password.len().max(1).next_multiple_of(16), 0);
    let mut out = Zeroizing::new(Vec::with_capacity(padded.len()));
    let mut previous = *request;
    for block in padded.as_chunks::<16>().0 {
        let pad = md5(&[secret.expose(), &previous]);
        for (to, (plain, pad)) in previous.iter_mut().zip(block.iter().zip(pad.iter())) {
            *to = plain ^ pad;
        }
        out.extend(previous);
    }
    Some(out)
}

/// Reads a salted value: MS-MPPE-Send-Key and -Recv-Key (RFC 2548 §2.4.2), Tunnel-Password (RFC 2868 §3.5).
pub(super) fn read_salted(value: &[u8], request: &[u8; 16], secret: &Secret) -> Option<Secret> {
    let (salt, hidden) = value.split_first_chunk::<2>()?;
    let blocks = hidden.as_chunks::<16>();
    if salt[0] & 0x80 == 0 || blocks.0.is_empty() || !blocks.1.is_empty() {
        return None;
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut pad = md5(&[secret.expose(), request, salt]);
    for block in blocks.0 {
        plain.extend(block.iter().zip(pad.iter()).map(|(c, p)| c ^ p));
        pad = md5(&[secret.expose(), block]);
    }
    let (length, rest) = plain.split_first()?;
    rest.get(..usize::from(*length)).map(Secret::from)
}

/// The other way round, as a server does it; for tests.
#[cfg(test)]
pub(super) fn write_salted(plain: &[u8], salt: [u8; 2], request: &[u8; 16], secret: &Secret) -> Vec<u8> {
    let mut padded = vec![u8::try_from(plain.len()).unwrap()];
    padded.extend_from_slice(plain);
    padded.resize(padded.len().next_multiple_of(16), 0);
    let mut out = salt.to_vec();
    let mut pad = md5(&[secret.expose(), request, &salt]);
    for block in padded.as_chunks::<16>().0 {
        let hidden: Vec<u8> = block.iter().zip(pad.iter()).map(|(p, x)| p ^ x).collect();
        pad = md5(&[secret.expose(), &hidden]);
        out.extend(hidden);
    }
    out
}
