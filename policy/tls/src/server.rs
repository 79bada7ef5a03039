//! The server's side: who a client must be.

use std::sync::Arc;

use adit_core::{Failure, WallTime};
use adit_pki::{TrustAnchors, verify_tls_client};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::client::chain;
use crate::config::ServerConfig;
use crate::explain::{Verdict, internal};
use crate::own;

pub(crate) fn config(ours: &ServerConfig, verdict: &Arc<Verdict>) -> Result<rustls::ServerConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match &ours.clients {
        Some(anchors) => Arc::new(Verifier {
            subjects: anchors.subjects().into_iter().map(DistinguishedName::from).collect(),
            anchors: Arc::clone(anchors),
            provider: Arc::clone(&provider),
            verdict: Arc::clone(verdict),
        }),
        None => Arc::new(NoClientAuth),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(ours.versions.list())
        .map_err(|e| internal(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own::resolver(&ours.own, verdict)?);
    // A session that is taken up again would skip the certificates, and with them whoever was revoked since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[derive(Debug)]
struct Verifier {
    anchors: Arc<TrustAnchors>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    verdict: Arc<Verdict>,
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = chain(end_entity, intermediates);
        match verify_tls_client(&chain, &self.anchors, WallTime(now.as_secs())) {
            Ok(key) => self.verdict.accept(&key).map(|()| ClientCertVerified::assertion()),
            Err(error) => Err(self.verdict.refuse(error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
