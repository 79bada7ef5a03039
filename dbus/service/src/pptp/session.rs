//! One control connection and the link of its one call, by one task.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Instant, Step};
use adit_ppp::LinkConfig;
use adit_ppp_kernel::Channel;
use adit_pptp::wire::whole;
use adit_pptp::{Answer, Ask, CallNumber, Config, Control, Event, Input, Output, Role, Timing};
use adit_pptp_kernel::{BoundCall, PptpSocket};
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock;
use crate::ppp::{self, Driver, Happened, Later, Leaving, Line, Unit, World};

/// So long nothing may come by GRE after the call is up.
const NO_GRE: Duration = Duration::from_secs(8);
/// Octets that a peer may leave unread.
const MOST_UNSENT: usize = 16 * 1024;
/// Octets that are heard at once: more than the longest message has.
const MOST_HEARD: usize = 2048;
/// So long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a session is made of.
pub(crate) struct Start {
    pub(crate) role: Role,
    pub(crate) host_name: String,
    pub(crate) tcp: TcpStream,
    pub(crate) local: Ipv4Addr,
    pub(crate) remote: Ipv4Addr,
    pub(crate) mtu: u16,
    pub(crate) link: LinkConfig,
    pub(crate) world: Arc<dyn World>,
}

/// A session.
pub(crate) struct Session {
    control: Control,
    start: Start,
    call: Option<CallNumber>,
    bound: Option<BoundCall>,
    ready: Option<(PptpSocket, Channel)>,
    driver: Option<Driver>,
    /// The call's socket once more, for whoever keeps it for the next process.
    socket: Option<OwnedFd>,
    /// What the next process was told last.
    told: Option<[Vec<u8>; 2]>,
    /// Octets of control messages that are still to be sent.
    unsent: Vec<u8>,
    /// Octets that have been heard, and not yet been taken off the connection: who dies in between leaves them to the next process.
    taken: usize,
    /// The TCP connection stands: what is closed is readable for ever, and would be read for ever.
    connected: bool,
    /// The control connection has said its last word.
    closed: bool,
    /// Until then something must come by GRE.
    gre_until: Option<Instant>,
    over: Option<Result<(), Failure>>,
}

impl Session {
    /// Begins on a TCP connection that stands.
    pub(crate) fn new(start: Start) -> Self {
        let mut control = Control::new(control_config(start.role, start.host_name.clone()));
        control.handle(clock::now(), Input::Connected);
        Self::of(start, control)
    }

    /// Goes on with one that a process before has left.
    pub(super) fn again(
        start: Start,
        control: Control,
        call: CallNumber,
        socket: OwnedFd,
        driver: Driver,
    ) -> Self {
        let of = Self::of(start, control);
        Self { call: Some(call), socket: Some(socket), driver: Some(driver), ..of }
    }

    const fn of(start: Start, control: Control) -> Self {
        Self {
            control,
            start,
            call: None,
            bound: None,
            ready: None,
            driver: None,
            socket: None,
            told: None,
            unsent: Vec::new(),
            taken: 0,
            connected: true,
            closed: false,
            gre_until: None,
            over: None,
        }
    }

    async fn go_on(&mut self) -> Happened {
        loop {
            self.drain();
            self.settle();
            if let Some(why) = self.over.take() {
                return Happened::Closed(why);
            }
            let deadline = self.control.deadline().map(|(at, _)| at);
            let (gre, gre_until) = (self.gre_until.is_some(), self.gre_until);
            let of_link = async {
                match self.driver.as_mut() {
                    Some(driver) => driver.step().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = exchange(&mut self.start.tcp, &mut self.unsent), if self.connected => {
                    self.hear(input);
                }
                happened = of_link => match happened {
                    Happened::Nothing => {}
                    Happened::Established => return Happened::Established,
                    Happened::Closed(why) => return Happened::Closed(why),
                },
                () = clock::sleep_until(deadline) => self.control.handle(clock::now(), Input::Wake),
                () = clock::sleep_until(gre_until), if gre => self.gre_time(),
            }
        }
    }

    /// What has been heard is answered, and has been told to whoever goes on after this process, before it is taken off the
    /// connection.
    fn settle(&mut self) {
        if self.connected {
            // What is wrong with it is heard next.
            let _ = write(&self.start.tcp, &mut self.unsent);
        }
        self.hand_on();
        self.take_off();
    }

    fn take_off(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        let mut buffer = [0; MOST_HEARD];
        if let Some(buffer) = buffer.get_mut(..taken).filter(|buffer| !buffer.is_empty()) {
            let _ = recv(self.start.tcp.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT);
        }
    }

    /// As it stands now, for the next process, where that is news.
    fn hand_on(&mut self) {
        if !self.start.world.hands_on() {
            return;
        }
        let left = self.left();
        if left == self.told {
            return;
        }
        let files =
            self.socket.as_ref().map(|socket| [("socket", socket.as_fd()), ("tcp", self.start.tcp.as_fd())]);
        let unit = self.driver.as_ref().and_then(Driver::unit);
        let leaving = match (&left, unit, &files) {
            (Some([control, link]), Some(unit), Some(files)) => {
                self.start.world.hand_on(Some(&Leaving { unit, files, snapshots: &[control, link] }));
                true
            }
            _ => false,
        };
        if !leaving {
            self.start.world.hand_on(None);
        }
        self.told = left.filter(|_| leaving);
    }

    /// The control connection, and the link. `None`: nobody could go on from here.
    fn left(&self) -> Option<[Vec<u8>; 2]> {
        let stands = self.connected && !self.closed && self.over.is_none() && self.unsent.is_empty();
        let driver = self.driver.as_ref().filter(|_| stands)?;
        Some([self.control.snapshot()?, driver.snapshot()?])
    }

    fn hear(&mut self, input: Input) {
        if let Input::Received(octets) = &input {
            self.taken = octets.len();
        }
        self.connected &= !matches!(input, Input::Disconnected(_));
        self.control.handle(clock::now(), input);
    }

    fn gre_time(&mut self) {
        self.gre_until = None;
        if self.driver.as_ref().is_some_and(|driver| !driver.has_heard()) {
            let text = "the control connection works, and nothing comes by GRE: something between this host and the server \
                        drops IP protocol 47";
            let hint = "let GRE (IP protocol 47) pass both ways; a router that translates addresses needs its PPTP helper \
                        (nf_conntrack_pptp)";
            let why = Failure::new(FailureCode::ServerUnreachable, Step::Link, text).hint(hint);
            self.over = Some(Err(why));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.control.poll() {
            match output {
                Output::Transmit(octets) => {
                    self.unsent.extend(octets);
                    if self.unsent.len() > MOST_UNSENT {
                        let text = "the peer does not read the control connection";
                        let why = Failure::new(FailureCode::PeerLost, Step::Call, text);
                        self.control.handle(clock::now(), Input::Disconnected(Some(why)));
                    }
                }
                Output::Ask { id, ask: Ask::Open { peer }, .. } => {
                    let answer = Answer::CallId(self.open(peer));
                    self.control.handle(clock::now(), Input::Answer { id, answer });
                }
                Output::Event(Event::Peer { host_name, vendor }) => {
                    tracing::debug!(host_name, vendor, "PPTP peer");
                }
                Output::Event(Event::CallUp { call, peer, .. }) => self.call_up(call, peer),
                Output::Event(Event::CallDown { why, .. }) => self.end_link(why),
                Output::Close(why) => {
                    self.closed = true;
                    self.end_link(why);
                }
            }
        }
    }

    fn end_link(&mut self, why: Result<(), Failure>) {
        match (&mut self.driver, why) {
            (Some(driver), Err(why)) => driver.down(why),
            (_, why) => {
                self.over.get_or_insert(why);
            }
        }
    }

    fn open(&mut self, peer: Option<u16>) -> Result<u16, Failure> {
        let bound = BoundCall::bind(self.start.local)?;
        let id = bound.call_id();
        match peer {
            Some(peer) => {
                self.ready = Some(connect(bound, self.start.remote, peer)?);
            }
            None => self.bound = Some(bound),
        }
        Ok(id)
    }

    fn call_up(&mut self, call: CallNumber, peer: u16) {
        self.call = Some(call);
        let made = match (self.ready.take(), self.bound.take()) {
            (Some(ready), _) => Ok(ready),
            (None, Some(bound)) => connect(bound, self.start.remote, peer),
            (None, None) => Err(Failure::new(FailureCode::Internal, Step::Call, "the call has no socket")),
        };
        match made {
            Ok((socket, channel)) => {
                let Start { link, mtu, world, .. } = &self.start;
                self.socket = world.hands_on().then(|| socket.as_fd().try_clone_to_owned().ok()).flatten();
                let world = Arc::clone(world);
                let line = Line::Channel(Arc::new(channel), Box::new(socket));
                self.driver = Some(Driver::start(link.clone(), line, *mtu, world));
                self.gre_until = (self.start.role == Role::Pns).then(|| clock::now() + NO_GRE);
            }
            Err(why) => self.over = Some(Err(why)),
        }
    }

    /// Ends the link, then the call, then the connection, telling the peer each time.
    async fn take_leave(mut self) {
        // A peer that does not answer is not waited for longer.
        let _ = tokio::time::timeout(FAREWELL, self.farewell()).await;
        let (bound, ready, socket) = (self.bound.take(), self.ready.take(), self.socket.take());
        if let Some(driver) = self.driver.take() {
            driver.dismantle().await;
        }
        let _ = tokio::task::spawn_blocking(move || drop((bound, ready, socket))).await;
    }

    async fn farewell(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.close();
            while !driver.is_over() && !matches!(driver.step().await, Happened::Closed(_)) {}
        }
        self.control.handle(clock::now(), Input::Stop);
        loop {
            while let Some(output) = self.control.poll() {
                match output {
                    Output::Transmit(octets) => self.unsent.extend(octets),
                    Output::Close(_) => self.closed = true,
                    Output::Ask { .. } | Output::Event(_) => {}
                }
            }
            if self.closed || !self.connected {
                // The answer to the peer's own farewell, if it still takes it.
                let _ = write(&self.start.tcp, &mut self.unsent);
                return;
            }
            let deadline = self.control.deadline().map(|(at, _)| at);
            let input = tokio::select! {
                input = exchange(&mut self.start.tcp, &mut self.unsent) => input,
                () = clock::sleep_until(deadline) => Input::Wake,
            };
            self.hear(input);
            self.take_off();
        }
    }
}

impl ppp::Session for Session {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Happened> + Send + '_>> {
        Box::pin(self.go_on())
    }

    fn unit(&self) -> Option<&Arc<Unit>> {
        self.driver.as_ref().and_then(Driver::unit)
    }

    fn end(self: Box<Self>) -> Later<()> {
        Box::pin(self.take_leave())
    }
}

/// One call at a time.
pub(super) fn control_config(role: Role, host_name: String) -> Config {
    Config { role, host_name, calls: 1, timing: Timing::default() }
}

fn connect(bound: BoundCall, remote: Ipv4Addr, peer: u16) -> Result<(PptpSocket, Channel), Failure> {
    let socket = bound.connect(remote, peer)?;
    let channel = Channel::attach(std::os::fd::AsFd::as_fd(&socket))?;
    Ok((socket, channel))
}

/// Writes what is to be written, and waits for what comes. Cancel-safe: what was written is no longer in `unsent`.
async fn exchange(tcp: &mut TcpStream, unsent: &mut Vec<u8>) -> Input {
    loop {
        if let Err(e) = write(tcp, unsent) {
            return broken(&e);
        }
        tokio::select! {
            ready = tcp.writable(), if !unsent.is_empty() => {
                if let Err(e) = ready {
                    return broken(&e);
                }
            }
            ready = tcp.ready(Interest::READABLE) => match ready.and_then(|ready| read(tcp, ready.is_read_closed())) {
                Ok(octets) if octets.is_empty() => return Input::Disconnected(None),
                Ok(octets) => return Input::Received(octets),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return broken(&e),
            },
        }
    }
}

/// Whole messages that have come; they stay where they are until they have been heard. What has come in part waits for the rest, if
/// that can come. None at all: the connection is closed. No more room than it takes: who waits has none.
fn read(tcp: &TcpStream, closed: bool) -> io::Result<Vec<u8>> {
    let mut buffer = [0; MOST_HEARD];
    tcp.try_io(Interest::READABLE, || {
        let length = recv(tcp.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?;
        let come = buffer.get(..length).unwrap_or_default();
        match come.get(..whole(come)).unwrap_or_default() {
            [] if !come.is_empty() && !closed => Err(io::ErrorKind::WouldBlock.into()),
            octets => Ok(octets.to_vec()),
        }
    })
}

/// As much as goes at once.
fn write(tcp: &TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match tcp.try_write(unsent) {
            Ok(n) => drop(unsent.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn broken(error: &io::Error) -> Input {
    let text = format!("the control connection broke: {error}");
    Input::Disconnected(Some(Failure::new(FailureCode::PeerLost, Step::Call, text)))
}

#[cfg(test)]
mod tests {
    use adit_ppp::{Addresses, Answer, Ask, Event, Mppe, NameServers, Network, Timing};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::ppp::{Later, UnitPlan};

    /// Nobody is asked before there is a call.
    struct Nobody;

    impl World for Nobody {
        fn ask(self: Arc<Self>, _: Ask) -> Later<Answer> {
            unreachable!()
        }

        fn unit(self: Arc<Self>, _: String) -> Later<Result<UnitPlan, Failure>> {
            unreachable!()
        }

        fn install(self: Arc<Self>, _: Arc<Unit>, _: Network) -> Later<Result<(), Failure>> {
            unreachable!()
        }

        fn event(&self, _: &Event) {}
    }

    fn session(tcp: TcpStream) -> Session {
        let link = LinkConfig {
            mru: 1400,
            compress_header: true,
            prove: Vec::new(),
            demand: Vec::new(),
            name: String::new(),
            eap: adit_ppp::EapConfig::default(),
            mppe: Mppe::REQUIRED,
            ipv4: true,
            ipv6: false,
            addresses: Addresses::FromPeer { wanted: None, servers: NameServers::ALL },
            timing: Timing::default(),
        };
        let (role, here) = (Role::Pns, Ipv4Addr::LOCALHOST);
        let world = Arc::new(Nobody);
        Session::new(Start {
            role,
            host_name: String::new(),
            tcp,
            local: here,
            remote: here,
            mtu: 1400,
            link,
            world,
        })
    }

    async fn peer_goes_away() -> Result<(), Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut session = session(tcp);
        let goes_away = async {
            let mut request = [0; 156];
            peer.read_exact(&mut request).await.unwrap();
            drop(peer);
        };
        let (happened, ()) = tokio::join!(session.go_on(), goes_away);
        session.take_leave().await;
        match happened {
            Happened::Closed(why) => why,
            _ => panic!("it went on"),
        }
    }

    /// On the daemon's one thread, a connection that is read for ever leaves no time for anything else.
    #[test]
    fn a_peer_that_closes_the_connection_is_not_listened_to_any_more() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let watch = runtime();
        let ended = watch.block_on(async {
            let work = tokio::task::spawn_blocking(move || runtime().block_on(peer_goes_away()));
            tokio::time::timeout(Duration::from_secs(60), work).await
        });
        watch.shutdown_background();
        let why = ended.expect("it never ended").unwrap().unwrap_err();
        assert_eq!(why.step, Step::Call);
    }
}
