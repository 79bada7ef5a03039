//! The ways out of this host, and the paths over them, best first.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use adit_core::{Instant, Path, Prefix};

/// What a link is, as far as the system tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkKind {
    /// Ethernet and everything that is not known to be something else.
    Wired,
    /// A wireless LAN.
    Wifi,
    /// A mobile network.
    Wwan,
}

impl LinkKind {
    /// The word in a profile.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wired => "wired",
            Self::Wifi => "wifi",
            Self::Wwan => "wwan",
        }
    }
}

/// A link of this host over which others can be reached: it is up and has a carrier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Whether what goes over it costs money.
    pub metered: bool,
    /// The system has found that it leads nowhere, or only to a portal: what it looked for may be something else than a
    /// peer, so this is a suspicion.
    pub limited: bool,
    /// All its addresses: a path from one of them is there, also if another would be taken now.
    pub addresses: Vec<IpAddr>,
    /// At most one a family.
    pub ways: Vec<Way>,
}

impl Uplink {
    /// The way of an address's family.
    fn way(&self, address: IpAddr) -> Option<&Way> {
        self.ways.iter().find(|w| w.source.is_ipv4() == address.is_ipv4())
    }
}

/// What a link offers for one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The address that packets over it carry.
    pub source: IpAddr,
    /// Whom it reaches.
    pub reaches: Vec<Prefix>,
    /// The metric of its route; lower is better.
    pub metric: u32,
}

/// How good a link is; less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Cost {
    preferred: usize,
    metered: bool,
    metric: u32,
}

/// The links to `peer`, best first, each with the address that packets over it carry, for who has no path yet. `prefer` is
/// as in [`Wishes`](super::Wishes).
#[must_use]
pub fn ways_to(uplinks: &[Uplink], prefer: &[String], peer: IpAddr) -> Vec<(String, IpAddr)> {
    let mut table = Table::new(prefer.to_vec(), vec![SocketAddr::new(peer, 0)]);
    table.set_uplinks(Instant::ZERO, uplinks.to_vec());
    table.candidates(Instant::ZERO, 0).into_iter().map(|c| (c.link, c.path.local.ip())).collect()
}

/// A path that may work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) path: Path,
    pub(super) cost: Cost,
    pub(super) link: String,
    limited: bool,
}

/// A link that comes and goes so often within a minute is not gone to any more, unless there is no other.
const FLAPS: u32 = 3;
/// After so long each time counts half.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// So long a link has to be there before it may be better than another.
pub(super) const SETTLED: Duration = Duration::from_millis(500);

/// How a link has behaved.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    there: bool,
    since: Instant,
    /// Times it has gone, in thousandths, as of `counted`.
    gone: u32,
    counted: Instant,
}

impl Behaviour {
    fn gone_at(self, now: Instant) -> u32 {
        let halvings = now.since(self.counted).as_nanos() / FORGOTTEN.as_nanos().max(1);
        self.gone >> u32::try_from(halvings).unwrap_or(31).min(31)
    }
}

/// All uplinks by all addresses of the peer.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Links as a person orders them: `wired`, `wifi`, `wwan`, or names.
    prefer: Vec<String>,
    uplinks: Vec<Uplink>,
    peers: Vec<SocketAddr>,
    behaviour: BTreeMap<String, Behaviour>,
    refused: BTreeMap<(SocketAddr, SocketAddr), Instant>,
}

impl Table {
    pub(super) fn new(prefer: Vec<String>, peers: Vec<SocketAddr>) -> Self {
        Self { prefer, peers, ..Self::default() }
    }

    /// Other uplinks, from now on.
    pub(super) fn set_uplinks(&mut self, now: Instant, uplinks: Vec<Uplink>) {
        for uplink in &uplinks {
            let fresh = Behaviour { there: false, since: now, gone: 0, counted: now };
            let behaviour = self.behaviour.entry(uplink.name.clone()).or_insert(fresh);
            if !behaviour.there {
                (behaviour.there, behaviour.since) = (true, now);
            }
        }
        for (name, behaviour) in &mut self.behaviour {
            if behaviour.there && !uplinks.iter().any(|u| u.name == *name) {
                let gone = behaviour.gone_at(now).saturating_add(1000);
                *behaviour = Behaviour { there: false, since: now, gone, counted: now };
            }
        }
        self.behaviour.retain(|_, b| b.there || b.gone_at(now) > 0);
        self.uplinks = uplinks;
    }

    pub(super) fn set_peers(&mut self, peers: Vec<SocketAddr>) {
        self.peers = peers;
    }

    pub(super) fn peers(&self) -> &[SocketAddr] {
        &self.peers
    }

    /// The peer does not want to be reached over this path.
    pub(super) fn refuse(&mut self, path: Path, until: Instant) {
        self.refused.insert((path.local, path.remote), until);
    }

    /// Every path that may work, best first. `port` is ours.
    pub(super) fn candidates(&self, now: Instant, port: u16) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = Vec::new();
        for uplink in &self.uplinks {
            for way in &uplink.ways {
                let reached = |p: &&SocketAddr| way.reaches.iter().any(|r| r.contains(p.ip()));
                for peer in self.peers.iter().filter(reached) {
                    let path = Path { local: SocketAddr::new(way.source, port), remote: *peer };
                    let refused = self.refused.get(&(path.local, path.remote)).is_some_and(|u| *u > now);
                    if !refused {
                        let (cost, link) = (self.cost(uplink, way), uplink.name.clone());
                        all.push(Candidate { path, cost, link, limited: uplink.limited });
                    }
                }
            }
        }
        // Links that flap come last, and before them those that are limited; among equals the peer's own order stands.
        all.sort_by_key(|c| (self.flaps(now, &c.link), c.limited, c.cost));
        all
    }

    fn cost(&self, uplink: &Uplink, way: &Way) -> Cost {
        let named = |word: &String| *word == uplink.name || word == uplink.kind.as_str();
        let preferred = self.prefer.iter().position(named).unwrap_or(self.prefer.len());
        Cost { preferred, metered: uplink.metered, metric: way.metric }
    }

    /// The link of a path that is there; `None`: its address or its link is gone.
    pub(super) fn link_of(&self, path: Path) -> Option<&Uplink> {
        let local = path.local.ip();
        self.uplinks.iter().find(|u| u.addresses.contains(&local) && u.way(local).is_some())
    }

    /// What the path in use costs.
    pub(super) fn cost_of(&self, path: Path) -> Option<Cost> {
        let uplink = self.link_of(path)?;
        let way = uplink.way(path.local.ip())?;
        Some(self.cost(uplink, way))
    }

    /// Whether a link comes and goes too often to be trusted.
    pub(super) fn flaps(&self, now: Instant, link: &str) -> bool {
        self.behaviour.get(link).is_some_and(|b| b.gone_at(now) >= FLAPS * 1000)
    }

    /// When a link will have been there for long enough, and has been quiet for long enough.
    pub(super) fn settled_at(&self, now: Instant, link: &str) -> Instant {
        let Some(behaviour) = self.behaviour.get(link) else { return now };
        let settled = behaviour.since + SETTLED;
        match self.flaps(now, link) {
            true => settled.max(behaviour.counted + FORGOTTEN),
            false => settled,
        }
    }
}
