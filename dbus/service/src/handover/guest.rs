//! A server's clients whose link is PPP's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_core::{Path, Prefix};
use adit_profile::TunnelKind;
use serde::{Deserialize, Serialize};

use super::Handover;
use super::bundle::{Left, gather};
use crate::radius::ToldSession;

/// Names of their descriptors begin with this, by what they dial by; the index of the interface follows. They are short: all that the
/// manager keeps is named in one variable of the next process's environment, which has room for 128 kB.
pub(super) const PPTP: &str = "adit-pptp-";
pub(super) const L2TP: &str = "adit-l2tp-";

/// The beginning of the names of those who dial by this. `None`: they do not outlive a process.
pub(crate) const fn guests_of(kind: TunnelKind) -> Option<&'static str> {
    match kind {
        TunnelKind::Pptp => Some(PPTP),
        TunnelKind::L2tp => Some(L2TP),
        TunnelKind::Ikev2 | TunnelKind::Sstp => None,
    }
}

/// What is known of one beside its snapshots. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct ToldGuest {
    /// What its server is known by, and that server's if_id.
    pub(crate) print: String,
    pub(crate) if_id: u32,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// When it came in, seconds since 1970.
    pub(crate) since: u64,
    /// Its interface: name, index, and the unit's number.
    pub(crate) link: String,
    pub(crate) index: u32,
    pub(crate) number: i32,
    /// Who it has proven to be, and by which method.
    pub(crate) identity: String,
    pub(crate) how: String,
    /// What it has been given: an address, a /64, name servers, and the ways to networks behind it.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) network: Option<Ipv6Addr>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) behind: Vec<(IpAddr, u8)>,
    /// What RADIUS servers are told of.
    pub(crate) session: Option<ToldSession>,
}

/// One that a process before has left.
pub(crate) type FoundGuest = Left<ToldGuest>;

impl ToldGuest {
    /// Where both ends are.
    pub(crate) const fn path(&self) -> Path {
        Path { local: self.local, remote: self.remote }
    }

    /// The networks behind it.
    pub(crate) fn behind(&self) -> Vec<Prefix> {
        let all = self.behind.iter().map(|(address, length)| Prefix { address: *address, length: *length });
        all.filter(|prefix| prefix.length <= Prefix::width(prefix.address)).collect()
    }
}

impl Handover {
    /// All of those who have dialled so.
    pub(crate) fn take_guests(&self, kind: TunnelKind) -> Vec<FoundGuest> {
        guests_of(kind).map(|prefix| gather(prefix, self.take_others(prefix))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use adit_xfrm_kernel::Locked;

    use super::super::record::record;
    use super::*;

    const NAME: &str = "adit-l2tp-00000007";

    fn told() -> ToldGuest {
        ToldGuest {
            print: "abc".into(),
            if_id: 0x0ad1_0001,
            local: "192.0.2.1:1701".parse().unwrap(),
            remote: "198.51.100.7:1701".parse().unwrap(),
            since: 7,
            link: "aditl0".into(),
            index: 7,
            number: 0,
            identity: "ann".into(),
            how: "MS-CHAPv2".into(),
            address: Some(Ipv4Addr::new(10, 9, 0, 2)),
            network: None,
            dns: Vec::new(),
            behind: vec![(Ipv4Addr::new(10, 2, 0, 0).into(), 24), (Ipv4Addr::LOCALHOST.into(), 33)],
            session: None,
        }
    }

    fn left() -> Vec<u8> {
        let whole = serde_json::json!({ "parts": ["udp"], "told": told() });
        record(&whole, b"a snapshot").unwrap().to_vec()
    }

    fn found(record: &[u8]) -> Vec<FoundGuest> {
        let mut locked = Locked::create("test").unwrap();
        locked.write(record);
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let record = locked.fd().try_clone_to_owned().unwrap();
        gather(L2TP, vec![(format!("{NAME}.record"), record), (format!("{NAME}.udp"), null)])
    }

    #[test]
    fn a_client_is_known_again() {
        let all = found(&left());
        let [one] = all.as_slice() else { panic!("{} found", all.len()) };
        assert_eq!((one.number, &one.told, one.snapshot.as_slice()), (7, &told(), &b"a snapshot"[..]));
        let behind: Prefix = "10.2.0.0/24".parse().unwrap();
        assert_eq!(one.told.behind(), [behind], "the other one is no network");
    }

    #[test]
    fn what_is_damaged_is_nobody() {
        let good = left();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(found(&bad).is_empty(), "octet {at}");
        }
        for length in 0..good.len() {
            assert!(found(&good[..length]).is_empty(), "cut off after {length}");
        }
    }
}
