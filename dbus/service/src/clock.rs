//! The daemon's clocks: where cores' [`Instant`] and [`WallTime`] come from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::{Instant, WallTime};
use nix::time::{ClockId, clock_gettime};

/// Now, on the clock that goes on while the machine is suspended (`CLOCK_BOOTTIME`).
#[must_use]
pub fn now() -> Instant {
    // Neither clock can fail on Linux with these arguments; zero would only make timers late.
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Instant::from_nanos(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day, for certificates and people.
#[must_use]
pub fn wall() -> WallTime {
    WallTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// Waits until `deadline`; forever if there is none.
pub async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => std::future::pending().await,
    }
}
