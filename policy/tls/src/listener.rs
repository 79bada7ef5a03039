//! A server of many sessions: a certificate for each host that it is, and tickets by which those who were here come back faster.

use std::sync::Arc;

use adit_core::Failure;
use adit_pki::is_for_host;
use rustls::ServerConnection;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{OwnCertificate, ServerConfig, Versions};
use crate::engine::Engine;
use crate::explain::{Verdict, internal};
use crate::{own, server};

/// What the sessions of a server have in common. Clients are not asked for a certificate.
///
/// The keys of its tickets are here and nowhere else: with it, all of them are worth nothing any more. They change by themselves.
pub struct Listener {
    base: rustls::ServerConfig,
    certificates: Arc<[OwnCertificate]>,
}

impl Listener {
    /// With these certificates. The first one is for who names no host, or one that none of them is for.
    ///
    /// # Errors
    /// One of them is unusable, or there is none.
    pub fn new(certificates: Vec<OwnCertificate>) -> Result<Self, Failure> {
        let verdict = Arc::new(Verdict::default());
        for one in &certificates {
            own::certified(one, &verdict)?;
        }
        let first = certificates.first().cloned();
        let own = first.ok_or_else(|| internal(&"a server without a certificate"))?;
        let config = ServerConfig { own, clients: None, versions: Versions::Both };
        let mut base = server::config(&config, &verdict)?;
        base.ticketer = Ticketer::new().map_err(|e| internal(&e))?;
        base.send_tls13_tickets = 1;
        Ok(Self { base, certificates: certificates.into() })
    }

    /// The engine of one session.
    ///
    /// # Errors
    /// None that is known.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let verdict = Arc::new(Verdict::default());
        let mut config = self.base.clone();
        config.cert_resolver =
            Arc::new(ByHost { certificates: Arc::clone(&self.certificates), verdict: Arc::clone(&verdict) });
        let connection = ServerConnection::new(Arc::new(config)).map_err(|e| internal(&e))?;
        Ok(Engine::new(connection.into(), verdict))
    }

    /// The certificate, DER, of a session whose handshake is complete: also of one that was taken up again, for which none was
    /// sent.
    #[must_use]
    pub fn shown(&self, engine: &Engine) -> &[u8] {
        choose(&self.certificates, engine.host()).and_then(|own| own.chain.first()).map_or(&[], Vec::as_slice)
    }
}

struct ByHost {
    certificates: Arc<[OwnCertificate]>,
    verdict: Arc<Verdict>,
}

impl core::fmt::Debug for ByHost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ByHost")
    }
}

impl ResolvesServerCert for ByHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = choose(&self.certificates, hello.server_name())?;
        own::certified(own, &self.verdict).ok().map(Arc::new)
    }
}

fn choose<'a>(certificates: &'a [OwnCertificate], host: Option<&str>) -> Option<&'a OwnCertificate> {
    let is_for = |own: &&OwnCertificate, host| own.chain.first().is_some_and(|der| is_for_host(der, host));
    let named = host.and_then(|host| certificates.iter().find(|own| is_for(own, host)));
    named.or(certificates.first())
}
