use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::TrafficSelector;

use crate::{Mark, Mode, Selector, SelectorError};

/// Which packets a policy is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// For this host.
    In,
    /// From this host, or forwarded into a tunnel.
    Out,
    /// Out of a tunnel, for another host.
    Forward,
}

/// What happens to them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// They pass, through the template if there is one, in clear if there is none.
    Allow,
    /// They are dropped.
    Block,
}

/// Which state carries (or must have carried) the packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Template {
    /// Outer source; unspecified: any. Inbound it is: a state that follows its peer keeps the source that it began with,
    /// and the next one has another; the reqid tells whose they are.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// The states' reqid.
    pub reqid: u32,
    /// The states' mode.
    pub mode: Mode,
}

/// What the kernel finds a policy by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PolicyId {
    /// Its direction.
    pub direction: Direction,
    /// Its selector.
    pub selector: Selector,
    /// Its if_id; `None` is 0.
    pub if_id: Option<u32>,
    /// Its mark.
    pub mark: Option<Mark>,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Forward => "fwd",
        };
        write!(f, "{direction} {}", self.selector)
    }
}

/// A policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What it is found by.
    pub id: PolicyId,
    /// Lower wins.
    pub priority: u32,
    /// Pass or drop.
    pub action: Action,
    /// The state that carries.
    pub template: Option<Template>,
}

/// What all policies of one CHILD_SA have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyPlan {
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// Mode of the states.
    pub mode: Mode,
    /// reqid of the states.
    pub reqid: u32,
    /// if_id of the interface, if there is one.
    pub if_id: Option<u32>,
    /// Mark that packets must have.
    pub mark: Option<Mark>,
    /// Priority of the widest selector; narrower ones get up to 1,024 less, so that they win.
    pub priority: u32,
}

impl PolicyPlan {
    /// Priority where nothing else is asked for.
    pub const DEFAULT_PRIORITY: u32 = 200_000;

    /// The policies for every pair of a local and a remote traffic selector: out, in, and in tunnel mode fwd.
    ///
    /// # Errors
    /// See [`Selector::pairs`].
    pub fn policies(
        &self,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
    ) -> Result<Vec<Policy>, SelectorError> {
        let pairs = Selector::pairs(local, remote)?;
        Ok(pairs.into_iter().flat_map(|selector| self.of_pair(selector)).collect())
    }

    /// The policies for one pair: its outbound selector, as [`Selector::pairs`] gives it.
    pub fn of_pair(&self, selector: Selector) -> impl Iterator<Item = Policy> + use<> {
        let forward = (self.mode == Mode::Tunnel).then_some(Direction::Forward);
        let plan = *self;
        [Direction::Out, Direction::In].into_iter().chain(forward).map(move |d| plan.policy(d, selector))
    }

    fn policy(&self, direction: Direction, outbound: Selector) -> Policy {
        let (selector, source, destination) = match direction {
            Direction::Out => (outbound, self.local, self.remote),
            Direction::In | Direction::Forward => (outbound.reversed(), unspecified(self.remote), self.local),
        };
        let narrow = 2 * (u32::from(selector.source.length) + u32::from(selector.destination.length))
            + 8 * u32::from(selector.protocol != 0)
            + selector.source_port.mask.count_ones()
            + selector.destination_port.mask.count_ones();
        Policy {
            id: PolicyId { direction, selector, if_id: self.if_id, mark: self.mark },
            priority: self.priority.saturating_sub(narrow),
            action: Action::Allow,
            template: Some(Template { source, destination, reqid: self.reqid, mode: self.mode }),
        }
    }
}

const fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_core::Prefix;

    #[test]
    fn each_pair_gets_its_directions_and_narrow_ones_win() {
        let plan = PolicyPlan {
            local: "192.0.2.1".parse().unwrap(),
            remote: "198.51.100.1".parse().unwrap(),
            mode: Mode::Tunnel,
            reqid: 7,
            if_id: Some(9),
            mark: None,
            priority: PolicyPlan::DEFAULT_PRIORITY,
        };
        let ts = |p: &str| TrafficSelector::from(p.parse::<Prefix>().unwrap());
        let policies = plan.policies(&[ts("10.0.0.1")], &[ts("0.0.0.0/0"), ts("10.9.0.0/16")]).unwrap();
        let texts: Vec<String> = policies.iter().map(|p| p.id.to_string()).collect();
        assert_eq!(
            texts,
            [
                "out 10.0.0.1/32 to 0.0.0.0/0",
                "in 0.0.0.0/0 to 10.0.0.1/32",
                "fwd 0.0.0.0/0 to 10.0.0.1/32",
                "out 10.0.0.1/32 to 10.9.0.0/16",
                "in 10.9.0.0/16 to 10.0.0.1/32",
                "fwd 10.9.0.0/16 to 10.0.0.1/32",
            ]
        );
        assert!(policies[3].priority < policies[0].priority);
        assert_eq!(policies[1].template.unwrap().destination, plan.local);
        let transport = PolicyPlan { mode: Mode::Transport, ..plan };
        assert_eq!(transport.policies(&[ts("192.0.2.1")], &[ts("198.51.100.1")]).unwrap().len(), 2);
    }
}
