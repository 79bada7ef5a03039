//! The peer of an EAP conversation: the core of `adit-auth`, with a file or a person for its questions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_auth::eap::{Established, InnerConfig, Method, Peer, PeerAsk, PeerConfig, PeerStep, TtlsInner};
use adit_core::{Failure, FailureCode, Identity, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ikev2::api::{EapStep, EapSuccess};
use adit_pki::TrustAnchors;
use adit_profile::{EapInner, EapType, KeySource, PasswordSource, Profile};

use super::again::Again;
use super::asker::Asker;
use super::login::LogIn;
use crate::credentials::{OwnCertificate, PeerIs};
use crate::eap_tls::EapTls;
use crate::files::Files;
use crate::registry::Wanted;

/// What a connection proves itself with, as long as it lives.
pub(crate) struct Passwords {
    profile: Arc<Profile>,
    files: Files,
    pub(crate) asker: Asker,
    /// What a person has typed, for when the connection has to come back by itself.
    typed: Mutex<Option<Secret>>,
    /// What became of that.
    again: Mutex<Again>,
    /// Our certificate, where its key is in a token: it stays open.
    token: Mutex<Option<OwnCertificate>>,
}

impl Passwords {
    pub(crate) fn new(profile: &Arc<Profile>, files: &Files, asker: Asker) -> Self {
        Self {
            profile: Arc::clone(profile),
            files: files.clone(),
            asker,
            typed: Mutex::default(),
            again: Mutex::default(),
            token: Mutex::default(),
        }
    }

    fn of_file(&self, source: &PasswordSource) -> Result<Secret, Failure> {
        let server = self.profile.servers.first().map(ToString::to_string).unwrap_or_default();
        self.files.password(source, self.profile.user.as_deref().unwrap_or_default(), &server)
    }

    /// Before the first packet: a missing or exposed file is told, and a person is asked.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        if let Some(source) = &self.profile.password {
            return self.of_file(source).map(drop);
        }
        if self.typed().is_some() {
            return Ok(());
        }
        let secret = self.ask("password", String::new()).await?;
        *self.typed() = Some(secret);
        Ok(())
    }

    /// Our certificate, if the profile names one; `known` are authorities that the server may ask for. A token's PIN is asked
    /// for once: it stays open as long as the connection lives.
    ///
    /// # Errors
    /// As [`OwnCertificate::load`].
    pub(crate) async fn own_certificate(
        &self,
        known: Option<&TrustAnchors>,
    ) -> Result<Option<OwnCertificate>, Failure> {
        let profile = &self.profile;
        if profile.keys.is_empty() {
            return Ok(None);
        }
        let open = self.token().clone();
        let own = match open {
            Some(open) => open,
            None => {
                let (password, person) = (profile.key_password.as_ref(), Some(&self.asker));
                OwnCertificate::load(&self.files, &profile.certificate, &profile.keys, password, person)
                    .await?
            }
        };
        if matches!(profile.keys.as_slice(), [KeySource::Token(_)]) {
            *self.token() = Some(own.clone());
        }
        Ok(Some(own.sorted(profile.local_id.as_ref(), PeerIs::Server, known.into_iter())))
    }

    /// Whether a person, or somebody at the token, may have to be there for our certificate.
    pub(crate) fn certificate_wants_somebody(&self) -> bool {
        let token = self.profile.keys.iter().any(|key| matches!(key, KeySource::Token(_)));
        token && self.profile.key_password.is_none() && self.token().is_none()
    }

    /// A token that was taken out is looked for again, and its PIN asked for.
    pub(crate) fn token_has_failed(&self, code: FailureCode) {
        if code == FailureCode::NoSecret {
            self.token().take();
        }
    }

    fn token(&self) -> MutexGuard<'_, Option<OwnCertificate>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was typed was wrong.
    fn forget(&self) {
        self.typed().take();
    }

    /// An attempt came to this end. Whether it is to be made anew, as a person can be asked for what the server refused.
    pub(crate) fn asks_again(&self, failure: &Failure) -> bool {
        let mut again = self.again();
        let wrong = again.was_wrong(failure);
        if wrong {
            self.forget();
        }
        wrong && again.may_ask()
    }

    /// The server let us in.
    pub(crate) fn accepted(&self) {
        self.again().accepted();
    }

    /// What the server wants to know.
    pub(crate) async fn answer(&self, ask: PeerAsk) -> Result<Secret, Failure> {
        match ask {
            PeerAsk::Password { again: None } => {
                self.ready().await?;
                let typed = self.typed().as_ref().map(Secret::duplicate);
                match (&self.profile.password, typed) {
                    (Some(source), _) => self.of_file(source),
                    (None, Some(typed)) => {
                        self.again().sends();
                        Ok(typed)
                    }
                    (None, None) => Err(unexpected("a password")),
                }
            }
            PeerAsk::Password { again: Some(said) } => {
                if self.profile.password.is_some() {
                    return Err(wrong_in_file(&said));
                }
                self.forget();
                self.again().asked_by_server();
                self.typed_now("password", wrong(&said)).await
            }
            PeerAsk::Token { message } => self.typed_now("code", message).await,
            PeerAsk::NewPassword { message } => {
                let reason = match message.is_empty() {
                    true => "the password has expired".to_owned(),
                    false => format!("the password has expired; the server says: {message}"),
                };
                self.typed_now("new-password", reason).await
            }
        }
    }

    async fn typed_now(&self, field: &str, reason: String) -> Result<Secret, Failure> {
        let secret = self.ask(field, reason).await?;
        *self.typed() = Some(secret.duplicate());
        self.again().sends();
        Ok(secret)
    }

    async fn ask(&self, field: &str, reason: String) -> Result<Secret, Failure> {
        let user = self.profile.user.as_deref().unwrap_or_default();
        let prompt = match field {
            "new-password" => format!("New password for {user}"),
            "code" => format!("Code for {user}"),
            _ => format!("Password for {user}"),
        };
        let reason = self.again().reason(reason);
        let answer = self.asker.ask(Wanted { field: field.to_owned(), prompt, reason }).await;
        answer.map_err(|failure| self.again().missing(failure))
    }

    fn again(&self) -> MutexGuard<'_, Again> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn typed(&self) -> MutexGuard<'_, Option<Secret>> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The conversation of one IKE_SA.
pub(crate) struct Talk {
    peer: tokio::sync::Mutex<(Peer, EapTls)>,
    passwords: Arc<Passwords>,
    /// Its leave to answer, where it is one of several ways.
    login: Option<LogIn>,
}

impl Talk {
    /// One that has heard nothing. `certificate`: who our certificate says that we are.
    pub(crate) fn new(
        passwords: &Arc<Passwords>,
        tls: EapTls,
        certificate: Option<&Identity>,
        login: Option<LogIn>,
    ) -> Result<Self, Failure> {
        let profile = &passwords.profile;
        let user = profile.user.clone().or_else(|| certificate.map(ToString::to_string));
        let user = user.ok_or_else(|| unexpected("a name"))?;
        let identity = profile.eap_identity.clone().unwrap_or_else(|| user.clone());
        let methods = profile.eap.methods.iter().copied().map(method).collect();
        let config = PeerConfig { identity, user, methods, inner: inner(profile.eap.inner) };
        let peer = tokio::sync::Mutex::new((Peer::new(config), tls));
        Ok(Self { peer, passwords: Arc::clone(passwords), login })
    }

    /// What a packet of the server comes to.
    pub(crate) async fn packet(&self, packet: &[u8]) -> Result<EapStep, Failure> {
        // The gateway has shown its certificate.
        if let Some(login) = &self.login {
            login.leave().await;
        }
        let mut talk = self.peer.lock().await;
        let (peer, tls) = &mut *talk;
        let mut entropy = OsEntropy::new();
        let mut step = peer.packet(packet);
        loop {
            step = match step {
                PeerStep::Send(packet) => return Ok(EapStep::Send(packet)),
                PeerStep::Ask(ask) => {
                    let answer = self.passwords.answer(ask).await;
                    peer.answer(&mut entropy, answer)
                }
                PeerStep::Tls(ask) => {
                    let answer = tls.answer(ask).await;
                    peer.tls(&mut entropy, answer)
                }
                PeerStep::Ended(Ok(established)) => return Ok(succeeded(established)),
                PeerStep::Ended(Err(failure)) => {
                    self.passwords.forget();
                    return Err(failure);
                }
                PeerStep::Ignore => {
                    let text = "the server sent an EAP packet that makes no sense at this point";
                    return Err(Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, text));
                }
            }
        }
    }
}

pub(crate) const fn method(kind: EapType) -> Method {
    match kind {
        EapType::Mschapv2 => Method::MSCHAPV2,
        EapType::Tls => Method::TLS,
        EapType::Ttls => Method::TTLS,
        EapType::Peap => Method::PEAP,
        EapType::Gtc => Method::GTC,
        EapType::Md5 => Method::MD5,
    }
}

pub(crate) fn inner(kind: EapInner) -> InnerConfig {
    let (ttls, method) = match kind {
        EapInner::Mschapv2 => (TtlsInner::MsChapV2, Method::MSCHAPV2),
        EapInner::EapMschapv2 => (TtlsInner::Eap, Method::MSCHAPV2),
        EapInner::Pap => (TtlsInner::Pap, Method::MSCHAPV2),
        EapInner::Gtc => (TtlsInner::Eap, Method::GTC),
        EapInner::Md5 => (TtlsInner::Eap, Method::MD5),
    };
    InnerConfig { methods: vec![method], ttls, ..InnerConfig::default() }
}

fn succeeded(established: Established) -> EapStep {
    // EAP-MSCHAPv2 proves both, but by a password that can be guessed offline: no reason to do without a certificate.
    let mutual = established.method == Method::TLS;
    EapStep::Succeeded(Box::new(EapSuccess { packet: Vec::new(), msk: established.msk, mutual, peer: None }))
}

fn wrong(said: &str) -> String {
    match said.is_empty() {
        true => "the name or the password was wrong".to_owned(),
        false => format!("the name or the password was wrong; the server says: {said}"),
    }
}

fn wrong_in_file(said: &str) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the server refused: the name or the password is wrong",
    )
    .said(said)
    .hint("correct  user  or the password's file; or take  password-file  out, and ctl up asks")
}

fn unexpected(what: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("there is no {what} after all"))
}
