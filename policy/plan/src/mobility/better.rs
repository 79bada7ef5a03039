//! Better paths than the one in use: when to try them. One that answers is taken, with the old one still carrying.

use core::time::Duration;

use adit_core::{Instant, Path};

use super::{Act, Mobility, RETRIES};

/// Better paths than the one in use.
#[derive(Debug)]
pub(super) struct Better {
    /// Each with when its link will have been there for long enough.
    pub(super) paths: Vec<(Path, Instant)>,
    /// When they are tried next, and how long after that again.
    pub(super) at: Instant,
    pub(super) pause: Duration,
}

impl Mobility {
    /// Is there a better path than the one in use?
    pub(super) fn look_for_better(&mut self, now: Instant) {
        self.better = None;
        if self.wishes.untestable {
            return;
        }
        let Some(cost) = self.table.cost_of(self.path) else { return };
        let better = self.candidates(now).into_iter().filter(|c| c.cost < cost);
        // The best one may lead nowhere.
        let paths: Vec<(Path, Instant)> =
            better.map(|c| (c.path, self.table.settled_at(now, &c.link))).collect();
        let first = paths.iter().map(|(_, settled)| *settled).min();
        self.better = first.map(|at| Better { paths, at, pause: RETRIES.0 });
    }

    /// Tries better paths, if that is due.
    pub(super) fn wake_better(&mut self, now: Instant) {
        let Some(better) = self.better.as_mut().filter(|better| better.at <= now) else { return };
        let settled = better.paths.iter().filter(|(_, settled)| *settled <= now).map(|(path, _)| *path);
        self.out.push_back(Act::Probe(settled.collect()));
        better.pause = better.pause.saturating_mul(2).min(RETRIES.1);
        let next = better.paths.iter().map(|(_, settled)| *settled).filter(|settled| *settled > now).min();
        better.at = next.map_or(now + better.pause, |next| next.min(now + better.pause));
    }
}
