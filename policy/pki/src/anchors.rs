use adit_core::WallTime;
use der::Encode as _;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor};

use crate::cert::Parsed;
use crate::request::{KeyHash, spki_hash};
use crate::{PkiError, Summary, read_certificates};

/// More than any system's bundle has.
const MAX_ANCHORS: usize = 2000;

/// The certificates that a person or a system trusts.
///
/// A certificate of a CA is the end of chains. Any certificate in here, a CA's or not, is also accepted when
/// the peer presents exactly that one as its own (it is pinned): so a self-signed server works by giving its
/// certificate.
#[derive(Default)]
pub struct TrustAnchors {
    anchors: Vec<Anchor>,
}

pub(crate) struct Anchor {
    pub(crate) der: Vec<u8>,
    pub(crate) parsed: Parsed,
    /// Whether it may end a chain: it says that it is a CA, and its key usage does not deny it.
    pub(crate) is_authority: bool,
    trust: TrustAnchor<'static>,
}

impl core::fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TrustAnchors({})", self.anchors.len())
    }
}

impl TrustAnchors {
    /// None: nothing is trusted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All certificates of a file's content: PEM (any number) or DER (one). An error if any of them can't be
    /// used.
    pub fn from_content(content: &[u8]) -> Result<Self, PkiError> {
        let mut anchors = Self::new();
        anchors.add(content)?;
        Ok(anchors)
    }

    /// Adds all certificates of a file's content: PEM (any number) or DER (one). Nothing is added on an
    /// error.
    pub fn add(&mut self, content: &[u8]) -> Result<(), PkiError> {
        let added =
            read_certificates(content)?.iter().map(|der| Anchor::new(der)).collect::<Result<Vec<_>, _>>()?;
        for anchor in added {
            self.push(anchor)?;
        }
        Ok(())
    }

    /// Adds one certificate in DER, such as a system's bundle has. Twice the same is once.
    pub fn add_der(&mut self, der: &[u8]) -> Result<(), PkiError> {
        self.push(Anchor::new(der)?)
    }

    /// How many certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// What they are, for display.
    #[must_use]
    pub fn summaries(&self) -> Vec<Summary> {
        self.anchors.iter().map(|a| a.parsed.summary()).collect()
    }

    /// The contents of a CERTREQ payload (RFC 7296 §3.7): SHA-1 of the SubjectPublicKeyInfo of each
    /// authority.
    #[must_use]
    pub fn key_hashes(&self) -> Vec<KeyHash> {
        let mut hashes: Vec<KeyHash> =
            self.anchors.iter().filter(|a| a.is_authority).map(|a| spki_hash(&a.parsed.spki)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// The subjects of the authorities, DER: what a TLS server names when it asks for a certificate (RFC 8446 §4.2.4).
    #[must_use]
    pub fn subjects(&self) -> Vec<Vec<u8>> {
        let authorities = self.anchors.iter().filter(|a| a.is_authority);
        let mut subjects: Vec<Vec<u8>> =
            authorities.filter_map(|a| a.parsed.subject().to_der().ok()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    /// The certificate of an authority that has ended a path.
    pub(crate) fn der_of(&self, trust: &TrustAnchor<'_>) -> Option<&[u8]> {
        let same = |a: &&Anchor| {
            a.trust.subject == trust.subject
                && a.trust.subject_public_key_info == trust.subject_public_key_info
        };
        self.anchors.iter().find(same).map(|a| a.der.as_slice())
    }

    /// The certificate itself, if the peer's is one of these.
    pub(crate) fn pinned(&self, der: &[u8]) -> bool {
        self.anchors.iter().any(|a| a.der == der)
    }

    /// Those that may end a chain at `now`.
    pub(crate) fn authorities(&self, now: WallTime) -> Vec<TrustAnchor<'_>> {
        self.anchors
            .iter()
            .filter(|a| a.is_authority && a.parsed.check_dates(now).is_ok())
            .map(|a| TrustAnchor {
                subject: Der::from_slice(&a.trust.subject),
                subject_public_key_info: Der::from_slice(&a.trust.subject_public_key_info),
                name_constraints: a.trust.name_constraints.as_ref().map(|n| Der::from_slice(n)),
            })
            .collect()
    }

    fn push(&mut self, anchor: Anchor) -> Result<(), PkiError> {
        if self.pinned(&anchor.der) {
            return Ok(());
        }
        if self.anchors.len() >= MAX_ANCHORS {
            return Err(PkiError::Anchor(format!("there are more than {MAX_ANCHORS}")));
        }
        self.anchors.push(anchor);
        Ok(())
    }
}

impl Anchor {
    fn new(der: &[u8]) -> Result<Self, PkiError> {
        let parsed = Parsed::from_der(der).map_err(|e| PkiError::Anchor(e.to_string()))?;
        // A certificate of version 1 can't say whether it is a CA's (RFC 5280 §6.1.4 (k)).
        if !parsed.is_version_3() {
            return Err(PkiError::Anchor(format!("{} is not of X.509 version 3", parsed.subject_text())));
        }
        let owned = CertificateDer::from(der);
        let trust = webpki::anchor_from_trusted_cert(&owned)
            .map_err(|_| PkiError::Anchor(format!("the one of {} is malformed", parsed.subject_text())))?
            .to_owned();
        let is_authority = parsed.is_ca && parsed.may_sign_certificates();
        Ok(Self { der: der.to_vec(), parsed, is_authority, trust })
    }
}
