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
