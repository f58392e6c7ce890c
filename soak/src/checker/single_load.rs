//! Judges and measures what holds only while there is no fault.

use super::key::{Key, by_life};
use super::observed::Read;
use super::verdict::{Verdict, Violation};
use crate::history::{Micros, Reached, Window};

/// Longest time for which a guard that is not renewed remains: more than the lease time of the
/// instances.
const LONGEST_GUARD: Micros = 3_000_000;

/// Longest load without a fault.
pub(super) const LONGEST_CALM_LOAD: Micros = 1_000_000;

impl Key<'_> {
    /// Judges that a key is loaded once after each invalidation.
    pub(super) fn judge_loads(&self, mut loads: Vec<Micros>, verdict: &mut Verdict) {
        loads.sort_unstable();
        for pair in loads.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            let calm = self
                .window(Window::Calm, second)
                .is_some_and(|(from, _)| from <= first);
            let may_be_evicted = self.window(Window::Evicting, second).is_some();
            // The first load may have taken its lease long before it read the database, and the
            // lease may have been voided in between.
            let since = first.saturating_sub(LONGEST_CALM_LOAD);
            let invalidated = self.invalidations.iter().any(|one| {
                // A guard that was dropped remains for some time, in which no value is kept.
                let lasts = match one.reached {
                    Reached::Dropped => LONGEST_GUARD,
                    _ => 0,
                };
                one.start <= second && since <= one.end + lasts
            });
            // Taking a guard is no event, but a commit follows it.
            let until = second + LONGEST_CALM_LOAD;
            let changed = self.commits.at(since) != self.commits.at(until);
            if calm && !may_be_evicted && !invalidated && !changed {
                verdict.violations.push(Violation::TwoLoads {
                    item: self.item,
                    first,
                    second,
                });
            }
        }
    }

    /// Measures the time from the return of an invalidation to the first call on another instance
    /// that returns the new version.
    pub(super) fn measure_propagation(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut of_life = by_life(reads);
        for reads in of_life.values_mut() {
            reads.sort_unstable_by_key(|read| read.start);
        }
        for one in &self.invalidations {
            let Some((_, until)) = self.window(Window::Calm, one.end) else {
                continue;
            };
            if one.reached != Reached::Acked {
                continue;
            }
            let expected = self.committed(one.start);
            for (life, reads) in &of_life {
                let from = reads.partition_point(|read| read.start < one.start);
                let mut calm = reads[from..].iter().take_while(|read| read.start < until);
                let seen = calm.find(|read| read.version >= expected);
                if let Some(seen) = seen.filter(|_| *life != one.life) {
                    verdict.propagation.push(seen.start.saturating_sub(one.end));
                }
            }
        }
    }
}
