//! CCP's options: MPPE (RFC 3078 §2), and no compression.

use adit_auth::mschap::MppeStrength;
use adit_core::Entropy;

use crate::config::Mppe;
use crate::control::{Judgement, Negotiation};
use crate::lcp::{Opinion, collect};
use crate::wire::{Code, ConfigOption, Options, Protocol, emit_options};
use adit_core::snapshot::{Reader, Writer};

const MPPE: u8 = 18;

/// The Supported Bits of MPPE's option (RFC 3078 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MppeBits(pub u32);

impl MppeBits {
    /// L: keys of 40 bits.
    pub const BITS40: u32 = 0x20;
    /// S: keys of 128 bits.
    pub const BITS128: u32 = 0x40;
    /// M: keys of 56 bits.
    pub const BITS56: u32 = 0x80;
    /// H: stateless.
    pub const STATELESS: u32 = 0x0100_0000;
    const STRENGTHS: u32 = Self::BITS40 | Self::BITS128 | Self::BITS56;

    const fn data(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The strength, if it is one that the kernel has; the option must name exactly one.
    pub(crate) const fn strength(self) -> Option<MppeStrength> {
        match self.0 & Self::STRENGTHS {
            Self::BITS40 => Some(MppeStrength::Bits40),
            Self::BITS128 => Some(MppeStrength::Bits128),
            _ => None,
        }
    }

    /// Whether every packet has a key of its own.
    pub(crate) const fn stateless(self) -> bool {
        self.0 & Self::STATELESS != 0
    }
}

/// Whether a Configure-Request with these options asks for encryption.
pub(crate) fn asks_mppe(options: Options<'_>) -> bool {
    let strong = |option: ConfigOption<'_>| {
        option.kind == MPPE && bits(option.data).is_some_and(|bits| bits & MppeBits::STRENGTHS != 0)
    };
    options.iter().any(strong)
}

pub(crate) struct Ccp {
    mppe: Mppe,
    /// What our request offers; `None`: nothing.
    ours: Option<MppeBits>,
    /// What the peer's request was answered with, when that was Ack.
    peer: Option<MppeBits>,
    /// The peer offered 56 bits and nothing that we take.
    only_56: bool,
}

impl Ccp {
    pub(crate) const fn new(mppe: Mppe) -> Self {
        Self { mppe, ours: None, peer: None, only_56: false }
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        w.option(self.ours, |w, bits| w.u32(bits.0));
        w.option(self.peer, |w, bits| w.u32(bits.0));
    }

    /// `None` also where this configuration would not have agreed to it.
    pub(crate) fn restore(mppe: Mppe, r: &mut Reader<'_>) -> Option<Self> {
        let mut ccp = Self::new(mppe);
        let bits = |r: &mut Reader<'_>| {
            let bits = MppeBits(r.u32()?);
            (ccp.choose(bits.0) == Some(bits)).then_some(bits)
        };
        let (ours, peer) = (r.option(bits)?, r.option(bits)?);
        (ccp.ours, ccp.peer) = (Some(ours?), Some(peer?));
        Some(ccp)
    }

    /// What we receive by: our request.
    pub(crate) const fn receive(&self) -> Option<MppeBits> {
        self.ours
    }

    /// What we send by: the peer's request.
    pub(crate) const fn transmit(&self) -> Option<MppeBits> {
        self.peer
    }

    /// Whether all that the peer would do is 56 bits.
    pub(crate) const fn only_56(&self) -> bool {
        self.only_56
    }

    const fn allowed(&self) -> u32 {
        (if self.mppe.bits40 { MppeBits::BITS40 } else { 0 })
            | (if self.mppe.bits128 { MppeBits::BITS128 } else { 0 })
    }

    /// The one offer out of `theirs` that we take, if there is one: the strongest, and stateless unless the peer insists
    /// and we let it.
    const fn choose(&self, theirs: u32) -> Option<MppeBits> {
        let common = theirs & self.allowed();
        let strength = match () {
            () if common & MppeBits::BITS128 != 0 => MppeBits::BITS128,
            () if common & MppeBits::BITS40 != 0 => MppeBits::BITS40,
            () => return None,
        };
        match theirs & MppeBits::STATELESS {
            0 if self.mppe.stateful => Some(MppeBits(strength)),
            _ => Some(MppeBits(strength | MppeBits::STATELESS)),
        }
    }

    /// What we would take, all of it.
    const fn offer(&self) -> u32 {
        let stateless = if self.mppe.stateful { 0 } else { MppeBits::STATELESS };
        self.allowed() | stateless
    }

    fn judge_mppe(&mut self, theirs: u32) -> Opinion {
        self.only_56 = theirs & MppeBits::STRENGTHS == MppeBits::BITS56;
        match self.choose(theirs) {
            Some(chosen) if chosen.0 == theirs => Opinion::Ack,
            Some(chosen) => Opinion::Nak(chosen.data().to_vec()),
            None => Opinion::Nak(MppeBits(self.offer()).data().to_vec()),
        }
    }
}

fn bits(data: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(data).ok().map(u32::from_be_bytes)
}

impl Negotiation for Ccp {
    const PROTOCOL: Protocol = Protocol::CCP;
    /// Each stops the kernel: only the Ack of the newest shows that it has begun again after the last one.
    const EACH_REQUEST_IS_NEW: bool = true;

    fn restart(&mut self) {
        self.ours = (self.allowed() != 0).then(|| MppeBits(self.offer()));
        (self.peer, self.only_56) = (None, false);
    }

    fn request(&mut self, _: &mut dyn Entropy) -> Vec<u8> {
        let data = self.ours.map(MppeBits::data);
        emit_options(data.iter().map(|data| ConfigOption { kind: MPPE, data }))
    }

    fn judge(&mut self, options: Options<'_>, _: &mut dyn Entropy) -> Judgement {
        let opinions: Vec<_> = options
            .iter()
            .map(|option| match (option.kind, bits(option.data)) {
                // [3078:2.1-1]
                (MPPE, Some(theirs)) if self.allowed() != 0 => (option, self.judge_mppe(theirs)),
                _ => (option, Opinion::Reject),
            })
            .collect();
        let asked = options.iter().find(|o| o.kind == MPPE).and_then(|o| bits(o.data));
        self.peer = None;
        match collect(&opinions) {
            // A peer that asks for nothing would get clear text: it is told what to ask for.
            Judgement::Ack if asked.is_none() && self.allowed() != 0 => {
                let data = &MppeBits(self.offer()).data();
                Judgement::Nak(emit_options([ConfigOption { kind: MPPE, data }]))
            }
            Judgement::Ack => {
                self.peer = asked.map(MppeBits);
                Judgement::Ack
            }
            other => other,
        }
    }

    fn naked(&mut self, options: Options<'_>, _: &mut dyn Entropy) {
        let wished = options.iter().filter(|o| o.kind == MPPE).find_map(|o| bits(o.data));
        // What the peer wants and we do not take ends it.
        self.ours = wished.and_then(|theirs| self.choose(theirs));
        self.only_56 |= wished.is_some_and(|w| w & MppeBits::STRENGTHS == MppeBits::BITS56);
    }

    fn rejected(&mut self, _: Options<'_>) {
        self.ours = None;
    }

    fn knows(&self, code: Code) -> bool {
        matches!(code, Code::RESET_REQUEST | Code::RESET_ACK)
    }
}
