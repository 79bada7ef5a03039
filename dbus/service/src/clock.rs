//! The daemon's clocks: where cores' [`Instant`] and [`WallTime`] come from.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::{Instant, WallTime};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// A word whenever the machine has been suspended.
static RESUMED: LazyLock<watch::Sender<()>> = LazyLock::new(watch::Sender::default);

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

/// Waits until `deadline`; forever if there is none. The runtime's timers stand still while the machine is suspended: a
/// deadline that has passed meanwhile is noticed when the machine resumes, if [`watch_suspends`] runs.
pub async fn sleep_until(deadline: Option<Instant>) {
    let Some(at) = deadline else { return std::future::pending().await };
    let mut resumed = resumed();
    loop {
        tokio::select! {
            () = tokio::time::sleep(at.since(now())) => return,
            _ = resumed.changed() => {}
        }
    }
}

/// A word whenever the machine has been suspended, from now on.
pub fn resumed() -> watch::Receiver<()> {
    RESUMED.subscribe()
}

/// The machine has been suspended, says somebody who knows: whoever waits for a time looks at the clock again.
pub fn resume() {
    RESUMED.send_replace(());
}

/// Watches for the machine to be resumed, in a thread that sleeps until then: whoever waits in [`sleep_until`] looks at the
/// clock again. The kernel tells itself, so that no session manager is needed for it.
///
/// # Errors
/// The kernel has no timer to tell it by, or no thread.
pub fn watch_suspends() -> io::Result<()> {
    let timer = TimerFd::new(timerfd::ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC)?;
    let watch = move || {
        if let Err(error) = watch_with(&timer) {
            tracing::warn!(%error, "what is due while the machine is suspended will be done late");
        }
    };
    std::thread::Builder::new().name("suspends".into()).stack_size(128 << 10).spawn(watch).map(drop)
}

fn watch_with(timer: &TimerFd) -> nix::Result<()> {
    let mut known = suspended();
    loop {
        // It never fires: it is cancelled when the time of day jumps, and so when the machine resumes (timerfd_create(2)).
        let never = Expiration::OneShot(TimeSpec::new(i64::from(u32::MAX) * 2, 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        timer.set(never, flags)?;
        timer.wait()?;
        let before = std::mem::replace(&mut known, suspended());
        let asleep = known.saturating_sub(before);
        if asleep >= ASLEEP {
            tracing::info!(seconds = asleep.as_secs(), "the machine was suspended");
            resume();
        }
    }
}

/// For less nobody is woken.
const ASLEEP: Duration = Duration::from_millis(100);

/// How long the machine has been suspended since it booted.
fn suspended() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}
