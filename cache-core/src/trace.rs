//! The spans of `tracing` that the cache has. A call that memory answers has none.
//!
//! A span that no subscriber wants costs one check of its callsite. None of them is entered across
//! an await: a future is instrumented, and a body enters its span for each poll.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Empty, debug, display};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Metadata, Span};

use crate::error::{Error, ErrorKind};
use crate::level::Level;

/// How a call was answered that memory did not answer. The later ones say more about a batch, whose
/// keys may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// By a fresh value that a tier had.
    Hit,
    /// By a stale value.
    Stale,
    /// By the load of another call.
    Joined,
    /// By a body whose result is not kept.
    Uncached,
    /// By a body.
    Loaded,
    /// By the error of a timeout.
    TimedOut,
}

impl Answer {
    fn outcome(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Joined => "joined",
            Self::Uncached => "uncached",
            Self::Loaded => "loaded",
            Self::TimedOut => "timed_out",
        }
    }

    fn is_of_cache(self) -> bool {
        matches!(self, Self::Hit | Self::Stale)
    }
}

/// The span `cache.get` of a call that memory did not answer.
#[derive(Debug)]
pub(crate) struct CallSpan {
    span: Span,
    answer: Option<Answer>,
    /// Set for the load that made the span, not for one that continues it.
    is_owner: bool,
}

impl CallSpan {
    /// Begins the span of a call. `key` is called if the span is enabled.
    pub(crate) fn begin(function: &str, key: impl FnOnce() -> Option<String>) -> Self {
        let span = get(function);
        if !span.is_disabled()
            && let Some(key) = key()
        {
            span.record("cache.key", key);
        }
        Self {
            span,
            answer: None,
            is_owner: true,
        }
    }

    /// Returns `true` if the span is not enabled.
    pub(crate) fn is_none(&self) -> bool {
        self.span.is_disabled()
    }

    /// Returns the span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Returns the span for the load that made it, and no span for one that continues it, which is
    /// polled in the span already.
    pub(crate) fn own(&self) -> Span {
        match self.is_owner {
            true => self.span.clone(),
            false => Span::none(),
        }
    }

    /// Returns the span for a load that continues the call.
    pub(crate) fn continued(&self) -> Self {
        Self {
            span: self.span.clone(),
            answer: None,
            is_owner: false,
        }
    }

    /// Records how the call was answered.
    pub(crate) fn answered(&mut self, answer: Answer) {
        self.answer = Some(answer);
        self.record(answer);
    }

    fn record(&self, answer: Answer) {
        self.span.record("outcome", answer.outcome());
        self.span.record("cache.hit", answer.is_of_cache());
    }

    /// Leaves the record of the answer to the load that continues the call.
    pub(crate) fn is_answered_elsewhere(&mut self) {
        self.is_owner = false;
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if !self.is_owner || self.span.is_disabled() {
            return;
        }
        if std::thread::panicking() {
            self.span.record("outcome", "panicked");
        } else if self.answer.is_none() {
            self.span.record("outcome", "cancelled");
        }
    }
}

/// The span `cache.get` of a batch, which its keys share.
#[derive(Clone, Debug)]
pub(crate) struct BatchSpan(Arc<BatchCall>);

#[derive(Debug)]
struct BatchCall {
    call: CallSpan,
    /// The answer of all keys so far. The lock is not held while the span is recorded, which runs
    /// the code of the program's subscriber.
    answer: Mutex<Option<Answer>>,
}

impl Drop for BatchCall {
    fn drop(&mut self) {
        let answer = self.answer.get_mut();
        self.call.answer = *answer.unwrap_or_else(PoisonError::into_inner);
    }
}

impl BatchSpan {
    /// Begins the span of a batch that looks for this many keys. `None` if it is not enabled.
    pub(crate) fn begin(function: &str, keys: usize) -> Option<Self> {
        let call = CallSpan::begin(function, || None);
        if call.is_none() {
            return None;
        }
        call.span.record("cache.keys", keys);
        let answer = Mutex::new(None);
        Some(Self(Arc::new(BatchCall { call, answer })))
    }

    /// Returns the span.
    pub(crate) fn span(&self) -> Span {
        self.0.call.span.clone()
    }

    /// Records how one of the keys was answered.
    pub(crate) fn answered(&self, answer: Answer) {
        let answer = {
            let known = self.0.answer.lock();
            let mut known = known.unwrap_or_else(PoisonError::into_inner);
            let most = known.map_or(answer, |before| before.max(answer));
            *known = Some(most);
            most
        };
        self.0.call.record(answer);
    }
}

/// Records the tier that has answered a call, the time for which the value is still fresh, and the
/// size of its record.
pub(crate) fn found(span: &Span, tier: Level, left: Duration, size: usize) {
    if !span.is_disabled() {
        span.record("cache.tier", display(tier));
        span.record("cache.ttl", left.as_secs());
        span.record("cache.item_size", size);
    }
}

fn get(function: &str) -> Span {
    tracing::debug_span!(
        target: "multi_tier_cached",
        "cache.get",
        sentry.op = "cache.get",
        cache.function = function,
        cache.key = Empty,
        cache.keys = Empty,
        cache.hit = Empty,
        cache.tier = Empty,
        cache.ttl = Empty,
        cache.item_size = Empty,
        outcome = Empty,
    )
}

/// The span `cache.load` of a body, until the body ends.
#[derive(Debug)]
pub(crate) struct BodySpan(Option<Span>);

impl BodySpan {
    /// No span.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins the span of a body, inside `parent` if that is enabled, and otherwise inside the
    /// current span.
    pub(crate) fn begin(parent: &Span, function: &str) -> Self {
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
        Self((!span.is_disabled()).then_some(span))
    }

    /// Returns the span, in which the body is polled.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.0.as_ref()
    }

    /// Records how the body ended, and ends the span. `error` is the kind of the failure.
    pub(crate) fn end(&mut self, outcome: &'static str, error: Option<&'static str>) {
        let Some(span) = self.0.take() else { return };
        span.record("outcome", outcome);
        if let Some(error) = error {
            span.record("error", error);
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for BodySpan {
    fn drop(&mut self) {
        let error = match std::thread::panicking() {
            true => "panicked",
            false => "dropped",
        };
        self.end("cancelled", Some(error));
    }
}

/// An operation of a tier, which has the span `cache.tier`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TierOperation {
    pub(crate) level: Level,
    /// The kind of the tier, such as `redis`.
    pub(crate) kind: &'static str,
    pub(crate) operation: &'static str,
}

impl TierOperation {
    /// Begins the span. `address` is called if the span is enabled.
    pub(crate) fn span(self, address: impl FnOnce() -> Option<String>) -> Span {
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
        span
    }
}

/// Records how an operation of a tier ended.
pub(crate) fn operation_ended(span: &Span, error: Option<&Error>) {
    if span.is_disabled() {
        return;
    }
    span.record(
        "outcome",
        match error.map(Error::kind) {
            None => "ok",
            Some(ErrorKind::TimedOut) => "timeout",
            Some(_) => "error",
        },
    );
    if error.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}

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

/// Boxes a future, which is polled inside the span if that is enabled.
pub(crate) fn boxed<'a, T>(
    span: Span,
    future: impl Future<Output = T> + Send + 'a,
) -> Boxed<'a, T> {
    match span.is_disabled() {
        true => Box::pin(future),
        false => Box::pin(future.instrument(span)),
    }
}
