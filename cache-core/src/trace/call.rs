//! The span of a call that memory did not answer, and its trace if calls are traced.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::Boxed;
use crate::call_trace::{CallOutcome, TracedCall, TracedCalls};
use crate::level::Level;

/// The span `cache.get` of a call that memory did not answer, and the trace of the call.
#[derive(Debug)]
pub(crate) struct CallSpan {
    span: Span,
    /// Set if the calls of the task are traced.
    traced: Option<TracedCall>,
    outcome: Option<CallOutcome>,
    /// Set for the load that made the span, not for one that continues it.
    is_first: bool,
    /// Set for the load that records the outcome of the call.
    is_owner: bool,
}

impl CallSpan {
    /// Begins the span of a call. `key` returns the arguments of the call, which the span has if
    /// `shows_key` is set. `None` if the span is not enabled and the call not traced.
    pub(crate) fn begin(
        function: &str,
        key: impl Fn() -> Option<String>,
        shows_key: bool,
    ) -> Option<Box<Self>> {
        let this = Self::new(get(function), TracedCalls::begin(function, &key, None))?;
        if shows_key
            && !this.span.is_disabled()
            && let Some(key) = key()
        {
            this.span.record("cache.key", key);
        }
        Some(Box::new(this))
    }

    fn new(span: Span, traced: Option<TracedCall>) -> Option<Self> {
        if span.is_disabled() && traced.is_none() {
            return None;
        }
        Some(Self {
            span,
            traced,
            outcome: None,
            is_first: true,
            is_owner: true,
        })
    }

    /// Returns the scope for the load that made the span, and none for one that continues it, which
    /// is polled in that scope already.
    pub(crate) fn own(&self) -> CallScope {
        match self.is_owner {
            true => self.scope(),
            false => CallScope::none(),
        }
    }

    /// Returns the scope, for any load.
    pub(crate) fn scope(&self) -> CallScope {
        CallScope(Some(Box::new(Scope {
            span: self.span.clone(),
            traced: self.traced.clone(),
        })))
    }

    /// Returns the span for a load that continues the call.
    pub(crate) fn continued(&self) -> Box<Self> {
        Box::new(Self {
            span: self.span.clone(),
            traced: self.traced.clone(),
            outcome: None,
            is_first: false,
            is_owner: false,
        })
    }

    /// Records how the call was answered.
    pub(crate) fn answered(&mut self, outcome: CallOutcome) {
        self.outcome = Some(outcome);
        self.record(outcome);
    }

    fn record(&self, outcome: CallOutcome) {
        self.span.record("outcome", outcome.name());
        self.span.record("cache.hit", outcome.is_of_cache());
        if let Some(traced) = &self.traced {
            traced.answered(outcome);
        }
    }

    /// Records the tier that has answered the call, and the time for which the value is still
    /// fresh. `size` is that of its record in bytes.
    pub(crate) fn found(&self, tier: Level, left: Option<Duration>, size: Option<usize>) {
        if let Some(traced) = &self.traced {
            traced.found(tier, left);
        }
        if self.span.is_disabled() {
            return;
        }
        self.span.record("cache.tier", display(tier));
        if let Some(left) = left {
            self.span.record("cache.ttl", left.as_secs());
        }
        if let Some(size) = size {
            self.span.record("cache.item_size", size);
        }
    }

    /// Leaves the record of the outcome to the load that continues the call.
    pub(crate) fn is_answered_elsewhere(&mut self) {
        self.is_owner = false;
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(traced) = self.traced.as_ref().filter(|_| self.is_first) {
            traced.ended();
        }
        if !self.is_owner || self.span.is_disabled() {
            return;
        }
        if std::thread::panicking() {
            self.span.record("outcome", "panicked");
        } else if self.outcome.is_none() {
            self.span.record("outcome", CallOutcome::Cancelled.name());
        }
    }
}

/// The span and the trace of a call, in which its steps are polled. A call that has neither costs
/// a comparison.
#[derive(Clone, Debug)]
pub(crate) struct CallScope(Option<Box<Scope>>);

#[derive(Clone, Debug)]
struct Scope {
    span: Span,
    traced: Option<TracedCall>,
}

impl CallScope {
    /// No scope.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns the span, if it is enabled.
    pub(crate) fn span(&self) -> Option<&Span> {
        let span = self.0.as_ref().map(|scope| &scope.span);
        span.filter(|span| !span.is_disabled())
    }

    /// Returns the trace of the call.
    pub(super) fn traced(&self) -> Option<&TracedCall> {
        self.0.as_ref()?.traced.as_ref()
    }

    /// Boxes a future, which is polled in the scope.
    pub(crate) fn boxed<'a, T>(self, future: impl Future<Output = T> + Send + 'a) -> Boxed<'a, T> {
        match self.0 {
            None => Box::pin(future),
            Some(scope) => Box::pin(scope.enter(future)),
        }
    }

    /// Polls a future in the scope.
    pub(crate) async fn enter<F: Future>(self, future: F) -> F::Output {
        match self.0 {
            None => future.await,
            Some(scope) => scope.enter(future).await,
        }
    }

    /// Calls `f` in the scope.
    pub(crate) fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let Some(scope) = self.0 else { return f() };
        let _entered = scope.span.enter();
        match scope.traced {
            None => f(),
            Some(traced) => traced.sync_scope(f),
        }
    }
}

impl Scope {
    async fn enter<F: Future>(self: Box<Self>, future: F) -> F::Output {
        let Self { span, traced } = *self;
        match traced {
            None => future.instrument(span).await,
            Some(traced) => traced.scope(future.instrument(span)).await,
        }
    }
}

/// The span `cache.get` of a batch, which its keys share.
#[derive(Clone, Debug)]
pub(crate) struct BatchSpan(Arc<BatchCall>);

#[derive(Debug)]
struct BatchCall {
    call: CallSpan,
    /// The outcome of all keys so far. The lock is not held while the span is recorded, which runs
    /// the code of the program's subscriber.
    outcome: Mutex<BatchOutcome>,
}

#[derive(Clone, Copy, Debug, Default)]
struct BatchOutcome {
    most: Option<CallOutcome>,
    /// Set once the span has it.
    is_recorded: bool,
}

impl Drop for BatchCall {
    fn drop(&mut self) {
        let outcome = self.outcome.get_mut();
        let outcome = outcome.unwrap_or_else(PoisonError::into_inner);
        self.call.outcome = outcome.most.filter(|_| outcome.is_recorded);
    }
}

impl BatchSpan {
    /// Begins the span of a batch that looks for this many keys. `None` if it is not
    /// enabled and the batch not traced.
    pub(crate) fn begin(function: &str, keys: usize) -> Option<Self> {
        let traced = TracedCalls::begin(function, || None, Some(keys));
        let call = CallSpan::new(get(function), traced)?;
        call.span.record("cache.keys", keys);
        let outcome = Mutex::default();
        Some(Self(Arc::new(BatchCall { call, outcome })))
    }

    /// Returns the span.
    pub(crate) fn span(&self) -> &Span {
        &self.0.call.span
    }

    /// Returns the scope in which the loads of the batch are polled.
    pub(crate) fn scope(&self) -> CallScope {
        self.0.call.scope()
    }

    /// Notes how one of the keys was answered, while others are to be loaded. The span has it once
    /// one of these is answered.
    pub(crate) fn note(&self, outcome: CallOutcome) {
        self.add(outcome, false);
    }

    /// Records how one of the keys was answered.
    pub(crate) fn answered(&self, outcome: CallOutcome) {
        let most = self.add(outcome, true);
        self.0.call.record(most);
    }

    fn add(&self, outcome: CallOutcome, is_recorded: bool) -> CallOutcome {
        let known = self.0.outcome.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let most = known.most.map_or(outcome, |before| before.max(outcome));
        *known = BatchOutcome {
            most: Some(most),
            is_recorded: known.is_recorded || is_recorded,
        };
        most
    }

    /// Notes that the call of the batch ends now. Its load may continue in the background.
    pub(crate) fn call_ended(&self) {
        if let Some(traced) = &self.0.call.traced {
            traced.ended();
        }
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
