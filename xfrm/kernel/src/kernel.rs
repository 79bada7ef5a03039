use std::sync::{Mutex, PoisonError};

use adit_core::{Prefix, WallTime};
use netlink_packet_xfrm as nl;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};
use nix::errno::Errno;

use crate::attribute::{SecretBuffer, find};
use crate::event::{address, if_id, mark};
use crate::link::{Link, Verdict};
use crate::plug::{self, Plug};
use crate::relocate::{Ahead, Plugged, StateCopy, Steps};
use crate::request::Batch;
use crate::{
    AllocateSpi, Capabilities, ChildSa, Direction, EventStream, Mode, OUR_IF_IDS, OUR_REQIDS, Operation,
    Policy, PolicyId, PortMatch, Relocation, Selector, StateId, StateRecord, Statistics, XfrmDoor, XfrmError,
    capability,
};

/// The kernel of this network namespace.
#[derive(Default)]
pub struct KernelXfrm {
    xfrm: Mutex<Option<Link>>,
    /// For what XFRM has no requests for.
    route: Mutex<Option<Link>>,
}

impl KernelXfrm {
    /// The door, not yet opened: a kernel without XFRM is an error of the first operation, and no longer one once
    /// its module is there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends what `fill` puts in a batch, under the lock of the one socket.
    fn exchange(
        &self,
        fill: impl FnOnce(&mut Batch),
        on_data: impl FnMut(&[u8]),
    ) -> Result<Vec<(Operation, Verdict)>, XfrmError> {
        exchange_over(&self.xfrm, NETLINK_XFRM, fill, on_data)
    }

    fn set_queue(&self, fill: impl FnOnce(&mut Batch)) -> Result<(), XfrmError> {
        all_taken(exchange_over(&self.route, NETLINK_ROUTE, fill, |_| ())?)
    }

    /// Whether what enters the link is held now.
    fn hold(&self, link: u32) -> bool {
        let held = self.set_queue(|batch| batch.plug(link, Plug::Hold, false));
        held.inspect_err(|error| tracing::debug!(%error, "not held")).is_ok()
    }

    fn let_go(&self, link: u32) {
        if let Err(error) = self.set_queue(|batch| batch.plug(link, Plug::Release, false)) {
            tracing::error!(%error, "what enters the tunnel is held until the connection ends");
        }
    }

    /// Removes again what a failed installation left; the larval state too.
    fn roll_back(&self, child: &ChildSa, done: &[(Operation, Verdict)]) {
        let stands = |(operation, verdict): &(Operation, Verdict)| verdict.is_ok().then(|| operation.clone());
        let mut policies = Vec::new();
        let mut states: Vec<StateId> = child.keys_in.iter().map(|_| child.inbound()).collect();
        for operation in done.iter().filter_map(stands) {
            match operation {
                Operation::AddState(id) if id != child.inbound() => states.push(id),
                Operation::AddPolicy(id) => policies.push(id),
                _ => {}
            }
        }
        let mut errors = self.remove_policies(&policies);
        errors.extend(self.remove_states(&states));
        errors.iter().for_each(|e| tracing::warn!("while undoing a failed installation: {e}"));
    }

    fn try_install(&self, child: &ChildSa) -> Result<Vec<(Operation, Verdict)>, XfrmError> {
        let dir = capability::has_direction();
        let mut verdicts = self.exchange(
            |batch| {
                batch.inbound(child, true, dir);
                batch.outbound(child, dir);
                child.policies.iter().for_each(|p| batch.policy(p, false));
            },
            |_| (),
        )?;
        let larval_gone =
            matches!(verdicts.first(), Some((Operation::CompleteState(_), Err((Errno::ESRCH, _)))));
        if larval_gone {
            let again = self.exchange(|batch| batch.inbound(child, false, dir), |_| ())?;
            if let (Some(first), Some(second)) = (verdicts.first_mut(), again.into_iter().next()) {
                *first = second;
            }
        }
        Ok(verdicts)
    }

    /// States with their keys. One that does not exist (any more) is left out.
    fn copies(&self, ids: &[StateId]) -> Result<Vec<(StateId, StateCopy)>, XfrmError> {
        let mut out = Vec::new();
        let verdicts = self.exchange(
            |batch| ids.iter().for_each(|id| batch.get_state(id)),
            |m| {
                let id = state_record(m).map(|r| r.id);
                out.extend(id.and_then(|id| Some((id, StateCopy::read(id, m)?))));
            },
        )?;
        all_taken(verdicts.into_iter().filter(|(_, v)| !matches!(v, Err((Errno::ESRCH, _)))).collect())?;
        Ok(out)
    }

    /// What a move does to each state, as it is now.
    fn steps(&self, to: &Relocation, ahead: Ahead) -> Result<Steps, XfrmError> {
        let mut steps = Steps::default();
        for (id, copy) in self.copies(&to.inbound)? {
            steps.inbound(to, id, copy)?;
        }
        for (id, copy) in self.copies(&to.outbound)? {
            steps.outbound(to, id, copy, ahead)?;
        }
        Ok(steps)
    }

    /// Moves the states; says which inbound ones stay where they were.
    fn carry_out(&self, steps: &Steps, to: &Relocation) -> Result<Vec<StateId>, XfrmError> {
        let added = self.exchange(|batch| push_copies(batch, &steps.ahead), |_| ())?;
        if added.iter().any(|(_, v)| v.is_err()) {
            let stand = added.iter().filter(|(_, v)| v.is_ok()).filter_map(|(o, _)| match o {
                Operation::AddState(id) => Some(*id),
                _ => None,
            });
            self.remove_states(&stand.collect::<Vec<_>>());
            all_taken(added)?;
        }
        let moved = self.exchange(|batch| steps.finish(batch, &to.policies), |_| ())?;
        // What has expired in between is somebody else's news.
        all_taken(moved.into_iter().filter(|(_, v)| !matches!(v, Err((Errno::ESRCH, _)))).collect())?;
        Ok(steps.left.clone())
    }

    /// A batch of removals: what is gone already is no error.
    fn remove(&self, fill: impl FnOnce(&mut Batch)) -> Vec<XfrmError> {
        match self.exchange(fill, |_| ()) {
            Ok(verdicts) => verdicts
                .into_iter()
                .filter(|(_, v)| !matches!(v, Err((Errno::ESRCH | Errno::ENOENT, _))))
                .filter_map(refusal)
                .collect(),
            Err(e) => vec![e],
        }
    }
}

impl XfrmDoor for KernelXfrm {
    fn allocate_spi(&self, request: &AllocateSpi) -> Result<u32, XfrmError> {
        request.check()?;
        let mut spi = None;
        let verdicts = self.exchange(
            |batch| batch.allocate_spi(request, capability::has_direction()),
            |m| spi = nl::UserSaInfo::parse(m).ok().map(|info| info.id.spi),
        )?;
        all_taken(verdicts)?;
        spi.ok_or_else(|| XfrmError::Dialogue {
            operation: Operation::AllocateSpi,
            why: "no SPI in it".into(),
        })
    }

    fn install(&self, child: ChildSa) -> Result<(), XfrmError> {
        child.check()?;
        let verdicts = match self.try_install(&child) {
            Ok(verdicts) => verdicts,
            Err(e) => {
                // Nobody knows what stands: everything of this child may, and nothing of it may stay.
                let whole: Vec<_> = everything(&child).map(|operation| (operation, Ok(()))).collect();
                self.roll_back(&child, &whole);
                return Err(e);
            }
        };
        if verdicts.iter().any(|(_, v)| v.is_err()) {
            self.roll_back(&child, &verdicts);
        }
        all_taken(verdicts)
    }

    fn relocate(&self, to: &Relocation) -> Result<Vec<StateId>, XfrmError> {
        let steps = self.steps(to, Ahead::Far)?;
        let plugged = to.plugged.filter(|_| steps.interrupts()).filter(|p| self.hold(p.link));
        let Some(Plugged { link, orderly }) = plugged else { return self.carry_out(&steps, to) };
        let settled = orderly && plug::settle().inspect_err(not_settled).is_ok();
        // What was let through before is numbered: the counters stand, and are read again.
        let steps = if settled { self.steps(to, Ahead::Near) } else { Ok(steps) };
        let left = steps.and_then(|steps| self.carry_out(&steps, to));
        self.let_go(link);
        left
    }

    fn plug(&self, link: u32) -> Result<(), XfrmError> {
        self.set_queue(|batch| {
            batch.plug(link, Plug::Hold, true);
            batch.plug(link, Plug::Release, false);
        })
    }

    fn hash_by_peer(&self) -> Result<(), XfrmError> {
        all_taken(self.exchange(|batch| batch.hash_policies((0, 32), (0, 128)), |_| ())?)
    }

    fn update_policies(&self, policies: &[Policy]) -> Result<(), XfrmError> {
        all_taken(self.exchange(|batch| policies.iter().for_each(|p| batch.policy(p, true)), |_| ())?)
    }

    fn remove_states(&self, states: &[StateId]) -> Vec<XfrmError> {
        self.remove(|batch| states.iter().for_each(|id| batch.delete_state(id)))
    }

    fn remove_policies(&self, policies: &[PolicyId]) -> Vec<XfrmError> {
        self.remove(|batch| policies.iter().for_each(|id| batch.delete_policy(id)))
    }

    fn query(&self, state: &StateId) -> Result<Option<Statistics>, XfrmError> {
        let mut found = None;
        let verdicts = self.exchange(|batch| batch.get_state(state), |m| found = statistics(m))?;
        match verdicts.into_iter().find_map(refusal) {
            Some(e) if e.errno() == Some(Errno::ESRCH) => Ok(None),
            Some(e) => Err(e),
            None => Ok(found),
        }
    }

    fn states(&self) -> Result<Vec<StateRecord>, XfrmError> {
        let mut out = Vec::new();
        let verdicts = self.exchange(Batch::dump_states, |m| out.extend(state_record(m)))?;
        all_taken(verdicts)?;
        out.retain(|s| OUR_REQIDS.contains(&s.reqid) || s.if_id.is_some_and(|id| OUR_IF_IDS.contains(&id)));
        Ok(out)
    }

    fn policies(&self) -> Result<Vec<PolicyId>, XfrmError> {
        let mut out = Vec::new();
        let verdicts = self.exchange(Batch::dump_policies, |m| out.extend(our_policy(m)))?;
        all_taken(verdicts)?;
        Ok(out)
    }

    fn capabilities(&self) -> Result<Capabilities, XfrmError> {
        capability::probe(|fill| self.exchange(fill, |_| ()))
    }

    fn subscribe(&self) -> Result<EventStream, XfrmError> {
        EventStream::open()
    }
}

/// One exchange over the socket in `slot`, under its lock.
fn exchange_over(
    slot: &Mutex<Option<Link>>,
    protocol: isize,
    fill: impl FnOnce(&mut Batch),
    on_data: impl FnMut(&[u8]),
) -> Result<Vec<(Operation, Verdict)>, XfrmError> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let mut link = match slot.take() {
        Some(link) => link,
        None => Link::open(protocol).map_err(XfrmError::Unavailable)?,
    };
    let mut batch = link.batch();
    fill(&mut batch);
    if batch.is_empty() {
        *slot = Some(link);
        return Ok(Vec::new());
    }
    // After a broken dialogue the link is not put back: the next exchange starts with a new one.
    let verdicts = link.exchange(batch, on_data)?;
    *slot = Some(link);
    Ok(verdicts)
}

/// Every operation of an installation that leaves something behind. A policy that exists is not ours to remove, but
/// which ones did is just what is not known.
fn everything(child: &ChildSa) -> impl Iterator<Item = Operation> {
    let policies = child.policies.iter().map(|p| Operation::AddPolicy(p.id));
    child.keys_out.iter().map(|_| Operation::AddState(child.outbound())).chain(policies)
}

fn not_settled(error: &std::io::Error) {
    tracing::debug!(%error, "nobody says when all is sent");
}

fn push_copies(batch: &mut Batch, copies: &[(Operation, SecretBuffer)]) {
    copies.iter().for_each(|(operation, payload)| batch.copied_state(operation.clone(), payload));
}

fn refusal((operation, verdict): (Operation, Verdict)) -> Option<XfrmError> {
    let (errno, text) = verdict.err()?;
    Some(XfrmError::Refused { operation, errno, text })
}

pub(crate) fn all_taken(verdicts: Vec<(Operation, Verdict)>) -> Result<(), XfrmError> {
    verdicts.into_iter().find_map(refusal).map_or(Ok(()), Err)
}

fn statistics(payload: &[u8]) -> Option<Statistics> {
    let (body, attributes) = payload.split_at_checked(nl::XFRM_USER_SA_INFO_LEN)?;
    let info = nl::UserSaInfo::parse(body).ok()?;
    let last = find(attributes, nl::XFRMA_LASTUSED).and_then(<[u8]>::first_chunk);
    let time = |seconds: u64| (seconds != 0).then_some(WallTime(seconds));
    Some(Statistics {
        bytes: info.lifetime_cur.bytes,
        packets: info.lifetime_cur.packets,
        added: time(info.lifetime_cur.add_time),
        first_used: time(info.lifetime_cur.use_time),
        last_used: last.and_then(|b| time(u64::from_ne_bytes(*b))),
        replayed: info.stats.replay,
        outside_window: info.stats.replay_window,
        integrity_failed: info.stats.integrity_failed,
    })
}

fn state_record(payload: &[u8]) -> Option<StateRecord> {
    let (body, attributes) = payload.split_at_checked(nl::XFRM_USER_SA_INFO_LEN)?;
    let info = nl::UserSaInfo::parse(body).ok()?;
    (info.id.proto == nl::IPPROTO_ESP).then_some(())?;
    Some(StateRecord {
        id: StateId {
            destination: address(&info.id.daddr, info.family)?,
            spi: info.id.spi,
            mark: mark(attributes),
        },
        source: address(&info.saddr, info.family)?,
        reqid: info.reqid,
        if_id: if_id(attributes),
        mode: if info.mode == nl::XFRM_MODE_TUNNEL { Mode::Tunnel } else { Mode::Transport },
    })
}

fn our_policy(payload: &[u8]) -> Option<PolicyId> {
    let (body, attributes) = payload.split_at_checked(nl::XFRM_USER_POLICY_INFO_LEN)?;
    let info = nl::UserPolicyInfo::parse(body).ok()?;
    let template = find(attributes, nl::XFRMA_TMPL).and_then(|t| nl::UserTemplate::parse(t).ok());
    let if_id = if_id(attributes);
    let ours = template.is_some_and(|t| OUR_REQIDS.contains(&t.reqid))
        || if_id.is_some_and(|i| OUR_IF_IDS.contains(&i));
    ours.then_some(())?;
    let direction = match info.direction {
        nl::XFRM_POLICY_IN => Direction::In,
        nl::XFRM_POLICY_OUT => Direction::Out,
        nl::XFRM_POLICY_FWD => Direction::Forward,
        _ => return None,
    };
    let s = info.selector;
    let prefix = |a, length| address(a, s.family).map(|address| Prefix { address, length });
    let selector = Selector {
        source: prefix(&s.saddr, s.prefixlen_s)?,
        destination: prefix(&s.daddr, s.prefixlen_d)?,
        protocol: s.proto,
        source_port: PortMatch { port: s.sport, mask: s.sport_mask },
        destination_port: PortMatch { port: s.dport, mask: s.dport_mask },
    };
    Some(PolicyId { direction, selector, if_id, mark: mark(attributes) })
}
