//! What a tunnel hands on to the next process, whoever has dialled it. Its parts are three tasks': the link of PPP, the tunnel of L2TP, and IKE
//! around it. Each says what has become of its own before it sends anything, and the record has all of them, or nobody goes on.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use zeroize::Zeroizing;

use crate::esp::Numbers;
use crate::handover::split;
use crate::ppp::{Leaving, Unit, World};

/// The tunnel's socket, and that of its session.
const SOCKETS: [&str; 2] = ["udp", "session"];

/// The reqids of what is around a tunnel: of its policies, and of the SAs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reqids {
    pub(crate) trap: u32,
    pub(crate) sas: u32,
}

impl Reqids {
    fn octets(self) -> [u8; 8] {
        let mut out = [0; 8];
        for (to, from) in
            out.iter_mut().zip(self.trap.to_be_bytes().into_iter().chain(self.sas.to_be_bytes()))
        {
            *to = from;
        }
        out
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let (trap, sas) = octets.split_first_chunk::<4>()?;
        let sas = <[u8; 4]>::try_from(sas).ok()?;
        Some(Self { trap: u32::from_be_bytes(*trap), sas: u32::from_be_bytes(sas) })
    }
}

/// The parts of one that a process before has left.
pub(crate) struct Parts<'a> {
    pub(crate) link: &'a [u8],
    pub(crate) tunnel: &'a [u8],
    /// What is around it, where anything is.
    pub(crate) protection: Option<(Reqids, &'a [u8])>,
}

impl<'a> Parts<'a> {
    /// `None`: it is none of a tunnel's.
    pub(crate) fn of(snapshot: &'a [u8]) -> Option<Self> {
        let [link, tunnel, reqids, ike] = split(snapshot)?;
        let protection = match (reqids, ike) {
            ([], []) => None,
            (reqids, ike) => Some((Reqids::read(reqids)?, ike)),
        };
        Some(Self { link, tunnel, protection })
    }

    /// The names of the sockets that go with them.
    pub(crate) const fn sockets() -> [&'static str; 2] {
        SOCKETS
    }
}

/// The numbers of what is around a tunnel that a process before has left: nothing else has them.
pub(crate) fn numbers_of(snapshot: &[u8]) -> Vec<Numbers> {
    let reqids = Parts::of(snapshot).and_then(|parts| parts.protection).map(|(reqids, _)| reqids);
    reqids.into_iter().flat_map(|reqids| [reqids.trap, reqids.sas]).filter_map(Numbers::of_reqid).collect()
}

/// What leaves of one tunnel.
#[derive(Default)]
pub(crate) struct Leaves(Mutex<State>);

#[derive(Default)]
struct State {
    /// Who keeps it, from when there is a link.
    world: Option<Arc<dyn World>>,
    unit: Weak<Unit>,
    sockets: Option<[OwnedFd; 2]>,
    /// It has had more sessions than one, and is not gone on with.
    several: bool,
    reqids: Option<Reqids>,
    link: Option<Vec<u8>>,
    tunnel: Option<Zeroizing<Vec<u8>>>,
    ike: Option<Zeroizing<Vec<u8>>>,
}

impl Leaves {
    /// Of one inside of IPsec.
    pub(super) fn protected(reqids: Reqids) -> Self {
        Self(Mutex::new(State { reqids: Some(reqids), ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a session, which these sockets are of.
    pub(super) fn carried_by(&self, sockets: [OwnedFd; 2]) {
        let mut state = self.state();
        state.several |= state.sockets.replace(sockets).is_some();
    }

    /// There is a link, which that one answers for.
    pub(super) fn is_of(&self, world: Arc<dyn World>) {
        self.state().world = Some(world);
    }

    /// The link is here now.
    pub(super) fn link(&self, unit: Option<&Arc<Unit>>, snapshot: Option<Vec<u8>>) {
        let mut state = self.state();
        if state.link == snapshot {
            return;
        }
        state.unit = unit.map_or_else(Weak::new, Arc::downgrade);
        state.link = snapshot;
        state.hand_on();
    }

    /// The tunnel is.
    pub(super) fn tunnel(&self, snapshot: Option<Zeroizing<Vec<u8>>>) {
        let mut state = self.state();
        state.tunnel = snapshot;
        state.hand_on();
    }

    /// IKE is.
    pub(super) fn ike(&self, snapshot: Option<&[u8]>) {
        let mut state = self.state();
        state.ike = snapshot.map(|snapshot| Zeroizing::new(snapshot.to_vec()));
        state.hand_on();
    }

    /// Nothing of it is left: its sockets are to be closed here.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.link = None;
        state.hand_on();
        *state = State::default();
    }
}

impl State {
    fn hand_on(&self) {
        let Some(world) = self.world.as_ref().filter(|world| world.hands_on()) else { return };
        let (reqids, ike) = match (self.reqids, &self.ike) {
            (None, _) => (Vec::new(), Some(&[][..])),
            (Some(reqids), ike) => (reqids.octets().to_vec(), ike.as_ref().map(|ike| ike.as_slice())),
        };
        let ike = ike.filter(|_| !self.several);
        let parts = (self.unit.upgrade(), &self.sockets, &self.link, &self.tunnel, ike);
        let (Some(unit), Some([udp, session]), Some(link), Some(tunnel), Some(ike)) = parts else {
            return world.hand_on(None);
        };
        let [udp_name, session_name] = SOCKETS;
        let files = [(udp_name, udp.as_fd()), (session_name, session.as_fd())];
        let snapshots = [link.as_slice(), tunnel, &reqids, ike];
        world.hand_on(Some(&Leaving { unit: &unit, files: &files, snapshots: &snapshots }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::join;

    #[test]
    fn parts_are_read_as_they_are_left() {
        let reqids = Reqids { trap: 0x4100_0001, sas: 0x4100_0002 };
        let all = join(&[b"link", b"tunnel", &reqids.octets(), b"ike"]);
        let parts = Parts::of(&all).unwrap();
        assert_eq!((parts.link, parts.tunnel), (&b"link"[..], &b"tunnel"[..]));
        assert_eq!(parts.protection, Some((reqids, &b"ike"[..])));
        let plain = join(&[b"link", b"tunnel", b"", b""]);
        assert!(Parts::of(&plain).unwrap().protection.is_none());
        let cut = join(&[b"link", b"tunnel", b"1234567", b"ike"]);
        assert!(Parts::of(&cut).is_none() && Parts::of(&join(&[b"link"])).is_none());
    }
}
