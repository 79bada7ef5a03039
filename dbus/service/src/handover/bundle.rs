//! Connections that need several descriptors: beside the record in locked memory, what the kernel carries them by (a unit of its PPP,
//! the socket of a call, the TCP connection that controls it). Each has a name of its own in the store, since that keeps no order:
//! `PREFIX` + number + `.` + part. There are all of them, or what there is goes.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use adit_ppp_kernel::Unit;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::{Keeper, Opened};
use super::store;

/// The part that is the record.
const RECORD: &str = "record";
/// The part that is a unit of the kernel's PPP; its interface's index follows: it can be taken away where nothing else is known.
const UNIT: &str = "unit";

/// The name of a unit's part.
pub(crate) fn unit_part(index: u32) -> String {
    format!("{UNIT}{index}")
}

/// What keeps a connection's record and descriptors. Dropped, it leaves them to the next process; [`Bundle::end`] does not.
pub(crate) struct Bundle {
    name: String,
    parts: Vec<String>,
    record: Keeper,
}

/// What the record tells: also which parts there are.
#[derive(PartialEq, Serialize, Deserialize)]
struct Whole<T> {
    parts: Vec<String>,
    told: T,
}

/// A connection that a process before has left.
pub(crate) struct Left<T> {
    /// Which one it is: of a dialled connection its if_id, of a server's client its interface's index.
    pub(crate) number: u32,
    pub(crate) told: T,
    pub(crate) snapshot: Zeroizing<Vec<u8>>,
    /// By part.
    pub(crate) files: BTreeMap<String, OwnedFd>,
    pub(crate) bundle: Bundle,
}

impl Bundle {
    /// For the connection with this number, and these descriptors by part. `None`: nobody keeps anything for us.
    pub(crate) fn new(prefix: &str, number: u32, files: &[(String, BorrowedFd<'_>)]) -> Option<Self> {
        let name = format!("{prefix}{number:08x}");
        let record = Keeper::new(format!("{name}.{RECORD}"))?;
        let mut bundle = Self { name, parts: Vec::new(), record };
        for (part, file) in files {
            if let Err(error) = store::put(&bundle.name_of(part), *file) {
                tracing::info!(%error, "a connection does not outlive this process: a restart dials it anew");
                bundle.end();
                return None;
            }
            bundle.parts.push(part.clone());
        }
        Some(bundle)
    }

    fn name_of(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// What the next process goes on from.
    pub(crate) fn write(&mut self, told: &impl Serialize, snapshot: &[u8]) {
        self.record.write(&Whole { parts: self.parts.clone(), told }, snapshot);
    }

    /// The same, with other words.
    pub(crate) fn tell<T: Serialize + DeserializeOwned + PartialEq>(&mut self, told: T) {
        self.record.tell(&Whole { parts: self.parts.clone(), told });
    }

    /// Nobody can go on from this moment.
    pub(crate) fn clear(&mut self) {
        self.record.clear();
    }

    /// Whether somebody could.
    pub(crate) fn holds(&self) -> bool {
        self.record.holds()
    }

    /// Nothing is kept any more. When the manager closes what it has is its own affair: a unit that is to be gone has to be taken
    /// away.
    pub(crate) fn end(self) {
        for part in &self.parts {
            store::remove(&self.name_of(part));
        }
        self.record.end();
    }
}

impl<T> Left<T> {
    /// Nobody goes on with it: its unit is gone, and nothing is kept any more.
    pub(crate) fn refuse(self) {
        let Self { files, bundle, .. } = self;
        bundle.end();
        take_away(&files);
    }
}

/// What was left under names that begin so. What is not whole, or is not believed, goes.
pub(super) fn gather<T: DeserializeOwned>(prefix: &str, kept: Vec<(String, OwnedFd)>) -> Vec<Left<T>> {
    let mut all: BTreeMap<String, Vec<(String, OwnedFd)>> = BTreeMap::new();
    for (name, file) in kept {
        match name.rsplit_once('.') {
            Some((name, part)) => all.entry(name.to_owned()).or_default().push((part.to_owned(), file)),
            None => store::remove(&name),
        }
    }
    all.into_iter().filter_map(|(name, files)| one(prefix, name, files)).collect()
}

fn one<T: DeserializeOwned>(prefix: &str, name: String, all: Vec<(String, OwnedFd)>) -> Option<Left<T>> {
    let count = all.len();
    let mut files: BTreeMap<String, OwnedFd> = all.into_iter().collect();
    let names: Vec<String> = files.keys().map(|part| format!("{name}.{part}")).collect();
    match whole(prefix, &name, count, &mut files) {
        Ok(Some((number, Opened { told: Whole { parts, told }, snapshot, keeper }))) => {
            let bundle = Bundle { name, parts, record: keeper };
            return Some(Left { number, told, snapshot, files, bundle });
        }
        // Nobody could have gone on when it was left.
        Ok(None) => {}
        Err(why) => tracing::warn!(name, why, "what was handed over is not believed: it is dialled anew"),
    }
    names.iter().for_each(|name| store::remove(name));
    take_away(&files);
    None
}

type Read<T> = Option<(u32, Opened<Whole<T>>)>;

fn whole<T: DeserializeOwned>(
    prefix: &str,
    name: &str,
    count: usize,
    files: &mut BTreeMap<String, OwnedFd>,
) -> Result<Read<T>, String> {
    let hex = name.strip_prefix(prefix).ok_or("its name is none of ours")?;
    let number = u32::from_str_radix(hex, 16).map_err(|_| "its name is none of ours")?;
    let record = files.remove(RECORD).ok_or("there is no record")?;
    let Some(opened) = Keeper::open::<Whole<T>>(&format!("{name}.{RECORD}"), record)? else {
        return Ok(None);
    };
    let same = opened.told.parts.iter().all(|part| files.contains_key(part));
    // One more than there are names, or two of one name, is another's.
    if !same || opened.told.parts.len() != files.len() || count != files.len() + 1 {
        return Err(format!("it is not whole: {}", files.keys().cloned().collect::<Vec<_>>().join(", ")));
    }
    Ok(Some((number, opened)))
}

/// The interfaces of these units.
fn take_away(files: &BTreeMap<String, OwnedFd>) {
    let units = files.keys().filter_map(|part| part.strip_prefix(UNIT)?.parse().ok());
    for index in units {
        if let Err(error) = Unit::remove(index) {
            tracing::warn!(%error, index, "an interface of a connection that nobody goes on with stays");
        }
    }
}

/// Several snapshots as one.
pub(crate) fn join(snapshots: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = snapshots.iter().map(|one| one.len().saturating_add(4)).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    for one in snapshots {
        out.extend(u32::try_from(one.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(one);
    }
    out
}

/// As many snapshots as were joined. `None`: it is another number.
pub(crate) fn split<const N: usize>(mut all: &[u8]) -> Option<[&[u8]; N]> {
    let mut out = [&[][..]; N];
    for one in &mut out {
        let (length, rest) = all.split_first_chunk::<4>()?;
        (*one, all) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    }
    all.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use adit_xfrm_kernel::Locked;

    use super::super::record::record;
    use super::*;

    const NAME: &str = "adit-ppp-0ad10001";

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn left(parts: &[&str], there: &[&str]) -> Vec<(String, OwnedFd)> {
        let parts = parts.iter().map(ToString::to_string).collect();
        let mut locked = Locked::create("test").unwrap();
        locked.write(&record(&Whole { parts, told: "told".to_owned() }, b"a snapshot").unwrap());
        let mut all = vec![(format!("{NAME}.record"), locked.fd().try_clone_to_owned().unwrap())];
        all.extend(there.iter().map(|part| (format!("{NAME}.{part}"), null())));
        all
    }

    fn found(kept: Vec<(String, OwnedFd)>) -> Vec<Left<String>> {
        gather("adit-ppp-", kept)
    }

    #[test]
    fn what_is_whole_is_found() {
        let all = found(left(&["tcp", "socket"], &["socket", "tcp"]));
        let [one] = all.as_slice() else { panic!("{} found", all.len()) };
        assert_eq!(
            (one.number, &*one.told, one.snapshot.as_slice()),
            (0x0ad1_0001, "told", &b"a snapshot"[..])
        );
        assert_eq!(one.files.keys().collect::<Vec<_>>(), ["socket", "tcp"]);
        assert!(one.bundle.holds());
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert!(found(left(&["tcp", "socket"], &["tcp"])).is_empty(), "one is missing");
        assert!(found(left(&["tcp"], &["tcp", "socket"])).is_empty(), "one too many");
        assert!(found(left(&["tcp"], &["tcp", "tcp"])).is_empty(), "one twice");
        assert!(found(left(&["tcp"], &["socket"])).is_empty(), "another");
        let without = left(&["tcp"], &["tcp"]).into_iter().skip(1).collect();
        assert!(found(without).is_empty(), "no record");
        let mut twice = left(&["tcp"], &["tcp"]);
        twice.extend(left(&["tcp"], &[]));
        assert!(found(twice).is_empty(), "two records");
        assert!(found(vec![("adit-ppp-".to_owned(), null())]).is_empty());
    }

    #[test]
    fn snapshots_are_split_as_they_were_joined() {
        let all = join(&[b"one", b"", b"three"]);
        assert_eq!(split::<3>(&all), Some([&b"one"[..], b"", b"three"]));
        assert_eq!((split::<2>(&all), split::<4>(&all)), (None, None));
        for length in 0..all.len() {
            assert_eq!(split::<3>(&all[..length]), None);
        }
    }
}
