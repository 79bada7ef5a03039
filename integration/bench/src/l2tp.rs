//! `l2tp`: many L2TP clients of one server from one process. Each has a tunnel and a session in it; their PPP frames go by this
//! process, and nothing of what they would carry. IPsec around them, if there is to be any, is its host's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use adit_core::Path;
use adit_crypto::OsEntropy;
use adit_l2tp::{self as l2tp, Association, Endpoint, Ids};
use adit_ppp::{Event, Input, Link, Mppe, Output};
use anyhow::{Context, anyhow, bail};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedSender;

use crate::crowd::{Client, Crowd, PATIENCE, of_link, run as run_all};

/// A data message's header: a version, and no more (RFC 2661 §3.1).
const DATA: [u8; 2] = [0, 2];
/// Bits of a header: a control message, a length, sequence numbers, an offset.
const CONTROL: u8 = 0x80;
const LENGTH: u8 = 0x40;
const SEQUENCE: u8 = 0x08;
const OFFSET: u8 = 0x02;
/// PPP's Address and Control (RFC 1662 §3.1).
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Brings them up, says so, and answers for them until SIGTERM, or until the server's part has been measured.
///
/// # Errors
/// That not all came up.
pub fn run(arguments: &Crowd) -> anyhow::Result<()> {
    run_all(arguments, |client, from, up| Box::pin(dial(client, from, up)))
}

async fn dial(client: Arc<Client>, from: Ipv4Addr, up: UnboundedSender<()>) -> anyhow::Result<()> {
    let permit = client.window.acquire().await?;
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V4(from), 0)).await?;
    socket.connect((client.server, l2tp::PORT)).await.context("UDP port 1701")?;
    let mut session = Session::new(&client, socket)?;
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
    socket: UdpSocket,
    path: Path,
    endpoint: Endpoint,
    entropy: OsEntropy,
    ids: Option<Ids>,
    link: Option<Link>,
    up: bool,
}

impl<'a> Session<'a> {
    fn new(client: &'a Client, socket: UdpSocket) -> anyhow::Result<Self> {
        let path = Path { local: socket.local_addr()?, remote: socket.peer_addr()? };
        let timing = l2tp::Timing { reply: PATIENCE, ..l2tp::Timing::default() };
        let config = l2tp::Config { host_name: "crowd".into(), listen: None, window: 8, timing };
        let mut endpoint = Endpoint::new(config);
        let mut entropy = OsEntropy::new();
        let dial = l2tp::Dial {
            path,
            secret: None,
            hide: false,
            only: false,
            call: Some(l2tp::Call::Incoming),
            takes: l2tp::Takes::default(),
            sessions: 1,
        };
        endpoint.dial(client.now(), &mut entropy, dial).ok_or(anyhow!("no Tunnel ID"))?;
        Ok(Self { client, socket, path, endpoint, entropy, ids: None, link: None, up: false })
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
        let mut octets = [0; 2048];
        let deadlines = [self.endpoint.deadline().map(|(at, _)| at), self.link.as_ref().and_then(of_link)];
        let time = self.client.until(deadlines);
        tokio::select! {
            read = self.socket.recv(&mut octets) => {
                let octets = octets.get(..read?).unwrap_or_default();
                match octets.first() {
                    Some(first) if first & CONTROL != 0 => {
                        let association = Association::default();
                        self.hear(l2tp::Input::Datagram { path: self.path, association, octets: octets.to_vec() });
                    }
                    _ => {
                        if let Some(frame) = frame(octets) {
                            self.tell(Input::Frame(frame.to_vec()));
                        }
                    }
                }
            }
            () = time => {
                self.hear(l2tp::Input::Wake);
                self.tell(Input::Wake);
            }
        }
        self.drain().await
    }

    fn hear(&mut self, input: l2tp::Input) {
        self.endpoint.handle(self.client.now(), &mut self.entropy, input);
    }

    fn tell(&mut self, input: Input) {
        if let Some(link) = &mut self.link {
            link.handle(self.client.now(), &mut self.entropy, input);
        }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.endpoint.poll() {
            match output {
                l2tp::Output::Transmit { transmit, .. } => {
                    self.socket.send(&transmit.payload).await?;
                }
                l2tp::Output::Ask { id, ask: l2tp::Ask::Carry { ids, .. } } => {
                    self.ids = Some(ids);
                    self.hear(l2tp::Input::Answer { id, answer: l2tp::Answer::Carried(Ok(())) });
                }
                l2tp::Output::Event(l2tp::Event::SessionUp { .. }) => {
                    self.link = Some(Link::new(self.client.config(Mppe::OFF)));
                    self.tell(Input::Up);
                }
                l2tp::Output::Event(
                    l2tp::Event::SessionDown { why, .. } | l2tp::Event::TunnelDown { why, .. },
                ) => bail!("the call is over: {why:?}"),
                l2tp::Output::Event(_) => {}
            }
        }
        while let Some(output) = self.link.as_mut().and_then(Link::poll) {
            match output {
                Output::Transmit(frame) => self.send(&frame).await?,
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

    async fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        let Some(ids) = self.ids else { return Ok(()) };
        let header = [DATA, ids.peer_tunnel.to_be_bytes(), ids.peer_session.to_be_bytes(), ADDRESS_CONTROL];
        self.socket.send(&[header.as_flattened(), frame].concat()).await?;
        Ok(())
    }
}

/// What a data message carries, without PPP's Address and Control.
fn frame(octets: &[u8]) -> Option<&[u8]> {
    let flags = *octets.first()?;
    let before = 2 + if flags & LENGTH == 0 { 0 } else { 2 };
    let mut at = before + 4 + if flags & SEQUENCE == 0 { 0 } else { 4 };
    if flags & OFFSET != 0 {
        at += 2 + usize::from(u16::from_be_bytes(*octets.get(at..)?.first_chunk()?));
    }
    let frame = octets.get(at..)?;
    Some(frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_behind_any_header() {
        let lcp = [0xc0, 0x21, 1];
        for header in [
            &[0, 2, 0, 7, 0, 9, 0xff, 3][..],
            &[0, 2, 0, 7, 0, 9],
            &[0x40, 2, 0, 13, 0, 7, 0, 9, 0xff, 3],
            &[0x08, 2, 0, 7, 0, 9, 0, 1, 0, 2, 0xff, 3],
            &[0x02, 2, 0, 7, 0, 9, 0, 2, 0, 0, 0xff, 3],
        ] {
            assert_eq!(frame(&[header, &lcp].concat()), Some(&lcp[..]), "{header:?}");
        }
        assert_eq!(frame(&[0x02, 2, 0, 7, 0, 9, 0xff]), None);
    }
}
