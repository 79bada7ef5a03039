//! Following an end whose address or port has changed.
//!
//! The kernel's own MIGRATE sends sequence numbers twice: packets leave on the old state after it was copied. So an
//! outbound state is added anew at the new address, with its counter ahead of everything that the old one can still
//! send, before the policies point there; then the old one goes. A port alone is changed in place, and so is the port of
//! an inbound state, whose source address decides nothing.
//!
//! An inbound state at another address of ours is added there with its replay window, and the former one is left for
//! what is still on its way to it: its owner removes it soon, since a packet that each of both has seen counts twice.
//! A state whose key stays and whose source or encapsulation does not (the kernel changes neither in place) is deleted
//! and added in one batch, and what comes meanwhile is held ([`plug`](crate::plug)). Then its counter need not run ahead.

use core::net::IpAddr;

use netlink_packet_core::{Emitable, NlasIterator};
use netlink_packet_xfrm as nl;

use crate::attribute::{SecretBuffer, XFRMA_SA_DIR, find, push_attribute};
use crate::event::address;
use crate::request::{Batch, MAPPING_SECONDS};
use crate::{Operation, Policy, StateId, UdpEncap, XfrmError};

/// How many sequence numbers a copy leaves out.
#[derive(Clone, Copy)]
pub(crate) enum Ahead {
    /// More than the old state can send until it is gone (some milliseconds), few enough that the peer guesses the upper half
    /// of an extended one right. What is on its way over the former path is behind the peer's window when the first packet
    /// over the new one is there before it.
    Far,
    /// What enters the tunnel is held, and what had entered is sent: nobody takes a number, but whoever hands packets to the
    /// interface past its queue (PACKET_QDISC_BYPASS). Half of the smallest window in use (32), so that the peer takes
    /// what is still on its way.
    Near,
}

impl Ahead {
    const fn numbers(self) -> u32 {
        match self {
            Self::Far => 1 << 16,
            Self::Near => 16,
        }
    }
}

/// Where both ends are now, and what has to follow them.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// Our outer address from now on.
    pub local: IpAddr,
    /// The peer's outer address from now on, of the same family as ours.
    pub remote: IpAddr,
    /// The ports from now on; `None` with plain ESP.
    pub encap: Option<UdpEncap>,
    /// The inbound states.
    pub inbound: Vec<StateId>,
    /// The outbound states, as they are found now.
    pub outbound: Vec<StateId>,
    /// The policies whose templates name the addresses, with the new ones. Unused where only ports differ.
    pub policies: Vec<Policy>,
    /// The xfrm interface through which packets come to them, if it has a queue that can be held
    /// ([`XfrmDoor::plug`](crate::XfrmDoor::plug)).
    pub plugged: Option<Plugged>,
}

/// The queue of an xfrm interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plugged {
    /// The index of the interface.
    pub link: u32,
    /// Whether what has been sent still arrives at where the peer is now: then it is worth some milliseconds to have the
    /// copies' counters close behind.
    pub orderly: bool,
}

/// A state with its keys, as a request to the kernel.
pub(crate) struct StateCopy {
    id: StateId,
    info: nl::UserSaInfo,
    /// Whether it has ports.
    encapsulated: bool,
    /// The attributes as the kernel gave them, of those that a request may have.
    attributes: SecretBuffer,
}

/// What a copy takes over as it is. The kernel repeats the HMAC as ALG_AUTH, too, without its truncation.
const KEPT: [u16; 10] = [
    nl::XFRMA_ALG_AEAD,
    nl::XFRMA_ALG_CRYPT,
    nl::XFRMA_ALG_AUTH_TRUNC,
    nl::XFRMA_REPLAY_ESN_VAL,
    nl::XFRMA_MARK,
    nl::XFRMA_SET_MARK,
    nl::XFRMA_SET_MARK_MASK,
    nl::XFRMA_IF_ID,
    nl::XFRMA_SA_EXTRA_FLAGS,
    XFRMA_SA_DIR,
];

/// What is done to the states, in two batches.
#[derive(Default)]
pub(crate) struct Steps {
    /// Added before the policies point there.
    pub(crate) ahead: Vec<(Operation, SecretBuffer)>,
    /// Deleted, and added as they are to be.
    again: Vec<(StateId, SecretBuffer)>,
    /// Deleted when the policies point elsewhere.
    old: Vec<StateId>,
    in_place: Vec<(Operation, SecretBuffer)>,
    /// Inbound states that stay where they were.
    pub(crate) left: Vec<StateId>,
    /// Whether templates change.
    readdressed: bool,
}

impl Steps {
    pub(crate) fn inbound(&mut self, to: &Relocation, id: StateId, copy: StateCopy) -> Result<(), XfrmError> {
        if id.destination != to.local {
            let new = StateId { destination: to.local, ..id };
            self.ahead.push((Operation::AddState(new), copy.inbound_at(to)?));
            self.left.push(id);
            return Ok(());
        }
        match (copy.encapsulated, to.encap) {
            (true, Some(encap)) => {
                self.in_place.push((Operation::UpdateState(id), copy.with_ports(encap, true)));
            }
            (false, None) => {}
            _ => self.again.push((id, copy.inbound_at(to)?)),
        }
        Ok(())
    }

    pub(crate) fn outbound(
        &mut self,
        to: &Relocation,
        id: StateId,
        copy: StateCopy,
        ahead: Ahead,
    ) -> Result<(), XfrmError> {
        if id.destination != to.remote {
            let new = StateId { destination: to.remote, ..id };
            self.ahead.push((Operation::AddState(new), copy.ahead_at(to, ahead)?));
            self.old.push(id);
            self.readdressed = true;
            return Ok(());
        }
        let from = address(&copy.info.saddr, copy.info.family);
        match (copy.encapsulated, to.encap) {
            _ if from != Some(to.local) => {
                self.again.push((id, copy.ahead_at(to, ahead)?));
                self.readdressed = true;
            }
            (true, Some(encap)) => {
                self.in_place.push((Operation::UpdateState(id), copy.with_ports(encap, false)));
            }
            (false, None) => {}
            _ => self.again.push((id, copy.ahead_at(to, ahead)?)),
        }
        Ok(())
    }

    /// Whether there is a moment without one of the states.
    pub(crate) const fn interrupts(&self) -> bool {
        !self.again.is_empty()
    }

    /// The second batch.
    pub(crate) fn finish(&self, batch: &mut Batch, policies: &[Policy]) {
        for (id, copy) in &self.again {
            batch.delete_state(id);
            batch.copied_state(Operation::AddState(*id), copy);
        }
        if self.readdressed {
            policies.iter().for_each(|p| batch.policy(p, true));
        }
        self.old.iter().for_each(|id| batch.delete_state(id));
        self.in_place.iter().for_each(|(operation, copy)| batch.copied_state(operation.clone(), copy));
    }
}

impl StateCopy {
    /// Out of the kernel's answer to GETSA. `None`: it is not one.
    pub(crate) fn read(id: StateId, payload: &[u8]) -> Option<Self> {
        let (body, rest) = payload.split_at_checked(nl::XFRM_USER_SA_INFO_LEN)?;
        let info = nl::UserSaInfo::parse(body).ok()?;
        let encapsulated = find(rest, nl::XFRMA_ENCAP).is_some();
        let mut attributes = SecretBuffer::default();
        for attribute in NlasIterator::new(rest).map_while(Result::ok) {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            if KEPT.contains(&kind) {
                push_attribute(&mut attributes, kind, attribute.into_inner().get(4..length)?);
            }
        }
        Some(Self { id, info, encapsulated, attributes })
    }

    /// The state with other ports, to be laid over itself.
    pub(crate) fn with_ports(mut self, encap: UdpEncap, inbound: bool) -> SecretBuffer {
        self.push_encap(encap, inbound);
        self.request()
    }

    /// The outbound state between the new addresses, with its counter ahead.
    pub(crate) fn ahead_at(mut self, to: &Relocation, ahead: Ahead) -> Result<SecretBuffer, XfrmError> {
        let id = self.id;
        self.advance(ahead).ok_or(XfrmError::Immovable(id, "its sequence numbers are near their end"))?;
        self.between((to.local, to.remote), to.encap, false)
    }

    /// The inbound state at our new address, with its window as it is.
    fn inbound_at(self, to: &Relocation) -> Result<SecretBuffer, XfrmError> {
        self.between((to.remote, to.local), to.encap, true)
    }

    fn between(
        mut self,
        (source, destination): (IpAddr, IpAddr),
        encap: Option<UdpEncap>,
        inbound: bool,
    ) -> Result<SecretBuffer, XfrmError> {
        if self.keys_are_hidden() {
            return Err(XfrmError::Immovable(self.id, "the kernel hides its keys"));
        }
        self.spend_limits();
        self.info.source(&source);
        self.info.destination(&destination);
        if let Some(encap) = encap {
            self.push_encap(encap, inbound);
        }
        Ok(self.request())
    }

    fn push_encap(&mut self, encap: UdpEncap, inbound: bool) {
        let (source, destination) = match inbound {
            true => (encap.remote_port, encap.local_port),
            false => (encap.local_port, encap.remote_port),
        };
        let template = nl::EncapTmpl {
            encap_type: nl::UDP_ENCAP_ESPINUDP,
            encap_sport: source,
            encap_dport: destination,
            ..Default::default()
        };
        let mut bytes = vec![0; template.buffer_len()];
        template.emit(&mut bytes);
        push_attribute(&mut self.attributes, nl::XFRMA_ENCAP, &bytes);
        if inbound {
            push_attribute(&mut self.attributes, nl::XFRMA_MTIMER_THRESH, &MAPPING_SECONDS.to_ne_bytes());
        }
    }

    /// A locked-down kernel answers with zeros.
    fn keys_are_hidden(&self) -> bool {
        let key = |kind, header: usize| find(self.attributes.as_slice(), kind).and_then(|v| v.get(header..));
        // The name (64 bytes), the key's length and, of an AEAD, the ICV's.
        let key = key(nl::XFRMA_ALG_AEAD, 72).or_else(|| key(nl::XFRMA_ALG_CRYPT, 68));
        key.is_none_or(|k| k.iter().all(|b| *b == 0))
    }

    /// `struct xfrm_replay_state_esn`: bmp_len, oseq, seq, oseq_hi, seq_hi, replay_window, bitmap.
    fn advance(&mut self, ahead: Ahead) -> Option<()> {
        let esn = self.info.flags & nl::XFRM_STATE_ESN != 0;
        let at = self.offset_of(nl::XFRMA_REPLAY_ESN_VAL)?;
        let value = self.attributes.as_mut_vec().get_mut(at..)?;
        let number = |value: &[u8], at: usize| {
            value.get(at..)?.first_chunk().map(|b: &[u8; 4]| u32::from_ne_bytes(*b))
        };
        let (low, carried) = number(value, 4)?.overflowing_add(ahead.numbers());
        let high = number(value, 12)?.checked_add(u32::from(carried))?;
        (esn || !carried).then_some(())?;
        value.get_mut(4..8)?.copy_from_slice(&low.to_ne_bytes());
        value.get_mut(12..16)?.copy_from_slice(&high.to_ne_bytes());
        Some(())
    }

    /// Where the value of the first attribute of this kind begins.
    fn offset_of(&self, kind: u16) -> Option<usize> {
        let mut at = 0;
        loop {
            let [l0, l1, k0, k1] = *self.attributes.as_slice().get(at..)?.first_chunk()?;
            if u16::from_ne_bytes([k0, k1]) == kind {
                return Some(at + 4);
            }
            at += usize::from(u16::from_ne_bytes([l0, l1])).max(4).next_multiple_of(4);
        }
    }

    /// The copy counts from zero, but its keys have been used: what they have carried comes off its limits.
    fn spend_limits(&mut self) {
        let (bytes, packets) = (self.info.lifetime_cur.bytes, self.info.lifetime_cur.packets);
        let left = |limit: u64, used: u64| match limit {
            nl::XFRM_INF => limit,
            _ => limit.saturating_sub(used).max(1),
        };
        let limits = &mut self.info.lifetime_cfg;
        limits.soft_byte_limit = left(limits.soft_byte_limit, bytes);
        limits.hard_byte_limit = left(limits.hard_byte_limit, bytes);
        limits.soft_packet_limit = left(limits.soft_packet_limit, packets);
        limits.hard_packet_limit = left(limits.hard_packet_limit, packets);
    }

    fn request(self) -> SecretBuffer {
        let mut out = SecretBuffer::default();
        self.info.emit(out.grow(self.info.buffer_len()));
        out.extend(self.attributes.as_slice());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::find_u32;

    /// An answer to GETSA: used up to `oseq`, with limits, and an attribute that a request may not have.
    fn answer(flags: u8, oseq: u32, oseq_hi: u32, key: u8) -> SecretBuffer {
        let mut info = nl::UserSaInfo { flags, ..Default::default() };
        info.id.spi = 0xC0FF_EE01;
        info.id.proto = nl::IPPROTO_ESP;
        info.destination(&"198.51.100.1".parse().unwrap());
        info.lifetime_cfg.soft_packet_limit = 1000;
        info.lifetime_cfg.hard_packet_limit = 10;
        info.lifetime_cur.packets = 900;
        let mut out = SecretBuffer::default();
        info.emit(out.grow(nl::XFRM_USER_SA_INFO_LEN));
        push_attribute(&mut out, nl::XFRMA_LASTUSED, &[0; 8]);
        push_attribute(&mut out, nl::XFRMA_ALG_AEAD, &[[b'x'; 72].as_slice(), &[key; 20]].concat());
        let replay: Vec<u8> = [0, oseq, 0, oseq_hi, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        push_attribute(&mut out, nl::XFRMA_REPLAY_ESN_VAL, &replay);
        push_attribute(&mut out, nl::XFRMA_IF_ID, &7_u32.to_ne_bytes());
        out
    }

    fn id() -> StateId {
        StateId { destination: "198.51.100.1".parse().unwrap(), spi: 0xC0FF_EE01, mark: None }
    }

    fn moved(flags: u8, oseq: u32, oseq_hi: u32, key: u8) -> Result<SecretBuffer, XfrmError> {
        let copy = StateCopy::read(id(), answer(flags, oseq, oseq_hi, key).as_slice()).unwrap();
        copy.ahead_at(&to(), Ahead::Far)
    }

    fn to() -> Relocation {
        Relocation {
            local: "192.0.2.1".parse().unwrap(),
            remote: "203.0.113.9".parse().unwrap(),
            encap: Some(UdpEncap { local_port: 4500, remote_port: 61001 }),
            inbound: vec![],
            outbound: vec![id()],
            policies: vec![],
            plugged: None,
        }
    }

    fn counter(request: &[u8]) -> (u32, u32) {
        let value = find(&request[nl::XFRM_USER_SA_INFO_LEN..], nl::XFRMA_REPLAY_ESN_VAL).unwrap();
        let at = |n: usize| u32::from_ne_bytes(value[n..n + 4].try_into().unwrap());
        (at(12), at(4))
    }

    #[test]
    fn a_copy_begins_beyond_everything_that_was_sent() {
        let request = moved(nl::XFRM_STATE_ESN, 5, 2, 7).unwrap();
        assert_eq!(counter(request.as_slice()), (2, 5 + 65536));
        let request = moved(nl::XFRM_STATE_ESN, u32::MAX, 2, 7).unwrap();
        assert_eq!(counter(request.as_slice()), (3, 65535));
        assert_eq!(counter(moved(0, 5, 0, 7).unwrap().as_slice()), (0, 5 + 65536));
        let copy = StateCopy::read(id(), answer(0, 5, 0, 7).as_slice()).unwrap();
        assert_eq!(counter(copy.ahead_at(&to(), Ahead::Near).unwrap().as_slice()), (0, 5 + 16));
    }

    #[test]
    fn what_cannot_be_copied_is_rekeyed() {
        for refused in [
            moved(0, u32::MAX - 5, 0, 7),
            moved(nl::XFRM_STATE_ESN, u32::MAX, u32::MAX, 7),
            moved(nl::XFRM_STATE_ESN, 5, 0, 0),
        ] {
            assert!(matches!(refused, Err(XfrmError::Immovable(..))));
        }
    }

    #[test]
    fn a_copy_is_the_same_state_elsewhere() {
        let request = moved(nl::XFRM_STATE_ESN, 5, 0, 7).unwrap();
        let (body, attributes) = request.as_slice().split_at(nl::XFRM_USER_SA_INFO_LEN);
        let info = nl::UserSaInfo::parse(body).unwrap();
        assert_eq!((info.id.spi, info.id.daddr.to_ipv4()), (0xC0FF_EE01, "203.0.113.9".parse().unwrap()));
        assert_eq!(find_u32(attributes, nl::XFRMA_IF_ID), Some(7));
        assert_eq!(find(attributes, nl::XFRMA_LASTUSED), None);
        let encap = nl::EncapTmpl::parse(find(attributes, nl::XFRMA_ENCAP).unwrap()).unwrap();
        assert_eq!((encap.encap_sport, encap.encap_dport), (4500, 61001));
        // What the keys have carried counts: 900 of 1,000 are gone, and the other limit is passed at once.
        assert_eq!((info.lifetime_cfg.soft_packet_limit, info.lifetime_cfg.hard_packet_limit), (100, 1));
        assert_eq!(info.lifetime_cfg.hard_byte_limit, nl::XFRM_INF);
    }
}
