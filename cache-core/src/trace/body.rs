//! The span of a body, and the step that it is of a call that is traced.

use tracing::Span;
use tracing::field::Empty;

use super::CallScope;
use crate::call_trace::{StepKind, StepTimer};

/// The span `cache.load` of a body, until the body ends.
#[derive(Debug)]
pub(crate) struct BodySpan {
    span: Option<Span>,
    step: StepTimer,
}

impl BodySpan {
    /// No span.
    pub(crate) fn none() -> Self {
        Self {
            span: None,
            step: StepTimer::none(),
        }
    }

    /// Begins the span of a body, inside the span of its call if that is enabled, and otherwise
    /// inside the current span.
    pub(crate) fn begin(call: &CallScope, function: &str) -> Self {
        let step = match call.traced() {
            Some(traced) => StepTimer::of(traced.clone(), StepKind::Body),
            None => StepTimer::none(),
        };
        let parent = call.span();
        // An enabled span that is entered is the current one.
        let _entered = (!parent.is_disabled()).then(|| parent.enter());
        let span = tracing::info_span!(
            target: "multi_tier_cached",
            "cache.load",
            cache.function = function,
            cache.key = Empty,
            cache.keys = Empty,
            attempt = Empty,
            outcome = Empty,
            error = Empty,
            otel.status_code = Empty,
        );
        let span = (!span.is_disabled()).then_some(span);
        Self { span, step }
    }

    /// Returns the span, in which the body is polled.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }

    /// Records how the body ended, and ends the span. `error` is the kind of the failure.
    #[inline]
    pub(crate) fn end(&mut self, outcome: &'static str, error: Option<&'static str>) {
        if !self.is_none() {
            self.record_end(outcome, error);
        }
    }

    /// Returns `true` if there is neither a span nor a step, or both have ended.
    #[inline]
    fn is_none(&self) -> bool {
        self.span.is_none() && self.step.is_none()
    }

    #[cold]
    fn record_end(&mut self, outcome: &'static str, error: Option<&'static str>) {
        self.step.end(Some(outcome));
        let Some(span) = self.span.take() else { return };
        span.record("outcome", outcome);
        if let Some(error) = error {
            span.record("error", error);
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for BodySpan {
    #[inline]
    fn drop(&mut self) {
        if self.is_none() {
            return;
        }
        let error = match std::thread::panicking() {
            true => "panicked",
            false => "dropped",
        };
        self.end("cancelled", Some(error));
    }
}
