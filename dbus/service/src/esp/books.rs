use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_core::Path;
use adit_dbus_api::Traffic;
use adit_ikev2::api::{ChildId, Input, SaId};
use adit_xfrm_kernel::{AllocateSpi, Direction, Plugged, Policy, PolicyId, Selector, StateId};
use tokio::sync::Notify;

use super::child::{Child, Claim, Lineage};

/// What stands in the kernel, and whose it is. Written only by the queue's work.
#[derive(Default)]
pub(super) struct Books {
    /// By number: the reqid that each would have alone.
    pub(super) lineages: BTreeMap<u32, Lineage>,
    /// The numbers of those that have another's reqid, by that.
    heirs: BTreeMap<u32, Vec<u32>>,
    pub(super) sas: BTreeMap<SaId, Owned>,
    /// Whose a policy is: the last one's, until that is gone. (An identity that comes in again, or authenticates again,
    /// has the same addresses in its old and its new IKE_SA for a while.)
    owners: BTreeMap<Claim, Vec<u32>>,
    /// Who waits for a packet: by reqid.
    pub(super) traps: BTreeMap<u32, Trap>,
}

/// What an IKE_SA has.
#[derive(Default)]
pub(super) struct Owned {
    /// The numbers of its CHILD_SAs' lineages, the first one's first.
    pub(super) reqids: Vec<u32>,
    /// SPIs that no state has yet.
    pub(super) larval: Vec<StateId>,
    /// Where it has moved to, and whether ESP is carried in UDP there.
    pub(super) moved: Option<(Path, bool)>,
    /// States that take what is on its way: inbound ones at a former address of ours, those of a former IKE_SA.
    pub(super) left: Vec<StateId>,
    /// The queue through which packets come to its states, if it can be held.
    pub(super) plugged: Option<Plugged>,
    /// What its CHILD_SAs that are gone have moved, where somebody wants to know.
    pub(super) spent: Option<Box<Traffic>>,
}

/// Policies without states: the first packet that meets one is told.
pub(super) struct Trap {
    pub(super) selectors: Box<[Selector]>,
    pub(super) wake: Arc<Notify>,
}

/// What is to be done to the kernel's policies.
#[derive(Default)]
pub(super) struct PolicyChange {
    /// They are not there yet.
    pub(super) add: Vec<Policy>,
    /// They are there, for another.
    pub(super) take_over: Vec<Policy>,
    pub(super) remove: Vec<PolicyId>,
}

impl Books {
    /// What packets may have asked for that met no outbound state while this IKE_SA moved away from where these states of
    /// its own were left: by the former address, and by the one where it is.
    pub(super) fn asked_for(&self, sa: SaId, left: &[StateId]) -> Vec<AllocateSpi> {
        let Some(owned) = self.sas.get(&sa) else { return Vec::new() };
        let mut all = Vec::new();
        for lineage in owned.reqids.iter().filter_map(|number| self.lineages.get(number)) {
            let (local, peer) = (lineage.path.local.ip(), lineage.path.remote.ip());
            let former: BTreeSet<_> = left.iter().map(|s| s.destination).filter(|a| *a != local).collect();
            let here = Some(local).filter(|_| !former.is_empty());
            let of_family = former.into_iter().chain(here).filter(|a| a.is_ipv4() == peer.is_ipv4());
            all.extend(of_family.map(|source| AllocateSpi {
                mode: lineage.mode,
                ..AllocateSpi::tunnel(peer, source, lineage.reqid, lineage.if_id)
            }));
        }
        all
    }

    pub(super) fn find(&self, sa: SaId, child: ChildId) -> Option<(u32, &Lineage, &Child)> {
        self.sas.get(&sa)?.reqids.iter().find_map(|reqid| {
            let lineage = self.lineages.get(reqid)?;
            let found = lineage.children.iter().find(|c| c.id == child)?;
            Some((*reqid, lineage, found))
        })
    }

    /// Every CHILD_SA of an IKE_SA.
    pub(super) fn children(&self, sa: SaId) -> impl Iterator<Item = &Child> {
        let reqids = self.sas.get(&sa).into_iter().flat_map(|owned| &owned.reqids);
        reqids.filter_map(|reqid| self.lineages.get(reqid)).flat_map(|lineage| &lineage.children)
    }

    /// Whose state this is.
    pub(super) fn owner(&self, reqid: u32, spi: u32) -> Option<(SaId, &Lineage, &Child)> {
        let heirs = self.heirs.get(&reqid).into_iter().flatten();
        let lineages = heirs.chain([&reqid]).filter_map(|number| self.lineages.get(number));
        let mut children =
            lineages.filter(|l| l.reqid == reqid).flat_map(|l| l.children.iter().map(move |c| (l, c)));
        let (lineage, child) = children.find(|(_, c)| c.spi_in == spi || c.spi_out == spi)?;
        Some((lineage.sa?, lineage, child))
    }

    /// The number of that IKE_SA's lineage with this reqid.
    pub(super) fn number_of(&self, sa: SaId, reqid: u32) -> Option<u32> {
        let its = self.sas.get(&sa)?.reqids.iter();
        its.copied().find(|number| self.lineages.get(number).is_some_and(|l| l.reqid == reqid))
    }

    /// Whether nothing has this reqid.
    pub(super) fn is_free(&self, reqid: u32) -> bool {
        !self.lineages.contains_key(&reqid) && !self.heirs.contains_key(&reqid)
    }

    /// The reqid of a CHILD_SA of that lineage: its own, or that of the same peer's for the same traffic.
    pub(super) fn reqid_of(&self, number: u32, lineage: &Lineage, selectors: &[Selector]) -> u32 {
        if let Some(known) = self.lineages.get(&number) {
            return known.reqid;
        }
        let Some(first) = selectors.first() else { return number };
        // Where they have marks, several peers have the same.
        let of = |mark| Claim { if_id: lineage.if_id, selector: *first, mark };
        let alike = self.owners.range(of(None)..=of(Some(u32::MAX))).filter_map(|(_, o)| o.last());
        let same = |l: &&Lineage| {
            let same_peer = l.sa.is_some() && l.peer == lineage.peer && l.mode == lineage.mode;
            same_peer && l.marked == lineage.marked && (!l.marked || l.peer_end() == lineage.peer_end())
        };
        let has_all = |(number, l): &(u32, &Lineage)| selectors.iter().all(|s| self.has(*number, l, s));
        let mut formers = alike.filter_map(|number| Some((*number, self.lineages.get(number).filter(same)?)));
        formers.find(has_all).map_or(number, |(_, l)| l.reqid)
    }

    /// Whose policies for that there are, if it is as in this lineage.
    fn claimant(&self, lineage: &Lineage, selector: &Selector) -> Option<u32> {
        self.owners.get(&lineage.claim(*selector)).and_then(|owners| owners.last()).copied()
    }

    /// Whether they are this lineage's.
    fn has(&self, number: u32, lineage: &Lineage, selector: &Selector) -> bool {
        self.claimant(lineage, selector) == Some(number)
    }

    /// The outbound state of a CHILD_SA stands, and leads there.
    pub(super) fn stands_at(&mut self, reqid: u32, child: ChildId, peer: IpAddr) {
        let lineage = self.lineages.get_mut(&reqid);
        let found = lineage.and_then(|l| l.children.iter_mut().find(|c| c.id == child));
        found.into_iter().for_each(|c| c.peer = Some(peer));
    }

    /// Adds a CHILD_SA whose states stand; the lineage is that of its first one.
    pub(super) fn add(&mut self, sa: SaId, reqid: u32, lineage: Lineage, child: Child) {
        let owned = self.sas.entry(sa).or_default();
        owned.larval.retain(|l| l.spi != child.spi_in);
        owned.larval.shrink_to_fit();
        if !owned.reqids.contains(&reqid) {
            owned.reqids.reserve_exact(1);
            owned.reqids.push(reqid);
        }
        if lineage.reqid != reqid && !self.lineages.contains_key(&reqid) {
            self.heirs.entry(lineage.reqid).or_default().push(reqid);
        }
        let known = self.lineages.entry(reqid).or_insert(lineage);
        known.children.push(child);
    }

    /// Forgets a lineage.
    pub(super) fn end(&mut self, number: u32) {
        let Some(lineage) = self.lineages.remove(&number) else { return };
        if let Some(heirs) = self.heirs.get_mut(&lineage.reqid) {
            heirs.retain(|n| *n != number);
            if heirs.is_empty() {
                self.heirs.remove(&lineage.reqid);
            }
        }
    }

    /// Forgets a CHILD_SA, and its lineage with its last one.
    pub(super) fn forget(&mut self, sa: SaId, reqid: u32, child: ChildId) {
        let Some(lineage) = self.lineages.get_mut(&reqid) else { return };
        lineage.children.retain(|c| c.id != child);
        if !lineage.children.is_empty() {
            return;
        }
        self.end(reqid);
        if let Some(owned) = self.sas.get_mut(&sa) {
            owned.reqids.retain(|r| *r != reqid);
        }
    }

    /// Makes these selectors a lineage's own: what it takes for the kernel to know.
    pub(super) fn claim(&mut self, reqid: u32, lineage: &Lineage, selectors: &[Selector]) -> PolicyChange {
        let mut change = PolicyChange::default();
        for selector in selectors {
            let owners = self.owners.entry(lineage.claim(*selector)).or_insert_with(|| Vec::with_capacity(1));
            if owners.contains(&reqid) {
                continue;
            }
            let policies = lineage.policies(*selector);
            match owners.is_empty() {
                true => change.add.extend(policies),
                false => change.take_over.extend(policies),
            }
            owners.push(reqid);
        }
        change
    }

    /// As [`Books::claim`], but whoever has one already keeps it.
    pub(super) fn claim_below(
        &mut self,
        reqid: u32,
        lineage: &Lineage,
        selectors: &[Selector],
    ) -> Vec<Policy> {
        let mut add = Vec::new();
        for selector in selectors {
            let owners = self.owners.entry(lineage.claim(*selector)).or_default();
            if owners.is_empty() {
                add.extend(lineage.policies(*selector));
            }
            owners.insert(0, reqid);
        }
        add
    }

    /// The IKE_SA of the same peer that has taken over all traffic of a lineage.
    pub(super) fn successor(&self, number: u32, lineage: &Lineage, selectors: &[Selector]) -> Option<SaId> {
        let last = self.claimant(lineage, selectors.first()?).filter(|last| *last != number)?;
        let heir = self.lineages.get(&last).filter(|heir| heir.peer == lineage.peer)?;
        selectors.iter().all(|s| self.has(last, lineage, s)).then_some(heir.sa?)
    }

    /// Whether one of these, without an interface, is somebody's.
    pub(super) fn is_claimed(&self, selectors: &[Selector]) -> bool {
        let of = |selector| Claim { if_id: None, selector, mark: None };
        selectors.iter().any(|s| self.owners.contains_key(&of(*s)))
    }

    /// Gives selectors up: their policies go back to whoever had them before, or go.
    pub(super) fn release(&mut self, reqid: u32, selectors: &[Selector]) -> PolicyChange {
        let mut change = PolicyChange::default();
        let Some(lineage) = self.lineages.get(&reqid) else { return change };
        for selector in selectors {
            let key = lineage.claim(*selector);
            let Some(owners) = self.owners.get_mut(&key) else { continue };
            let Some(at) = owners.iter().position(|r| *r == reqid) else { continue };
            let was_last = at + 1 == owners.len();
            owners.remove(at);
            match owners.last().map(|r| self.lineages.get(r)) {
                Some(Some(former)) if was_last => change.take_over.extend(former.policies(*selector)),
                Some(_) => {}
                None => change.remove.extend(lineage.policies(*selector).map(|p| p.id)),
            }
            if owners.is_empty() {
                self.owners.remove(&key);
            }
        }
        change
    }

    /// The selectors of a CHILD_SA that no other one of its lineage needs.
    pub(super) fn own_selectors(&self, reqid: u32, child: ChildId) -> Vec<Selector> {
        let Some(lineage) = self.lineages.get(&reqid) else { return Vec::new() };
        let needed = |s: &Selector| {
            lineage.children.iter().any(|c| c.id != child && !c.replaced && c.selectors.contains(s))
        };
        let of_child = lineage.children.iter().filter(|c| c.id == child).flat_map(|c| c.selectors.iter());
        of_child.filter(|s| !needed(s)).copied().collect()
    }

    /// CHILD_SAs of which a state is missing among those that stand: they are to be closed.
    pub(super) fn without_states(&self, standing: &BTreeSet<StateId>) -> Vec<Input> {
        let missing = |child: &Child| {
            let out = Lineage::outbound(child);
            !standing.contains(&Lineage::inbound(child)) || out.is_some_and(|id| !standing.contains(&id))
        };
        let lineages = self.lineages.values().filter_map(|l| Some((l.sa?, l)));
        let children = lineages.flat_map(|(sa, l)| l.children.iter().map(move |c| (sa, c)));
        let gone = children.filter(|(_, c)| !c.replaced && missing(c));
        gone.map(|(sa, c)| Input::CloseChild { sa, child: c.id }).collect()
    }

    /// All policies with an if_id, as they should be.
    pub(super) fn policies_with(&self, if_id: u32) -> Vec<Policy> {
        let of_if_id = self.owners.iter().filter(|(claim, _)| claim.if_id == Some(if_id));
        let newest = of_if_id.filter_map(|(claim, owners)| {
            let lineage = self.lineages.get(owners.last()?)?;
            Some(lineage.policies(claim.selector))
        });
        newest.flatten().collect()
    }

    /// The outbound policies of a lineage that are really its own now, as they should be.
    pub(super) fn outbound_policies(&self, reqid: u32) -> Vec<Policy> {
        let Some(lineage) = self.lineages.get(&reqid) else { return Vec::new() };
        let mut selectors: Vec<Selector> =
            lineage.children.iter().flat_map(|c| c.selectors.iter()).copied().collect();
        selectors.sort_unstable();
        selectors.dedup();
        let own = |s: &Selector| self.has(reqid, lineage, s);
        let policies = selectors.into_iter().filter(own).flat_map(|s| lineage.policies(s));
        policies.filter(|p| p.id.direction == Direction::Out).collect()
    }
}
