//! The host's side of IPv6 on a link: it asks for a router (RFC 4861 §6.3.7), and makes addresses of the prefixes that one
//! advertises (RFC 4862 §5.5.3); where that says so, it asks for DNS servers by DHCPv6 (RFC 8415). No more is believed: what is
//! on the link, and where packets go, is not the peer's to say.

mod information;

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{Entropy, Instant};

use self::information::Information;
use crate::wire::{PrefixInformation, ROUTER_SOLICITATION, RouterAdvertisement};

/// RTR_SOLICITATION_INTERVAL (RFC 4861 §10), then twice as long each time, as RFC 7559 has it.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// MRT (RFC 7559 §2).
const LAST_PAUSE: Duration = Duration::from_secs(3600);
/// A remaining lifetime up to this is not shortened by whoever says so (RFC 4862 §5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(7200);
/// A lifetime without an end.
const FOR_EVER: u32 = u32::MAX;
/// The kernel's `max_addresses`: as many a link may have by advertisements.
const MOST_ADDRESSES: usize = 16;
/// DNS servers that are kept.
const MOST_DNS: usize = 8;

/// What a host hears.
#[derive(Debug)]
pub enum HostInput {
    /// An ICMPv6 message of a link-local address, that has crossed no router, with a good checksum.
    Icmp(Vec<u8>),
    /// A datagram of a link-local address to the port of DHCPv6 clients.
    Dhcp(Vec<u8>),
    /// The time of [`Host::deadline`] has come.
    Wake,
}

/// What a host does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostOutput {
    /// An ICMPv6 message to all routers of the link.
    Icmp(Vec<u8>),
    /// A datagram to all servers of DHCPv6 of the link.
    Dhcp(Vec<u8>),
    /// An address of its own, from now on.
    Add(Ipv6Addr),
    /// One that is not valid any more.
    Remove(Ipv6Addr),
    /// The DNS servers that are advertised or named by DHCPv6, from now on.
    Dns(Vec<Ipv6Addr>),
}

/// The host at our end of a link.
#[derive(Debug)]
pub struct Host {
    identifier: [u8; 8],
    /// When to ask again, and how long to wait then. `None`: a router has answered.
    ask: Option<(Instant, Duration)>,
    /// Its addresses, and until when they are valid; `None`: for ever.
    addresses: Vec<(Ipv6Addr, Option<Instant>)>,
    /// What is asked of DHCPv6, once a router has said that it knows.
    information: Option<Information>,
    advertised: Vec<Ipv6Addr>,
    informed: Vec<Ipv6Addr>,
    /// What was said of both last.
    dns: Vec<Ipv6Addr>,
    out: VecDeque<HostOutput>,
}

impl Host {
    /// One with this interface identifier (RFC 5072 §5), whose first question is due: nobody else on the link could ask at the
    /// same time.
    #[must_use]
    pub const fn new(now: Instant, identifier: [u8; 8]) -> Self {
        let ask = Some((now, FIRST_PAUSE));
        Self {
            identifier,
            ask,
            addresses: Vec::new(),
            information: None,
            advertised: Vec::new(),
            informed: Vec::new(),
            dns: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let asks = self.ask.map(|(at, _)| at);
        let informs = self.information.as_ref().and_then(Information::deadline);
        self.addresses.iter().filter_map(|(_, until)| *until).chain(asks).chain(informs).min()
    }

    /// What is to be done, in this order.
    pub fn poll(&mut self) -> Option<HostOutput> {
        self.out.pop_front()
    }

    /// Takes note of an input; then [`Host::poll`] until `None`.
    pub fn handle(&mut self, now: Instant, entropy: &mut dyn Entropy, input: HostInput) {
        match input {
            HostInput::Icmp(octets) => {
                if let Ok(said) = RouterAdvertisement::parse(&octets) {
                    self.told(now, entropy, &said);
                }
            }
            HostInput::Dhcp(octets) => {
                if let Some(servers) = self.information.as_mut().and_then(|i| i.told(now, &octets)) {
                    self.informed = servers;
                    self.dns();
                }
            }
            HostInput::Wake => {}
        }
        let out = &mut self.out;
        self.addresses.retain(|(address, until)| {
            let over = until.is_some_and(|until| until <= now);
            out.extend(over.then_some(HostOutput::Remove(*address)));
            !over
        });
        if let Some((at, pause)) = self.ask
            && at <= now
        {
            self.out.push_back(HostOutput::Icmp(ROUTER_SOLICITATION.to_vec()));
            self.ask = Some((now + pause, (pause * 2).min(LAST_PAUSE)));
        }
        let question = self.information.as_mut().and_then(|i| i.wake(now, entropy));
        self.out.extend(question.map(HostOutput::Dhcp));
    }

    fn told(&mut self, now: Instant, entropy: &mut dyn Entropy, said: &RouterAdvertisement) {
        // [4861:6.3.7-1]
        if said.lifetime > 0 {
            self.ask = None;
        }
        for prefix in &said.prefixes {
            self.prefix(now, prefix);
        }
        if let Some((lifetime, servers)) = &said.dns {
            self.advertised = if *lifetime == 0 { Vec::new() } else { servers.clone() };
            self.dns();
        }
        if said.other && self.information.is_none() {
            self.information = Some(Information::new(now, entropy));
        }
    }

    /// What is advertised comes first: it is the newer.
    fn dns(&mut self) {
        let mut dns: Vec<Ipv6Addr> = Vec::new();
        for server in self.advertised.iter().chain(&self.informed) {
            if !server.is_multicast()
                && !server.is_unspecified()
                && !dns.contains(server)
                && dns.len() < MOST_DNS
            {
                dns.push(*server);
            }
        }
        if dns != self.dns {
            self.dns.clone_from(&dns);
            self.out.push_back(HostOutput::Dns(dns));
        }
    }

    /// [4862:5.5.3-1] [4862:5.5.3-2] [4862:5.5.3-3] [4862:5.5.3-4]
    fn prefix(&mut self, now: Instant, prefix: &PrefixInformation) {
        let usable = prefix.autonomous && prefix.length == 64 && prefix.preferred <= prefix.valid;
        if !usable || !for_hosts(prefix.prefix) {
            return;
        }
        let upper = prefix.prefix.to_bits() >> 64 << 64;
        let address = Ipv6Addr::from_bits(upper | u128::from(u64::from_be_bytes(self.identifier)));
        let said = Duration::from_secs(prefix.valid.into());
        let until = (prefix.valid != FOR_EVER).then(|| now + said);
        let room = self.addresses.len() < MOST_ADDRESSES;
        match self.addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, known)) => {
                let left = known.map(|known| known.since(now));
                // [4862:5.5.3-5]: who forges one advertisement takes no address away.
                *known = match left {
                    _ if until.is_none() || said > TWO_HOURS || left.is_some_and(|left| said > left) => until,
                    Some(left) if left <= TWO_HOURS => *known,
                    _ => Some(now + TWO_HOURS),
                };
            }
            None if prefix.valid > 0 && room => {
                self.addresses.push((address, until));
                self.out.push_back(HostOutput::Add(address));
            }
            None => {}
        }
    }
}

/// Whether a host may have an address of it that others reach: not link-local, multicast, unspecified or loopback, and no
/// IPv4 address in another dress.
const fn for_hosts(prefix: Ipv6Addr) -> bool {
    let [first, ..] = prefix.segments();
    first != 0 && !prefix.is_unicast_link_local() && !prefix.is_multicast()
}
