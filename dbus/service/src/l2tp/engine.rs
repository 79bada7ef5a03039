//! One endpoint with its sockets, by one task: datagrams, orders and deadlines go in; datagrams, the kernel's tunnels and links
//! that are up come out.

mod again;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_crypto::OsEntropy;
use adit_l2tp::{
    Answer, Ask, AskId, Association, Endpoint, Event, Ids, Input, Output, SessionNumber, TunnelNumber,
};
use adit_ppp_kernel::{Channel, L2tpOwned, L2tpOwners, L2tpSession, L2tpTunnel};
use adit_xfrm_kernel::ike_socket::IkeSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::Leaves;
use crate::clock;
use crate::host::MARK;
use crate::ppp::Ahead;
pub(super) use again::Keeping;

/// The longest control message that is read: what is longer means nothing.
const LONGEST: usize = 8192;
/// Datagrams that wait for the endpoint; more wait in the kernel.
const WAITING: usize = 64;
/// Links that are up and not taken yet.
const UNTAKEN: usize = 64;
/// So long the farewell of all tunnels may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What may be asked of an engine that runs.
#[derive(Debug)]
pub(super) enum Order {
    /// Ends a session.
    Clear(SessionNumber),
    /// The IPsec is gone that brought what had this mark.
    Bare(Association, Failure),
    /// Ends all tunnels, and then the engine.
    Stop,
}

/// A session that is up: PPP may begin.
pub(crate) struct Link {
    pub(super) number: SessionNumber,
    /// Where its messages go and come from.
    pub(crate) path: Path,
    /// By what.
    pub(crate) association: Association,
    pub(super) channel: Arc<Channel>,
    pub(super) session: Arc<L2tpSession>,
    /// Its interface, if that is made already.
    pub(crate) ahead: Option<Ahead>,
    /// What the next process goes on from, where a peer has dialled it.
    pub(super) leaves: Option<Arc<Leaves>>,
    /// Says why it is over, when it is.
    pub(super) over: oneshot::Receiver<Result<(), Failure>>,
    pub(super) orders: Orders,
}

impl Link {
    /// It is not taken: the peer is told.
    pub(crate) fn refuse(self) {
        self.orders.give(Order::Clear(self.number));
    }
}

/// The way to an engine. The last one that goes ends it.
#[derive(Clone, Debug)]
pub(super) struct Orders(mpsc::UnboundedSender<Order>);

impl Orders {
    pub(super) fn give(&self, order: Order) {
        // One that is over has nothing left to be ended.
        let _ = self.0.send(order);
    }
}

/// A way to an engine that does not keep it.
#[derive(Clone, Debug)]
pub(crate) struct WeakOrders(mpsc::WeakUnboundedSender<Order>);

impl WeakOrders {
    /// What came by this is over.
    pub(super) fn bare(&self, association: Association, why: Failure) {
        if let Some(orders) = self.0.upgrade() {
            let _ = orders.send(Order::Bare(association, why));
        }
    }
}

/// An engine that runs.
pub(crate) struct Running {
    pub(super) orders: Orders,
    /// Why its tunnel is over, where it has dialled one.
    pub(super) over: oneshot::Receiver<Result<(), Failure>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Ends it, telling every peer; returns when it is over.
    pub(crate) async fn stop(self) {
        self.orders.give(Order::Stop);
        let _ = self.task.await;
    }
}

/// A session that the kernel carries, and that is not up yet, or has no channel yet.
struct Carried {
    attached: Option<Attached>,
    /// It is up: whether its data messages are numbered. PPP begins when it has its channel, too.
    up: Option<bool>,
    tunnel: TunnelNumber,
    path: Path,
    association: Association,
}

/// A session with its channel for PPP.
struct Attached {
    channel: Channel,
    session: Arc<L2tpSession>,
    ahead: Option<Ahead>,
}

/// Begins to make the interface of a session that comes.
pub(crate) type Making = Arc<dyn Fn() -> Ahead + Send + Sync>;

/// Its interface is made meanwhile. What comes in for the channel is kept by it. Begins at once.
fn attach(
    session: L2tpSession,
    ahead: Option<Ahead>,
) -> impl Future<Output = Result<Attached, Failure>> + Send {
    let session = Arc::new(session);
    let channel = Channel::attach_early(Arc::clone(&session));
    async move { Ok(Attached { channel: channel.await?, session, ahead }) }
}

/// A tunnel of the kernel's, on the socket that it lives as long as.
struct Tunnel {
    socket: Arc<IkeSocket>,
    kernel: L2tpTunnel,
    /// Dropped with all of this process, it stays for the next one.
    owned: Option<ManuallyDrop<L2tpOwned>>,
}

impl Tunnel {
    /// It is gone. `kept`: whoever keeps its socket for the next process may have it open still.
    fn end(self, kept: bool) {
        drop(self.owned.map(ManuallyDrop::into_inner));
        if !kept {
            return;
        }
        if let Err(error) = self.kernel.remove() {
            debug!(%error, "L2TP: a tunnel of the kernel's");
        }
        if let Err(error) = self.socket.disconnect() {
            debug!(%error, "L2TP: a tunnel's socket");
        }
    }
}

/// Where from and where to, by what, and what.
type Datagram = (Path, Association, Vec<u8>);

fn input((path, association, octets): Datagram) -> Input {
    Input::Datagram { path, association, octets }
}

/// What is sent by it carries this: with what the kernel finds a peer's IPsec.
const fn mark_of(association: Association) -> u32 {
    match association {
        Association(0) => MARK,
        Association(mark) => mark,
    }
}

/// An endpoint, its sockets and what of the kernel's belongs to it.
pub(crate) struct Engine {
    endpoint: Endpoint,
    entropy: OsEntropy,
    /// Where strangers come to; the one of who dials becomes its tunnel's.
    sockets: Vec<Arc<IkeSocket>>,
    dials: bool,
    /// Peers are told apart by the marks of their IPsec, and it is said here who may bring what.
    owners: Option<L2tpOwners>,
    tunnels: BTreeMap<TunnelNumber, Tunnel>,
    /// Control connections that stand.
    standing: BTreeSet<TunnelNumber>,
    carried: BTreeMap<SessionNumber, Carried>,
    attaching: JoinSet<(SessionNumber, Result<Attached, Failure>)>,
    up: BTreeMap<SessionNumber, oneshot::Sender<Result<(), Failure>>>,
    most_carried: usize,
    links: mpsc::Sender<Link>,
    orders: mpsc::UnboundedReceiver<Order>,
    way: mpsc::WeakUnboundedSender<Order>,
    first_way: Option<Orders>,
    came: mpsc::Sender<Datagram>,
    datagrams: mpsc::Receiver<Datagram>,
    /// What reads the sockets; each is aborted when the engine is dropped.
    readers: JoinSet<()>,
    reading: BTreeMap<TunnelNumber, tokio::task::AbortHandle>,
    over: Option<oneshot::Sender<Result<(), Failure>>>,
    why: Option<Failure>,
    /// What the next process goes on from.
    keeping: Keeping,
    making: Option<Making>,
}

impl Engine {
    /// One that has dialled by this socket.
    pub(super) fn dialling(
        endpoint: Endpoint,
        socket: IkeSocket,
        leaves: Option<Arc<Leaves>>,
    ) -> (Self, mpsc::Receiver<Link>) {
        let (engine, links) = Self::new(endpoint, vec![socket], None, true, 1);
        (Self { keeping: leaves.map_or(Keeping::Nobody, Keeping::Dialled), ..engine }, links)
    }

    /// One that waits for peers. So many sessions may be on their way. With `owners`, each peer has a mark.
    pub(super) fn listening(
        endpoint: Endpoint,
        sockets: Vec<IkeSocket>,
        owners: Option<L2tpOwners>,
        (most, keeping): (usize, Keeping),
    ) -> (Self, mpsc::Receiver<Link>) {
        let (engine, links) = Self::new(endpoint, sockets, owners, false, most);
        (Self { keeping, ..engine }, links)
    }

    fn new(
        endpoint: Endpoint,
        sockets: Vec<IkeSocket>,
        owners: Option<L2tpOwners>,
        dials: bool,
        most: usize,
    ) -> (Self, mpsc::Receiver<Link>) {
        let (links, taken) = mpsc::channel(UNTAKEN);
        let (way, orders) = mpsc::unbounded_channel();
        let (came, datagrams) = mpsc::channel(WAITING);
        let engine = Self {
            endpoint,
            entropy: OsEntropy::new(),
            sockets: sockets.into_iter().map(Arc::new).collect(),
            dials,
            owners,
            tunnels: BTreeMap::new(),
            standing: BTreeSet::new(),
            carried: BTreeMap::new(),
            attaching: JoinSet::new(),
            up: BTreeMap::new(),
            most_carried: most,
            links,
            orders,
            way: way.downgrade(),
            first_way: Some(Orders(way)),
            came,
            datagrams,
            readers: JoinSet::new(),
            reading: BTreeMap::new(),
            over: None,
            why: None,
            keeping: Keeping::Nobody,
            making: None,
        };
        (engine, taken)
    }

    /// Has each session's interface made with its channel.
    pub(crate) fn making(self, making: Option<Making>) -> Self {
        Self { making, ..self }
    }

    /// A way to it.
    pub(super) fn orders(&self) -> WeakOrders {
        WeakOrders(self.way.clone())
    }

    /// The sockets' ports and addresses are bound already; from now on they are read.
    pub(crate) fn start(mut self) -> Running {
        let (said, over) = oneshot::channel();
        self.over = Some(said);
        let orders = self.first_way.take().unwrap_or_else(|| Orders(mpsc::unbounded_channel().0));
        for socket in self.sockets.clone() {
            self.read(socket);
        }
        Running { orders, over, task: tokio::spawn(self.run()) }
    }

    fn read(&mut self, socket: Arc<IkeSocket>) -> tokio::task::AbortHandle {
        let (came, marked) = (self.came.clone(), self.owners.is_some());
        self.readers.spawn(async move {
            loop {
                socket.readable().await;
                let mut buffer = vec![0; LONGEST];
                // An ICMP error of an earlier datagram comes out here too; retransmission deals with it.
                let Ok(Some(received)) = socket.receive(&mut buffer) else { continue };
                buffer.truncate(received.length);
                let path = Path { local: received.local, remote: received.remote };
                let association = Association(if marked { received.mark } else { 0 });
                // What nobody has let in is nobody's.
                if marked && association == Association::default() {
                    continue;
                }
                if came.send((path, association, buffer)).await.is_err() {
                    return;
                }
            }
        })
    }

    async fn run(mut self) {
        self.drain();
        while !(self.dials && self.endpoint.is_idle()) {
            let deadline = self.endpoint.deadline().map(|(at, _)| at);
            let input = tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Clear(session)) => Input::Clear { session },
                    Some(Order::Bare(association, why)) => Input::Bare { association, why },
                    Some(Order::Stop) | None => break,
                },
                Some(datagram) = self.datagrams.recv() => input(datagram),
                Some(done) = self.attaching.join_next() => match done.map(|(of, done)| (of, self.has_channel(of, done))) {
                    Ok((session, Err(()))) => Input::Clear { session },
                    Ok((_, Ok(()))) | Err(_) => continue,
                },
                () = clock::sleep_until(deadline) => Input::Wake,
            };
            self.handle(input);
            if self.dials && self.why.is_some() {
                break;
            }
        }
        let _ = tokio::time::timeout(FAREWELL, self.farewell()).await;
        self.end();
    }

    fn handle(&mut self, input: Input) {
        self.endpoint.handle(clock::now(), &mut self.entropy, input);
        self.drain();
    }

    /// Ends every tunnel, and waits until the peers know.
    async fn farewell(&mut self) {
        for tunnel in self.standing.clone() {
            self.handle(Input::Close { tunnel });
        }
        while !self.standing.is_empty() {
            let deadline = self.endpoint.deadline().map(|(at, _)| at);
            let input = tokio::select! {
                Some(datagram) = self.datagrams.recv() => input(datagram),
                () = clock::sleep_until(deadline) => Input::Wake,
            };
            self.handle(input);
        }
    }

    fn end(mut self) {
        let why = self.why.take().map_or(Ok(()), Err);
        for said in std::mem::take(&mut self.up).into_values() {
            let _ = said.send(why.clone());
        }
        if let Some(over) = self.over.take() {
            let _ = over.send(why);
        }
        let (kept, Self { carried, tunnels, .. }) = (self.keeping.keeps(), self);
        // The kernel takes its time for each.
        tokio::task::spawn_blocking(move || {
            drop(carried);
            tunnels.into_values().for_each(|tunnel| tunnel.end(kept));
        });
    }

    fn drain(&mut self) {
        let mut held = Vec::new();
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit { transmit, association } if self.keeping.keeps() => {
                    held.push((transmit, association));
                }
                Output::Transmit { transmit, association } => {
                    self.send(&transmit.path, association, &transmit.payload);
                }
                Output::Ask { id, ask } => self.ask(id, ask),
                Output::Event(event) => self.event(event),
            }
        }
        self.hand_on();
        for (transmit, association) in held {
            self.send(&transmit.path, association, &transmit.payload);
        }
    }

    fn send(&self, path: &Path, association: Association, payload: &[u8]) {
        let of_tunnel = self.tunnels.values().map(|t| &t.socket);
        let mut fitting = self.sockets.iter().filter(|s| s.is_v4() == path.local.is_ipv4()).chain(of_tunnel);
        let Some(socket) = fitting.find(|s| s.port() == path.local.port()) else { return };
        // Nobody else sends by these sockets.
        let marked = if self.owners.is_some() { socket.mark(mark_of(association)) } else { Ok(()) };
        if let Err(error) = marked.and_then(|()| socket.send(path, &[payload])) {
            // As if it had been lost on the way: it is sent again.
            debug!(?path, %error, "L2TP: not sent");
        }
    }

    fn ask(&mut self, id: AskId, ask: Ask) {
        let Ask::Carry { tunnel, session, ids, path, association, lns } = ask;
        let done = self.carry((tunnel, session), ids, (path, association), lns);
        if let Err(why) = &done {
            info!(remote = %path.remote, code = %why.code, "L2TP: {why}");
        }
        let answer = Answer::Carried(done);
        self.endpoint.handle(clock::now(), &mut self.entropy, Input::Answer { id, answer });
    }

    /// Has the kernel carry a session.
    fn carry(
        &mut self,
        (tunnel, session): (TunnelNumber, SessionNumber),
        ids: Ids,
        (path, association): (Path, Association),
        lns: bool,
    ) -> Result<(), Failure> {
        if self.carried.len() >= self.most_carried {
            let text = "L2TP: too many sessions are on their way";
            return Err(Failure::new(FailureCode::PeerBusy, Step::Call, text));
        }
        // The longest part first.
        let ahead = self.making.as_ref().map(|making| making());
        if !self.tunnels.contains_key(&tunnel) {
            let made = self.make_tunnel(tunnel, ids, (path, association))?;
            self.tunnels.insert(tunnel, made);
        }
        let none = || Failure::new(FailureCode::Internal, Step::Call, "there is no tunnel");
        let kernel = &self.tunnels.get(&tunnel).ok_or_else(none)?.kernel;
        let made = kernel.session(ids.session, ids.peer_tunnel, ids.peer_session, lns)?;
        let attached = attach(made, ahead);
        self.attaching.spawn(async move { (session, attached.await) });
        self.carried.insert(session, Carried { attached: None, up: None, tunnel, path, association });
        Ok(())
    }

    /// A session has its channel, or is none (`Err`).
    fn has_channel(&mut self, number: SessionNumber, done: Result<Attached, Failure>) -> Result<(), ()> {
        let Some(carried) = self.carried.get_mut(&number) else {
            // It is over meanwhile.
            tokio::task::spawn_blocking(move || drop(done));
            return Ok(());
        };
        match done {
            Ok(attached) => {
                carried.attached = Some(attached);
                self.begin(number);
                Ok(())
            }
            Err(why) => {
                info!(remote = %carried.path.remote, code = %why.code, "L2TP: {why}");
                if self.dials {
                    self.why = self.why.take().or(Some(why));
                }
                Err(())
            }
        }
    }

    fn make_tunnel(
        &mut self,
        number: TunnelNumber,
        ids: Ids,
        (path, association): (Path, Association),
    ) -> Result<Tunnel, Failure> {
        let refused = |e: std::io::Error| {
            let text = format!("a UDP socket to {}: {e}", path.remote);
            Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
        };
        let socket = match self.sockets.first().filter(|_| self.dials) {
            Some(socket) => Arc::clone(socket),
            None => Arc::new(IkeSocket::share(path.local, mark_of(association)).map_err(refused)?),
        };
        socket.connect(path.remote).map_err(refused)?;
        // Before there is anything to be brought.
        let owned = self.owners.map(|owners| owners.own(association.0, ids.tunnel)).transpose()?;
        let kernel = L2tpTunnel::make(std::os::fd::AsFd::as_fd(&*socket), ids.tunnel, ids.peer_tunnel)?;
        if !self.dials {
            let reader = self.read(Arc::clone(&socket));
            self.reading.insert(number, reader);
            self.keeping.begin(number, association);
        }
        Ok(Tunnel { socket, kernel, owned: owned.map(ManuallyDrop::new) })
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Peer { host_name, vendor, .. } => debug!(host_name, vendor, "L2TP peer"),
            Event::TunnelUp { tunnel, path } => {
                debug!(remote = %path.remote, "L2TP: tunnel up");
                self.standing.insert(tunnel);
            }
            Event::TunnelDown { tunnel, why } => self.tunnel_down(tunnel, why),
            Event::SessionUp { session, sequencing, .. } => self.session_up(session, sequencing),
            Event::SessionDown { session, why, .. } => self.session_down(session, why),
            Event::Refused { path, why } => info!(from = %path.remote, code = %why.code, "{why}"),
        }
    }

    fn tunnel_down(&mut self, tunnel: TunnelNumber, why: Result<(), Failure>) {
        self.standing.remove(&tunnel);
        if let Some(reader) = self.reading.remove(&tunnel) {
            reader.abort();
        }
        if let Some(gone) = self.tunnels.remove(&tunnel) {
            let kept = self.keeping.end(tunnel);
            tokio::task::spawn_blocking(move || gone.end(kept));
        }
        match why {
            Err(why) if self.dials => self.why = self.why.take().or(Some(why)),
            Err(why) => info!(code = %why.code, said = why.peer.as_deref().unwrap_or_default(), "{why}"),
            Ok(()) => {}
        }
    }

    fn session_up(&mut self, number: SessionNumber, sequencing: bool) {
        if let Some(carried) = self.carried.get_mut(&number) {
            carried.up = Some(sequencing);
            self.begin(number);
        }
    }

    /// PPP begins on a session that is up and has its channel.
    fn begin(&mut self, number: SessionNumber) {
        let ready = |carried: &Carried| carried.up.is_some() && carried.attached.is_some();
        if !self.carried.get(&number).is_some_and(ready) {
            return;
        }
        let Some(Carried { attached: Some(attached), up, tunnel, path, association }) =
            self.carried.remove(&number)
        else {
            return;
        };
        let Attached { channel, session, ahead } = attached;
        self.kept_by(tunnel, &session);
        let channel = Arc::new(channel);
        if up == Some(true)
            && let Err(error) = session.number()
        {
            debug!(%error, "L2TP: without sequence numbers");
        }
        let Some(orders) = self.way.upgrade().map(Orders) else { return };
        let (said, over) = oneshot::channel();
        let (leaves, way) = (self.keeping.of_peer(tunnel), orders.clone());
        let link = Link { number, path, association, channel, session, ahead, leaves, over, orders };
        match self.links.try_send(link) {
            Ok(()) => {
                self.up.insert(number, said);
            }
            // Nobody takes it.
            Err(_) => way.give(Order::Clear(number)),
        }
    }

    fn session_down(&mut self, number: SessionNumber, why: Result<(), Failure>) {
        if let Some(gone) = self.carried.remove(&number) {
            tokio::task::spawn_blocking(move || drop(gone));
        }
        if self.dials
            && let Err(why) = &why
        {
            self.why = self.why.take().or_else(|| Some(why.clone()));
        }
        if let Some(said) = self.up.remove(&number) {
            let _ = said.send(why);
        }
    }
}
