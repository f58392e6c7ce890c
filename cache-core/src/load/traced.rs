//! The span of a call that loads, and how the call was answered.

use std::time::Duration;

use super::Load;
use super::read::TierHit;
use super::wait::RemoteWait;
use crate::call_trace::CallOutcome;
use crate::level::Level;
use crate::trace::{CallScope, CallSpan};

/// The state that a call passes on to a load that continues it.
#[derive(Debug)]
pub(crate) struct Continued {
    wait: RemoteWait,
    trace: Option<Box<CallSpan>>,
}

impl Load<'_> {
    /// Continues a call.
    pub(crate) fn after(mut self, continued: Continued) -> Self {
        self.wait = continued.wait;
        self.trace = continued.trace;
        self.trace_has_begun = true;
        self
    }

    /// Returns what a load needs that continues the call.
    pub(crate) fn take_wait(&mut self) -> Continued {
        Continued {
            wait: std::mem::take(&mut self.wait),
            trace: self.trace.as_deref().map(CallSpan::continued),
        }
    }

    /// Begins the span of the call, unless the call has one or the load is one of a batch.
    pub(super) fn begin_trace(&mut self) {
        if self.place.is_some() || self.trace_has_begun {
            return;
        }
        self.trace_has_begun = true;
        let function = self.function;
        let key = || Some(function.record_key(self.key.as_ref()?).arguments);
        let shows_key = function.state.defaults.keys_in_traces;
        self.trace = CallSpan::begin(function.name(), key, shows_key);
    }

    /// Returns the scope in which the steps of this load are polled.
    pub(super) fn own_scope(&self) -> CallScope {
        let call = self.trace.as_deref();
        call.map_or_else(CallScope::none, CallSpan::own)
    }

    /// Records how the call was answered, unless it was answered before its load ended.
    pub(super) fn answered(&mut self, outcome: CallOutcome) {
        let has_trace = self.place.is_some() || self.trace.is_some();
        if !has_trace || self.is_detached() {
            return;
        }
        match (self.place, &mut self.trace) {
            (Some(place), _) => place.answered(outcome),
            (None, Some(call)) => call.answered(outcome),
            (None, None) => {}
        }
    }

    /// Records that memory had a value after all: another load has completed, or the lower tiers
    /// cannot be reached.
    pub(super) fn answered_by_memory(&mut self, outcome: CallOutcome) {
        self.answered(outcome);
        self.found(Level::L1, None, None);
    }

    /// Records the tier that has answered the call.
    pub(super) fn answered_by(&mut self, hit: &TierHit) {
        self.answered(CallOutcome::Hit);
        if let Some(tier) = self.function.lower.get(hit.at) {
            self.found(tier.level, Some(hit.left), Some(hit.size));
        }
    }

    /// Records that a stale value of a lower tier has answered the call.
    pub(super) fn answered_by_stale(&mut self, at: usize) {
        self.answered(CallOutcome::Stale);
        if let Some(tier) = self.function.lower.get(at) {
            self.found(tier.level, None, None);
        }
    }

    fn found(&self, tier: Level, left: Option<Duration>, size: Option<usize>) {
        if let Some(call) = self.trace.as_ref().filter(|_| !self.is_detached()) {
            call.found(tier, left, size);
        }
    }
}
