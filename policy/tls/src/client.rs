//! The client's side: who the server must be.

use std::sync::{Arc, Mutex, PoisonError};

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

pub(crate) fn config(ours: &ClientConfig) -> Result<(rustls::ClientConfig, Arc<Verifier>), Failure> {
    let provider = Arc::new(ring::default_provider());
    let verdict = Arc::new(Verdict::default());
    let verifier = Arc::new(Verifier {
        anchors: Mutex::new(Arc::clone(&ours.anchors)),
        name: ours.name.clone(),
        provider: Arc::clone(&provider),
        verdict: Arc::clone(&verdict),
    });
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ours.versions.list())
        .map_err(|e| internal(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
    let mut config = match &ours.own {
        Some(own) => builder.with_client_cert_resolver(own::resolver(own, &verdict)?),
        None => builder.with_no_client_auth(),
    };
    // Who takes a session up again looks at its certificates again (`Returning`): else whoever was revoked since would pass.
    config.resumption = Resumption::disabled();
    config.enable_sni = ours.says_name;
    Ok((config, verifier))
}

/// What server_name says.
pub(crate) fn server_name(name: &Identity) -> ServerName<'static> {
    match name {
        Identity::Fqdn(host) => ServerName::try_from(host.clone()).unwrap_or_else(|_| nobody()),
        Identity::Address(address) => ServerName::IpAddress((*address).into()),
        _ => nobody(),
    }
}

/// Who the server must be.
#[derive(Debug)]
pub(crate) struct Verifier {
    anchors: Mutex<Arc<TrustAnchors>>,
    name: Identity,
    provider: Arc<CryptoProvider>,
    verdict: Arc<Verdict>,
}

impl Verifier {
    pub(crate) const fn name(&self) -> &Identity {
        &self.name
    }

    pub(crate) const fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// Another session, and who authorities are now.
    pub(crate) fn begin(&self, anchors: &Arc<TrustAnchors>) {
        self.verdict.clear();
        *self.anchors.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(anchors);
    }

    /// Looks at a server's certificates, its own first.
    pub(crate) fn look(&self, chain: &[Vec<u8>], now: WallTime) -> Result<(), Error> {
        let anchors = Arc::clone(&self.anchors.lock().unwrap_or_else(PoisonError::into_inner));
        match verify_server(chain, &anchors, &self.name, now) {
            Ok(key) => self.verdict.accept(&key),
            Err(error) => Err(self.verdict.refuse(error)),
        }
    }
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
        self.look(&chain(end_entity, intermediates), WallTime(now.as_secs()))?;
        Ok(ServerCertVerified::assertion())
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
