//! The TLS engine of one EAP conversation: what `adit-auth` asks, `adit-tls` does; and then whether the other side's
//! certificates have been revoked (RFC 9190 §5.4).

use std::sync::Arc;

use adit_auth::eap::{TlsAnswer, TlsAsk};
use adit_core::{Failure, FailureCode, Step};
use adit_pki::TrustAnchors;
use adit_profile::{Profile, Revocation, ServerName};
use adit_tls::{ClientConfig, Engine, ServerConfig, Versions, eap};

use crate::credentials::{OwnCertificate, strictness};
use crate::revocation;

/// An engine, and what is asked about its other side.
pub(crate) struct EapTls {
    /// Away while it works.
    engine: Option<Engine>,
    revocation: Revocation,
    /// Whether the certificates have been asked about.
    asked: bool,
}

impl EapTls {
    /// The peer's: the server must be `eap-server`, or the gateway itself.
    ///
    /// # Errors
    /// Our own certificate is unusable.
    pub(crate) fn of_profile(
        profile: &Profile,
        gateway: &ServerName,
        anchors: &Arc<TrustAnchors>,
        own: Option<&OwnCertificate>,
    ) -> Result<Self, Failure> {
        let name = profile.eap.server.clone().unwrap_or_else(|| profile.identity_of(gateway));
        let (anchors, own) = (Arc::clone(anchors), own.map(OwnCertificate::for_tls));
        let config = ClientConfig { anchors, name, says_name: false, own, versions: Versions::Both };
        Ok(Self { engine: Some(Engine::client(&config)?), revocation: profile.revocation, asked: false })
    }

    /// The authenticator's: with `clients`, peers must have a certificate of one of them.
    ///
    /// # Errors
    /// Our own certificate is unusable.
    pub(crate) fn authenticator(
        own: &OwnCertificate,
        clients: Option<Arc<TrustAnchors>>,
        revocation: Revocation,
    ) -> Result<Self, Failure> {
        let config = ServerConfig { own: own.for_tls(), clients, versions: Versions::Both };
        Ok(Self { engine: Some(Engine::server(&config)?), revocation, asked: false })
    }

    /// What the other side has shown, the end entity's first.
    pub(crate) fn certificates_of_the_peer(&self) -> Vec<Vec<u8>> {
        let tunnel = self.engine.as_ref().and_then(Engine::tunnel);
        tunnel.map(|tunnel| tunnel.certificates).unwrap_or_default()
    }

    /// Does what is asked: public-key work goes to the blocking pool, and a question to others waits for its answer.
    pub(crate) async fn answer(&mut self, ask: TlsAsk) -> TlsAnswer {
        let Some(mut engine) = self.engine.take() else { return failed(broken()) };
        let work = move || {
            let answer = eap::answer(&mut engine, ask);
            (engine, answer)
        };
        let Ok((engine, answer)) = tokio::task::spawn_blocking(work).await else { return failed(broken()) };
        let questions = match answer.tunnel.is_some() && !self.asked {
            true => engine.questions(),
            false => Vec::new(),
        };
        self.asked |= answer.tunnel.is_some();
        self.engine = Some(engine);
        match revocation::check(questions, strictness(self.revocation)).await {
            Ok(()) => answer,
            Err(why) => failed(why),
        }
    }
}

/// TLS is over, because of us.
pub(crate) fn failed(why: Failure) -> TlsAnswer {
    TlsAnswer { failure: Some(why), ..TlsAnswer::default() }
}

fn broken() -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, "the TLS engine broke off")
}
