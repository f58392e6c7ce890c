//! Recognizes calls that memory answered.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use cache_core::{CacheRuntime, Level};

#[derive(Debug)]
pub(super) struct Memory {
    /// The hit counter, for a single caller. With several callers, a hit could be of any of them.
    counts: Option<(CacheRuntime, AtomicU64)>,
}

impl Memory {
    pub(super) fn new(runtime: &CacheRuntime, callers: u16) -> Self {
        let has_lower = !runtime.tiers().is_empty();
        Self {
            counts: (callers == 1 && has_lower).then(|| (runtime.clone(), AtomicU64::new(0))),
        }
    }

    /// Returns `true` if memory answered the last call.
    ///
    /// If hits cannot be counted, a call that was ready at its first poll is taken as a hit in
    /// memory, although a quick lower tier may have answered it.
    pub(super) fn has_answered(&self, is_immediate: bool) -> bool {
        let Some((runtime, before)) = &self.counts else {
            return is_immediate;
        };
        let stats = runtime.stats();
        let function = stats.functions.first();
        let hits = function.and_then(|function| function.tier(Level::L1));
        let hits = hits.map_or(0, |memory| memory.hits);
        before.swap(hits, Ordering::Relaxed) < hits
    }
}

/// Makes a call. Returns `true` with the value if the call was ready at the first poll.
pub(super) async fn call<T>(call: impl Future<Output = T>) -> (bool, T) {
    let mut call = pin!(call);
    match std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        Poll::Ready(value) => (true, value),
        Poll::Pending => (false, call.await),
    }
}
