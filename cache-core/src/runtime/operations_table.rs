//! The times of the tiers' operations as a table.

use std::fmt;

use crate::stats::shown;
use crate::tier::TierStatus;

/// Writes a table of the operations that the tiers have done: how many ended with which result, and
/// how long those took that the store has answered. Nothing if there were none.
pub(super) fn write_operations(f: &mut fmt::Formatter<'_>, tiers: &[TierStatus]) -> fmt::Result {
    let mut has_heading = false;
    for tier in tiers {
        for (operation, times) in tier.operations.named() {
            if times.count() == 0 {
                continue;
            }
            if !has_heading {
                has_heading = true;
                writeln!(
                    f,
                    "\n{:>5}  {:10}  {:>9}  {:>7}  {:>8}  {:>8}  {:>8}",
                    "tier", "operation", "ok", "errors", "timeouts", "p50", "p99"
                )?;
            }
            writeln!(
                f,
                "{:>5}  {operation:10}  {:>9}  {:>7}  {:>8}  {:>8}  {:>8}",
                tier.level.to_string(),
                times.ok.count(),
                times.error.count(),
                times.timeout.count(),
                shown(times.ok.quantile(0.5)),
                shown(times.ok.quantile(0.99))
            )?;
        }
    }
    Ok(())
}
