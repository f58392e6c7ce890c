//! Step 6, if the body failed: the callers get the stale value, if there is one that may be
//! returned, and the key is backed off.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::body::BodyEnd;
use super::{Held, Load, Loaded, Running};
use crate::caching::Decisions;
use crate::call_trace::CallOutcome;
use crate::key::Key;
use crate::load_timeout::LoadTimeout;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::tier::BackOff;

/// The shortest back-off: a source that fails for a moment is asked again soon.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// How a body failed.
#[derive(Default)]
pub(crate) struct Failure {
    /// Set if callers may get a stale value instead (`stale_if`).
    pub(crate) may_serve_stale: bool,
    /// A value from which the waiters can make an error.
    pub(crate) shared: Option<Box<dyn Any + Send + Sync>>,
    /// A value from which later callers can make an error, if it is kept (`error_if`).
    pub(crate) kept: Option<Box<dyn Any + Send + Sync>>,
    /// Set if the body was dropped at its limit.
    pub(crate) timeout: Option<LoadTimeout>,
    /// Set if the body panicked.
    pub(crate) is_panic: bool,
}

impl Failure {
    /// A body that panicked.
    pub(crate) fn of_panic() -> Self {
        Self {
            may_serve_stale: true,
            is_panic: true,
            ..Self::default()
        }
    }

    /// A body that was dropped at its limit.
    pub(crate) fn of_timeout(timeout: LoadTimeout) -> Self {
        Self {
            may_serve_stale: true,
            timeout: Some(timeout),
            ..Self::default()
        }
    }

    pub(super) fn end_of_body(&self) -> BodyEnd {
        match (self.is_panic, &self.timeout) {
            (true, _) => BodyEnd::Panicked,
            (false, Some(_)) => BodyEnd::TimedOut,
            (false, None) => BodyEnd::Error,
        }
    }
}

impl Load<'_> {
    /// Records that the failure answers the call.
    fn fails_by(&mut self, failure: &Failure) {
        if failure.timeout.is_some() {
            self.answered(CallOutcome::TimedOut);
        }
    }

    /// Ends the load of a body that failed. Returns the value that this caller gets instead, if
    /// there is one.
    pub(crate) fn fail(&mut self, failure: Failure) -> Option<Held> {
        let function = self.function;
        self.body_ended(failure.end_of_body());
        let key = self.key.clone()?;
        match &failure.timeout {
            Some(timeout) => function.report_abandoned(timeout.after()),
            None => function.counters.load_errors.add_one(),
        }
        if self.is_revalidation {
            function.report_refresh_error();
        }
        let Some(mut running) = self.running.take() else {
            // The body ran beside another load, and nothing of it is kept.
            let stale = self.stale_instead(None, &key);
            let Some(stale) = stale.filter(|_| failure.may_serve_stale) else {
                self.fails_by(&failure);
                return None;
            };
            self.answered(CallOutcome::Stale);
            function.report_stale_on_error();
            return Some(stale.value);
        };
        // While the key is backed off, callers get the stale value. They must not get it in place
        // of an error that they are to see.
        if failure.may_serve_stale {
            self.back_off(&mut running);
        } else {
            running.visits.load_failed(None);
        }
        if failure.may_serve_stale
            && let Some(stale) = self.servable_stale(&key)
        {
            return self.answer_stale(running, stale);
        }
        self.fails_by(&failure);
        let Running { mut visits, leader } = running;
        let decisions = self.decisions();
        let is_taggable = visits.add_tags(None, &decisions);
        let tags = visits.tag_stripes();
        leader.note_tags(&tags);
        let is_kept = leader.is_current() && !decisions.is_skipped && !decisions.is_failed;
        if let Some(kept) = failure.kept.filter(|_| is_kept && is_taggable) {
            function.keep_failed(&key, kept.into(), (leader.start(), &tags));
        }
        match (failure.shared, failure.timeout) {
            (Some(shared), _) => leader.complete(LoadOutcome::Failed(shared.into())),
            (None, Some(timeout)) => leader.complete(LoadOutcome::TimedOut(timeout)),
            (None, None) => leader.fail(),
        }
        None
    }

    /// Ends a load whose body returned `held` and said that it failed. Returns the value for this
    /// caller.
    pub(super) fn end_as_failed(
        &mut self,
        loaded: Option<&Loaded>,
        decisions: &Decisions,
    ) -> Option<Held> {
        let function = self.function;
        let held = loaded.map(|loaded| Arc::clone(&loaded.held));
        let (Some(mut running), Some(key)) = (self.running.take(), self.key.clone()) else {
            return held;
        };
        function.counters.load_errors.add_one();
        if self.is_revalidation {
            function.report_refresh_error();
        }
        self.back_off(&mut running);
        if let Some(stale) = self.servable_stale(&key) {
            let held_stale = self.answer_stale(running, stale);
            return held_stale.or(held);
        }
        let outcome = held.clone().map(LoadOutcome::Value);
        let is_taggable = running.visits.add_tags(loaded, decisions);
        running.leader.note_tags(&running.visits.tag_stripes());
        match is_taggable {
            true => running
                .leader
                .complete(outcome.unwrap_or(LoadOutcome::Absent)),
            // Not all of its tags are known, by which a waiter judges it.
            false => running.leader.fail(),
        }
        held
    }

    /// Returns the value that callers may get now in place of a failed load: the one that the load
    /// was to replace or, if that was invalidated or replaced since, the one in memory.
    fn servable_stale(&mut self, key: &Key) -> Option<StaleValue> {
        let function = self.function;
        let is_servable = |stale: &StaleValue| function.may_serve_stale(stale, key);
        let in_hand = self.stale.take().filter(is_servable);
        in_hand.or_else(|| function.stale_value(key).filter(is_servable))
    }

    /// Answers the callers of the flight with a stale value. Returns it if this caller may get it
    /// too.
    fn answer_stale(&mut self, running: Running<'_>, stale: StaleValue) -> Option<Held> {
        let held = self.takes_stale().then(|| Arc::clone(&stale.value));
        if held.is_some() {
            self.answered(CallOutcome::Stale);
        }
        if held.is_some() && !self.is_revalidation {
            self.function.report_stale_on_error();
        }
        running.leader.complete(LoadOutcome::Stale(stale));
        held
    }

    /// Releases the leases, before the waiters go on that take the same ones, and backs the key off
    /// if its function has values that can be returned in the meantime.
    fn back_off(&self, running: &mut Running<'_>) {
        let function = self.function;
        let times = &function.times;
        if times.longest_window().is_zero() && times.refresh_ahead.is_none() {
            running.visits.load_failed(None);
            return;
        }
        let key = &*running.visits.key;
        let failures = running.visits.failures().max(function.failures(key));
        let failures = failures.saturating_add(1);
        let back_off = BackOff {
            failures,
            lasts: back_off_after(failures, self.body_took(), fastrand::f64()),
        };
        // A load that was overtaken says nothing about the value that memory has now.
        if running.leader.is_current() {
            function.note_back_off(key, back_off.lasts, Some(failures));
        }
        running.visits.load_failed(Some(back_off));
    }
}

/// The back-off after this many failed loads in a row, the last of which took `load`. It doubles
/// with each failure, and begins with twice the time of the load, so that a slow source is not
/// busy with loads that fail. `random` is from 0 to 1: a fifth more or less, so that keys that
/// failed together are not loaded together.
fn back_off_after(failures: u32, load: Duration, random: f64) -> Duration {
    let first = FIRST_BACK_OFF.max(load.saturating_mul(2));
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let nominal = first.saturating_mul(doubled).min(BackOff::LONGEST);
    nominal.mul_f64(0.8 + 0.4 * random).min(BackOff::LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_from_one_second_to_one_minute() {
        let at = |failures, load| back_off_after(failures, load, 0.5).as_secs_f64().round();
        let fast = Duration::from_millis(10);
        let all: Vec<_> = (1..=8).map(|failures| at(failures, fast)).collect();
        assert_eq!(all, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(at(1, Duration::from_secs(5)), 10.0);
        assert_eq!(at(u32::MAX, Duration::MAX), 60.0);
        let (least, most) = (back_off_after(1, fast, 0.0), back_off_after(1, fast, 1.0));
        assert_eq!(least, Duration::from_millis(800));
        assert_eq!(most, Duration::from_millis(1_200));
    }
}
