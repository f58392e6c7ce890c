//! Calls that are traced: their look-up in memory.
//!
//! A call that memory answers must cost nothing more if calls are not traced, so it does not check
//! whether they are. A call that is traced gets a stand-in for its function instead, which has no
//! memory. So it takes the path of a function without memory, where the look-up of the function
//! itself is made and noted. Everything after the look-up uses the function.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use super::channels::Channels;
use super::{CachedFunction, FunctionCounters, FunctionFence};
use crate::call_trace::{CallOutcome, TracedCalls};
use crate::clock::{Clock, Moment};
use crate::key::KeyRef;
use crate::level::Level;
use crate::log_limit::LoadLogLimits;
use crate::tier::shard::ShardCount;

impl CachedFunction {
    /// Returns the stand-in for the function in one call that is traced. Nothing but the look-up
    /// of the call uses it.
    pub(crate) fn traced(self: Arc<Self>) -> Arc<Self> {
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
            original: Some(self),
        })
    }

    /// Returns the function that this is the stand-in for, if it is one.
    pub(crate) fn original(&self) -> Option<&Arc<Self>> {
        self.original.as_ref()
    }

    /// Notes a batch whose values memory has all, if calls are traced here.
    pub(crate) fn trace_batch_in_memory(&self, keys: usize) {
        if let Some(call) = TracedCalls::begin(self.name(), || None, Some(keys)) {
            call.answered(CallOutcome::Hit);
            call.ended();
        }
    }

    /// Notes a call that memory has answered, and whose look-up began then.
    pub(crate) fn trace_memory(&self, key: &KeyRef<'_>, outcome: CallOutcome, began: Moment) {
        let took = Clock::System.fine().since(began);
        let owned = KeyRef::to_owned(*key);
        let arguments = || Some(self.record_key(&owned).arguments);
        let Some(call) = TracedCalls::begin(self.name(), arguments, None) else {
            return;
        };
        call.answered(outcome);
        let memory = self.state.memory();
        let entry = memory.and_then(|memory| memory.peek(key));
        let now = self.state.clock.now();
        let left = entry.map(|entry| entry.fresh_until().since(now));
        call.found(Level::L1, left.filter(|left| !left.is_zero()));
        call.took(took);
    }
}
