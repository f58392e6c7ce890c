//! Step 5, as far as it is counted and traced: the body begins and ends.

use std::time::Duration;

use super::Load;
use super::body_timer::BodyTimer;
use crate::call_trace::CallOutcome;
use crate::flight::Detached;
use crate::stats::LoadResult;
use crate::trace::{BodySpan, CallScope, CallSpan};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Value,
    Absent,
    /// It returned an error.
    Error,
    /// It said that it failed.
    SaidFailed,
    Panicked,
    /// It was dropped at its limit.
    TimedOut,
}

impl BodyEnd {
    fn result(self) -> LoadResult {
        match self {
            Self::Value => LoadResult::Value,
            Self::Absent => LoadResult::Absent,
            Self::Error | Self::SaidFailed => LoadResult::Error,
            Self::Panicked | Self::TimedOut => LoadResult::Cancelled,
        }
    }

    /// Returns how the body of a batch ended that has returned this for one of its keys.
    pub(super) fn end_of_batch(self) -> Self {
        match self {
            Self::Absent => Self::Value,
            end => end,
        }
    }

    /// Ends the span of the body.
    pub(super) fn end(self, span: &mut BodySpan) {
        let error = match self {
            Self::Value | Self::Absent => None,
            Self::Error => Some("returned"),
            Self::SaidFailed => Some("said_failed"),
            Self::Panicked => Some("panicked"),
            Self::TimedOut => Some("time_limit"),
        };
        span.end(self.result().name(), error);
    }
}

impl Load<'_> {
    /// Counts a body that begins now. A call without a key is no load, and is counted by its
    /// missing key.
    pub(super) fn body_begins(&mut self) {
        if self.key.is_none() {
            return;
        }
        if self.is_revalidation {
            self.function.counters.refreshes.add_one();
        }
        self.body = Some(BodyTimer::start(self.function));
    }

    /// Begins the span of a body that begins now.
    pub(super) fn body_span_begins(&mut self) {
        let function = self.function;
        let call = self.trace.as_deref().filter(|_| !self.is_detached());
        let call = call.map_or_else(CallScope::none, CallSpan::scope);
        self.body_span = BodySpan::begin(&call, function.name());
        let (Some(span), Some(key)) = (self.body_span.span(), &self.key) else {
            return;
        };
        let of_tiers = self
            .running
            .as_ref()
            .map(|running| running.visits.failures());
        let failures = function.failures(key).max(of_tiers.unwrap_or(0));
        span.record("attempt", failures.saturating_add(1));
        if let Some(key) = function.key_in_traces(key) {
            span.record("cache.key", key);
        }
    }

    /// Counts the body as ended, if it runs.
    pub(super) fn body_ended(&mut self, end: BodyEnd) {
        if let Some(body) = &mut self.body {
            body.end(end.result());
        }
        end.end(&mut self.body_span);
        let answered = match end {
            // The call is answered by a stale value or an error, or not at all; see `failure`.
            BodyEnd::Panicked | BodyEnd::TimedOut => return,
            _ if self.is_running() => CallOutcome::Loaded,
            _ => CallOutcome::Uncached,
        };
        self.answered(answered);
    }

    /// Counts the body as ended, if it runs: it has returned a value, or the result that there is
    /// none.
    pub(crate) fn body_returned(&mut self, has_value: bool) {
        self.body_ended(self.end_of_body(has_value));
    }

    /// Returns how a body ended that returned.
    pub(super) fn end_of_body(&self, has_value: bool) -> BodyEnd {
        let notes = self.notes.as_ref();
        let is_failed = notes.is_some_and(|notes| notes.is_failed());
        match (is_failed, has_value) {
            (true, _) => BodyEnd::SaidFailed,
            (false, true) => BodyEnd::Value,
            (false, false) => BodyEnd::Absent,
        }
    }

    /// Returns how long the body ran. Zero if it has not ended.
    pub(super) fn body_took(&self) -> Duration {
        let body = self.body.as_ref();
        body.and_then(BodyTimer::took).unwrap_or_default()
    }

    /// Returns `true` if the load was handed over to the background.
    pub(super) fn is_detached(&self) -> bool {
        self.detached.as_ref().is_some_and(Detached::is_set)
    }
}
