use std::net::{IpAddr, SocketAddr};

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Step, TrafficSelector};
use adit_ikev2::api::{ChildId, ChildMode, ChildSa, EspKeys, Restored, SaId};
use adit_isakmp::EspSuite;
use adit_xfrm_kernel::{
    self as xfrm, AllocateSpi, Mark, Mode, OUR_IF_IDS, OUR_REQIDS, Policy, PolicyPlan, Selector, StateId,
    UdpEncap,
};

use super::Limits;
use crate::host::{MARK, MARK_MASK};
use crate::suites;

/// The numbers by which what stands in the kernel is known as a connection's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// The xfrm interface's if_id.
    pub if_id: u32,
    /// The reqid of its first CHILD_SA; each further one, until it is closed, has its own.
    pub reqid: u32,
    /// Whether its packets have a mark of their own inside of IPsec, and policies look for it: so peers with the same addresses
    /// and ports (behind one NAT, in transport mode) each have their own.
    pub marked: bool,
}

impl Numbers {
    /// The `n`th numbers; `n` counts anew after 16 million.
    #[must_use]
    pub const fn nth(n: u32) -> Self {
        let n = n & 0x00FF_FFFF;
        Self { if_id: *OUR_IF_IDS.start() + n, reqid: *OUR_REQIDS.start() + n, marked: false }
    }

    /// Those of an if_id.
    #[must_use]
    pub fn of_if_id(if_id: u32) -> Option<Self> {
        OUR_IF_IDS.contains(&if_id).then(|| Self::nth(if_id - OUR_IF_IDS.start()))
    }

    /// Those of a reqid.
    #[must_use]
    pub fn of_reqid(reqid: u32) -> Option<Self> {
        OUR_REQIDS.contains(&reqid).then(|| Self::nth(reqid - OUR_REQIDS.start()))
    }

    /// Those of a peer whose packets have this mark, if they have one of ours.
    pub(crate) fn of_mark(mark: u32) -> Option<Self> {
        let numbers = Self { marked: true, ..Self::nth(mark & !MARK_MASK) };
        (mark_of(numbers.reqid) == mark).then_some(numbers)
    }

    /// How many came before.
    pub(super) const fn number(self) -> u32 {
        self.if_id - *OUR_IF_IDS.start()
    }

    /// The routing table of a tunnel: its if_id, so that one can be told from the other.
    #[must_use]
    pub const fn table(self) -> u32 {
        self.if_id
    }
}

/// What is raised when a packet wants it.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Its own, which no CHILD_SA has.
    pub reqid: u32,
    /// Between which hosts.
    pub path: Path,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// Our side.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
}

/// A CHILD_SA and those that came before it in its place: they have their reqid and policies in common, and so the
/// kernel sends by the newest.
pub(super) struct Lineage {
    /// Whose it is, and who that peer is; `None`: it only waits for a packet.
    pub(super) sa: Option<SaId>,
    pub(super) peer: Option<Identity>,
    /// The reqid of its states and policies: that of the lineage whose place it takes, where the same peer has proven
    /// itself again, for the same traffic. So the policies let both in, and the kernel sends by the newest.
    pub(super) reqid: u32,
    /// Where both ends are.
    pub(super) path: Path,
    pub(super) encapsulated: bool,
    pub(super) mode: Mode,
    /// None in transport mode, which has no interface.
    pub(super) if_id: Option<u32>,
    pub(super) marked: bool,
    /// The address that the outbound policies lead to; unspecified where they are still another lineage's.
    pub(super) template: IpAddr,
    /// Oldest first.
    pub(super) children: Vec<Child>,
}

/// What the kernel tells policies of one direction apart by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) if_id: Option<u32>,
    pub(super) selector: Selector,
    pub(super) mark: Option<u32>,
}

/// One pair of states.
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    /// Where the outbound state leads, once it stands.
    pub(super) peer: Option<IpAddr>,
    /// Where the inbound state is.
    pub(super) local: IpAddr,
    pub(super) suite: EspSuite,
    pub(super) limits: Limits,
    /// What its policies are for, as outbound packets see it.
    pub(super) selectors: Box<[Selector]>,
    /// Another is in its place; its states only take what is on the way.
    pub(super) replaced: bool,
}

impl Lineage {
    pub(super) fn of(agreed: &ChildSa, sa: SaId, numbers: Numbers, reqid: u32) -> Self {
        let mode = kernel_mode(agreed.mode);
        Self {
            sa: Some(sa),
            peer: Some(agreed.remote_id.clone()),
            reqid,
            path: agreed.path,
            encapsulated: agreed.encapsulated,
            mode,
            if_id: (mode == Mode::Tunnel).then_some(numbers.if_id),
            marked: numbers.marked,
            template: agreed.path.remote.ip(),
            children: Vec::with_capacity(1),
        }
    }

    /// Of one that a process before has installed.
    pub(super) fn adopted(of: &Restored, numbers: Numbers, reqid: u32) -> Self {
        Self {
            sa: Some(of.sa),
            peer: Some(of.remote_id.clone()),
            reqid,
            path: of.path,
            encapsulated: of.encapsulated,
            mode: Mode::Tunnel,
            if_id: Some(numbers.if_id),
            marked: numbers.marked,
            template: of.path.remote.ip(),
            children: Vec::with_capacity(1),
        }
    }

    /// Of nobody yet, and without an interface.
    pub(super) fn awaited(of: &Awaited) -> Self {
        let mode = kernel_mode(of.mode);
        Self {
            sa: None,
            peer: None,
            reqid: of.reqid,
            path: of.path,
            encapsulated: false,
            mode,
            if_id: None,
            marked: false,
            template: of.path.remote.ip(),
            children: Vec::new(),
        }
    }

    /// The mark of its packets: this daemon's own, and a number that only its reqid has.
    pub(super) fn mark(&self) -> Option<u32> {
        self.marked.then_some(mark_of(self.reqid))
    }

    /// What its policies for a selector are told by from those of others.
    pub(super) fn claim(&self, selector: Selector) -> Claim {
        Claim { if_id: self.if_id, selector, mark: self.mark() }
    }

    /// Where its peer is, as far as that tells it from others: behind a NAT a port is one host's.
    pub(super) fn peer_end(&self) -> (IpAddr, Option<u16>) {
        (self.path.remote.ip(), self.encapsulated.then_some(self.path.remote.port()))
    }

    /// The policies for one selector.
    pub(super) fn policies(&self, selector: Selector) -> impl Iterator<Item = Policy> + use<> {
        let plan = PolicyPlan {
            local: self.path.local.ip(),
            remote: self.path.remote.ip(),
            mode: self.mode,
            reqid: self.reqid,
            if_id: self.if_id,
            mark: self.exact_mark(),
            priority: PolicyPlan::DEFAULT_PRIORITY,
        };
        plan.of_pair(selector)
    }

    /// What a packet may have asked for that met its policies and no outbound state: one that has expired, or that somebody
    /// has taken away. In tunnel mode the interface is gone before.
    pub(super) fn acquired(&self) -> Option<AllocateSpi> {
        let (local, peer) = (self.path.local.ip(), self.path.remote.ip());
        let tunnel = AllocateSpi::tunnel(peer, local, self.reqid, self.if_id);
        (self.mode == Mode::Transport).then_some(AllocateSpi {
            mode: self.mode,
            mark: self.exact_mark(),
            ..tunnel
        })
    }

    fn exact_mark(&self) -> Option<Mark> {
        self.mark().map(|value| Mark { value, mask: u32::MAX })
    }

    pub(super) fn encap(&self) -> Option<UdpEncap> {
        let Path { local, remote } = self.path;
        self.encapsulated.then(|| UdpEncap { local_port: local.port(), remote_port: remote.port() })
    }

    pub(super) fn inbound(child: &Child) -> StateId {
        StateId { destination: child.local, spi: child.spi_in, mark: None }
    }

    pub(super) fn outbound(child: &Child) -> Option<StateId> {
        Some(StateId { destination: child.peer?, spi: child.spi_out, mark: None })
    }

    /// For the door: the states whose keys are given.
    pub(super) fn kernel_child(
        &self,
        child: &Child,
        (keys_in, keys_out): (Option<EspKeys>, Option<EspKeys>),
        policies: Vec<Policy>,
    ) -> Result<xfrm::ChildSa, Failure> {
        let algorithm = suites::algorithm(child.suite)?;
        let keys = |k: EspKeys| xfrm::EspKeys { algorithm, encryption: k.encryption, integrity: k.integrity };
        Ok(xfrm::ChildSa {
            local: self.path.local.ip(),
            remote: self.path.remote.ip(),
            encap: self.encap(),
            mode: self.mode,
            spi_in: child.spi_in,
            spi_out: child.spi_out,
            keys_in: keys_in.map(keys),
            keys_out: keys_out.map(keys),
            esn: child.suite.esn,
            replay_window: xfrm::ChildSa::DEFAULT_REPLAY_WINDOW,
            if_id: self.if_id,
            reqid: self.reqid,
            mark: None,
            output_mark: Some(Mark { value: MARK, mask: MARK_MASK }),
            input_mark: self.exact_mark(),
            lifetimes: child.limits.lifetimes(child.suite),
            clear_df: false,
            policies,
        })
    }
}

/// The mark of packets of a peer's that are told apart by it.
pub(crate) const fn mark_of(reqid: u32) -> u32 {
    MARK | (reqid & !MARK_MASK)
}

const fn kernel_mode(mode: ChildMode) -> Mode {
    match mode {
        ChildMode::Tunnel => Mode::Tunnel,
        ChildMode::Transport => Mode::Transport,
    }
}

/// The selectors of a pair of traffic selectors. In transport mode packets have the two outer addresses, whatever a NAT
/// made the peer believe of them (RFC 7296 §2.23.1).
pub(super) fn selectors(
    local_ts: &[TrafficSelector],
    remote_ts: &[TrafficSelector],
    mode: ChildMode,
    path: Path,
) -> Result<Box<[Selector]>, Failure> {
    let at = |ts: &[TrafficSelector], end: SocketAddr| -> Vec<TrafficSelector> {
        let addresses = Prefix::host(end.ip()).range();
        ts.iter().map(|ts| TrafficSelector { addresses, ..*ts }).collect()
    };
    let pairs = match mode {
        ChildMode::Tunnel => Selector::pairs(local_ts, remote_ts),
        ChildMode::Transport => Selector::pairs(&at(local_ts, path.local), &at(remote_ts, path.remote)),
    };
    pairs.map(Vec::into_boxed_slice).map_err(|e| {
        let text = format!("the agreed traffic cannot be carried: {e}");
        Failure::new(FailureCode::TrafficSelectors, Step::Child, text)
    })
}
