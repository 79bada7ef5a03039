//! One task drives the client of some servers: its sockets, its clock, its questions.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_auth::radius::{Client, Input, MAX_LEN, Output, Query, QueryId, Server, ServerId, Verdict};
use adit_core::{Failure, FailureCode, Step};
use adit_crypto::OsEntropy;
use adit_tls::ClientConfig;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::tls::TlsLink;
use crate::clock;

/// Datagrams that wait for the client's turn; more than that are lost, as on the wire.
const ARRIVED: usize = 1024;

enum Command {
    Ask(Box<Query>, oneshot::Sender<Verdict>),
    Tell(Box<Query>),
    /// Everything before this has come.
    Reached(oneshot::Sender<()>),
}

/// A handle on the task. After the last handle is gone, the task goes on until all that is to be told is told.
pub(super) struct Door {
    commands: mpsc::UnboundedSender<Command>,
    open: watch::Receiver<usize>,
}

impl Door {
    /// Starts the task.
    pub(super) fn open(servers: Vec<(Way, Server)>, patience: (Duration, u32)) -> Self {
        let (commands, asked) = mpsc::unbounded_channel();
        let (arrived, arrivals) = mpsc::channel(ARRIVED);
        let (ways, servers): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
        let names = servers.iter().map(|s| s.name.clone()).collect();
        let client = Client::new(servers, Box::new(OsEntropy::new())).with_patience(patience.0, patience.1);
        let (told, open) = watch::channel(0);
        let task = Task {
            client,
            ways,
            names,
            sockets: BTreeMap::new(),
            arrived,
            waiting: BTreeMap::new(),
            next: 0,
            open: told,
            unbelievable: 0,
        };
        tokio::spawn(task.run(asked, arrivals));
        Self { commands, open }
    }

    /// Asks.
    pub(super) async fn ask(&self, query: Query) -> Verdict {
        let (sender, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Ask(Box::new(query), sender)).is_ok();
        match answer.await {
            Ok(verdict) if sent => verdict,
            _ => {
                let text = "the RADIUS client is gone";
                Verdict::None(Failure::new(FailureCode::Internal, Step::Authenticate, text))
            }
        }
    }

    /// Tells, whenever somebody listens.
    pub(super) fn tell(&self, query: Query) {
        let _ = self.commands.send(Command::Tell(Box::new(query)));
    }

    /// Returns when nothing is on its way or waits.
    pub(super) async fn idle(&self) {
        // What was told just now has to reach the task first.
        let (sender, reached) = oneshot::channel();
        if self.commands.send(Command::Reached(sender)).is_err() || reached.await.is_err() {
            return;
        }
        let _ = self.open.clone().wait_for(|open| *open == 0).await;
    }
}

/// Where a server is, and how it is spoken to.
#[derive(Clone)]
pub(super) enum Way {
    /// Datagrams (RFC 2865).
    Udp(SocketAddr),
    /// TLS over TCP (RFC 6614).
    Tls(SocketAddr, Arc<ClientConfig>),
}

pub(super) struct Arrived {
    server: ServerId,
    socket: u32,
    /// Keys may be in it.
    pub(super) payload: Zeroizing<Vec<u8>>,
}

/// What came by one socket goes back here.
pub(super) struct Back {
    pub(super) server: ServerId,
    pub(super) socket: u32,
    pub(super) arrived: mpsc::Sender<Arrived>,
}

impl Back {
    /// Whether anybody is there to take it.
    pub(super) async fn give(&self, payload: Zeroizing<Vec<u8>>) -> bool {
        let arrived = Arrived { server: self.server, socket: self.socket, payload };
        self.arrived.send(arrived).await.is_ok()
    }
}

struct Socket {
    outgoing: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    client: Client,
    ways: Vec<Way>,
    names: Vec<String>,
    sockets: BTreeMap<(ServerId, u32), Socket>,
    arrived: mpsc::Sender<Arrived>,
    waiting: BTreeMap<QueryId, oneshot::Sender<Verdict>>,
    next: u64,
    open: watch::Sender<usize>,
    unbelievable: u64,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut arrivals: mpsc::Receiver<Arrived>,
    ) {
        let mut asked = true;
        while asked || self.client.open() > 0 {
            let deadline = self.client.deadline();
            tokio::select! {
                command = commands.recv(), if asked => match command {
                    Some(Command::Reached(sender)) => drop(sender.send(())),
                    Some(Command::Ask(query, sender)) => self.ask(query, Some(sender)),
                    Some(Command::Tell(query)) => self.ask(query, None),
                    None => asked = false,
                },
                Some(Arrived { server, socket, payload }) = arrivals.recv() => {
                    let input = Input::Datagram { server, socket, payload: &payload };
                    self.client.handle(clock::now(), input);
                }
                () = clock::sleep_until(deadline) => self.client.handle(clock::now(), Input::Wake),
            }
            self.drain();
        }
    }

    fn ask(&mut self, query: Box<Query>, sender: Option<oneshot::Sender<Verdict>>) {
        self.next = self.next.wrapping_add(1);
        let id = QueryId(self.next);
        self.waiting.extend(sender.map(|sender| (id, sender)));
        self.client.handle(clock::now(), Input::Ask(id, query));
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Transmit { server, socket, payload } => self.send(server, socket, payload),
                Output::Answer(answer) => {
                    if let (None, Verdict::None(why)) = (self.waiting.get(&answer.id), &answer.verdict) {
                        tracing::warn!("RADIUS accounting: {why}");
                    }
                    if let Some(sender) = self.waiting.remove(&answer.id) {
                        // Who asked may have gone.
                        let _ = sender.send(answer.verdict);
                    }
                }
                Output::Reachable(server, there) => self.reachable(server, there),
            }
        }
        if self.client.unbelievable > self.unbelievable {
            self.unbelievable = self.client.unbelievable;
            tracing::warn!(
                count = self.unbelievable,
                "RADIUS answers were not believed: the secret differs, they have no Message-Authenticator, or somebody \
                 forges them"
            );
        }
        self.open.send_if_modified(|open| std::mem::replace(open, self.client.open()) != self.client.open());
    }

    fn reachable(&self, server: ServerId, there: bool) {
        let name = self.names.get(server.0).map(String::as_str).unwrap_or_default();
        match there {
            true => tracing::info!(server = name, "the RADIUS server answers again"),
            false => tracing::warn!(server = name, "the RADIUS server does not answer"),
        }
    }

    fn send(&mut self, server: ServerId, socket: u32, payload: Zeroizing<Vec<u8>>) {
        let Some(way) = self.ways.get(server.0) else { return };
        let arrived = &self.arrived;
        let open = || {
            let (outgoing, payloads) = mpsc::unbounded_channel();
            let arrived = arrived.clone();
            let back = Back { server, socket, arrived };
            let way = way.clone();
            let task = tokio::spawn(async move {
                match way {
                    Way::Udp(to) => {
                        if let Err(error) = (Link { to, back }).carry(payloads).await {
                            tracing::warn!(%error, %to, "no socket for RADIUS");
                        }
                    }
                    Way::Tls(to, config) => TlsLink::new(to, config, back).carry(payloads).await,
                }
            });
            Socket { outgoing, task }
        };
        // What cannot be sent is as good as lost: it is sent again.
        let open = self.sockets.entry((server, socket)).or_insert_with(open);
        if open.outgoing.send(payload).is_err() {
            self.sockets.remove(&(server, socket));
        }
    }
}

/// A socket that hears nobody but one server: one of its own for every 256 identifiers.
struct Link {
    to: SocketAddr,
    back: Back,
}

impl Link {
    async fn carry(self, mut payloads: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) -> std::io::Result<()> {
        let from: SocketAddr = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let udp = UdpSocket::bind(from).await?;
        udp.connect(self.to).await?;
        let mut buffer = vec![0; MAX_LEN];
        loop {
            tokio::select! {
                payload = payloads.recv() => match payload {
                    // An error is of what was sent before (ICMP), or this host's: the client's clock decides on both.
                    Some(payload) => drop(udp.send(&payload).await),
                    None => return Ok(()),
                },
                received = udp.recv(&mut buffer) => {
                    let Ok(length) = received else { continue };
                    let payload = Zeroizing::new(buffer.get(..length).unwrap_or_default().to_vec());
                    if !self.back.give(payload).await {
                        return Ok(());
                    }
                }
            }
        }
    }
}
