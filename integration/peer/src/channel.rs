//! An IKE_SA's socket and keys: exchanges one at a time, retransmitted, and answers to what the other end asks.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use adit_core::{Entropy as _, Secret};
use adit_crypto::{OsEntropy, Provider};
use adit_isakmp::{
    ExchangeType, Flags, HEADER_LEN, Header, HeaderView, IkeSuite, Message, Payload, PayloadType, VERSION_2,
    crypto::{CryptoProvider as _, SkCipher},
    keys::IkeKeys,
    payload::{Delete, Notify, Payloads, parse_chain},
    sk,
};

/// Longest time for an answer, with a retransmission a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the other end did to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Nothing that ends anything.
    Nothing,
    /// It deleted the IKE_SA.
    Deleted,
}

/// What protects the messages.
pub(crate) struct Protection {
    /// Algorithms.
    pub(crate) suite: IkeSuite,
    /// Keys.
    pub(crate) keys: IkeKeys,
    ours: Box<dyn SkCipher>,
    theirs: Box<dyn SkCipher>,
}

impl Protection {
    /// Ours is the initiator's side of the exchange that made it.
    pub(crate) fn new(crypto: &Provider, suite: IkeSuite, keys: IkeKeys) -> Result<Self, String> {
        let cipher = |key: &Secret, integrity: &Secret| {
            let made =
                crypto.sk_cipher(suite.encryption, suite.integrity, key.duplicate(), integrity.duplicate());
            made.map_err(|e| e.to_string())
        };
        let (ours, theirs) = (cipher(&keys.ei, &keys.ai)?, cipher(&keys.er, &keys.ar)?);
        Ok(Self { suite, keys, ours, theirs })
    }
}

/// One IKE_SA as its initiator has it.
pub(crate) struct Channel {
    /// Randomness.
    pub(crate) entropy: OsEntropy,
    /// Our SPI.
    pub(crate) spi_i: u64,
    /// The server's SPI.
    pub(crate) spi_r: u64,
    /// None until IKE_SA_INIT is over.
    pub(crate) protection: Option<Protection>,
    /// What the other end's CREATE_CHILD_SA is answered with.
    pub(crate) refusal: Notify,
    socket: UdpSocket,
    server: SocketAddr,
    /// Of the next request; IKE_SA_INIT has 0.
    message_id: u32,
    ivs: u64,
    answered: Option<(u32, Vec<u8>)>,
    fragments: Vec<Option<Vec<u8>>>,
}

impl Channel {
    /// A socket on port 500 towards the server's.
    pub(crate) fn open(server: IpAddr, refusal: Notify) -> Result<Self, String> {
        let mut entropy = OsEntropy::new();
        let server = SocketAddr::new(server, 500);
        let socket = socket(server)?;
        let spi_i = entropy.public_u64() | 1;
        Ok(Self {
            entropy,
            spi_i,
            spi_r: 0,
            protection: None,
            refusal,
            socket,
            server,
            message_id: 1,
            ivs: 0,
            answered: None,
            fragments: Vec::new(),
        })
    }

    /// Where we are, and where the server is.
    pub(crate) fn ends(&self) -> Result<(SocketAddr, SocketAddr), String> {
        Ok((self.socket.local_addr().map_err(|e| e.to_string())?, self.server))
    }

    /// Goes to port 4500 (RFC 7296 §2.23).
    pub(crate) fn move_to_4500(&mut self) -> Result<(), String> {
        self.server.set_port(4500);
        self.socket = socket(self.server)?;
        Ok(())
    }

    /// New keys and SPIs, with Message IDs from 0 (RFC 7296 §2.18).
    pub(crate) fn rekeyed(&mut self, spi_i: u64, spi_r: u64, protection: Protection) {
        (self.spi_i, self.spi_r, self.protection) = (spi_i, spi_r, Some(protection));
        (self.message_id, self.answered) = (0, None);
    }

    /// Random bytes for a nonce.
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.entropy.public(&mut nonce);
        nonce
    }

    /// One exchange in clear, which is IKE_SA_INIT: the request as sent, and the response with its bytes.
    pub(crate) fn initial(&mut self, payloads: Vec<Payload>) -> Result<(Vec<u8>, Message, Vec<u8>), String> {
        let request = Message { header: self.header(ExchangeType::IKE_SA_INIT, false, 0), payloads };
        let request = request.emit().map_err(|e| e.to_string())?;
        let spi_i = self.spi_i;
        let (response, bytes) = self.retransmitted(&request, move |_, datagram| {
            let message = Message::parse(datagram).ok()?;
            let header = message.header;
            let fits = header.flags.response() && header.initiator_spi == spi_i;
            (fits && header.exchange == ExchangeType::IKE_SA_INIT).then(|| (message, datagram.to_vec()))
        })?;
        Ok((request, response, bytes))
    }

    /// One protected exchange: the response's payloads.
    pub(crate) fn exchange(
        &mut self,
        kind: ExchangeType,
        payloads: &[Payload],
    ) -> Result<Vec<Payload>, String> {
        let message_id = self.message_id;
        self.message_id += 1;
        let request = self.seal(self.header(kind, false, message_id), payloads)?;
        self.retransmitted(&request, move |channel, datagram| {
            let message = channel.opened(datagram)?;
            let header = message.header;
            if !header.flags.response() {
                let _ = channel.answer(&message);
                return None;
            }
            (header.message_id == message_id && header.exchange == kind).then_some(message.payloads)
        })
    }

    /// Waits a moment for what the other end asks, and answers.
    pub(crate) fn listen(&mut self) -> Result<Heard, String> {
        let Some(mut datagram) = self.receive()? else { return Ok(Heard::Nothing) };
        match self.opened(&mut datagram) {
            Some(message) if !message.header.flags.response() => self.answer(&message),
            _ => Ok(Heard::Nothing),
        }
    }

    fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        Header {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            version: VERSION_2,
            exchange,
            flags: Flags::of(true, response),
            message_id,
        }
    }

    fn seal(&mut self, header: Header, payloads: &[Payload]) -> Result<Vec<u8>, String> {
        let protection = self.protection.as_ref().ok_or("no keys yet")?;
        let mut iv = vec![0; protection.ours.iv_len()];
        if protection.ours.iv_is_random() {
            self.entropy.public(&mut iv);
        } else {
            self.ivs += 1;
            iv.copy_from_slice(&self.ivs.to_be_bytes());
        }
        sk::seal(&header, payloads, protection.ours.as_ref(), &iv).map_err(|e| e.to_string())
    }

    /// A protected message of this IKE_SA; fragments are kept until the last one is there.
    fn opened(&mut self, datagram: &mut [u8]) -> Option<Message> {
        let view = HeaderView::parse(datagram).ok()?;
        let header = view.header();
        if header.initiator_spi != self.spi_i || header.responder_spi != self.spi_r {
            return None;
        }
        if view.next_payload() == PayloadType::SKF {
            return self.fragment(header, datagram);
        }
        sk::open(datagram, self.protection.as_ref()?.theirs.as_ref()).ok()
    }

    /// RFC 7383 §2.6.
    fn fragment(&mut self, header: Header, datagram: &mut [u8]) -> Option<Message> {
        let view = HeaderView::parse(datagram).ok()?;
        let raw = Payloads::new(view.next_payload(), view.body(), HEADER_LEN).next()?.ok()?;
        let Ok(Payload::Skf { number, total, .. }) = Payload::parse(&raw) else { return None };
        // The type of the first payload inside stands in the first fragment alone; it is put in front of its content.
        let (body, first) = (raw.at + 4, raw.next);
        let padded = self.protection.as_ref()?.theirs.open(datagram, body).ok()?;
        let (pad_length, content) = datagram.get(padded)?.split_last()?;
        let content = content.get(..content.len().checked_sub(usize::from(*pad_length))?)?;
        let kept = if number == 1 { [&[first.0], content].concat() } else { content.to_vec() };
        self.fragments.resize(usize::from(total), None);
        *self.fragments.get_mut(usize::from(number) - 1)? = Some(kept);
        if self.fragments.iter().any(Option::is_none) {
            return None;
        }
        let whole: Vec<u8> = std::mem::take(&mut self.fragments).into_iter().flatten().flatten().collect();
        let (first, chain) = whole.split_first()?;
        println!("reassembled {total} fragments");
        Some(Message { header, payloads: parse_chain(PayloadType(*first), chain, 0).ok()? })
    }

    /// Answers a request; the same one in the same way.
    fn answer(&mut self, request: &Message) -> Result<Heard, String> {
        let id = request.header.message_id;
        if let Some((answered, bytes)) = &self.answered
            && *answered == id
        {
            let bytes = bytes.clone();
            self.send(&bytes)?;
            return Ok(Heard::Nothing);
        }
        let mut payloads = Vec::new();
        let mut heard = Heard::Nothing;
        if request.header.exchange == ExchangeType::CREATE_CHILD_SA {
            println!("refused: CREATE_CHILD_SA of the server, with {}", self.refusal.kind);
            payloads.push(Payload::Notify(self.refusal.clone()));
        }
        for payload in &request.payloads {
            match payload {
                Payload::Delete(Delete::Ike) => heard = Heard::Deleted,
                Payload::Delete(_) => println!("the server deleted a CHILD_SA"),
                _ => {}
            }
        }
        let response = self.seal(self.header(request.header.exchange, true, id), &payloads)?;
        self.send(&response)?;
        self.answered = Some((id, response));
        Ok(heard)
    }

    fn retransmitted<T>(
        &mut self,
        request: &[u8],
        mut read: impl FnMut(&mut Self, &mut [u8]) -> Option<T>,
    ) -> Result<T, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.send(request)?;
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_secs(1) {
                if let Some(mut datagram) = self.receive()?
                    && let Some(read) = read(self, &mut datagram)
                {
                    return Ok(read);
                }
            }
        }
        Err(format!("no answer within {} s", PATIENCE.as_secs()))
    }

    /// With the non-ESP marker where it must be.
    fn send(&self, message: &[u8]) -> Result<(), String> {
        let marker: &[u8] = if self.server.port() == 4500 { &[0; 4] } else { &[] };
        self.socket.send(&[marker, message].concat()).map(drop).map_err(|e| e.to_string())
    }

    fn receive(&self) -> Result<Option<Vec<u8>>, String> {
        let mut buffer = vec![0; 65_535];
        let count = match self.socket.recv(&mut buffer) {
            Ok(count) => count,
            // Nothing came, or an ICMP error did, which says nothing that can be believed.
            Err(_) => return Ok(None),
        };
        buffer.truncate(count);
        if self.server.port() != 4500 {
            return Ok(Some(buffer));
        }
        Ok(buffer.strip_prefix(&[0; 4]).map(<[u8]>::to_vec))
    }
}

fn socket(server: SocketAddr) -> Result<UdpSocket, String> {
    let any: IpAddr = if server.is_ipv4() { "0.0.0.0".parse() } else { "::".parse() }
        .map_err(|e: std::net::AddrParseError| e.to_string())?;
    let at = |e: std::io::Error| format!("UDP port {}: {e}", server.port());
    let socket = UdpSocket::bind(SocketAddr::new(any, server.port())).map_err(at)?;
    socket.connect(server).map_err(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(at)?;
    Ok(socket)
}
