//! IPCP's options (RFC 1332 §3, RFC 1877).

use core::net::Ipv4Addr;

use adit_core::Entropy;

use crate::api::Ipv4Network;
use crate::config::NameServers;
use crate::control::{Judgement, Negotiation};
use crate::lcp::{Opinion, collect};
use crate::wire::{ConfigOption, Options, Protocol, emit_options};
use adit_core::snapshot::{Reader, Writer};

const ADDRESS: u8 = 3;
/// Primary DNS, primary NBNS, secondary DNS, secondary NBNS.
const SERVERS: [u8; 4] = [129, 130, 131, 132];

pub(crate) struct Ipcp {
    /// What we begin with.
    start: Start,
    ours: Option<Ipv4Addr>,
    /// DNS and WINS servers as we ask for them, in the order of [`SERVERS`]; `None`: the peer has none.
    servers: [Option<Ipv4Addr>; 4],
    peer: Option<Ipv4Addr>,
}

pub(crate) enum Start {
    /// The peer gives us an address.
    FromPeer { wanted: Option<Ipv4Addr>, servers: NameServers },
    /// We have ours, and one for the peer.
    ForPeer { ours: Ipv4Addr, peer: Ipv4Addr, servers: [Option<Ipv4Addr>; 4] },
}

impl Ipcp {
    pub(crate) const fn new(start: Start) -> Self {
        Self { start, ours: None, servers: [None; 4], peer: None }
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        match &self.start {
            Start::FromPeer { wanted, .. } => {
                w.u8(0);
                w.option(*wanted, Writer::v4);
            }
            Start::ForPeer { ours, peer, servers } => {
                w.u8(1);
                w.v4(*ours);
                w.v4(*peer);
                servers.iter().for_each(|server| w.option(*server, Writer::v4));
            }
        }
        w.option(self.ours, Writer::v4);
        self.servers.iter().for_each(|server| w.option(*server, Writer::v4));
        w.option(self.peer, Writer::v4);
    }

    /// From now on these servers are asked for.
    pub(crate) fn restore(r: &mut Reader<'_>, asked: NameServers) -> Option<Self> {
        let four = |r: &mut Reader<'_>| -> Option<[Option<Ipv4Addr>; 4]> {
            let mut all = [None; 4];
            for one in &mut all {
                *one = r.option(Reader::v4)?;
            }
            Some(all)
        };
        let start = match r.u8()? {
            0 => Start::FromPeer { wanted: r.option(Reader::v4)?, servers: asked },
            1 => Start::ForPeer { ours: r.v4()?, peer: r.v4()?, servers: four(r)? },
            _ => return None,
        };
        Some(Self { start, ours: r.option(Reader::v4)?, servers: four(r)?, peer: r.option(Reader::v4)? })
    }

    /// What was agreed. `None`: no address for us.
    pub(crate) fn network(&self) -> Option<Ipv4Network> {
        // Who has one server says it twice.
        let given = |at: [usize; 2]| {
            let all = at.into_iter().filter_map(|n| self.servers.get(n).copied().flatten());
            let mut out: Vec<Ipv4Addr> = all.filter(|a| !a.is_unspecified()).collect();
            out.dedup();
            out
        };
        let from_peer = matches!(self.start, Start::FromPeer { .. });
        Some(Ipv4Network {
            local: self.ours.filter(|a| usable(*a))?,
            peer: self.peer.filter(|a| usable(*a)),
            dns: if from_peer { given([0, 2]) } else { Vec::new() },
            wins: if from_peer { given([1, 3]) } else { Vec::new() },
        })
    }

    fn judge_address(&self, asked: Ipv4Addr) -> Opinion {
        match self.start {
            // [1332:3.3-1]
            Start::ForPeer { peer, .. } if asked == peer => Opinion::Ack,
            Start::ForPeer { peer, .. } => Opinion::Nak(peer.octets().to_vec()),
            Start::FromPeer { .. } if usable(asked) => Opinion::Ack,
            // It wants one from us, and we have none to give.
            Start::FromPeer { .. } => Opinion::Reject,
        }
    }

    fn judge_server(&self, at: usize, asked: Ipv4Addr) -> Opinion {
        let Start::ForPeer { servers, .. } = &self.start else { return Opinion::Reject };
        match servers.get(at).copied().flatten() {
            Some(ours) if ours == asked => Opinion::Ack,
            Some(ours) => Opinion::Nak(ours.octets().to_vec()),
            None => Opinion::Reject,
        }
    }
}

/// Whether a host can have it.
const fn usable(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast() && !address.is_loopback()
}

fn server_at(kind: u8) -> Option<usize> {
    SERVERS.iter().position(|k| *k == kind)
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

impl Negotiation for Ipcp {
    const PROTOCOL: Protocol = Protocol::IPCP;

    fn restart(&mut self) {
        self.peer = None;
        match &self.start {
            Start::FromPeer { wanted, servers: NameServers { dns, wins } } => {
                // [1332:3.3-2]
                self.ours = Some(wanted.unwrap_or(Ipv4Addr::UNSPECIFIED));
                self.servers = [dns, wins, dns, wins].map(|asked| asked.then_some(Ipv4Addr::UNSPECIFIED));
            }
            Start::ForPeer { ours, .. } => self.ours = Some(*ours),
        }
    }

    fn request(&mut self, _: &mut dyn Entropy) -> Vec<u8> {
        let ours = self.ours.map(|a| (ADDRESS, a.octets()));
        let servers = SERVERS.into_iter().zip(self.servers).filter_map(|(k, s)| Some((k, s?.octets())));
        let all: Vec<(u8, [u8; 4])> = ours.into_iter().chain(servers).collect();
        emit_options(all.iter().map(|(kind, data)| ConfigOption { kind: *kind, data }))
    }

    fn judge(&mut self, options: Options<'_>, _: &mut dyn Entropy) -> Judgement {
        let opinion = |option: ConfigOption<'_>| match (option.kind, address(option.data)) {
            (ADDRESS, Some(asked)) => self.judge_address(asked),
            (kind, Some(asked)) => server_at(kind).map_or(Opinion::Reject, |at| self.judge_server(at, asked)),
            // Header compression (2), the addresses of RFC 1172 (1), and what nobody knows.
            (_, None) => Opinion::Reject,
        };
        let opinions: Vec<_> = options.iter().map(|option| (option, opinion(option))).collect();
        let asked = options.iter().find(|o| o.kind == ADDRESS).and_then(|o| address(o.data));
        match (collect(&opinions), &self.start) {
            // A client that has not asked for an address is told its own.
            (Judgement::Ack, Start::ForPeer { peer, .. }) if asked.is_none() => {
                let data = &peer.octets();
                Judgement::Nak(emit_options([ConfigOption { kind: ADDRESS, data }]))
            }
            (Judgement::Ack, _) => {
                self.peer = asked;
                Judgement::Ack
            }
            (other, _) => other,
        }
    }

    fn naked(&mut self, options: Options<'_>, _: &mut dyn Entropy) {
        // A server keeps its address, whatever the client would rather have.
        if matches!(self.start, Start::ForPeer { .. }) {
            return;
        }
        for option in options.iter() {
            match (option.kind, address(option.data)) {
                (ADDRESS, Some(given)) => self.ours = Some(given),
                (kind, Some(given)) => {
                    let slot = server_at(kind).and_then(|at| self.servers.get_mut(at));
                    // One that was refused before stays so.
                    slot.into_iter().filter(|s| s.is_some()).for_each(|s| *s = Some(given));
                }
                (_, None) => {}
            }
        }
    }

    fn rejected(&mut self, options: Options<'_>) {
        for option in options.iter() {
            if option.kind == ADDRESS {
                self.ours = None;
            }
            let slot = server_at(option.kind).and_then(|at| self.servers.get_mut(at));
            slot.into_iter().for_each(|s| *s = None);
        }
    }
}
