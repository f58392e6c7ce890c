//! Events that an operator must learn of: each is counted, and logged at most once a minute for
//! each function.
//!
//! With a stale window the program does not notice that its source is down: no call fails. The log
//! is then the only place that says so before the window ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::CachedFunction;
use crate::metrics::{ALL_FUNCTIONS, MetricsDetail, families};
use crate::stats::LoadResult;
use crate::tag::MOST_TAGS;

impl CachedFunction {
    /// Reports a background load without a result: its body returned an error, panicked, or was
    /// dropped.
    #[cold]
    pub(crate) fn report_refresh_error(&self) {
        self.counters.refresh_errors.add_one();
        if let Some(loads) = self.log_limits.refresh_errors.admit(self.state.clock.now()) {
            tracing::warn!(
                target: "multi_tier_cached::load",
                function = %self.name,
                loads,
                "a load in the background failed; calls get the value that it was to replace, \
                 until the stale window of that value ends"
            );
        }
    }

    /// Reports a call that gets a stale value because its load failed.
    #[cold]
    pub(crate) fn report_stale_on_error(&self) {
        self.counters.stale_on_error.add_one();
        if let Some(calls) = self.log_limits.stale_on_error.admit(self.state.clock.now()) {
            tracing::warn!(
                target: "multi_tier_cached::load",
                function = %self.name,
                calls,
                "a load failed; its calls get the stale value in place of the error, until \
                 `stale_if_error` has passed"
            );
        }
    }

    /// Reports a value that is not kept because of its tags: the function declares none and the
    /// body named one, or there are more than a value can have.
    #[cold]
    pub(crate) fn report_tag_error(&self, is_undeclared: bool) {
        self.counters.tag_errors.add_one();
        if self.tag_error_reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let function = &self.name;
        match is_undeclared {
            true => tracing::warn!(
                target: "multi_tier_cached::load",
                %function,
                "the body has tagged its result, and the function declares no tags; the result is \
                 not kept; help: declare `tags = []`"
            ),
            false => tracing::warn!(
                target: "multi_tier_cached::load",
                %function,
                most = MOST_TAGS,
                "a value has more tags than a value can have and is not kept; help: tag it with \
                 what is invalidated as one"
            ),
        }
    }

    /// Reports a body that has ended to the observers of the runtime.
    pub(crate) fn observe_load(&self, result: LoadResult, took: Duration) {
        let function = match self.state.metrics_detail {
            MetricsDetail::Functions => self.name(),
            MetricsDetail::Runtime => ALL_FUNCTIONS,
        };
        let attributes = [function, result.name()];
        let observers = &self.state.observers;
        observers.observe(&families::LOAD_DURATION, &attributes, took);
    }

    /// Reports a body that was dropped `after` this time, because it reached the load limit.
    #[cold]
    pub(crate) fn report_abandoned(&self, after: Duration) {
        self.counters.abandoned.add_one();
        if let Some(loads) = self.log_limits.abandoned.admit(self.state.clock.now()) {
            tracing::warn!(
                target: "multi_tier_cached::load",
                function = %self.name,
                loads,
                after = ?after,
                "a load reached its limit and was dropped; the next call may load the key again; \
                 help: give the requests of the body a time limit of their own"
            );
        }
    }

    /// Reports a load that the background refused: its queue is full, or the call is outside of
    /// Tokio. After the shutdown of the runtime this is no event, because every load is refused.
    #[cold]
    pub(crate) fn report_shed(&self) {
        if self.state.loads.has_ended() {
            return;
        }
        self.counters.shed.add_one();
        let Some(loads) = self.log_limits.shed.admit(self.state.clock.now()) else {
            return;
        };
        let (function, consequence) = (
            &self.name,
            "a load was dropped, and a later call begins another",
        );
        match tokio::runtime::Handle::try_current() {
            Ok(_) => tracing::warn!(
                target: "multi_tier_cached::load",
                %function,
                loads,
                places = self.state.loads.numbers().places,
                "the queue of background loads is full; {consequence}; help: find out why loads \
                 are slow, set a `load_limit`, or raise `RuntimeBuilder::background_loads`"
            ),
            Err(_) => tracing::warn!(
                target: "multi_tier_cached::load",
                %function,
                loads,
                "a call outside of a Tokio runtime cannot load in the background; {consequence}"
            ),
        }
    }
}
