//! The span of a body, and the step that it is of a call that is traced.

use tracing::Span;
use tracing::field::Empty;

use super::CallScope;
use crate::call_trace::{StepKind, StepTimer};

/// The span `cache.load` of a body and its step, until the body ends. A body that has neither costs
/// a comparison.
#[derive(Debug)]
pub(crate) struct BodySpan(Option<Box<Traced>>);

#[derive(Debug)]
struct Traced {
    span: Option<Span>,
    step: StepTimer,
}

impl BodySpan {
    /// No span.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins the span of a body, inside the span of its call if that is enabled, and otherwise
    /// inside the current span.
    pub(crate) fn begin(call: &CallScope, function: &str) -> Self {
        // An enabled span that is entered is the current one.
        let _entered = call.span().map(Span::enter);
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
        let traced = call.traced();
        if span.is_disabled() && traced.is_none() {
            return Self::none();
        }
        let span = (!span.is_disabled()).then_some(span);
        let step = traced.map(|call| StepTimer::of(call.clone(), StepKind::Body));
        let step = step.unwrap_or_else(StepTimer::none);
        Self(Some(Box::new(Traced { span, step })))
    }

    /// Returns the span, in which the body is polled.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.0.as_ref()?.span.as_ref()
    }

    /// Records how the body ended, and ends the span. `error` is the kind of the failure.
    #[inline]
    pub(crate) fn end(&mut self, outcome: &'static str, error: Option<&'static str>) {
        if let Some(traced) = self.0.take() {
            traced.end(outcome, error);
        }
    }
}

impl Traced {
    #[cold]
    fn end(mut self, outcome: &'static str, error: Option<&'static str>) {
        self.step.end(Some(outcome));
        let Some(span) = self.span else { return };
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
        if self.0.is_none() {
            return;
        }
        let error = match std::thread::panicking() {
            true => "panicked",
            false => "dropped",
        };
        self.end("cancelled", Some(error));
    }
}
