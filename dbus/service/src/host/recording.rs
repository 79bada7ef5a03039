use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use super::{Answer, Change, FormerSetting, Host, HostError, LinkState, PathInfo, Undo};

/// Something that a [`RecordingHost`] was asked, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordedHost {
    /// A change was made.
    Made(Change),
    /// A change was taken back.
    Undone(Undo),
}

/// A host that keeps the books and changes nothing.
#[derive(Default)]
pub struct RecordingHost {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    log: Vec<RecordedHost>,
    refuse: Option<Errno>,
}

impl RecordingHost {
    /// A host on which nothing was done.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next change is refused with this.
    pub fn refuse_next(&self, errno: Errno) {
        self.with(|b| b.refuse = Some(errno));
    }

    /// What was done, in order.
    #[must_use]
    pub fn log(&self) -> Vec<RecordedHost> {
        self.with(|b| b.log.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Books) -> T) -> T {
        f(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for RecordingHost {
    fn undo_of<'a>(&'a self, change: &'a Change) -> Answer<'a, Option<Undo>> {
        let undo = match change.clone() {
            Change::XfrmLink { if_id, .. } => Undo::XfrmLink { if_id },
            Change::Address { link, address } => Undo::Address { link, address },
            Change::Route(route) => Undo::Route(route),
            Change::Rule(rule) => Undo::Rule(rule),
            Change::Nftables { table, .. } => Undo::Nftables { table },
            Change::Setting { key, value } => {
                Undo::Setting { ours: value, former: vec![FormerSetting { key, value: "0".into() }] }
            }
            Change::ProxyNeighbour { link, address } => Undo::ProxyNeighbour { link, address },
        };
        Box::pin(async { Ok(Some(undo)) })
    }

    fn apply<'a>(&'a self, change: &'a Change) -> Answer<'a, ()> {
        let done = self.with(|b| match b.refuse.take() {
            Some(errno) => Err(HostError::Refused { what: change.to_string(), errno }),
            None => {
                b.log.push(RecordedHost::Made(change.clone()));
                Ok(())
            }
        });
        Box::pin(async { done })
    }

    fn undo<'a>(&'a self, undo: &'a Undo) -> Answer<'a, ()> {
        self.with(|b| b.log.push(RecordedHost::Undone(undo.clone())));
        Box::pin(async { Ok(()) })
    }

    fn path_to(&self, destination: IpAddr) -> Answer<'_, PathInfo> {
        let source = match destination {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let path = PathInfo { source, link_index: 1, link: "lo".into(), mtu: 65536, gateway: None };
        Box::pin(async { Ok(path) })
    }

    fn links(&self) -> Answer<'_, Vec<LinkState>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn setting<'a>(&'a self, _key: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async { Ok(Some("0".into())) })
    }
}
