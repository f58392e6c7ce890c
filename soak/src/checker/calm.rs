//! Judges and measures what holds only where there is no fault.

use std::collections::BTreeMap;

use super::{Key, Read, Verdict, Violation};
use crate::history::{Life, Micros, Reached, Window};

/// A guard that nobody renews is over by then: longer than the instances' lease time.
const LONGEST_GUARD: Micros = 3_000_000;

/// No load takes longer while all is calm.
pub(super) const LONGEST_CALM_LOAD: Micros = 1_000_000;

impl Key<'_> {
    /// One load for each time there is nothing to read.
    pub(super) fn judge_loads(&self, mut loads: Vec<Micros>, verdict: &mut Verdict) {
        loads.sort_unstable();
        for pair in loads.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            let calm = self
                .window(Window::Calm, second)
                .is_some_and(|(from, _)| from <= first);
            let may_be_evicted = self.window(Window::Evicting, second).is_some();
            // The lease of the first may have been taken long before it read, and been voided before that.
            let since = first.saturating_sub(LONGEST_CALM_LOAD);
            let invalidated = self.invalidations.iter().any(|one| {
                // A guard that is dropped goes on for a while, and nothing is kept meanwhile.
                let lasts = match one.reached {
                    Reached::Dropped => LONGEST_GUARD,
                    _ => 0,
                };
                one.start <= second && since <= one.end + lasts
            });
            // Nobody notes a guard that is taken, which has a commit after it.
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

    /// From when on a call on another instance is answered with the new version, as seen from the return of the invalidation.
    pub(super) fn measure(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut of_life: BTreeMap<Life, Vec<Read>> = BTreeMap::new();
        for read in reads {
            of_life.entry(read.life).or_default().push(*read);
        }
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
