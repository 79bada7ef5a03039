//! The network phase: the unit, encryption before anything else, then both address families.

use adit_core::{Entropy, Failure, FailureCode, Instant, Step};

use super::{About, Link, Phase};
use crate::api::{Ask, Established, Event, Ipv4Network, Ipv6Network, Network, NetworkPlan};
use crate::automaton;
use crate::config::{Addresses, MppeWish};
use crate::control::{Control, Layer, Outcome};
use crate::ncp::{Ccp, Ipcp, Ipv6cp};
use crate::wire::Protocol;
use adit_core::snapshot::{Reader, Writer};

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

    const fn stands(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Installing(_))
    }

    const fn number(&self) -> u8 {
        match self {
            Self::Off | Self::Negotiating | Self::Installing(_) => 0,
            Self::Up(_) => 1,
            Self::Gone(_) => 2,
        }
    }

    /// One that its protocol has agreed on this for, as it was left.
    fn restore(number: u8, protocol: Option<bool>, agreed: Option<T>, name: &str) -> Option<Self> {
        match (number, protocol) {
            (0, None) => Some(Self::Off),
            (1, Some(true)) => agreed.map(Self::Up),
            (2, Some(_)) => Some(Self::Gone(not_agreed(name))),
            _ => None,
        }
    }

    const fn up(&self) -> Option<&T> {
        match self {
            Self::Up(network) => Some(network),
            _ => None,
        }
    }
}

impl Families {
    /// Whether packets of one pass, or are about to.
    pub(super) const fn stand(&self) -> bool {
        self.v4.stands() || self.v6.stands()
    }

    /// Whether all that will be up is, and was said to be.
    pub(super) fn rest(&self, facts: &Established) -> bool {
        let pending = self.v4.is_pending() || self.v6.is_pending();
        !pending && self.until.is_none() && self.said.as_ref() == Some(facts)
    }

    pub(super) fn save(&self, w: &mut Writer) {
        w.u8(self.v4.number());
        w.u8(self.v6.number());
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

    pub(super) fn ipv6_wanted(&self) -> bool {
        self.config.ipv6 && (self.plan.v6 || matches!(self.config.addresses, Addresses::FromPeer { .. }))
    }

    pub(super) fn begin_families(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.phase >= Phase::Network {
            return;
        }
        self.phase = Phase::Network;
        let start = match (&self.config.addresses, self.plan.v4) {
            _ if !self.config.ipv4 => None,
            (Addresses::FromPeer { wanted, servers }, None) => {
                Some(crate::ncp::Start::FromPeer { wanted: *wanted, servers: *servers })
            }
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
        if !any {
            // What was up is agreed anew, and nothing waits for it.
            *until = None;
        }
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

    /// With what their protocols have agreed on. One is up at least.
    pub(super) fn restore_families(&mut self, r: &mut Reader<'_>) -> Option<()> {
        let agreed = self.ipcp.as_ref().and_then(|c| c.options.network());
        let v4 = Family::restore(r.u8()?, self.ipcp.as_ref().map(Control::is_open), agreed, "IPv4")?;
        let agreed = self.ipv6cp.as_ref().and_then(|c| c.options.identifiers());
        let agreed = agreed.map(|(local, peer)| Ipv6Network { local, peer });
        let v6 = Family::restore(r.u8()?, self.ipv6cp.as_ref().map(Control::is_open), agreed, "IPv6")?;
        (v4.up().is_some() || v6.up().is_some()).then_some(())?;
        self.families = Families { v4, v6, until: None, said: None };
        self.families.said = Some(self.facts());
        Some(())
    }

    pub(super) fn facts(&self) -> Established {
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
