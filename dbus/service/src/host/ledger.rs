use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use super::{Change, Host, HostError, Journal, Undo};

/// A change that was not made.
#[derive(Debug)]
pub struct NotMade {
    /// Its place among those that were to be made.
    pub place: usize,
    /// Why.
    pub why: HostError,
}

/// What takes a change back, and its number in the journal.
struct Step<'a> {
    number: u64,
    undo: &'a Undo,
}

/// A change of a row was refused.
struct Stopped {
    /// Its place in the row.
    place: usize,
    why: HostError,
    /// The numbers of those behind it that stand all the same.
    left: Vec<u64>,
}

/// The changes that a connection made to the host, and the way back.
///
/// Dropping it undoes nothing: what stands stays, and the journal tells the next start.
pub struct Changes {
    host: Arc<dyn Host>,
    journal: Arc<Mutex<Journal>>,
    /// Steps of a process that is gone which somebody needs again.
    kept: Mutex<BTreeSet<u64>>,
}

impl Changes {
    /// Goes on from what the journal holds.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, journal: Journal) -> Self {
        Self { host, journal: Arc::new(Mutex::new(journal)), kept: Mutex::default() }
    }

    /// Makes one change: its undo is on disk before the kernel is asked.
    ///
    /// Returns the number of its undo, for [`Changes::undo_one`]; `None` if it was so already.
    ///
    /// # Errors
    /// The change was not made. Changes before it stand: the caller decides whether to [`Changes::undo_all`].
    pub async fn make(&self, change: &Change) -> Result<Option<u64>, HostError> {
        let mut made = Vec::new();
        self.make_all(std::slice::from_ref(change), &mut made).await.map_err(|not| not.why)?;
        Ok(made.pop().flatten())
    }

    /// Makes several changes, in order, up to the first that fails. For each that was made, `made` gets what [`Changes::make`]
    /// returns. The undos of all are on disk before the kernel is asked for the first: a disk takes as long for one as for all.
    ///
    /// # Errors
    /// See [`Changes::make`].
    pub async fn make_all(&self, changes: &[Change], made: &mut Vec<Option<u64>>) -> Result<(), NotMade> {
        let (steps, unknown) = self.steps(changes).await;
        let written = steps.iter().flatten().cloned().collect();
        let written = self.on_disk(move |journal| journal.push(written)).await;
        let mut numbers = written.map_err(|why| NotMade { place: 0, why })?.into_iter();
        let mut step = |undo| Some(Step { number: numbers.next()?, undo });
        let steps = steps.iter().map(|undo| undo.as_ref().and_then(&mut step));
        let planned: Vec<(&Change, Option<Step<'_>>)> = changes.iter().zip(steps).collect();
        let mut place = 0;
        for row in planned.chunk_by(|(one, _), (next, _)| one.is_one_message() && next.is_one_message()) {
            let stopped = self.make_row(row).await.err();
            let stand = stopped.as_ref().map_or(row.len(), |stopped| stopped.place);
            made.extend(row.iter().take(stand).map(|(_, step)| step.as_ref().map(|step| step.number)));
            place += stand;
            if let Some(Stopped { why, left, .. }) = stopped {
                let rest = planned.iter().skip(place).filter_map(|(_, step)| Some(step.as_ref()?.number));
                let rest: Vec<u64> = rest.filter(|number| !left.contains(number)).collect();
                let struck = self.on_disk(move |journal| journal.strike(&rest)).await;
                return Err(NotMade { place, why: struck.err().unwrap_or(why) });
            }
        }
        unknown.map_or(Ok(()), |why| Err(NotMade { place, why }))
    }

    /// The kernel takes messages in the order in which they are sent: the next need not wait until it is told that the one before
    /// was taken. What came behind one that was refused is taken back.
    async fn make_row(&self, row: &[(&Change, Option<Step<'_>>)]) -> Result<(), Stopped> {
        let asked = row.iter().map(async |(change, step)| match step {
            Some(_) => self.host.apply(change).await,
            None => Ok(()),
        });
        let mut done = join_all(asked).await.into_iter();
        let refused = done.by_ref().enumerate().find_map(|(n, done)| Some((n, done.err()?)));
        let Some((place, why)) = refused else { return Ok(()) };
        let behind = row.iter().skip(place + 1).zip(done).filter(|(_, done)| done.is_ok());
        let behind: Vec<&Step<'_>> = behind.filter_map(|((_, step), _)| step.as_ref()).collect();
        let mut left = Vec::new();
        for step in behind.into_iter().rev() {
            if let Err(error) = self.host.undo(step.undo).await {
                tracing::warn!(%error, "not undone: the next start tries again");
                left.push(step.number);
            }
        }
        Err(Stopped { place, why, left })
    }

    /// What takes each back, up to the first of which that is not known.
    async fn steps(&self, changes: &[Change]) -> (Vec<Option<Undo>>, Option<HostError>) {
        let mut steps = Vec::with_capacity(changes.len());
        for change in changes {
            match self.host.undo_of(change).await {
                Ok(undo) => steps.push(undo),
                Err(why) => return (steps, Some(why)),
            }
        }
        (steps, None)
    }

    /// Takes one change back.
    ///
    /// # Errors
    /// It stands, and stays in the journal.
    pub async fn undo_one(&self, number: u64) -> Result<(), HostError> {
        self.undo_each(&[number]).await.pop().map_or(Ok(()), Err)
    }

    /// Takes these changes back, in this order. Goes on after an error, and returns them all. What failed stays in the
    /// journal and is tried again at the next start.
    pub async fn undo_each(&self, numbers: &[u64]) -> Vec<HostError> {
        let mut errors = Vec::new();
        let mut undone = Vec::new();
        for number in numbers {
            let undo =
                self.with(|journal| journal.steps().find(|(n, _)| n == number).map(|(_, u)| u.clone()));
            let Some(undo) = undo else { continue };
            match self.host.undo(&undo).await {
                Ok(()) => undone.push(*number),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(self.on_disk(move |journal| journal.strike(&undone)).await.err());
        errors
    }

    /// Takes every change back, last first. Goes on after an error, and returns them all. What failed stays in the
    /// journal and is tried again at the next start.
    pub async fn undo_all(&self) -> Vec<HostError> {
        let numbers: Vec<u64> = self.with(|journal| journal.steps().rev().map(|(n, _)| n).collect());
        self.undo_each(&numbers).await
    }

    /// The number of the step that takes this change back, where it was made before: by a process that is gone.
    /// It is needed again from here on.
    #[must_use]
    pub fn made_before(&self, change: &Change) -> Option<u64> {
        let found = self.find(|undo| undo.takes_back(change)).pop();
        self.keep(found.as_slice());
        found
    }

    /// These steps, of a process that is gone, are somebody's again.
    pub fn keep(&self, numbers: &[u64]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh: Vec<u64> = numbers.iter().copied().filter(|number| kept.insert(*number)).collect();
        self.with(|journal| {
            let steps = journal.steps().filter(|(number, _)| fresh.contains(number));
            steps.for_each(|(_, undo)| self.host.keep(undo));
        });
    }

    /// The numbers of these steps, first to last.
    #[must_use]
    pub fn find(&self, which: impl Fn(&Undo) -> bool) -> Vec<u64> {
        self.with(|journal| journal.steps().filter(|(_, undo)| which(undo)).map(|(n, _)| n).collect())
    }

    /// Whether nothing is left to undo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|journal| journal.is_empty())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Journal) -> T) -> T {
        f(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Syncing a file takes milliseconds: not on a thread that others wait for.
    async fn on_disk<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Journal) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let journal = Arc::clone(&self.journal);
        let work = move || f(&mut journal.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(HostError::Invalid(format!("writing the journal broke off: {e}"))))
    }
}
