//! The spans of `tracing` that the cache has. A call that memory answers has none.
//!
//! A span that no subscriber wants costs one check of its callsite. None of them is entered across
//! an await: a future is instrumented, and a body enters its span for each poll.

mod body;
mod call;
mod operation;

use std::future::Future;
use std::pin::Pin;

use tracing::field::{Empty, debug};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Metadata, Span};

pub(crate) use self::body::BodySpan;
pub(crate) use self::call::{BatchSpan, CallScope, CallSpan};
pub(crate) use self::operation::{OperationSpan, TierOperation};
use crate::error::Error;

/// A change of what is cached, which has the span `cache.invalidate`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) operation: &'static str,
    pub(crate) scope: &'static str,
    /// `None` if it concerns all functions.
    pub(crate) function: Option<&'a str>,
}

impl Change<'_> {
    /// Begins the span. `key` is called if the span is enabled.
    pub(crate) fn span(self, key: impl FnOnce() -> Option<String>) -> Span {
        let span = tracing::debug_span!(
            target: "multi_tier_cached",
            "cache.invalidate",
            sentry.op = Empty,
            cache.function = self.function,
            cache.key = Empty,
            operation = self.operation,
            scope = self.scope,
            receipt = Empty,
            error = Empty,
            otel.status_code = Empty,
        );
        if !span.is_disabled() {
            let op = match self.operation {
                "put" => "cache.put",
                _ => "cache.remove",
            };
            span.record("sentry.op", op);
            if let Some(key) = key() {
                span.record("cache.key", key);
            }
        }
        span
    }
}

/// Makes a change inside its span, and records its result.
pub(crate) async fn change<T: Changed>(
    span: Span,
    change: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    if span.is_disabled() {
        return change.await;
    }
    let result = change.instrument(span.clone()).await;
    match &result {
        Ok(changed) => {
            span.record("receipt", changed.receipt());
        }
        Err(error) => {
            span.record("error", debug(error.kind()));
            span.record("otel.status_code", "ERROR");
        }
    }
    result
}

/// The result of a change.
pub(crate) trait Changed {
    /// Returns how far it got: `acked` or `queued`.
    fn receipt(&self) -> &'static str;
}

/// Makes work in the background a part of its span `cache.background`, which follows from `cause`.
/// The span is not inside that one, which may end first.
pub(crate) fn in_background<'a>(span: Span, cause: &Span, work: Boxed<'a, ()>) -> Boxed<'a, ()> {
    span.follows_from(cause);
    match span.is_disabled() {
        true => work,
        false => Box::pin(work.instrument(span)),
    }
}

/// The span of a load in the background.
pub(crate) fn background_load(function: &str) -> Span {
    tracing::debug_span!(
        target: "multi_tier_cached",
        parent: None,
        "cache.background",
        work = "load",
        cache.function = function,
    )
}

/// The span of a copy that is made in the background.
pub(crate) fn background_promotion(function: &str) -> Span {
    tracing::trace_span!(
        target: "multi_tier_cached",
        parent: None,
        "cache.background",
        work = "promotion",
        cache.function = function,
    )
}

/// Returns the current span, if it is one of these.
///
/// This asks for the highest level that any subscriber wants. `tracing::span_enabled!` is not used:
/// if no span follows, a filter of `tracing-subscriber` that belongs to one layer applies the
/// answer to the next event.
pub(crate) fn current() -> Span {
    if LevelFilter::current() < LevelFilter::DEBUG {
        return Span::none();
    }
    let current = Span::current();
    let is_own = current.metadata().map(Metadata::target) == Some("multi_tier_cached");
    match is_own {
        true => current,
        false => Span::none(),
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
