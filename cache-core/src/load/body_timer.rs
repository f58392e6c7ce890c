//! The timer of one body. It counts the body when it begins, and once when it ends.

use std::time::Duration;

use crate::cached_function::CachedFunction;
use crate::clock::Moment;
use crate::stats::LoadResult;

/// Times one body, and counts it once by its result. If it is dropped before the body has a result,
/// the body was dropped as well, or has panicked.
pub(super) struct BodyTimer<'a> {
    function: &'a CachedFunction,
    began: Moment,
    /// How long the body ran, once it has ended.
    took: Option<Duration>,
}

impl<'a> BodyTimer<'a> {
    /// Counts a body that begins now.
    pub(super) fn start(function: &'a CachedFunction) -> Self {
        function.counters.loads.add_one();
        Self {
            function,
            began: function.state.clock.fine(),
            took: None,
        }
    }

    /// Counts the body as ended with this result, unless it has ended before.
    pub(super) fn end(&mut self, result: LoadResult) {
        if self.took.is_none() {
            let took = self.function.state.clock.fine().since(self.began);
            let function = self.function;
            function.counters.load_times.of(result).record(took);
            function.observe_load(result, took);
            self.took = Some(took);
        }
    }

    /// Returns how long the body ran, once it has ended.
    pub(super) fn took(&self) -> Option<Duration> {
        self.took
    }
}

impl Drop for BodyTimer<'_> {
    fn drop(&mut self) {
        self.end(LoadResult::Cancelled);
    }
}
