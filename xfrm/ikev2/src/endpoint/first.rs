//! First messages of peers that dial us (RFC 7296 §2.6): nothing is remembered of one before every limit has let it
//! through.

use core::net::IpAddr;

use adit_core::{Instant, Path};
use adit_isakmp::payload::{Notify, NotifyType, Payloads};
use adit_isakmp::{
    ExchangeType, Flags, HEADER_LEN, Header, HeaderView, Message, Payload, PayloadType, VERSION_2,
};

use super::Endpoint;
use super::cookie::Claim;
use crate::api::{Output, ResponderDefaults};
use crate::responder::{First, NoResponse, Resume};
use crate::state::{Cx, Datagram, Next, Stage};

/// A first message is kept until its sender has proven itself; what is longer is none (proposals and a public value
/// take hundreds of bytes).
const MAX_LEN: usize = 8 * 1024;

/// What the limits say.
enum Verdict {
    /// May begin an IKE_SA. `proven`: it has shown by a cookie that it receives where it says it is.
    Welcome {
        proven: bool,
    },
    /// Only with a cookie.
    Cookie(Header, Vec<u8>),
    Refused,
}

/// Where a message came from, and how long it was.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) path: Path,
    pub(super) length: usize,
}

/// What a cookie is about, read without remembering anything.
struct Glance<'a> {
    header: Header,
    nonce: &'a [u8],
    cookie: Option<&'a [u8]>,
}

impl<'a> Glance<'a> {
    fn at(bytes: &'a [u8]) -> Option<Self> {
        let view = HeaderView::parse(bytes).ok()?;
        let (mut nonce, mut cookie) = (None, None);
        for raw in Payloads::new(view.next_payload(), view.body(), HEADER_LEN) {
            let raw = raw.ok()?;
            match raw.kind {
                PayloadType::NONCE => nonce = Some(raw.body),
                PayloadType::NOTIFY => cookie = cookie.or(cookie_in(raw.body)),
                _ => {}
            }
        }
        Some(Self { header: view.header(), nonce: nonce.filter(|n| (16..=256).contains(&n.len()))?, cookie })
    }
}

/// The data of a COOKIE notify: no protocol, no SPI (RFC 7296 §3.10).
fn cookie_in(body: &[u8]) -> Option<&[u8]> {
    let ([_, 0, high, low], data) = body.split_first_chunk::<4>()? else {
        return None;
    };
    (u16::from_be_bytes([*high, *low]) == NotifyType::COOKIE.0).then_some(data)
}

impl Endpoint {
    /// A message without a responder's SPI.
    pub(super) fn first_message(&mut self, now: Instant, datagram: Datagram, spi_i: u64) {
        // [7296:1.5-1] [7296:2.21.4-1] [7296:3.1-11]
        let exchange = ExchangeType(datagram.exchange);
        let begins = [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_SESSION_RESUME].contains(&exchange);
        if datagram.is_response || !begins {
            return self.stray();
        }
        let Some(defaults) = self.responder.clone() else {
            return self.stray();
        };
        let address = datagram.path.remote.ip();
        if let Some(key) = self.half_open.find(spi_i, address) {
            return self.step(now, key, |state, cx| state.datagram(cx, datagram));
        }
        let asked = Asked { path: datagram.path, length: datagram.bytes.len() };
        if asked.length > MAX_LEN {
            return self.ignored();
        }
        let proven = match self.admit(now, &defaults, &datagram.bytes, address) {
            Verdict::Welcome { proven } => proven,
            Verdict::Cookie(header, cookie) => {
                let cookies = &mut self.shared.counters.cookies;
                *cookies = cookies.saturating_add(1);
                return self.reply_in_clear(asked, &header, Notify::new(NotifyType::COOKIE, cookie));
            }
            Verdict::Refused => {
                let refused = &mut self.shared.counters.refused;
                *refused = refused.saturating_add(1);
                return;
            }
        };
        let Ok(message) = Message::parse(&datagram.bytes) else {
            return self.ignored();
        };
        if exchange == ExchangeType::IKE_SESSION_RESUME {
            return match Resume::read(now, &self.shared, datagram, &message) {
                Ok(resume) => {
                    self.begun(now, asked, (spi_i, proven), |cx, spi| resume.begin(cx, spi, &defaults));
                }
                Err(no) => self.no_response(asked, &message.header, no),
            };
        }
        match First::read(&*self.shared.crypto, &defaults, datagram, &message) {
            Ok(first) => self.begun(now, asked, (spi_i, proven), |cx, spi| first.begin(cx, spi, &defaults)),
            Err(no) => self.no_response(asked, &message.header, no),
        }
    }

    /// An IKE_SA has begun.
    fn begun(
        &mut self,
        now: Instant,
        asked: Asked,
        (spi_i, proven): (u64, bool),
        begin: impl FnOnce(&mut Cx<'_>, u64) -> Next,
    ) {
        let address = asked.path.remote.ip();
        let (key, _, spi_r) = self.open(Stage::HalfOpen, Some((spi_i, address)), None);
        self.half_open.insert(spi_i, address, proven, key);
        self.run(now, key, |cx| begin(cx, spi_r));
    }

    fn no_response(&mut self, asked: Asked, request: &Header, no: NoResponse) {
        match no {
            NoResponse::Notify(notify) => self.reply_in_clear(asked, request, notify),
            NoResponse::Nothing => self.ignored(),
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        defaults: &ResponderDefaults,
        bytes: &[u8],
        address: IpAddr,
    ) -> Verdict {
        let half_open = self.half_open.len();
        if half_open >= defaults.half_open_limit || self.established >= defaults.limit {
            return Verdict::Refused;
        }
        // Anybody can fill an address's places without a cookie, in its name. Only those with one are its own doing.
        let here = self.half_open.of(address);
        let crowded = |count: usize| count >= defaults.half_open_per_address;
        if half_open < defaults.cookie_threshold && !crowded(here.unproven) && !crowded(here.proven) {
            return Verdict::Welcome { proven: false };
        }
        // Under load the message has to come from where it says; then the address answers for its own crowd.
        let Some(glance) = Glance::at(bytes) else {
            return Verdict::Refused;
        };
        let claim = Claim { nonce: glance.nonce, address, spi: glance.header.initiator_spi };
        let crypto = &*self.shared.crypto;
        let proven = glance.cookie.is_some_and(|cookie| self.cookies.verify(now, crypto, claim, cookie));
        match (proven, crowded(here.proven)) {
            (true, false) => Verdict::Welcome { proven },
            (true, true) => Verdict::Refused,
            // [7296:2.6-4] [5723:4.3.2-4] [5723:9.2-1]
            (false, _) => {
                let entropy = &mut *self.shared.entropy;
                let cookie = self.cookies.make(now, crypto, entropy, claim);
                Verdict::Cookie(glance.header, cookie)
            }
        }
    }

    /// RFC 7296 §2.5: whoever speaks a later version hears which one we speak. Never in answer to a response, and
    /// never longer than what it answers.
    pub(super) fn wrong_version(&mut self, asked: Asked, header: &Header) {
        // [7296:3.1-11] [7296:1.5-1]
        if header.flags.response() || self.responder.is_none() {
            return self.stray();
        }
        self.stray();
        let notify = Notify::new(NotifyType::INVALID_MAJOR_VERSION, [2]);
        self.reply_in_clear(asked, header, notify);
    }

    /// Whoever asks in another's name must not be amplified: an answer is no longer than what it answers.
    fn reply_in_clear(&mut self, asked: Asked, request: &Header, notify: Notify) {
        let header =
            // [7296:3.1-10]
            Header { version: VERSION_2, flags: Flags::of(!request.flags.initiator(), true), ..*request };
        let payloads = vec![Payload::Notify(notify)];
        match (Message { header, payloads }).emit() {
            Ok(payload) if payload.len() <= asked.length => {
                // [7296:2.11-1] [7296:2.11-2]
                let transmit = adit_core::Transmit { path: asked.path, payload };
                self.shared.out.push_back(Output::Transmit(transmit));
            }
            _ => self.ignored(),
        }
    }

    const fn ignored(&mut self) {
        let ignored = &mut self.shared.counters.ignored;
        *ignored = ignored.saturating_add(1);
    }
}
