//! Step 1 of a call that is traced: its stand-in has the function look in memory, and notes it.

use std::sync::PoisonError;
use std::time::Duration;

use super::Held;
use super::look::Look;
use crate::cached_function::{CachedFunction, StandIn};
use crate::call_trace::CallOutcome;
use crate::clock::{Clock, Moment};
use crate::entry::Entry;
use crate::key::KeyRef;

impl CachedFunction {
    /// Looks in memory on behalf of a call that is traced. `None` without a trace: there is no
    /// memory.
    #[cold]
    pub(crate) fn traced_hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        let this = self.stand_in.as_deref()?;
        let mut look = this.begin();
        let held = this.original.hit_seen(key, |entry| look.saw(entry))?;
        this.note(key, CallOutcome::Hit, &look);
        Some(held)
    }

    /// Judges the entry of memory for a call that is traced. A miss without a trace: there is no
    /// memory.
    #[cold]
    pub(crate) fn traced_judge(&self, key: &KeyRef<'_>, is_late_call: bool) -> Look {
        let Some(this) = self.stand_in.as_deref() else {
            return Look::Miss;
        };
        let mut look = this.begin();
        let judged = this
            .original
            .judge_seen(key, is_late_call, |entry| look.saw(entry));
        match &judged {
            Look::Miss => {}
            judged if judged.is_stale() => this.note(key, CallOutcome::Stale, &look),
            _ => this.note(key, CallOutcome::Hit, &look),
        }
        judged
    }
}

/// A look-up in memory.
struct TracedLook {
    began: Moment,
    /// The time until the entry that was found is not fresh any more.
    left: Option<Duration>,
    now: Moment,
}

impl TracedLook {
    fn saw(&mut self, entry: &Entry) {
        let left = entry.fresh_until().since(self.now);
        self.left = (!left.is_zero()).then_some(left);
    }
}

impl StandIn {
    fn begin(&self) -> TracedLook {
        TracedLook {
            began: Clock::System.fine(),
            left: None,
            now: self.original.state.clock.now(),
        }
    }

    /// Notes a call that memory has answered.
    fn note(&self, key: &KeyRef<'_>, outcome: CallOutcome, look: &TracedLook) {
        let took = Clock::System.fine().since(look.began);
        let call = self.original.trace_memory(key, outcome, look.left);
        if let Some(call) = &call {
            call.took(took);
        }
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}
