//! Threads for a server's sessions whose packets go by this process, so that they use all processors. The daemon's own thread
//! has everything else.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};

/// Made for the first session, and there for as long as the process.
static LANES: OnceLock<Vec<Handle>> = OnceLock::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Where to spawn one more such session: it stays there, with all that it opens.
pub(crate) fn next() -> Handle {
    let lanes = LANES.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let made: io::Result<Vec<Handle>> = match processors {
            1 => Ok(Vec::new()),
            several => (0..several).map(|_| lane()).collect(),
        };
        made.unwrap_or_else(|error| {
            tracing::warn!(%error, "all sessions share one thread");
            Vec::new()
        })
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed).checked_rem(lanes.len()).unwrap_or(0);
    lanes.get(number).cloned().unwrap_or_else(Handle::current)
}

fn lane() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("aditd-session".into()).spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
