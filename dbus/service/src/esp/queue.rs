use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Work for the kernel, done in the order in which it was given: by whoever gives it, or by whoever is at it already. (The
/// kernel's part costs less than a change of threads.) So a state is never
/// installed after its IKE_SA was taken away, and books that are written as the work is done are never ahead of it.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<Jobs>>);

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Whether somebody is at it.
    at_work: bool,
}

impl Queue {
    /// The work counts as given when this returns; the future is only for its outcome. `None`: it broke off.
    pub(super) fn run<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Option<T>> + Send + use<T, W> {
        let (sender, outcome) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may not wait for the answer.
            let _ = sender.send(work());
        });
        self.push(job);
        async move { outcome.await.ok() }
    }

    fn push(&self, job: Job) {
        let mut jobs = self.jobs();
        jobs.waiting.push_back(job);
        if std::mem::replace(&mut jobs.at_work, true) {
            return;
        }
        drop(jobs);
        while let Some(job) = self.next() {
            // One that panics leaves the rest to its successors; whoever waits for it hears that it broke off.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        let job = jobs.waiting.pop_front();
        jobs.at_work = job.is_some();
        job
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_order_and_past_a_panic() {
        let queue = Queue::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        let note = |n: u32| {
            let done = Arc::clone(&done);
            queue.run(move || done.lock().unwrap().push(n))
        };
        // Nobody waits for the first ones.
        drop((1..100).map(&note).collect::<Vec<_>>());
        assert_eq!(queue.run(|| panic!("a test")).await, None::<()>);
        note(100).await.unwrap();
        assert_eq!(*done.lock().unwrap(), (1..=100).collect::<Vec<_>>());
    }
}
