//! What RADIUS servers ask unasked (RFC 5176): to end a session, to change it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use adit_auth::radius::MAX_LEN;
use adit_auth::radius::dynamic::{Outcome, Request, Wish};
use adit_core::{Failure, FailureCode, Step};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::{Cause, Radius, Session};
use crate::clock;

/// Answers that are kept for requests that come again.
const KEPT: usize = 64;

/// The sessions that RADIUS servers have let in, whatever carries them: by Acct-Session-Id.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What tells this run's sessions from those of runs before.
    run: u32,
    next: AtomicU32,
    sessions: Mutex<BTreeMap<String, Weak<Session>>>,
}

impl Standing {
    pub(super) fn new() -> Arc<Self> {
        let run = u32::try_from(clock::wall().0 & 0xffff_ffff).unwrap_or(0);
        Arc::new(Self { run, next: AtomicU32::new(0), sessions: Mutex::default() })
    }

    /// A session's number, never used twice. (One that goes on from a run before may have begun in the same second.)
    pub(super) fn number(&self) -> String {
        loop {
            let number = format!("{:08X}-{:08X}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
            if !self.sessions().contains_key(&number) {
                return number;
            }
        }
    }

    pub(super) fn enter(&self, session: &Arc<Session>) {
        self.sessions().insert(session.id().to_owned(), Arc::downgrade(session));
    }

    pub(super) fn leave(&self, id: &str) {
        self.sessions().remove(id);
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what a server wants.
    fn asked(&self, request: &Request) -> Outcome {
        let whose = &request.whose;
        if !whose.names_somebody() {
            return Outcome::NoSession;
        }
        let meant = |session: &Arc<Session>| {
            let same = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
            same(&whose.user, session.user())
                && same(&whose.session, session.id())
                && same(&whose.calling, &session.calling().to_string())
                && whose.address.is_none_or(|address| session.address() == Some(address))
        };
        // None of them may be dropped while the list is locked.
        let all: Vec<Arc<Session>> = self.sessions().values().filter_map(Weak::upgrade).collect();
        let found: Vec<&Arc<Session>> = all.iter().filter(|session| meant(session)).collect();
        if found.is_empty() {
            return Outcome::NoSession;
        }
        match &request.wish {
            Wish::Disconnect => found.iter().for_each(|session| session.send_away(Cause::AdminReset)),
            // All of it or nothing (RFC 5176 §2.2).
            Wish::Change { session: None, idle: None, .. } | Wish::Change { others: true, .. } => {
                return Outcome::Unsupported;
            }
            Wish::Change { session: limit, idle, others: false } => {
                found.iter().for_each(|session| session.change(*limit, *idle));
            }
        }
        Outcome::Done
    }
}

/// Who listens to what servers ask unasked, and on which port. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    port: u16,
    radius: Weak<Radius>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens on `port` for `radius`.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) async fn bind(port: u16, radius: &Arc<Radius>) -> Result<Self, Failure> {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let socket = UdpSocket::bind(at).await.map_err(|e| {
            let text = format!("UDP port {port} cannot be bound for RADIUS' dynamic authorization: {e}");
            Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
                .hint("choose another  dynamic-authorization-port  in server.toml, or leave it out")
        })?;
        let radius = Arc::downgrade(radius);
        Ok(Self { port, task: tokio::spawn(serve(socket, radius.clone())), radius })
    }

    /// Whether it listens there and for these.
    pub(crate) fn is_for(&self, port: u16, radius: &Arc<Radius>) -> bool {
        self.port == port && std::ptr::eq(self.radius.as_ptr(), Arc::as_ptr(radius))
    }

    /// Its socket is closed when this returns.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, radius: Weak<Radius>) {
    let mut buffer = vec![0; MAX_LEN];
    let mut answered: VecDeque<(SocketAddr, Vec<u8>, Vec<u8>)> = VecDeque::new();
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(radius) = radius.upgrade() else { return };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        // A request that comes again gets the same answer (RFC 5176 §2.3): its session may be gone by then.
        if let Some((.., answer)) = answered.iter().find(|(f, asked, _)| (f, asked) == (&from, &datagram)) {
            let _ = socket.send_to(answer, from).await;
            continue;
        }
        let Some(secret) = radius.secret_of(from.ip()) else {
            tracing::debug!(%from, "a RADIUS request of nobody we know");
            continue;
        };
        let request = match Request::read(&datagram, secret) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(why) => {
                tracing::warn!(%from, "a RADIUS request was not believed: {why}");
                continue;
            }
        };
        tracing::info!(%from, whose = ?request.whose, wish = ?request.wish, "RADIUS request");
        let outcome = radius.standing.asked(&request);
        if let Some(answer) = request.answer(outcome, secret) {
            let _ = socket.send_to(&answer, from).await;
            answered.push_back((from, datagram, answer));
            if answered.len() > KEPT {
                answered.pop_front();
            }
        }
    }
}
