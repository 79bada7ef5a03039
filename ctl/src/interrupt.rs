use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and polite requests to end, from the moment of [`Interrupts::listen`] on: none is lost between two waits.
pub(crate) struct Interrupts {
    int: Option<Signal>,
    term: Option<Signal>,
}

impl Interrupts {
    pub(crate) fn listen() -> Self {
        Self { int: signal(SignalKind::interrupt()).ok(), term: signal(SignalKind::terminate()).ok() }
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            () = one(&mut self.int) => {}
            () = one(&mut self.term) => {}
        }
    }
}

async fn one(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
