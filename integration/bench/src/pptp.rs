//! `pptp`: many PPTP clients of one server from one process: its kernel carries their GRE, and nothing of what they would carry.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Instant, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ppp::{
    Addresses, Answer, Ask, AuthMethod, EapConfig, Event, Input, Link, LinkConfig, Mppe, NetworkPlan, Output,
    Timing,
};
use adit_ppp_kernel::Channel;
use adit_pptp::{self as pptp, Control, Role};
use adit_pptp_kernel::{BoundCall, PptpSocket};
use anyhow::{Context, anyhow, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock;
use crate::figures::say;
use crate::process::memory_of;

/// How long one client may take, in an emulated machine too.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest packet of a link, as Adit's own clients have it.
const MTU: u16 = 1400;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The server
    #[arg(long)]
    server: Ipv4Addr,
    /// Addresses of this host to dial from, in turn
    #[arg(long, value_delimiter = ',', required = true)]
    from: Vec<Ipv4Addr>,
    /// Everybody's name
    #[arg(long)]
    user: String,
    /// The file with everybody's password
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// How many
    #[arg(long)]
    count: usize,
    /// How many are on their way at a time
    #[arg(long, default_value_t = 16)]
    window: usize,
    /// The number of the server's process: what it takes for them is said, and they go away again
    #[arg(long)]
    process: Option<u32>,
}

/// Brings them up, says so, and answers for them until SIGTERM, or until the server's part has been measured.
///
/// # Errors
/// That not all came up.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(dial(arguments))
}

async fn dial(arguments: &Arguments) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let secret = std::fs::read(&arguments.secret).with_context(|| arguments.secret.display().to_string())?;
    let before = arguments.process.map(|id| anyhow::Ok((memory_of(id)?, clock::cpu_of(id)?))).transpose()?;
    let client = Arc::new(Client {
        server: arguments.server,
        user: arguments.user.clone(),
        secret: secret.trim_ascii().to_vec(),
        began: tokio::time::Instant::now(),
        window: Semaphore::new(arguments.window),
    });
    let (up, mut came_up) = tokio::sync::mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for (_, from) in (0..arguments.count).zip(arguments.from.iter().cycle()) {
        let (client, from, up) = (Arc::clone(&client), *from, up.clone());
        all.spawn(async move { client.dial(from, || up.send(()).is_ok()).await });
    }
    for count in 0..arguments.count {
        tokio::select! {
            Some(()) = came_up.recv() => {}
            Some(ended) = all.join_next() => match ended? {
                Ok(()) => bail!("one of {count} went away"),
                Err(why) => return Err(why.context(format!("{count} of {} are up", arguments.count))),
            },
        }
    }
    let wall = client.began.elapsed().as_secs_f64();
    let rate = arguments.count as f64 / wall.max(1e-9);
    println!("{} clients are up: {wall:.1} s, {rate:.0} a second", arguments.count);
    if let (Some((memory, cpu)), Some(id)) = (before, arguments.process) {
        let each = |total: f64| total / arguments.count as f64;
        let grown = memory_of(id)?.private.saturating_sub(memory.private);
        let cpu = clock::cpu_of(id)?.saturating_sub(cpu);
        say("idle, MB resident", &format!("{:.1}", memory.resident as f64 / 1e6));
        say("sessions a second", &format!("{rate:.1}"));
        say("the daemon's CPU a session, ms", &format!("{:.2}", each(cpu.as_secs_f64() * 1e3)));
        say("the daemon's memory a session, kB", &format!("{:.1}", each(grown as f64 / 1e3)));
        return Ok(());
    }
    let mut why = None;
    loop {
        tokio::select! {
            _ = end.recv() => break,
            Some(ended) = all.join_next() => {
                why = ended?.err().or(why);
                if let (true, Some(why)) = (all.is_empty(), &why) {
                    println!("all have gone, the last because of this: {why:#}");
                }
            }
        }
    }
    println!("{} clients are left", all.len());
    Ok(())
}

/// What all have in common.
struct Client {
    server: Ipv4Addr,
    user: String,
    secret: Vec<u8>,
    began: tokio::time::Instant,
    window: Semaphore,
}

impl Client {
    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// Comes up, says so, and stays until the server ends it.
    async fn dial(&self, from: Ipv4Addr, up: impl FnOnce() -> bool) -> anyhow::Result<()> {
        let permit = self.window.acquire().await?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let tcp = socket.connect((self.server, pptp::PORT).into()).await.context("TCP port 1723")?;
        let mut session = Session::new(self, tcp, from);
        tokio::time::timeout(PATIENCE, session.come_up()).await.context("it takes too long")??;
        drop(permit);
        ensure!(up(), "nobody counts");
        loop {
            session.step().await?;
        }
    }

    fn config(&self) -> LinkConfig {
        LinkConfig {
            mru: MTU,
            compress_header: true,
            prove: vec![AuthMethod::MsChapV2],
            demand: Vec::new(),
            name: self.user.clone(),
            eap: EapConfig::default(),
            mppe: Mppe::REQUIRED,
            ipv4: true,
            ipv6: false,
            addresses: Addresses::FromPeer { wanted: None },
            timing: Timing::default(),
        }
    }

    /// There is no unit: what would be encrypted, or routed, never comes.
    fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Password { again: None, .. } => Answer::Secret(Ok(Secret::from(&*self.secret))),
            Ask::Network { .. } => Answer::Network(Ok(NetworkPlan::default())),
            Ask::Compress(_) | Ask::Encrypted(_) => Answer::Compressed(Ok(())),
            Ask::Install(_) => Answer::Installed(Ok(())),
            _ => {
                let text = "a question that has no answer here";
                Answer::Secret(Err(Failure::new(FailureCode::Internal, Step::Authenticate, text)))
            }
        }
    }
}

/// One of them.
struct Session<'a> {
    client: &'a Client,
    local: Ipv4Addr,
    tcp: TcpStream,
    control: Control,
    bound: Option<BoundCall>,
    link: Option<Link>,
    entropy: OsEntropy,
    channel: Option<Channel>,
    /// What carries the channel; it is closed after it.
    carrier: Option<PptpSocket>,
    up: bool,
}

impl<'a> Session<'a> {
    fn new(client: &'a Client, tcp: TcpStream, local: Ipv4Addr) -> Self {
        let timing = pptp::Timing { reply: PATIENCE, ..pptp::Timing::default() };
        let config = pptp::Config { role: Role::Pns, host_name: "crowd".into(), calls: 1, timing };
        let mut control = Control::new(config);
        control.handle(client.now(), pptp::Input::Connected);
        Self {
            client,
            local,
            tcp,
            control,
            bound: None,
            link: None,
            entropy: OsEntropy::new(),
            channel: None,
            carrier: None,
            up: false,
        }
    }

    async fn come_up(&mut self) -> anyhow::Result<()> {
        self.drain().await?;
        while !self.up {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for what happens next, and does what comes of it.
    async fn step(&mut self) -> anyhow::Result<()> {
        let mut octets = [0; 512];
        let deadlines = [self.control.deadline().map(|(at, _)| at), self.link.as_ref().and_then(of_link)];
        let deadline = deadlines.into_iter().flatten().min();
        let time = async {
            match deadline {
                Some(at) => tokio::time::sleep(at.since(self.client.now())).await,
                None => pending().await,
            }
        };
        let frame = async {
            match &self.channel {
                Some(channel) => channel.receive().await,
                None => pending().await,
            }
        };
        tokio::select! {
            read = self.tcp.read(&mut octets) => {
                let count = read?;
                ensure!(count > 0, "the server closed the connection");
                let octets = octets.get(..count).unwrap_or_default().to_vec();
                self.control.handle(self.client.now(), pptp::Input::Received(octets));
            }
            frame = frame => {
                let frame = frame?;
                self.tell(Input::Frame(frame));
            }
            () = time => {
                self.control.handle(self.client.now(), pptp::Input::Wake);
                self.tell(Input::Wake);
            }
        }
        self.drain().await
    }

    fn tell(&mut self, input: Input) {
        if let Some(link) = &mut self.link {
            link.handle(self.client.now(), &mut self.entropy, input);
        }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.control.poll() {
            match output {
                pptp::Output::Transmit(octets) => self.tcp.write_all(&octets).await?,
                pptp::Output::Ask { id, .. } => {
                    let bound = BoundCall::bind(self.local)?;
                    let answer = pptp::Answer::CallId(Ok(bound.call_id()));
                    self.bound = Some(bound);
                    self.control.handle(self.client.now(), pptp::Input::Answer { id, answer });
                }
                pptp::Output::Event(pptp::Event::CallUp { peer, .. }) => self.call_up(peer)?,
                pptp::Output::Event(pptp::Event::CallDown { why, .. }) | pptp::Output::Close(why) => {
                    bail!("the call is over: {why:?}")
                }
                pptp::Output::Event(_) => {}
            }
        }
        while let Some(output) = self.link.as_mut().and_then(Link::poll) {
            match output {
                Output::Transmit(frame) => {
                    self.channel.iter().try_for_each(|channel| channel.send(&frame))?
                }
                Output::Ask { id, ask } => {
                    let answer = self.client.answer(ask);
                    self.tell(Input::Answer { id, answer });
                }
                Output::Event(Event::Established(_)) => self.up = true,
                Output::Event(Event::Closed(why)) => bail!("the link is over: {why:?}"),
                Output::Event(_) => {}
            }
        }
        Ok(())
    }

    fn call_up(&mut self, peer: u16) -> anyhow::Result<()> {
        let bound = self.bound.take().ok_or(anyhow!("a call without a socket"))?;
        let carrier = bound.connect(self.client.server, peer)?;
        self.channel = Some(Channel::attach(carrier.as_fd())?);
        self.carrier = Some(carrier);
        self.link = Some(Link::new(self.client.config()));
        self.tell(Input::Up);
        Ok(())
    }
}

fn of_link(link: &Link) -> Option<Instant> {
    link.deadline().map(|(at, _)| at)
}
