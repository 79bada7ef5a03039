//! What a profile proves itself by.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_pki::TrustAnchors;
use adit_profile::{EapType, PppAuth, Profile, ServerName, TunnelKind};

use crate::client::Passwords;
use crate::credentials::{OwnCertificate, PeerIs, anchors};
use crate::eap_tls::EapTls;
use crate::files::Files;
use crate::l2tp::Certificates;

/// What a profile proves itself by.
pub(super) struct Proof {
    /// Who we are.
    pub(super) name: String,
    own: Option<OwnCertificate>,
    /// Whom the server's certificate may be of, where it has to show one.
    anchors: Option<Arc<TrustAnchors>>,
    /// Whether a method runs TLS.
    eap_tls: bool,
    pub(super) by_password: bool,
}

impl Proof {
    pub(super) async fn read(
        files: &Files,
        profile: &Profile,
        passwords: &Passwords,
    ) -> Result<Self, Failure> {
        let auth = profile.ppp.as_ref().map(|ppp| ppp.auth.as_slice()).unwrap_or_default();
        let methods = if auth.contains(&PppAuth::Eap) { &*profile.eap.methods } else { &[] };
        let eap_tls = methods.iter().any(|m| m.runs_tls());
        let anchors = match eap_tls || profile.kind == TunnelKind::Sstp || of_ipsec(profile) {
            true => Some(Arc::new(anchors(files, &profile.ca)?)),
            false => None,
        };
        let own = passwords.own_certificate(anchors.as_deref()).await?;
        let name = match (&profile.user, &own) {
            (Some(user), _) => user.clone(),
            (None, Some(own)) => own.identity()?.to_string(),
            (None, None) => String::new(),
        };
        // Who has a certificate is asked for a password only if the server wants none of it.
        Ok(Self { name, own, anchors, eap_tls, by_password: !methods.contains(&EapType::Tls) })
    }

    /// The engine of one link.
    pub(super) fn tls(&self, profile: &Profile, gateway: &ServerName) -> Result<Option<EapTls>, Failure> {
        let engine = |anchors| EapTls::of_profile(profile, gateway, anchors, self.own.as_ref());
        self.anchors.as_ref().filter(|_| self.eap_tls).map(engine).transpose()
    }

    /// What proves both ends of the IPsec around L2TP, where certificates do.
    pub(super) fn of_ipsec(&self, profile: &Profile) -> Result<Option<Certificates>, Failure> {
        if !of_ipsec(profile) {
            return Ok(None);
        }
        let none = || Failure::new(FailureCode::Internal, Step::IkeInit, "there is no certificate");
        let trusted = (Arc::clone(self.anchors()?), profile.revocation);
        Certificates::new(self.own.as_ref().ok_or_else(none)?, trusted, PeerIs::Server).map(Some)
    }

    pub(super) fn anchors(&self) -> Result<&Arc<TrustAnchors>, Failure> {
        let none = || Failure::new(FailureCode::Internal, Step::Call, "there are no authorities");
        self.anchors.as_ref().ok_or_else(none)
    }
}

/// What proves both ends of the IPsec around L2TP once more, in the next process. Nobody is asked for anything.
///
/// # Errors
/// It can't be read.
pub(super) async fn of_ipsec_again(
    files: &Files,
    profile: &Profile,
) -> Result<Option<Certificates>, Failure> {
    if !of_ipsec(profile) {
        return Ok(None);
    }
    let anchors = Arc::new(anchors(files, &profile.ca)?);
    let password = profile.key_password.as_ref();
    let own = OwnCertificate::load(files, &profile.certificate, &profile.keys, password, None).await?;
    let own = own.sorted(profile.local_id.as_ref(), PeerIs::Server, std::iter::once(&*anchors));
    Certificates::new(&own, (Arc::clone(&anchors), profile.revocation), PeerIs::Server).map(Some)
}

/// Whether certificates prove both ends of the IPsec around L2TP.
fn of_ipsec(profile: &Profile) -> bool {
    profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref()).is_some_and(|rule| rule.certificate)
}
