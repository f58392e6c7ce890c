//! The span of a call that loads, and how the call was answered.

use tracing::Span;

use super::Load;
use super::read::TierHit;
use super::wait::RemoteWait;
use crate::level::Level;
use crate::trace::{self, Answer, CallSpan};

/// The state that a call passes on to a load that continues it.
#[derive(Debug)]
pub(crate) struct Continued {
    wait: RemoteWait,
    trace: Option<CallSpan>,
}

impl Load<'_> {
    /// Continues a call.
    pub(crate) fn after(mut self, continued: Continued) -> Self {
        self.wait = continued.wait;
        self.trace = continued.trace;
        self
    }

    /// Returns what a load needs that continues the call.
    pub(crate) fn take_wait(&mut self) -> Continued {
        Continued {
            wait: std::mem::take(&mut self.wait),
            trace: self.trace.as_ref().map(CallSpan::continued),
        }
    }

    /// Begins the span of the call, unless the call has one or the load is one of a batch.
    pub(super) fn begin_trace(&mut self) {
        if self.place.is_some() || self.trace.is_some() {
            return;
        }
        let function = self.function;
        let key = || function.key_in_traces(self.key.as_ref()?);
        self.trace = Some(CallSpan::begin(function.name(), key));
    }

    /// Returns the span in which the steps of this load are polled.
    pub(super) fn own_span(&self) -> Span {
        let call = self.trace.as_ref();
        call.map_or_else(Span::none, CallSpan::own)
    }

    /// Records how the call was answered, unless it was answered before its load ended.
    pub(super) fn answered(&mut self, answer: Answer) {
        if self.is_detached() {
            return;
        }
        match (self.place, &mut self.trace) {
            (Some(place), _) => place.answered(answer),
            (None, Some(call)) if !call.is_none() => call.answered(answer),
            (None, _) => {}
        }
    }

    /// Records that memory had a value after all, because another load has completed.
    pub(super) fn answered_by_memory(&mut self) {
        self.answered(Answer::Hit);
        if let Some(call) = self.trace.as_ref().filter(|call| !call.is_none()) {
            call.span()
                .record("cache.tier", tracing::field::display(Level::L1));
        }
    }

    /// Records the tier that has answered the call.
    pub(super) fn answered_by(&mut self, hit: &TierHit) {
        self.answered(Answer::Hit);
        if let Some(call) = &self.trace
            && let Some(tier) = self.function.lower.get(hit.at)
        {
            trace::found(call.span(), tier.level, hit.left, hit.size);
        }
    }
}
