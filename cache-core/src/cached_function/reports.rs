//! Events that an operator must learn of: each is counted, and logged at most once a minute for
//! each function.
//!
//! With a stale window the program does not notice that its source is down: no call fails. The log
//! is then the only place that says so before the window ends.

use std::time::Duration;

use super::CachedFunction;

impl CachedFunction {
    /// Reports a background load without a result: its body returned an error, panicked, or was
    /// dropped.
    #[cold]
    pub(crate) fn report_refresh_error(&self) {
        self.counters.refresh_errors.add_one();
        if let Some(loads) = self.log_limits.refresh_errors.admit(self.state.clock.now()) {
            tracing::warn!(
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
                function = %self.name,
                calls,
                "a load failed; its calls get the stale value in place of the error, until \
                 `stale_if_error` has passed"
            );
        }
    }

    /// Reports a body that was dropped `after` this time, because it reached the load limit.
    #[cold]
    pub(crate) fn report_abandoned(&self, after: Duration) {
        self.counters.abandoned.add_one();
        if let Some(loads) = self.log_limits.abandoned.admit(self.state.clock.now()) {
            tracing::warn!(
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
                %function,
                loads,
                places = self.state.loads.numbers().places,
                "the queue of background loads is full; {consequence}; help: find out why loads \
                 are slow, set a `load_limit`, or raise `RuntimeBuilder::background_loads`"
            ),
            Err(_) => tracing::warn!(
                %function,
                loads,
                "a call outside of a Tokio runtime cannot load in the background; {consequence}"
            ),
        }
    }
}
