//! The stand-in for a function in a call that is traced: it looks in memory.
//!
//! A call that memory answers must cost nothing more if calls are not traced, so it does not check
//! whether they are. A call that is traced gets a stand-in for its function instead, which has no
//! memory. So it takes the path of a function without memory, where the look-up of the function
//! itself is made and noted. Everything after the look-up uses the function.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::channels::Channels;
use super::{CachedFunction, FunctionCounters, FunctionFence, StandIn};
use crate::call_trace::{CallOutcome, TracedCall, TracedCalls};
use crate::clock::{Clock, Moment};
use crate::key::KeyRef;
use crate::level::Level;
use crate::log_limit::LoadLogLimits;
use crate::tier::shard::ShardCount;

impl CachedFunction {
    /// Returns the stand-in for the function in one call that is traced. Nothing but the look-up
    /// of the call uses it.
    pub(crate) fn stand_in(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            this: Weak::new(),
            id: self.id,
            seed: self.seed,
            state: Arc::clone(&self.state),
            counters: FunctionCounters::default(),
            fence: FunctionFence::sharded(0, ShardCount::ONE),
            name: self.name.clone(),
            declared_name: self.declared_name.clone(),
            life: None,
            key: Arc::clone(&self.key),
            template: self.template,
            tags: self.tags.clone(),
            memory: None,
            strong_memory: None,
            lower: Vec::new(),
            disabled: Vec::new(),
            channels: Channels::new(std::iter::empty(), ShardCount::ONE),
            is_blocking: self.is_blocking,
            single_flight: self.single_flight,
            consistency: self.consistency,
            when_isolated: self.when_isolated,
            times: self.times,
            unshared_errors_reported: AtomicBool::new(false),
            tag_error_reported: AtomicBool::new(false),
            log_limits: LoadLogLimits::default(),
            records: Arc::clone(&self.records),
            #[cfg(feature = "inspect")]
            published: self.published.clone(),
            flaw: None,
            stand_in: Some(Box::new(StandIn {
                original: self,
                noted: Mutex::default(),
            })),
        })
    }

    /// Returns the function that this is the stand-in for, if it is one.
    pub(crate) fn original(&self) -> Option<&Arc<Self>> {
        self.stand_in.as_deref().map(|this| &this.original)
    }

    /// Returns the function that loads the value of a call whose look-up this has made.
    pub(crate) fn after_miss(self: &Arc<Self>) -> &Arc<Self> {
        let Some(this) = self.stand_in.as_deref() else {
            return self;
        };
        let noted = this.noted.lock();
        // Memory had a result that the call cannot return.
        if let Some(noted) = noted.unwrap_or_else(PoisonError::into_inner).take() {
            noted.retract();
        }
        &this.original
    }

    /// Notes a batch whose values memory has all. `began` is when its look-ups began, and `None` if
    /// calls are not traced here.
    pub(crate) fn trace_batch(&self, keys: usize, outcome: CallOutcome, began: Option<Moment>) {
        let Some(began) = began else { return };
        if let Some(call) = TracedCalls::begin(self.name(), || None, Some(keys)) {
            call.answered(outcome);
            call.took(Clock::System.fine().since(began));
        }
    }

    /// Begins the trace of a call that memory has answered, if calls are traced here. `left` is how
    /// long the value is still fresh.
    pub(crate) fn trace_memory(
        &self,
        key: &KeyRef<'_>,
        outcome: CallOutcome,
        left: Option<Duration>,
    ) -> Option<TracedCall> {
        let key = || Some(self.record_key(&KeyRef::to_owned(*key)).arguments);
        let call = TracedCalls::begin(self.name(), key, None)?;
        call.answered(outcome);
        // A value that was expired is stale before its time.
        call.found(Level::L1, left.filter(|_| outcome == CallOutcome::Hit));
        Some(call)
    }
}
