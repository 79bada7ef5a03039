//! What a connection proves itself with, and whom it believes: read, or asked for, before the first packet.

use std::sync::Arc;

use adit_core::Failure;
use adit_pki::TrustAnchors;
use adit_profile::{AuthMethod, ServerName};

use super::{Attempt, internal};
use crate::client::eap::Talk;
use crate::credentials::{OwnCertificate, anchors};
use crate::eap_tls::EapTls;

type Trusted = Option<Arc<TrustAnchors>>;

impl Attempt {
    /// Our certificate, and the authorities of the server's.
    pub(super) async fn credentials(&self) -> Result<(Option<OwnCertificate>, Trusted), Failure> {
        let trusted = self.trusted()?;
        let own = match self.profile.auth {
            AuthMethod::Psk => None,
            AuthMethod::Certificate | AuthMethod::Eap => {
                self.passwords.own_certificate(trusted.as_deref()).await?
            }
        };
        Ok((own, trusted))
    }

    /// What is missing is told now, and not with the first packet that wants the tunnel. Where nobody waits for it, nobody is
    /// asked for anything.
    pub(super) async fn check_credentials(&self, somebody_waits: bool) -> Result<(), Failure> {
        match somebody_waits || !self.passwords.certificate_wants_somebody() {
            true => self.credentials().await.map(drop),
            false => self.trusted().map(drop),
        }
    }

    /// The authorities of the server's certificate. A missing or exposed key is told before the first packet, too.
    fn trusted(&self) -> Result<Trusted, Failure> {
        let files = self.daemon.files();
        if let Some(psk) = &self.profile.psk {
            files.psk(psk)?;
        }
        if let Some((ppk, _)) = &self.profile.ppk {
            files.key_of(&ppk.file)?;
        }
        match self.profile.remote_auth {
            AuthMethod::Certificate => Ok(Some(Arc::new(anchors(files, &self.profile.ca)?))),
            AuthMethod::Psk | AuthMethod::Eap => Ok(None),
        }
    }

    /// The EAP conversation of one IKE_SA, if the profile has one.
    pub(super) fn talk(
        &self,
        gateway: &ServerName,
        own: Option<&OwnCertificate>,
        anchors: Option<&Arc<TrustAnchors>>,
    ) -> Result<Option<Talk>, Failure> {
        if self.profile.auth != AuthMethod::Eap {
            return Ok(None);
        }
        let anchors = anchors.ok_or_else(|| internal("the server's authorities are missing"))?;
        let tls = EapTls::of_profile(&self.profile, gateway, anchors, own)?;
        let identity = own.map(OwnCertificate::identity).transpose()?;
        Talk::new(&self.passwords, tls, identity.as_ref(), self.login.clone()).map(Some)
    }
}
