//! Of several ways to a server one logs in: what a way says of itself to whoever chooses, and its leave to log in. A probe says
//! the same, shows the certificate that it was shown, and never gets leave.

use tokio::sync::{mpsc, watch};

/// What a way says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The first packet leaves.
    Called,
    /// The server has answered.
    Answered,
    /// The server has proven itself, and wants to know who we are.
    Verified,
}

/// What a probe shows.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// The server's certificate, of which nothing is known yet.
    Certificate(Vec<u8>),
    /// The algorithms that were agreed on, as a person reads them.
    Algorithms(String),
}

/// One way's end of it.
#[derive(Clone)]
pub(crate) struct LogIn {
    number: usize,
    told: mpsc::UnboundedSender<(usize, Said)>,
    leave: watch::Receiver<bool>,
    /// Of a probe: where it shows what it was shown.
    shows: Option<mpsc::UnboundedSender<Shown>>,
}

impl LogIn {
    /// The way of that number, and how it is given leave.
    pub(crate) fn new(
        number: usize,
        told: &mpsc::UnboundedSender<(usize, Said)>,
    ) -> (Self, watch::Sender<bool>) {
        let (give, leave) = watch::channel(false);
        (Self { number, told: told.clone(), leave, shows: None }, give)
    }

    /// One that only wants to know how far it would come.
    pub(crate) fn probe(
        told: &mpsc::UnboundedSender<(usize, Said)>,
        shows: &mpsc::UnboundedSender<Shown>,
    ) -> Self {
        let (_, leave) = watch::channel(false);
        Self { number: 0, told: told.clone(), leave, shows: Some(shows.clone()) }
    }

    /// Whether it never logs in: then nothing of a log-in's secrets may leave, whichever way that is proven.
    pub(crate) const fn is_probe(&self) -> bool {
        self.shows.is_some()
    }

    /// The server has shown this certificate, of which nothing is known yet.
    pub(crate) fn shown(&self, certificate: &[u8]) {
        self.show(|| Shown::Certificate(certificate.to_vec()));
    }

    /// These algorithms were agreed on.
    pub(crate) fn agreed(&self, algorithms: &impl ToString) {
        self.show(|| Shown::Algorithms(algorithms.to_string()));
    }

    fn show(&self, what: impl FnOnce() -> Shown) {
        if let Some(shows) = &self.shows {
            let _ = shows.send(what());
        }
    }

    /// The first packet leaves.
    pub(crate) fn called(&self) {
        self.say(Said::Called);
    }

    /// The server has answered.
    pub(crate) fn answered(&self) {
        self.say(Said::Answered);
    }

    /// Waits for leave. Nothing may have been said before that a log-in begins with; where another one logs in, it never
    /// comes.
    pub(crate) async fn leave(&self) {
        if self.is_given() {
            return;
        }
        self.say(Said::Verified);
        if self.leave.clone().wait_for(|given| *given).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has leave.
    pub(crate) fn is_given(&self) -> bool {
        *self.leave.borrow()
    }

    fn say(&self, said: Said) {
        // Nobody chooses any more.
        let _ = self.told.send((self.number, said));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn nobody_logs_in_without_leave() {
        let (told, mut says) = mpsc::unbounded_channel();
        let (one, give) = LogIn::new(0, &told);
        let (other, never) = LogIn::new(1, &told);
        assert!(one.leave().now_or_never().is_none() && other.leave().now_or_never().is_none());
        assert_eq!(says.recv().await, Some((0, Said::Verified)));
        assert_eq!(says.recv().await, Some((1, Said::Verified)));
        give.send_replace(true);
        one.leave().await;
        // Whoever chooses is gone.
        drop(never);
        assert!(other.leave().now_or_never().is_none() && !other.is_given());
    }
}
