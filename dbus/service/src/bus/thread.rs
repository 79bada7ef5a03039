//! The thread that serves D-Bus. A signal takes as long to put together as a packet of IKE's to answer, and has more time.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// It ends, with all that it does, when this is dropped.
pub(super) struct Thread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// No more threads, or descriptors.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let _ = runtime.block_on(stopped);
            // What still blocks need not be waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("aditd-bus".into()).spawn(serve)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn with_it_goes_all_that_it_does() {
        let held = Arc::new(());
        let thread = Thread::start().unwrap();
        let (says, begun) = std::sync::mpsc::channel();
        let its = Arc::clone(&held);
        thread.handle().spawn(async move {
            says.send(std::thread::current().name().map(ToOwned::to_owned)).unwrap();
            pending::<()>().await;
            drop(its);
        });
        assert_eq!(begun.recv().unwrap().as_deref(), Some("aditd-bus"));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(thread);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
