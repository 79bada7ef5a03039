use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use adit_core::Prefix;
use adit_plan::local::LocalNetwork;
use adit_plan::mobility::{LinkKind, Uplink, Way};
use adit_plan::trusted::Exit;
use tokio::sync::mpsc;

use super::{
    Answer, Change, FormerSetting, Host, HostError, LinkNames, LinkState, News, PathInfo, Undo, UplinkState,
};

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
    news: Vec<mpsc::Sender<News>>,
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
            Change::SourceRule(rule) => Undo::SourceRule(rule),
            Change::GreRule { to, table } => Undo::GreRule { to, table },
            Change::Nftables { table, .. } => Undo::Nftables { table },
            Change::Setting { key, value } => {
                Undo::Setting { ours: value, former: vec![FormerSetting { key, value: "0".into() }] }
            }
            Change::ProxyNeighbour { link, address } => Undo::ProxyNeighbour { link, address },
            Change::Names(LinkNames { way, link, servers, .. }) => Undo::Names { way, link, servers },
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

    /// One that leads everywhere.
    fn uplinks(&self) -> Answer<'_, Vec<UplinkState>> {
        let way = |source: IpAddr, reaches| Way { source, reaches: vec![reaches], metric: 0 };
        let ways = vec![
            way(Ipv4Addr::LOCALHOST.into(), Prefix::ANY_V4),
            way(Ipv6Addr::LOCALHOST.into(), Prefix::ANY_V6),
        ];
        let uplink = Uplink {
            name: "lo".into(),
            kind: LinkKind::Wired,
            metered: false,
            limited: false,
            addresses: ways.iter().map(|w| w.source).collect(),
            ways,
        };
        Box::pin(async { Ok(vec![UplinkState { uplink, routes: Vec::new(), rules: Vec::new() }]) })
    }

    fn exits(&self) -> Answer<'_, Vec<Exit>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn local_networks(&self) -> Answer<'_, Vec<LocalNetwork>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn news(&self) -> Result<mpsc::Receiver<News>, HostError> {
        let (tell, told) = mpsc::channel(1);
        self.with(|b| b.news.push(tell));
        Ok(told)
    }

    fn setting<'a>(&'a self, _key: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async { Ok(Some("0".into())) })
    }
}
