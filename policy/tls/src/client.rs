//! The client's side: who the server must be.

use std::sync::Arc;

use adit_core::{Failure, Identity, WallTime};
use adit_pki::{TrustAnchors, verify_server};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::ClientConfig;
use crate::engine::nobody;
use crate::explain::{Verdict, internal};
use crate::own;

pub(crate) fn config(ours: &ClientConfig, verdict: &Arc<Verdict>) -> Result<rustls::ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        anchors: Arc::clone(&ours.anchors),
        name: ours.name.clone(),
        provider: Arc::clone(&provider),
        verdict: Arc::clone(verdict),
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ours.versions.list())
        .map_err(|e| internal(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &ours.own {
        Some(own) => builder.with_client_cert_resolver(own::resolver(own, verdict)?),
        None => builder.with_no_client_auth(),
    };
    // A session that is taken up again would skip the certificates, and with them whoever was revoked since.
    config.resumption = Resumption::disabled();
    config.enable_sni = ours.says_name;
    Ok(config)
}

/// What server_name says.
pub(crate) fn server_name(name: &Identity) -> ServerName<'static> {
    match name {
        Identity::Fqdn(host) => ServerName::try_from(host.clone()).unwrap_or_else(|_| nobody()),
        Identity::Address(address) => ServerName::IpAddress((*address).into()),
        _ => nobody(),
    }
}

#[derive(Debug)]
struct Verifier {
    anchors: Arc<TrustAnchors>,
    name: Identity,
    provider: Arc<CryptoProvider>,
    verdict: Arc<Verdict>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = chain(end_entity, intermediates);
        match verify_server(&chain, &self.anchors, &self.name, WallTime(now.as_secs())) {
            Ok(key) => self.verdict.accept(&key).map(|()| ServerCertVerified::assertion()),
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

pub(crate) fn chain(first: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    core::iter::once(first).chain(rest).map(|c| c.to_vec()).collect()
}
