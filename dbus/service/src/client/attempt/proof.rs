//! What a connection proves itself with, and whom it believes: read, or asked for, before the first packet.

use std::sync::Arc;

use adit_core::{Failure, Step};
use adit_pki::TrustAnchors;
use adit_profile::{AuthMethod, KeySource, ServerName, TokenKey};

use super::{Attempt, internal};
use crate::client::eap::Talk;
use crate::credentials::{OwnCertificate, PeerIs, anchors};
use crate::eap_tls::EapTls;
use crate::registry::Wanted;
use crate::token::{Pin, Refused, Token};

type Trusted = Option<Arc<TrustAnchors>>;

impl Attempt {
    /// Our certificate, and the authorities of the server's.
    pub(super) async fn credentials(&self) -> Result<(Option<OwnCertificate>, Trusted), Failure> {
        let files = self.daemon.files();
        let trusted = match self.profile.remote_auth {
            AuthMethod::Certificate => Some(Arc::new(anchors(files, &self.profile.ca)?)),
            AuthMethod::Psk | AuthMethod::Eap => None,
        };
        let own = match (self.profile.auth, self.profile.keys.as_slice()) {
            (AuthMethod::Psk, _) | (_, []) => None,
            (_, [KeySource::Token(key)]) => Some(self.in_token(key).await?),
            (_, keys) => {
                let password = self.profile.key_password.as_ref();
                let all = OwnCertificate::load(files, &self.profile.certificate, keys, password)?;
                let known = trusted.iter().map(AsRef::as_ref);
                Some(all.sorted(self.profile.local_id.as_ref(), PeerIs::Server, known))
            }
        };
        if let Some(psk) = &self.profile.psk {
            // A missing or exposed key is told before the first packet.
            files.psk(psk)?;
        }
        if let Some((ppk, _)) = &self.profile.ppk {
            files.key_of(&ppk.file)?;
        }
        Ok((own, trusted))
    }

    /// A certificate whose key is in a token. The PIN is asked for once: the token stays open as long as the connection
    /// lives.
    async fn in_token(&self, key: &TokenKey) -> Result<OwnCertificate, Failure> {
        let mut reason = String::new();
        while self.passwords.token().is_none() {
            let (folder, wanted) = (self.daemon.files().modules(), key.clone());
            let token = blocking(move || Token::find(&folder, &wanted)).await??;
            let pin = match &self.profile.key_password {
                Some(file) => Pin::File(self.daemon.files().key_password(file)?),
                None if token.wants_pin() => Pin::Typed(self.ask_for_pin(token.label(), &reason).await?),
                None => Pin::None,
            };
            let typed = matches!(pin, Pin::Typed(_));
            let (files, profile, wanted) =
                (self.daemon.files().clone(), Arc::clone(&self.profile), key.clone());
            let open = move || OwnCertificate::of_token(&files, &profile.certificate, token, &wanted, &pin);
            match blocking(open).await? {
                Ok(own) => self.passwords.keep_token(own),
                Err(Refused::Pin(why)) if typed => reason = why.text,
                Err(Refused::Pin(why) | Refused::Other(why)) => return Err(why),
            }
        }
        self.passwords.token().ok_or_else(|| internal("the token is gone"))
    }

    async fn ask_for_pin(&self, label: &str, reason: &str) -> Result<adit_core::Secret, Failure> {
        let wanted = Wanted {
            field: "pin".into(),
            prompt: format!("PIN of the token {label}"),
            reason: reason.to_owned(),
        };
        self.progress(Step::Profile, "waiting for the token's PIN");
        self.passwords.asker.ask(wanted).await
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
        Talk::new(&self.passwords, tls, identity.as_ref()).map(Some)
    }
}

/// Modules of tokens block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| internal("the token's module broke off"))
}
