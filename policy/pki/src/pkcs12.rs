//! PKCS#12 files (RFC 7292): a key, its certificate and what leads to its authority, under one password.

mod kdf;

use adit_core::Secret;
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::{FileSigner, MAX_CERTIFICATE_LEN, PkiError, decrypt};
use kdf::{Hash, Purpose};
pub(crate) use kdf::{Hash as Pkcs12Hash, Purpose as Pkcs12Purpose, derive as pkcs12_derive};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERT_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const X509: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");

/// Certificates of one file, at most.
const MAX_CERTIFICATES: usize = 20;
/// Bags of one file, at most.
const MAX_BAGS: usize = 100;

const NOT_PKCS12: PkiError = PkiError::Key(
    "it is not PKCS#12 in DER; openssl pkcs12 -in OLD -nodes -out ALL.pem && openssl pkcs12 -export -in ALL.pem -out NEW \
     writes it anew",
);

/// What a file holds.
pub struct Pkcs12 {
    certificates: Vec<Vec<u8>>,
    key: Secret,
}

impl Pkcs12 {
    /// Whether `content` looks like PKCS#12: a SEQUENCE that begins with version 3, and then a SEQUENCE.
    #[must_use]
    pub fn is(content: &[u8]) -> bool {
        pfx(content).is_ok()
    }

    /// Opens a file with its password; an empty one is a password too.
    ///
    /// # Errors
    /// [`PkiError::Passphrase`] if the password is wrong, [`PkiError::Key`] if it can't be read or holds no key.
    pub fn open(content: &Secret, password: &Secret) -> Result<Self, PkiError> {
        let (safe, mac) = pfx(content.expose()).map_err(|_| NOT_PKCS12)?;
        if let Some(mac) = mac {
            check_mac(safe, mac, password)?;
        }
        let mut found = Found { certificates: Vec::new(), key: None, bags: 0 };
        let contents = elements(safe).map_err(|_| NOT_PKCS12)?;
        for content in contents {
            found.content(content, password)?;
        }
        let key = found.key.ok_or(PkiError::Key("the PKCS#12 file holds no private key"))?;
        Ok(Self { certificates: found.certificates, key })
    }

    /// The certificate of the key and then the others, DER, with what signs.
    ///
    /// # Errors
    /// [`PkiError::Key`] if no certificate in the file is that of the key, or the key is of a kind that Adit does not use.
    pub fn into_signer(self, random: &dyn SecureRandom) -> Result<(Vec<Vec<u8>>, FileSigner), PkiError> {
        let mut last = PkiError::Key("the PKCS#12 file holds no certificate");
        for (n, certificate) in self.certificates.iter().enumerate() {
            match FileSigner::new(self.key.duplicate(), certificate, random) {
                Ok(signer) => {
                    let mut chain = self.certificates;
                    // An authority's certificate may stand before it.
                    let leaf = chain.remove(n);
                    chain.insert(0, leaf);
                    return Ok((chain, signer));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The certificates, in the file's order.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }
}

struct Found {
    certificates: Vec<Vec<u8>>,
    key: Option<Secret>,
    bags: usize,
}

impl Found {
    /// One ContentInfo of the AuthenticatedSafe.
    fn content(&mut self, content: AnyRef<'_>, password: &Secret) -> Result<(), PkiError> {
        let (kind, inner) = tagged(content).map_err(|_| NOT_PKCS12)?;
        match kind {
            DATA => {
                let bags = <&OctetStringRef>::from_der(inner).map_err(|_| NOT_PKCS12)?;
                self.bags(bags.as_bytes(), password)
            }
            ENCRYPTED_DATA => {
                let (algorithm, secret) = encrypted_data(inner).map_err(|_| NOT_PKCS12)?;
                let bags = decrypt::decrypt(algorithm, secret, password)?;
                self.bags(&bags, password)
            }
            _ => Err(PkiError::Key("a part of the PKCS#12 file is encrypted for somebody's certificate")),
        }
    }

    /// SafeContents.
    fn bags(&mut self, bytes: &[u8], password: &Secret) -> Result<(), PkiError> {
        for bag in elements(bytes).map_err(|_| NOT_PKCS12)? {
            self.bags = self.bags.saturating_add(1);
            if self.bags > MAX_BAGS {
                return Err(PkiError::Key("the PKCS#12 file holds too much"));
            }
            let (kind, inner) = tagged(bag).map_err(|_| NOT_PKCS12)?;
            match kind {
                CERT_BAG => {
                    let content = AnyRef::from_der(inner).map_err(|_| NOT_PKCS12)?;
                    let (kind, certificate) = tagged(content).map_err(|_| NOT_PKCS12)?;
                    let certificate = <&OctetStringRef>::from_der(certificate).map_err(|_| NOT_PKCS12)?;
                    let small = certificate.as_bytes().len() <= MAX_CERTIFICATE_LEN;
                    if kind == X509 && small && self.certificates.len() < MAX_CERTIFICATES {
                        self.certificates.push(certificate.as_bytes().to_vec());
                    }
                }
                KEY_BAG if self.key.is_none() => self.key = Some(Secret::from(inner)),
                SHROUDED_KEY_BAG if self.key.is_none() => {
                    self.key = Some(decrypt::encrypted_private_key(inner, password)?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

type Pfx<'a> = (&'a [u8], Option<AnyRef<'a>>);

/// PFX (RFC 7292 §4): the AuthenticatedSafe and the MacData.
fn pfx(content: &[u8]) -> der::Result<Pfx<'_>> {
    let whole = AnyRef::from_der(content)?;
    whole.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(whole.value())?;
    if u8::decode(&mut body)? != 3 {
        return Err(der::ErrorKind::Failed.into());
    }
    let (kind, inner) = tagged(AnyRef::decode(&mut body)?)?;
    if kind != DATA {
        return Err(der::ErrorKind::Failed.into());
    }
    let safe = <&OctetStringRef>::from_der(inner)?.as_bytes();
    let mac = if body.is_finished() { None } else { Some(AnyRef::decode(&mut body)?) };
    Ok((safe, mac))
}

/// `SEQUENCE { OBJECT IDENTIFIER, [0] EXPLICIT … }`: the type and the content of the tag. What follows is left out.
fn tagged(sequence: AnyRef<'_>) -> der::Result<(ObjectIdentifier, &[u8])> {
    sequence.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(sequence.value())?;
    let kind = ObjectIdentifier::decode(&mut body)?;
    Ok((kind, AnyRef::decode(&mut body)?.value()))
}

/// The elements of a SEQUENCE.
fn elements(bytes: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let whole = AnyRef::from_der(bytes)?;
    whole.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(whole.value())?;
    let mut out = Vec::new();
    while !body.is_finished() && out.len() < MAX_BAGS {
        out.push(AnyRef::decode(&mut body)?);
    }
    Ok(out)
}

/// EncryptedData (RFC 5652 §8): the algorithm, DER, and the ciphertext.
fn encrypted_data(bytes: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut fields = elements(bytes)?.into_iter().skip(1);
    let info = fields.next().ok_or(der::ErrorKind::Failed)?;
    info.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(info.value())?;
    AnyRef::decode(&mut body)?;
    let algorithm = body.tlv_bytes()?;
    // [0] IMPLICIT OCTET STRING.
    Ok((algorithm, AnyRef::decode(&mut body)?.value()))
}

/// RFC 7292 §5.1, appendix B.
fn check_mac(safe: &[u8], mac: AnyRef<'_>, password: &Secret) -> Result<(), PkiError> {
    let (algorithm, digest, salt, iterations) = mac_data(mac).map_err(|_| NOT_PKCS12)?;
    let hash = Hash::of(algorithm)
        .ok_or(PkiError::Key("the PKCS#12 file's MAC is of an unknown kind; write it with -macalg sha256"))?;
    let key = kdf::derive(hash, Purpose::Mac, password, salt, iterations, hash.len())?;
    let right = match hash {
        Hash::Sha1 => hmac::<Hmac<sha1::Sha1>>(&key, safe, digest),
        Hash::Sha256 => hmac::<Hmac<sha2::Sha256>>(&key, safe, digest),
        Hash::Sha384 => hmac::<Hmac<sha2::Sha384>>(&key, safe, digest),
        Hash::Sha512 => hmac::<Hmac<sha2::Sha512>>(&key, safe, digest),
    };
    if right { Ok(()) } else { Err(PkiError::Passphrase) }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8], expected: &[u8]) -> bool {
    // HMAC takes keys of every length; the comparison is in constant time.
    <M as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
        mac.update(bytes);
        mac.verify_slice(expected).is_ok()
    })
}

type MacData<'a> = (ObjectIdentifier, &'a [u8], &'a [u8], u32);

fn mac_data(mac: AnyRef<'_>) -> der::Result<MacData<'_>> {
    mac.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(mac.value())?;
    let info = AnyRef::decode(&mut body)?;
    let salt = <&OctetStringRef>::decode(&mut body)?.as_bytes();
    let iterations = if body.is_finished() { 1 } else { u32::decode(&mut body)? };
    let mut info = SliceReader::new(info.value())?;
    let algorithm = AnyRef::decode(&mut info)?;
    let digest = <&OctetStringRef>::decode(&mut info)?.as_bytes();
    let algorithm = ObjectIdentifier::decode(&mut SliceReader::new(algorithm.value())?)?;
    Ok((algorithm, digest, salt, iterations))
}

/// A password as PKCS#12 has it: UTF-16, big endian, and a zero behind it (RFC 7292 appendix B.1).
pub(crate) fn wide(password: &Secret) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let text = core::str::from_utf8(password.expose())
        .map_err(|_| PkiError::Key("the password of the PKCS#12 file is not UTF-8 text"))?;
    let mut wide = Zeroizing::new(Vec::with_capacity(password.len().saturating_mul(2).saturating_add(2)));
    text.encode_utf16().for_each(|unit| wide.extend_from_slice(&unit.to_be_bytes()));
    wide.extend_from_slice(&[0, 0]);
    Ok(wide)
}
