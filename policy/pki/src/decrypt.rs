//! What a password opens: PBES2 (RFC 8018 §6.2), and PKCS#12's own schemes (RFC 7292 appendix C), which old files have.

use adit_core::Secret;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use pkcs5::EncryptionScheme;
use pkcs5::pbes2::Kdf;
use zeroize::Zeroizing;

use crate::PkiError;
use crate::pkcs12::{Pkcs12Hash as Hash, Pkcs12Purpose as Purpose, pkcs12_derive};

/// Iterations of a derivation at most: some seconds of work.
pub(crate) const MOST_ITERATIONS: u32 = 5_000_000;
/// Memory that scrypt may take, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

const TRIPLE_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

const UNKNOWN: PkiError = PkiError::Key(
    "it is encrypted in a way that Adit does not know; openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW writes it anew",
);

/// EncryptedPrivateKeyInfo (RFC 5958 §3): the PKCS#8 key inside, DER.
pub(crate) fn encrypted_private_key(content: &[u8], password: &Secret) -> Result<Secret, PkiError> {
    let (algorithm, secret) = parts(content).map_err(|_| UNKNOWN)?;
    let mut plain = decrypt(algorithm, secret, password)?;
    Ok(Secret::new(core::mem::take(&mut *plain)))
}

fn parts(content: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let whole = AnyRef::from_der(content)?;
    whole.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(whole.value())?;
    let algorithm = body.tlv_bytes()?;
    Ok((algorithm, <&OctetStringRef>::decode(&mut body)?.as_bytes()))
}

/// `algorithm`: an AlgorithmIdentifier, DER.
///
/// What comes out has not been authenticated, but for PKCS#12's MAC: a wrong password is known by its padding.
pub(crate) fn decrypt(
    algorithm: &[u8],
    secret: &[u8],
    password: &Secret,
) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let (oid, parameters) = identifier(algorithm).map_err(|_| UNKNOWN)?;
    if [TRIPLE_DES, RC2_128, RC2_40].contains(&oid) {
        return pkcs12(oid, parameters, secret, password);
    }
    let scheme = EncryptionScheme::from_der(algorithm).map_err(|_| UNKNOWN)?;
    let EncryptionScheme::Pbes2(parameters) = &scheme else { return Err(UNKNOWN) };
    let bounded = match &parameters.kdf {
        Kdf::Pbkdf2(p) => p.iteration_count <= MOST_ITERATIONS,
        Kdf::Scrypt(p) => {
            let memory = u64::from(p.block_size).saturating_mul(128).saturating_mul(p.cost_parameter);
            memory <= MOST_MEMORY && p.parallelization <= 4
        }
        _ => false,
    };
    if !bounded {
        return Err(PkiError::Key("its password derivation is out of bounds"));
    }
    let plain = scheme.decrypt(password.expose(), secret);
    plain.map(Zeroizing::new).map_err(|error| match error {
        pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed => PkiError::Passphrase,
        _ => UNKNOWN,
    })
}

fn identifier(algorithm: &[u8]) -> der::Result<(ObjectIdentifier, AnyRef<'_>)> {
    let whole = AnyRef::from_der(algorithm)?;
    whole.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(whole.value())?;
    Ok((ObjectIdentifier::decode(&mut body)?, AnyRef::decode(&mut body)?))
}

fn pkcs12(
    oid: ObjectIdentifier,
    parameters: AnyRef<'_>,
    secret: &[u8],
    password: &Secret,
) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let (salt, iterations) = pbe(parameters).map_err(|_| UNKNOWN)?;
    let derive = |purpose, length| pkcs12_derive(Hash::Sha1, purpose, password, salt, iterations, length);
    let iv = derive(Purpose::Iv, 8)?;
    let plain = match oid {
        TRIPLE_DES => {
            let key = derive(Purpose::Key, 24)?;
            cbc::Decryptor::<des::TdesEde3>::new_from_slices(&key, &iv)
                .ok()
                .and_then(|cipher| cipher.decrypt_padded_vec::<Pkcs7>(secret).ok())
        }
        _ => {
            let key = derive(Purpose::Key, if oid == RC2_40 { 5 } else { 16 })?;
            cbc::Decryptor::<rc2::Rc2>::new_from_slices(&key, &iv)
                .ok()
                .and_then(|cipher| cipher.decrypt_padded_vec::<Pkcs7>(secret).ok())
        }
    };
    plain.map(Zeroizing::new).ok_or(PkiError::Passphrase)
}

/// pkcs-12PbeParams (RFC 7292 appendix C).
fn pbe(parameters: AnyRef<'_>) -> der::Result<(&[u8], u32)> {
    parameters.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(parameters.value())?;
    Ok((<&OctetStringRef>::decode(&mut body)?.as_bytes(), u32::decode(&mut body)?))
}
