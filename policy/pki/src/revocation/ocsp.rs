//! OCSP (RFC 6960): a request about one certificate, and a BasicOCSPResponse.
//!
//! There is no nonce: responders sign their answers beforehand, and an answer counts for as long as it says.

use core::time::Duration;

use adit_core::WallTime;
use der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use ring::digest;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::crl::parts;
use super::{Status, fresh, reason, signed};
use crate::cert::Parsed;
use crate::verify::ALGORITHMS;
use crate::{MAX_CERTIFICATE_LEN, PkiError};

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
/// AlgorithmIdentifier of SHA-1, DER. It names the issuer, and proves nothing.
const SHA1: [u8; 11] = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
/// Certificates in an answer, at most.
const MAX_CERTIFICATES: usize = 5;
/// Single responses in an answer, at most.
const MAX_RESPONSES: usize = 50;
/// An answer without nextUpdate counts this long.
const LONGEST: Duration = Duration::from_secs(86_400);

const NOT_OCSP: PkiError = PkiError::Malformed("the OCSP responder's answer is not one in DER");

/// OCSPRequest about `certificate` (RFC 6960 §4.1.1).
pub(super) fn request(certificate: &Parsed, issuer: &Parsed) -> Result<Vec<u8>, PkiError> {
    let id = cert_id(certificate, issuer)?;
    // OCSPRequest { tbsRequest { requestList { Request { reqCert } } } }
    Ok(sequence(&sequence(&sequence(&sequence(&id)))))
}

/// CertID (§4.1.1), DER.
fn cert_id(certificate: &Parsed, issuer: &Parsed) -> Result<Vec<u8>, PkiError> {
    let bad = |_| PkiError::Malformed("its issuer or serial number is not DER");
    let name = issuer.subject().to_der().map_err(bad)?;
    let info = SubjectPublicKeyInfoRef::from_der(&issuer.spki).map_err(bad)?;
    let key = info.subject_public_key.raw_bytes();
    let sha1 = |bytes: &[u8]| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let mut body = SHA1.to_vec();
    for hash in [sha1(&name), sha1(key)] {
        body.extend([0x04, 20]);
        body.extend_from_slice(hash.as_ref());
    }
    body.extend(certificate.serial().to_der().map_err(bad)?);
    Ok(sequence(&body))
}

fn sequence(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x30];
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(n @ 0..=0x7f), _) => out.push(n),
        (Ok(n), _) => out.extend([0x81, n]),
        (_, length) => {
            out.push(0x82);
            out.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
    out
}

pub(super) fn judge(
    certificate: &Parsed,
    issuer: &Parsed,
    issuer_der: &[u8],
    answer: &[u8],
    now: WallTime,
) -> Result<Status, PkiError> {
    let basic = basic(answer)?;
    let (message, algorithm, signature) = parts(basic).map_err(|_| NOT_OCSP)?;
    let by_issuer = signed(issuer_der, algorithm, message, signature);
    if !by_issuer && !delegated(basic, issuer_der, now, |by| signed(by, algorithm, message, signature)) {
        return Err(PkiError::Malformed("the OCSP responder's answer is not signed by its issuer or for it"));
    }
    let id = cert_id(certificate, issuer)?;
    let single = find(message, &id).map_err(|_| NOT_OCSP)?;
    let single =
        single.ok_or(PkiError::Malformed("the OCSP responder's answer is about another certificate"))?;
    fresh(single.this_update, single.next_update, now, LONGEST)?;
    single.status.ok_or(PkiError::Malformed("the OCSP responder does not know it"))
}

/// OCSPResponse (§4.2.1): the BasicOCSPResponse in it.
fn basic(answer: &[u8]) -> Result<&[u8], PkiError> {
    let read = || {
        let whole = AnyRef::from_der(answer)?;
        whole.tag().assert_eq(Tag::Sequence)?;
        let mut body = SliceReader::new(whole.value())?;
        let status = AnyRef::decode(&mut body)?;
        status.tag().assert_eq(Tag::Enumerated)?;
        if status.value() != [0] {
            return Ok(None);
        }
        let bytes = AnyRef::decode(&mut body)?;
        let bytes = AnyRef::from_der(bytes.value())?;
        let mut body = SliceReader::new(bytes.value())?;
        if ObjectIdentifier::decode(&mut body)? != BASIC {
            return Err(der::ErrorKind::Failed.into());
        }
        Ok(Some(<&OctetStringRef>::decode(&mut body)?.as_bytes()))
    };
    let read: der::Result<Option<&[u8]>> = read();
    read.map_err(|_| NOT_OCSP)?
        .ok_or(PkiError::Malformed("the OCSP responder answers with an error (it may not be responsible)"))
}

/// RFC 6960 §4.2.2.2: signed with a certificate that the issuer itself gave out for this.
fn delegated(basic: &[u8], issuer: &[u8], now: WallTime, signed: impl Fn(&[u8]) -> bool) -> bool {
    let issuer = CertificateDer::from(issuer);
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&issuer) else { return false };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    certificates(basic).unwrap_or_default().into_iter().any(|responder| {
        let der = CertificateDer::from(responder);
        let Ok(end_entity) = EndEntityCert::try_from(&der) else { return false };
        let anchors = [anchor.clone()];
        let path = end_entity.verify_for_usage(&ALGORITHMS, &anchors, &[], time, OcspSigning, None, None);
        path.is_ok() && signed(responder)
    })
}

struct OcspSigning;

impl ExtendedKeyUsageValidator for OcspSigning {
    fn validate(&self, mut iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        // It must be there: an ordinary certificate of the same issuer may not speak for it.
        iter.find_map(|id| match id {
            Ok(id) if id == KeyPurposeId::new(OCSP_SIGNING.as_bytes()) => Some(Ok(())),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        })
        .unwrap_or(Err(webpki::Error::EmptyEkuExtension))
    }
}

/// The certificates behind a BasicOCSPResponse's signature.
fn certificates(basic: &[u8]) -> der::Result<Vec<&[u8]>> {
    let whole = AnyRef::from_der(basic)?;
    let mut body = SliceReader::new(whole.value())?;
    for _ in 0..3 {
        AnyRef::decode(&mut body)?;
    }
    if body.is_finished() {
        return Ok(Vec::new());
    }
    let tagged = AnyRef::decode(&mut body)?;
    let list = AnyRef::from_der(tagged.value())?;
    let mut body = SliceReader::new(list.value())?;
    let mut out = Vec::new();
    while !body.is_finished() && out.len() < MAX_CERTIFICATES {
        let certificate = body.tlv_bytes()?;
        if certificate.len() <= MAX_CERTIFICATE_LEN {
            out.push(certificate);
        }
    }
    Ok(out)
}

struct Single {
    /// `None`: unknown.
    status: Option<Status>,
    this_update: WallTime,
    next_update: Option<WallTime>,
}

/// The SingleResponse about `id` in a ResponseData.
fn find(data: &[u8], id: &[u8]) -> der::Result<Option<Single>> {
    let whole = AnyRef::from_der(data)?;
    let mut body = SliceReader::new(whole.value())?;
    // [0] version, responderID, producedAt; then the list, which is the only SEQUENCE.
    let mut list = AnyRef::decode(&mut body)?;
    for _ in 0..3 {
        if list.tag().assert_eq(Tag::Sequence).is_ok() {
            break;
        }
        list = AnyRef::decode(&mut body)?;
    }
    list.tag().assert_eq(Tag::Sequence)?;
    let mut body = SliceReader::new(list.value())?;
    for _ in 0..MAX_RESPONSES {
        if body.is_finished() {
            break;
        }
        let single = AnyRef::decode(&mut body)?;
        let mut fields = SliceReader::new(single.value())?;
        if same_id(fields.tlv_bytes()?, id)? {
            return read_single(&mut fields).map(Some);
        }
    }
    Ok(None)
}

/// NULL parameters of the hash may be there or not.
fn same_id(theirs: &[u8], ours: &[u8]) -> der::Result<bool> {
    let split = |bytes| {
        let whole = AnyRef::from_der(bytes)?;
        let mut body = SliceReader::new(whole.value())?;
        let algorithm = AnyRef::decode(&mut body)?;
        let oid: ObjectIdentifier = ObjectIdentifier::decode(&mut SliceReader::new(algorithm.value())?)?;
        Ok::<_, der::Error>((oid, body.read_slice(body.remaining_len())?))
    };
    Ok(split(theirs)? == split(ours)?)
}

fn read_single(fields: &mut SliceReader<'_>) -> der::Result<Single> {
    let status = AnyRef::decode(fields)?;
    let status = match status.tag().number().value() {
        0 => Some(Status::Good),
        1 => {
            let mut body = SliceReader::new(status.value())?;
            let at = time(GeneralizedTime::decode(&mut body)?);
            // [0] EXPLICIT ENUMERATED.
            let code =
                if body.is_finished() { None } else { AnyRef::decode(&mut body)?.value().last().copied() };
            Some(Status::Revoked { at, reason: reason(code) })
        }
        _ => None,
    };
    let this_update = time(GeneralizedTime::decode(fields)?);
    let mut next_update = None;
    if !fields.is_finished() {
        let tagged = AnyRef::decode(fields)?;
        if tagged.tag().number().value() == 0 {
            next_update = Some(time(GeneralizedTime::from_der(tagged.value())?));
        }
    }
    Ok(Single { status, this_update, next_update })
}

fn time(time: GeneralizedTime) -> WallTime {
    WallTime(time.to_unix_duration().as_secs())
}
