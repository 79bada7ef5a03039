//! What a server shows, and whom it believes: read again whenever the daemon reads its files again, under standing sessions.

use std::sync::{Arc, PoisonError, RwLock};

use adit_core::Failure;
use adit_pki::TrustAnchors;
use adit_profile::PppEap;

use crate::credentials::{OwnCertificate, PeerIs, anchors};
use crate::daemon::Daemon;

/// As they were read last.
#[derive(Clone)]
pub(super) struct Certificates {
    /// This end's certificate, where it needs one.
    pub(super) own: Option<OwnCertificate>,
    /// The authorities of clients', where they show one.
    pub(super) anchors: Option<Arc<TrustAnchors>>,
}

impl Certificates {
    /// Reads them.
    ///
    /// # Errors
    /// A file is missing, exposed or unreadable, or the key is another certificate's.
    pub(super) async fn read(eap: &PppEap, daemon: &Daemon) -> Result<Self, Failure> {
        let own = match eap.keys.is_empty() {
            true => None,
            false => {
                let password = eap.key_password.as_ref();
                let all =
                    OwnCertificate::load(daemon.files(), &eap.certificate, &eap.keys, password, None).await?;
                Some(all.sorted(None, PeerIs::Client, std::iter::empty()))
            }
        };
        let anchors = match eap.ca.is_empty() {
            true => None,
            false => Some(Arc::new(anchors(daemon.files(), &eap.ca)?)),
        };
        Ok(Self { own, anchors })
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
