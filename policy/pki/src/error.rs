use adit_core::{Failure, FailureCode, Step, WallTime};
use thiserror::Error;

use crate::cert::date;

/// Why a certificate, a signature or a key was not accepted. Text from certificates is escaped and shortened.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PkiError {
    /// No trusted authority of that name was given, and the peer sent no certificate of it that leads to one.
    #[error("the certificate of {subject} was issued by {issuer}, which is not a trusted authority here")]
    Untrusted {
        /// The certificate where the search ended.
        subject: String,
        /// The issuer that could not be found.
        issuer: String,
    },
    /// An authority has the issuer's name, but another key.
    #[error("the signature on the certificate of {subject} was not made by the {issuer} that is known here")]
    Forged {
        /// The certificate with the signature that does not fit.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// The certificate is for other names.
    #[error("the certificate is not for {wanted}: {}", named(names, *more))]
    Name {
        /// Who was expected.
        wanted: String,
        /// The names that the certificate has; at most eight.
        names: Vec<String>,
        /// How many names were left off.
        more: usize,
    },
    /// A certificate of the chain has expired.
    #[error("the certificate of {subject} expired on {}; it is {} here", date(*not_after), date(*now))]
    Expired {
        /// Whose certificate.
        subject: String,
        /// When it expired.
        not_after: WallTime,
        /// The time that it was checked for.
        now: WallTime,
    },
    /// A certificate of the chain is not valid yet.
    #[error("the certificate of {subject} is not valid before {}; it is {} here", date(*not_before), date(*now))]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// When its validity begins.
        not_before: WallTime,
        /// The time that it was checked for.
        now: WallTime,
    },
    /// The certificate may not be used for this: EKU or key usage.
    #[error("the certificate of {subject} may not be used for this: {why}")]
    Usage {
        /// Whose certificate.
        subject: String,
        /// What is missing.
        why: String,
        /// What to change.
        hint: &'static str,
    },
    /// The chain breaks a rule of its own: name constraints, path length, an issuer that is no CA.
    #[error("the certificate chain of {subject} is not valid: {why}")]
    Chain {
        /// Whose chain: the first certificate.
        subject: String,
        /// What it breaks.
        why: &'static str,
    },
    /// Bytes that are not a certificate, or too many of them.
    #[error("the certificate could not be read: {0}")]
    Malformed(&'static str),
    /// A key or a signature algorithm that is too weak, or that nobody should use any more.
    #[error("the certificate of {subject} uses {what}, which is not accepted")]
    Weak {
        /// Whose certificate.
        subject: String,
        /// The key or algorithm.
        what: &'static str,
    },
    /// A signature over a message is not by this key.
    #[error("the signature is not valid for the certificate's key")]
    Signature,
    /// This key does not make or check signatures of that scheme.
    #[error("the certificate's key cannot be used with the signature scheme {0}")]
    Scheme(&'static str),
    /// An authority's certificate that was given to be trusted can't be.
    #[error("the CA certificate cannot be used: {0}")]
    Anchor(String),
    /// A private key could not be read.
    #[error("the private key could not be read: {0}")]
    Key(&'static str),
    /// The private key is encrypted.
    #[error("the private key is encrypted")]
    KeyEncrypted,
    /// The password of a private key, or of a PKCS#12 file, is not the right one.
    #[error("the password of the private key is wrong")]
    Passphrase,
    /// The certificate has been revoked.
    #[error("the certificate of {subject} was revoked on {} ({reason})", date(*at))]
    Revoked {
        /// Whose certificate.
        subject: String,
        /// When.
        at: WallTime,
        /// Why, in the word of RFC 5280 §5.3.1.
        reason: &'static str,
    },
    /// Whether the certificate has been revoked could not be learnt, and must be.
    #[error("whether the certificate of {subject} was revoked could not be learnt: {why}")]
    RevocationUnknown {
        /// Whose certificate.
        subject: String,
        /// What was in the way.
        why: String,
    },
    /// The private key is not the certificate's.
    #[error("the private key does not belong to the certificate of {0}")]
    KeyMismatch(String),
    /// A token did not sign.
    #[error("the token did not sign: {0}")]
    Token(String),
}

impl PkiError {
    /// The kind of failure that this is for a person and a script.
    #[must_use]
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::Untrusted { .. } | Self::Forged { .. } => FailureCode::CertificateUntrusted,
            Self::Name { .. } => FailureCode::CertificateName,
            Self::Expired { .. } | Self::NotYetValid { .. } => FailureCode::CertificateExpired,
            Self::Usage { .. }
            | Self::Chain { .. }
            | Self::Malformed(_)
            | Self::Weak { .. }
            | Self::RevocationUnknown { .. }
            | Self::Scheme(_) => FailureCode::CertificateUnusable,
            Self::Revoked { .. } => FailureCode::CertificateRevoked,
            Self::Signature => FailureCode::AuthenticationFailed,
            Self::Token(_) => FailureCode::NoSecret,
            Self::Anchor(_) | Self::Key(_) | Self::KeyEncrypted | Self::Passphrase | Self::KeyMismatch(_) => {
                FailureCode::ConfigurationInvalid
            }
        }
    }

    const fn step(&self) -> Step {
        match self.code() {
            FailureCode::ConfigurationInvalid => Step::Profile,
            _ => Step::Authenticate,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Untrusted { issuer, .. } => format!(
                "give the certificate of {issuer} in the profile, or in server.toml, with ca = \"...\" (Windows reports this as error 13801)"
            ),
            Self::Forged { issuer, .. } => {
                format!("get the current certificate of {issuer} and give it with ca = \"...\"")
            }
            Self::Name { names, .. } => match names.first() {
                Some(_) => "use one of the certificate's names as server or remote-id in the profile, or have the \
                            certificate issued for this one (Windows reports this as error 13801)"
                    .into(),
                None => "have the certificate issued with a subjectAltName for this name".into(),
            },
            Self::Expired { .. } => "renew the certificate; if the date above is wrong, set this host's clock \
                                     (timedatectl)"
                .into(),
            Self::NotYetValid { .. } => "set this host's clock (timedatectl), or wait".into(),
            Self::Usage { hint, .. } => (*hint).into(),
            Self::Chain { .. } => "have the certificate issued again; the authority may not issue this one".into(),
            Self::Malformed(_) => "look at it with: openssl x509 -text -noout -in FILE".into(),
            Self::Weak { .. } => {
                "issue it again with RSA of 2048 bits or more, P-256, P-384 or Ed25519, signed with SHA-256 or better"
                    .into()
            }
            Self::Signature => "the peer's certificate and its private key may not belong together".into(),
            Self::Scheme(_) => "use a key of RSA, P-256, P-384 or Ed25519".into(),
            Self::Anchor(_) => "give a CA's certificate (PEM or DER, X.509 version 3) with ca = \"...\"".into(),
            Self::Key(_) => {
                "give an RSA, P-256, P-384 or Ed25519 key; convert one with: openssl pkey -in OLD -out NEW"
                    .into()
            }
            Self::KeyEncrypted => "give its password with key-password-file = \"NAME\", a file in /etc/adit/secrets; \
                                   or decrypt it with: openssl pkey -in OLD -out NEW && chmod 600 NEW"
                .into(),
            Self::Passphrase => "correct the file that key-password-file names; try it with: openssl pkey -in KEY \
                                 -noout, or openssl pkcs12 -in FILE -noout"
                .into(),
            Self::Revoked { .. } => "whoever has it must get a new certificate from its authority".into(),
            Self::RevocationUnknown { .. } => "the OCSP responder or the CRL that the certificate names must answer; \
                                               revocation = \"soft\" does without an answer"
                .into(),
            Self::Token(_) => "put the token in again, and ctl up again".into(),
            Self::KeyMismatch(_) => "compare the public keys: openssl x509 -noout -pubkey -in CERTIFICATE; \
                                     openssl pkey -pubout -in KEY"
                .into(),
        }
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        Self::new(error.code(), error.step(), error.to_string()).hint(error.hint())
    }
}

fn named(names: &[String], more: usize) -> String {
    match (names.is_empty(), more) {
        (true, _) => "it names nobody".into(),
        (false, 0) => format!("it is for {}", names.join(", ")),
        (false, more) => format!("it is for {} and {more} more", names.join(", ")),
    }
}
