//! The clocks of a measurement.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::Instant;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Now.
pub fn now() -> Instant {
    // It cannot fail on Linux with this argument.
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Instant::from_nanos(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
}

/// The clock of a capture: since 1970.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The processor time of this process, user and system.
pub fn own_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// The processor time of another process, user and system, ended threads included, to the nanosecond
/// (`/proc/PID/stat` counts in hundredths of a second).
///
/// # Errors
/// There is no such process.
pub fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(process)?))?;
    Ok(clock_gettime(clock)?.into())
}
