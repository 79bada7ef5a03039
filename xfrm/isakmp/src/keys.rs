//! Key derivation of IKEv2 (RFC 7296 §2.13 to §2.18). Every value that is secret is a [`Secret`].

use core::net::{IpAddr, SocketAddr};

use adit_core::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::algorithm::{Encryption, EspSuite, IkeSuite, Integrity, Prf};
use crate::crypto::CryptoProvider;

/// More key material was asked for than prf+ gives: 255 blocks (RFC 7296 §2.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("prf+ gives at most 255 blocks of key material")]
pub struct TooMuchKeyMaterial;

/// The nonces' bytes and the SPIs of an IKE_SA, as key derivation takes them.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Ni: the initiator's nonce, without its payload header.
    pub initiator_nonce: &'a [u8],
    /// Nr: the responder's nonce.
    pub responder_nonce: &'a [u8],
    /// SPIi.
    pub initiator_spi: u64,
    /// SPIr.
    pub responder_spi: u64,
}

/// The seven keys of an IKE_SA (RFC 7296 §2.14).
#[derive(Debug)]
pub struct IkeKeys {
    /// SK_d: from which CHILD_SAs' and the next IKE_SA's keys are made.
    pub d: Secret,
    /// SK_ai: integrity, initiator to responder; empty with an AEAD.
    pub ai: Secret,
    /// SK_ar: integrity, responder to initiator; empty with an AEAD.
    pub ar: Secret,
    /// SK_ei: encryption, initiator to responder: the key, then an AEAD's salt.
    pub ei: Secret,
    /// SK_er: encryption, responder to initiator.
    pub er: Secret,
    /// SK_pi: for the initiator's AUTH.
    pub pi: Secret,
    /// SK_pr: for the responder's AUTH.
    pub pr: Secret,
}

impl IkeKeys {
    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)`.
    ///
    /// # Errors
    /// None in practice: the sum of the lengths is far below 255 blocks.
    pub fn derive(
        crypto: &dyn CryptoProvider,
        suite: &IkeSuite,
        skeyseed: &Secret,
        exchange: &Exchange<'_>,
    ) -> Result<Self, TooMuchKeyMaterial> {
        // [7296:2.13-3] [7296:2.14-1]
        let prf_len = suite.prf.output_len();
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let encryption_len = suite.encryption.key_material_len();
        let lengths =
            [prf_len, integrity_len, integrity_len, encryption_len, encryption_len, prf_len, prf_len];
        let seed: [&[u8]; 4] = [
            exchange.initiator_nonce,
            exchange.responder_nonce,
            &exchange.initiator_spi.to_be_bytes(),
            &exchange.responder_spi.to_be_bytes(),
        ];
        let [d, ai, ar, ei, er, pi, pr] = split(crypto, suite.prf, skeyseed, &seed, lengths)?;
        Ok(Self { d, ai, ar, ei, er, pi, pr })
    }
}

/// `SKEYSEED = prf(Ni | Nr, g^ir)` (RFC 7296 §2.14). With HMAC the nonces are used whole.
#[must_use]
pub fn skeyseed(crypto: &dyn CryptoProvider, prf: Prf, exchange: &Exchange<'_>, shared: &Secret) -> Secret {
    let key = Zeroizing::new([exchange.initiator_nonce, exchange.responder_nonce].concat());
    prf_secret(crypto, prf, &key, &[shared.expose()])
}

/// SKEYSEED of an IKE_SA that replaces another (RFC 7296 §2.18): `prf(SK_d (old), g^ir (new) | Ni | Nr)`, with the old
/// IKE_SA's prf. `shared` has the secrets of all key exchanges, the first one's first; those of additional ones follow
/// the nonces (RFC 9370 §2.2.4).
#[must_use]
pub fn skeyseed_rekey(
    crypto: &dyn CryptoProvider,
    old_prf: Prf,
    old_sk_d: &Secret,
    exchange: &Exchange<'_>,
    shared: &[Secret],
) -> Secret {
    let parts = around((exchange.initiator_nonce, exchange.responder_nonce), shared);
    prf_secret(crypto, old_prf, old_sk_d.expose(), &parts)
}

/// SKEYSEED of an IKE_SA that is resumed (RFC 5723 §5.1): `prf(SK_d (old), "Resumption" | Ni | Nr)`.
#[must_use]
pub fn skeyseed_resume(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    old_sk_d: &Secret,
    exchange: &Exchange<'_>,
) -> Secret {
    // [5723:5.1-1] [5723:5.1-2]
    let parts = [b"Resumption", exchange.initiator_nonce, exchange.responder_nonce];
    prf_secret(crypto, prf, old_sk_d.expose(), &parts)
}

/// `SK(0) | Ni | Nr | SK(1) | … SK(n)` (RFC 9370 §2.2.4); without a key exchange the nonces alone.
fn around<'a>(nonces: (&'a [u8], &'a [u8]), shared: &'a [Secret]) -> Vec<&'a [u8]> {
    // [9370:2.2.4-4]
    let (first, more) = shared.split_at(shared.len().min(1));
    let nonces = [nonces.0, nonces.1].into_iter();
    first.iter().map(Secret::expose).chain(nonces).chain(more.iter().map(Secret::expose)).collect()
}

/// SKEYSEED(n) after an additional key exchange (RFC 9370 §2.2.2): `prf(SK_d(n-1), SK(n) | Ni | Nr)`, with the nonces of
/// IKE_SA_INIT.
#[must_use]
pub fn skeyseed_additional(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    sk_d: &Secret,
    exchange: &Exchange<'_>,
    shared: &Secret,
) -> Secret {
    // [9370:2.2.2-3]
    skeyseed_rekey(crypto, prf, sk_d, exchange, core::slice::from_ref(shared))
}

/// SK_d, SK_pi or SK_pr with a postquantum preshared key in it (RFC 8784 §3): `prf+(PPK, SK_x')`.
#[must_use]
pub fn mix_ppk(crypto: &dyn CryptoProvider, prf: Prf, ppk: &Secret, key: &Secret) -> Secret {
    // [8784:3-5]
    let mut out = vec![0; prf.output_len()];
    crypto.prf_plus(prf, ppk.expose(), &[key.expose()], &mut out);
    Secret::new(out)
}

/// IntAuth_iN or IntAuth_rN (RFC 9242 §3.3.2): `prf(SK_pN, IntAuth_N-1 | A | P)`. `message` is A and P as
/// [`crate::sk::as_whole`] gives them.
#[must_use]
pub fn int_auth(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    sk_p: &Secret,
    previous: Option<&Secret>,
    message: &[u8],
) -> Secret {
    let previous = previous.map_or(&[][..], Secret::expose);
    // [9242:3.3.2-1]
    prf_secret(crypto, prf, sk_p.expose(), &[previous, message])
}

/// Keys of one direction of a CHILD_SA.
#[derive(Debug)]
pub struct SaKeys {
    /// `encryption.key_material_len()` bytes: the key, then an AEAD's salt.
    pub encryption: Secret,
    /// The integrity algorithm's key; empty with an AEAD.
    pub integrity: Secret,
}

/// Keys of a CHILD_SA (RFC 7296 §2.17). Initiator is who initiated the exchange that made it.
#[derive(Debug)]
pub struct ChildKeys {
    /// Of the SA that carries data from the initiator to the responder.
    pub initiator: SaKeys,
    /// Of the SA that carries data from the responder to the initiator.
    pub responder: SaKeys,
}

impl ChildKeys {
    /// `KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr)`. `prf` is the IKE_SA's; the nonces are those of the exchange that
    /// makes the CHILD_SA (in IKE_AUTH: those of IKE_SA_INIT). `shared` has the secrets of its key exchanges, as in
    /// [`skeyseed_rekey`]; none without perfect forward secrecy.
    ///
    /// # Errors
    /// None in practice: the sum of the lengths is far below 255 blocks.
    pub fn derive(
        crypto: &dyn CryptoProvider,
        prf: Prf,
        sk_d: &Secret,
        suite: &EspSuite,
        nonces: (&[u8], &[u8]),
        shared: &[Secret],
    ) -> Result<Self, TooMuchKeyMaterial> {
        let encryption_len = Encryption::key_material_len(suite.encryption);
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let seed = around(nonces, shared);
        let lengths = [encryption_len, integrity_len, encryption_len, integrity_len];
        // [7296:2.17-1] [7296:2.17-2]
        let [ie, ia, re, ra] = split(crypto, prf, sk_d, &seed, lengths)?;
        Ok(Self {
            initiator: SaKeys { encryption: ie, integrity: ia },
            responder: SaKeys { encryption: re, integrity: ra },
        })
    }
}

/// What a peer signs in AUTH (RFC 7296 §2.15): `message | peer_nonce | prf(SK_p, RestOfIDPayload)`.
///
/// For the initiator's AUTH: its IKE_SA_INIT request as sent (the last one, after COOKIE and INVALID_KE_PAYLOAD), Nr,
/// SK_pi, the body of IDi. For the responder's: its IKE_SA_INIT response, Ni, SK_pr, the body of IDr.
#[must_use]
pub fn signed_octets(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    message: &[u8],
    peer_nonce: &[u8],
    sk_p: &Secret,
    id_body: &[u8],
) -> Secret {
    let maced_id = prf_secret(crypto, prf, sk_p.expose(), &[id_body]);
    Secret::new([message, peer_nonce, maced_id.expose()].concat())
}

/// AUTH data of a shared key (RFC 7296 §2.15): `prf(prf(key, "Key Pad for IKEv2"), octets)`. With an EAP method that
/// makes a key, the MSK is `key`. Compare in constant time: [`Secret::equals`].
#[must_use]
pub fn psk_auth(crypto: &dyn CryptoProvider, prf: Prf, key: &Secret, octets: &Secret) -> Secret {
    let padded = prf_secret(crypto, prf, key.expose(), &[b"Key Pad for IKEv2"]);
    prf_secret(crypto, prf, padded.expose(), &[octets.expose()])
}

/// AUTH data where a session is resumed (RFC 5723 §5.1): `prf(SK_px, octets)`, with SK_pi or SK_pr of the new IKE_SA.
#[must_use]
pub fn resume_auth(crypto: &dyn CryptoProvider, prf: Prf, sk_p: &Secret, octets: &Secret) -> Secret {
    // [5723:5.1-3]
    prf_secret(crypto, prf, sk_p.expose(), &[octets.expose()])
}

/// NAT detection (RFC 7296 §2.23): `SHA1(SPIi | SPIr | address | port)`.
#[must_use]
pub fn nat_detection_hash(
    crypto: &dyn CryptoProvider,
    initiator_spi: u64,
    responder_spi: u64,
    address: SocketAddr,
) -> [u8; 20] {
    let (spi_i, spi_r) = (initiator_spi.to_be_bytes(), responder_spi.to_be_bytes());
    let port = address.port().to_be_bytes();
    // An IPv4 peer on a dual-stack socket is an IPv4 peer.
    match address.ip().to_canonical() {
        IpAddr::V4(a) => crypto.sha1(&[&spi_i, &spi_r, &a.octets(), &port]),
        IpAddr::V6(a) => crypto.sha1(&[&spi_i, &spi_r, &a.octets(), &port]),
    }
}

/// prf+ (RFC 7296 §2.13): `T1 = prf(K, S | 1)`, `Tn = prf(K, Tn-1 | S | n)`, cut to `length` bytes.
///
/// # Errors
/// [`TooMuchKeyMaterial`] beyond 255 blocks.
pub fn prf_plus(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    key: &Secret,
    seed: &[&[u8]],
    length: usize,
) -> Result<Secret, TooMuchKeyMaterial> {
    u8::try_from(length.div_ceil(prf.output_len())).map_err(|_| TooMuchKeyMaterial)?;
    let mut out = vec![0; length];
    crypto.prf_plus(prf, key.expose(), seed, &mut out);
    Ok(Secret::new(out))
}

/// Takes `lengths` bytes each from prf+.
fn split<const N: usize>(
    crypto: &dyn CryptoProvider,
    prf: Prf,
    key: &Secret,
    seed: &[&[u8]],
    lengths: [usize; N],
) -> Result<[Secret; N], TooMuchKeyMaterial> {
    let total = lengths.iter().sum();
    let material = prf_plus(crypto, prf, key, seed, total)?;
    let mut rest = material.expose();
    Ok(lengths.map(|length| {
        let (head, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = tail;
        Secret::from(head)
    }))
}

fn prf_secret(crypto: &dyn CryptoProvider, prf: Prf, key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut out = vec![0; prf.output_len()];
    crypto.prf(prf, key, parts, &mut out);
    Secret::new(out)
}
