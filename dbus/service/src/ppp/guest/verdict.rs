//! Whether somebody is who they say: the file of users decides, or RADIUS servers do.

use adit_auth::eap::{AuthenticatorAsk, Method, TlsAnswer, TlsAsk, UserSecret};
use adit_core::{Failure, FailureCode, Secret, Step};
use adit_ppp::{Answer, Ask, Claim, EapStep, KnownUser, Verdict};
use adit_profile::{FileRef, User};
use tracing::info;

use super::Guest;
use crate::eap_tls::{EapTls, failed};
use crate::ppp::certificates::Certificates;
use crate::ppp::proof::{LookedUp, engine_of, lets_in};
use crate::ppp::radius::Remote;
use crate::ppp::server::Inner;
use crate::server::users;

impl Guest {
    fn user<T>(&self, name: &str, known: fn(&User) -> Option<T>) -> Result<Option<T>, Failure> {
        let Inner { daemon, config, .. } = &*self.server;
        let users = users::read(daemon, self.file()?, &config.name)?;
        let found = users.find(name);
        self.facts().user = found.map(|(user, known)| LookedUp {
            said: name.to_owned(),
            name: user.to_owned(),
            addresses: known.addresses.clone(),
        });
        Ok(found.and_then(|(_, user)| known(user)))
    }

    fn file(&self) -> Result<&FileRef, Failure> {
        let none = || internal("there is no file of users");
        self.server.config.users.as_ref().ok_or_else(none)
    }

    pub(super) async fn verify_by_radius(&self, remote: &Remote, claim: &Claim) -> Result<Verdict, Failure> {
        let (verdict, granted) = remote.verify(claim).await?;
        if let (Verdict::Accepted { identity, .. }, Some(granted)) = (&verdict, granted) {
            self.facts().offered = Some((identity.clone(), granted));
        }
        Ok(verdict)
    }

    pub(super) async fn eap_by_radius(&self, remote: &Remote, packet: Vec<u8>) -> Result<EapStep, Failure> {
        let (step, granted) = remote.eap(packet).await?;
        match (&step, granted) {
            (EapStep::Accepted { identity, .. }, Some(granted)) => {
                self.facts().offered = Some((identity.clone(), granted));
            }
            (EapStep::Refused { why, .. }, _) => {
                info!(from = %self.from, "{}: {why}", self.carriage().name())
            }
            _ => {}
        }
        Ok(step)
    }

    /// Most peers hang up when they are refused: then this is all that there is to be read.
    pub(super) fn log_refusal(&self, verdict: &Result<Verdict, Failure>) {
        let name = self.server.carriage.name();
        match verdict {
            Ok(Verdict::Refused { why, error }) => info!(from = %self.from, error, "{name}: {why}"),
            Ok(Verdict::Accepted { .. }) => {}
            Err(why) => info!(from = %self.from, code = %why.code, "{name}: {why}"),
        }
    }

    fn verify(&self, claim: &Claim) -> Result<Verdict, Failure> {
        Ok(claim.verify(self.user(&claim.name, known)?.as_ref()))
    }

    /// What TLS does for an EAP method by which the peer proves itself: with EAP-TLS it has to have a certificate.
    pub(super) async fn tls(&self, method: Method, ask: TlsAsk) -> TlsAnswer {
        let mut engine = self.tls.lock().await;
        let answer = match engine_of(&mut engine, method, || self.engine(method)) {
            Ok(engine) => engine.answer(ask).await,
            Err(why) => return failed(why),
        };
        if method != Method::TLS {
            return answer;
        }
        // Its certificate says who it is, and no file.
        self.facts().user = None;
        match lets_in(&self.server.config.eap, answer.tunnel.as_ref()) {
            Ok(()) => answer,
            Err(why) => failed(why),
        }
    }

    fn engine(&self, method: Method) -> Result<EapTls, Failure> {
        let Inner { certificates, config, .. } = &*self.server;
        let Certificates { own, anchors, .. } = certificates.get();
        match (own, anchors, method == Method::TLS) {
            (None, ..) => Err(internal("there is no certificate of this server")),
            (_, None, true) => Err(internal("there is no authority of clients")),
            (Some(own), anchors, clients) => {
                let anchors = anchors.filter(|_| clients);
                EapTls::authenticator(&own, anchors, config.eap.revocation)
            }
        }
    }

    fn store(&self, name: &str, password: &Secret) -> Result<(), Failure> {
        let Inner { daemon, config, .. } = &*self.server;
        let file = self.file()?;
        let found = users::read(daemon, file, &config.name)?.find(name).map(|(name, _)| name.to_owned());
        let unknown =
            || Failure::new(FailureCode::NotFound, Step::Authenticate, "there is no such user any more");
        users::store(daemon, (file, &config.name), &found.ok_or_else(unknown)?, password)
    }

    pub(super) fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Verify(claim) => {
                let verdict = self.verify(&claim);
                self.log_refusal(&verdict);
                Answer::Verdict(verdict)
            }
            Ask::StorePassword { name, password } => Answer::Stored(self.store(&name, &password)),
            Ask::Eap(AuthenticatorAsk::User { identity }) => {
                Answer::EapUser(self.user(&identity, users::secret))
            }
            Ask::Eap(AuthenticatorAsk::StorePassword { identity, password }) => {
                Answer::Stored(self.store(&identity, &password))
            }
            _ => Answer::Secret(Err(internal("a server has no password of its own"))),
        }
    }

    /// Who it has proven to be. Nobody else takes an address, or somebody's place.
    pub(super) fn identity(&self) -> Result<String, Failure> {
        let facts = self.facts();
        let granted = self.remote.is_none() || facts.granted.is_some();
        match facts.proven && granted {
            true => Ok(facts.identity.clone()),
            false => {
                let text = "somebody who has proven nothing wants an address";
                Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text))
            }
        }
    }
}

fn internal(text: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, text)
}

fn known(user: &User) -> Option<KnownUser> {
    let UserSecret { hash, expired, clear } = users::secret(user)?;
    Some(KnownUser { password: clear, hash, expired })
}
