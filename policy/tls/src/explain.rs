//! What TLS's errors mean.

use core::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Step};
use adit_pki::{PkiError, Question, VerifiedKey};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// What our verifier has said against the other side's certificate, or our key about why it does not sign, in their own words.
#[derive(Default)]
pub(crate) struct Verdict(Mutex<Said>);

#[derive(Default)]
struct Said {
    against: Option<Failure>,
    questions: Vec<Question>,
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Verdict")
    }
}

impl Verdict {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of another session from here on.
    pub(crate) fn clear(&self) {
        *self.said() = Said::default();
    }

    /// Keeps what is to be asked about certificates that are good as far as they say themselves.
    pub(crate) fn accept(&self, key: &VerifiedKey) -> Result<(), Error> {
        let questions = key.questions().map_err(|error| self.refuse(error))?;
        self.said().questions = questions;
        Ok(())
    }

    /// What is to be asked.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.said().questions.clone()
    }

    /// Keeps the words, and returns what says it in an alert.
    pub(crate) fn refuse(&self, error: PkiError) -> Error {
        let kind = match Failure::from(error.clone()).code {
            FailureCode::CertificateExpired => CertificateError::Expired,
            FailureCode::CertificateUntrusted => CertificateError::UnknownIssuer,
            FailureCode::CertificateName => CertificateError::NotValidForName,
            _ => CertificateError::ApplicationVerificationFailure,
        };
        self.keep(error);
        Error::InvalidCertificate(kind)
    }

    /// Keeps why our key does not sign.
    pub(crate) fn cannot_sign(&self, error: PkiError) -> Error {
        let said = error.to_string();
        self.keep(error);
        Error::General(said)
    }

    /// The first word counts.
    fn keep(&self, error: PkiError) {
        self.said().against.get_or_insert_with(|| error.into());
    }
}

pub(crate) fn internal(error: &dyn Display) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("TLS: {error}"))
}

/// The error as a person meets it.
pub(crate) fn explain(error: &Error, verdict: &Verdict) -> Failure {
    let said = verdict.said().against.clone();
    if let (Error::InvalidCertificate(_) | Error::General(_), Some(failure)) = (error, said) {
        return failure;
    }
    let failed = |text: String| Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
    match error {
        Error::AlertReceived(alert) => {
            let said = format!("{alert:?}");
            let (text, hint) = alert_text(*alert);
            failed(format!("TLS: {text}")).said(said).hint(hint)
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => failed("TLS: the other side speaks TLS 1.0 or 1.1 only, which nobody should".into()).hint(
            "Windows 7 and systems of its age need an update for TLS 1.2, or authentication by RADIUS at a server that \
             still speaks TLS 1.0",
        ),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            failed("TLS: the other side offers no suite with AES-GCM or ChaCha20".into()).hint(
                "RouterOS's SSTP client, and Windows of before 2012, have CBC suites alone, which are not spoken here",
            )
        }
        Error::NoCertificatesPresented => {
            failed("TLS: the other side has shown no certificate".into())
        }
        Error::InvalidCertificate(why) => Failure::new(
            FailureCode::CertificateUnusable,
            Step::Authenticate,
            format!("TLS: the other side's certificate is unusable: {why:?}"),
        ),
        other => Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, format!("TLS: {other}")),
    }
}

const fn alert_text(alert: AlertDescription) -> (&'static str, &'static str) {
    match alert {
        AlertDescription::UnknownCA => (
            "the other side does not trust the authority of our certificate",
            "have the certificate issued by an authority that it trusts, and send the intermediates with it",
        ),
        AlertDescription::CertificateExpired => (
            "the other side says that our certificate has expired",
            "renew the certificate; compare both clocks",
        ),
        AlertDescription::CertificateRevoked => {
            ("the other side says that our certificate has been revoked", "have a new certificate issued")
        }
        AlertDescription::CertificateRequired => (
            "the other side wants a certificate, and we have none",
            "give one with certificate = \"...\" and key = \"...\"",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => (
            "the other side does not accept our certificate",
            "its log says why; a client's certificate needs extendedKeyUsage = clientAuth, a server's serverAuth",
        ),
        AlertDescription::ProtocolVersion => {
            ("there is no common version: we speak TLS 1.2 and 1.3", "update the other side")
        }
        AlertDescription::HandshakeFailure => {
            ("there is no common set of algorithms", "see the other side's log for what it offers")
        }
        _ => ("the other side ended the session", "its log says why"),
    }
}
