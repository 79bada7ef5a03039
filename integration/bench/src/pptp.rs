//! `pptp`: many PPTP clients of one server from one process: its kernel carries their GRE, and nothing of what they would carry.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use adit_crypto::OsEntropy;
use adit_ppp::{Event, Input, Link, Mppe, Output};
use adit_ppp_kernel::Channel;
use adit_pptp::{self as pptp, Control, Role};
use adit_pptp_kernel::{BoundCall, PptpSocket};
use anyhow::{Context, anyhow, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

use crate::crowd::{Client, Crowd, PATIENCE, of_link, run as run_all};

/// Brings them up, says so, and answers for them until SIGTERM, or until the server's part has been measured.
///
/// # Errors
/// That not all came up.
pub fn run(arguments: &Crowd) -> anyhow::Result<()> {
    run_all(arguments, |client, from, up| Box::pin(dial(client, from, up)))
}

async fn dial(client: Arc<Client>, from: Ipv4Addr, up: UnboundedSender<()>) -> anyhow::Result<()> {
    let permit = client.window.acquire().await?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    let tcp = socket.connect((client.server, pptp::PORT).into()).await.context("TCP port 1723")?;
    let mut session = Session::new(&client, tcp, from);
    tokio::time::timeout(PATIENCE, session.come_up()).await.context("it takes too long")??;
    drop(permit);
    up.send(())?;
    loop {
        session.step().await?;
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
        let time = self.client.until(deadlines);
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
        self.link = Some(Link::new(self.client.config(Mppe::REQUIRED)));
        self.tell(Input::Up);
        Ok(())
    }
}
