//! `sstp`: many SSTP clients of one server from one process, which read what comes and carry nothing themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use adit_core::Identity;
use adit_crypto::OsEntropy;
use adit_pki::TrustAnchors;
use adit_ppp::wire::{Protocol, emit_frame, split_frame};
use adit_ppp::{Event, Input, Link, Mppe, Output};
use adit_sstp::binding::{CertificateHashes, Hlak};
use adit_sstp::{self as sstp, Call, Role, Timing};
use adit_tls::{ClientConfig, Engine, Versions};
use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

use crate::crowd::{self, Client, PATIENCE, of_link};
use crate::ping;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    crowd: crowd::Crowd,
    /// The authority of the server's certificate
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The name that it has
    #[arg(long)]
    name: String,
    /// What each pings, once, through its session: who gets no answer is not up
    #[arg(long, value_name = "ADDRESS")]
    ping: Option<Ipv4Addr>,
}

/// Brings them up, says so, and answers for them until SIGTERM, or until the server's part has been measured.
///
/// # Errors
/// That not all came up.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let ca = std::fs::read(&arguments.ca).with_context(|| arguments.ca.display().to_string())?;
    let tls = ClientConfig {
        anchors: Arc::new(TrustAnchors::from_content(&ca)?),
        name: Identity::Fqdn(arguments.name.clone()),
        says_name: true,
        own: None,
        versions: Versions::Both,
    };
    let ping = arguments.ping;
    crowd::run(&arguments.crowd, |client, from, up| Box::pin(dial(client, (tls.clone(), ping), from, up)))
}

async fn dial(
    client: Arc<Client>,
    (tls, ping): (ClientConfig, Option<Ipv4Addr>),
    from: Ipv4Addr,
    up: UnboundedSender<()>,
) -> anyhow::Result<()> {
    let permit = client.window.acquire().await?;
    let coming = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let mut tcp = socket.connect((client.server, sstp::PORT).into()).await.context("TCP port 443")?;
        let engine = shake_hands(&mut tcp, Engine::client(&tls)?).await?;
        let mut session = Session::new(&client, tcp, engine)?;
        session.drain().await?;
        while !session.up {
            session.step().await?;
        }
        if let Some(to) = ping {
            session.ping(to).await.with_context(|| format!("a ping to {to}"))?;
        }
        anyhow::Ok(session)
    };
    let mut session = tokio::time::timeout(PATIENCE, coming).await.context("it takes too long")??;
    drop(permit);
    up.send(())?;
    loop {
        session.step().await?;
    }
}

async fn shake_hands(tcp: &mut TcpStream, mut engine: Engine) -> anyhow::Result<Engine> {
    let mut records = [0; 4096];
    loop {
        tcp.write_all(&engine.records()).await?;
        if engine.tunnel().is_some() {
            return Ok(engine);
        }
        let count = tcp.read(&mut records).await?;
        ensure!(count > 0, "the server closed the connection");
        engine.feed(records.get(..count).unwrap_or_default())?;
    }
}

/// One of them.
struct Session<'a> {
    client: &'a Client,
    tcp: TcpStream,
    engine: Engine,
    call: Call,
    link: Option<Link>,
    entropy: OsEntropy,
    /// Its own address, once it has one.
    address: Option<Ipv4Addr>,
    up: bool,
    /// Its ping has been answered.
    answered: bool,
}

/// The number of each session's only ping.
const PING: u64 = 1;

impl<'a> Session<'a> {
    fn new(client: &'a Client, tcp: TcpStream, engine: Engine) -> anyhow::Result<Self> {
        let shown = engine.tunnel().and_then(|tunnel| tunnel.certificates.into_iter().next());
        let config = sstp::Config {
            role: Role::Client { host: client.server.to_string(), correlation: [7; 16] },
            certificate: CertificateHashes::of(&shown.context("the server has no certificate")?),
            timing: Timing::default(),
        };
        let mut call = Call::new(config);
        call.handle(client.now(), sstp::Input::Connected);
        let entropy = OsEntropy::new();
        Ok(Self { client, tcp, engine, call, link: None, entropy, address: None, up: false, answered: false })
    }

    /// Waits for what happens next, and does what comes of it.
    async fn step(&mut self) -> anyhow::Result<()> {
        let mut records = [0; 4096];
        let deadlines = [self.call.deadline().map(|(at, _)| at), self.link.as_ref().and_then(of_link)];
        let time = self.client.until(deadlines);
        tokio::select! {
            read = self.tcp.read(&mut records) => {
                let count = read?;
                ensure!(count > 0, "the server closed the connection");
                self.engine.feed(records.get(..count).unwrap_or_default())?;
                let octets = self.engine.plaintext();
                self.call.handle(self.client.now(), sstp::Input::Received(octets.expose()));
            }
            () = time => {
                self.call.handle(self.client.now(), sstp::Input::Wake);
                self.tell(Input::Wake);
            }
        }
        self.drain().await
    }

    async fn ping(&mut self, to: Ipv4Addr) -> anyhow::Result<()> {
        let packet = ping::packet(self.address.context("it has no address")?, to, PING);
        self.call.handle(self.client.now(), sstp::Input::Frame(&emit_frame(Protocol::IP, &packet)));
        self.drain().await?;
        while !self.answered {
            self.step().await?;
        }
        Ok(())
    }

    fn tell(&mut self, input: Input) {
        if let Some(link) = &mut self.link {
            link.handle(self.client.now(), &mut self.entropy, input);
        }
    }

    /// What the call wants of the link, and the link of the call, until neither has anything to say.
    async fn drain(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(output) = self.call.poll() {
                self.of_call(output)?;
            } else if let Some(output) = self.link.as_mut().and_then(Link::poll) {
                self.of_link(output)?;
            } else {
                break;
            }
        }
        self.up |= self.address.is_some() && self.call.is_bound();
        self.tcp.write_all(&self.engine.records()).await?;
        Ok(())
    }

    fn of_call(&mut self, output: sstp::Output) -> anyhow::Result<()> {
        match output {
            sstp::Output::Transmit(octets) => self.engine.write(&octets),
            sstp::Output::Frame(frame) => match split_frame(&frame) {
                Ok((Protocol::IP, packet)) => self.answered |= ping::answers(packet, PING),
                _ => self.tell(Input::Frame(frame)),
            },
            sstp::Output::Event(sstp::Event::LinkUp) => {
                self.link = Some(Link::new(self.client.config(Mppe::OFF)));
                self.tell(Input::Up);
            }
            sstp::Output::Event(_) => {}
            sstp::Output::Close(why) => bail!("the call is over: {why:?}"),
        }
        Ok(())
    }

    fn of_link(&mut self, output: Output) -> anyhow::Result<()> {
        let now = self.client.now();
        match output {
            Output::Transmit(frame) => self.call.handle(now, sstp::Input::Frame(&frame)),
            Output::Ask { id, ask } => {
                let answer = self.client.answer(ask);
                self.tell(Input::Answer { id, answer });
            }
            Output::Event(Event::Authenticated(_)) => {
                let keys = self.link.as_ref().and_then(Link::keys).context("there are no keys")?;
                self.call.handle(now, sstp::Input::Authenticated(Hlak::of(&keys)));
            }
            Output::Event(Event::Established(facts)) => self.address = facts.v4.map(|v4| v4.local),
            Output::Event(Event::Closed(why)) => bail!("the link is over: {why:?}"),
            Output::Event(_) => {}
        }
        Ok(())
    }
}
