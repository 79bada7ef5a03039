//! What proves who we are and who the peer is: certificates and keys from files, made ready for use.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Identity, KeyKind, Secret, SignatureScheme, Step};
use adit_ikev2::api::{Answer, LocalAuth, SignatureEncoding};
use adit_pki::{
    EcdsaEncoding, FileSigner, Pkcs12, PkiError, Question, Signer, Strictness, TrustAnchors, identities,
    read_certificates,
};
use adit_profile::{CertSource, FileRef, KeySource, Profile, Revocation};
use ring::rand::SystemRandom;

use crate::clock;
use crate::files::Files;
use crate::ike::Pending;

/// Our certificate, those between it and its authority, and its key.
#[derive(Clone)]
pub struct OwnCertificate {
    chain: Vec<Vec<u8>>,
    signer: Arc<dyn Signer>,
}

impl OwnCertificate {
    /// Reads and checks them: the key must be the certificate's.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that does not fit.
    pub fn load(
        files: &Files,
        certificate: &[CertSource],
        key: &KeySource,
        password: Option<&FileRef>,
    ) -> Result<Self, Failure> {
        let content = files.key(key)?;
        let password = password.map(|file| files.key_password(file)).transpose()?;
        let random = SystemRandom::new();
        if Pkcs12::is(content.expose()) {
            let password = password.unwrap_or_else(|| Secret::new(Vec::new()));
            let (mut chain, signer) = Pkcs12::open(&content, &password)?.into_signer(&random)?;
            if !certificate.is_empty() {
                // Those that the file lacks.
                chain.extend(read_certificates(&files.certificates(certificate)?)?);
            }
            return Ok(Self { signer: Arc::new(signer), chain });
        }
        let chain = read_certificates(&files.certificates(certificate)?)?;
        let Some(leaf) = chain.first() else {
            return Err(no_certificate());
        };
        let signer = FileSigner::with_password(content, password.as_ref(), leaf, &random)?;
        Ok(Self { signer: Arc::new(signer), chain })
    }

    /// What a profile names, if it names one.
    ///
    /// # Errors
    /// As [`OwnCertificate::load`].
    pub fn of_profile(files: &Files, profile: &Profile) -> Result<Option<Self>, Failure> {
        let load = |key| Self::load(files, &profile.certificate, key, profile.key_password.as_ref());
        profile.key.as_ref().map(load).transpose()
    }

    /// The same for TLS.
    #[must_use]
    pub(crate) fn for_tls(&self) -> adit_tls::OwnCertificate {
        adit_tls::OwnCertificate { chain: self.chain.clone(), signer: Arc::clone(&self.signer) }
    }

    /// How an IKE_SA proves itself with it.
    #[must_use]
    pub fn local_auth(&self) -> LocalAuth {
        LocalAuth::Signature { certificates: self.chain.clone(), schemes: self.signer.schemes() }
    }

    /// The identity that the certificate itself gives: its first alternative name, else its subject.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn identity(&self) -> Result<Identity, Failure> {
        let leaf = self.chain.first().ok_or_else(no_certificate)?;
        identities(leaf)?.into_iter().next().ok_or_else(no_certificate)
    }

    /// Answers [`adit_ikev2::api::Ask::Sign`]: a private key's work goes to the blocking pool.
    #[must_use]
    pub fn sign(
        &self,
        schemes: Vec<SignatureScheme>,
        encoding: SignatureEncoding,
        message: Secret,
    ) -> Pending {
        let signer = Arc::clone(&self.signer);
        Pending::Later(Box::pin(async move {
            let work = move || {
                let can = signer.schemes();
                let scheme = schemes.into_iter().find(|s| can.contains(s)).ok_or_else(no_scheme)?;
                let signature =
                    signer.sign(scheme, message.expose(), ecdsa(encoding), &SystemRandom::new())?;
                Ok((scheme, signature))
            };
            Answer::Signed(tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(died())))
        }))
    }
}

/// What a signature of the peer has to satisfy.
pub struct PeerSignature {
    /// Whom it has to be of.
    pub identity: Identity,
    /// The peer's certificates, its own first.
    pub certificates: Vec<Vec<u8>>,
    /// How it signed.
    pub scheme: SignatureScheme,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// What it signed.
    pub message: Secret,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Which end the peer is: its certificate has to say that it may be that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerIs {
    /// The server that we dialled.
    Server,
    /// A client that dialled us.
    Client,
}

/// Answers [`adit_ikev2::api::Ask::Verify`]: chain, name, purpose, dates and signature, on the blocking pool; then, of
/// whoever has proven itself so, whether its certificates have been revoked.
#[must_use]
pub fn verify(
    anchors: Arc<TrustAnchors>,
    revocation: Revocation,
    peer: PeerIs,
    claim: PeerSignature,
) -> Pending {
    Pending::Later(Box::pin(async move {
        let work = move || check(&anchors, peer, &claim).map_err(Failure::from);
        let checked = tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(died()));
        Answer::Verified(match checked {
            Ok(questions) => crate::revocation::check(questions, strictness(revocation)).await,
            Err(failure) => Err(failure),
        })
    }))
}

pub(crate) const fn strictness(revocation: Revocation) -> Strictness {
    match revocation {
        Revocation::Off => Strictness::Off,
        Revocation::Soft => Strictness::Soft,
        Revocation::Strict => Strictness::Strict,
    }
}

fn check(anchors: &TrustAnchors, peer: PeerIs, claim: &PeerSignature) -> Result<Vec<Question>, PkiError> {
    let (chain, now) = (&claim.certificates, clock::wall());
    let key = match peer {
        PeerIs::Server => adit_pki::verify_server(chain, anchors, &claim.identity, now)?,
        PeerIs::Client => adit_pki::verify_client(chain, anchors, &claim.identity, now)?,
    };
    let scheme = of_key(claim.scheme, claim.encoding, key.kind());
    key.verify(scheme, claim.message.expose(), &claim.signature, ecdsa(claim.encoding))?;
    key.questions()
}

/// The scheme that was meant: an ECDSA AlgorithmIdentifier names the hash only (RFC 7427 appendix A.3), and the curve
/// is the key's. RFC 4754's methods name both.
fn of_key(named: SignatureScheme, encoding: SignatureEncoding, key: KeyKind) -> SignatureScheme {
    use SignatureScheme as S;
    match (named, encoding, key) {
        (S::EcdsaP256Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP384) => S::EcdsaP384Sha256,
        (S::EcdsaP384Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP256) => S::EcdsaP256Sha256,
        (S::EcdsaP256Sha384, SignatureEncoding::Asn1, KeyKind::EcdsaP384) => S::EcdsaP384Sha384,
        (S::EcdsaP384Sha384, SignatureEncoding::Asn1, KeyKind::EcdsaP256) => S::EcdsaP256Sha384,
        (named, _, _) => named,
    }
}

/// The authorities of a profile, or the system's where it names none.
///
/// # Errors
/// A file that cannot be read, or a certificate that cannot be used.
pub fn anchors(files: &Files, sources: &[CertSource]) -> Result<TrustAnchors, Failure> {
    if !sources.is_empty() {
        return Ok(TrustAnchors::from_content(&files.certificates(sources)?)?);
    }
    let system = rustls_native_certs::load_native_certs();
    let mut anchors = TrustAnchors::new();
    for certificate in &system.certs {
        // One authority of a hundred that uses an algorithm we lack is no reason to trust none.
        if let Err(e) = anchors.add_der(certificate) {
            tracing::debug!(error = %e, "an authority of the system's trust store was left out");
        }
    }
    if anchors.is_empty() {
        let text = "the system's trust store is empty, and the profile names no authority";
        let hint = "install ca-certificates, or add  ca = [\"your-ca.pem\"]  to the profile";
        return Err(Failure::new(FailureCode::CertificateUntrusted, Step::Profile, text).hint(hint));
    }
    Ok(anchors)
}

fn ecdsa(encoding: SignatureEncoding) -> EcdsaEncoding {
    match encoding {
        SignatureEncoding::Asn1 => EcdsaEncoding::Der,
        SignatureEncoding::Fixed => EcdsaEncoding::Fixed,
    }
}

fn no_certificate() -> Failure {
    let text = "there is no certificate in the file that the configuration names";
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
        .hint("it holds PEM, -----BEGIN CERTIFICATE-----")
}

fn no_scheme() -> Failure {
    let text = "the peer accepts no signature that our key can make";
    Failure::new(FailureCode::ProposalMismatch, Step::Authenticate, text)
        .hint("use an RSA, P-256 or P-384 key, or a peer with RFC 7427 signatures")
}

fn died() -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, "the check of a signature did not finish")
}

#[cfg(test)]
mod tests {
    use SignatureScheme as S;

    use super::*;

    #[test]
    fn the_curve_is_the_certificates() {
        let asn1 = |named, key| of_key(named, SignatureEncoding::Asn1, key);
        assert_eq!(asn1(S::EcdsaP256Sha384, KeyKind::EcdsaP384), S::EcdsaP384Sha384);
        assert_eq!(asn1(S::EcdsaP256Sha256, KeyKind::EcdsaP384), S::EcdsaP384Sha256);
        assert_eq!(asn1(S::EcdsaP384Sha384, KeyKind::EcdsaP256), S::EcdsaP256Sha384);
        assert_eq!(asn1(S::EcdsaP384Sha256, KeyKind::EcdsaP256), S::EcdsaP256Sha256);
        assert_eq!(asn1(S::EcdsaP256Sha256, KeyKind::EcdsaP256), S::EcdsaP256Sha256);
    }

    #[test]
    fn nothing_else_is_read_into_a_scheme() {
        let fixed = of_key(S::EcdsaP256Sha256, SignatureEncoding::Fixed, KeyKind::EcdsaP384);
        assert_eq!(fixed, S::EcdsaP256Sha256);
        let rsa = of_key(S::RsaPkcs1Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP256);
        assert_eq!(rsa, S::RsaPkcs1Sha256);
    }
}
