//! What outlives this process: dialled connections and a server's clients, handed to the service manager's file-descriptor
//! store (sd_notify(3), FDSTORE) in locked memory, and kept current before each datagram leaves. What stands in the kernel stays
//! there meanwhile, and its undo in the journals. No key reaches a disk.
//!
//! A record is believed only where it comes from the manager's store, by its name, in a memfd whose length is sealed, with its
//! digest right. One that is damaged, or that the next process cannot go on from, is refused: the connection is dialled anew.
//!
//! Beside records the store may have descriptors of other kinds, several of one name among them ([`Handover::take_others`]).

mod bundle;
mod guest;
mod link;
mod record;
mod restart;
mod store;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_ikev2::api::{Established, Restored};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::registry::{Facts, Moved};
pub(crate) use bundle::{Bundle, join, split, unit_part};
pub(crate) use guest::{FoundGuest, ToldGuest, guests_of};
pub(crate) use link::{FoundLink, LinkTold};
pub(crate) use record::{Keeper, Opened, settled};
pub use restart::is_pending;
pub(crate) use store::{is_there, put, remove};

/// Names of dialled connections' descriptors in the store begin with this; the if_id follows.
const PREFIX: &str = "adit-ikev2-";
/// Others: whoever left them takes them by what their names begin with.
const OTHERS: [&str; 5] = [CLIENTS, SOCKETS, LINK_PREFIX, guest::PPTP, guest::L2TP];
/// Names of the records of a server's clients begin with this; the number of the client follows.
pub(crate) const CLIENTS: &str = "adit-ikev2-client-";
/// Names of IKE's sockets begin with this.
pub(crate) const SOCKETS: &str = "adit-ikev2-socket-";
/// Dialled connections whose link is PPP's; the if_id follows.
pub(crate) const LINK_PREFIX: &str = "adit-ppp-";

/// What is known of a connection beside its IKE_SA. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Told {
    /// The profile's name.
    pub(crate) profile: String,
    /// What its file was known by when it was dialled.
    pub(crate) print: String,
    /// The gateway as the profile names it.
    pub(crate) gateway: String,
    pub(crate) dns_by_caller: bool,
    /// When it came up, seconds since 1970.
    pub(crate) since: u64,
    pub(crate) rekeys: u64,
    pub(crate) next_rekey: u64,
    pub(crate) ppk: bool,
    pub(crate) resumed: bool,
    pub(crate) moves: Vec<(u64, String, std::net::SocketAddr, std::net::SocketAddr)>,
    /// It waits for a packet, or did while it was dialled.
    pub(crate) waits: Option<Waits>,
}

/// Where a connection waits for a packet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Waits {
    /// The reqid of the policies that packets meet.
    pub(crate) reqid: u32,
    pub(crate) uplink: String,
    pub(crate) local: std::net::SocketAddr,
    pub(crate) remote: std::net::SocketAddr,
}

/// The name of the record of the connection with this if_id.
pub(crate) fn name_of(if_id: u32) -> String {
    format!("{PREFIX}{if_id:08x}")
}

impl Told {
    /// Of a connection with these facts.
    pub(crate) fn of(facts: &Facts, print: &str, gateway: &str) -> Self {
        let moves = facts.moves.iter().map(|m| (m.at, m.link.clone(), m.local, m.remote));
        Self {
            profile: facts.profile.clone(),
            print: print.to_owned(),
            gateway: gateway.to_owned(),
            dns_by_caller: facts.dns_by_caller,
            since: facts.since,
            rekeys: facts.rekeys,
            next_rekey: facts.next_rekey,
            ppk: facts.ppk,
            resumed: facts.resumed,
            moves: moves.collect(),
            waits: None,
        }
    }

    /// It is as it was.
    pub(crate) fn tell(self, facts: &mut Facts) {
        let moved = |(at, link, local, remote)| Moved { at, link, local, remote };
        facts.moves = self.moves.into_iter().map(moved).collect();
        facts.since = self.since;
        facts.rekeys = self.rekeys;
        facts.next_rekey = self.next_rekey;
        facts.resumed = self.resumed;
        if self.ppk && !facts.ppk {
            facts.ppk = true;
            facts.ike_suite.push_str("-ppk");
        }
    }
}

/// A connection that a process before has left.
pub(crate) struct Found {
    pub(crate) if_id: u32,
    pub(crate) told: Told,
    pub(crate) snapshot: Zeroizing<Vec<u8>>,
    pub(crate) keeper: Keeper,
}

/// As it was said when it came up.
pub(crate) fn as_established(restored: &Restored) -> Option<Established> {
    let first = restored.children.iter().find(|child| !child.replaced)?;
    Some(Established {
        path: restored.path,
        encapsulated: restored.encapsulated,
        nat_local: false,
        nat_remote: false,
        mobike: restored.mobike.clone(),
        local_id: restored.local_id.clone(),
        remote_id: restored.remote_id.clone(),
        ike: restored.ike,
        esp: first.suite,
        child: first.child,
        local_ts: first.local_ts.clone(),
        remote_ts: first.remote_ts.clone(),
        lease: restored.lease.clone(),
        ppk: false,
        resumed: false,
        resumable: false,
        connection: None,
    })
}

/// What a process before has left, until somebody goes on with it.
#[derive(Default)]
pub struct Handover {
    found: Mutex<BTreeMap<String, Found>>,
    /// Descriptors that are no dialled connection's, by name.
    others: Mutex<Vec<(String, OwnedFd)>>,
    links: Mutex<BTreeMap<String, FoundLink>>,
}

impl Handover {
    /// What the service manager has kept: to be called before anything else opens a descriptor.
    #[must_use]
    pub fn from_manager() -> Self {
        Self::of(store::take())
    }

    fn of(kept: Vec<(String, OwnedFd)>) -> Self {
        let mut found = BTreeMap::new();
        let (others, kept): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|(name, _)| OTHERS.iter().any(|prefix| name.starts_with(prefix)));
        for (name, fd) in kept {
            match Self::one(&name, fd) {
                Ok(Some(one)) => drop(found.insert(one.told.profile.clone(), one)),
                Ok(None) => store::remove(&name),
                Err(why) => {
                    tracing::warn!(name, why, "what was handed over is not believed: it is dialled anew");
                    store::remove(&name);
                }
            }
        }
        Self { found: Mutex::new(found), others: Mutex::new(others), links: Mutex::default() }
    }

    /// `None`: nobody could have gone on when it was left.
    fn one(name: &str, fd: OwnedFd) -> Result<Option<Found>, String> {
        let hex = name.strip_prefix(PREFIX).ok_or("its name is none of ours")?;
        let if_id = u32::from_str_radix(hex, 16).map_err(|_| "its name is none of ours")?;
        let Some(Opened { told, snapshot, keeper }) = Keeper::open(name, fd)? else { return Ok(None) };
        Ok(Some(Found { if_id, told, snapshot, keeper }))
    }

    /// Takes the descriptors whose names begin so. Several may have one name.
    pub(crate) fn take_others(&self, prefix: &str) -> Vec<(String, OwnedFd)> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.extract_if(.., |(name, _)| name.starts_with(prefix)).collect()
    }

    /// All of them, by profile.
    pub(crate) fn take(&self) -> BTreeMap<String, Found> {
        std::mem::take(&mut *self.found())
    }

    /// These can be gone on with.
    pub(crate) fn keep(&self, found: BTreeMap<String, Found>) {
        *self.found() = found;
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<String, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use adit_xfrm_kernel::Locked;

    use super::record::{read, record};
    use super::*;
    use crate::registry::Role;

    fn told() -> Told {
        let mut facts = Facts::new(Role::Client, "corp", "vpn.example.com");
        facts.rekeys = 3;
        Told::of(&facts, "abc", "vpn.example.com")
    }

    fn left(record: Option<&[u8]>) -> (String, OwnedFd) {
        let mut locked = Locked::create("test").unwrap();
        if let Some(record) = record {
            locked.write(record);
        }
        (name_of(0x0ad1_0001), locked.fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn what_is_written_is_found() {
        let record = record(&told(), b"a snapshot").unwrap();
        let found = Handover::of(vec![left(Some(&record))]).take();
        let corp = &found["corp"];
        assert_eq!(
            (corp.if_id, &corp.told, corp.snapshot.as_slice()),
            (0x0ad1_0001, &told(), &b"a snapshot"[..])
        );
        assert!(corp.keeper.holds());
    }

    #[test]
    fn what_is_damaged_is_not_believed() {
        let good = record(&told(), b"a snapshot").unwrap();
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            assert!(Handover::of(vec![left(Some(&bad))]).take().is_empty(), "octet {at}");
        }
        for length in 0..good.len() {
            assert!(read::<Told>(&good[..length]).is_none());
        }
        assert!(Handover::of(vec![left(None)]).take().is_empty());
        let (_, fd) = left(Some(&good));
        assert!(Handover::of(vec![("another".into(), fd)]).take().is_empty());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Handover::of(vec![(format!("{PREFIX}1"), null.into())]).take().is_empty());
    }
}
