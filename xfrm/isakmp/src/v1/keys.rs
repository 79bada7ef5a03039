//! Key derivation of IKEv1 (RFC 2409 §5, appendices A and B). Every value that is secret is a [`Secret`].

use adit_core::Secret;
use zeroize::Zeroizing;

use super::Provider;
use crate::algorithm::{Encryption, EspSuite, Integrity, Prf};
use crate::keys::SaKeys;

/// What an exchange of phase 1 has made public.
#[derive(Clone, Copy, Debug)]
pub struct Phase1<'a> {
    /// Ni_b.
    pub initiator_nonce: &'a [u8],
    /// Nr_b.
    pub responder_nonce: &'a [u8],
    /// CKY-I.
    pub initiator_cookie: u64,
    /// CKY-R.
    pub responder_cookie: u64,
    /// g^xi.
    pub initiator_public: &'a [u8],
    /// g^xr.
    pub responder_public: &'a [u8],
}

/// SKEYID and what comes from it.
#[derive(Debug)]
pub struct SkeyId {
    /// SKEYID: for HASH_I and HASH_R.
    pub skeyid: Secret,
    /// SKEYID_d: from which keys of IPsec SAs come.
    pub d: Secret,
    /// SKEYID_a: authenticates phase 2.
    pub a: Secret,
    /// SKEYID_e: from which the key of the ISAKMP SA's own cipher comes.
    pub e: Secret,
}

impl SkeyId {
    /// With a pre-shared key: `SKEYID = prf(key, Ni_b | Nr_b)`.
    #[must_use]
    pub fn of_psk(crypto: &dyn Provider, prf: Prf, psk: &Secret, g: &Secret, of: &Phase1<'_>) -> Self {
        // [2409:5-2]
        let parts = [of.initiator_nonce, of.responder_nonce];
        Self::of(crypto, prf, secret(crypto, prf, psk.expose(), &parts), g, of)
    }

    /// With signatures: `SKEYID = prf(Ni_b | Nr_b, g^xy)`.
    #[must_use]
    pub fn of_signatures(crypto: &dyn Provider, prf: Prf, g: &Secret, of: &Phase1<'_>) -> Self {
        // [2409:5-2]
        let key = Zeroizing::new([of.initiator_nonce, of.responder_nonce].concat());
        Self::of(crypto, prf, secret(crypto, prf, &key, &[g.expose()]), g, of)
    }

    fn of(crypto: &dyn Provider, prf: Prf, skeyid: Secret, g: &Secret, of: &Phase1<'_>) -> Self {
        let cookies = cookies(of);
        let next = |previous: &[u8], number: u8| {
            secret(crypto, prf, skeyid.expose(), &[previous, g.expose(), &cookies, &[number]])
        };
        // [2409:5-3]
        let d = next(&[], 0);
        let a = next(d.expose(), 1);
        let e = next(a.expose(), 2);
        Self { skeyid, d, a, e }
    }

    /// The key of the ISAKMP SA's cipher (RFC 2409 appendix B).
    #[must_use]
    pub fn cipher_key(&self, crypto: &dyn Provider, prf: Prf, encryption: Encryption) -> Secret {
        let length = encryption.key_material_len();
        if let Some(key) = self.e.expose().get(..length) {
            return Secret::from(key);
        }
        // [2409:5-7]
        let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(64)));
        let mut block = secret(crypto, prf, self.e.expose(), &[&[0]]);
        while out.len() < length {
            out.extend_from_slice(block.expose());
            block = secret(crypto, prf, self.e.expose(), &[block.expose()]);
        }
        Secret::from(out.get(..length).unwrap_or_default())
    }

    /// HASH_I (`initiator`) or HASH_R: `sa` is SAi_b, `id` the body of the ID payload of whoever proves itself.
    #[must_use]
    pub fn hash(
        &self,
        crypto: &dyn Provider,
        prf: Prf,
        of: &Phase1<'_>,
        initiator: bool,
        (sa, id): (&[u8], &[u8]),
    ) -> Secret {
        let (i, r) = (of.initiator_cookie.to_be_bytes(), of.responder_cookie.to_be_bytes());
        let (xi, xr) = (of.initiator_public, of.responder_public);
        // [2409:5-4]
        let parts = if initiator { [xi, xr, &i[..], &r, sa, id] } else { [xr, xi, &r[..], &i, sa, id] };
        secret(crypto, prf, self.skeyid.expose(), &parts)
    }
}

/// The first IV of phase 1: `hash(g^xi | g^xr)`.
#[must_use]
pub fn first_iv(crypto: &dyn Provider, prf: Prf, encryption: Encryption, of: &Phase1<'_>) -> Vec<u8> {
    // [2409:5-8]
    let mut iv = crypto.hash(prf, &[of.initiator_public, of.responder_public]);
    iv.truncate(encryption.block_len());
    iv
}

/// The first IV of an exchange of phase 2: `hash(last block of phase 1 | M-ID)`.
#[must_use]
pub fn phase2_iv(
    crypto: &dyn Provider,
    prf: Prf,
    encryption: Encryption,
    last: &[u8],
    message_id: u32,
) -> Vec<u8> {
    // [2409:5-9]
    let mut iv = crypto.hash(prf, &[last, &message_id.to_be_bytes()]);
    iv.truncate(encryption.block_len());
    iv
}

/// A HASH of phase 2: `prf(SKEYID_a, parts)`.
#[must_use]
pub fn phase2_hash(crypto: &dyn Provider, prf: Prf, a: &Secret, parts: &[&[u8]]) -> Secret {
    // [2409:5.5-1] [2409:5.7-1]
    secret(crypto, prf, a.expose(), parts)
}

/// The keys of one ESP SA (RFC 2409 §5.5): `shared` is g(qm)^xy where there is PFS, `spi` that of whoever receives what
/// is protected.
#[must_use]
pub fn esp_keys(
    crypto: &dyn Provider,
    prf: Prf,
    d: &Secret,
    suite: &EspSuite,
    shared: Option<&Secret>,
    (spi, ni, nr): (u32, &[u8], &[u8]),
) -> SaKeys {
    const ESP: u8 = 3;
    let encryption_len = suite.encryption.key_material_len();
    let length = encryption_len.saturating_add(suite.integrity.map_or(0, Integrity::key_len));
    let spi = spi.to_be_bytes();
    let shared = shared.map_or(&[][..], Secret::expose);
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(64)));
    let mut previous = Secret::from(&[][..]);
    // [2409:5.5-3]
    while out.len() < length {
        let parts = [previous.expose(), shared, &[ESP], &spi, ni, nr];
        let block = secret(crypto, prf, d.expose(), &parts);
        out.extend_from_slice(block.expose());
        previous = block;
    }
    let (encryption, rest) = out.split_at_checked(encryption_len).unwrap_or((&out, &[]));
    let integrity = rest.get(..length.saturating_sub(encryption_len)).unwrap_or_default();
    SaKeys { encryption: Secret::from(encryption), integrity: Secret::from(integrity) }
}

/// NAT-D (RFC 3947 §3.2): `hash(CKY-I | CKY-R | address | port)`, with the negotiated hash.
#[must_use]
pub fn nat_d(
    crypto: &dyn Provider,
    prf: Prf,
    (initiator, responder): (u64, u64),
    end: core::net::SocketAddr,
) -> Vec<u8> {
    use core::net::IpAddr;
    let (i, r, port) = (initiator.to_be_bytes(), responder.to_be_bytes(), end.port().to_be_bytes());
    // [3947:3.2-1]
    match end.ip().to_canonical() {
        IpAddr::V4(a) => crypto.hash(prf, &[&i, &r, &a.octets(), &port]),
        IpAddr::V6(a) => crypto.hash(prf, &[&i, &r, &a.octets(), &port]),
    }
}

fn cookies(of: &Phase1<'_>) -> [u8; 16] {
    let both = (u128::from(of.initiator_cookie) << 64) | u128::from(of.responder_cookie);
    both.to_be_bytes()
}

fn secret(crypto: &dyn Provider, prf: Prf, key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut out = vec![0; prf.output_len()];
    crypto.prf(prf, key, parts, &mut out);
    Secret::new(out)
}
