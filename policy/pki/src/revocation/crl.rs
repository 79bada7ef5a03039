//! CRLs (RFC 5280 §5).

use core::time::Duration;

use adit_core::WallTime;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::ext::pkix::KeyUsages;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;

use super::{Status, fresh, reason, signed};
use crate::PkiError;
use crate::cert::Parsed;

const REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// A CRL without nextUpdate counts this long.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

const NOT_CRL: PkiError = PkiError::Malformed("its CRL is not one in DER");

pub(super) fn judge(
    certificate: &Parsed,
    issuer: &Parsed,
    issuer_der: &[u8],
    answer: &[u8],
    now: WallTime,
) -> Result<Status, PkiError> {
    let crl = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(answer).map_err(|_| NOT_CRL)?;
    let list = &crl.tbs_cert_list;
    if list.issuer != *issuer.subject() {
        return Err(PkiError::Malformed("its CRL is of another issuer"));
    }
    if issuer.key_usage.is_some_and(|usage| !usage.0.contains(KeyUsages::CRLSign)) {
        return Err(PkiError::Malformed("its issuer may not sign CRLs"));
    }
    let (message, algorithm, signature) = parts(answer).map_err(|_| NOT_CRL)?;
    if !signed(issuer_der, algorithm, message, signature) {
        return Err(PkiError::Malformed("its CRL is not signed by its issuer"));
    }
    let at = |time: &x509_cert::time::Time| WallTime(time.to_unix_duration().as_secs());
    fresh(at(&list.this_update), list.next_update.as_ref().map(at), now, LONGEST)?;
    check_scope(certificate, &crl)?;
    let revoked = list.revoked_certificates.iter().flatten();
    match revoked.clone().find(|entry| entry.serial_number == *certificate.serial()) {
        None => Ok(Status::Good),
        Some(entry) => {
            if entry.crl_entry_extensions.iter().flatten().any(|e| e.critical && e.extn_id != REASON) {
                return Err(PkiError::Malformed("its entry in the CRL has a critical extension"));
            }
            Ok(Status::Revoked { at: at(&entry.revocation_date), reason: reason(code(entry)) })
        }
    }
}

/// RFC 5280 §6.3.3 (b): a CRL that is about a part of the certificates only, or a delta, says nothing of others.
fn check_scope(certificate: &Parsed, crl: &CertificateList) -> Result<(), PkiError> {
    for extension in crl.tbs_cert_list.crl_extensions.iter().flatten() {
        if extension.extn_id == DISTRIBUTION_POINT {
            let point =
                IssuingDistributionPoint::from_der(extension.extn_value.as_bytes()).map_err(|_| NOT_CRL)?;
            let other =
                if certificate.is_ca { point.only_contains_user_certs } else { point.only_contains_ca_certs };
            let part = point.only_some_reasons.is_some()
                || point.indirect_crl
                || point.only_contains_attribute_certs;
            if other || part {
                return Err(PkiError::Malformed("its CRL is about other certificates"));
            }
        } else if extension.critical {
            return Err(PkiError::Malformed("its CRL has a critical extension that Adit does not know"));
        }
    }
    Ok(())
}

fn code(entry: &RevokedCert) -> Option<u8> {
    let extension = entry.crl_entry_extensions.iter().flatten().find(|e| e.extn_id == REASON)?;
    // ENUMERATED of one octet.
    AnyRef::from_der(extension.extn_value.as_bytes()).ok()?.value().first().copied()
}

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// `SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING }`: the first as it is, the second without its header.
pub(super) fn parts(bytes: &[u8]) -> der::Result<Parts<'_>> {
    let whole = AnyRef::from_der(bytes)?;
    let mut body = SliceReader::new(whole.value())?;
    let message = body.tlv_bytes()?;
    let algorithm = AnyRef::decode(&mut body)?.value();
    let signature = BitStringRef::decode(&mut body)?.as_bytes().ok_or(der::ErrorKind::Failed)?;
    Ok((message, algorithm, signature))
}
