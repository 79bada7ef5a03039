//! The router's side of IPv6 on a link: what a host at the other end needs for addresses of its own (RFC 4861 §6.2), and,
//! by DHCPv6 without state (RFC 8415 §18.3.6), for names.

use core::net::Ipv6Addr;
use core::time::Duration;

use adit_core::{Entropy, Instant};

use crate::wire::{Dhcpv6Message, PrefixInformation, RouterAdvertisement, is_router_solicitation};

/// MaxRtrAdvInterval and MinRtrAdvInterval (RFC 4861 §6.2.1).
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const SHORTEST_PAUSE: Duration = Duration::from_secs(200);
/// MIN_DELAY_BETWEEN_RAS (§10).
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// MAX_RA_DELAY_TIME.
const MOST_DELAY: Duration = Duration::from_millis(500);
/// MAX_INITIAL_RTR_ADVERTISEMENTS: the first ones come fast.
const INITIAL: u8 = 3;
/// AdvDefaultLifetime: three times the longest pause.
const LIFETIME: u16 = 1800;
/// How long addresses live that nobody advertises any more (RFC 9096 §3.4).
const VALID: u32 = 90 * 60;
const PREFERRED: u32 = 45 * 60;
/// DUID-UUID (RFC 6355).
const DUID_UUID: [u8; 2] = [0, 4];

/// What the host at the other end is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterConfig {
    /// Its own network, of which it makes addresses: the upper 64 bits count.
    pub prefix: Ipv6Addr,
    /// DNS servers.
    pub dns: Vec<Ipv6Addr>,
    /// What this server calls itself in DHCPv6; any number that is its own.
    pub server: [u8; 16],
}

/// What a router hears.
#[derive(Debug)]
pub enum RouterInput {
    /// An ICMPv6 message that has crossed no other router, with a good checksum.
    Icmp(Vec<u8>),
    /// A datagram for a DHCPv6 server. The answer goes back to who sent it.
    Dhcp(Vec<u8>),
    /// The time of [`Router::deadline`] has come.
    Wake,
}

/// What a router says.
#[derive(Debug)]
pub enum RouterOutput {
    /// An ICMPv6 message to all nodes of the link.
    Icmp(Vec<u8>),
    /// A datagram to the client that asked last.
    Dhcp(Vec<u8>),
}

/// The router of one link.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    /// Advertisements so far, as long as the first ones are to come.
    sent: u8,
    last: Option<Instant>,
    next: Instant,
    out: Option<RouterOutput>,
}

impl Router {
    /// One whose first advertisement is due.
    #[must_use]
    pub const fn new(now: Instant, config: RouterConfig) -> Self {
        Self { config, sent: 0, last: None, next: now, out: None }
    }

    /// When it wants to be woken.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// What is to be sent, once for each input.
    pub const fn poll(&mut self) -> Option<RouterOutput> {
        self.out.take()
    }

    /// Takes note of an input.
    pub fn handle(&mut self, now: Instant, entropy: &mut dyn Entropy, input: RouterInput) {
        match input {
            RouterInput::Icmp(octets) if is_router_solicitation(&octets) => self.solicited(now, entropy),
            RouterInput::Dhcp(octets) => self.out = self.answer(&octets).map(RouterOutput::Dhcp),
            RouterInput::Icmp(_) | RouterInput::Wake => {}
        }
        if self.next <= now && self.out.is_none() {
            self.advertise(now, entropy);
        }
    }

    /// [4861:6.2.6-1] [4861:6.2.6-2]
    fn solicited(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let soon = now + share(entropy, MOST_DELAY);
        let soon = self.last.map_or(soon, |last| soon.max(last + LEAST_PAUSE));
        self.next = self.next.min(soon);
    }

    fn advertise(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.out = Some(RouterOutput::Icmp(self.advertisement().emit()));
        self.last = Some(now);
        self.sent = self.sent.saturating_add(1);
        self.next = now
            + match self.sent < INITIAL {
                true => LEAST_PAUSE,
                false => SHORTEST_PAUSE + share(entropy, LONGEST_PAUSE - SHORTEST_PAUSE),
            };
    }

    fn advertisement(&self) -> RouterAdvertisement {
        let RouterConfig { prefix, dns, .. } = &self.config;
        let prefix = Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64);
        RouterAdvertisement {
            hop_limit: 64,
            other: !dns.is_empty(),
            lifetime: LIFETIME,
            // A point-to-point link has one network.
            prefixes: vec![PrefixInformation {
                prefix,
                length: 64,
                // There is nobody but the host itself: all that it sends goes to the router.
                on_link: false,
                autonomous: true,
                valid: VALID,
                preferred: PREFERRED,
            }],
            dns: (!dns.is_empty()).then(|| (LIFETIME.into(), dns.clone())),
        }
    }

    /// [8415:18.3.6-1]
    fn answer(&self, octets: &[u8]) -> Option<Vec<u8>> {
        type Message<'a> = Dhcpv6Message<'a>;
        let asked = Message::parse(octets).ok().filter(|m| m.kind == Message::INFORMATION_REQUEST)?;
        let duid = [DUID_UUID.as_slice(), &self.config.server].concat();
        // [8415:16.12-1] [8415:16.12-2]
        let other = asked.option(Message::SERVER_ID).is_some_and(|id| id != duid);
        let state = [Message::IA_NA, Message::IA_TA, Message::IA_PD];
        if other || state.iter().any(|code| asked.option(*code).is_some()) {
            return None;
        }
        let mut options = vec![(Message::SERVER_ID, &*duid)];
        options.extend(asked.option(Message::CLIENT_ID).map(|id| (Message::CLIENT_ID, id)));
        let wanted = asked.option(Message::OPTION_REQUEST).unwrap_or_default();
        let wants_dns = wanted.as_chunks().0.contains(&Message::DNS_SERVERS.to_be_bytes());
        let dns: Vec<u8> = self.config.dns.iter().flat_map(|a| a.octets()).collect();
        if wants_dns && !dns.is_empty() {
            options.push((Message::DNS_SERVERS, &dns));
        }
        Some(Message { kind: Message::REPLY, transaction: asked.transaction, options }.emit())
    }
}

/// Some part of a time, evenly.
pub(crate) fn share(entropy: &mut dyn Entropy, of: Duration) -> Duration {
    let mut random = [0; 4];
    entropy.public(&mut random);
    let part = u64::from(u32::from_be_bytes(random));
    let whole = u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(whole.saturating_mul(part) >> 32)
}
