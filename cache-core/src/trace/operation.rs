//! The span of an operation of a tier, and the step that it is of a call that is traced.

use std::borrow::Cow;
use std::future::Future;

use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use crate::call_trace::{StepKind, StepTimer};
use crate::error::{Error, ErrorKind};
use crate::level::Level;

/// An operation of a tier, which has the span `cache.tier`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TierOperation {
    pub(crate) level: Level,
    /// The kind of the tier, such as `redis`.
    pub(crate) kind: &'static str,
    pub(crate) operation: &'static str,
}

impl TierOperation {
    /// Begins the operation. `address` is called if the span is enabled.
    pub(crate) fn begin(self, address: impl FnOnce() -> Option<String>) -> OperationSpan {
        let span = tracing::trace_span!(
            target: "multi_tier_cached",
            "cache.tier",
            otel.kind = "client",
            db.system.name = self.kind,
            db.operation.name = self.operation,
            server.address = Empty,
            cache.tier = Empty,
            outcome = Empty,
            otel.status_code = Empty,
        );
        if !span.is_disabled() {
            span.record("cache.tier", display(self.level));
            if let Some(address) = address() {
                span.record("server.address", address);
            }
        }
        let step = StepTimer::begin(|| StepKind::Operation {
            tier: self.level,
            operation: Cow::Borrowed(self.operation),
        });
        OperationSpan { span, step }
    }
}

/// The span of an operation that runs.
#[derive(Debug)]
pub(crate) struct OperationSpan {
    span: Span,
    step: StepTimer,
}

impl OperationSpan {
    /// Polls the operation in its span.
    pub(crate) async fn enter<F: Future>(&self, operation: F) -> F::Output {
        operation.instrument(self.span.clone()).await
    }

    /// Records how the operation ended.
    pub(crate) fn end(self, error: Option<&Error>) {
        let Self { span, mut step } = self;
        let outcome = match error.map(Error::kind) {
            None => "ok",
            Some(ErrorKind::TimedOut) => "timeout",
            Some(_) => "error",
        };
        step.end(Some(outcome));
        if span.is_disabled() {
            return;
        }
        span.record("outcome", outcome);
        if error.is_some() {
            span.record("otel.status_code", "ERROR");
        }
    }
}
