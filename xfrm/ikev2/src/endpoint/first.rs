//! First messages of peers that dial us (RFC 7296 §2.6): nothing is remembered of one before every limit has let it
//! through.

use adit_core::{Instant, Path};
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Flags, Header, Message, Payload, VERSION_2};

use super::Endpoint;
use super::cookie::Claim;
use crate::api::{Output, ResponderDefaults};
use crate::responder::{First, NoResponse};
use crate::state::{Datagram, Stage};

/// What the limits say.
enum Verdict {
    Welcome,
    /// Only with a cookie.
    Cookie(Vec<u8>),
    Refused,
}

impl Endpoint {
    /// A message without a responder's SPI.
    pub(super) fn first_message(&mut self, now: Instant, datagram: Datagram, spi_i: u64) {
        if datagram.is_response || datagram.exchange != ExchangeType::IKE_SA_INIT.0 {
            return self.stray();
        }
        let Some(defaults) = self.responder.clone() else {
            return self.stray();
        };
        let address = datagram.path.remote.ip();
        if let Some(key) = self.half_open.find(spi_i, address) {
            return self.step(now, key, |state, cx| state.datagram(cx, datagram));
        }
        let Ok(message) = Message::parse(&datagram.bytes) else {
            return self.ignored();
        };
        let path = datagram.path;
        match self.admit(now, &defaults, &message, path) {
            Verdict::Welcome => {}
            Verdict::Cookie(cookie) => {
                let cookies = &mut self.shared.counters.cookies;
                *cookies = cookies.saturating_add(1);
                return self.reply_in_clear(path, &message.header, Notify::new(NotifyType::COOKIE, cookie));
            }
            Verdict::Refused => {
                let refused = &mut self.shared.counters.refused;
                *refused = refused.saturating_add(1);
                return;
            }
        }
        match First::read(&*self.shared.crypto, &defaults, datagram, &message) {
            Ok(first) => {
                let (key, _, spi_r) = self.open(Stage::HalfOpen, Some((spi_i, address)), None);
                self.half_open.insert(spi_i, address, key);
                self.run(now, key, |cx| first.begin(cx, spi_r, &defaults));
            }
            Err(NoResponse::Notify(notify)) => self.reply_in_clear(path, &message.header, notify),
            Err(NoResponse::Nothing) => self.ignored(),
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        defaults: &ResponderDefaults,
        message: &Message,
        path: Path,
    ) -> Verdict {
        let half_open = self.half_open.len();
        if half_open >= defaults.half_open_limit || self.established >= defaults.limit {
            return Verdict::Refused;
        }
        let address = path.remote.ip();
        let crowded = self.half_open.of(address) >= defaults.half_open_per_address;
        if half_open < defaults.cookie_threshold && !crowded {
            return Verdict::Welcome;
        }
        // Under load the message has to come from where it says; then the address answers for its own crowd.
        let Some(nonce) = message.payloads.iter().find_map(|p| match p {
            Payload::Nonce(nonce) => Some(nonce),
            _ => None,
        }) else {
            return Verdict::Refused;
        };
        let claim = Claim { nonce, address, spi: message.header.initiator_spi };
        let crypto = &*self.shared.crypto;
        let proven = message
            .notify(NotifyType::COOKIE)
            .is_some_and(|n| self.cookies.verify(now, crypto, claim, &n.data));
        match (proven, crowded) {
            (true, false) => Verdict::Welcome,
            (true, true) => Verdict::Refused,
            (false, _) => {
                let entropy = &mut *self.shared.entropy;
                Verdict::Cookie(self.cookies.make(now, crypto, entropy, claim))
            }
        }
    }

    /// RFC 7296 §2.5: whoever speaks a later version hears which one we speak. Never in answer to a response, and
    /// never longer than what it answers.
    pub(super) fn wrong_version(&mut self, path: Path, header: &Header) {
        if header.flags.response() || self.responder.is_none() {
            return self.stray();
        }
        self.stray();
        let notify = Notify::new(NotifyType::INVALID_MAJOR_VERSION, [2]);
        self.reply_in_clear(path, header, notify);
    }

    fn reply_in_clear(&mut self, path: Path, request: &Header, notify: Notify) {
        let header =
            Header { version: VERSION_2, flags: Flags::of(!request.flags.initiator(), true), ..*request };
        let payloads = vec![Payload::Notify(notify)];
        if let Ok(payload) = (Message { header, payloads }).emit() {
            self.shared.out.push_back(Output::Transmit(adit_core::Transmit { path, payload }));
        }
    }

    const fn ignored(&mut self) {
        let ignored = &mut self.shared.counters.ignored;
        *ignored = ignored.saturating_add(1);
    }
}
