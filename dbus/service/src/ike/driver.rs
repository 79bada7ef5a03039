//! One task drives the endpoint: datagrams, answers and deadlines go in; datagrams, questions and events come out.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use adit_core::{Entropy, Path, Transmit};
use adit_ikev2::Endpoint;
use adit_ikev2::api::{
    Answer, Ask, AskId, Event, GoesOnBy, InitiatorConfig, Input, Output, ResponderConfig, ResponderDefaults,
    Restored, SaId,
};
use adit_isakmp::KeMethod;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::v1::Provider;
use futures_util::FutureExt;
use futures_util::future::poll_immediate;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::answering::Answering;
use super::responders::{Beside, Responders};
use super::sockets::{IkeSockets, MAX_DATAGRAM, Taken};
use super::v1::{self, V1, V1Context};
use crate::clock;

/// Datagrams taken from one socket before others and the answers get their turn.
const BUDGET: usize = 64;

/// An answer, at once or later.
pub enum Pending<A = Answer> {
    /// At once.
    Now(A),
    /// When this is done.
    Later(Pin<Box<dyn Future<Output = A> + Send>>),
}

impl<A: Send + 'static> Pending<A> {
    /// The answer, if it is there; else whoever waits for it gets it.
    fn settle(self, later: impl FnOnce(A) + Send + 'static) -> Option<A> {
        let mut future = match self {
            Self::Now(answer) => return Some(answer),
            Self::Later(future) => future,
        };
        // What turns out to be there at once costs no task.
        if let Some(answer) = poll_immediate(&mut future).now_or_never().flatten() {
            return Some(answer);
        }
        tokio::spawn(async move { later(future.await) });
        None
    }
}

/// Who answers for an IKE_SA: the client's connection, or the server.
pub trait SaContext: Send + Sync {
    /// Answers a question of the core. Called on the driver's task: what takes time is [`Pending::Later`].
    fn ask(&self, sa: SaId, ask: Ask) -> Pending;

    /// Takes note of an event. Called on the driver's task: never blocks.
    fn event(&self, sa: SaId, event: Event);

    /// Whether its IKE_SA is handed on to the next process: [`SaContext::hand_on`].
    fn hands_on(&self) -> bool {
        false
    }

    /// What the next process goes on from, before any datagram leaves that comes after it. `None`: from this moment nobody can.
    fn hand_on(&self, _sa: SaId, _snapshot: Option<&[u8]>) {}

    /// The IKE_SA goes on from a snapshot. Before any question or event of it.
    fn restored(&self, _restored: &Restored) {}
}

/// What peers that dial us meet.
pub struct Listen {
    /// For the core.
    pub defaults: ResponderDefaults,
    /// Addresses of this host on which they may; empty: all.
    pub addresses: Vec<IpAddr>,
}

enum Command {
    Initiate(Box<InitiatorConfig>, Arc<dyn SaContext>, oneshot::Sender<SaId>),
    Restore(Box<Restore>, Arc<dyn SaContext>, oneshot::Sender<Option<Restored>>),
    Input(Input),
    Responder(Option<(Listen, Arc<dyn SaContext>)>),
    Beside(Option<(Beside, Arc<dyn SaContext>)>),
    Answer(AskId, Answer),
    V1(v1::Command),
}

struct Restore {
    snapshot: Zeroizing<Vec<u8>>,
    by: By,
}

/// Who began it.
enum By {
    Us(Box<InitiatorConfig>),
    Peer(Box<ResponderConfig>),
}

/// A handle on the driver's task. The task ends when the last handle is gone.
#[derive(Clone)]
pub struct IkeDriver {
    commands: mpsc::UnboundedSender<Command>,
    sockets: Arc<IkeSockets>,
}

impl IkeDriver {
    /// Dials. Events and questions go to `context`.
    pub async fn initiate(&self, config: InitiatorConfig, context: Arc<dyn SaContext>) -> Option<SaId> {
        let (reply, id) = oneshot::channel();
        self.commands.send(Command::Initiate(Box::new(config), context, reply)).ok()?;
        id.await.ok()
    }

    /// Goes on with an IKE_SA that a process before has left, as [`IkeDriver::initiate`]. `None`: nobody can.
    pub async fn restore(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        config: InitiatorConfig,
        context: Arc<dyn SaContext>,
    ) -> Option<Restored> {
        self.restore_by(snapshot, By::Us(Box::new(config)), context).await
    }

    /// Goes on with one that a peer began, likewise.
    pub async fn restore_peer(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        config: ResponderConfig,
        context: Arc<dyn SaContext>,
    ) -> Option<Restored> {
        self.restore_by(snapshot, By::Peer(Box::new(config)), context).await
    }

    async fn restore_by(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        by: By,
        context: Arc<dyn SaContext>,
    ) -> Option<Restored> {
        let (reply, restored) = oneshot::channel();
        self.commands.send(Command::Restore(Box::new(Restore { snapshot, by }), context, reply)).ok()?;
        restored.await.ok()?
    }

    /// Dials by IKEv1.
    pub async fn initiate_v1(
        &self,
        config: adit_ikev1::api::InitiatorConfig,
        context: Arc<dyn V1Context>,
    ) -> Option<SaId> {
        let (reply, id) = oneshot::channel();
        let command = v1::Command::Initiate(Box::new(config), context, reply);
        self.commands.send(Command::V1(command)).ok()?;
        id.await.ok()
    }

    /// Goes on with a connection of IKEv1's that a process before has left, as [`IkeDriver::initiate_v1`]. `None`: nobody can.
    pub async fn restore_v1(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        config: adit_ikev1::api::InitiatorConfig,
        context: Arc<dyn V1Context>,
    ) -> Option<adit_ikev1::api::Restored> {
        self.restore_v1_by(snapshot, v1::By::Us(Box::new(config)), context).await
    }

    /// Goes on with one that a peer began, likewise.
    pub async fn restore_v1_peer(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        config: adit_ikev1::api::ResponderConfig,
        context: Arc<dyn V1Context>,
    ) -> Option<adit_ikev1::api::Restored> {
        self.restore_v1_by(snapshot, v1::By::Peer(Box::new(config)), context).await
    }

    async fn restore_v1_by(
        &self,
        snapshot: Zeroizing<Vec<u8>>,
        by: v1::By,
        context: Arc<dyn V1Context>,
    ) -> Option<adit_ikev1::api::Restored> {
        let (reply, restored) = oneshot::channel();
        self.commands.send(Command::V1(v1::Command::Restore(snapshot, by, context, reply))).ok()?;
        restored.await.ok()?
    }

    /// Closes an IKE_SA; its context gets `Event::Closed` when it is done.
    pub fn close(&self, sa: SaId) {
        self.input(Input::Close { sa });
    }

    /// Tells the core something: a limit was reached, a peer moved, one more CHILD_SA is wanted.
    pub fn input(&self, input: Input) {
        let _ = self.commands.send(Command::Input(input));
    }

    /// A handle that does not keep the task alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakIkeDriver {
        WeakIkeDriver(self.commands.downgrade())
    }

    /// Lets peers in, with `context` to answer for them; `None`: no longer.
    pub fn set_responder(&self, responder: Option<(Listen, Arc<dyn SaContext>)>) {
        let _ = self.commands.send(Command::Responder(responder));
    }

    /// Lets peers in that ask for what is protected beside the server, with `context` to answer for them; `None`: no longer.
    pub fn set_beside(&self, beside: Option<(Beside, Arc<dyn SaContext>)>) {
        let _ = self.commands.send(Command::Beside(beside));
    }

    /// Lets peers in by IKEv1, likewise.
    pub fn set_v1_responder(
        &self,
        responder: Option<(adit_ikev1::api::ResponderDefaults, Arc<dyn V1Context>)>,
    ) {
        let _ = self.commands.send(Command::V1(v1::Command::Responder(responder)));
    }

    /// The sockets, for their ports.
    #[must_use]
    pub fn sockets(&self) -> &IkeSockets {
        &self.sockets
    }
}

/// A handle on the driver's task that does not keep it alive.
#[derive(Clone)]
pub struct WeakIkeDriver(mpsc::WeakUnboundedSender<Command>);

impl WeakIkeDriver {
    /// One whose task is gone.
    #[cfg(all(test, feature = "recording"))]
    pub(crate) fn gone() -> Self {
        Self(mpsc::unbounded_channel().0.downgrade())
    }

    /// Tells the core something; whether there still is one.
    #[must_use]
    pub fn input(&self, input: Input) -> bool {
        self.0.upgrade().is_some_and(|commands| commands.send(Command::Input(input)).is_ok())
    }
}

/// Starts the driver's task.
#[must_use]
pub fn start(
    sockets: IkeSockets,
    crypto: Arc<dyn Provider>,
    [entropy, of_v1]: [Box<dyn Entropy>; 2],
) -> IkeDriver {
    let (tx, rx) = mpsc::unbounded_channel();
    let sockets = Arc::new(sockets);
    let driver = IkeDriver { commands: tx.clone(), sockets: Arc::clone(&sockets) };
    let v1 = V1::new(Arc::clone(&crypto), of_v1);
    let crypto: Arc<dyn CryptoProvider> = crypto;
    let task = Task {
        endpoint: Endpoint::new(Arc::clone(&crypto), entropy, None),
        v1,
        crypto,
        sockets,
        answering: Answering::new(),
        responders: Responders::default(),
        answers: tx.downgrade(),
        held: Vec::new(),
    };
    tokio::spawn(task.run(rx));
    driver
}

struct Task {
    endpoint: Endpoint,
    v1: V1,
    crypto: Arc<dyn CryptoProvider>,
    sockets: Arc<IkeSockets>,
    answering: Answering<dyn SaContext>,
    responders: Responders,
    answers: mpsc::WeakUnboundedSender<Command>,
    /// Datagrams that leave when what they come from is handed on to the next process.
    held: Vec<Transmit>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let sockets = Arc::clone(&self.sockets);
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let of_v1 = self.v1.deadline().map(|(at, _)| at);
            let deadline = self.endpoint.deadline().map(|(at, _)| at).into_iter().chain(of_v1).min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                socket = sockets.readable() => {
                    for _ in 0..BUDGET {
                        let Some(taken) = sockets.receive(socket, &mut buffer) else { break };
                        if let Taken::Message(path, payload) = taken {
                            self.datagram(path, payload);
                            self.drain();
                        }
                    }
                }
                () = clock::sleep_until(deadline) => {
                    self.endpoint.handle(clock::now(), Input::Wake);
                    self.v1.handle(adit_ikev1::api::Input::Wake);
                }
            }
            self.drain();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Initiate(config, context, reply) => {
                let sa = self.endpoint.initiate(clock::now(), *config);
                self.answering.dialled(sa, context);
                // Whoever wanted it has been stopped meanwhile.
                if reply.send(sa).is_err() {
                    self.endpoint.handle(clock::now(), Input::Close { sa });
                }
            }
            Command::Restore(of, context, reply) => self.restore(*of, context, reply),
            Command::Input(input) => match V1::input(input) {
                Ok(input) => self.v1.handle(input),
                Err(input) => self.endpoint.handle(clock::now(), input),
            },
            Command::V1(command) => self.v1.command(command),
            Command::Responder(responder) => {
                self.responders.set_server(responder);
                self.listen();
            }
            Command::Beside(beside) => {
                self.responders.set_beside(beside);
                self.listen();
            }
            Command::Answer(id, answer) => self.endpoint.handle(clock::now(), Input::Answer { id, answer }),
        }
    }

    fn listen(&mut self) {
        self.endpoint.set_responder(self.responders.defaults());
        self.answering.listen(self.responders.addresses());
        self.answering.serve(self.responders.context());
    }

    fn datagram(&mut self, path: Path, payload: Vec<u8>) {
        if V1::is_of(&payload) {
            self.v1.datagram(path, payload);
        } else if self.answering.hears(&path, &payload) {
            self.endpoint.handle(clock::now(), Input::Datagram { path, payload });
        }
    }

    fn restore(
        &mut self,
        of: Restore,
        context: Arc<dyn SaContext>,
        reply: oneshot::Sender<Option<Restored>>,
    ) {
        let by = match of.by {
            By::Us(ref config) => GoesOnBy::Initiator(config),
            By::Peer(config) => GoesOnBy::Responder(config),
        };
        let restored = self.endpoint.restore(clock::now(), &of.snapshot, by);
        let sa = restored.as_ref().map(|restored| restored.sa);
        if let Some(restored) = &restored {
            context.restored(restored);
            self.answering.dialled(restored.sa, context);
        }
        if let (Err(_), Some(sa)) = (reply.send(restored), sa) {
            self.endpoint.handle(clock::now(), Input::Close { sa });
        }
    }

    /// The next process could go on from here; then what waits for that leaves.
    fn hand_on(&mut self) {
        while let Some(sa) = self.endpoint.take_touched() {
            if let Some(context) = self.answering.known(sa).filter(|context| context.hands_on()) {
                let snapshot = self.endpoint.snapshot(sa);
                context.hand_on(sa, snapshot.as_ref().map(|snapshot| snapshot.as_slice()));
            }
        }
        for transmit in self.held.drain(..) {
            self.sockets.send(&transmit);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(transmit) => self.held.push(transmit),
                Output::Ask { id, sa, ask } => self.ask(id, sa, ask),
                Output::Event { sa, event } => self.event(sa, event),
            }
        }
        self.hand_on();
        self.drain_v1();
    }

    fn drain_v1(&mut self) {
        use adit_ikev1::api::{Input, Output};
        while let Some(output) = self.v1.poll() {
            match output {
                Output::Transmit(transmit) => self.v1.hold(transmit),
                Output::Ask { id, sa, ask } => {
                    let answers = self.answers.clone();
                    let later = move |answer| {
                        if let Some(answers) = answers.upgrade() {
                            let _ = answers.send(Command::V1(v1::Command::Answer(id, answer)));
                        }
                    };
                    if let Some(answer) = self.v1.ask(sa, ask).and_then(|pending| pending.settle(later)) {
                        self.v1.handle(Input::Answer { id, answer });
                    }
                }
                Output::Event { sa, event } => self.v1.event(sa, event),
            }
        }
        for transmit in self.v1.leaving() {
            self.sockets.send(&transmit);
        }
    }

    fn event(&mut self, sa: SaId, event: Event) {
        let closed = matches!(event, Event::Closed(_));
        if let Some(context) = self.answering.of(sa) {
            context.event(sa, event);
        }
        if closed {
            if let Some(context) = self.answering.known(sa).filter(|context| context.hands_on()) {
                context.hand_on(sa, None);
            }
            self.answering.forget(sa);
        }
    }

    fn ask(&mut self, id: AskId, sa: SaId, ask: Ask) {
        let pending = match ask {
            Ask::Generate(method) => {
                let crypto = Arc::clone(&self.crypto);
                key_exchange(method, move || Answer::Generated(crypto.generate(method)))
            }
            Ask::Agree { key, peer } => key_exchange(key.method(), move || Answer::Agreed(key.agree(&peer))),
            Ask::Encapsulate { method, peer } => {
                let crypto = Arc::clone(&self.crypto);
                key_exchange(method, move || Answer::Encapsulated(crypto.encapsulate(method, &peer)))
            }
            other => {
                if let Some(context) = self.responders.beside(&other) {
                    self.answering.dialled(sa, context);
                }
                match self.answering.of(sa) {
                    Some(context) => context.ask(sa, other),
                    None => return,
                }
            }
        };
        let answers = self.answers.clone();
        let later = move |answer| {
            if let Some(answers) = answers.upgrade() {
                let _ = answers.send(Command::Answer(id, answer));
            }
        };
        if let Some(answer) = pending.settle(later) {
            self.endpoint.handle(clock::now(), Input::Answer { id, answer });
        }
    }
}

/// X25519, P-256 and ML-KEM cost a tenth of a millisecond at most, so they are done at once. The others would keep
/// everybody waiting: half a millisecond for P-384, ten for MODP-8192 (`cargo bench -p adit-crypto`).
pub(super) fn key_exchange<A: Send + 'static>(
    method: KeMethod,
    work: impl FnOnce() -> A + Send + 'static,
) -> Pending<A> {
    match method {
        KeMethod::Curve25519
        | KeMethod::Ecp256
        | KeMethod::MlKem512
        | KeMethod::MlKem768
        | KeMethod::MlKem1024 => Pending::Now(work()),
        KeMethod::Ecp384
        | KeMethod::Ecp521
        | KeMethod::Modp1024
        | KeMethod::Modp1536
        | KeMethod::Modp2048
        | KeMethod::Modp3072
        | KeMethod::Modp4096
        | KeMethod::Modp6144
        | KeMethod::Modp8192 => Pending::Later(Box::pin(async {
            // The pool's threads only end with the process.
            match tokio::task::spawn_blocking(work).await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        })),
    }
}
