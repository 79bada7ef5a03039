//! Records in locked memory: what one process writes of a connection, and the next one reads.

use std::os::fd::OwnedFd;
use std::time::Duration;

use adit_xfrm_kernel::Locked;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::store;

/// A record is another now, or is none any more.
static NEWS: Notify = Notify::const_new();

/// Whoever's SAs are being made, or whose link negotiates, gets so long before it is dialled anew by the next process.
const SETTLES_IN: Duration = Duration::from_secs(3);

/// Waits until `all` says that the next process can go on with everybody, and no longer than they get: it is asked whenever a record
/// has changed.
pub(crate) async fn settled(all: impl Fn() -> bool) {
    let settled = async {
        loop {
            let mut news = std::pin::pin!(NEWS.notified());
            // From here on none is missed.
            news.as_mut().enable();
            if all() {
                return;
            }
            news.await;
        }
    };
    let _ = tokio::time::timeout(SETTLES_IN, settled).await;
}

/// Octets of a digest.
const DIGEST: usize = 32;

/// What keeps a connection's record. Dropped, it leaves the record to the next process; [`Keeper::end`] does not.
pub(crate) struct Keeper {
    name: String,
    locked: Locked,
    /// It has more than what is told of it.
    whole: bool,
}

/// What a process before has written.
pub(crate) struct Opened<T> {
    /// What is known beside the snapshot. Nothing of it is secret.
    pub(crate) told: T,
    /// Empty: nobody could have gone on when it was left.
    pub(crate) snapshot: Zeroizing<Vec<u8>>,
    pub(crate) keeper: Keeper,
}

impl Keeper {
    /// Under this name, which nothing else in the store has. `None`: nobody keeps anything for us, or the kernel gives no locked
    /// memory.
    pub(crate) fn new(name: String) -> Option<Self> {
        if !store::is_there() {
            return None;
        }
        let made = Locked::create(&name).and_then(|locked| {
            store::put(&name, locked.fd())?;
            Ok(locked)
        });
        match made {
            Ok(locked) => Some(Self { name, locked, whole: false }),
            Err(error) => {
                tracing::info!(%error, "nothing outlives this process: a restart dials anew");
                store::give_up();
                None
            }
        }
    }

    /// The record that a process before has left. `None`: there is none.
    ///
    /// # Errors
    /// It cannot be believed.
    pub(crate) fn open<T: DeserializeOwned>(name: &str, fd: OwnedFd) -> Result<Option<Opened<T>>, String> {
        let locked = Locked::adopt(fd).map_err(|error| error.to_string())?;
        let Some(record) = locked.read() else { return Ok(None) };
        let (told, snapshot) = read(&record).ok_or("it is damaged")?;
        let keeper = Self { name: name.to_owned(), locked, whole: !snapshot.is_empty() };
        Ok(Some(Opened { told, snapshot, keeper }))
    }

    /// What the next process goes on from. An empty snapshot: it cannot, and only knows of it.
    pub(crate) fn write(&mut self, told: &impl Serialize, snapshot: &[u8]) {
        match record(told, snapshot) {
            Some(record) if self.locked.write(&record) => self.whole = !snapshot.is_empty(),
            _ => {
                tracing::warn!(name = self.name, "too much to hand over: a restart dials anew");
                self.locked.clear();
                self.whole = false;
            }
        }
        NEWS.notify_waiters();
    }

    /// The same, with other words.
    pub(crate) fn tell<T: Serialize + DeserializeOwned + PartialEq>(&mut self, told: &T) {
        if let Some((before, snapshot)) = self.locked.read().and_then(|record| read::<T>(&record))
            && before != *told
        {
            self.write(told, &snapshot);
        }
    }

    /// Nobody can go on from this moment.
    pub(crate) fn clear(&mut self) {
        self.locked.clear();
        self.whole = false;
        NEWS.notify_waiters();
    }

    /// Whether somebody could.
    pub(crate) const fn holds(&self) -> bool {
        self.whole
    }

    /// Whether somebody at least knows of it.
    pub(crate) fn tells(&self) -> bool {
        self.locked.read().is_some()
    }

    /// Nothing is left, here and there.
    pub(crate) fn end(mut self) {
        self.clear();
        store::remove(&self.name);
    }
}

/// The digest of all that follows; the length of what is told, and that; the snapshot.
pub(super) fn record(told: &impl Serialize, snapshot: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let told = serde_json::to_vec(told).ok()?;
    let length = u32::try_from(told.len()).ok()?.to_be_bytes();
    let all = DIGEST + length.len() + told.len() + snapshot.len();
    let mut out = Zeroizing::new(Vec::with_capacity(all));
    out.extend_from_slice(&[0; DIGEST]);
    for part in [&length[..], &told, snapshot] {
        out.extend_from_slice(part);
    }
    let sum = digest(&SHA256, out.get(DIGEST..)?);
    out.get_mut(..DIGEST)?.copy_from_slice(sum.as_ref());
    Some(out)
}

pub(super) fn read<T: DeserializeOwned>(record: &[u8]) -> Option<(T, Zeroizing<Vec<u8>>)> {
    let (sum, rest) = record.split_at_checked(DIGEST)?;
    if digest(&SHA256, rest).as_ref() != sum {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (told, snapshot) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((serde_json::from_slice(told).ok()?, Zeroizing::new(snapshot.to_vec())))
}
