//! Clients that follow their hosts: links, addresses, NATs and holes that come and go, a server whose addresses do, and
//! the mobility that decides where to go. The driver's part is as in the daemon.

use std::collections::VecDeque;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::AddAssign;
use core::time::Duration;

use adit_core::{Instant, Path, Prefix, Transmit};
use adit_ikev2::api::{Event, Input as IkeInput, SaId, Uniqueness};
use adit_plan::mobility::{Act, Input, LinkKind, Mobility, Standing, Uplink, Way, Wishes, ways_to};

use super::{SERVER, Violation, World};
use crate::host::Temper;
use crate::nat::{Mapping, Nat};
use crate::net::{Faults, Place};

/// Whatever has happened: so long after the last of it a connection is up, if any path works.
pub const BOUND: Duration = Duration::from_secs(240);
/// The same after a lost link, if all other paths work.
const LOST: Duration = Duration::from_millis(200);

/// Pauses between attempts to come back.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Where the server can be.
const SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2))];

/// What a run was like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Roamed {
    /// Moves that clients decided on.
    pub moves: u64,
    /// Moves that the server followed.
    pub followed: u64,
    /// Times that a client began anew.
    pub redialled: u64,
    /// Checks that found a path and the connection on it.
    pub connected: u64,
    /// Checks that found no path.
    pub unreachable: u64,
    /// Links that were lost with another one at hand, each followed by a check.
    pub lost: u64,
}

impl AddAssign for Roamed {
    fn add_assign(&mut self, one: Self) {
        self.moves += one.moves;
        self.followed += one.followed;
        self.redialled += one.redialled;
        self.connected += one.connected;
        self.unreachable += one.unreachable;
        self.lost += one.lost;
    }
}

/// A client's mobility, and what it moves between.
pub(super) struct Roamer {
    links: Vec<Link>,
    mobility: Option<Mobility>,
    sa: Option<SaId>,
    /// Packets that the tunnel has sent and received.
    carried: (u64, u64),
    /// When it dials again, after which pause, and over what.
    redial: Option<(Instant, Duration)>,
    untried: VecDeque<Path>,
    moves: u64,
    redialled: u64,
}

/// A link of a client.
struct Link {
    name: String,
    kind: LinkKind,
    metric: u32,
    address: Ipv4Addr,
    place: Place,
    there: bool,
}

impl Link {
    fn uplink(&self) -> Uplink {
        let source = IpAddr::V4(self.address);
        let way = Way { source, reaches: vec![Prefix::ANY_V4], metric: self.metric };
        Uplink {
            name: self.name.clone(),
            kind: self.kind,
            metered: self.kind == LinkKind::Wwan,
            limited: false,
            addresses: vec![source],
            ways: vec![way],
        }
    }
}

impl Roamer {
    fn uplinks(&self) -> Vec<Uplink> {
        self.links.iter().filter(|l| l.there).map(Link::uplink).collect()
    }

    /// Our addresses.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.links.iter().filter(|l| l.there).map(|l| IpAddr::V4(l.address)).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let mobility = self.mobility.as_ref().and_then(Mobility::deadline);
        [mobility, self.redial.map(|(at, _)| at)].into_iter().flatten().min()
    }

    /// Where to dial from and to: all that there is, best first, one after the other.
    pub(super) fn next_way(&mut self) -> Option<Path> {
        if self.untried.is_empty() {
            let uplinks = self.uplinks();
            let at = |ip: IpAddr| SocketAddr::new(ip, 500);
            let paths = SERVERS.iter().flat_map(|server| {
                ways_to(&uplinks, &[], *server)
                    .into_iter()
                    .map(|(_, source)| Path { local: at(source), remote: at(*server) })
            });
            self.untried = paths.collect();
        }
        self.untried.pop_front()
    }
}

/// Runs one seed. With `trace`, what happens is printed.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, trace: bool) -> Result<Roamed, Violation> {
    let mut world = World::empty(seed, trace);
    world.net.faults = Faults::NONE;
    world.mischief = false;
    world.roaming = true;
    world.build_server();
    world.net.attach(SERVER, SERVERS[1], Place::Public);
    if let Some(server) = world.hosts.first_mut() {
        server.mobike = Some(SERVERS.to_vec());
        server.temper = Temper::GOOD;
        // Who is refused as long as it is believed to be there waits for longer than any bound of ours.
        if server.uniqueness == Uniqueness::Refuse {
            server.uniqueness = Uniqueness::Replace;
        }
        server.timing.reauthenticate = Duration::ZERO;
    }
    let clients = world.random.below(2) + 1;
    for n in 1..=clients {
        world.build_roamer(u8::try_from(n).unwrap_or(1));
    }
    let result = world.roams();
    result.map_err(|what| Violation { seed, at: world.now, what })
}

impl World {
    fn build_roamer(&mut self, n: u8) {
        self.build_client(n);
        let index = usize::from(n);
        if let Some(host) = self.hosts.get_mut(index) {
            host.temper = Temper::GOOD;
            self.net.detach(host.address().ip());
        }
        if let Some(client) = self.clients.get_mut(index.saturating_sub(1)) {
            client.timing.reauthenticate = Duration::ZERO;
        }
        let kinds = [LinkKind::Wired, LinkKind::Wifi, LinkKind::Wwan];
        let links = (0_u8..).zip(kinds).map(|(at, kind)| {
            let place = match self.random.below(3) {
                0 => Place::Public,
                mapping => {
                    let mapping =
                        if mapping == 1 { Mapping::EndpointIndependent } else { Mapping::Symmetric };
                    let timeout = self.random.between(Duration::from_secs(25), Duration::from_secs(120));
                    let outer = IpAddr::V4(Ipv4Addr::new(203, 0, 113, n * 8 + at));
                    self.net.nats.push(Nat::new(outer, mapping, timeout, 20_000));
                    Place::Behind(self.net.nats.len().saturating_sub(1))
                }
            };
            Link {
                name: format!("link{at}"),
                kind,
                metric: u32::from(at) * 100 + 100,
                address: Ipv4Addr::new(192, 0, n * 8 + at, 2),
                place,
                there: at > 0,
            }
        });
        let links: Vec<Link> = links.collect();
        for link in links.iter().filter(|l| l.there) {
            self.net.attach(index, link.address.into(), link.place);
        }
        let roamer = Roamer {
            links,
            mobility: None,
            sa: None,
            carried: (0, 0),
            redial: None,
            untried: VecDeque::new(),
            moves: 0,
            redialled: 0,
        };
        self.roamers.insert(index, roamer);
    }

    fn roams(&mut self) -> Result<Roamed, String> {
        let mut roamed = Roamed::default();
        for client in 1..self.hosts.len() {
            self.redial(client)?;
        }
        self.run_until(self.now + Duration::from_secs(30))?;
        self.check_roamers(&mut roamed)?;
        self.bad_roads()?;
        self.net.faults = Faults::NONE;
        self.net.outage_until = Instant::ZERO;
        self.run_until(self.now + BOUND)?;
        self.check_roamers(&mut roamed)?;
        for _ in 0..12 {
            let step = self.random.between(Duration::ZERO, Duration::from_secs(20));
            self.run_until(self.now + step)?;
            self.happens_on_the_road()?;
            self.run_until(self.now + BOUND)?;
            self.check_roamers(&mut roamed)?;
        }
        self.all_is_well()?;
        self.run_until(self.now + BOUND)?;
        self.check_roamers(&mut roamed)?;
        for client in 1..self.hosts.len() {
            self.lose_a_link(client, &mut roamed)?;
        }
        for roamer in self.roamers.values() {
            roamed.moves = roamed.moves.saturating_add(roamer.moves);
            roamed.redialled = roamed.redialled.saturating_add(roamer.redialled);
        }
        roamed.followed = self.host(SERVER)?.tally.moved;
        self.roamers.clear();
        self.close_all()?;
        // What a client left behind is asked for a long time whether it is there (RFC 4555 §3.11).
        self.run_until(self.now + Duration::from_hours(1))?;
        self.check_nothing_left()?;
        Ok(roamed)
    }

    /// Half an hour in which networks come and go, and lose, double and change what they carry.
    fn bad_roads(&mut self) -> Result<(), String> {
        self.net.faults = Faults::some(&mut self.random.fork());
        for _ in 0..self.random.below(40) + 20 {
            let pause = self.random.between(Duration::ZERO, Duration::from_secs(60));
            self.run_until(self.now + pause)?;
            self.happens_on_the_road()?;
        }
        Ok(())
    }

    /// Something that happens to somebody on the road.
    fn happens_on_the_road(&mut self) -> Result<(), String> {
        let clients = self.hosts.len().saturating_sub(1) as u64;
        let client = usize::try_from(self.random.below(clients)).unwrap_or(0) + 1;
        let which = usize::try_from(self.random.below(3)).unwrap_or(0);
        match self.random.below(12) {
            0..=3 => self.toggle(client, which),
            4 => self.renumber(client, which),
            5 | 6 => {
                let nats = self.net.nats.len() as u64;
                let nat = usize::try_from(self.random.below(nats)).unwrap_or(0);
                self.net.nats.get_mut(nat).into_iter().for_each(Nat::rebind);
                Ok(())
            }
            7 | 8 => {
                let server = self.random.pick(&SERVERS).unwrap_or(SERVERS[0]);
                let address = self.roamers.get(&client).and_then(|r| r.links.get(which)).map(|l| l.address);
                let hole = address.map(|address| (IpAddr::V4(address), server));
                if let Some(hole) = hole
                    && !self.net.holes.remove(&hole)
                {
                    self.net.holes.insert(hole);
                }
                Ok(())
            }
            9 => self.server_moves(),
            10 => {
                let length = self.random.between(Duration::from_secs(1), Duration::from_secs(100));
                self.net.outage_until = self.now + length;
                Ok(())
            }
            _ => self.rekey(client),
        }
    }

    /// A link comes or goes.
    fn toggle(&mut self, client: usize, which: usize) -> Result<(), String> {
        let Some(link) = self.roamers.get_mut(&client).and_then(|r| r.links.get_mut(which)) else {
            return Ok(());
        };
        link.there = !link.there;
        match link.there {
            true => self.net.attach(client, link.address.into(), link.place),
            false => self.net.detach(link.address.into()),
        }
        self.uplinks_changed(client)
    }

    /// A link gets another address.
    fn renumber(&mut self, client: usize, which: usize) -> Result<(), String> {
        let Some(link) = self.roamers.get_mut(&client).and_then(|r| r.links.get_mut(which)) else {
            return Ok(());
        };
        let [a, b, c, d] = link.address.octets();
        let before = link.address;
        link.address = Ipv4Addr::new(a, b, c, if d >= 250 { 2 } else { d + 1 });
        self.net.detach(before.into());
        if link.there {
            self.net.attach(client, link.address.into(), link.place);
        }
        self.uplinks_changed(client)
    }

    /// One of the server's addresses goes, or comes back; it always has one.
    fn server_moves(&mut self) -> Result<(), String> {
        let there: Vec<IpAddr> = SERVERS.into_iter().filter(|a| self.net.is_there(*a)).collect();
        match *there {
            [one] => {
                let other = if one == SERVERS[0] { SERVERS[1] } else { SERVERS[0] };
                self.net.attach(SERVER, other, Place::Public);
            }
            _ => self.net.detach(self.random.pick(&SERVERS).unwrap_or(SERVERS[0])),
        }
        self.tell_server_addresses()
    }

    fn tell_server_addresses(&mut self) -> Result<(), String> {
        let addresses: Vec<IpAddr> = SERVERS.into_iter().filter(|a| self.net.is_there(*a)).collect();
        let server = self.host(SERVER)?;
        server.mobike = Some(addresses.clone());
        let paths: Vec<(SaId, Path)> = server.paths.iter().map(|(sa, path)| (*sa, *path)).collect();
        for (sa, path) in paths {
            self.give(SERVER, IkeInput::Addresses { sa, addresses: addresses.clone() })?;
            let next = addresses.first().filter(|_| !addresses.contains(&path.local.ip()));
            if let Some(next) = next {
                let local = SocketAddr::new(*next, path.local.port());
                self.give(SERVER, IkeInput::Move { sa, path: Path { local, ..path } })?;
            }
        }
        Ok(())
    }

    /// Every link is there, and leads to the server.
    fn all_is_well(&mut self) -> Result<(), String> {
        self.net.holes.clear();
        self.net.outage_until = Instant::ZERO;
        for server in SERVERS {
            self.net.attach(SERVER, server, Place::Public);
        }
        self.tell_server_addresses()?;
        for client in 1..self.hosts.len() {
            for which in 0..3 {
                let gone =
                    self.roamers.get(&client).and_then(|r| r.links.get(which)).is_some_and(|l| !l.there);
                if gone {
                    self.toggle(client, which)?;
                }
            }
        }
        Ok(())
    }

    /// The link in use goes while all else works.
    fn lose_a_link(&mut self, client: usize, roamed: &mut Roamed) -> Result<(), String> {
        let in_use = |r: &super::roam::Roamer| {
            let name = r.mobility.as_ref()?.link()?;
            r.links.iter().position(|l| l.name == name)
        };
        let Some(which) = self.roamers.get(&client).and_then(in_use) else {
            return Err(format!("client {client} goes over no link, and all are there"));
        };
        self.toggle(client, which)?;
        self.run_until(self.now + LOST)?;
        roamed.lost = roamed.lost.saturating_add(1);
        if !self.echo(client)? {
            return Err(format!("client {client} lost link{which} {LOST:?} ago, and nothing passes"));
        }
        Ok(())
    }

    fn uplinks_changed(&mut self, client: usize) -> Result<(), String> {
        let Some(roamer) = self.roamers.get_mut(&client) else { return Ok(()) };
        let (uplinks, addresses) = (roamer.uplinks(), roamer.addresses());
        roamer.untried.clear();
        let Some(mobility) = &mut roamer.mobility else { return Ok(()) };
        mobility.handle(self.now, Input::Uplinks(uplinks));
        if let Some(sa) = roamer.sa {
            self.give(client, IkeInput::Addresses { sa, addresses })?;
        }
        self.roamer_acts(client)
    }

    /// What the IKE_SA says of its paths.
    pub(super) fn roamer_hears(&mut self, index: usize, sa: SaId, event: &Event) {
        let now = self.now;
        let Some(roamer) = self.roamers.get_mut(&index) else { return };
        if let Event::Established(up) = event {
            let mut mobility =
                Mobility::new(now, Wishes::default(), up.path, up.mobike.as_deref().unwrap_or_default());
            mobility.handle(now, Input::Uplinks(roamer.uplinks()));
            (roamer.mobility, roamer.sa, roamer.redial) = (Some(mobility), Some(sa), None);
            roamer.carried = (0, 0);
            roamer.untried.clear();
            return;
        }
        if roamer.sa != Some(sa) {
            if matches!(event, Event::Closed(_)) && roamer.sa.is_none() {
                // An attempt has failed: over the next path at once; when there is none left, after a pause.
                let pause = roamer.redial.map_or(PAUSES.0, |(_, pause)| pause);
                let wait = if roamer.untried.is_empty() { pause } else { Duration::ZERO };
                let longer = if roamer.untried.is_empty() { (pause * 2).min(PAUSES.1) } else { pause };
                roamer.redial = Some((now + wait, longer));
            }
            return;
        }
        if matches!(event, Event::Closed(_)) {
            (roamer.mobility, roamer.sa) = (None, None);
            roamer.redial = Some((now + PAUSES.0, PAUSES.0));
        }
        if let (Some(news), Some(mobility)) = (event.path_news(), &mut roamer.mobility) {
            mobility.handle(now, Input::Path(news));
        }
    }

    /// Its deadline has come.
    pub(super) fn roamer_wakes(&mut self, index: usize) -> Result<(), String> {
        let now = self.now;
        let Some(roamer) = self.roamers.get_mut(&index) else { return Ok(()) };
        if roamer.redial.is_some_and(|(at, _)| at <= now) {
            return self.redial(index);
        }
        if let Some(mobility) = &mut roamer.mobility {
            mobility.handle(now, Input::Wake);
        }
        self.roamer_acts(index)
    }

    fn redial(&mut self, index: usize) -> Result<(), String> {
        let pause = match self.roamers.get_mut(&index) {
            Some(roamer) => {
                roamer.redialled = roamer.redialled.saturating_add(1);
                roamer.redial.take().map_or(PAUSES.0, |(_, pause)| pause)
            }
            None => return Ok(()),
        };
        let now = self.now;
        let dialled = self.dial_anyway(index)?;
        if let (None, Some(roamer)) = (dialled, self.roamers.get_mut(&index)) {
            roamer.redial = Some((now + pause, (pause * 2).min(PAUSES.1)));
        }
        Ok(())
    }

    /// Carries out what was decided.
    pub(super) fn roamer_acts(&mut self, index: usize) -> Result<(), String> {
        loop {
            let now = self.now;
            let Some(roamer) = self.roamers.get_mut(&index) else { return Ok(()) };
            let Some(sa) = roamer.sa else { return Ok(()) };
            let Some(act) = roamer.mobility.as_mut().and_then(Mobility::poll) else { return Ok(()) };
            if self.trace {
                println!("{now:?} client {index}: {act:?}");
            }
            match act {
                Act::Move(path) => {
                    roamer.moves = roamer.moves.saturating_add(1);
                    self.give(index, IkeInput::Move { sa, path })?;
                }
                Act::Tell(path) => self.give(index, IkeInput::Move { sa, path })?,
                Act::Probe(paths) => self.give(index, IkeInput::Probe { sa, paths })?,
                Act::Look => {
                    let uplinks = roamer.uplinks();
                    roamer.mobility.iter_mut().for_each(|m| m.handle(now, Input::Uplinks(uplinks.clone())));
                }
                Act::Sample => self.sample(index)?,
                Act::Standing(_) => {}
                Act::Reconnect | Act::End => {
                    (roamer.mobility, roamer.sa) = (None, None);
                    roamer.redial = Some((now, PAUSES.0));
                    self.give(index, IkeInput::Close { sa })?;
                }
            }
        }
    }

    /// The tunnel carries something most of the time.
    fn sample(&mut self, index: usize) -> Result<(), String> {
        let busy = self.random.chance(800);
        let came_back = busy && self.echo(index)?;
        let now = self.now;
        let Some(roamer) = self.roamers.get_mut(&index) else { return Ok(()) };
        let (sent, received) = &mut roamer.carried;
        (*sent, *received) = (*sent + 25 * u64::from(busy), *received + 25 * u64::from(came_back));
        let traffic = Input::Traffic { sent: *sent, received: *received };
        roamer.mobility.iter_mut().for_each(|m| m.handle(now, traffic.clone()));
        Ok(())
    }

    /// Whether what a client's kernel sends now arrives at the server's, and what that one answers comes back.
    fn echo(&mut self, index: usize) -> Result<bool, String> {
        let Some(sa) = self.roamers.get(&index).and_then(|r| r.sa) else { return Ok(false) };
        let pair = self
            .host(index)?
            .kernel
            .senders()
            .filter(|p| p.sa == sa)
            .max_by_key(|p| p.outbound_since)
            .cloned();
        let Some(pair) = pair else { return Ok(false) };
        let Some((to, from)) = self.esp(pair.path) else { return Ok(false) };
        if to != SERVER {
            return Ok(false);
        }
        let key = pair.outbound_key.as_deref().unwrap_or_default();
        let server = self.host(SERVER)?;
        let mirror =
            server.kernel.pairs.values().find(|p| p.inbound_spi == pair.outbound_spi && p.inbound_key == key);
        let Some(mirror) = mirror.cloned() else { return Ok(false) };
        if mirror.path.remote != from && pair.path.remote.port() != 500 {
            self.give(SERVER, IkeInput::Mapping { sa: mirror.sa, remote: from })?;
        }
        let server = self.host(SERVER)?;
        let path = server.kernel.pairs.values().find(|p| p.inbound_spi == pair.outbound_spi).map(|p| p.path);
        let Some(back) = path else { return Ok(false) };
        Ok(self.esp(back).is_some_and(|(to, _)| to == index))
    }

    /// A few ESP packets over a path: where one arrives, and from where.
    fn esp(&mut self, path: Path) -> Option<(usize, SocketAddr)> {
        let now = self.now;
        let sent = (0..3).find_map(|_| self.net.send(now, &Transmit { path, payload: Vec::new() }).pop());
        let (_, flying) = sent?;
        let (host, _) = self.net.arrive(now, &flying)?;
        Some((host, flying.from))
    }

    /// Whoever has a path to the server is connected over one.
    fn check_roamers(&mut self, roamed: &mut Roamed) -> Result<(), String> {
        for client in 1..self.hosts.len() {
            let Some(roamer) = self.roamers.get(&client) else { continue };
            let links = || roamer.links.iter().filter(|l| l.there).map(|l| IpAddr::V4(l.address));
            let works = |server: &IpAddr| {
                self.net.is_there(*server) && links().any(|l| !self.net.holes.contains(&(l, *server)))
            };
            let standing = roamer.mobility.as_ref().map(Mobility::standing);
            if !SERVERS.iter().any(works) || self.now < self.net.outage_until + BOUND {
                roamed.unreachable = roamed.unreachable.saturating_add(1);
                continue;
            }
            let path = roamer.mobility.as_ref().map(Mobility::path);
            if !standing.is_some_and(|(s, _)| s == Standing::Connected) || !self.echo(client)? {
                return Err(format!(
                    "client {client} has a path to the server, and is {standing:?} at {path:?}"
                ));
            }
            roamed.connected = roamed.connected.saturating_add(1);
        }
        Ok(())
    }
}
