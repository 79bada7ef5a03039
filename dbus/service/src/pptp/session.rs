//! One control connection and the link of its one call, by one task.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Instant, Step};
use adit_ppp::LinkConfig;
use adit_ppp_kernel::Channel;
use adit_pptp::{Answer, Ask, CallNumber, Config, Control, Event, Input, Output, Role, Timing};
use adit_pptp_kernel::{BoundCall, PptpSocket};
use tokio::net::TcpStream;

use crate::clock;
use crate::ppp::{self, Driver, Happened, Later, Line, Unit, World};

/// So long nothing may come by GRE after the call is up.
const NO_GRE: Duration = Duration::from_secs(8);
/// Octets that a peer may leave unread.
const MOST_UNSENT: usize = 16 * 1024;
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
    /// Octets of control messages that are still to be sent.
    unsent: Vec<u8>,
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
        let config = Config {
            role: start.role,
            host_name: start.host_name.clone(),
            calls: 1,
            timing: Timing::default(),
        };
        let mut control = Control::new(config);
        control.handle(clock::now(), Input::Connected);
        Self {
            control,
            start,
            call: None,
            bound: None,
            ready: None,
            driver: None,
            unsent: Vec::new(),
            connected: true,
            closed: false,
            gre_until: None,
            over: None,
        }
    }

    async fn go_on(&mut self) -> Happened {
        loop {
            self.drain();
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

    fn hear(&mut self, input: Input) {
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
        let (bound, ready) = (self.bound.take(), self.ready.take());
        if let Some(driver) = self.driver.take() {
            driver.dismantle().await;
        }
        let _ = tokio::task::spawn_blocking(move || drop((bound, ready))).await;
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
            ready = tcp.readable() => match ready.and_then(|()| read(tcp)) {
                Ok(octets) if octets.is_empty() => return Input::Disconnected(None),
                Ok(octets) => return Input::Received(octets),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return broken(&e),
            },
        }
    }
}

/// No more room than it takes: who waits has none at all.
fn read(tcp: &TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 2048];
    let length = tcp.try_read(&mut buffer)?;
    Ok(buffer.get(..length).unwrap_or_default().to_vec())
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
    use std::time::Duration;

    use adit_ppp::{Addresses, Answer, Ask, Event, Mppe, Network, Timing};
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
            addresses: Addresses::FromPeer { wanted: None },
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
