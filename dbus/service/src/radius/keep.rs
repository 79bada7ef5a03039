//! How long a session may go on, and how often its servers are told of it.

use std::sync::Weak;
use std::time::Duration;

use adit_core::Instant;
use adit_dbus_api::Traffic;

use super::{Cause, Limits, Session};
use crate::clock;

/// Between two looks at what a session has carried.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// Tells of a session from time to time, until it has lasted long enough, has carried nothing for too long, or a server wants
/// it to end: then it is to end, and why. `None`: it is over already. `carried` says what it has moved so far, as long as somebody knows.
pub(crate) async fn keep<F>(session: Weak<Session>, carried: impl Fn() -> F) -> Option<Cause>
where
    F: Future<Output = Option<Traffic>>,
{
    let (interim, mut limits) = session.upgrade().map(|s| (s.interim(), s.limits()))?;
    let mut told = clock::now();
    let mut seen = Seen { carried: Traffic::default(), when: told, looked: told };
    loop {
        let Limits { end, idle, over } = *limits.borrow_and_update();
        if over.is_some() {
            return over;
        }
        let tell = interim.map(|interim| told + interim);
        let look = idle.map(|idle| seen.next(idle));
        let due = [end, tell, look].into_iter().flatten().min();
        tokio::select! {
            changed = limits.changed() => match changed {
                Ok(()) => continue,
                // It is over.
                Err(_) => return None,
            },
            () = clock::sleep_until(due) => {}
        }
        let now = clock::now();
        let user = |session: &Weak<Session>| session.upgrade().map(|s| s.user().to_owned());
        if end.is_some_and(|end| end <= now) {
            tracing::info!(user = user(&session), "the session has lasted as long as RADIUS allows");
            return Some(Cause::SessionTimeout);
        }
        let moved = carried().await?;
        seen.look(moved, now);
        if idle.is_some_and(|idle| seen.is_idle(idle)) {
            tracing::info!(
                user = user(&session),
                "the session has carried nothing for as long as RADIUS allows"
            );
            return Some(Cause::IdleTimeout);
        }
        if tell.is_some_and(|at| at <= now) {
            told = now;
            session.upgrade()?.goes_on(moved);
        }
    }
}

/// What a session had carried when it was looked at.
struct Seen {
    carried: Traffic,
    /// Since when it has been so much.
    when: Instant,
    looked: Instant,
}

impl Seen {
    /// When to look again: often enough that nobody is let stay much longer, or sent away earlier.
    fn next(&self, idle: Duration) -> Instant {
        let pause = (idle / 8).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        (self.looked + pause).min((self.when + idle).max(self.looked + SHORTEST_LOOK))
    }

    fn look(&mut self, carried: Traffic, now: Instant) {
        if carried != self.carried {
            (self.carried, self.when) = (carried, now);
        }
        self.looked = now;
    }

    fn is_idle(&self, idle: Duration) -> bool {
        self.looked.since(self.when) >= idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_idle_when_nothing_was_carried_for_so_long() {
        let (start, idle) = (Instant::ZERO, Duration::from_secs(80));
        let at = |seconds| start + Duration::from_secs(seconds);
        let moved = |bytes_in| Traffic { bytes_in, ..Traffic::default() };
        let mut seen = Seen { carried: Traffic::default(), when: start, looked: start };
        assert_eq!(seen.next(idle), at(10));
        seen.look(moved(100), at(10));
        seen.look(moved(100), at(80));
        assert!(!seen.is_idle(idle));
        // Not later than it is idle for certain.
        assert_eq!(seen.next(idle), at(90));
        seen.look(moved(100), at(90));
        assert!(seen.is_idle(idle));
        seen.look(moved(101), at(91));
        assert!(!seen.is_idle(idle));
        // However short or long: neither every moment nor once a day.
        assert_eq!(seen.next(Duration::from_millis(1)), at(92));
        assert_eq!(seen.next(Duration::from_secs(86_400)), at(121));
    }
}
