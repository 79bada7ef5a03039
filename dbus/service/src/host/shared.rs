use std::collections::BTreeMap;
use std::sync::Arc;

use adit_ikev2::api::ChildId;

use super::{Change, Changes, HostError};

/// Changes that CHILD_SAs need, each made once however many of them need it, and taken back with the last. (The old and
/// the new one of a rekey, and for a while the old and the new IKE_SA of a peer, need the same.)
#[derive(Default)]
pub struct Shared {
    made: BTreeMap<Arc<str>, Made>,
    needs: BTreeMap<ChildId, Vec<Arc<str>>>,
}

struct Made {
    change: Change,
    /// `None`: it was so already.
    undo: Option<u64>,
    needed_by: usize,
}

impl Shared {
    /// Makes what is not made yet.
    ///
    /// # Errors
    /// The first change that could not be made. What was made before it is the child's, until [`Shared::release`].
    pub async fn need(
        &mut self,
        changes: &Changes,
        child: ChildId,
        wanted: &[Change],
    ) -> Result<(), HostError> {
        let keys: Vec<Arc<str>> = wanted.iter().map(|change| format!("{change:?}").into()).collect();
        let mut fresh: BTreeMap<usize, Change> = wanted.iter().cloned().enumerate().collect();
        fresh.retain(|place, _| {
            let first = keys.iter().position(|key| Some(key) == keys.get(*place)) == Some(*place);
            first && keys.get(*place).is_some_and(|key| !self.made.contains_key(key))
        });
        for change in fresh.values() {
            self.make_way(changes, change).await?;
        }
        let (places, fresh): (Vec<usize>, Vec<Change>) = fresh.into_iter().unzip();
        let mut undos = Vec::new();
        let done = changes.make_all(&fresh, &mut undos).await;
        for ((place, change), undo) in places.into_iter().zip(fresh).zip(undos) {
            let key = keys.get(place).cloned().unwrap_or_default();
            self.made.insert(key, Made { change, undo, needed_by: 0 });
        }
        for key in keys {
            if let Some(made) = self.made.get_mut(&key) {
                made.needed_by += 1;
                self.needs.entry(child).or_default().push(key);
            }
        }
        done.map_err(|not| not.why)
    }

    /// A route whose only difference is its source cannot stand beside this one. (Another address came with the new
    /// IKE_SA; the unreachable route under both keeps what passes in between from going elsewhere.)
    async fn make_way(&mut self, changes: &Changes, change: &Change) -> Result<(), HostError> {
        let Change::Route(new) = change else { return Ok(()) };
        if new.source.is_none() {
            return Ok(());
        }
        let other = self.made.iter().find(|(_, made)| match &made.change {
            Change::Route(old) => {
                (old.table, old.destination, old.metric) == (new.table, new.destination, new.metric)
            }
            _ => false,
        });
        if let Some(key) = other.map(|(key, _)| Arc::clone(key))
            && let Some(Made { undo: Some(undo), .. }) = self.made.remove(&key)
        {
            // Whoever needed it has it no more, so that a route that is made so again is not taken for theirs.
            self.needs.values_mut().for_each(|keys| keys.retain(|k| *k != key));
            changes.undo_one(undo).await?;
        }
        Ok(())
    }

    /// What a process that is gone has made for a CHILD_SA: it stands, and the journal knows how it is taken back.
    pub fn adopt(&mut self, changes: &Changes, child: ChildId, made: Vec<Change>) {
        for change in made {
            let key: Arc<str> = format!("{change:?}").into();
            let needs = self.needs.entry(child).or_default();
            if needs.contains(&key) {
                continue;
            }
            needs.push(Arc::clone(&key));
            let undo = changes.made_before(&change);
            self.made.entry(key).or_insert(Made { change, undo, needed_by: 0 }).needed_by += 1;
        }
    }

    /// The numbers of what takes back what is needed.
    pub fn undos(&self) -> impl Iterator<Item = u64> {
        self.made.values().filter_map(|made| made.undo)
    }

    /// `new` needs what `old` needs.
    pub fn inherit(&mut self, old: ChildId, new: ChildId) {
        let Some(keys) = self.needs.get(&old).cloned() else { return };
        for key in &keys {
            self.made.get_mut(key).into_iter().for_each(|made| made.needed_by += 1);
        }
        self.needs.entry(new).or_default().extend(keys);
    }

    /// Takes back, last first, what nobody but this one needs. Goes on after an error, and returns them all.
    pub async fn release(&mut self, changes: &Changes, child: ChildId) -> Vec<HostError> {
        let mut errors = Vec::new();
        for key in self.needs.remove(&child).unwrap_or_default().into_iter().rev() {
            let Some(made) = self.made.get_mut(&key) else { continue };
            made.needed_by = made.needed_by.saturating_sub(1);
            if made.needed_by > 0 {
                continue;
            }
            if let Some(Made { undo: Some(undo), .. }) = self.made.remove(&key) {
                errors.extend(changes.undo_one(undo).await.err());
            }
        }
        errors
    }

    /// Takes everything back.
    pub async fn release_all(&mut self, changes: &Changes) -> Vec<HostError> {
        let mut errors = Vec::new();
        while let Some((child, _)) = self.needs.last_key_value() {
            let child = *child;
            errors.extend(self.release(changes, child).await);
        }
        errors
    }
}

#[cfg(feature = "recording")]
#[cfg(test)]
mod tests {
    use adit_core::Prefix;

    use super::*;
    use crate::host::{Journal, RecordedHost, RecordingHost, Route, Target};

    fn route(destination: &str, source: Option<&str>) -> Change {
        Change::Route(Route {
            table: 7,
            destination: destination.parse::<Prefix>().unwrap(),
            target: Target::Link("adit0".into()),
            source: source.map(|s| s.parse().unwrap()),
            metric: 50,
        })
    }

    #[tokio::test]
    async fn a_change_is_made_once_and_goes_with_the_last_that_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(RecordingHost::new());
        let journal = Journal::open(folder.path(), "corp").unwrap();
        let changes = Changes::new(Arc::clone(&host) as _, journal);
        let mut shared = Shared::default();
        let (a, b) = (route("10.1.0.0/16", None), route("10.2.0.0/16", None));
        let [one, two, three] = [1, 2, 3].map(ChildId);
        shared.need(&changes, one, std::slice::from_ref(&a)).await.unwrap();
        shared.need(&changes, two, &[a, b.clone()]).await.unwrap();
        shared.inherit(one, three);
        for child in [one, two, three] {
            assert!(shared.release(&changes, child).await.is_empty());
        }
        let words: Vec<String> = host
            .log()
            .iter()
            .map(|r| match r {
                RecordedHost::Made(c) => format!("+{c}"),
                RecordedHost::Undone(u) => format!("-{u}"),
            })
            .collect();
        let (a, b) = ("route to 10.1.0.0/16 by adit0 in table 7", b.to_string());
        let removing = |r: &str| format!("-removing {r}");
        assert_eq!(words, [format!("+{a}"), format!("+{b}"), removing(&b), removing(a)]);
        assert!(changes.is_empty());
    }

    #[tokio::test]
    async fn what_a_process_before_has_made_is_taken_back_with_the_last_that_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(RecordingHost::new());
        let open = || Changes::new(Arc::clone(&host) as _, Journal::open(folder.path(), "corp").unwrap());
        let (a, b) = (route("10.1.0.0/16", None), route("10.2.0.0/16", None));
        let mut before = Shared::default();
        before.need(&open(), ChildId(7), &[a.clone(), b.clone()]).await.unwrap();

        let (changes, mut shared) = (open(), Shared::default());
        assert_eq!((changes.made_before(&a), changes.made_before(&b)), (Some(0), Some(1)));
        assert_eq!(changes.made_before(&route("10.3.0.0/16", None)), None);
        shared.adopt(&changes, ChildId(1), vec![a.clone(), b.clone(), b.clone()]);
        shared.adopt(&changes, ChildId(2), vec![b.clone()]);
        shared.need(&changes, ChildId(3), std::slice::from_ref(&a)).await.unwrap();
        assert_eq!(host.log().len(), 2, "nothing is made anew: {:?}", host.log());
        assert!(shared.release(&changes, ChildId(1)).await.is_empty());
        assert_eq!(host.log().len(), 2);
        assert!(shared.release(&changes, ChildId(3)).await.is_empty());
        assert!(shared.release(&changes, ChildId(2)).await.is_empty());
        assert_eq!(host.log().len(), 4);
        assert!(changes.is_empty());
    }

    #[tokio::test]
    async fn another_source_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(RecordingHost::new());
        let journal = Journal::open(folder.path(), "corp").unwrap();
        let changes = Changes::new(Arc::clone(&host) as _, journal);
        let mut shared = Shared::default();
        let (old, new) = (route("0.0.0.0/0", Some("10.9.0.2")), route("0.0.0.0/0", Some("10.9.0.3")));
        shared.need(&changes, ChildId(1), &[old]).await.unwrap();
        shared.need(&changes, ChildId(2), &[new]).await.unwrap();
        assert!(shared.release(&changes, ChildId(1)).await.is_empty());
        assert_eq!(host.log().len(), 3, "{:?}", host.log());
        assert!(shared.release_all(&changes).await.is_empty());
        assert!(changes.is_empty());
    }
}
