//! Promises of each phase.

use std::time::Duration;

use super::cluster::{Bodies, Loads};
use super::functions::{HARD_TIMEOUT, HotFunction, LOAD_LIMIT, TTL};
use super::measured::{LONG_WAIT, Measured};
use super::source::LOAD;
use super::table::{Check, Verdict, millis};

/// Time by which a call may exceed its `hard_timeout`.
const GRACE: Duration = Duration::from_millis(50);

/// Bodies per ttl of a function that loads when the ttl has ended. A load takes a tenth of the ttl,
/// so most ttls have less than one body.
const REVALIDATED_BODIES: f64 = 1.1;

/// Bodies per ttl of a function that loads before the ttl has ended: half of the ttl earlier, at
/// the most.
const AHEAD_BODIES: f64 = 2.0;

/// Judges what was found. `judges_time` includes promises about time on the wall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    pub(super) judges_time: bool,
}

impl Judge {
    fn time(self, holds: bool) -> Verdict {
        match self.judges_time {
            true => Verdict::of(holds),
            false => Verdict::NotJudged,
        }
    }

    /// The promises of a hot key whose value expires again and again.
    pub(super) fn hot(
        self,
        function: HotFunction,
        measured: &Measured,
        loads: Loads,
        bodies: u64,
        lasted: Duration,
    ) -> Vec<Check> {
        let ttls = lasted.as_secs_f64() / TTL.as_secs_f64();
        let per_ttl = match function {
            HotFunction::Ahead => AHEAD_BODIES,
            HotFunction::Revalidated | HotFunction::Hung => REVALIDATED_BODIES,
        };
        vec![
            Check {
                promise: format!("{function}: no call waits for a load, but the first"),
                found: format!(
                    "{} body in the foreground, {} waits for the load of another call",
                    loads.in_foreground, loads.waits
                ),
                verdict: Verdict::of(loads.in_foreground == 1 && loads.waits == 0),
            },
            Check {
                promise: format!("{function}: no call waits over {LONG_WAIT:?}"),
                found: format!(
                    "{} of {} calls; the longest waited {}",
                    measured.long_waits,
                    measured.calls,
                    millis(measured.longest)
                ),
                verdict: self.time(measured.long_waits == 0),
            },
            Check {
                promise: format!("{function}: at most {per_ttl} bodies per ttl in the cluster"),
                found: format!(
                    "{bodies} bodies in {ttls:.1} ttls: {:.2}",
                    bodies as f64 / ttls
                ),
                verdict: Verdict::of(bodies as f64 <= per_ttl * ttls),
            },
            no_failure(function, measured),
        ]
    }

    /// The promises of a key whose source is down for some time.
    pub(super) fn outage(measured: &Measured, bodies: u64, lasted: Duration) -> Vec<Check> {
        let most = most_bodies(lasted);
        let seconds = lasted.as_secs_f64();
        vec![
            no_failure(HotFunction::Revalidated, measured),
            Check {
                promise: format!("at most {most} bodies in an outage of {seconds:.1} s"),
                found: format!("{bodies} bodies"),
                verdict: Verdict::of(bodies <= most && bodies > 0),
            },
        ]
    }

    /// The promises to callers of a body that never ends.
    pub(super) fn waves(self, waves: &[Measured], bodies: Bodies) -> Vec<Check> {
        let longest = HARD_TIMEOUT + GRACE;
        let limit = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let mut checks: Vec<_> = waves
            .iter()
            .enumerate()
            .flat_map(|(at, wave)| {
                let number = at + 1;
                [
                    Check {
                        promise: format!("wave {number}: each call ends with a timeout"),
                        found: format!("{} of {}", wave.timed_out, wave.calls),
                        verdict: Verdict::of(wave.timed_out == wave.calls && wave.calls > 0),
                    },
                    Check {
                        promise: format!("wave {number}: no call takes over {longest:?}"),
                        found: format!("the longest took {}", millis(wave.longest)),
                        verdict: self.time(wave.longest <= limit),
                    },
                ]
            })
            .collect();
        checks.push(Check {
            promise: "one body for both waves in the cluster".into(),
            found: format!("{} bodies", bodies.hung),
            verdict: Verdict::of(bodies.hung == 1),
        });
        checks
    }

    /// The promises of a body that has reached its limit. `before` was counted when it was dropped,
    /// and `after` some time later.
    pub(super) fn limit(dropped_after: Duration, before: Bodies, after: Bodies) -> Vec<Check> {
        vec![
            Check {
                promise: format!(
                    "the body is dropped after {LOAD_LIMIT:?}, and no other one begins"
                ),
                found: format!(
                    "{} of {} bodies dropped, seen after {:.2} s",
                    before.dropped,
                    before.hung,
                    dropped_after.as_secs_f64()
                ),
                verdict: Verdict::of(
                    [before.dropped, after.hung] == [1, 1] && dropped_after >= LOAD_LIMIT,
                ),
            },
            Check {
                promise: "nothing of the body runs on".into(),
                found: format!("{} more signs of life", after.ticks - before.ticks),
                verdict: Verdict::of(after.ticks == before.ticks),
            },
        ]
    }

    /// The promise of a key whose load was dropped. `up` are the bodies of calls in all instances
    /// after that.
    pub(super) fn freed(measured: &Measured, up: u64, loads: Loads) -> Vec<Check> {
        vec![
            Check {
                promise: "the key is free: the next calls make one load and get its value".into(),
                found: format!("{up} bodies, {} failed calls", measured.failed),
                verdict: Verdict::of(up == 1 && measured.failed == 0),
            },
            Check {
                promise: "no load is left".into(),
                found: format!("{} loads", loads.under_way),
                verdict: Verdict::of(loads.under_way == 0),
            },
        ]
    }
}

fn no_failure(function: HotFunction, measured: &Measured) -> Check {
    Check {
        promise: format!("{function}: no call fails"),
        found: format!("{} of {} calls", measured.failed, measured.calls),
        verdict: Verdict::of(measured.failed == 0 && measured.calls > 0),
    }
}

/// Returns the most bodies that back-off allows in an outage: after each of them it lasts one
/// second, twice as long as the time before, or a minute, and each up to a fifth less.
fn most_bodies(outage: Duration) -> u64 {
    const LONGEST: Duration = Duration::from_secs(60);
    let mut back_off = Duration::from_secs(1);
    let mut next = Duration::ZERO;
    let mut bodies = 0;
    while next < outage {
        bodies += 1;
        next += LOAD + back_off.mul_f64(0.8);
        back_off = (back_off * 2).min(LONGEST);
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_of_a_minute_has_at_most_seven_bodies() {
        assert_eq!(most_bodies(Duration::from_secs(60)), 7);
        assert_eq!(most_bodies(Duration::from_secs(8)), 4);
        assert_eq!(most_bodies(Duration::from_millis(1)), 1);
    }
}
