//! One call and its link, by one task.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::LinkConfig;
use adit_ppp::wire::{Protocol, split_frame};
use adit_sstp::binding::Hlak;
use adit_sstp::{Call, Config, Event, Input, Output};

use crate::clock;
use crate::ppp::{self, Driver, Happened, Later, Line, Packets, Unit, World};
use crate::tls::{Came, TlsStream};

/// So long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(4);
/// Octets of a session's own messages that a peer may leave unread: those of a few minutes.
const MOST_UNSENT: usize = 512 << 10;
/// Reads of the interface before others have their turn.
const BATCH: usize = 64;

/// What the link is to be.
pub(super) struct Start {
    pub(super) mtu: u16,
    pub(super) link: LinkConfig,
    pub(super) world: Arc<dyn World>,
}

/// A session.
pub(crate) struct Session {
    call: Call,
    stream: TlsStream,
    start: Start,
    driver: Option<Driver>,
    /// What the link has brought, and nobody heard of yet.
    happened: VecDeque<Happened>,
    /// The link carries packets, and the call does not let them pass yet.
    established: bool,
    /// The connection stands: what is closed is readable for ever, and would be read for ever.
    connected: bool,
    /// The call has said its last word.
    closed: bool,
    /// What the interface has sent, and has not been taken yet.
    frames: VecDeque<Vec<u8>>,
}

impl Session {
    /// Begins inside of TLS that stands.
    pub(super) fn new(config: Config, mut stream: TlsStream, start: Start) -> Self {
        let mut call = Call::new(config);
        call.handle(clock::now(), Input::Connected);
        let first = stream.first();
        call.handle(clock::now(), Input::Received(&first));
        Self {
            call,
            stream,
            start,
            driver: None,
            happened: VecDeque::new(),
            established: false,
            connected: true,
            closed: false,
            frames: VecDeque::new(),
        }
    }

    async fn go_on(&mut self) -> Happened {
        loop {
            self.drain();
            if let Some(happened) = self.happened.pop_front() {
                return happened;
            }
            self.step(true).await;
        }
    }

    /// Waits for the next thing and does it. Cancel-safe.
    async fn step(&mut self, carries: bool) {
        let deadline = self.call.deadline().map(|(at, _)| at);
        let unit = match self.driver.as_ref().and_then(Driver::unit).map(Arc::clone) {
            // What finds no way out waits in the kernel.
            Some(unit) if carries && self.call.is_bound() && !self.stream.is_full() => Some(unit),
            _ => None,
        };
        let of_unit = async {
            match unit.as_deref().and_then(Unit::packets_here) {
                Some(packets) => packets.next(&mut self.frames).await,
                None => std::future::pending().await,
            }
        };
        let of_link = async {
            match self.driver.as_mut() {
                Some(driver) => driver.step().await,
                None => std::future::pending().await,
            }
        };
        let call = &mut self.call;
        let hear = |octets: &[u8]| call.handle(clock::now(), Input::Received(octets));
        tokio::select! {
            came = self.stream.exchange(hear), if self.connected => self.came(came),
            happened = of_link => self.link_did(happened),
            read = of_unit => self.sends(unit.as_deref(), read),
            () = clock::sleep_until(deadline) => {
                self.stream.rest();
                self.call.handle(clock::now(), Input::Wake);
            }
        }
    }

    fn came(&mut self, came: io::Result<Came>) {
        let now = clock::now();
        let lost = match came {
            Ok(Came::Octets) => return,
            Ok(Came::End) => None,
            Ok(Came::Broken(why)) => Some(why),
            Err(error) => {
                let text = format!("the connection broke: {error}");
                Some(Failure::new(FailureCode::PeerLost, Step::Call, text))
            }
        };
        self.connected = false;
        self.call.handle(now, Input::Disconnected(lost));
    }

    /// Packets of this host for the peer: many share a record, and a system call.
    fn sends(&mut self, unit: Option<&Unit>, read: io::Result<()>) {
        let now = clock::now();
        if read.is_err() {
            let text = "the interface is gone";
            return self.end_link(Err(Failure::new(FailureCode::KernelRefused, Step::Link, text)));
        }
        for _ in 0..BATCH {
            while let Some(frame) = self.frames.pop_front() {
                self.call.handle(now, Input::Frame(&frame));
                while let Some(output) = self.call.poll() {
                    self.output(output);
                }
            }
            let packets = unit.and_then(Unit::packets_here).filter(|_| !self.stream.is_full());
            if !packets.is_some_and(|packets| packets.next_now(&mut self.frames)) {
                return;
            }
        }
    }

    fn link_did(&mut self, happened: Happened) {
        match happened {
            Happened::Nothing => {}
            Happened::Established => self.established = true,
            Happened::Closed(why) => self.happened.push_back(Happened::Closed(why)),
        }
        if self.established && self.call.is_bound() {
            self.established = false;
            self.happened.push_back(Happened::Established);
        }
    }

    /// What the call wants of the link, and the link of the call, until neither has anything to say.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.call.poll() {
                self.output(output);
            }
            // What the link has to say stands with the link until somebody asks for it.
            let Some(happened) = self.driver.as_mut().map(Driver::settle) else { break };
            self.link_did(happened);
            let Some(driver) = &mut self.driver else { break };
            if let Some(keys) = driver.take_keys() {
                self.call.handle(clock::now(), Input::Authenticated(Hlak::of(&keys)));
            } else if let Some(frame) = driver.next_frame() {
                self.call.handle(clock::now(), Input::Frame(&frame));
            } else {
                break;
            }
        }
        if let Some(packets) = self.packets() {
            packets.flush();
        }
        if self.connected && self.stream.waiting() > MOST_UNSENT {
            self.connected = false;
            let why =
                Failure::new(FailureCode::PeerLost, Step::Call, "the peer does not read what is sent to it");
            self.call.handle(clock::now(), Input::Disconnected(Some(why)));
            while let Some(output) = self.call.poll() {
                self.output(output);
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Transmit(octets) => self.stream.say(&octets),
            Output::Frame(frame) => self.frame(frame),
            Output::Event(Event::LinkUp) => {
                let Start { link, mtu, world } = &self.start;
                let line = Line::Frames(VecDeque::new());
                self.driver = Some(Driver::start(link.clone(), line, *mtu, Arc::clone(world)));
            }
            Output::Event(Event::Bound(hash)) => {
                tracing::debug!(%hash, "SSTP: the authentication is bound to the certificate");
                self.link_did(Happened::Nothing);
            }
            Output::Event(Event::Peer { host, correlation }) => {
                tracing::debug!(host, correlation, "SSTP: a call");
            }
            Output::Event(Event::Stranger(line)) => {
                tracing::info!(request = line, "SSTP: somebody else than an SSTP client was told so");
            }
            Output::Close(why) => {
                self.closed = true;
                self.end_link(why);
            }
        }
    }

    /// The way of packets between the interface, once there is one, and this session.
    fn packets(&self) -> Option<&dyn Packets> {
        self.driver.as_ref().and_then(Driver::unit).and_then(|unit| unit.packets_here())
    }

    /// A frame of the peer's: the host's, or the link's own.
    fn frame(&mut self, frame: Vec<u8>) {
        let network = matches!(split_frame(&frame), Ok((Protocol::IP | Protocol::IPV6, _)));
        if let Some(packets) = self.packets().filter(|_| network) {
            return packets.deliver(&frame);
        }
        if let Some(driver) = &mut self.driver {
            let happened = driver.hear(frame);
            self.link_did(happened);
        }
    }

    fn end_link(&mut self, why: Result<(), Failure>) {
        match (&mut self.driver, why) {
            (Some(driver), Err(why)) => driver.down(why),
            (_, why) => self.happened.push_back(Happened::Closed(why)),
        }
    }

    /// Ends the link, then the call, then TLS, telling the peer each time.
    async fn take_leave(mut self) {
        // A peer that does not answer is not waited for longer.
        let _ = tokio::time::timeout(FAREWELL, self.farewell()).await;
        self.stream.close();
        if let Some(driver) = self.driver.take() {
            driver.dismantle().await;
        }
    }

    async fn farewell(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.close();
        }
        while self.driver.as_ref().is_some_and(|driver| !driver.is_over()) {
            self.drain();
            self.happened.clear();
            if !self.driver.as_ref().is_some_and(Driver::is_over) {
                self.step(false).await;
            }
        }
        self.drain();
        self.call.handle(clock::now(), Input::Stop);
        loop {
            self.drain();
            if self.closed || !self.connected {
                return;
            }
            self.step(false).await;
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

#[cfg(test)]
mod tests {
    use adit_ppp::{Addresses, Answer, Ask, AuthMethod, EapConfig, Mppe, NameServers, Network};
    use adit_sstp::binding::{CertificateHashes, HashProtocol};
    use adit_sstp::{Role, Timing};
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ppp::UnitPlan;
    use crate::wire::Wire;

    /// Nobody answers: none of these tests gets so far.
    struct Silent;

    impl World for Silent {
        fn ask(self: Arc<Self>, _: Ask) -> Later<Answer> {
            Box::pin(std::future::pending())
        }

        fn unit(self: Arc<Self>, _: String) -> Later<Result<UnitPlan, Failure>> {
            Box::pin(std::future::pending())
        }

        fn install(self: Arc<Self>, _: Arc<Unit>, _: Network) -> Later<Result<(), Failure>> {
            Box::pin(std::future::pending())
        }

        fn event(&self, _: &adit_ppp::Event) {}
    }

    fn link() -> LinkConfig {
        LinkConfig {
            mru: 1400,
            compress_header: true,
            prove: vec![AuthMethod::MsChapV2],
            demand: Vec::new(),
            name: "ann".into(),
            eap: EapConfig::default(),
            mppe: Mppe::OFF,
            ipv4: true,
            ipv6: false,
            addresses: Addresses::FromPeer { wanted: None, servers: NameServers::ALL },
            timing: adit_ppp::Timing::default(),
        }
    }

    fn config(role: Role) -> Config {
        Config { role, certificate: CertificateHashes::of(b"a certificate"), timing: Timing::default() }
    }

    /// What a session sends, and no time passes meanwhile; the first frame of its link, if there is one.
    fn first_frame(session: &mut Session, server: &mut Call, wire: &mut UnixStream) -> Option<Vec<u8>> {
        for _ in 0..4 {
            session.drain();
            session.stream.flush().unwrap();
            let mut octets = [0; 4096];
            let length = wire.read(&mut octets).unwrap_or_default();
            server.handle(clock::now(), Input::Received(&octets[..length]));
            while let Some(output) = server.poll() {
                match output {
                    Output::Transmit(octets) => session.call.handle(clock::now(), Input::Received(&octets)),
                    Output::Frame(frame) => return Some(frame),
                    _ => {}
                }
            }
        }
        None
    }

    #[tokio::test]
    async fn what_a_link_says_leaves_at_once() {
        let (ours, mut wire) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        wire.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        ours.writable().await.unwrap();
        let role = Role::Client { host: "vpn.example.com".into(), correlation: [7; 16] };
        let start = Start { mtu: 1400, link: link(), world: Arc::new(Silent) };
        let mut session = Session::new(config(role), TlsStream::ended_elsewhere(Wire::Unix(ours)), start);
        let mut server =
            Call::new(config(Role::Server { nonce: [1; 32], hashes: vec![HashProtocol::Sha256] }));
        server.handle(clock::now(), Input::Connected);

        let request = first_frame(&mut session, &mut server, &mut wire).unwrap();
        assert_eq!(request.get(..3), Some(&[0xc0, 0x21, 1][..]), "LCP's Configure-Request: {request:02x?}");

        session.driver.as_mut().unwrap().close();
        let farewell = first_frame(&mut session, &mut server, &mut wire).unwrap();
        assert_eq!(farewell.get(..3), Some(&[0xc0, 0x21, 5][..]), "its Terminate-Request: {farewell:02x?}");
    }
}
