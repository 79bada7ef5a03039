//! MS-CHAPv2: what a password proves (RFC 2759), and the keys that both sides have afterwards (RFC 3079).
//!
//! The method rests on DES and MD4: whoever records an exchange finds the password's hash in hours. It is sound only
//! inside of something that has proven the server first (IKEv2, TLS), and is offered only there.

mod change;
mod keys;
mod refusal;

use adit_core::Secret;
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest, Md4};
use sha1::Sha1;
use zeroize::{Zeroize, Zeroizing};

pub use change::{ChangeError, PasswordChange};
pub use keys::{MasterKeys, MppeKey, MppeStrength, Role};
pub use refusal::Refusal;

/// A challenge of either side.
pub type Challenge = [u8; 16];

/// Microsoft's hash of a password: all that the method knows of it. Whoever has it can log in with it.
pub struct NtHash(Zeroizing<[u8; 16]>);

impl NtHash {
    /// MD4 of the password in UTF-16, little endian (RFC 2759 §8.3).
    #[must_use]
    pub fn of(password: &Secret) -> Option<Self> {
        let text = core::str::from_utf8(password.expose()).ok()?;
        let mut wide = Zeroizing::new(Vec::with_capacity(password.len().saturating_mul(2)));
        for unit in text.encode_utf16() {
            wide.extend_from_slice(&unit.to_le_bytes());
        }
        Some(Self(Zeroizing::new(Md4::digest(&*wide).into())))
    }

    /// A hash as it is stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// For storing it, as carefully as a password.
    #[must_use]
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it is that of this password. In constant time.
    #[must_use]
    pub fn is_of(&self, password: &Secret) -> bool {
        Self::of(password).is_some_and(|hash| Secret::from(&hash.0[..]).equals(&self.0[..]))
    }

    fn of_hash(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md4::digest(*self.0).into())
    }
}

/// What one exchange is about.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The authenticator's challenge.
    pub authenticator: &'a Challenge,
    /// The peer's challenge, from its response.
    pub peer: &'a Challenge,
    /// The user's name as the peer sent it. Only what follows the last backslash counts: `CORP\ann` is `ann`.
    pub user: &'a str,
}

impl Exchange<'_> {
    /// The name without its domain (RFC 2759 §4 says so, and Windows holds to it).
    fn name(&self) -> &str {
        self.user.rsplit('\\').next().unwrap_or(self.user)
    }

    /// RFC 2759 §8.2.
    fn challenge_hash(&self) -> [u8; 8] {
        let mut hash = Sha1::new();
        hash.update(self.peer);
        hash.update(self.authenticator);
        hash.update(self.name().as_bytes());
        let digest: [u8; 20] = hash.finalize().into();
        let mut out = [0; 8];
        for (to, from) in out.iter_mut().zip(digest) {
            *to = from;
        }
        out
    }
}

/// The peer's proof (RFC 2759 §8.1: NT-Response).
#[must_use]
pub fn nt_response(hash: &NtHash, exchange: Exchange<'_>) -> [u8; 24] {
    challenge_response(exchange.challenge_hash(), &hash.0)
}

/// Whether `response` proves that its sender has the password. In constant time.
#[must_use]
pub fn verify(hash: &NtHash, exchange: Exchange<'_>, response: &[u8; 24]) -> bool {
    Secret::from(&nt_response(hash, exchange)[..]).equals(response)
}

/// The authenticator's proof (RFC 2759 §8.7), as text: `S=` and 40 hexadecimal digits.
#[must_use]
pub fn authenticator_response(hash: &NtHash, exchange: Exchange<'_>, response: &[u8; 24]) -> String {
    let mut first = Sha1::new();
    first.update(*hash.of_hash());
    first.update(response);
    first.update(b"Magic server to client signing constant");
    let mut second = Sha1::new();
    second.update(first.finalize());
    second.update(exchange.challenge_hash());
    second.update(b"Pad to make it do more than one iteration");
    let mut out = String::from("S=");
    for byte in second.finalize() {
        out.push_str(&format!("{byte:02X}"));
    }
    out
}

/// Whether the authenticator has the password too. `message` is the whole text of its Success packet.
#[must_use]
pub fn verify_authenticator(
    hash: &NtHash,
    exchange: Exchange<'_>,
    response: &[u8; 24],
    message: &[u8],
) -> bool {
    let expected = authenticator_response(hash, exchange, response);
    // What follows the 42 octets (" M=…") is for people, and not proven by anybody.
    message
        .get(..expected.len())
        .is_some_and(|proof| Secret::from(expected.as_bytes()).equals(&proof.to_ascii_uppercase()))
}

/// The peer's proof in MS-CHAPv1 (RFC 2433 §A.2: NtChallengeResponse). It proves nothing of the authenticator.
#[must_use]
pub fn v1_response(hash: &NtHash, challenge: [u8; 8]) -> [u8; 24] {
    challenge_response(challenge, &hash.0)
}

/// RFC 2759 §8.5: the challenge, encrypted with each third of the hash.
fn challenge_response(challenge: [u8; 8], hash: &[u8; 16]) -> [u8; 24] {
    let mut padded = Zeroizing::new([0; 21]);
    for (to, from) in padded.iter_mut().zip(hash) {
        *to = *from;
    }
    let mut out = [0; 24];
    for (third, key) in out.chunks_exact_mut(8).zip(padded.chunks_exact(7)) {
        let mut block = challenge;
        des_encrypt(key, &mut block);
        third.copy_from_slice(&block);
    }
    out
}

/// DES with a key of seven bytes, spread over eight whose lowest bits do not count.
fn des_encrypt(key: &[u8], block: &mut [u8; 8]) {
    let bits = key.iter().take(7).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut spread = [0; 8];
    for (n, byte) in (0_u32..).zip(spread.iter_mut()) {
        let seven = bits >> 49_u32.saturating_sub(n.saturating_mul(7)) & 0x7f;
        *byte = u8::try_from(seven << 1).unwrap_or(0);
    }
    Des::new(&spread.into()).encrypt_block(block.into());
    spread.zeroize();
}

#[cfg(test)]
mod tests;
