use adit_core::{KeyKind, Secret};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, TagMode, TagNumber};
use zeroize::Zeroizing;

use crate::PkiError;
use crate::decrypt::encrypted_private_key;
use crate::pem::{self, Block};
use crate::signature::{EC, ED25519, P256, P384, RSA};

const NOT_DER: PkiError = PkiError::Key("it is neither PKCS#8, PKCS#1 (RSA) nor SEC1 (EC), in PEM or DER");

/// A private key out of a file, before it is joined with its certificate.
pub(crate) enum PrivateKey {
    /// RSAPrivateKey (RFC 8017 §A.1.2), DER.
    Rsa(Zeroizing<Vec<u8>>),
    /// The scalar, and the curve if the file says it.
    Ec(Zeroizing<Vec<u8>>, Option<KeyKind>),
    /// The seed (RFC 8032).
    Ed25519(Zeroizing<Vec<u8>>),
}

impl PrivateKey {
    /// The key in a file's content: the first private key of PEM, or DER.
    ///
    /// `password`: opens one that is encrypted.
    pub(crate) fn from_content(content: &Secret, password: Option<&Secret>) -> Result<Self, PkiError> {
        if !pem::is_pem(content.expose()) {
            return match (from_der(content.expose()), password) {
                (Err(PkiError::KeyEncrypted), Some(password)) => opened(content.expose(), password),
                (read, _) => read,
            };
        }
        let blocks = pem::blocks(content.expose()).map_err(|e| match e {
            PkiError::Malformed(why) => PkiError::Key(why),
            other => other,
        })?;
        let block = blocks
            .iter()
            .find(|b| b.label.ends_with("PRIVATE KEY"))
            .ok_or(PkiError::Key("the file has no block BEGIN PRIVATE KEY"))?;
        match password {
            Some(password) if block.label == "ENCRYPTED PRIVATE KEY" => opened(&block.der, password),
            _ => from_block(block),
        }
    }
}

fn opened(der: &[u8], password: &Secret) -> Result<PrivateKey, PkiError> {
    // A wrong password may meet a good padding, but hardly a key.
    from_der(encrypted_private_key(der, password)?.expose()).map_err(|_| PkiError::Passphrase)
}

fn from_block(block: &Block) -> Result<PrivateKey, PkiError> {
    if block.encrypted {
        return Err(PkiError::KeyEncrypted);
    }
    match block.label.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => from_der(&block.der),
        "ENCRYPTED PRIVATE KEY" => Err(PkiError::KeyEncrypted),
        "OPENSSH PRIVATE KEY" => Err(PkiError::Key("it is in OpenSSH's format")),
        _ => Err(PkiError::Key("its PEM block is of an unknown kind")),
    }
}

/// All formats are a SEQUENCE; its first two elements tell them apart.
fn from_der(der: &[u8]) -> Result<PrivateKey, PkiError> {
    let mut reader = SliceReader::new(der).map_err(|_| NOT_DER)?;
    let body = AnyRef::decode(&mut reader).map_err(|_| NOT_DER)?;
    if !reader.is_finished() {
        return Err(NOT_DER);
    }
    let mut body = SliceReader::new(body.value()).map_err(|_| NOT_DER)?;
    match Tag::peek(&body) {
        // EncryptedPrivateKeyInfo (RFC 5958 §3) begins with its algorithm.
        Ok(Tag::Sequence) => return Err(PkiError::KeyEncrypted),
        Ok(Tag::Integer) => {}
        _ => return Err(NOT_DER),
    }
    AnyRef::decode(&mut body).map_err(|_| NOT_DER)?;
    match Tag::peek(&body) {
        Ok(Tag::Sequence) => pkcs8(&mut body).map_err(|e| e.unwrap_or(NOT_DER)),
        Ok(Tag::Integer) => Ok(PrivateKey::Rsa(Zeroizing::new(der.to_vec()))),
        Ok(Tag::OctetString) => sec1(&mut body, None).map_err(|_| NOT_DER),
        _ => Err(NOT_DER),
    }
}

/// The rest of PrivateKeyInfo (RFC 5958 §2) after its version. `Err(None)`: not DER.
fn pkcs8(body: &mut SliceReader<'_>) -> Result<PrivateKey, Option<PkiError>> {
    let (oid, parameters) = body
        .sequence(|inner| {
            let oid = ObjectIdentifier::decode(inner)?;
            let parameters = if inner.is_finished() { None } else { Some(AnyRef::decode(inner)?) };
            Ok::<_, der::Error>((oid, parameters))
        })
        .map_err(|_| None)?;
    let key = <&OctetStringRef>::decode(body).map_err(|_| None)?.as_bytes();
    match oid {
        RSA => Ok(PrivateKey::Rsa(Zeroizing::new(key.to_vec()))),
        EC => {
            let curve = parameters.and_then(|p| p.decode_as().ok()).ok_or(None)?;
            let mut inner = SliceReader::new(key).map_err(|_| None)?;
            inner
                .sequence(|fields| {
                    AnyRef::decode(fields)?;
                    sec1(fields, Some(curve))
                })
                .map_err(|_| None)
        }
        // CurvePrivateKey (RFC 8410 §7) is an OCTET STRING again.
        ED25519 => {
            let seed = <&OctetStringRef>::from_der(key).map_err(|_| None)?;
            Ok(PrivateKey::Ed25519(Zeroizing::new(seed.as_bytes().to_vec())))
        }
        _ => Err(Some(PkiError::Key("it is neither RSA, EC nor Ed25519"))),
    }
}

/// The rest of ECPrivateKey (RFC 5915 §3) after its version.
fn sec1(body: &mut SliceReader<'_>, curve: Option<ObjectIdentifier>) -> der::Result<PrivateKey> {
    let scalar = <&OctetStringRef>::decode(body)?.as_bytes();
    let own = body.context_specific::<ObjectIdentifier>(TagNumber(0), TagMode::Explicit)?;
    body.drain(body.remaining_len())?;
    let curve = match curve.or(own) {
        Some(P256) => Some(KeyKind::EcdsaP256),
        Some(P384) => Some(KeyKind::EcdsaP384),
        Some(_) => return Err(der::ErrorKind::Failed.into()),
        None => None,
    };
    Ok(PrivateKey::Ec(Zeroizing::new(scalar.to_vec()), curve))
}
