use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use adit_core::WallTime;
use der::asn1::{Any, ObjectIdentifier};
use der::oid::AssociatedOid;
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, NameConstraints, SubjectAltName,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use crate::{MAX_CERTIFICATE_LEN, PkiError};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const MAX_TEXT: usize = 256;

/// A certificate as a person reads it. Text is escaped; nothing in it has been verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The names in the subjectAltName, or the common name if there is none.
    pub names: Vec<String>,
    /// When its validity begins.
    pub not_before: WallTime,
    /// The last second of its validity.
    pub not_after: WallTime,
}

/// What the certificate `der` says about itself. Nothing of it is verified.
pub fn summarize(der: &[u8]) -> Result<Summary, PkiError> {
    Ok(Parsed::from_der(der)?.summary())
}

/// The fields of a certificate that the checks beyond webpki's need.
pub(crate) struct Parsed {
    inner: x509_cert::Certificate,
    /// `None`: no subjectAltName extension at all.
    pub(crate) san: Option<Vec<GeneralName>>,
    /// `None`: no extendedKeyUsage extension.
    pub(crate) eku: Option<Vec<ObjectIdentifier>>,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) is_ca: bool,
    pub(crate) has_name_constraints: bool,
    pub(crate) spki: Vec<u8>,
}

impl Parsed {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(PkiError::Malformed("it is larger than 64 KiB"));
        }
        let inner = x509_cert::Certificate::from_der(der)
            .map_err(|_| PkiError::Malformed("it is not X.509 in DER"))?;
        let extension = |_| PkiError::Malformed("an extension is not what its type says, or is there twice");
        let tbs = inner.tbs_certificate();
        let san = tbs.get_extension::<SubjectAltName>().map_err(extension)?.map(|(_, e)| e.0);
        let eku = tbs.get_extension::<ExtendedKeyUsage>().map_err(extension)?.map(|(_, e)| e.0);
        let key_usage = tbs.get_extension::<KeyUsage>().map_err(extension)?.map(|(_, e)| e);
        let is_ca = tbs.get_extension::<BasicConstraints>().map_err(extension)?.is_some_and(|(_, e)| e.ca);
        let has_name_constraints =
            tbs.extensions().is_some_and(|all| all.iter().any(|e| e.extn_id == NameConstraints::OID));
        let spki =
            tbs.subject_public_key_info().to_der().map_err(|_| PkiError::Malformed("its key is not DER"))?;
        Ok(Self { san, eku, key_usage, is_ca, has_name_constraints, spki, inner })
    }

    pub(crate) fn serial(&self) -> &SerialNumber {
        self.inner.tbs_certificate().serial_number()
    }

    /// An extension, if it is there and can be read.
    pub(crate) fn extension<E: AssociatedOid + for<'a> der::Decode<'a>>(&self) -> Option<E> {
        let extensions = self.inner.tbs_certificate().extensions()?;
        let found = extensions.iter().find(|e| e.extn_id == E::OID)?;
        E::from_der(found.extn_value.as_bytes()).ok()
    }

    pub(crate) fn subject(&self) -> &Name {
        self.inner.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.inner.tbs_certificate().issuer()
    }

    pub(crate) fn is_version_3(&self) -> bool {
        self.inner.tbs_certificate().version() == Version::V3
    }

    pub(crate) fn subject_text(&self) -> String {
        name_text(self.subject())
    }

    pub(crate) fn issuer_text(&self) -> String {
        name_text(self.issuer())
    }

    pub(crate) fn not_before(&self) -> WallTime {
        WallTime(self.inner.tbs_certificate().validity().not_before.to_unix_duration().as_secs())
    }

    pub(crate) fn not_after(&self) -> WallTime {
        WallTime(self.inner.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
    }

    /// RFC 5280 §6.1.3 (a)(2).
    pub(crate) fn check_dates(&self, now: WallTime) -> Result<(), PkiError> {
        if now < self.not_before() {
            return Err(PkiError::NotYetValid {
                subject: self.subject_text(),
                not_before: self.not_before(),
                now,
            });
        }
        if now > self.not_after() {
            return Err(PkiError::Expired { subject: self.subject_text(), not_after: self.not_after(), now });
        }
        Ok(())
    }

    /// Whether it may sign certificates, as far as its key usage says (RFC 5280 §4.2.1.3).
    pub(crate) fn may_sign_certificates(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.0.contains(KeyUsages::KeyCertSign))
    }

    /// The most specific common name, if it is text.
    pub(crate) fn common_name(&self) -> Option<String> {
        self.subject().iter().filter(|a| a.oid == COMMON_NAME).last().and_then(|a| text(&a.value))
    }

    /// The OID of the signature's algorithm.
    pub(crate) fn signature_algorithm(&self) -> ObjectIdentifier {
        self.inner.signature_algorithm().oid
    }

    pub(crate) fn names(&self) -> Vec<String> {
        match &self.san {
            Some(san) => san.iter().filter_map(general_name_text).collect(),
            None => self.common_name().iter().map(|cn| escape(cn)).collect(),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            subject: self.subject_text(),
            issuer: self.issuer_text(),
            names: self.names(),
            not_before: self.not_before(),
            not_after: self.not_after(),
        }
    }
}

/// An iPAddress of a subjectAltName as an address (RFC 5280 §4.2.1.6: 4 or 16 bytes).
pub(crate) fn san_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|a| Ipv4Addr::from(a).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|a| Ipv6Addr::from(a).into()),
        _ => None,
    }
}

/// A time as people write it, in UTC.
#[must_use]
pub fn date(time: WallTime) -> String {
    match der::DateTime::from_unix_duration(Duration::from_secs(time.0)) {
        Ok(d) => {
            format!("{:04}-{:02}-{:02} {:02}:{:02} UTC", d.year(), d.month(), d.day(), d.hour(), d.minutes())
        }
        Err(_) => format!("second {} of Unix time", time.0),
    }
}

/// Text out of a certificate, safe for a terminal and a log.
pub(crate) fn escape(text: &str) -> String {
    let mut out: String = text.chars().take(MAX_TEXT).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}

/// A distinguished name in RFC 4514's form, safe for a terminal and a log.
pub(crate) fn name_text(name: &Name) -> String {
    let mut out = String::new();
    // Its Display fails on values that cannot be written; what was written until then is still worth showing.
    if write!(out, "{name}").is_err() || out.is_empty() {
        out.push_str("(no name)");
    }
    let mut short = String::new();
    for c in out.chars().take(MAX_TEXT) {
        match c {
            // RFC 4514 has escaped these already.
            '\\' | '"' | '\'' => short.push(c),
            _ => short.extend(c.escape_debug()),
        }
    }
    if out.chars().nth(MAX_TEXT).is_some() {
        short.push('…');
    }
    short
}

fn general_name_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(s) => Some(escape(s.as_str())),
        GeneralName::Rfc822Name(s) => Some(escape(s.as_str())),
        GeneralName::UniformResourceIdentifier(s) => Some(escape(s.as_str())),
        GeneralName::IpAddress(b) => san_address(b.as_bytes()).map(|a| a.to_string()),
        GeneralName::DirectoryName(n) => Some(name_text(n)),
        GeneralName::OtherName(_) | GeneralName::EdiPartyName(_) | GeneralName::RegisteredId(_) => None,
    }
}

fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            core::str::from_utf8(value.value()).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let units: Vec<u16> = value
                .value()
                .chunks_exact(2)
                .map(|c| c.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}
