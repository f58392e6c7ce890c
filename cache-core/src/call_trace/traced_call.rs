//! Calls while they are traced: the task-local variables by which a call finds its trace.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{CallOutcome, CallStep, CallTrace, StepKind};
use crate::clock::{Clock, Moment};
use crate::level::Level;

/// The most calls of one trace. Later ones are made as usual, without a trace.
const MOST_CALLS: usize = 4096;

/// The most steps of one call. Only a call that waits again and again has more than a few.
const MOST_STEPS: usize = 256;

tokio::task_local! {
    /// Set in a task whose calls are traced.
    static CALLS: TracedCalls;
    /// The call whose steps are polled.
    static CURRENT: TracedCall;
}

/// The calls of a task that are traced, in the order in which they began.
///
/// The lock is held for a copy. It is never held across an await.
#[derive(Clone, Debug, Default)]
pub(crate) struct TracedCalls(Arc<Mutex<Vec<TracedCall>>>);

impl TracedCalls {
    /// Runs a future, and returns the traces of the calls that it makes.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub(crate) async fn of<F: Future>(future: F) -> (F::Output, Vec<CallTrace>) {
        let calls = Self::default();
        let output = CALLS.scope(calls.clone(), future).await;
        (output, calls.traces())
    }

    /// Calls `f`, and returns the traces of the calls that it makes on this thread.
    pub(crate) fn of_blocking<T>(f: impl FnOnce() -> T) -> (T, Vec<CallTrace>) {
        let calls = Self::default();
        let output = CALLS.sync_scope(calls.clone(), f);
        (output, calls.traces())
    }

    /// Returns `true` if a call that begins here is traced.
    pub(crate) fn are_on() -> bool {
        CALLS
            .try_with(|calls| calls.lock().len() < MOST_CALLS)
            .unwrap_or(false)
    }

    /// Begins the trace of a call, if calls are traced here.
    pub(crate) fn begin(
        function: &str,
        key: impl FnOnce() -> Option<String>,
        keys: Option<usize>,
    ) -> Option<TracedCall> {
        let calls = CALLS.try_with(Self::clone).ok()?;
        let key = key();
        let mut calls = calls.lock();
        if calls.len() >= MOST_CALLS {
            return None;
        }
        let call = TracedCall::new(function, key, keys);
        calls.push(call.clone());
        Some(call)
    }

    fn traces(&self) -> Vec<CallTrace> {
        self.lock().iter().map(|call| call.lock().clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<TracedCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is traced.
#[derive(Clone, Debug)]
pub(crate) struct TracedCall(Arc<State>);

#[derive(Debug)]
struct State {
    began: Moment,
    /// The lock is held for a change. It is never held across an await.
    trace: Mutex<CallTrace>,
}

impl TracedCall {
    fn new(function: &str, key: Option<String>, keys: Option<usize>) -> Self {
        Self(Arc::new(State {
            began: Clock::System.fine(),
            trace: Mutex::new(CallTrace {
                function: function.to_owned(),
                key,
                keys,
                outcome: CallOutcome::Cancelled,
                tier: None,
                fresh_for: None,
                took: None,
                steps: Vec::new(),
            }),
        }))
    }

    /// Notes how the call was answered.
    pub(crate) fn answered(&self, outcome: CallOutcome) {
        self.note(|trace| {
            trace.outcome = outcome;
            if !outcome.is_of_cache() {
                (trace.tier, trace.fresh_for) = (None, None);
            }
        });
    }

    /// Notes the tier that has answered the call, and how long its value is still fresh.
    pub(crate) fn found(&self, tier: Level, fresh_for: Option<Duration>) {
        self.note(|trace| (trace.tier, trace.fresh_for) = (Some(tier), fresh_for));
    }

    /// Notes that the call ends now. Its trace does not change any more.
    pub(crate) fn ended(&self) {
        self.took(self.since_began());
    }

    /// Notes how long the call took. Its trace does not change any more.
    pub(crate) fn took(&self, took: Duration) {
        self.note(|trace| trace.took = Some(took));
    }

    /// Removes the trace of a call that was not answered after all, and that is the last of its
    /// task.
    pub(crate) fn retract(&self) {
        let _ = CALLS.try_with(|calls| {
            calls.lock().pop_if(|last| Arc::ptr_eq(&last.0, &self.0));
        });
    }

    /// Polls a future as a part of the call, whose steps are noted.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Calls `f` as a part of the call, whose steps are noted.
    pub(crate) fn sync_scope<T>(self, f: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, f)
    }

    /// Returns the place of the step. `None` if the trace is full, or the call has ended.
    fn add(&self, step: CallStep) -> Option<usize> {
        let mut at = None;
        self.note(|trace| {
            if trace.steps.len() < MOST_STEPS {
                at = Some(trace.steps.len());
                trace.steps.push(step);
            }
        });
        at
    }

    /// Changes the trace, unless the call has ended: its load may continue in the background.
    fn note(&self, change: impl FnOnce(&mut CallTrace)) {
        let mut trace = self.lock();
        if trace.took.is_none() {
            change(&mut trace);
        }
    }

    fn since_began(&self) -> Duration {
        Clock::System.fine().since(self.0.began)
    }

    fn lock(&self) -> MutexGuard<'_, CallTrace> {
        self.0.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a call without a load, if it is traced.
#[derive(Debug)]
pub(crate) struct UntilDropped(Option<TracedCall>);

impl UntilDropped {
    /// Begins the trace of a call that runs its body and keeps nothing, if calls are traced here.
    /// It ends when this is dropped.
    pub(crate) fn uncached(function: impl FnOnce() -> String) -> Self {
        if !TracedCalls::are_on() {
            return Self(None);
        }
        let call = TracedCalls::begin(&function(), || None, None);
        if let Some(call) = &call {
            call.answered(CallOutcome::Uncached);
        }
        Self(call)
    }
}

impl Drop for UntilDropped {
    fn drop(&mut self) {
        if let Some(call) = &self.0 {
            call.ended();
        }
    }
}

/// A step of the current call, if that is traced. A step that is dropped has not ended.
#[derive(Debug)]
pub(crate) struct StepTimer(Option<(TracedCall, usize)>);

impl StepTimer {
    /// No step.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins a step of the current call. `kind` is called if that is traced.
    pub(crate) fn begin(kind: impl FnOnce() -> StepKind) -> Self {
        let current = CURRENT.try_with(TracedCall::clone).ok();
        current.map_or_else(Self::none, |call| Self::of(call, kind()))
    }

    /// Begins a step of a call.
    pub(crate) fn of(call: TracedCall, kind: StepKind) -> Self {
        let at = call.add(CallStep {
            kind,
            began: call.since_began(),
            took: None,
            outcome: None,
        });
        Self(at.map(|at| (call, at)))
    }

    /// Ends the step, unless it has ended before.
    pub(crate) fn end(&mut self, outcome: Option<&'static str>) {
        let Some((call, at)) = self.0.take() else {
            return;
        };
        let now = call.since_began();
        call.note(|trace| {
            let step = &mut trace.steps[at];
            step.took = Some(now.saturating_sub(step.began));
            step.outcome = outcome.map(Cow::Borrowed);
        });
    }
}
