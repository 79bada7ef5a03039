//! Encryption by MPPE: what CCP agrees, and what the kernel makes of it.
//!
//! Linux watches CCP go by (`ppp_ccp_peek`). While CCP is open and not yet said to be up ([`Ask::Encrypted`]), it begins with a
//! prepared key at *every* Ack that passes, and a key that is begun twice is another key: both ends must have seen exactly one
//! Ack since they prepared theirs. A Configure-Request stops the direction that it is about, whenever it passes.

use adit_core::{Entropy, Failure, FailureCode, Instant, Step};

use super::{About, Link, Phase, network};
use crate::api::{Ask, Authenticated, Compress, Keys, Output};
use crate::config::{AuthMethod, Mppe, MppeWish};
use crate::control::{Layer, Outcome};
use crate::ncp::{Ccp, MppeBits, asks_mppe};
use crate::wire::{Code, Options, Packet, Protocol, emit_packet, split_frame};
use adit_core::snapshot::{Reader, Writer};

/// So many times our request may have been answered more than once.
const MAX_ANEW: u8 = 10;

/// So many packets of no protocol at all are no accident.
const GARBLED: u8 = 3;

/// Encryption as the kernel has it.
#[derive(Default)]
pub(super) struct Crypt {
    /// The bits that each direction was prepared with, and whether the kernel has said that it was.
    transmit: Option<(u32, bool)>,
    receive: Option<(u32, bool)>,
    /// Acks that have come since `receive` was prepared: as often has the kernel begun with it.
    begun: u32,
    /// How often it was prepared anew because that was not once.
    anew: u8,
    /// CCP is open.
    open: bool,
    /// The peer has asked for MPPE, which this end does not speak.
    pub(super) declined: bool,
    /// The peer does not know CCP.
    pub(super) refused: bool,
    /// The kernel drops what is not encrypted.
    pub(super) stands: bool,
    /// Packets that the kernel has decrypted to what is nothing.
    garbled: u8,
    /// A Reset-Request waits for its answer until then.
    pub(super) reset_until: Option<Instant>,
}

impl Crypt {
    /// Whether it stands, where there is any, and nothing of it is being changed.
    pub(super) const fn rests(&self, any: bool) -> bool {
        let ready = matches!((self.transmit, self.receive), (Some((_, true)), Some((_, true))));
        if any { self.stands && self.open && ready } else { !self.stands }
    }

    pub(super) fn save(&self, w: &mut Writer) {
        w.flag(self.declined);
        w.flag(self.refused);
        w.u32(self.begun);
        w.u8(self.garbled);
        w.flag(self.reset_until.is_some());
    }

    /// With what CCP has agreed: the kernel has the keys.
    pub(super) fn restore(ccp: Option<&Ccp>, now: Instant, r: &mut Reader<'_>) -> Option<Self> {
        let bits = |bits: Option<MppeBits>| bits.map(|bits| (bits.0, true));
        Some(Self {
            transmit: bits(ccp.and_then(Ccp::transmit)),
            receive: bits(ccp.and_then(Ccp::receive)),
            open: ccp.is_some(),
            stands: ccp.is_some(),
            declined: r.flag()?,
            refused: r.flag()?,
            begun: r.u32()?,
            garbled: r.u8()?,
            // Its answer may have come meanwhile, and been lost: it is asked for again.
            reset_until: r.flag()?.then_some(now).filter(|_| ccp.is_some()),
            anew: 0,
        })
    }
}

impl Link {
    /// What encryption there are keys for: MS-CHAPv1's of 40 bits come of a LAN Manager hash (RFC 3079 §2.1), which is not
    /// kept here.
    pub(super) fn mppe(&self) -> Mppe {
        let Authenticated { ours, peer } = &self.authenticated;
        let methods = [*ours, peer.as_ref().map(|(method, _)| *method)];
        let bits40 = self.config.mppe.bits40 && !methods.contains(&Some(AuthMethod::MsChapV1));
        Mppe { bits40, ..self.config.mppe }
    }

    pub(super) fn ccp_packet(&mut self, now: Instant, entropy: &mut dyn Entropy, bytes: &[u8]) {
        let over = self.ccp.is_none() && self.phase >= Phase::Network;
        if self.config.mppe.wish == MppeWish::Never || over {
            self.crypt.declined |= asks_for_it(bytes);
            return self.reject_protocol(Protocol::CCP, bytes);
        }
        let Some(ccp) = &self.ccp else { return };
        let Ok(packet) = Packet::parse(bytes) else { return };
        if ccp.is_repeated(packet) {
            if self.carries() {
                return self.unencrypted(now, entropy);
            }
            self.crypt_down(now);
        }
        let acked = packet.code == Code::CONFIGURE_ACK && self.crypt.receive.is_some();
        self.crypt.begun = self.crypt.begun.saturating_add(u32::from(acked));
        let outcome = self.ccp.as_mut().map(|ccp| ccp.packet(now, entropy, bytes)).unwrap_or_default();
        self.ccp_outcome(now, entropy, outcome);
        match packet.code {
            // The kernel sees the Reset-Ack that we send and begins anew; it is what its own kind waits for, and to others
            // it does no harm (RFC 3078 §4.1 does without).
            Code::RESET_REQUEST if self.crypt.open => {
                let ack = emit_packet(Code::RESET_ACK, packet.identifier, &[]);
                self.transmit(Protocol::CCP, &ack);
            }
            Code::RESET_ACK => self.crypt.reset_until = None,
            Code::CONFIGURE_ACK => self.acknowledged_beside(now, entropy),
            _ => {}
        }
    }

    /// An Ack may have come that answers nothing that we still ask: the kernel may have begun with it all the same.
    fn acknowledged_beside(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        // Once a family is up, every frame has been read that the kernel got before it was told that CCP is up.
        if self.crypt.begun > 1 && self.crypt.stands && !self.families.stand() {
            self.receive_anew(now, entropy);
        }
    }

    pub(super) fn ccp_outcome(&mut self, now: Instant, entropy: &mut dyn Entropy, outcome: Outcome) {
        let falls = |layer: &Layer| matches!(layer, Layer::Down | Layer::Finished);
        if outcome.layers.iter().any(falls) {
            self.crypt.open = false;
            if self.carries() {
                self.pass(outcome.frames);
                return self.unencrypted(now, entropy);
            }
            self.crypt_down(now);
        }
        for frame in outcome.frames {
            self.prepare_compression(now, &frame);
            self.out.push_back(Output::Transmit(frame));
        }
        for layer in outcome.layers {
            match layer {
                Layer::Up => self.crypt.open = true,
                // What is not up is negotiated on.
                Layer::Down => {}
                Layer::Finished => self.unencrypted(now, entropy),
            }
        }
        self.if_encrypted(now, entropy);
    }

    /// Packets pass with these keys. What was said of the keys can't be said again then: who tries ends the link.
    const fn carries(&self) -> bool {
        self.crypt.stands && self.families.stand()
    }

    /// CCP is negotiated once more, or the peer did not get our Ack: the kernel begins with keys again, and nothing above goes
    /// on until it has both.
    fn crypt_down(&mut self, now: Instant) {
        let asked = self.pending.iter().any(|p| p.about == About::Encrypted);
        if !self.crypt.stands && !asked {
            return;
        }
        self.pending.retain(|p| p.about != About::Encrypted);
        self.crypt.stands = false;
        self.ask(now, About::Unencrypted, Ask::Encrypted(false));
        if self.phase == Phase::Network {
            self.phase = Phase::Encrypt;
            (self.ipcp, self.ipv6cp) = (None, None);
            self.families = network::Families::default();
        }
    }

    /// The key that we receive with has begun more than once: it is prepared and asked for again.
    fn receive_anew(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.crypt.anew = self.crypt.anew.saturating_add(1);
        if self.crypt.anew > MAX_ANEW {
            let text = "the peer answers each request for encryption (MPPE) more than once";
            let why = Failure::new(FailureCode::PeerMisbehaved, Step::Encryption, text);
            return self.close(now, entropy, Err(why));
        }
        self.crypt_down(now);
        self.crypt.open = false;
        let outcome = self.ccp.as_mut().map(|ccp| ccp.ask_again(now, entropy)).unwrap_or_default();
        self.ccp_outcome(now, entropy, outcome);
    }

    /// The kernel must know the key before the peer's Ack of our request can come, and before ours goes.
    fn prepare_compression(&mut self, now: Instant, frame: &[u8]) {
        let code = split_frame(frame).ok().and_then(|(_, p)| Packet::parse(p).ok()).map(|p| p.code);
        let Some(ccp) = &self.ccp else { return };
        let (transmit, bits) = match code {
            Some(Code::CONFIGURE_ACK) => (true, ccp.options.transmit()),
            Some(Code::CONFIGURE_REQUEST) => (false, ccp.options.receive()),
            _ => return,
        };
        let (Some(bits), Some(Keys { master, role })) = (bits, &self.keys) else { return };
        let Some(strength) = bits.strength() else { return };
        // A request that is only sent again has the key that no Ack has begun yet.
        if !transmit && self.crypt.begun == 0 && self.crypt.receive.is_some_and(|(known, _)| known == bits.0)
        {
            return;
        }
        let slot = if transmit { &mut self.crypt.transmit } else { &mut self.crypt.receive };
        *slot = Some((bits.0, false));
        if !transmit {
            self.crypt.begun = 0;
        }
        let key = if transmit { master.send(*role, strength) } else { master.receive(*role, strength) };
        let about = if transmit { About::CompressTransmit } else { About::CompressReceive };
        // An answer to an older preparation of this direction says nothing of this one.
        self.pending.retain(|p| p.about != about);
        self.ask(now, about, Ask::Compress(Compress { transmit, bits: bits.0, key: key.start }));
    }

    pub(super) fn compressed(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        about: About,
        done: Result<(), Failure>,
    ) {
        if let Err(why) = done {
            return self.close(now, entropy, Err(why));
        }
        match about {
            About::CompressTransmit => self.crypt.transmit.iter_mut().for_each(|(_, done)| *done = true),
            About::CompressReceive => self.crypt.receive.iter_mut().for_each(|(_, done)| *done = true),
            About::Encrypted if self.crypt.begun > 1 => return self.receive_anew(now, entropy),
            About::Encrypted => {
                self.crypt.stands = true;
                return self.begin_families(now, entropy);
            }
            _ => return,
        }
        self.if_encrypted(now, entropy);
    }

    /// CCP is open and the kernel has both keys: now it may drop what is not encrypted.
    fn if_encrypted(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let Some(ccp) = &self.ccp else { return };
        if !self.crypt.open || self.crypt.stands {
            return;
        }
        let (receive, transmit) = (ccp.options.receive(), ccp.options.transmit());
        let agreed = |bits: Option<MppeBits>| bits.and_then(MppeBits::strength).is_some();
        if !agreed(receive) || !agreed(transmit) {
            return self.unencrypted(now, entropy);
        }
        if !matches!((self.crypt.transmit, self.crypt.receive), (Some((_, true)), Some((_, true))))
            || self.pending.iter().any(|p| p.about == About::Encrypted)
        {
            return;
        }
        match self.crypt.begun > 1 {
            true => self.receive_anew(now, entropy),
            false => self.ask(now, About::Encrypted, Ask::Encrypted(true)),
        }
    }

    /// CCP came to nothing, or to an end.
    fn unencrypted(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let (was, only_56) = (self.crypt.stands, self.ccp.as_ref().is_some_and(|c| c.options.only_56()));
        if was || self.config.mppe.wish == MppeWish::Require {
            let text = match (was, only_56) {
                (true, _) => "the peer ended the link's encryption (MPPE), and nothing goes in clear",
                (false, true) => "the peer offers MPPE with 56 bits only, which this kernel does not have",
                (false, false) => "the peer does not encrypt (MPPE) as this end requires",
            };
            let why = Failure::new(FailureCode::ProposalMismatch, Step::Encryption, text)
                .hint("make the server offer MPPE with 128 bits, or choose a tunnel that does not need it");
            if was {
                // The kernel has stopped encrypting, and not sending: nothing may pass while the peer is told.
                self.crypt.stands = false;
                self.ask(now, About::Unencrypted, Ask::Encrypted(false));
            }
            return self.close(now, entropy, Err(why));
        }
        // The peer may believe that it encrypts, where it has not said no: then nobody would read the other.
        let said_no = self.crypt.refused || self.ccp.as_ref().is_none_or(|c| c.options.receive().is_none());
        if !said_no {
            let text = "the peer does not answer whether it encrypts (MPPE)";
            return self.close(
                now,
                entropy,
                Err(Failure::new(FailureCode::PeerLost, Step::Encryption, text)),
            );
        }
        if self.phase == Phase::Encrypt {
            self.ccp = None;
            self.begin_families(now, entropy);
        }
    }

    /// The kernel could not read a packet: it was lost, or one before it.
    pub(super) fn unreadable(&mut self, now: Instant) {
        if self.crypt.stands && self.crypt.reset_until.is_none() {
            self.send_reset(now);
        }
    }

    /// A packet of an unknown protocol: what is decrypted with another key than it was encrypted with looks like that. A control
    /// protocol that we do not know is a peer's honest try.
    pub(super) fn perhaps_garbled(&mut self, now: Instant, entropy: &mut dyn Entropy, protocol: Protocol) {
        if !self.crypt.stands || (0x8000..0xc000).contains(&protocol.0) {
            return;
        }
        self.crypt.garbled = self.crypt.garbled.saturating_add(1);
        if self.crypt.garbled >= GARBLED {
            self.garbled(now, entropy);
        }
    }

    /// One end does not read any more what the other encrypts. With keys that follow from packet to packet (stateful) that
    /// happens where the packet is lost that was to bring both together again: Linux changes the key with each of those, and
    /// nobody says how many there were.
    pub(super) fn garbled(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if !self.crypt.stands {
            return;
        }
        let text = "one end can't read any more what the other encrypts (MPPE): their keys are out of step";
        let hint = "leave `mppe-stateful` off at both ends: each packet has a key of its own then, and loss does no harm";
        let why = Failure::new(FailureCode::PeerLost, Step::Encryption, text).hint(hint);
        self.close(now, entropy, Err(why));
    }

    pub(super) fn send_reset(&mut self, now: Instant) {
        self.crypt.reset_until = Some(now + self.config.timing.restart_last);
        self.identifier = self.identifier.wrapping_add(1);
        let request = emit_packet(Code::RESET_REQUEST, self.identifier, &[]);
        self.transmit(Protocol::CCP, &request);
    }
}

fn asks_for_it(bytes: &[u8]) -> bool {
    let Ok(packet) = Packet::parse(bytes) else { return false };
    packet.code == Code::CONFIGURE_REQUEST && Options::parse(packet.data).is_ok_and(asks_mppe)
}
