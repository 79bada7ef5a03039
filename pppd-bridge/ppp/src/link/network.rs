//! The network phase: the unit, encryption before anything else, then both address families.

use adit_core::{Entropy, Failure, FailureCode, Instant, Step};

use super::{About, Link, Phase};
use crate::api::{
    Ask, Authenticated, Compress, Established, Event, Ipv4Network, Ipv6Network, Keys, Network, NetworkPlan,
    Output,
};
use crate::automaton;
use crate::config::{Addresses, AuthMethod, Mppe, MppeWish};
use crate::control::{Control, Layer, Outcome};
use crate::ncp::{Ccp, Ipcp, Ipv6cp, MppeBits};
use crate::wire::{Code, Packet, Protocol, emit_packet, split_frame};

/// Encryption as the kernel has it.
#[derive(Default)]
pub(super) struct Crypt {
    /// The bits that each direction was prepared with, and whether the kernel has said that it was.
    transmit: Option<(u32, bool)>,
    receive: Option<(u32, bool)>,
    /// CCP is open.
    open: bool,
    /// The peer does not know CCP.
    pub(super) refused: bool,
    /// The kernel drops what is not encrypted.
    stands: bool,
    /// A Reset-Request waits for its answer until then.
    pub(super) reset_until: Option<Instant>,
}

/// Both address families.
#[derive(Default)]
pub(super) struct Families {
    v4: Family<Ipv4Network>,
    v6: Family<Ipv6Network>,
    /// One is up and waits for the other until then.
    pub(super) until: Option<Instant>,
    /// What is up, as it was said last.
    said: Option<Established>,
}

#[derive(Default)]
enum Family<T> {
    /// Not wanted.
    #[default]
    Off,
    Negotiating,
    Installing(T),
    Up(T),
    /// It will not be: why.
    Gone(Failure),
}

impl<T> Family<T> {
    const fn is_pending(&self) -> bool {
        matches!(self, Self::Negotiating | Self::Installing(_))
    }

    const fn up(&self) -> Option<&T> {
        match self {
            Self::Up(network) => Some(network),
            _ => None,
        }
    }
}

impl Link {
    pub(super) fn prepare(&mut self, now: Instant) {
        self.phase = Phase::Prepare;
        self.event(Event::Progress(Step::Address));
        let peer = self.authenticated.peer.as_ref().map(|(_, who)| who.clone()).unwrap_or_default();
        self.ask(now, About::Network, Ask::Network { peer });
    }

    pub(super) fn planned(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        plan: Result<NetworkPlan, Failure>,
    ) {
        match plan {
            Ok(plan) => self.plan = plan,
            Err(why) => return self.close(now, entropy, Err(why)),
        }
        if self.config.mppe.wish == MppeWish::Never || self.keys.is_none() {
            return self.begin_families(now, entropy);
        }
        self.phase = Phase::Encrypt;
        self.event(Event::Progress(Step::Encryption));
        self.ccp = Some(Control::new(Ccp::new(self.mppe()), self.config.timing));
        for event in [automaton::Event::Open, automaton::Event::Up] {
            let outcome = self.ccp.as_mut().map(|ccp| ccp.event(now, entropy, event)).unwrap_or_default();
            self.ccp_outcome(now, entropy, outcome);
        }
        self.hear_kept(now, entropy, |protocol| protocol == Protocol::CCP);
    }

    /// What encryption there are keys for: MS-CHAPv1's of 40 bits come of a LAN Manager hash (RFC 3079 §2.1), which is not
    /// kept here.
    fn mppe(&self) -> Mppe {
        let Authenticated { ours, peer } = &self.authenticated;
        let methods = [*ours, peer.as_ref().map(|(method, _)| *method)];
        let bits40 = self.config.mppe.bits40 && !methods.contains(&Some(AuthMethod::MsChapV1));
        Mppe { bits40, ..self.config.mppe }
    }

    pub(super) fn ccp_packet(&mut self, now: Instant, entropy: &mut dyn Entropy, bytes: &[u8]) {
        let over = self.ccp.is_none() && self.phase >= Phase::Network;
        if self.config.mppe.wish == MppeWish::Never || over {
            return self.reject_protocol(Protocol::CCP, bytes);
        }
        let Some(ccp) = &mut self.ccp else { return };
        let outcome = ccp.packet(now, entropy, bytes);
        self.ccp_outcome(now, entropy, outcome);
        let Ok(packet) = Packet::parse(bytes) else { return };
        match packet.code {
            // The kernel sees the Reset-Ack that we send and begins anew; it is what its own kind waits for, and to others
            // it does no harm (RFC 3078 §4.1 does without).
            Code::RESET_REQUEST if self.crypt.open => {
                let ack = emit_packet(Code::RESET_ACK, packet.identifier, &[]);
                self.transmit(Protocol::CCP, &ack);
            }
            Code::RESET_ACK => self.crypt.reset_until = None,
            _ => {}
        }
    }

    pub(super) fn ccp_outcome(&mut self, now: Instant, entropy: &mut dyn Entropy, outcome: Outcome) {
        for frame in outcome.frames {
            self.prepare_compression(now, &frame);
            self.out.push_back(Output::Transmit(frame));
        }
        for layer in outcome.layers {
            match layer {
                Layer::Up => {
                    self.crypt.open = true;
                    self.if_encrypted(now, entropy);
                }
                Layer::Down | Layer::Finished => self.unencrypted(now, entropy),
            }
        }
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
        let slot = if transmit { &mut self.crypt.transmit } else { &mut self.crypt.receive };
        if slot.is_some_and(|(known, _)| known == bits.0) {
            return;
        }
        *slot = Some((bits.0, false));
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
            _ => {
                self.crypt.stands = true;
                return self.begin_families(now, entropy);
            }
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
        if matches!((self.crypt.transmit, self.crypt.receive), (Some((_, true)), Some((_, true))))
            && !self.pending.iter().any(|p| p.about == About::Encrypted)
        {
            self.ask(now, About::Encrypted, Ask::Encrypted(true));
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

    fn send_reset(&mut self, now: Instant) {
        self.crypt.reset_until = Some(now + self.config.timing.restart_last);
        self.identifier = self.identifier.wrapping_add(1);
        let request = emit_packet(Code::RESET_REQUEST, self.identifier, &[]);
        self.transmit(Protocol::CCP, &request);
    }

    pub(super) fn ipv6_wanted(&self) -> bool {
        self.config.ipv6 && (self.plan.v6 || matches!(self.config.addresses, Addresses::FromPeer { .. }))
    }

    fn begin_families(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.phase >= Phase::Network {
            return;
        }
        self.phase = Phase::Network;
        let start = match (&self.config.addresses, self.plan.v4) {
            _ if !self.config.ipv4 => None,
            (Addresses::FromPeer { wanted }, None) => Some(crate::ncp::Start::FromPeer { wanted: *wanted }),
            (_, Some((ours, peer))) => {
                let at = |list: &[core::net::Ipv4Addr], n: usize| list.get(n).copied();
                let NetworkPlan { dns, wins, .. } = &self.plan;
                let servers = [at(dns, 0), at(wins, 0), at(dns, 1), at(wins, 1)];
                Some(crate::ncp::Start::ForPeer { ours, peer, servers })
            }
            (Addresses::ForPeer, None) => None,
        };
        let timing = self.config.timing;
        self.ipcp = start.map(|start| Control::new(Ipcp::new(start), timing));
        self.ipv6cp = self.ipv6_wanted().then(|| Control::new(Ipv6cp::new(), timing));
        self.families.v4 = if self.ipcp.is_some() { Family::Negotiating } else { Family::Off };
        self.families.v6 = if self.ipv6cp.is_some() { Family::Negotiating } else { Family::Off };
        for event in [automaton::Event::Open, automaton::Event::Up] {
            let outcome = self.ipcp.as_mut().map(|c| c.event(now, entropy, event)).unwrap_or_default();
            self.ipcp_outcome(now, outcome);
            let outcome = self.ipv6cp.as_mut().map(|c| c.event(now, entropy, event)).unwrap_or_default();
            self.ipv6cp_outcome(now, outcome);
        }
        self.settle(now, entropy);
        self.hear_kept(now, entropy, |_| true);
    }

    pub(super) fn ipcp_outcome(&mut self, now: Instant, outcome: Outcome) {
        self.pass(outcome.frames);
        for layer in outcome.layers {
            let agreed = self.ipcp.as_ref().and_then(|c| c.options.network());
            match (layer, agreed) {
                (Layer::Up, Some(network)) => {
                    if self.families.v4.up() == Some(&network) {
                        continue;
                    }
                    self.families.v4 = Family::Installing(network.clone());
                    self.ask(now, About::InstallV4, Ask::Install(Network::V4(network)));
                }
                (Layer::Up, None) => self.families.v4 = Family::Gone(no_address("IPv4")),
                (Layer::Finished, _) => self.families.v4 = Family::Gone(not_agreed("IPv4")),
                // What was agreed goes on until something else is.
                (Layer::Down, _) => {}
            }
        }
    }

    pub(super) fn ipv6cp_outcome(&mut self, now: Instant, outcome: Outcome) {
        self.pass(outcome.frames);
        for layer in outcome.layers {
            let agreed = self.ipv6cp.as_ref().and_then(|c| c.options.identifiers());
            match (layer, agreed) {
                (Layer::Up, Some((local, peer))) => {
                    let network = Ipv6Network { local, peer };
                    if self.families.v6.up() == Some(&network) {
                        continue;
                    }
                    self.families.v6 = Family::Installing(network);
                    self.ask(now, About::InstallV6, Ask::Install(Network::V6(network)));
                }
                (Layer::Up, None) => self.families.v6 = Family::Gone(no_address("IPv6")),
                (Layer::Finished, _) => self.families.v6 = Family::Gone(not_agreed("IPv6")),
                (Layer::Down, _) => {}
            }
        }
    }

    pub(super) fn installed(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        about: About,
        done: Result<(), Failure>,
    ) {
        if let Err(why) = done {
            return self.close(now, entropy, Err(why));
        }
        let Families { v4, v6, .. } = &mut self.families;
        if about == About::InstallV4
            && let Family::Installing(network) = v4
        {
            *v4 = Family::Up(network.clone());
        }
        if about == About::InstallV6
            && let Family::Installing(network) = v6
        {
            *v6 = Family::Up(*network);
        }
        self.settle(now, entropy);
    }

    /// Whether it is up, or can't be.
    fn settle(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.phase != Phase::Network {
            return;
        }
        let facts = self.facts();
        let Families { v4, v6, until, said } = &mut self.families;
        let any = v4.up().is_some() || v6.up().is_some();
        let pending = v4.is_pending() || v6.is_pending();
        if any && said.is_none() {
            if pending && until.is_none_or(|at| at > now) {
                until.get_or_insert(now + self.config.timing.family);
                return;
            }
            (*until, *said) = (None, Some(facts.clone()));
            return self.event(Event::Established(Box::new(facts)));
        }
        if any && !pending && said.as_ref() != Some(&facts) {
            *said = Some(facts.clone());
            return self.event(Event::Changed(Box::new(facts)));
        }
        if !any && !pending {
            let why = match (v4, v6) {
                (Family::Gone(why), _) | (_, Family::Gone(why)) => why.clone(),
                _ => no_address("either family"),
            };
            self.close(now, entropy, Err(why));
        }
    }

    fn facts(&self) -> Established {
        let Families { v4, v6, .. } = &self.families;
        let mppe = self.ccp.as_ref().filter(|_| self.crypt.stands).and_then(|c| c.options.transmit());
        let mppe = mppe.and_then(|bits| Some((bits.strength()?, bits.stateless())));
        Established { v4: v4.up().cloned(), v6: v6.up().copied(), mppe }
    }

    pub(super) fn wake_network(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let outcome = self.ccp.as_mut().map(|c| c.wake(now, entropy)).unwrap_or_default();
        self.ccp_outcome(now, entropy, outcome);
        let outcome = self.ipcp.as_mut().map(|c| c.wake(now, entropy)).unwrap_or_default();
        self.ipcp_outcome(now, outcome);
        let outcome = self.ipv6cp.as_mut().map(|c| c.wake(now, entropy)).unwrap_or_default();
        self.ipv6cp_outcome(now, outcome);
        if self.crypt.reset_until.is_some_and(|at| at <= now) {
            self.send_reset(now);
        }
        self.settle(now, entropy);
    }
}

fn no_address(family: &str) -> Failure {
    let text = format!("the peer has no address of {family} for this end");
    Failure::new(FailureCode::NoAddress, Step::Address, text)
        .hint("its pool may be exhausted, or it wants another address family")
}

fn not_agreed(family: &str) -> Failure {
    let text = format!("the peer does not agree to {family}");
    Failure::new(FailureCode::NoAddress, Step::Address, text)
}
