//! Requests as bytes: a [`Batch`] is what one `sendmsg` carries.

use core::net::IpAddr;

use netlink_packet_core::{Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_xfrm as nl;
use netlink_packet_xfrm::XfrmAttrs;

use crate::attribute::{SaDir, SecretBuffer, push_attribute, push_keys};
use crate::child::ChildSa;
use crate::{
    Action, AllocateSpi, Direction, Lifetimes, Mark, Mode, Operation, Policy, PolicyId, Selector, StateId,
};

pub(crate) const HEADER: usize = 16;

/// The kernel tells a new source address or port of an inbound state at once, and the same one again only after so
/// many seconds (one event a packet otherwise).
pub(crate) const MAPPING_SECONDS: u32 = 30;

/// Requests and what each of them is for. The answer to request `n` carries sequence number `first + n`.
pub(crate) struct Batch {
    pub(crate) bytes: SecretBuffer,
    pub(crate) operations: Vec<Operation>,
    pub(crate) first_sequence: u32,
}

impl Batch {
    pub(crate) fn new(first_sequence: u32) -> Self {
        Self { bytes: SecretBuffer::default(), operations: Vec::new(), first_sequence }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// One request. `fill` appends its payload.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        operation: Operation,
        fill: impl FnOnce(&mut SecretBuffer),
    ) {
        let start = self.bytes.len();
        let sequence = self.first_sequence.wrapping_add(self.operations.len() as u32);
        self.bytes.grow(HEADER);
        fill(&mut self.bytes);
        let length = self.bytes.len() - start;
        self.bytes.grow(length.next_multiple_of(4) - length);
        if let Some(header) = self.bytes.as_mut_vec().get_mut(start..start + HEADER) {
            let fields = [(length as u32).to_ne_bytes(), [0; 4], sequence.to_ne_bytes(), [0; 4]].concat();
            header.copy_from_slice(&fields);
            let (kind, flags) = (kind.to_ne_bytes(), (NLM_F_REQUEST | flags).to_ne_bytes());
            header.get_mut(4..6).unwrap_or_default().copy_from_slice(&kind);
            header.get_mut(6..8).unwrap_or_default().copy_from_slice(&flags);
        }
        self.operations.push(operation);
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        operation: Operation,
        body: &dyn Emitable,
        attributes: &[XfrmAttrs],
    ) {
        self.request(kind, flags, operation, |out| emit(out, body, attributes));
    }

    pub(crate) fn allocate_spi(&mut self, request: &AllocateSpi, dir: bool) {
        let mut info = sa_info(request.remote, request.local, 0, request.mode, request.reqid);
        info.flags = 0;
        let body = nl::UserSpiInfo { info, min: request.min, max: request.max };
        let mut attributes = lookup(request.if_id, request.mark);
        if dir {
            attributes.push(SaDir::In.attribute());
        }
        self.message(nl::XFRM_MSG_ALLOCSPI, NLM_F_ACK, Operation::AllocateSpi, &body, &attributes);
    }

    /// The inbound state: UPDSA on its larval one, or NEWSA where that is gone.
    pub(crate) fn inbound(&mut self, child: &ChildSa, larval: bool, dir: bool) {
        let (kind, operation) = match larval {
            true => (nl::XFRM_MSG_UPDSA, Operation::CompleteState(child.inbound())),
            false => (nl::XFRM_MSG_NEWSA, Operation::AddState(child.inbound())),
        };
        self.state(kind, operation, child, SaDir::In, dir);
    }

    pub(crate) fn outbound(&mut self, child: &ChildSa, dir: bool) {
        self.state(nl::XFRM_MSG_NEWSA, Operation::AddState(child.outbound()), child, SaDir::Out, dir);
    }

    /// Nothing, where the child has no keys for that way.
    fn state(&mut self, kind: u16, operation: Operation, child: &ChildSa, way: SaDir, dir: bool) {
        let (source, destination, spi, keys) = match way {
            SaDir::In => (child.remote, child.local, child.spi_in, &child.keys_in),
            SaDir::Out => (child.local, child.remote, child.spi_out, &child.keys_out),
        };
        let Some(keys) = keys else { return };
        let mut info = sa_info(source, destination, spi, child.mode, child.reqid);
        info.lifetime_cfg = lifetimes(child.lifetimes);
        if child.esn {
            info.flags |= nl::XFRM_STATE_ESN;
        }
        if way == SaDir::Out && child.clear_df {
            info.flags |= nl::XFRM_STATE_NOPMTUDISC;
        }
        let attributes = state_attributes(child, way, dir);
        self.request(kind, NLM_F_ACK, operation, |out| {
            emit(out, &info, &attributes);
            push_keys(out, keys);
        });
    }

    /// A state as [`StateCopy`](crate::relocate::StateCopy) has it: added beside others, or laid over the one that stands.
    pub(crate) fn copied_state(&mut self, operation: Operation, payload: &SecretBuffer) {
        let kind = match operation {
            Operation::AddState(_) => nl::XFRM_MSG_NEWSA,
            _ => nl::XFRM_MSG_UPDSA,
        };
        self.request(kind, NLM_F_ACK, operation, |out| out.extend(payload.as_slice()));
    }

    /// From which prefix lengths on the kernel finds policies by a hash of their addresses: (local, remote).
    pub(crate) fn hash_policies(&mut self, v4: (u8, u8), v6: (u8, u8)) {
        self.request(nl::XFRM_MSG_NEWSPDINFO, NLM_F_ACK, Operation::HashPolicies, |out| {
            out.grow(4);
            for (kind, (local, remote)) in
                [(nl::XFRMA_SPD_IPV4_HTHRESH, v4), (nl::XFRMA_SPD_IPV6_HTHRESH, v6)]
            {
                push_attribute(out, kind, &[local, remote]);
            }
        });
    }

    pub(crate) fn delete_state(&mut self, id: &StateId) {
        let attributes = lookup(None, id.mark);
        self.message(nl::XFRM_MSG_DELSA, NLM_F_ACK, Operation::DeleteState(*id), &sa_id(id), &attributes);
    }

    pub(crate) fn get_state(&mut self, id: &StateId) {
        let attributes = lookup(None, id.mark);
        self.message(nl::XFRM_MSG_GETSA, NLM_F_ACK, Operation::GetState(*id), &sa_id(id), &attributes);
    }

    pub(crate) fn dump_states(&mut self) {
        self.request(nl::XFRM_MSG_GETSA, NLM_F_DUMP, Operation::DumpStates, |_| ());
    }

    pub(crate) fn dump_policies(&mut self) {
        self.request(nl::XFRM_MSG_GETPOLICY, NLM_F_DUMP, Operation::DumpPolicies, |_| ());
    }

    pub(crate) fn policy(&mut self, policy: &Policy, replace: bool) {
        let (kind, operation) = match replace {
            true => (nl::XFRM_MSG_UPDPOLICY, Operation::UpdatePolicy(policy.id)),
            false => (nl::XFRM_MSG_NEWPOLICY, Operation::AddPolicy(policy.id)),
        };
        let body = nl::UserPolicyInfo {
            selector: selector(&policy.id.selector),
            priority: policy.priority,
            direction: direction(policy.id.direction),
            action: match policy.action {
                Action::Allow => nl::XFRM_POLICY_ALLOW,
                Action::Block => nl::XFRM_POLICY_BLOCK,
            },
            share: nl::XFRM_SHARE_ANY,
            ..Default::default()
        };
        let mut attributes = lookup(policy.id.if_id, policy.id.mark);
        if let Some(t) = policy.template {
            let mut template = nl::UserTemplate { reqid: t.reqid, mode: mode(t.mode), ..Default::default() };
            template.source(&t.source);
            template.destination(&t.destination);
            template.protocol(nl::IPPROTO_ESP);
            attributes.push(XfrmAttrs::Template(vec![template]));
        }
        self.message(kind, NLM_F_ACK, operation, &body, &attributes);
    }

    pub(crate) fn delete_policy(&mut self, id: &PolicyId) {
        let body = nl::UserPolicyId {
            selector: selector(&id.selector),
            index: 0,
            direction: direction(id.direction),
        };
        let attributes = lookup(id.if_id, id.mark);
        self.message(nl::XFRM_MSG_DELPOLICY, NLM_F_ACK, Operation::DeletePolicy(*id), &body, &attributes);
    }
}

fn emit(out: &mut SecretBuffer, body: &dyn Emitable, attributes: &[XfrmAttrs]) {
    body.emit(out.grow(body.buffer_len()));
    attributes.emit(out.grow(attributes.buffer_len()));
}

fn sa_info(source: IpAddr, destination: IpAddr, spi: u32, state_mode: Mode, reqid: u32) -> nl::UserSaInfo {
    let mut info = nl::UserSaInfo { reqid, mode: mode(state_mode), ..Default::default() };
    info.source(&source);
    info.destination(&destination);
    info.id.spi = spi;
    info.id.proto = nl::IPPROTO_ESP;
    // A tunnel carries both families; without this flag the kernel would take the outer one for the inner one.
    if state_mode == Mode::Tunnel {
        info.flags = nl::XFRM_STATE_AF_UNSPEC;
    }
    info
}

fn state_attributes(child: &ChildSa, way: SaDir, dir: bool) -> Vec<XfrmAttrs> {
    let mut attributes = lookup(child.if_id, child.mark);
    if dir {
        attributes.push(way.attribute());
    }
    attributes.push(XfrmAttrs::ReplayStateEsn(replay(child, way, dir)));
    if let Some(encap) = child.encap {
        let (source, destination) = match way {
            SaDir::In => (encap.remote_port, encap.local_port),
            SaDir::Out => (encap.local_port, encap.remote_port),
        };
        attributes.push(XfrmAttrs::EncapsulationTemplate(nl::EncapTmpl {
            encap_type: nl::UDP_ENCAP_ESPINUDP,
            encap_sport: source,
            encap_dport: destination,
            ..Default::default()
        }));
        if way == SaDir::In {
            attributes.push(XfrmAttrs::MappingTimeThreshold(MAPPING_SECONDS));
        }
    }
    let marked = match way {
        SaDir::In => child.input_mark,
        SaDir::Out => child.output_mark,
    };
    if let Some(mark) = marked {
        attributes.push(XfrmAttrs::MarkVal(mark.value));
        attributes.push(XfrmAttrs::MarkMask(mark.mask));
    }
    attributes
}

/// The window belongs to the inbound state: with a direction, the kernel refuses one on an outbound state. Without
/// (before 6.10) it demands one there too if the state has ESN.
fn replay(child: &ChildSa, way: SaDir, dir: bool) -> nl::ReplayEsn {
    let window = match (way, dir) {
        (SaDir::In, _) => child.replay_window,
        (SaDir::Out, true) => 0,
        (SaDir::Out, false) => 32,
    };
    let words = window.div_ceil(32);
    nl::ReplayEsn {
        bmp_len: words,
        replay_window: window,
        bmp: vec![0; words as usize],
        ..Default::default()
    }
}

fn lifetimes(l: Lifetimes) -> nl::LifetimeConfig {
    nl::LifetimeConfig {
        soft_byte_limit: l.soft_bytes.unwrap_or(nl::XFRM_INF),
        hard_byte_limit: l.hard_bytes.unwrap_or(nl::XFRM_INF),
        soft_packet_limit: l.soft_packets.unwrap_or(nl::XFRM_INF),
        hard_packet_limit: l.hard_packets.unwrap_or(nl::XFRM_INF),
        soft_add_expires_seconds: l.soft_seconds.unwrap_or(0),
        hard_add_expires_seconds: l.hard_seconds.unwrap_or(0),
        soft_use_expires_seconds: 0,
        hard_use_expires_seconds: 0,
    }
}

fn lookup(if_id: Option<u32>, mark: Option<Mark>) -> Vec<XfrmAttrs> {
    let mark = mark.map(|m| XfrmAttrs::Mark(nl::Mark { value: m.value, mask: m.mask }));
    mark.into_iter().chain(if_id.map(XfrmAttrs::IfId)).collect()
}

fn sa_id(id: &StateId) -> nl::UserSaId {
    nl::UserSaId {
        daddr: nl::Address::from_ip(&id.destination),
        spi: id.spi,
        family: family(id.destination),
        proto: nl::IPPROTO_ESP,
    }
}

pub(crate) const fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => nl::AF_INET,
        IpAddr::V6(_) => nl::AF_INET6,
    }
}

const fn mode(mode: Mode) -> u8 {
    match mode {
        Mode::Tunnel => nl::XFRM_MODE_TUNNEL,
        Mode::Transport => nl::XFRM_MODE_TRANSPORT,
    }
}

const fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::In => nl::XFRM_POLICY_IN,
        Direction::Out => nl::XFRM_POLICY_OUT,
        Direction::Forward => nl::XFRM_POLICY_FWD,
    }
}

fn selector(s: &Selector) -> nl::Selector {
    let (source, destination) = (s.source.network(), s.destination.network());
    nl::Selector {
        saddr: nl::Address::from_ip(&source.address),
        daddr: nl::Address::from_ip(&destination.address),
        prefixlen_s: source.length,
        prefixlen_d: destination.length,
        family: family(source.address),
        proto: s.protocol,
        sport: s.source_port.port,
        sport_mask: s.source_port.mask,
        dport: s.destination_port.port,
        dport_mask: s.destination_port.mask,
        ifindex: 0,
        user: 0,
    }
}
