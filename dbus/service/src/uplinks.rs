//! The ways out of this host for connections that follow it: seen, announced, and each made usable by itself. What has
//! our mark and a link's address leaves by that link, whichever the host prefers, so that a path can be tried before it
//! is taken, and is kept until the next one is proven.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use adit_core::Failure;
use adit_plan::mobility::Uplink;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::host::{Change, Changes, Host, HostError, News, UplinkState, loosen_reverse_path};

/// Their journal.
pub(crate) const UPLINKS: &str = "uplinks";

/// The uplinks, watched as long as somebody follows them.
#[derive(Clone)]
pub struct Uplinks {
    host: Arc<dyn Host>,
    seen: watch::Sender<Arc<Vec<Uplink>>>,
    look: Arc<Notify>,
    work: Arc<Mutex<Work>>,
    words: Arc<std::sync::Mutex<BTreeMap<String, Word>>>,
}

/// What the system says of a link beside what the kernel does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Word {
    /// Whether what goes over it costs money, where that is known.
    pub metered: Option<bool>,
    /// It leads nowhere, or to a portal.
    pub limited: bool,
}

#[derive(Default)]
struct Work {
    followers: usize,
    watching: Option<AbortHandle>,
    changes: Option<Changes>,
    /// Changes that stand, and the numbers of their undos.
    made: Vec<(Change, Option<u64>)>,
}

impl Uplinks {
    /// Nobody follows them yet.
    #[must_use]
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            seen: watch::Sender::default(),
            look: Arc::default(),
            work: Arc::default(),
            words: Arc::default(),
        }
    }

    /// Follows them, until [`Uplinks::leave`]. `changes` is used by the first one.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub async fn follow(
        &self,
        changes: impl FnOnce() -> Result<Changes, Failure>,
    ) -> Result<watch::Receiver<Arc<Vec<Uplink>>>, Failure> {
        let mut work = self.work.lock().await;
        if work.watching.is_none() {
            let news = self.host.news()?;
            work.changes = Some(changes()?);
            self.take_over(&mut work).await;
            self.refresh(&mut work).await;
            let watching = tokio::spawn(self.clone().watch(news));
            work.watching = Some(watching.abort_handle());
        }
        work.followers += 1;
        Ok(self.seen.subscribe())
    }

    /// What a process before has changed for the links that there are now stands; what it has changed for others goes.
    async fn take_over(&self, work: &mut Work) {
        let Work { changes: Some(changes), made, .. } = work else { return };
        if changes.is_empty() {
            return;
        }
        let states = self.host.uplinks().await.unwrap_or_default();
        for change in self.wanted(&states).await {
            if let Some(undo) = changes.made_before(&change) {
                made.push((change, Some(undo)));
            }
        }
        let kept: BTreeSet<u64> = made.iter().filter_map(|(_, undo)| *undo).collect();
        let mut rest = changes.find(|_| true);
        rest.retain(|number| !kept.contains(number));
        rest.reverse();
        changes.undo_each(&rest).await.iter().for_each(|error| tracing::warn!(%error, "uplinks: not undone"));
    }

    /// What a process before has changed goes, if nobody follows them.
    pub async fn unless_followed(&self, changes: impl FnOnce() -> Result<Changes, Failure>) {
        let work = self.work.lock().await;
        if work.watching.is_some() {
            return;
        }
        match changes() {
            Ok(changes) => {
                let errors = changes.undo_all().await;
                errors.iter().for_each(|error| tracing::warn!(%error, "uplinks: not undone"));
            }
            Err(failure) => tracing::warn!(%failure, "uplinks: not undone"),
        }
    }

    /// No longer. With the last one everything is undone.
    pub async fn leave(&self) {
        let mut work = self.work.lock().await;
        work.followers = work.followers.saturating_sub(1);
        if work.followers > 0 {
            return;
        }
        if let Some(watching) = work.watching.take() {
            watching.abort();
        }
        if let Some(changes) = work.changes.take() {
            changes.undo_all().await.iter().for_each(|error| tracing::warn!(%error, "uplinks: not undone"));
        }
        work.made.clear();
    }

    /// Looks again: an event may have been missed.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// The system says this of links, by their names, and nothing of others.
    pub fn told(&self, words: BTreeMap<String, Word>) {
        let mut known = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != words {
            *known = words;
            self.look();
        }
    }

    fn with_word(&self, mut uplink: Uplink) -> Uplink {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = words.get(&uplink.name) {
            uplink.metered = word.metered.unwrap_or(uplink.metered);
            uplink.limited = word.limited;
        }
        uplink
    }

    /// The addresses of this host that others can reach it at, as far as it knows.
    pub async fn addresses(&self) -> Vec<IpAddr> {
        let states = self.host.uplinks().await.unwrap_or_default();
        states.into_iter().flat_map(|s| s.uplink.addresses).collect()
    }

    async fn watch(self, mut news: mpsc::Receiver<News>) {
        loop {
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.lost(told),
                    None => {
                        tracing::warn!("no more news of links: a connection does not follow this host any more");
                        return;
                    }
                },
                () = self.look.notified() => {}
            }
            // One look is as good as many.
            while let Ok(told) = news.try_recv() {
                self.lost(told);
            }
            self.refresh(&mut *self.work.lock().await).await;
        }
    }

    /// A link that is lost is so at once: those who went over it do not wait until everything has been looked at.
    fn lost(&self, news: News) {
        let News::Lost(name) = news else { return };
        let left = self.seen.borrow().iter().filter(|uplink| uplink.name != name).cloned().collect();
        self.announce(left);
    }

    /// Looks at what there is, makes each usable, and announces it then.
    async fn refresh(&self, work: &mut Work) {
        let states = match self.host.uplinks().await {
            Ok(states) => states,
            Err(error) => return tracing::warn!(%error, "the uplinks cannot be read"),
        };
        let seen: Vec<Uplink> = states.iter().map(|s| self.with_word(s.uplink.clone())).collect();
        // Who has lost a link is told first of all.
        let known = Arc::clone(&self.seen.borrow());
        if seen.iter().all(|uplink| known.contains(uplink)) {
            self.announce(seen.clone());
        }
        let wanted = self.wanted(&states).await;
        let stands = |change: &Change| work.made.iter().any(|(made, _)| made == change);
        // What is gone is told before it is tidied up.
        if wanted.iter().all(stands) {
            self.announce(seen.clone());
        }
        if let Err(error) = Self::carry_out(work, wanted).await {
            tracing::warn!(%error, "an uplink is not usable by itself");
        }
        self.announce(seen);
    }

    fn announce(&self, seen: Vec<Uplink>) {
        self.seen.send_if_modified(|known| {
            let news = **known != seen;
            if news {
                *known = Arc::new(seen);
            }
            news
        });
    }

    async fn wanted(&self, states: &[UplinkState]) -> Vec<Change> {
        let mut wanted = Vec::new();
        for state in states {
            wanted.extend(state.routes.iter().cloned().map(Change::Route));
            wanted.extend(state.rules.iter().copied().map(Change::SourceRule));
            wanted.extend(loosen_reverse_path(&*self.host, &state.uplink.name).await.unwrap_or_default());
        }
        wanted
    }

    /// What is new stands before what it replaces goes: a packet that meets neither takes another link's way, with this one's
    /// address, and a server follows it there.
    async fn carry_out(work: &mut Work, wanted: Vec<Change>) -> Result<(), HostError> {
        let Work { changes: Some(changes), made, .. } = work else { return Ok(()) };
        carry_out(changes, made, wanted).await
    }
}

/// What is wanted stands, and of what was made nothing else. The new is made before the old goes, but for routes of which the kernel
/// has one at a time.
pub(crate) async fn carry_out(
    changes: &Changes,
    made: &mut Vec<(Change, Option<u64>)>,
    wanted: Vec<Change>,
) -> Result<(), HostError> {
    let gone: Vec<_> = made.extract_if(.., |(change, _)| !wanted.contains(change)).collect();
    let (in_the_way, gone): (Vec<_>, Vec<_>) =
        gone.into_iter().partition(|(old, _)| wanted.iter().any(|new| exclude(old, new)));
    let mut last = undo(changes, in_the_way).await;
    let stands = |change: &Change| made.iter().any(|(standing, _)| standing == change);
    let mut new: Vec<Change> = wanted.into_iter().filter(|change| !stands(change)).collect();
    while !new.is_empty() {
        let mut undos = Vec::new();
        let done = changes.make_all(&new, &mut undos).await;
        let rest = new.split_off(undos.len());
        made.extend(new.into_iter().zip(undos));
        // The others may do without.
        new = rest.into_iter().skip(1).collect();
        last = done.map_err(|not| not.why).and(last);
    }
    last.and(undo(changes, gone).await)
}

/// Whether the kernel has only one of them at a time: routes to one place of one metric.
fn exclude(old: &Change, new: &Change) -> bool {
    let key = |change: &Change| match change {
        Change::Route(route) => Some((route.table, route.destination, route.metric)),
        _ => None,
    };
    key(old).is_some_and(|old| key(new) == Some(old))
}

async fn undo(changes: &Changes, made: Vec<(Change, Option<u64>)>) -> Result<(), HostError> {
    let numbers: Vec<u64> = made.into_iter().filter_map(|(_, number)| number).collect();
    changes.undo_each(&numbers).await.pop().map_or(Ok(()), Err)
}

#[cfg(all(test, feature = "recording"))]
mod tests {
    use adit_plan::mobility::LinkKind;

    use super::*;
    use crate::host::{Journal, RecordedHost, RecordingHost, Route, Target};

    fn link(name: &str) -> Uplink {
        Uplink {
            name: name.into(),
            kind: LinkKind::Wired,
            metered: false,
            limited: false,
            addresses: Vec::new(),
            ways: Vec::new(),
        }
    }

    #[test]
    fn a_link_that_is_lost_is_none_before_anybody_has_looked() {
        let uplinks = Uplinks::new(Arc::new(RecordingHost::new()));
        let mut seen = uplinks.seen.subscribe();
        uplinks.announce(vec![link("eth0"), link("wlan0")]);
        seen.mark_unchanged();
        uplinks.lost(News::Changed);
        uplinks.lost(News::Lost("tap0".into()));
        assert!(!seen.has_changed().unwrap());
        uplinks.lost(News::Lost("eth0".into()));
        assert!(seen.has_changed().unwrap());
        assert_eq!(**seen.borrow(), [link("wlan0")]);
    }

    /// What the host has after each step, when the one and then the other route is wanted.
    async fn steps(folder: &std::path::Path, wanted: [&Change; 2]) -> Result<Vec<Vec<Change>>, HostError> {
        let host = Arc::new(RecordingHost::new());
        let journal = Journal::open(folder, "uplinks")?;
        let changes = Some(Changes::new(Arc::clone(&host) as _, journal));
        let mut work = Work { changes, ..Work::default() };
        for route in wanted {
            Uplinks::carry_out(&mut work, vec![route.clone()]).await?;
        }
        let mut has: Vec<Change> = Vec::new();
        let step = |did: &RecordedHost| {
            match did {
                RecordedHost::Made(change) => has.push(change.clone()),
                RecordedHost::Undone(undo) => has.retain(|c| format!("removing {c}") != undo.to_string()),
            }
            has.clone()
        };
        Ok(host.log().iter().map(step).collect())
    }

    fn route(metric: u32, router: u8) -> Change {
        let gateway = IpAddr::from([192, 168, 1, router]);
        Change::Route(Route {
            table: 7,
            destination: adit_core::Prefix::ANY_V4,
            target: Target::Gateway { link: "wlan0".into(), gateway },
            source: None,
            metric,
        })
    }

    /// NetworkManager gives a link's default route another metric when another link is plugged in.
    #[tokio::test]
    async fn a_link_whose_routes_change_has_a_way_out_at_every_moment() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (route(600, 1), route(700, 254));
        let steps = steps(folder.path(), [&old, &new]).await.unwrap();
        assert_eq!(steps, [vec![old.clone()], vec![old, new.clone()], vec![new]]);
    }

    /// The kernel takes no second route of one metric.
    #[tokio::test]
    async fn a_route_makes_room_for_one_of_the_same_metric() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (route(600, 1), route(600, 254));
        let steps = steps(folder.path(), [&old, &new]).await.unwrap();
        assert_eq!(steps, [vec![old], vec![], vec![new]]);
    }

    /// What lets packets out by a link stands from one process to the next, and what is of no link any more goes.
    #[tokio::test]
    async fn what_a_process_before_has_changed_stands_where_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(RecordingHost::new());
        let open =
            || Ok(Changes::new(Arc::clone(&host) as _, Journal::open(folder.path(), UPLINKS).unwrap()));
        let before = Uplinks::new(Arc::clone(&host) as _);
        before.follow(open).await.unwrap();
        let stale = route(600, 9);
        open().unwrap().make(&stale).await.unwrap();
        let made = host.log().len();

        let next = Uplinks::new(Arc::clone(&host) as _);
        next.follow(open).await.unwrap();
        let since: Vec<String> = host.log()[made..].iter().map(|did| format!("{did:?}")).collect();
        assert_eq!(since.len(), 1, "{since:?}");
        assert!(since[0].starts_with("Undone"), "{since:?}");
        next.leave().await;
        assert!(open().unwrap().is_empty());
        // Nobody follows: nothing of it is left, either.
        before.leave().await;
        open().unwrap().make(&stale).await.unwrap();
        next.unless_followed(open).await;
        assert!(open().unwrap().is_empty());
    }

    #[test]
    fn what_the_system_says_of_a_link_goes_with_it() {
        let uplinks = Uplinks::new(Arc::new(RecordingHost::new()));
        let word = Word { metered: Some(true), limited: true };
        uplinks.told([("wlan0".to_owned(), word)].into());
        let told = uplinks.with_word(link("wlan0"));
        assert!(told.metered && told.limited);
        assert_eq!(uplinks.with_word(link("eth0")), link("eth0"));
    }
}
