//! Crypto binding ([MS-SSTP] §3.2.5.2): the client proves that who authenticates inside of the PPP link is who saw the
//! server's certificate. Who relays the inside over a connection of its own can't.

use adit_core::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::wire::{CryptoBinding, Message};

/// What the Compound MAC key is derived with.
const SEED: &[u8] = b"SSTP inner method derived CMK";
/// A Call Connected, and its Compound MAC.
const CONNECTED: usize = 112;
const MAC_AT: usize = 80;

/// What hashes the certificate and makes the MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HashProtocol {
    /// CERT_HASH_PROTOCOL_SHA1.
    Sha1,
    /// CERT_HASH_PROTOCOL_SHA256.
    Sha256,
}

impl core::fmt::Display for HashProtocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
        })
    }
}

/// Of a server's certificate, over its DER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertificateHashes {
    sha1: [u8; 32],
    sha256: [u8; 32],
}

impl CertificateHashes {
    /// Of this certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self { sha1: padded(&Sha1::digest(der)), sha256: padded(&Sha256::digest(der)) }
    }

    /// Of a certificate that somebody else shows, and of which these hashes are known. One that is not may not be offered.
    #[must_use]
    pub fn known(sha256: Option<[u8; 32]>, sha1: Option<[u8; 20]>) -> Self {
        Self { sha1: padded(&sha1.unwrap_or_default()), sha256: sha256.unwrap_or_default() }
    }

    /// Of a certificate of which nothing but one hash is known.
    #[cfg(test)]
    pub(crate) const fn sample(hash: [u8; 32]) -> Self {
        Self { sha1: hash, sha256: hash }
    }

    const fn by(&self, hash: HashProtocol) -> &[u8; 32] {
        match hash {
            HashProtocol::Sha1 => &self.sha1,
            HashProtocol::Sha256 => &self.sha256,
        }
    }
}

/// The Higher-Layer Authentication Key: 32 octets that both ends have after the authentication inside.
#[derive(Debug)]
pub struct Hlak(Secret);

impl Hlak {
    /// Of the key that the client sends with and the one that the server sends with, one behind the other, as both ends have
    /// them: MS-CHAPv2's MasterSendKey and MasterReceiveKey of the client, which are MasterReceiveKey and MasterSendKey of the
    /// server; the MSK of an EAP method. What is longer than 32 octets is cut, and zeros follow what is shorter.
    #[must_use]
    pub fn of(keys: &Secret) -> Self {
        let mut all = Zeroizing::new([0; 32]);
        all.iter_mut().zip(keys.expose()).for_each(|(to, from)| *to = *from);
        Self(Secret::from(&all[..]))
    }

    /// Where the authentication has made no keys.
    #[must_use]
    pub fn none() -> Self {
        Self(Secret::from(&[0; 32][..]))
    }
}

/// The client's Call Connected, proven.
#[must_use]
pub fn prove(
    hlak: &Hlak,
    hash: HashProtocol,
    nonce: [u8; 32],
    certificate: &CertificateHashes,
) -> CryptoBinding {
    let mut binding =
        CryptoBinding { hash: hash.bit(), nonce, certificate: *certificate.by(hash), mac: [0; 32] };
    binding.mac = compound_mac(hlak, hash, &Message::Connected(binding.clone()).emit());
    binding
}

/// Whether a Call Connected proves it: `packet` is that packet, whole, and `binding` what it means.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    packet: &[u8],
    binding: &CryptoBinding,
    hlak: &Hlak,
    (hashes, nonce): (&[HashProtocol], &[u8; 32]),
    certificate: &CertificateHashes,
) -> Result<HashProtocol, &'static str> {
    let Some(hash) = hashes.iter().copied().find(|hash| hash.bit() == binding.hash) else {
        return Err("it uses a hash that it was not offered");
    };
    if binding.nonce.ct_ne(nonce).into() {
        return Err("its nonce is not the one of this connection");
    }
    if binding.certificate.ct_ne(certificate.by(hash)).into() {
        return Err("the client saw another certificate than the one of this server");
    }
    match compound_mac(hlak, hash, packet).ct_eq(&binding.mac).into() {
        true => Ok(hash),
        false => Err("its Compound MAC is wrong: who authenticated is not who is at the other end of TLS"),
    }
}

/// Over the whole packet, its Compound MAC as zeros.
fn compound_mac(hlak: &Hlak, hash: HashProtocol, packet: &[u8]) -> [u8; 32] {
    let mut packet: Vec<u8> = packet.iter().take(CONNECTED).copied().collect();
    packet.iter_mut().skip(MAC_AT).for_each(|octet| *octet = 0);
    // PRF+ ends after its first round: a key is as long as the hash. Its length is little-endian, unlike all else here.
    match hash {
        HashProtocol::Sha1 => {
            let key = Zeroizing::new(hmac_sha1(hlak.0.expose(), &[SEED, &[20, 0, 1]]));
            padded(&hmac_sha1(&*key, &[&packet]))
        }
        HashProtocol::Sha256 => {
            let key = Zeroizing::new(hmac_sha256(hlak.0.expose(), &[SEED, &[32, 0, 1]]));
            hmac_sha256(&*key, &[&packet])
        }
    }
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(key) else { return [0; 20] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn padded(hash: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    out
}
