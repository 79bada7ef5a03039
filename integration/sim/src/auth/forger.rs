//! Somebody on the way to the RADIUS servers who sees every packet, and has no secret.

use adit_auth::radius::{Code, Packet, Vendor, Writer, attribute};

use super::signing::{answer, salted, sign_request};
use crate::random::Random;

/// What it has seen.
pub(super) struct Forger {
    random: Random,
    /// Answers of the servers, as they were.
    seen: Vec<Vec<u8>>,
}

impl Forger {
    pub(super) const fn new(random: Random) -> Self {
        Self { random, seen: Vec::new() }
    }

    pub(super) fn see(&mut self, reply: &[u8]) {
        if self.seen.len() < 64 {
            self.seen.push(reply.to_vec());
        }
    }

    /// An answer of its own to a request that passes by. `secret` is the server's: it stands for a collision of MD5, by
    /// which a right Response Authenticator can be had without it, but no Message-Authenticator (CVE-2024-3596).
    pub(super) fn answer(&mut self, request: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(request).ok()?;
        let key = (packet.identifier(), packet.authenticator());
        let code = match packet.code() {
            Code::ACCOUNTING_REQUEST => Code::ACCOUNTING_RESPONSE,
            _ => self.random.pick(&[Code::ACCESS_ACCEPT, Code::ACCESS_ACCEPT, Code::ACCESS_REJECT])?,
        };
        let guess = b"testing123";
        let body = |w: &mut Writer| {
            let secret = salted(&[7; 32], [1, 1], &key.1, guess);
            w.attribute(attribute::EAP_MESSAGE, &[3, key.0, 0, 4]);
            w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_RECV_KEY.wrap(&secret));
            w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_SEND_KEY.wrap(&secret));
        };
        Some(match self.random.below(7) {
            // It guesses the secret, with and without a Message-Authenticator.
            0 => answer(code, key, guess, true, body),
            1 => answer(code, key, guess, false, body),
            2 => answer(code, key, b"", true, body),
            // What a server has said of somebody else, or to another question of the same number.
            3 => self.replayed(key.0, None)?,
            4 => self.replayed(key.0, Some(code))?,
            5 if code != Code::ACCOUNTING_RESPONSE => answer(code, key, secret, false, body),
            // The servers' own answer, whose meaning is turned.
            _ => {
                let mut last = self.seen.last()?.clone();
                *last.first_mut()? = code.0;
                last
            }
        })
    }

    fn replayed(&mut self, identifier: u8, code: Option<Code>) -> Option<Vec<u8>> {
        let at = usize::try_from(self.random.below(self.seen.len() as u64)).ok()?;
        let mut old = self.seen.get(at)?.clone();
        *old.get_mut(1)? = identifier;
        if let Some(code) = code {
            *old.first_mut()? = code.0;
        }
        Some(old)
    }

    /// A Disconnect-Request for a session.
    pub(super) fn disconnect(session: usize) -> Vec<u8> {
        disconnect(session, b"testing123")
    }
}

/// A Disconnect-Request, signed with `secret` (RFC 5176 §2.3).
pub(super) fn disconnect(session: usize, secret: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Code::DISCONNECT_REQUEST, 1, [0; 16]);
    writer.attribute(attribute::ACCT_SESSION_ID, session.to_string().as_bytes());
    let mut packet = writer.finish().map(|p| p.to_vec()).unwrap_or_default();
    sign_request(&mut packet, secret);
    packet
}
