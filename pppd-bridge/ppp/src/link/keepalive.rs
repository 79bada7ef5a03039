//! Whether the peer lives, and what else LCP has of its own: echoes, Protocol-Reject, Identification, Time-Remaining.

use adit_core::{Entropy, Failure, FailureCode, Instant, Step};

use super::{Link, Phase};
use crate::api::Event;
use crate::automaton;
use crate::config::Timing;
use crate::wire::{Code, Packet, Protocol, emit_packet};
use adit_core::snapshot::{Reader, Writer};

#[derive(Default)]
pub(super) struct Keepalive {
    next: Option<Instant>,
    unanswered: u8,
    /// The peer does not know Echo-Request.
    refused: bool,
}

impl Keepalive {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn begin(&mut self, now: Instant, timing: Timing) {
        self.unanswered = 0;
        self.next = (!timing.echo.is_zero() && !self.refused).then(|| now + timing.echo);
    }

    pub(super) const fn end(&mut self) {
        self.next = None;
    }

    pub(super) fn save(&self, w: &mut Writer) {
        w.u8(self.unanswered);
        w.flag(self.refused);
    }

    /// The peer is asked at once whether it is there: one answer at least it may give.
    pub(super) fn restore(now: Instant, timing: Timing, r: &mut Reader<'_>) -> Option<Self> {
        let unanswered = r.u8()?.min(timing.echo_failures.saturating_sub(1));
        let refused = r.flag()?;
        Some(Self { next: (!timing.echo.is_zero() && !refused).then_some(now), unanswered, refused })
    }

    /// Whatever comes shows that the peer lives.
    pub(super) fn heard(&mut self, now: Instant, timing: Timing) {
        if self.next.is_some() {
            self.begin(now, timing);
        }
    }
}

impl Link {
    pub(super) fn wake_keepalive(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.keepalive.next.is_none_or(|at| at > now) || !self.lcp.is_open() {
            return;
        }
        let timing = self.config.timing;
        if self.keepalive.unanswered >= timing.echo_failures {
            let text = format!("the peer has not answered {} Echo-Requests", timing.echo_failures);
            return self.close(
                now,
                entropy,
                Err(Failure::new(FailureCode::PeerLost, Step::Established, text)),
            );
        }
        self.keepalive.unanswered = self.keepalive.unanswered.saturating_add(1);
        // Once it has not answered, it is asked more often.
        self.keepalive.next = Some(now + timing.echo.min(timing.restart_last));
        self.identifier = self.identifier.wrapping_add(1);
        let magic = self.lcp.options.magic().to_be_bytes();
        let echo = emit_packet(Code::ECHO_REQUEST, self.identifier, &[&magic]);
        self.transmit(Protocol::LCP, &echo);
    }

    /// Codes that only LCP has. They count once it is open.
    pub(super) fn lcp_own_codes(&mut self, now: Instant, entropy: &mut dyn Entropy, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        if !self.lcp.is_open() {
            return;
        }
        let (magic, text) = match packet.data.split_first_chunk::<4>() {
            Some((magic, text)) => (u32::from_be_bytes(*magic), text),
            None => (0, &[][..]),
        };
        match packet.code {
            Code::ECHO_REQUEST => {
                self.lcp.options.heard_magic(magic);
                // [1661:5.8-1]
                let ours = self.lcp.options.magic().to_be_bytes();
                let reply = emit_packet(Code::ECHO_REPLY, packet.identifier, &[&ours, text]);
                self.transmit(Protocol::LCP, &reply);
            }
            Code::ECHO_REPLY | Code::DISCARD_REQUEST => self.lcp.options.heard_magic(magic),
            Code::IDENTIFICATION => {
                let name: String =
                    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(64).collect();
                self.event(Event::PeerName(name));
            }
            Code::TIME_REMAINING => {
                if let Some(seconds) = text.first_chunk::<4>() {
                    self.event(Event::TimeRemaining(u32::from_be_bytes(*seconds)));
                }
            }
            Code::CODE_REJECT if packet.data.first() == Some(&Code::ECHO_REQUEST.0) => {
                self.keepalive.refused = true;
                self.keepalive.end();
            }
            Code::PROTOCOL_REJECT => {
                if let Some(protocol) = packet.data.first_chunk::<2>() {
                    self.protocol_rejected(now, entropy, Protocol(u16::from_be_bytes(*protocol)));
                }
            }
            _ => {}
        }
    }

    /// [1661:5.7-3]: what is rejected is sent no more.
    fn protocol_rejected(&mut self, now: Instant, entropy: &mut dyn Entropy, protocol: Protocol) {
        let event = automaton::Event::ReceiveCatastrophicReject;
        match protocol {
            Protocol::LCP => {
                let text = "the peer does not know LCP";
                self.close(now, entropy, Err(Failure::new(FailureCode::PeerMisbehaved, Step::Link, text)));
            }
            Protocol::PAP | Protocol::CHAP | Protocol::EAP if self.phase != Phase::Authenticate => {}
            Protocol::PAP | Protocol::CHAP | Protocol::EAP => {
                let text = format!("the peer agreed to {protocol}, and then rejected it");
                let why = Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, text);
                // SoftEther 5.01 does this with EAP, and then says nothing more by any other method.
                let hint = "if the peer has another method, name that alone:  ppp-auth = [\"mschapv2\"]";
                self.close(now, entropy, Err(why.hint(hint)));
            }
            Protocol::CCP => {
                self.crypt.refused = true;
                if let Some(ccp) = &mut self.ccp {
                    let outcome = ccp.event(now, entropy, event);
                    self.ccp_outcome(now, entropy, outcome);
                }
            }
            Protocol::IP | Protocol::IPV6 | Protocol::COMPRESSED => {}
            Protocol::IPCP => {
                if let Some(ipcp) = &mut self.ipcp {
                    let outcome = ipcp.event(now, entropy, event);
                    self.ipcp_outcome(now, outcome);
                }
            }
            Protocol::IPV6CP => {
                if let Some(ipv6cp) = &mut self.ipv6cp {
                    let outcome = ipv6cp.event(now, entropy, event);
                    self.ipv6cp_outcome(now, outcome);
                }
            }
            // We have sent nothing of it.
            _ => self.garbled(now, entropy),
        }
    }
}
