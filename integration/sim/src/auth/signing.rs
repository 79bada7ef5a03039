//! What a RADIUS server does to a packet: written here once more, so that the client's own code is not its judge.

use adit_auth::radius::{Code, Packet, Writer, attribute};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

const ZERO: [u8; 16] = [0; 16];

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hmac_md5(secret: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut mac) = <Hmac<Md5> as KeyInit>::new_from_slice(secret) else { return ZERO };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether a request was made by who has the secret: Message-Authenticator of an Access-Request and of a Status-Server, the
/// Request Authenticator of an Accounting-Request (RFC 3579 §3.2, RFC 5997 §2.1, RFC 2866 §3).
pub(super) fn is_signed(bytes: &[u8], secret: &[u8]) -> bool {
    let Ok(packet) = Packet::parse(bytes) else { return false };
    if packet.code() == Code::ACCOUNTING_REQUEST {
        let (Some(head), Some(rest)) = (bytes.get(..4), bytes.get(20..)) else { return false };
        return md5(&[head, &ZERO, rest, secret]) == packet.authenticator();
    }
    let found = packet.attributes().find(|(_, kind, _)| *kind == attribute::MESSAGE_AUTHENTICATOR);
    let Some((at, _, value)) = found else { return false };
    let (before, after) = (bytes.get(..at).unwrap_or_default(), bytes.get(at + 16..).unwrap_or_default());
    hmac_md5(secret, &[before, &ZERO, after]) == value
}

/// Whether a request of the server's own is to go out signed, or forged by who has another secret.
pub(super) fn sign_request(packet: &mut [u8], secret: &[u8]) {
    if let Some(field) = packet.get_mut(4..20) {
        field.copy_from_slice(&ZERO);
    }
    let digest = md5(&[packet, secret]);
    if let Some(field) = packet.get_mut(4..20) {
        field.copy_from_slice(&digest);
    }
}

/// An answer to `request`, signed with `secret`; without a Message-Authenticator where `believable` is false.
pub(super) fn answer(
    code: Code,
    request: (u8, [u8; 16]),
    secret: &[u8],
    believable: bool,
    write: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut writer = Writer::new(code, request.0, request.1);
    let at = writer.len() + 2;
    if believable {
        writer.attribute(attribute::MESSAGE_AUTHENTICATOR, &ZERO);
    }
    write(&mut writer);
    let Some(packet) = writer.finish() else { return Vec::new() };
    let mut packet = packet.to_vec();
    if believable {
        let mac = hmac_md5(secret, &[&packet]);
        packet.get_mut(at..at + 16).into_iter().for_each(|field| field.copy_from_slice(&mac));
    }
    let digest = md5(&[&packet, secret]);
    packet.get_mut(4..20).into_iter().for_each(|field| field.copy_from_slice(&digest));
    packet
}

/// A key as MS-MPPE-Send-Key and -Recv-Key have it (RFC 2548 §2.4.2).
pub(super) fn salted(key: &[u8], salt: [u8; 2], request: &[u8; 16], secret: &[u8]) -> Vec<u8> {
    let mut plain = vec![u8::try_from(key.len()).unwrap_or(u8::MAX)];
    plain.extend_from_slice(key);
    plain.resize(plain.len().next_multiple_of(16), 0);
    let salt = [salt[0] | 0x80, salt[1]];
    let (mut out, mut pad) = (salt.to_vec(), md5(&[secret, request, &salt]));
    for block in plain.chunks(16) {
        let hidden: Vec<u8> = block.iter().zip(pad).map(|(p, x)| p ^ x).collect();
        pad = md5(&[secret, &hidden]);
        out.extend(hidden);
    }
    out
}
