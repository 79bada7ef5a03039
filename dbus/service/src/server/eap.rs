//! EAP of peers that dial us: who decides about them, and what they are granted when it has.

use std::sync::Arc;

use adit_auth::eap::{
    Authenticator, AuthenticatorAsk, AuthenticatorConfig, AuthenticatorStep, Code, Method, Packet,
    UserSecret, emit,
};
use adit_auth::mschap::NtHash;
use adit_auth::radius::{Granted, ServerId, Verdict};
use adit_core::{Failure, FailureCode, Identity, Path, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ikev2::api::{EapStep, EapSuccess, SaId};
use adit_profile::{ConnectionRule, EapMethod, FileRef};

use zeroize::Zeroizing;

use super::Inner;
use super::context::{nobody, unexpected};
use super::resume::{PasswordPrint, Proof};
use super::users;
use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::eap_tls::EapTls;
use crate::radius::{Grant, Radius};

/// What blocks, where a file has the users.
const USERS: &str = "work on the file of users";

/// How often a wrong password may be tried again within one conversation.
const RETRIES: u32 = 2;

/// Bytes of a Master Session Key (RFC 3748 §7.10).
const MSK_LEN: usize = 64;
/// Names longer than this are nobody's.
pub(crate) const LONGEST_NAME: usize = 253;

/// A conversation of one peer.
pub(super) struct Conversation {
    /// Index of the `[[connection]]` that it began by.
    rule: usize,
    path: Path,
    with: With,
}

enum With {
    /// Our own users.
    Users(Box<Local>),
    /// RADIUS servers.
    Radius(Box<Remote>),
}

struct Local {
    authenticator: Authenticator,
    tls: Option<EapTls>,
    file: Option<FileRef>,
    /// What the file of users calls the one who was asked about last, and what its password is known by.
    user: Option<(String, PasswordPrint)>,
}

struct Remote {
    radius: Arc<Radius>,
    session: String,
    /// EAP-Identity: the User-Name.
    identity: Vec<u8>,
    /// What the server asked last.
    method: Option<Method>,
    /// Who knows the conversation, and by what.
    state: Option<(ServerId, Vec<u8>)>,
}

impl Local {
    /// Who it is, and by what; `claimed` is what the method says.
    fn proven(&mut self, claimed: String) -> (String, Proof) {
        match (self.user.take(), &self.file, &self.tls) {
            (Some((user, print)), Some(file), _) => {
                (user.clone(), Proof::Password { file: file.clone(), user, print })
            }
            (user, _, Some(tls)) => {
                let name = user.map_or(claimed, |(user, _)| user);
                (name, Proof::TlsCertificate(tls.certificates_of_the_peer().into()))
            }
            (user, _, None) => (user.map_or(claimed, |(user, _)| user), Proof::Connection),
        }
    }
}

impl Inner {
    /// The `[[connection]]` by which a peer that wants EAP begins. Who it is comes out later, so that what it calls itself
    /// only chooses between several.
    pub(super) fn eap_rule(&self, remote: &Identity, path: Path) -> Option<usize> {
        let found = self.config.eap_connection_for(remote, path.remote.ip());
        let any = || {
            let fits = |c: &&ConnectionRule| c.eap.is_some() && c.is_from(path.remote.ip());
            self.config.connections.iter().find(fits)
        };
        let rule = found.or_else(any)?;
        self.config.connections.iter().position(|c| std::ptr::eq(c, rule))
    }

    /// Answers [`adit_ikev2::api::Ask::Eap`].
    pub(super) async fn eap(self: Arc<Self>, sa: SaId, packet: Option<Vec<u8>>) -> Result<EapStep, Failure> {
        let guest = self.guest(sa);
        let mut talk = guest.conversation.lock().await;
        let Some(packet) = packet else {
            let (conversation, first) = self.begin(sa)?;
            *talk = Some(conversation);
            return Ok(EapStep::Send(first));
        };
        let Some(conversation) = talk.as_mut() else { return Err(unexpected("EAP to go on")) };
        match &mut conversation.with {
            With::Users(_) => self.with_users(sa, conversation, &packet).await,
            With::Radius(_) => self.with_radius(sa, conversation, packet).await,
        }
    }

    fn begin(&self, sa: SaId) -> Result<(Conversation, Vec<u8>), Failure> {
        let (rule, path) = {
            let guest = self.guest(sa);
            let facts = guest.facts();
            (facts.rule.map(|(index, _)| index), facts.path)
        };
        let (Some(index), Some(path)) = (rule, path) else { return Err(unexpected("EAP to begin")) };
        let rule = self.config.connections.get(index).ok_or_else(|| unexpected("EAP to begin"))?;
        match (rule.eap, &rule.users) {
            (Some(EapMethod::Radius), _) => self.begin_radius(index, path),
            (Some(method), file) => {
                let name = self.identity(path)?.to_string();
                let methods = vec![match method {
                    EapMethod::Tls => Method::TLS,
                    EapMethod::Ttls => Method::TTLS,
                    EapMethod::Peap => Method::PEAP,
                    EapMethod::Mschapv2 | EapMethod::Radius => Method::MSCHAPV2,
                }];
                let config =
                    AuthenticatorConfig { retries: RETRIES, methods, ..AuthenticatorConfig::new(name) };
                let (authenticator, first) = Authenticator::begin(&mut OsEntropy::new(), config);
                let tls = self.eap_tls(index, rule, method)?;
                let local = Local { authenticator, tls, file: file.clone(), user: None };
                let with = With::Users(Box::new(local));
                Ok((Conversation { rule: index, path, with }, first))
            }
            (None, _) => Err(unexpected("EAP for a connection without it")),
        }
    }

    fn begin_radius(&self, rule: usize, path: Path) -> Result<(Conversation, Vec<u8>), Failure> {
        let radius = self.radius.clone().ok_or_else(|| unexpected("a RADIUS server"))?;
        let session = radius.session_id();
        let remote = Remote { radius, session, identity: Vec::new(), method: None, state: None };
        // What EAP-Identity asks is the same for everybody.
        let first = emit(Code::Request, 0, Some(Method::IDENTITY), &[]);
        Ok((Conversation { rule, path, with: With::Radius(Box::new(remote)) }, first))
    }

    /// The engine of a conversation, where the method runs TLS.
    fn eap_tls(
        &self,
        index: usize,
        rule: &ConnectionRule,
        method: EapMethod,
    ) -> Result<Option<EapTls>, Failure> {
        if method == EapMethod::Mschapv2 {
            return Ok(None);
        }
        let own = self.own.as_ref().ok_or_else(|| unexpected("the server's certificate"))?;
        let clients = match method {
            EapMethod::Tls => {
                let anchors = self.anchors.get(index).cloned().flatten();
                Some(anchors.ok_or_else(|| unexpected("the authorities of clients"))?)
            }
            _ => None,
        };
        EapTls::authenticator(own, clients, rule.revocation).map(Some)
    }

    async fn with_users(&self, sa: SaId, talk: &mut Conversation, packet: &[u8]) -> Result<EapStep, Failure> {
        let (rule, path) = (talk.rule, talk.path);
        let With::Users(local) = &mut talk.with else { return Err(unexpected("users")) };
        let mut entropy = OsEntropy::new();
        let mut step = local.authenticator.packet(&mut entropy, packet);
        loop {
            step = match step {
                AuthenticatorStep::Send(packet) => {
                    self.guest(sa).facts().refused = local.authenticator.refusal().map(Box::new);
                    return Ok(EapStep::Send(packet));
                }
                AuthenticatorStep::Ask(AuthenticatorAsk::User { identity }) => {
                    let known = self.user(local, identity).await;
                    local.authenticator.user(&mut entropy, known)
                }
                AuthenticatorStep::Ask(AuthenticatorAsk::StorePassword { password, .. }) => {
                    let stored = self.store(local, password).await;
                    local.authenticator.stored(&mut entropy, stored)
                }
                AuthenticatorStep::Tls(ask) => {
                    let Some(tls) = &mut local.tls else { return Err(unexpected("a TLS engine")) };
                    let answer = tls.answer(ask).await;
                    local.authenticator.tls(&mut entropy, answer)
                }
                AuthenticatorStep::Ended(packet, Ok(established)) => {
                    let mutual = established.method == Method::TLS;
                    let (name, proof) = local.proven(established.identity);
                    self.guest_facts(sa, |facts| facts.proof = proof);
                    let peer = self.admitted(sa, rule, path, identity(&name))?;
                    // Only EAP-TLS is a reason to do without a certificate, here as on the other side.
                    let success = EapSuccess { packet, msk: established.msk, mutual, peer: Some(peer) };
                    return Ok(EapStep::Succeeded(Box::new(success)));
                }
                AuthenticatorStep::Ended(packet, Err(why)) => {
                    self.guest(sa).facts().refused = None;
                    return Ok(EapStep::Failed(packet, why));
                }
                AuthenticatorStep::Ignore => return Err(senseless()),
            }
        }
    }

    /// The pass-through authenticator (RFC 3579 §2): packets go to the server and come from it as they are.
    async fn with_radius(
        &self,
        sa: SaId,
        talk: &mut Conversation,
        packet: Vec<u8>,
    ) -> Result<EapStep, Failure> {
        let (rule, path) = (talk.rule, talk.path);
        let With::Radius(remote) = &mut talk.with else { return Err(unexpected("RADIUS")) };
        let identifier = match Packet::parse(&packet) {
            Ok(Packet { code: Code::Response, identifier, method, data }) => {
                if method == Some(Method::IDENTITY) && remote.identity.is_empty() {
                    remote.identity = data.get(..data.len().min(LONGEST_NAME)).unwrap_or_default().to_vec();
                }
                identifier
            }
            _ => return Err(senseless()),
        };
        let attributes = remote.radius.about(&remote.identity, &remote.session, path);
        match remote.radius.access(attributes, packet, remote.state.take()).await {
            Verdict::Challenge { eap: Some(eap), state, .. } => {
                remote.state = Some(state);
                remote.method = Packet::parse(&eap).ok().and_then(|packet| packet.method).or(remote.method);
                Ok(EapStep::Send(eap))
            }
            Verdict::Accept(granted) => {
                self.granted_by_radius(sa, (rule, path), remote, *granted, identifier)
            }
            Verdict::Reject { eap, message } => {
                let name = String::from_utf8_lossy(&remote.identity).into_owned();
                let said = message.map(|m| format!(": {m}")).unwrap_or_default();
                let text = format!("{name}: the RADIUS server refused{said}");
                let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
                let failure = || emit(Code::Failure, identifier, None, &[]);
                Ok(EapStep::Failed(eap.unwrap_or_else(failure), why))
            }
            Verdict::None(why) => Err(why),
            Verdict::Challenge { eap: None, .. } | Verdict::Noted => {
                let text = "the RADIUS server speaks no EAP";
                Err(Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, text))
            }
        }
    }

    fn granted_by_radius(
        &self,
        sa: SaId,
        (rule, path): (usize, Path),
        remote: &Remote,
        mut granted: Granted,
        identifier: u8,
    ) -> Result<EapStep, Failure> {
        let name = String::from_utf8_lossy(&remote.identity).into_owned();
        let proven = granted.user.is_some() || !remote.method.is_some_and(proves_another_name);
        let name = granted.user.clone().unwrap_or(name);
        let who = match proven {
            true => identity(&name),
            false => {
                tracing::warn!(
                    user = name,
                    "the RADIUS server has not said who it let in (User-Name): the name is what the peer calls itself"
                );
                Identity::KeyId(format!("{name} (not proven)").into_bytes())
            }
        };
        Self::tell_of_the_rest(&name, &granted);
        let success = || emit(Code::Success, identifier, None, &[]);
        let packet = granted.eap.take().unwrap_or_else(success);
        let msk = granted.keys.take().map(|(send, receive)| msk(&send, &receive));
        let (radius, session) = (Arc::clone(&remote.radius), remote.session.clone());
        let grant = Grant { radius, granted, user: name, session };
        self.guest_facts(sa, |facts| (facts.grant, facts.proof) = (Some(Box::new(grant)), Proof::Connection));
        let peer = self.admitted(sa, rule, path, who)?;
        // Which method it was is between the peer and the server: here it is none that is enough by itself.
        let success = EapSuccess { packet, msk, mutual: false, peer: Some(peer) };
        Ok(EapStep::Succeeded(Box::new(success)))
    }

    async fn user(&self, local: &mut Local, name: String) -> Result<Option<UserSecret>, Failure> {
        let file = local.file.clone().ok_or_else(|| unexpected("a file of users"))?;
        let daemon = Arc::clone(&self.daemon);
        let found = blocking(Step::Authenticate, USERS, move || find(&daemon, &file, &name)).await??;
        Ok(found.map(|(name, secret)| {
            local.user = Some((name, PasswordPrint::of(&secret.hash)));
            secret
        }))
    }

    async fn store(&self, local: &mut Local, password: Secret) -> Result<(), Failure> {
        let (user, _) = local.user.clone().ok_or_else(|| unexpected("a user's new password"))?;
        let file = local.file.clone().ok_or_else(|| unexpected("a file of users"))?;
        let daemon = Arc::clone(&self.daemon);
        if let Some((print, chosen)) = local.user.as_mut().map(|(_, print)| print).zip(NtHash::of(&password))
        {
            *print = PasswordPrint::of(&chosen);
        }
        let store = move || users::store(&daemon, (&file, ""), &user, &password);
        blocking(Step::Authenticate, USERS, store).await?
    }

    /// Who a peer has turned out to be, and what holds for it: the first `[[connection]]` that is for its name and whose
    /// users, or servers, have decided about it.
    pub(super) fn admitted(
        &self,
        sa: SaId,
        began: usize,
        path: Path,
        identity: Identity,
    ) -> Result<(Identity, Box<adit_ikev2::api::ResponderConfig>), Failure> {
        let before = self.config.connections.get(began).ok_or_else(|| unexpected("a connection"))?;
        let users = |c: &ConnectionRule| c.users.as_ref().map(FileRef::path);
        // What a peer calls itself chooses by whose authorities its certificate is judged: it comes in by those alone.
        let judged = |c: &ConnectionRule| {
            c.eap != Some(EapMethod::Tls) || c.ca == before.ca && c.revocation == before.revocation
        };
        let decided = |c: &&ConnectionRule| c.eap == before.eap && users(c) == users(before) && judged(c);
        let for_it = |c: &&ConnectionRule| c.is_for(&identity, path.remote.ip());
        let rule = self.config.connections.iter().filter(decided).find(for_it);
        let rule = rule.ok_or_else(|| nobody(&identity))?;
        let index = self.config.connections.iter().position(|c| std::ptr::eq(c, rule)).unwrap_or(began);
        self.guest(sa).facts().rule = Some((index, true));
        let config = self.responder(sa, index, rule, path)?;
        Ok((identity, Box::new(config)))
    }
}

fn senseless() -> Failure {
    let text = "the peer sent an EAP packet that makes no sense at this point";
    Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, text)
}

/// Who it is that has proven a name.
pub(crate) fn identity(name: &str) -> Identity {
    name.parse().unwrap_or_else(|_| Identity::KeyId(name.as_bytes().to_vec()))
}

/// Whether what is proven is said inside of TLS, so that EAP-Identity may be anything (RFC 7542 §2.4): what runs TLS here,
/// EAP-FAST and TEAP.
pub(crate) const fn proves_another_name(method: Method) -> bool {
    method.runs_tls() || matches!(method, Method(43 | 55))
}

/// A user, as the file calls it.
fn find(daemon: &Daemon, file: &FileRef, name: &str) -> Result<Option<(String, UserSecret)>, Failure> {
    let users = users::read(daemon, file, "")?;
    let Some((name, user)) = users.find(name) else { return Ok(None) };
    let secret = users::secret(user).ok_or_else(|| unexpected("a password that is text"))?;
    Ok(Some((name.to_owned(), secret)))
}

/// The MSK of what a RADIUS server sends (RFC 2548 §2.4.2 and §2.4.3): what we receive with, then what we send with. One
/// of EAP-MSCHAPv2 has 32 bytes there, and zeroes after them.
pub(crate) fn msk(send: &Secret, receive: &Secret) -> Secret {
    let mut whole = Zeroizing::new(Vec::with_capacity(MSK_LEN.max(send.len() + receive.len())));
    whole.extend_from_slice(receive.expose());
    whole.extend_from_slice(send.expose());
    let length = whole.len().max(MSK_LEN);
    whole.resize(length, 0);
    Secret::from(whole.as_slice())
}
