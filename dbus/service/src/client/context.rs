//! Answers the core's questions for one dialled connection.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Answer, Ask, Event, Restored, SaId};
use adit_pki::TrustAnchors;
use adit_profile::Profile;
use tokio::sync::mpsc;

use super::adopt::Stands;
use super::eap::Talk;
use super::install::Installation;
use super::login::LogIn;
use crate::credentials::{OwnCertificate, PeerIs, PeerSignature, verify};
use crate::files::Files;
use crate::ike::{Pending, SaContext};

/// What one dialled IKE_SA needs to be answered.
pub(crate) struct ClientContext {
    pub(super) profile: Arc<Profile>,
    pub(super) files: Files,
    pub(super) own: Option<OwnCertificate>,
    pub(super) anchors: Option<Arc<TrustAnchors>>,
    pub(super) installation: Arc<Installation>,
    pub(super) eap: Option<Arc<Talk>>,
    /// It only wants to know how far it would come.
    pub(super) probe: Option<LogIn>,
    /// What it goes on with, where a process before has dialled it.
    pub(super) stands: Option<Arc<Stands>>,
    pub(super) events: mpsc::UnboundedSender<(SaId, Event)>,
}

impl SaContext for ClientContext {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending {
        if let (Some(probe), Ask::Psk { .. } | Ask::Sign { .. }) = (&self.probe, &ask) {
            return never(probe.clone());
        }
        match ask {
            Ask::Psk { .. } => Pending::Now(Answer::Psk(self.psk())),
            Ask::Ppk { .. } => Pending::Now(Answer::Ppk(self.ppk())),
            Ask::Verify { identity, certificates, scheme, encoding, message, signature } => {
                let shown = certificates.first();
                self.probe.iter().zip(shown).for_each(|(probe, certificate)| probe.shown(certificate));
                match &self.anchors {
                    Some(anchors) => verify(
                        Arc::clone(anchors),
                        self.profile.revocation,
                        PeerIs::Server,
                        PeerSignature { identity, certificates, scheme, encoding, message, signature },
                    ),
                    None => Pending::Now(Answer::Verified(Err(unexpected("a certificate to verify")))),
                }
            }
            Ask::Sign { certificate, schemes, encoding, message } => match &self.own {
                Some(own) => own.sign(certificate, schemes, encoding, message),
                None => Pending::Now(Answer::Signed(Err(unexpected("a signature")))),
            },
            Ask::AllocateSpi { path } => {
                let allocated = self.installation.allocate_spi(sa, path);
                Pending::Later(Box::pin(async { Answer::Spi(allocated.await) }))
            }
            Ask::Install(child) => {
                let installed = self.installation.install(sa, *child);
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            Ask::InstallOutbound { child, keys } => {
                let installed = self.installation.install_outbound(sa, child, keys);
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            Ask::Connection { .. } | Ask::Resume { .. } => {
                Pending::Now(Answer::Connection(Err(unexpected("a connection for a client"))))
            }
            Ask::Eap { packet: Some(packet) } => match self.eap.clone() {
                Some(talk) => {
                    Pending::Later(Box::pin(async move { Answer::Eap(talk.packet(&packet).await) }))
                }
                None => Pending::Now(Answer::Eap(Err(unexpected("an EAP packet")))),
            },
            Ask::Eap { packet: None } => Pending::Now(Answer::Eap(Err(unexpected("EAP to begin")))),
            Ask::Lease { .. } => Pending::Now(Answer::Leased(Err(unexpected("a lease for a client")))),
            // The driver answers these itself.
            Ask::Generate(_) | Ask::Agree { .. } | Ask::Encapsulate { .. } => {
                Pending::Later(Box::pin(std::future::pending()))
            }
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        match &event {
            Event::ChildClosed { child, replaced_by, .. } => {
                self.installation.child_closed(sa, *child, replaced_by.is_some());
            }
            Event::PathChanged { path, encapsulated } => self.installation.moved(sa, *path, *encapsulated),
            Event::Closed(_) => self.installation.closed(sa),
            _ => {}
        }
        // Nobody listens any more when the connection was taken down meanwhile.
        let _ = self.events.send((sa, event));
    }

    fn hands_on(&self) -> bool {
        self.installation.hands_on()
    }

    fn hand_on(&self, sa: SaId, snapshot: Option<&[u8]>) {
        self.installation.hand_on(sa, snapshot);
    }

    fn restored(&self, restored: &Restored) {
        let Some(stands) = &self.stands else { return };
        if let Err(failure) = self.installation.goes_on(restored, stands) {
            tracing::warn!(%failure, "not gone on with");
        }
    }
}

impl ClientContext {
    fn ppk(&self) -> Result<Option<adit_core::Secret>, Failure> {
        self.profile.ppk.as_ref().map(|(ppk, _)| self.files.key_of(&ppk.file)).transpose()
    }

    fn psk(&self) -> Result<adit_core::Secret, Failure> {
        match &self.profile.psk {
            Some(source) => self.files.psk(source),
            None => Err(Failure::new(
                FailureCode::NoSecret,
                Step::Authenticate,
                "the profile has no pre-shared key",
            )
            .hint("add  psk-file = \"NAME.psk\"  to the profile, and the key to /etc/adit/secrets/NAME.psk")),
        }
    }
}

/// What would prove who we are: the server has answered, and that is all that is wanted.
fn never(probe: LogIn) -> Pending {
    Pending::Later(Box::pin(async move {
        probe.leave().await;
        std::future::pending().await
    }))
}

fn unexpected(what: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("the IKE core asked for {what}"))
}
