//! Connections that come up by themselves, and where they stay down: in networks that their profiles trust.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::Step;
use adit_plan::trusted::{Exit, trusted};
use adit_profile::{Profile, Start};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use super::{Daemon, lock};
use crate::files::ProfileFile;
use crate::raise::Raise;
use crate::registry::{ConnectionId, Facts, Role, State};

/// A router that has not said who it is may do so later.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Connections that come up by themselves, and those of them that look where this host is.
#[derive(Default)]
pub(super) struct Trust {
    /// Those that were to come up by themselves when profiles were read last.
    at_boot: std::sync::Mutex<BTreeSet<String>>,
    known: std::sync::Mutex<BTreeMap<String, Known>>,
    look: Notify,
    watching: std::sync::Mutex<Option<AbortHandle>>,
}

/// One of them.
struct Known {
    stands: Stands,
    /// Where this host was when it was looked last. It goes down where a network begins, and not again while it lasts: who
    /// raises it there by name has it up.
    in_trusted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Nobody has looked yet.
    New,
    /// It stays down, and this is what is shown of it.
    Down(ConnectionId),
    /// It was raised. Whether it is up still says the registry.
    Raised(ConnectionId),
}

/// What a profile says of it now.
enum Wish {
    /// It comes up by itself, but not there.
    NotIn(Vec<(IpAddr, [u8; 6])>),
    /// It does not come up by itself any more.
    ByHand,
    /// Its file has mistakes.
    Unclear,
}

/// The profiles that are raised, or wait for a packet, from when the daemon starts.
fn boot_names(profiles: &[Arc<ProfileFile>]) -> BTreeSet<String> {
    let at_boot = |file: &&Arc<ProfileFile>| file.content.as_ref().is_ok_and(|p| p.start != Start::Manual);
    profiles.iter().filter(at_boot).map(|file| file.name.clone()).collect()
}

impl Daemon {
    /// Raises profiles that are to be up whenever the daemon runs, and were not before. One that somebody took down stays down
    /// until the daemon starts again.
    pub(super) async fn dial_at_boot(self: &Arc<Self>) {
        let names = boot_names(&self.profiles());
        let before = std::mem::replace(&mut *lock(&self.trust.at_boot), names.clone());
        for name in names.difference(&before) {
            match self.files.profile(name) {
                Ok(profile) if !profile.trusted_networks.is_empty() => {
                    let new = Known { stands: Stands::New, in_trusted: false };
                    lock(&self.trust.known).insert(name.clone(), new);
                }
                Ok(profile) => self.raise_again(name, profile).await,
                Err(failure) => warn!(profile = name, code = %failure.code, "not raised: {failure}"),
            }
        }
        self.watch_networks();
    }

    async fn raise_again(self: &Arc<Self>, name: &str, profile: Profile) {
        let how = Raise { persistent: true, ..Raise::default() };
        if let Err(failure) = self.dial(profile, how).await {
            warn!(profile = name, code = %failure.code, "not raised: {failure}");
        }
    }

    /// Those that were up before their profiles said where they are not wanted look from now on, too.
    fn watch_networks(self: &Arc<Self>) {
        let profiles = self.profiles();
        let trusting = profiles.iter().filter(|file| {
            file.content.as_ref().is_ok_and(|p| p.start != Start::Manual && !p.trusted_networks.is_empty())
        });
        let mut known = lock(&self.trust.known);
        for file in trusting {
            if let (false, Some(id)) = (known.contains_key(&file.name), self.registry.live_client(&file.name))
            {
                known.insert(file.name.clone(), Known { stands: Stands::Raised(id), in_trusted: false });
            }
        }
        if known.is_empty() {
            return;
        }
        self.trust.look.notify_one();
        let mut watching = lock(&self.trust.watching);
        if watching.as_ref().is_none_or(AbortHandle::is_finished) {
            *watching = Some(tokio::spawn(Arc::clone(self).follow_networks()).abort_handle());
        }
    }

    /// No more.
    pub(super) fn leave_networks(&self) {
        if let Some(watching) = lock(&self.trust.watching).take() {
            watching.abort();
        }
    }

    async fn follow_networks(self: Arc<Self>) {
        let mut news =
            self.host().news().inspect_err(|error| warn!(%error, "networks are not followed")).ok();
        loop {
            // What is not known is not trusted.
            let exits = self.host().exits().await.unwrap_or_else(|error| {
                warn!(%error, "it is not known in which network this host is");
                Vec::new()
            });
            self.settle(&exits).await;
            let unknown = |exit: &Exit| exit.router.is_some_and(|router| router.hardware.is_none());
            let more = async {
                match &mut news {
                    Some(news) => news.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = more => if told.is_none() { news = None },
                () = self.trust.look.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN), if exits.iter().any(unknown) => {}
            }
            // One look is as good as many.
            while news.as_mut().is_some_and(|news| news.try_recv().is_ok()) {}
        }
    }

    /// Raises and lowers what is to be up, or down, with these ways out of this host.
    async fn settle(self: &Arc<Self>, exits: &[Exit]) {
        let names: Vec<String> = lock(&self.trust.known).keys().cloned().collect();
        for name in names {
            let networks = match self.wish_of(&name) {
                Wish::NotIn(networks) => networks,
                Wish::Unclear => continue,
                Wish::ByHand => {
                    self.forget_network_of(&name);
                    continue;
                }
            };
            let found = trusted(exits, &networks);
            let Some((stands, before)) = self.mark(&name, found.is_some()) else { continue };
            match (stands, found) {
                (Stands::Raised(id), Some(network)) if !before => self.lower(&name, Some(id), network).await,
                (Stands::New, Some(network)) => self.lower(&name, None, network).await,
                (Stands::New | Stands::Down(_), None) => self.raise(&name).await,
                _ => {}
            }
        }
    }

    /// How it stands, and whether this host was in a network that it trusts.
    fn mark(&self, name: &str, now: bool) -> Option<(Stands, bool)> {
        let mut known = lock(&self.trust.known);
        let known = known.get_mut(name)?;
        Some((known.stands, std::mem::replace(&mut known.in_trusted, now)))
    }

    fn wish_of(&self, name: &str) -> Wish {
        let profiles = self.profiles();
        match profiles.iter().find(|file| file.name == name).map(|file| &file.content) {
            Some(Ok(profile)) if profile.start != Start::Manual => {
                Wish::NotIn(profile.trusted_networks.iter().map(|n| (n.router, n.hardware)).collect())
            }
            Some(Ok(_)) | None => Wish::ByHand,
            Some(Err(_)) => Wish::Unclear,
        }
    }

    async fn lower(self: &Arc<Self>, name: &str, id: Option<ConnectionId>, (link, router): (&str, IpAddr)) {
        if let Some(id) = id {
            // What somebody took down, or what has failed for good, is not this one's any more.
            if self.registry.live_client(name) != Some(id) {
                return self.forget_network_of(name);
            }
            self.registry.progress(
                id,
                Step::Network.as_str(),
                &format!("{} goes down", inside(link, router)),
            );
            if let Err(failure) = self.down(id).await {
                warn!(profile = name, %failure, "while taking a connection down");
            }
        }
        let (None, Ok(profile)) = (self.registry.live_client(name), self.files.profile(name)) else { return };
        let new = Facts::new(Role::Client, name, &profile.server());
        let id = self.registry.add(Facts { state: State::Standby, tunnel: profile.kind, ..new });
        self.registry.progress(id, Step::Network.as_str(), &format!("{} stays down", inside(link, router)));
        lock(&self.trust.known).insert(name.to_owned(), Known { stands: Stands::Down(id), in_trusted: true });
    }

    async fn raise(self: &Arc<Self>, name: &str) {
        if self.stopping() {
            return;
        }
        match self.files.profile(name) {
            Ok(profile) => {
                self.raise_again(name, profile).await;
            }
            Err(failure) => warn!(profile = name, code = %failure.code, "not raised: {failure}"),
        }
    }

    /// Somebody wants up what may be kept down, wherever this host is: what is shown in its place goes. Whether it was.
    pub(super) fn kept_down_no_more(&self, id: ConnectionId) -> bool {
        let mut all = lock(&self.trust.known);
        let Some(known) = all.values_mut().find(|known| known.stands == Stands::Down(id)) else {
            return false;
        };
        known.stands = Stands::New;
        self.show_no_more(id);
        true
    }

    /// It was raised, by whomever.
    pub(super) fn was_raised(&self, name: &str, id: ConnectionId) {
        if let Some(known) = lock(&self.trust.known).get_mut(name) {
            known.stands = Stands::Raised(id);
        }
    }

    /// Somebody takes down what is down: it stays so, wherever this host goes.
    pub(super) fn stays_down(&self, id: ConnectionId) -> bool {
        let mut known = lock(&self.trust.known);
        let before = known.len();
        known.retain(|_, known| known.stands != Stands::Down(id));
        let found = known.len() < before;
        if found {
            self.show_no_more(id);
        }
        found
    }

    /// It is as it is, wherever this host goes.
    fn forget_network_of(&self, name: &str) {
        if let Some(Known { stands: Stands::Down(id), .. }) = lock(&self.trust.known).remove(name) {
            self.show_no_more(id);
        }
    }

    fn show_no_more(&self, id: ConnectionId) {
        self.registry.set_state(id, State::Disconnected, "asked to", None);
        self.registry.remove(id);
    }
}

fn inside(link: &str, router: IpAddr) -> String {
    format!("the network of {router} on {link} is trusted: it")
}

#[cfg(all(test, feature = "recording"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use adit_plan::trusted::Router;

    use super::*;
    use crate::daemon::{Doors, Settings};
    use crate::host::RecordingHost;

    const PROFILE: &str = "server = \"192.0.2.1\"\nauth = \"psk\"\nlocal-id = \"a@example.com\"\npsk = \"correct horse battery\"\n\
                           start = \"boot\"\ntrusted-networks = [\"192.168.1.1@02:00:00:00:00:01\"]\n";

    async fn daemon(folder: &std::path::Path) -> Result<Arc<Daemon>, Box<dyn std::error::Error>> {
        let file = folder.join("etc/profiles/corp.toml");
        fs::create_dir_all(folder.join("etc/profiles"))?;
        fs::create_dir_all(folder.join("state/journal"))?;
        fs::write(&file, PROFILE)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let doors = Doors {
            xfrm: Arc::new(adit_xfrm_kernel::RecordingXfrm::default()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(adit_crypto::Provider::new()),
        };
        let daemon = Arc::new(Daemon::new(Settings::within(folder), doors));
        daemon.reload().await.map_err(|failure| failure.to_string())?;
        // This host is nowhere at first, and so in no network that is trusted.
        while daemon.registry.live_client("corp").is_none() {
            tokio::task::yield_now().await;
        }
        Ok(daemon)
    }

    fn behind(last: u8) -> [Exit; 1] {
        let router = Router { address: [192, 168, 1, 1].into(), hardware: Some([2, 0, 0, 0, 0, last]) };
        [Exit { link: "eth0".into(), ipv4: true, metric: 100, router: Some(router) }]
    }

    fn state(daemon: &Daemon) -> Option<State> {
        let id = daemon.registry.live_client("corp")?;
        daemon.registry.get(id).map(|facts| facts.state)
    }

    #[tokio::test]
    async fn it_is_down_where_it_is_trusted_and_up_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path()).await.unwrap();
        for _ in 0..2 {
            daemon.settle(&behind(1)).await;
            assert_eq!(state(&daemon), Some(State::Standby));
            let shown = daemon.registry.live_client("corp");
            daemon.settle(&behind(1)).await;
            assert_eq!(daemon.registry.live_client("corp"), shown, "it is left alone");
            daemon.settle(&behind(2)).await;
            assert_eq!(state(&daemon), Some(State::Connecting));
        }
        daemon.stop().await;
    }

    #[tokio::test]
    async fn by_name_it_is_up_there_too_until_this_host_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path()).await.unwrap();
        daemon.settle(&behind(1)).await;
        let id = daemon.up("corp").await.unwrap();
        daemon.settle(&behind(1)).await;
        assert_eq!(
            (daemon.registry.live_client("corp"), state(&daemon)),
            (Some(id), Some(State::Connecting))
        );
        daemon.settle(&behind(2)).await;
        assert_eq!(daemon.registry.live_client("corp"), Some(id));
        daemon.settle(&behind(1)).await;
        assert_eq!(state(&daemon), Some(State::Standby));
        daemon.stop().await;
    }

    #[tokio::test]
    async fn what_was_taken_down_stays_down_wherever_this_host_goes() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path()).await.unwrap();
        // Where it is up, and where it is down.
        for takes in [2, 1] {
            daemon.settle(&behind(takes)).await;
            let id = daemon.registry.live_client("corp").unwrap();
            daemon.down(id).await.unwrap();
            for place in [1, 2, 1] {
                daemon.settle(&behind(place)).await;
                assert_eq!(state(&daemon), None);
            }
            daemon.up("corp").await.unwrap();
            daemon.reload().await.unwrap();
            // Whoever follows networks looks at once.
            tokio::task::yield_now().await;
        }
        daemon.stop().await;
    }
}
