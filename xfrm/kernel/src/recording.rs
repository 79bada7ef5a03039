use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use tokio::sync::{Notify, mpsc};

use crate::{
    Algorithm, AllocateSpi, Capabilities, Capability, ChildSa, EventStream, Feature, Operation, Policy,
    PolicyId, Relocation, StateId, StateRecord, Statistics, Support, UdpEncap, XfrmDoor, XfrmError,
    XfrmEvent,
};

/// Something that a [`RecordingXfrm`] was asked, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// An SPI was given out.
    AllocatedSpi(u32),
    /// A CHILD_SA's states, and its policies.
    Installed {
        /// The inbound state, unless it stood already.
        inbound: Option<StateId>,
        /// The outbound state, unless it comes later.
        outbound: Option<StateId>,
        /// The policies.
        policies: Vec<PolicyId>,
    },
    /// Outbound states followed their peer: as they were found before.
    Relocated {
        /// Where the peer is now.
        remote: IpAddr,
        /// The ports now.
        encap: Option<UdpEncap>,
        /// The outbound states, as they were found before.
        outbound: Vec<StateId>,
    },
    /// Policies were replaced or added.
    UpdatedPolicies(Vec<PolicyId>),
    /// What packets asked for that met no state was forgotten.
    Forgot {
        /// Our address.
        from: IpAddr,
        /// The peer's.
        to: IpAddr,
    },
    /// States were removed.
    RemovedStates(Vec<StateId>),
    /// Policies were removed.
    RemovedPolicies(Vec<PolicyId>),
}

/// A door that keeps the books and carries nothing.
#[derive(Default)]
pub struct RecordingXfrm {
    books: Mutex<Books>,
    changed: Notify,
}

#[derive(Default)]
struct Books {
    log: Vec<Recorded>,
    states: BTreeMap<StateId, StateRecord>,
    policies: BTreeMap<PolicyId, Policy>,
    next_spi: u32,
    refuse: Option<Errno>,
    lacking: Vec<Feature>,
    listeners: Vec<mpsc::UnboundedSender<XfrmEvent>>,
    /// Nothing is written down: what stands is the kernel's memory, and a load test measures the daemon's.
    forgets: bool,
}

impl RecordingXfrm {
    /// An empty kernel that can everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that agrees to everything and remembers nothing of it, for load tests.
    #[must_use]
    pub fn forgetful() -> Self {
        Self { books: Mutex::new(Books { forgets: true, ..Books::default() }), ..Self::default() }
    }

    /// The next operation that changes something is refused with this.
    pub fn refuse_next(&self, errno: Errno) {
        self.with(|b| b.refuse = Some(errno));
    }

    /// From now on it lacks this.
    pub fn lack(&self, feature: Feature) {
        self.with(|b| b.lacking.push(feature));
    }

    /// What was asked, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Recorded> {
        self.with(|b| b.log.clone())
    }

    /// Waits until it is so. Asked again after everything that the door is asked.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    /// How many states and policies stand.
    #[must_use]
    pub fn standing(&self) -> (usize, usize) {
        self.with(|b| (b.states.len(), b.policies.len()))
    }

    /// A policy that stands.
    #[must_use]
    pub fn policy(&self, id: &PolicyId) -> Option<Policy> {
        self.with(|b| b.policies.get(id).copied())
    }

    /// Tells an event to everybody who listens.
    pub fn tell(&self, event: &XfrmEvent) {
        self.with(|b| b.listeners.retain(|l| l.send(event.clone()).is_ok()));
    }

    fn with<T>(&self, f: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let before = books.log.len();
        let value = f(&mut books);
        if books.log.len() != before {
            self.changed.notify_waiters();
        }
        value
    }
}

impl Books {
    fn write(&mut self, line: Recorded) {
        if !self.forgets {
            self.log.push(line);
        }
    }

    fn permit(&mut self, operation: Operation) -> Result<(), XfrmError> {
        match self.refuse.take() {
            Some(errno) => Err(XfrmError::Refused { operation, errno, text: None }),
            None => Ok(()),
        }
    }
}

impl XfrmDoor for RecordingXfrm {
    fn allocate_spi(&self, request: &AllocateSpi) -> Result<u32, XfrmError> {
        request.check()?;
        self.with(|b| {
            b.permit(Operation::AllocateSpi)?;
            let spi = request.min.saturating_add(b.next_spi).min(request.max);
            b.next_spi += 1;
            if b.forgets {
                return Ok(spi);
            }
            let id = StateId { destination: request.local, spi, mark: request.mark };
            let AllocateSpi { remote: source, reqid, if_id, mode, .. } = *request;
            b.states.insert(id, StateRecord { id, source, reqid, if_id, mode });
            b.write(Recorded::AllocatedSpi(spi));
            Ok(spi)
        })
    }

    fn forget_acquired(&self, acquired: &AllocateSpi) -> Vec<XfrmError> {
        self.with(|b| b.write(Recorded::Forgot { from: acquired.remote, to: acquired.local }));
        Vec::new()
    }

    fn install(&self, child: ChildSa) -> Result<(), XfrmError> {
        child.check()?;
        let (inbound, outbound) = (child.inbound(), child.outbound());
        let inbound = child.keys_in.as_ref().map(|_| inbound);
        let outbound = child.keys_out.as_ref().map(|_| outbound);
        self.with(|b| {
            if b.forgets {
                return Ok(());
            }
            let taken = child.policies.iter().find(|p| b.policies.contains_key(&p.id));
            let refused = match taken {
                Some(p) => {
                    let operation = Operation::AddPolicy(p.id);
                    Err(XfrmError::Refused { operation, errno: Errno::EEXIST, text: None })
                }
                None => b.permit(Operation::CompleteState(child.inbound())),
            };
            if refused.is_err() {
                inbound.map(|id| b.states.remove(&id));
                return refused;
            }
            let ways = [(inbound, child.remote), (outbound, child.local)];
            for (id, source) in ways.into_iter().filter_map(|(id, source)| Some((id?, source))) {
                let ChildSa { reqid, if_id, mode, .. } = child;
                b.states.insert(id, StateRecord { id, source, reqid, if_id, mode });
            }
            b.policies.extend(child.policies.iter().map(|p| (p.id, *p)));
            let policies = child.policies.iter().map(|p| p.id).collect();
            b.write(Recorded::Installed { inbound, outbound, policies });
            Ok(())
        })
    }

    fn relocate(&self, to: &Relocation) -> Result<Vec<StateId>, XfrmError> {
        self.with(|b| {
            b.permit(Operation::UpdateState(StateId { destination: to.remote, spi: 0, mark: None }))?;
            for old in &to.outbound {
                if let Some(record) = b.states.remove(old) {
                    let id = StateId { destination: to.remote, ..*old };
                    b.states.insert(id, StateRecord { id, source: to.local, ..record });
                }
            }
            let mut left = Vec::new();
            for old in to.inbound.iter().filter(|id| id.destination != to.local) {
                if let Some(record) = b.states.get(old).copied() {
                    let id = StateId { destination: to.local, ..*old };
                    b.states.insert(id, StateRecord { id, source: to.remote, ..record });
                    left.push(*old);
                }
            }
            b.policies.extend(to.policies.iter().map(|p| (p.id, *p)));
            let Relocation { remote, encap, ref outbound, .. } = *to;
            b.write(Recorded::Relocated { remote, encap, outbound: outbound.clone() });
            Ok(left)
        })
    }

    fn plug(&self, _: u32) -> Result<(), XfrmError> {
        Ok(())
    }

    fn hash_by_peer(&self) -> Result<(), XfrmError> {
        Ok(())
    }

    fn update_policies(&self, policies: &[Policy]) -> Result<(), XfrmError> {
        let Some(first) = policies.first() else {
            return Ok(());
        };
        self.with(|b| {
            b.permit(Operation::UpdatePolicy(first.id))?;
            if !b.forgets {
                b.policies.extend(policies.iter().map(|p| (p.id, *p)));
            }
            b.write(Recorded::UpdatedPolicies(policies.iter().map(|p| p.id).collect()));
            Ok(())
        })
    }

    fn remove_states(&self, states: &[StateId]) -> Vec<XfrmError> {
        let Some(first) = states.first() else {
            return Vec::new();
        };
        self.with(|b| {
            let refused = b.permit(Operation::DeleteState(*first)).err();
            let removed: Vec<StateId> = states.iter().skip(refused.iter().len()).copied().collect();
            removed.iter().for_each(|id| {
                b.states.remove(id);
            });
            b.write(Recorded::RemovedStates(removed));
            refused.into_iter().collect()
        })
    }

    fn remove_policies(&self, policies: &[PolicyId]) -> Vec<XfrmError> {
        let Some(first) = policies.first() else {
            return Vec::new();
        };
        self.with(|b| {
            let refused = b.permit(Operation::DeletePolicy(*first)).err();
            let removed: Vec<PolicyId> = policies.iter().skip(refused.iter().len()).copied().collect();
            removed.iter().for_each(|id| {
                b.policies.remove(id);
            });
            b.write(Recorded::RemovedPolicies(removed));
            refused.into_iter().collect()
        })
    }

    fn query(&self, state: &StateId) -> Result<Option<Statistics>, XfrmError> {
        Ok(self.with(|b| (b.forgets || b.states.contains_key(state)).then(Statistics::default)))
    }

    fn states(&self) -> Result<Vec<StateRecord>, XfrmError> {
        Ok(self.with(|b| b.states.values().copied().collect()))
    }

    fn policies(&self) -> Result<Vec<PolicyId>, XfrmError> {
        Ok(self.with(|b| b.policies.keys().copied().collect()))
    }

    fn capabilities(&self) -> Result<Capabilities, XfrmError> {
        let plain = [Feature::Xfrm, Feature::EspV4, Feature::EspV6, Feature::XfrmInterface];
        let features = plain.into_iter().chain(Algorithm::PROBED.map(Feature::Algorithm));
        let support = |b: &Books, f: &Feature| match b.lacking.contains(f) {
            true => Support::Missing("recorded as missing".into()),
            false => Support::Present,
        };
        Ok(self.with(|b| {
            Capabilities(
                features.map(|feature| Capability { feature, support: support(b, &feature) }).collect(),
            )
        }))
    }

    fn subscribe(&self) -> Result<EventStream, XfrmError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.with(|b| b.listeners.push(sender));
        Ok(EventStream::channel(receiver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgetful_one_agrees_and_keeps_nothing() {
        let door = RecordingXfrm::forgetful();
        let ends = (std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv4Addr::LOCALHOST.into());
        let request = AllocateSpi::tunnel(ends.0, ends.1, 1, Some(1));
        let spi = door.allocate_spi(&request).unwrap();
        assert_ne!(door.allocate_spi(&request).unwrap(), spi);
        let id = StateId { destination: ends.0, spi, mark: None };
        assert!(door.query(&id).unwrap().is_some());
        assert!(door.remove_states(&[id]).is_empty());
        assert_eq!(door.standing(), (0, 0));
        assert!(door.log().is_empty());
    }
}
