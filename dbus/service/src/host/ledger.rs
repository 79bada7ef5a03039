use std::sync::{Arc, Mutex, PoisonError};

use super::{Change, Host, HostError, Journal};

/// The changes that a connection made to the host, and the way back.
///
/// Dropping it undoes nothing: what stands stays, and the journal tells the next start.
pub struct Changes {
    host: Arc<dyn Host>,
    journal: Arc<Mutex<Journal>>,
}

impl Changes {
    /// Goes on from what the journal holds.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, journal: Journal) -> Self {
        Self { host, journal: Arc::new(Mutex::new(journal)) }
    }

    /// Makes one change: its undo is on disk before the kernel is asked.
    ///
    /// Returns the number of its undo, for [`Changes::undo_one`]; `None` if it was so already.
    ///
    /// # Errors
    /// The change was not made. Changes before it stand: the caller decides whether to [`Changes::undo_all`].
    pub async fn make(&self, change: &Change) -> Result<Option<u64>, HostError> {
        let Some(undo) = self.host.undo_of(change).await? else { return Ok(None) };
        let number = self.on_disk(move |journal| journal.push(undo)).await?;
        match self.host.apply(change).await {
            Ok(()) => Ok(Some(number)),
            Err(e) => {
                self.on_disk(move |journal| journal.strike(number)).await?;
                Err(e)
            }
        }
    }

    /// Makes several changes, in order, up to the first that fails.
    ///
    /// # Errors
    /// See [`Changes::make`].
    pub async fn make_all(&self, changes: &[Change]) -> Result<(), HostError> {
        for change in changes {
            self.make(change).await?;
        }
        Ok(())
    }

    /// Takes one change back.
    ///
    /// # Errors
    /// It stands, and stays in the journal.
    pub async fn undo_one(&self, number: u64) -> Result<(), HostError> {
        let undo = self.with(|journal| journal.steps().find(|(n, _)| *n == number).map(|(_, u)| u.clone()));
        let Some(undo) = undo else { return Ok(()) };
        self.host.undo(&undo).await?;
        self.on_disk(move |journal| journal.strike(number)).await
    }

    /// Takes every change back, last first. Goes on after an error, and returns them all. What failed stays in the
    /// journal and is tried again at the next start.
    pub async fn undo_all(&self) -> Vec<HostError> {
        let numbers: Vec<u64> = self.with(|journal| journal.steps().rev().map(|(n, _)| n).collect());
        let mut errors = Vec::new();
        for number in numbers {
            errors.extend(self.undo_one(number).await.err());
        }
        errors
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
