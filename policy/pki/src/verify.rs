use core::time::Duration;

use adit_core::{Identity, KeyKind, SignatureScheme, WallTime};
use der::asn1::ObjectIdentifier;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, ring as algorithms};
use x509_cert::ext::pkix::KeyUsages;

use crate::cert::Parsed;
use crate::revocation::Question;
use crate::signature::PublicKey;
use crate::{EcdsaEncoding, PkiError, Summary, TrustAnchors, names};

/// Certificates that one peer may send.
pub const MAX_CHAIN_LEN: usize = 10;
/// Bytes of one certificate.
pub const MAX_CERTIFICATE_LEN: usize = 64 << 10;
/// Certificates of one subject (cross-signed, renewed). More only make the search for a path long.
const MAX_SAME_SUBJECT: usize = 3;

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const IPSEC_IKE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.17");
const IKE_INTERMEDIATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.8.2.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

static SERVER_CHAIN: [ObjectIdentifier; 2] = [SERVER_AUTH, ANY_USAGE];
static CLIENT_CHAIN: [ObjectIdentifier; 4] = [CLIENT_AUTH, IPSEC_IKE, IKE_INTERMEDIATE, ANY_USAGE];

static TLS_CLIENT_CHAIN: [ObjectIdentifier; 2] = [CLIENT_AUTH, ANY_USAGE];

pub(crate) static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 11] = [
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The key of a certificate that passed every check. There is no other way to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedKey {
    key: PublicKey,
    summary: Summary,
    /// The certificate, those between, and the authority, DER; the certificate alone if it is trusted for itself.
    path: Vec<Vec<u8>>,
}

impl VerifiedKey {
    /// Which kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.key.kind
    }

    /// The certificate, for display.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What is to be asked of others before the certificates are believed: whether one of the path has been revoked
    /// since. The authority is trusted whatever anybody says, and so is a certificate that is pinned.
    ///
    /// # Errors
    /// A certificate of the path is malformed after all.
    pub fn questions(&self) -> Result<Vec<Question>, PkiError> {
        self.path
            .windows(2)
            .filter_map(<[_]>::as_array)
            .map(|[one, issuer]| Question::new(one, issuer))
            .collect()
    }

    /// Checks a signature over `message` by this key.
    pub fn verify(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
        encoding: EcdsaEncoding,
    ) -> Result<(), PkiError> {
        self.key.verify(scheme, message, signature, encoding)
    }

    /// Checks a signature of IKEv1's over `hash` by this key: see [`Signer::sign_bare`](crate::Signer::sign_bare).
    pub fn verify_bare(&self, hash: &[u8], signature: &[u8]) -> Result<(), PkiError> {
        self.key.verify_bare(hash, signature)
    }
}

/// Verifies a server's certificate: `chain` is its own first and then any others, in any order, each in DER;
/// `name` is who was dialled.
///
/// - Trust: a path of valid signatures to an authority among `anchors`, or exactly a certificate that is one
///   of them.
/// - Dates: of every certificate of the path and of the authority, at `now`.
/// - Name: only the subjectAltName where there is one, else the common name (and not that either where an
///   authority has name constraints, which common names would evade). Host names match dNSName, a wildcard as
///   leftmost label included; addresses match iPAddress, or their text as dNSName; e-mail addresses match
///   rfc822Name; distinguished names match exactly the subject. A key ID never matches.
/// - Usage: the certificate must have an extendedKeyUsage with serverAuth, as Windows demands. RFC 4945
///   §5.1.3.12 would let a certificate without the extension, or with anyExtendedKeyUsage, pass; then every
///   client's certificate of the same authority could be a server. Only a pinned certificate may have no
///   extendedKeyUsage: it is trusted for itself. A keyUsage must allow signatures, where there is one (RFC
///   4945 §5.1.3.2).
/// - Strength: RSA of 2048 to 8192 bits, P-256, P-384, Ed25519; no SHA-1.
/// - A CA's certificate is a server's only if it is pinned.
pub fn verify_server(
    chain: &[Vec<u8>],
    anchors: &TrustAnchors,
    name: &Identity,
    now: WallTime,
) -> Result<VerifiedKey, PkiError> {
    verify(chain, anchors, Some(name), now, Role::Server)
}

/// Verifies a client's certificate; `name` is who it claims to be (its IDi payload).
///
/// As [`verify_server`], but a wildcard matches nothing, and the extendedKeyUsage may be absent; if there is
/// one, it must have clientAuth, anyExtendedKeyUsage, id-kp-ipsecIKE (RFC 4945 §5.1.3.12) or
/// 1.3.6.1.5.5.8.2.2 (ikeIntermediate, which old clients have).
pub fn verify_client(
    chain: &[Vec<u8>],
    anchors: &TrustAnchors,
    name: &Identity,
    now: WallTime,
) -> Result<VerifiedKey, PkiError> {
    verify(chain, anchors, Some(name), now, Role::Client)
}

/// Verifies a client's certificate in TLS, where the client claims no name: the names of the certificate are who it is
/// (RFC 5216 §5.2).
///
/// As [`verify_client`], but an extendedKeyUsage, where there is one, must have clientAuth or anyExtendedKeyUsage (RFC
/// 5216 §5.3): IKE's usages do not count.
pub fn verify_tls_client(
    chain: &[Vec<u8>],
    anchors: &TrustAnchors,
    now: WallTime,
) -> Result<VerifiedKey, PkiError> {
    verify(chain, anchors, None, now, Role::TlsClient)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
    TlsClient,
}

impl Role {
    const fn chain_purposes(self) -> Purposes {
        match self {
            Self::Server => Purposes(&SERVER_CHAIN),
            Self::Client => Purposes(&CLIENT_CHAIN),
            Self::TlsClient => Purposes(&TLS_CLIENT_CHAIN),
        }
    }
}

fn verify(
    chain: &[Vec<u8>],
    anchors: &TrustAnchors,
    name: Option<&Identity>,
    now: WallTime,
    role: Role,
) -> Result<VerifiedKey, PkiError> {
    let (leaf_der, others) = chain.split_first().ok_or(PkiError::Malformed("the peer sent none"))?;
    if chain.len() > MAX_CHAIN_LEN {
        return Err(PkiError::Malformed("the peer sent more than 10"));
    }
    if chain.iter().any(|c| c.len() > MAX_CERTIFICATE_LEN) {
        return Err(PkiError::Malformed("it is larger than 64 KiB"));
    }
    let leaf = Parsed::from_der(leaf_der)?;
    // A peer may send a certificate that nobody needs and that Adit can't read: it only is no help.
    let (intermediates, parsed): (Vec<CertificateDer<'_>>, Vec<Parsed>) = others
        .iter()
        .filter_map(|der| Parsed::from_der(der).ok().map(|p| (CertificateDer::from(der.as_slice()), p)))
        .unzip();
    check_same_subject(&parsed)?;
    let pinned = anchors.pinned(leaf_der);
    leaf.check_dates(now)?;
    let search = Search { leaf: &leaf, intermediates: &parsed, anchors, now, role };
    let (constrained, path) = match pinned {
        true => (false, vec![leaf_der.clone()]),
        false => search.path(leaf_der, &intermediates)?,
    };
    let key = leaf_key(&leaf)?;
    check_usage(&leaf, role, pinned)?;
    if let Some(name) = name {
        names::check(&leaf, name, role, constrained)?;
    }
    Ok(VerifiedKey { key, summary: leaf.summary(), path })
}

fn check_same_subject(certificates: &[Parsed]) -> Result<(), PkiError> {
    let crowded = certificates.iter().any(|c| {
        certificates.iter().filter(|other| other.subject() == c.subject()).count() > MAX_SAME_SUBJECT
    });
    if crowded { Err(PkiError::Malformed("the peer sent too many of one subject")) } else { Ok(()) }
}

fn leaf_key(leaf: &Parsed) -> Result<PublicKey, PkiError> {
    PublicKey::from_spki(&leaf.spki).map_err(|e| match e {
        PkiError::Scheme(what) => PkiError::Weak { subject: leaf.subject_text(), what },
        other => other,
    })
}

fn check_usage(leaf: &Parsed, role: Role, pinned: bool) -> Result<(), PkiError> {
    let signs = leaf
        .key_usage
        .is_none_or(|u| u.0.contains(KeyUsages::DigitalSignature) || u.0.contains(KeyUsages::NonRepudiation));
    if !signs {
        return Err(PkiError::Usage {
            subject: leaf.subject_text(),
            why: "its keyUsage has neither digitalSignature nor nonRepudiation".into(),
            hint: "have the certificate issued with keyUsage = digitalSignature",
        });
    }
    let allowed = match (&leaf.eku, role) {
        (None, Role::Server) => pinned,
        (None, Role::Client | Role::TlsClient) => true,
        (Some(eku), Role::Server) => eku.contains(&SERVER_AUTH),
        (Some(eku), Role::Client | Role::TlsClient) => {
            eku.iter().any(|oid| role.chain_purposes().0.contains(oid))
        }
    };
    if allowed { Ok(()) } else { Err(wrong_purpose(leaf.subject_text(), role)) }
}

/// The purposes of certificates that are made for IKE.
pub(crate) static IKE_PURPOSES: [ObjectIdentifier; 2] = [IPSEC_IKE, IKE_INTERMEDIATE];

/// Whether a server's certificate, or a client's, has the usages that its peers look for.
pub(crate) fn usable(leaf: &Parsed, server: bool) -> bool {
    check_usage(leaf, if server { Role::Server } else { Role::Client }, false).is_ok()
}

fn wrong_purpose(subject: String, role: Role) -> PkiError {
    let (why, hint) = match role {
        Role::Server => (
            "its extendedKeyUsage does not have serverAuth (1.3.6.1.5.5.7.3.1)",
            "have the server's certificate issued with extendedKeyUsage = serverAuth (strongSwan: pki --issue --flag \
             serverAuth; Windows reports this as error 13801)",
        ),
        Role::TlsClient => (
            "its extendedKeyUsage does not have clientAuth (1.3.6.1.5.5.7.3.2)",
            "have the client's certificate issued with extendedKeyUsage = clientAuth",
        ),
        Role::Client => (
            "its extendedKeyUsage has neither clientAuth (1.3.6.1.5.5.7.3.2) nor one of IKE's",
            "have the client's certificate issued with extendedKeyUsage = clientAuth",
        ),
    };
    PkiError::Usage { subject, why: why.into(), hint }
}

/// What is needed to find a path, and to say why there is none.
struct Search<'a> {
    leaf: &'a Parsed,
    intermediates: &'a [Parsed],
    anchors: &'a TrustAnchors,
    now: WallTime,
    role: Role,
}

impl Search<'_> {
    /// Finds a path: whether one of its authorities has name constraints, and the certificates, DER.
    fn path(
        &self,
        leaf: &[u8],
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(bool, Vec<Vec<u8>>), PkiError> {
        let end_entity_der = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&end_entity_der).map_err(|e| self.explain(&e))?;
        let authorities = self.anchors.authorities(self.now);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.now.0));
        let signers_only = |path: &webpki::VerifiedPath<'_>| {
            let denied = path
                .intermediate_certificates()
                .any(|c| !Parsed::from_der(&c.der()).is_ok_and(|p| p.may_sign_certificates()));
            if denied { Err(webpki::Error::EndEntityUsedAsCa) } else { Ok(()) }
        };
        let path = end_entity
            .verify_for_usage(
                &ALGORITHMS,
                &authorities,
                intermediates,
                time,
                self.role.chain_purposes(),
                None,
                Some(&signers_only),
            )
            .map_err(|e| self.explain(&e))?;
        let between = || path.intermediate_certificates().map(|c| c.der());
        let constrained = path.anchor().name_constraints.is_some()
            || between().any(|der| !Parsed::from_der(&der).is_ok_and(|p| !p.has_name_constraints));
        let authority = self.anchors.der_of(path.anchor());
        let certificates = core::iter::once(end_entity_der.to_vec())
            .chain(between().map(|der| der.to_vec()))
            .chain(authority.map(<[u8]>::to_vec));
        Ok((constrained, certificates.collect()))
    }

    fn explain(&self, error: &webpki::Error) -> PkiError {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } | E::CertNotValidYet { .. } => self.out_of_date(),
            E::UnknownIssuer => self.missing_issuer(),
            E::InvalidSignatureForPublicKey => self.bad_signature(),
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.weak_signature(),
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => {
                wrong_purpose(self.limited(), self.role)
            }
            E::CaUsedAsEndEntity => {
                self.chain("the certificate is a CA's, and not itself given with ca = \"...\"")
            }
            E::EndEntityUsedAsCa => self.chain("one of its issuers is not a CA"),
            E::PathLenConstraintViolated => self.chain("an authority's path length is exceeded"),
            E::NameConstraintViolation => self.chain("an authority's name constraints exclude a name in it"),
            E::UnsupportedCriticalExtension => {
                self.chain("it has a critical extension that Adit does not know")
            }
            E::MaximumPathDepthExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumSignatureChecksExceeded
            | E::MaximumNameConstraintComparisonsExceeded => self.chain("it is too long or too tangled"),
            E::InvalidCertValidity => PkiError::Malformed("its validity ends before it begins"),
            E::UnsupportedCertVersion => PkiError::Malformed("it is not of X.509 version 3"),
            _ => PkiError::Malformed("webpki does not accept its encoding"),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Parsed> {
        core::iter::once(self.leaf).chain(self.intermediates)
    }

    fn chain(&self, why: &'static str) -> PkiError {
        PkiError::Chain { subject: self.leaf.subject_text(), why }
    }

    fn out_of_date(&self) -> PkiError {
        self.all()
            .find_map(|c| c.check_dates(self.now).err())
            .unwrap_or(PkiError::Malformed("its dates are not what they seem"))
    }

    /// The certificate whose extendedKeyUsage stands in the way.
    fn limited(&self) -> String {
        let purposes = self.role.chain_purposes().0;
        self.all()
            .find(|c| c.eku.as_ref().is_some_and(|eku| !eku.iter().any(|oid| purposes.contains(oid))))
            .unwrap_or(self.leaf)
            .subject_text()
    }

    /// Follows the issuers as far as they go.
    fn missing_issuer(&self) -> PkiError {
        let mut last = self.leaf;
        for _ in 0..MAX_CHAIN_LEN {
            if let Some(anchor) = self.anchors.iter().find(|a| a.parsed.subject() == last.issuer()) {
                return match anchor.parsed.check_dates(self.now) {
                    Err(out_of_date) => out_of_date,
                    Ok(()) if anchor.is_authority => self.chain("no path to a trusted authority is complete"),
                    Ok(()) => self.chain("the issuer that was given with ca = \"...\" is not a CA"),
                };
            }
            match self
                .intermediates
                .iter()
                .find(|c| c.subject() == last.issuer() && c.subject() != last.subject())
            {
                Some(next) => last = next,
                None => break,
            }
        }
        PkiError::Untrusted { subject: last.subject_text(), issuer: last.issuer_text() }
    }

    fn bad_signature(&self) -> PkiError {
        let weak = self
            .anchors
            .iter()
            .map(|a| &a.parsed)
            .filter(|a| self.all().any(|c| c.issuer() == a.subject()))
            .chain(self.intermediates)
            .find_map(|c| match leaf_key(c) {
                Err(weak @ PkiError::Weak { .. }) => Some(weak),
                _ => None,
            });
        weak.unwrap_or_else(|| {
            let by_anchor =
                self.all().find(|c| self.anchors.iter().any(|a| a.parsed.subject() == c.issuer()));
            let suspect = by_anchor.unwrap_or(self.leaf);
            PkiError::Forged { subject: suspect.subject_text(), issuer: suspect.issuer_text() }
        })
    }

    fn weak_signature(&self) -> PkiError {
        let old = |oid: &ObjectIdentifier| match oid.to_string().as_str() {
            "1.2.840.113549.1.1.4" => Some("a signature with MD5"),
            "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.3.14.3.2.29" => Some("a signature with SHA-1"),
            _ => None,
        };
        let found = self.all().find_map(|c| old(&c.signature_algorithm()).map(|what| (c, what)));
        let (certificate, what) =
            found.unwrap_or((self.leaf, "a signature algorithm that Adit does not know"));
        PkiError::Weak { subject: certificate.subject_text(), what }
    }
}

/// The purposes of which one must be in every extendedKeyUsage of a path, where there is one.
#[derive(Clone, Copy)]
struct Purposes(&'static [ObjectIdentifier]);

impl ExtendedKeyUsageValidator for Purposes {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for id in iter {
            let id = id?;
            if self.0.iter().any(|oid| KeyPurposeId::new(oid.as_bytes()) == id) {
                return Ok(());
            }
            present.push(id.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = webpki::KeyUsage::server_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
            required,
            present,
        }))
    }
}
