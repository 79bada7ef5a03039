//! The server's side of RADIUS (RFC 2865, RFC 3579), as far as EAP needs it.

use adit_auth::radius::{Code, Packet, Vendor, Writer, attribute};
use adit_core::Secret;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

/// An answer to an Access-Request.
pub enum Answer<'a> {
    /// Access-Challenge with this EAP-Message.
    Challenge(&'a [u8]),
    /// Access-Accept with this EAP-Message, and the keys made of this MSK (RFC 2548 §2.4).
    Accept(&'a [u8], &'a Secret),
    /// Access-Reject with this EAP-Message.
    Reject(&'a [u8]),
}

/// The EAP-Message of an Access-Request whose Message-Authenticator is right.
#[must_use]
pub fn request(bytes: &[u8], secret: &[u8]) -> Option<(u8, [u8; 16], Vec<u8>)> {
    let packet = Packet::parse(bytes).ok().filter(|p| p.code() == Code::ACCESS_REQUEST)?;
    let (at, _, mac) = packet.attributes().find(|(_, kind, _)| *kind == attribute::MESSAGE_AUTHENTICATOR)?;
    let mut zeroed = packet.bytes().to_vec();
    zeroed.get_mut(at..at.checked_add(16)?)?.fill(0);
    (hmac_md5(secret, &zeroed) == mac)
        .then(|| packet.joined(attribute::EAP_MESSAGE))
        .flatten()
        .map(|eap| (packet.identifier(), packet.authenticator(), eap))
}

/// Writes an answer to the request with this identifier and authenticator.
#[must_use]
pub fn answer(answer: &Answer<'_>, identifier: u8, request: [u8; 16], secret: &[u8]) -> Option<Vec<u8>> {
    let (code, eap) = match answer {
        Answer::Challenge(eap) => (Code::ACCESS_CHALLENGE, eap),
        Answer::Accept(eap, _) => (Code::ACCESS_ACCEPT, eap),
        Answer::Reject(eap) => (Code::ACCESS_REJECT, eap),
    };
    let mut writer = Writer::new(code, identifier, request);
    let at = writer.len().saturating_add(2);
    writer.attribute(attribute::MESSAGE_AUTHENTICATOR, &[0; 16]);
    writer.attribute(attribute::EAP_MESSAGE, eap);
    if matches!(answer, Answer::Challenge(_)) {
        writer.attribute(attribute::STATE, b"conversation");
    }
    if let Answer::Accept(_, msk) = answer {
        let (receive, send) = msk.expose().split_at_checked(32)?;
        for (kind, key, salt) in
            [(Vendor::MPPE_RECV_KEY, receive, [0x80, 1]), (Vendor::MPPE_SEND_KEY, send, [0x80, 2])]
        {
            let value = kind.wrap(&salted(key, salt, &request, secret));
            writer.attribute(attribute::VENDOR_SPECIFIC, &value);
        }
    }
    let mut out = writer.finish()?;
    let mac = hmac_md5(secret, &out);
    out.get_mut(at..at.checked_add(16)?)?.copy_from_slice(&mac);
    let authenticator = md5(&[&out, secret]);
    out.get_mut(4..20)?.copy_from_slice(&authenticator);
    Some(out.to_vec())
}

/// RFC 2548 §2.4.2.
fn salted(key: &[u8], salt: [u8; 2], request: &[u8; 16], secret: &[u8]) -> Vec<u8> {
    let mut plain = vec![u8::try_from(key.len()).unwrap_or(u8::MAX)];
    plain.extend_from_slice(key);
    plain.resize(plain.len().next_multiple_of(16), 0);
    let mut out = salt.to_vec();
    let mut pad = md5(&[secret, request, &salt]);
    for block in plain.chunks(16) {
        let hidden: Vec<u8> = block.iter().zip(pad).map(|(p, x)| p ^ x).collect();
        pad = md5(&[secret, &hidden]);
        out.extend(hidden);
    }
    out
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hmac_md5(secret: &[u8], bytes: &[u8]) -> [u8; 16] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = <Hmac<Md5> as KeyInit>::new_from_slice(secret) else {
        return [0; 16];
    };
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}
