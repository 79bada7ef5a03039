//! What a server shows, and whom it believes: read again whenever the daemon reads its files again, under standing sessions.

use std::sync::{Arc, PoisonError, RwLock};

use adit_core::Failure;
use adit_pki::TrustAnchors;
use adit_profile::{PppServer, TunnelKind};
use adit_tls::Listener;

use crate::credentials::{OwnCertificate, PeerIs, anchors};
use crate::daemon::Daemon;

/// As they were read last.
#[derive(Clone)]
pub(super) struct Certificates {
    /// This end's certificate, where it needs one.
    pub(super) own: Option<OwnCertificate>,
    /// What TLS outside needs, where this end ends it: their certificate for each host, and the keys of tickets.
    pub(super) listener: Option<Arc<Listener>>,
    /// The authorities of clients', where they show one.
    pub(super) anchors: Option<Arc<TrustAnchors>>,
}

impl Certificates {
    /// Reads them.
    ///
    /// # Errors
    /// A file is missing, exposed or unreadable, or the key is another certificate's.
    pub(super) async fn read(config: &PppServer, daemon: &Daemon) -> Result<Self, Failure> {
        let (eap, mut listener) = (&config.eap, None);
        let own = match eap.keys.is_empty() {
            true => None,
            false => {
                let password = eap.key_password.as_ref();
                let all =
                    OwnCertificate::load(daemon.files(), &eap.certificate, &eap.keys, password, None).await?;
                if config.kind == TunnelKind::Sstp {
                    listener = Some(Arc::new(Listener::new(all.for_hosts())?));
                }
                Some(all.sorted(None, PeerIs::Client, std::iter::empty()))
            }
        };
        let anchors = match eap.ca.is_empty() {
            true => None,
            false => Some(Arc::new(anchors(daemon.files(), &eap.ca)?)),
        };
        Ok(Self { own, listener, anchors })
    }
}

/// Those that hold for whoever comes next.
pub(super) struct Current(RwLock<Certificates>);

impl Current {
    pub(super) const fn new(certificates: Certificates) -> Self {
        Self(RwLock::new(certificates))
    }

    pub(super) fn get(&self) -> Certificates {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, certificates: Certificates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificates;
    }
}
