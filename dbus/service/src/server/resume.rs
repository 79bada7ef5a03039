//! Sessions of clients that may be resumed (RFC 5723): what a client was let in by is looked at again before it comes in by
//! its ticket. Nobody is asked to prove anything; but whoever would not be let in any more is not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use adit_auth::eap::UserSecret;
use adit_auth::mschap::NtHash;
use adit_auth::radius::Granted;
use adit_core::{Failure, FailureCode, Identity, Instant, Path, Secret, Step};
use adit_ikev2::api::{Established, ResponderConfig, SaId};
use adit_pki::{Question, TrustAnchors, verify_client, verify_tls_client};
use adit_profile::{ConnectionRule, FileRef, ServerConfig};
use ring::digest;
use tokio::sync::watch;

use super::Inner;
use super::context::nobody;
use super::users;
use crate::blocking::blocking;
use crate::clock;
use crate::credentials::strictness;
use crate::files::Fingerprint;
use crate::radius::{Grant, Limits, Radius};
use crate::revocation;

/// A ticket lives so long where the life of an IKE_SA has no end.
const LONGEST: Duration = Duration::from_hours(24);
/// Sessions whose clients were lost that are remembered, whatever the number of clients may be.
const MOST_LOST: usize = 100_000;

/// What a client has proven itself with, as far as it can come to count no more.
#[derive(Clone, Default)]
pub(super) enum Proof {
    /// A pre-shared key, or what a RADIUS server has decided: the `[[connection]]` stands for it, or the server's own word.
    #[default]
    Connection,
    /// A certificate, with those that lead to its authority.
    Certificate(Arc<[Vec<u8>]>),
    /// A certificate in EAP-TLS.
    TlsCertificate(Arc<[Vec<u8>]>),
    /// A password of this user.
    Password { file: FileRef, user: String, print: PasswordPrint },
}

/// What a password is known by: who has it can guess at the password.
#[derive(Clone)]
pub(super) struct PasswordPrint(Arc<Secret>);

impl PasswordPrint {
    pub(super) fn of(hash: &NtHash) -> Self {
        Self(Arc::new(digest::digest(&digest::SHA256, hash.expose()).as_ref().into()))
    }

    fn is_of(&self, hash: &NtHash) -> bool {
        self.0.equals(Self::of(hash).0.expose())
    }
}

/// What is remembered of a session that can be resumed.
#[derive(Clone)]
struct Kept {
    /// The `[[connection]]` that it came in by, and what that was.
    connection: String,
    print: Fingerprint,
    proof: Proof,
    /// What a RADIUS server has granted.
    granted: Option<Arc<Share>>,
}

/// Of a RADIUS server.
struct Share {
    radius: Arc<Radius>,
    user: String,
    granted: Granted,
    /// How long the session may go on, as that was last.
    limits: watch::Receiver<Limits>,
}

/// All of them, by the IKE_SA that their ticket was given over.
#[derive(Default)]
pub(super) struct Sessions {
    kept: BTreeMap<SaId, Kept>,
    /// Those of lost clients, the oldest first, and until when.
    lost: VecDeque<(Instant, SaId)>,
}

impl Sessions {
    fn lost(&mut self, now: Instant, sa: SaId, lifetime: Duration) {
        if self.kept.contains_key(&sa) {
            self.lost.push_back((now + lifetime, sa));
        }
        while self.lost.front().is_some_and(|(until, _)| *until <= now) || self.lost.len() > MOST_LOST {
            if let Some((_, sa)) = self.lost.pop_front() {
                self.kept.remove(&sa);
            }
        }
    }
}

/// How long the sessions of this server can be resumed: no longer than an IKE_SA lives without being rekeyed.
fn lifetime(config: &ServerConfig) -> Duration {
    if !config.ikev2.session_resumption {
        return Duration::ZERO;
    }
    // [5723:6.2-1]
    config.ikev2.rekeying.ike.map_or(LONGEST, |age| age.saturating_add(age / 2).min(LONGEST))
}

impl Inner {
    /// How long the session of this client can be resumed.
    pub(super) fn ticket_lifetime(&self, sa: SaId) -> Duration {
        let longest = lifetime(&self.config);
        let guest = self.guests().get(&sa).cloned();
        let session = guest.and_then(|g| g.facts().grant.as_ref().and_then(|grant| grant.granted.session));
        // [5723:6.2-1]
        session.map_or(longest, |session| session.min(longest))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is up.
    pub(super) fn remember_session(&self, sa: SaId, up: &Established) {
        let facts = self.guest(sa);
        let (rule, proof, resumes, session) = {
            let mut facts = facts.facts();
            (facts.rule, facts.proof.clone(), facts.resumes.take(), facts.session.clone())
        };
        let mut sessions = self.sessions();
        if let Some(before) = resumes {
            sessions.kept.remove(&before);
        }
        let rule = rule.and_then(|(index, _)| {
            Some((self.config.connections.get(index)?, self.connection_prints.get(index)?))
        });
        let Some((rule, print)) = rule.filter(|_| up.resumable) else { return };
        let granted = session.map(|session| {
            let (radius, user, granted) = session.granted();
            Arc::new(Share { radius, user, granted, limits: session.limits() })
        });
        let connection = rule.name.to_string();
        sessions.kept.insert(sa, Kept { connection, print: print.clone(), proof, granted });
    }

    /// An IKE_SA is gone. Who was lost may come back by its ticket.
    pub(super) fn forget_session(&self, sa: SaId, why: Option<&Failure>) {
        let mut sessions = self.sessions();
        match why.map(|f| f.code) {
            Some(FailureCode::PeerLost) => sessions.lost(clock::now(), sa, lifetime(&self.config)),
            _ => {
                sessions.kept.remove(&sa);
            }
        }
    }

    /// Answers [`adit_ikev2::api::Ask::Resume`].
    pub(super) async fn resume(
        self: Arc<Self>,
        sa: SaId,
        session: SaId,
        remote: Identity,
        path: Path,
    ) -> Result<Box<ResponderConfig>, Failure> {
        let refused = |text: &str| Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
        if lifetime(&self.config).is_zero() {
            return Err(refused("session-resumption is off"));
        }
        let kept = self.sessions().kept.get(&session).cloned();
        let kept = kept.ok_or_else(|| refused("nothing is known of it any more"))?;
        let index = self.config.connections.iter().position(|c| c.name.as_str() == kept.connection);
        let rule = index.and_then(|index| self.config.connections.get(index));
        let (Some(index), Some(rule)) = (index, rule.filter(|r| r.is_for(&remote, path.remote.ip()))) else {
            return Err(nobody(&remote));
        };
        let (inner, which) = (Arc::clone(&self), index);
        let print = move || {
            let rule = inner.config.connections.get(which)?;
            Some(inner.daemon.files().connection_fingerprint(&inner.config, rule))
        };
        if blocking(Step::Authenticate, "reading files", print).await? != Some(kept.print.clone()) {
            return Err(refused("its [[connection]] is another now"));
        }
        self.holds(rule, index, &kept.proof, &remote).await?;
        let grant =
            kept.granted.as_deref().map(|share| share.again().ok_or_else(|| refused("its time is over")));
        let grant = grant.transpose()?;
        self.guest_facts(sa, |facts| {
            (facts.rule, facts.path) = (Some((index, true)), Some(path));
            (facts.proof, facts.grant) = (kept.proof, grant.map(Box::new));
            facts.resumes = Some(session);
        });
        self.responder(sa, index, rule, path).map(Box::new)
    }

    /// Whether what it has proven itself with still counts.
    async fn holds(
        &self,
        rule: &ConnectionRule,
        index: usize,
        proof: &Proof,
        remote: &Identity,
    ) -> Result<(), Failure> {
        let questions = match proof {
            Proof::Connection => return Ok(()),
            Proof::Password { file, user, print } => return self.password_holds(file, user, print).await,
            Proof::Certificate(chain) => {
                let (chain, who) = (Arc::clone(chain), remote.clone());
                self.certificate_holds(index, move |anchors| {
                    verify_client(&chain, anchors, &who, clock::wall())?.questions()
                })
                .await?
            }
            Proof::TlsCertificate(chain) => {
                let chain = Arc::clone(chain);
                self.certificate_holds(index, move |anchors| {
                    verify_tls_client(&chain, anchors, clock::wall())?.questions()
                })
                .await?
            }
        };
        revocation::check(questions, strictness(rule.revocation)).await
    }

    async fn certificate_holds(
        &self,
        index: usize,
        verify: impl FnOnce(&TrustAnchors) -> Result<Vec<Question>, adit_pki::PkiError> + Send + 'static,
    ) -> Result<Vec<Question>, Failure> {
        let anchors = self.anchors.get(index).cloned().flatten();
        let anchors = anchors.ok_or_else(|| super::context::unexpected("a certificate to verify"))?;
        let work = move || verify(&anchors).map_err(Failure::from);
        blocking(Step::Authenticate, "the check of a certificate", work).await.flatten()
    }

    async fn password_holds(&self, file: &FileRef, user: &str, print: &PasswordPrint) -> Result<(), Failure> {
        let (daemon, file, name) = (Arc::clone(&self.daemon), file.clone(), user.to_owned());
        let read = move || {
            let users = users::read(&daemon, &file, "")?;
            Ok::<_, Failure>(users.find(&name).and_then(|(_, user)| users::secret(user)))
        };
        let now = blocking(Step::Authenticate, "reading the file of users", read).await.flatten()?;
        let same = |now: &UserSecret| !now.expired && print.is_of(&now.hash);
        match now.as_ref().is_some_and(same) {
            true => Ok(()),
            false => {
                let text = format!("{user} is no user any more, or has another password");
                Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text))
            }
        }
    }
}

impl Share {
    /// What is left of it. `None`: its time is over.
    fn again(&self) -> Option<Grant> {
        let Limits { end, idle, over } = *self.limits.borrow();
        let now = clock::now();
        if over.is_some() || end.is_some_and(|end| end <= now) {
            return None;
        }
        let mut granted = self.granted.without_keys();
        granted.session = end.map(|end| end.since(now));
        granted.idle = idle;
        let radius = Arc::clone(&self.radius);
        // It is another session in the servers' books: its counters begin at zero.
        let session = radius.session_id();
        Some(Grant { radius, granted, user: self.user.clone(), session })
    }
}
