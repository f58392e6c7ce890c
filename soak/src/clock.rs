//! Clock of all processes: it never jumps, and every process reads the same time.

use nix::time::{ClockId, clock_gettime};

/// Returns the microseconds since the machine was started.
#[must_use]
pub fn now() -> u64 {
    // Every supported system has this clock, so the default is never used.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let micros = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000;
        u64::try_from(micros).unwrap_or(0)
    })
}
