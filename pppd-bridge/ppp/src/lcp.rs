//! LCP's options (RFC 1661 §6, RFC 1570).

use adit_core::Entropy;

use crate::config::{Addresses, AuthMethod, LinkConfig};
use crate::control::{Judgement, Negotiation};
use crate::wire::{Code, ConfigOption, Options, Protocol, emit_options};
use adit_core::snapshot::{Reader, Writer};

const MRU: u8 = 1;
const ACCM: u8 = 2;
const AUTH: u8 = 3;
const MAGIC: u8 = 5;
const PFC: u8 = 7;
const ACFC: u8 = 8;

/// MRU of who says nothing (§6.1).
const DEFAULT_MRU: u16 = 1500;
/// No smaller one is taken: a packet of IPv4 that must pass has 68 octets, our own control packets more.
const LEAST_MRU: u16 = 128;
/// As many of our own Magic-Numbers in a row are no accident.
const LOOPS: u8 = 5;

/// What both sides have agreed on, once LCP is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkParameters {
    /// The longest packet that the peer takes, in octets.
    pub peer_mru: u16,
    /// Whether the peer takes a protocol field of one octet.
    pub peer_pfc: bool,
    /// Whether the peer takes frames without address and control.
    pub peer_acfc: bool,
}

pub(crate) struct Lcp {
    mru: Option<u16>,
    magic: Option<u32>,
    /// Whether the peer lets us have one.
    use_magic: bool,
    pfc: bool,
    acfc: bool,
    compress_header: bool,
    demand: Vec<AuthMethod>,
    /// Index in `demand` of what our request asks for; beyond its end: the peer will do none.
    asked: usize,
    prove: Vec<AuthMethod>,
    loops: u8,
    naked_magic: Option<u32>,
    wanted_mru: u16,
    /// Who answers a call begins its link before the caller knows that the call is up.
    answers: bool,
    peer: Peer,
}

/// The peer's options, as acknowledged.
#[derive(Clone, Copy, Default)]
struct Peer {
    mru: Option<u16>,
    auth: Option<AuthMethod>,
    magic: Option<u32>,
    pfc: bool,
    acfc: bool,
}

impl Lcp {
    pub(crate) fn new(config: &LinkConfig) -> Self {
        let mut lcp = Self {
            mru: None,
            magic: None,
            use_magic: true,
            pfc: false,
            acfc: false,
            compress_header: config.compress_header,
            demand: config.demand.clone(),
            asked: 0,
            prove: config.prove.clone(),
            loops: 0,
            naked_magic: None,
            wanted_mru: config.mru,
            answers: config.addresses == Addresses::ForPeer,
            peer: Peer::default(),
        };
        lcp.restart();
        lcp
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        w.option(self.mru, Writer::u16);
        w.option(self.magic, Writer::u32);
        [self.use_magic, self.pfc, self.acfc].into_iter().for_each(|flag| w.flag(flag));
        w.option(self.demanded(), |w, method| w.bytes(method.option()));
        w.u8(self.loops);
        w.option(self.naked_magic, Writer::u32);
        let Peer { mru, auth, magic, pfc, acfc } = self.peer;
        w.option(mru, Writer::u16);
        w.option(auth, |w, method| w.bytes(method.option()));
        w.option(magic, Writer::u32);
        w.flag(pfc);
        w.flag(acfc);
    }

    /// `None` also where this configuration would not have agreed to it.
    pub(crate) fn restore(config: &LinkConfig, r: &mut Reader<'_>) -> Option<Self> {
        let method = |r: &mut Reader<'_>| AuthMethod::of_option(r.bytes()?);
        let mut lcp = Self::new(config);
        lcp.mru = r.option(Reader::u16)?;
        lcp.magic = r.option(Reader::u32)?;
        (lcp.use_magic, lcp.pfc, lcp.acfc) = (r.flag()?, r.flag()?, r.flag()?);
        lcp.asked = match r.option(method)? {
            Some(demanded) => lcp.demand.iter().position(|m| *m == demanded)?,
            None => lcp.demand.is_empty().then_some(0)?,
        };
        (lcp.loops, lcp.naked_magic) = (r.u8()?, r.option(Reader::u32)?);
        lcp.peer = Peer {
            mru: r.option(Reader::u16)?,
            auth: r.option(method)?,
            magic: r.option(Reader::u32)?,
            pfc: r.flag()?,
            acfc: r.flag()?,
        };
        let right = lcp.peer.mru.is_none_or(|mru| mru >= LEAST_MRU)
            && lcp.peer.auth.is_none_or(|method| lcp.prove.contains(&method));
        (right && !lcp.looped()).then_some(lcp)
    }

    pub(crate) fn parameters(&self) -> LinkParameters {
        LinkParameters {
            peer_mru: self.peer.mru.unwrap_or(DEFAULT_MRU),
            peer_pfc: self.peer.pfc,
            peer_acfc: self.peer.acfc,
        }
    }

    /// How the peer is to prove itself; `None`: it need not.
    pub(crate) fn demanded(&self) -> Option<AuthMethod> {
        self.demand.get(self.asked).copied()
    }

    /// Whether the peer must prove itself and will not, in any way that we take.
    pub(crate) const fn refuses_to_prove(&self) -> bool {
        !self.demand.is_empty() && self.asked >= self.demand.len()
    }

    /// How we are to prove ourselves.
    pub(crate) const fn proving(&self) -> Option<AuthMethod> {
        self.peer.auth
    }

    /// Our Magic-Number; zero without one. [1661:5.8-2]
    pub(crate) fn magic(&self) -> u32 {
        self.magic.filter(|_| self.use_magic).unwrap_or(0)
    }

    /// Whether what we hear is ourselves.
    pub(crate) const fn looped(&self) -> bool {
        self.loops >= LOOPS
    }

    /// A packet with a Magic-Number came: one that is ours is our own. [1661:6.4-3]
    pub(crate) fn heard_magic(&mut self, magic: u32) {
        if magic != 0 && Some(magic) == self.magic {
            self.loops = self.loops.saturating_add(1);
        }
    }

    fn judge_one(&self, option: ConfigOption<'_>, entropy: &mut dyn Entropy, peer: &mut Peer) -> Opinion {
        match (option.kind, option.data) {
            (MRU, [high, low]) => {
                let mru = u16::from_be_bytes([*high, *low]);
                if mru < LEAST_MRU {
                    return Opinion::Nak(LEAST_MRU.to_be_bytes().to_vec());
                }
                peer.mru = Some(mru);
                Opinion::Ack
            }
            // Of asynchronous lines only; elsewhere it changes nothing.
            (ACCM, [_, _, _, _]) => Opinion::Ack,
            (AUTH, data) => match AuthMethod::of_option(data).filter(|m| self.prove.contains(m)) {
                Some(method) => {
                    peer.auth = Some(method);
                    Opinion::Ack
                }
                // [1661:6.2-2]: what we would do; who can do nothing says that.
                None => {
                    self.prove.first().map_or(Opinion::Reject, |best| Opinion::Nak(best.option().to_vec()))
                }
            },
            (MAGIC, [a, b, c, d]) => {
                let magic = u32::from_be_bytes([*a, *b, *c, *d]);
                // [1661:6.4-1] [1661:6.4-2]
                if magic == 0 || Some(magic) == self.magic {
                    return Opinion::Nak(fresh_magic(entropy).to_be_bytes().to_vec());
                }
                peer.magic = Some(magic);
                Opinion::Ack
            }
            (PFC, []) if self.compress_header => {
                peer.pfc = true;
                Opinion::Ack
            }
            (ACFC, []) if self.compress_header => {
                peer.acfc = true;
                Opinion::Ack
            }
            // Callback (13), MRRU (17), short sequence numbers (18) and the endpoint discriminator (19), as Windows sends
            // them, quality reports, and whatever nobody knows.
            _ => Opinion::Reject,
        }
    }
}

pub(crate) enum Opinion {
    Ack,
    Nak(Vec<u8>),
    Reject,
}

/// One answer to all options: Reject before Nak before Ack. [1661:5.3-2] [1661:5.3-3] [1661:5.4-3]
pub(crate) fn collect(opinions: &[(ConfigOption<'_>, Opinion)]) -> Judgement {
    let rejected = opinions.iter().filter(|(_, o)| matches!(o, Opinion::Reject)).map(|(option, _)| *option);
    let rejected = emit_options(rejected);
    if !rejected.is_empty() {
        return Judgement::Reject(rejected);
    }
    let naked = emit_options(opinions.iter().filter_map(|(option, opinion)| match opinion {
        Opinion::Nak(data) => Some(ConfigOption { kind: option.kind, data }),
        Opinion::Ack | Opinion::Reject => None,
    }));
    if naked.is_empty() { Judgement::Ack } else { Judgement::Nak(naked) }
}

fn fresh_magic(entropy: &mut dyn Entropy) -> u32 {
    let mut bytes = [0; 4];
    entropy.public(&mut bytes);
    u32::from_be_bytes(bytes).max(1)
}

impl Negotiation for Lcp {
    const PROTOCOL: Protocol = Protocol::LCP;

    fn restart(&mut self) {
        self.mru = (self.wanted_mru != DEFAULT_MRU).then_some(self.wanted_mru);
        (self.magic, self.use_magic) = (None, true);
        (self.pfc, self.acfc) = (self.compress_header, self.compress_header);
        self.asked = 0;
        self.peer = Peer::default();
    }

    fn request(&mut self, entropy: &mut dyn Entropy) -> Vec<u8> {
        let magic = *self.magic.get_or_insert_with(|| fresh_magic(entropy));
        let (mru, magic) = (self.mru.map(u16::to_be_bytes), magic.to_be_bytes());
        let mut options = Vec::new();
        options.extend(mru.as_ref().map(|data| ConfigOption { kind: MRU, data }));
        // [1661:6.2-1]
        options.extend(self.demanded().map(|m| ConfigOption { kind: AUTH, data: m.option() }));
        options.extend(self.use_magic.then_some(ConfigOption { kind: MAGIC, data: &magic }));
        options.extend(self.pfc.then_some(ConfigOption { kind: PFC, data: &[] }));
        options.extend(self.acfc.then_some(ConfigOption { kind: ACFC, data: &[] }));
        emit_options(options)
    }

    fn judge(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) -> Judgement {
        let mut peer = Peer::default();
        let opinions: Vec<_> =
            options.iter().map(|option| (option, self.judge_one(option, entropy, &mut peer))).collect();
        let judgement = collect(&opinions);
        let magic = opinions.iter().find_map(|(option, opinion)| match opinion {
            Opinion::Nak(data) if option.kind == MAGIC => <[u8; 4]>::try_from(data.as_slice()).ok(),
            _ => None,
        });
        if let Some(magic) = magic {
            self.naked_magic = Some(u32::from_be_bytes(magic));
        }
        if matches!(judgement, Judgement::Ack) {
            (self.peer, self.loops) = (peer, 0);
        }
        judgement
    }

    fn naked(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) {
        for option in options.iter() {
            match (option.kind, option.data) {
                (MRU, [high, low]) => {
                    let mru = u16::from_be_bytes([*high, *low]);
                    // A longer one than ours is the peer's business: it may send shorter packets.
                    self.mru =
                        Some(mru).filter(|m| *m >= LEAST_MRU && *m <= self.wanted_mru && *m != DEFAULT_MRU);
                }
                (AUTH, data) => {
                    let wish = AuthMethod::of_option(data);
                    let at = self.demand.iter().position(|m| Some(*m) == wish);
                    // Never back: what was refused once is not asked for again, and what we do not take never.
                    self.asked = match at {
                        Some(at) if at > self.asked => at,
                        _ => self.asked.saturating_add(1),
                    };
                }
                (MAGIC, data) => {
                    let said = <[u8; 4]>::try_from(data).map(u32::from_be_bytes).ok();
                    if said.is_some() && said == self.naked_magic {
                        self.loops = self.loops.saturating_add(1);
                    }
                    self.magic = Some(fresh_magic(entropy));
                }
                // Options that the peer would like us to have, and we do not want (§5.3 allows that).
                _ => {}
            }
        }
    }

    fn rejected(&mut self, options: Options<'_>) {
        for option in options.iter() {
            match option.kind {
                MRU => self.mru = None,
                AUTH => self.asked = self.demand.len(),
                MAGIC => self.use_magic = false,
                PFC => self.pfc = false,
                ACFC => self.acfc = false,
                _ => {}
            }
        }
    }

    /// A request without authentication would be agreed to, by a peer that then wonders where its keys are.
    fn comes_early(&self) -> bool {
        self.answers
    }

    fn gives_up(&self) -> bool {
        self.refuses_to_prove()
    }

    fn knows(&self, code: Code) -> bool {
        matches!(
            code,
            Code::PROTOCOL_REJECT
                | Code::ECHO_REQUEST
                | Code::ECHO_REPLY
                | Code::DISCARD_REQUEST
                | Code::IDENTIFICATION
                | Code::TIME_REMAINING
        )
    }
}
