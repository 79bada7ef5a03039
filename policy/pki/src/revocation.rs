//! Whether a certificate has been revoked since: OCSP (RFC 6960) and CRLs (RFC 5280 §5, §6.3).
//!
//! Nothing is fetched here. A path that has been verified has a [`Question`] for each of its certificates; whoever can
//! fetch asks the question's [`Source`]s in their order, and hands what came back to [`Question::judge`]. Both the
//! address and the answer's signature come from the path, so a stranger makes nobody fetch anything.

mod crl;
mod ocsp;

use core::time::Duration;

use adit_core::WallTime;
use der::asn1::ObjectIdentifier;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, CrlDistributionPoints};

use crate::PkiError;
use crate::cert::{Parsed, escape};
use crate::verify::ALGORITHMS;

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");

/// Sources of one certificate, at most.
const MAX_SOURCES: usize = 4;
/// Clocks differ by this much, at most.
const SKEW: Duration = Duration::from_secs(300);

/// How much it takes to refuse a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strictness {
    /// Nobody is asked.
    Off,
    /// A certificate that is known to be revoked is refused; where nothing can be learnt it is accepted.
    #[default]
    Soft,
    /// Only a certificate that is known to be good is accepted.
    Strict,
}

/// Where the status of a certificate is to be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// An OCSP responder: POST these bytes as application/ocsp-request (RFC 6960 appendix A).
    Ocsp {
        /// `http://…`
        url: String,
        /// OCSPRequest, DER.
        request: Vec<u8>,
    },
    /// A CRL: GET.
    Crl {
        /// `http://…`
        url: String,
    },
}

impl Source {
    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Ocsp { url, .. } | Self::Crl { url } => url,
        }
    }
}

/// What is known of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked {
        /// Since when.
        at: WallTime,
        /// Why, in the CRL's words.
        reason: &'static str,
    },
}

/// The status of one certificate, which has to be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    certificate: Vec<u8>,
    issuer: Vec<u8>,
    subject: String,
    sources: Vec<Source>,
}

impl Question {
    /// For `certificate`, which `issuer` has signed; both DER.
    pub(crate) fn new(certificate: &[u8], issuer: &[u8]) -> Result<Self, PkiError> {
        let parsed = Parsed::from_der(certificate)?;
        let mut sources = Vec::new();
        if let Ok(request) = ocsp::request(&parsed, &Parsed::from_der(issuer)?) {
            let responders = parsed.extension::<AuthorityInfoAccessSyntax>().into_iter().flat_map(|e| e.0);
            let responders = responders.filter(|access| access.access_method == OCSP);
            let urls = responders.filter_map(|access| http(&access.access_location));
            sources.extend(urls.map(|url| Source::Ocsp { url, request: request.clone() }));
        }
        let points = parsed.extension::<CrlDistributionPoints>().into_iter().flat_map(|e| e.0);
        let names = points.filter(|p| p.crl_issuer.is_none() && p.reasons.is_none()).filter_map(|p| match p
            .distribution_point
        {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        });
        sources.extend(names.flatten().filter_map(|name| http(&name)).map(|url| Source::Crl { url }));
        sources.truncate(MAX_SOURCES);
        let subject = parsed.subject_text();
        Ok(Self { certificate: certificate.to_vec(), issuer: issuer.to_vec(), subject, sources })
    }

    /// Whom to ask, best first. Empty: the certificate names nobody.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What `source` has answered.
    ///
    /// # Errors
    /// Why the answer says nothing: it is malformed, not the issuer's, out of date, or about another certificate.
    pub fn judge(&self, source: &Source, answer: &[u8], now: WallTime) -> Result<Status, PkiError> {
        let (certificate, issuer) = (Parsed::from_der(&self.certificate)?, Parsed::from_der(&self.issuer)?);
        match source {
            Source::Ocsp { .. } => ocsp::judge(&certificate, &issuer, &self.issuer, answer, now),
            Source::Crl { .. } => crl::judge(&certificate, &issuer, &self.issuer, answer, now),
        }
    }

    /// What follows from what was learnt. `learnt`: the status, or why there is none.
    ///
    /// # Errors
    /// [`PkiError::Revoked`], and where it must be known [`PkiError::RevocationUnknown`].
    pub fn decide(&self, strictness: Strictness, learnt: Result<Status, String>) -> Result<(), PkiError> {
        match (learnt, strictness) {
            (_, Strictness::Off) | (Ok(Status::Good), _) | (Err(_), Strictness::Soft) => Ok(()),
            (Ok(Status::Revoked { at, reason }), _) => {
                Err(PkiError::Revoked { subject: self.subject.clone(), at, reason })
            }
            (Err(why), Strictness::Strict) => {
                Err(PkiError::RevocationUnknown { subject: self.subject.clone(), why })
            }
        }
    }

    /// Whose certificate it is, for a log.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// An address that is fetched: plain HTTP only, since what comes is signed, and TLS would ask the same question again.
fn http(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else { return None };
    let uri = uri.as_str();
    let plain = uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let printable = uri.bytes().all(|b| b.is_ascii_graphic());
    (plain && printable && uri.len() <= 1024).then(|| escape(uri))
}

/// Whether `signature` over `message` is by the key of the certificate `by`; `algorithm` is an AlgorithmIdentifier, DER,
/// without its header.
fn signed(by: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let der = CertificateDer::from(by);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return false };
    let fits = |a: &&&dyn SignatureVerificationAlgorithm| a.signature_alg_id().as_ref() == algorithm;
    ALGORITHMS.iter().filter(fits).any(|a| certificate.verify_signature(*a, message, signature).is_ok())
}

/// Whether something that was true at `from` is still true, when the next word comes at `until`.
fn fresh(from: WallTime, until: Option<WallTime>, now: WallTime, longest: Duration) -> Result<(), PkiError> {
    let skew = SKEW.as_secs();
    if from.0 > now.0.saturating_add(skew) {
        return Err(PkiError::Malformed("the answer about it is from the future"));
    }
    let until = until.map_or(from.0.saturating_add(longest.as_secs()), |until| until.0);
    if now.0 > until.saturating_add(skew) {
        return Err(PkiError::Malformed("the answer about it is out of date"));
    }
    Ok(())
}

/// RFC 5280 §5.3.1.
fn reason(code: Option<u8>) -> &'static str {
    match code {
        Some(1) => "keyCompromise",
        Some(2) => "cACompromise",
        Some(3) => "affiliationChanged",
        Some(4) => "superseded",
        Some(5) => "cessationOfOperation",
        Some(6) => "certificateHold",
        Some(9) => "privilegeWithdrawn",
        Some(10) => "aACompromise",
        _ => "unspecified",
    }
}
