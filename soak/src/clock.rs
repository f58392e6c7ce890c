//! The clock of all processes: it has no jumps, and is the same for each.

use nix::time::{ClockId, clock_gettime};

/// Microseconds since the machine was started.
#[must_use]
pub fn now() -> u64 {
    // Every system has it.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let micros = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000;
        u64::try_from(micros).unwrap_or(0)
    })
}
