//! Whether memory has answered a call.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use multi_tier_cached::{CacheRuntime, Level};

pub(crate) struct Memory {
    /// Of one caller alone its counter tells. Of several nobody can say whose hit it was.
    counts: Option<(CacheRuntime, AtomicU64)>,
}

impl Memory {
    pub(crate) fn new(runtime: &CacheRuntime, callers: usize) -> Self {
        let has_lower = !runtime.tiers().is_empty();
        Self {
            counts: (callers == 1 && has_lower).then(|| (runtime.clone(), AtomicU64::new(0))),
        }
    }

    /// The last call; where that cannot be counted, if it was `at_once`, at its first poll. So may a lower tier be that is quick.
    pub(crate) fn has_answered(&self, at_once: bool) -> bool {
        let Some((runtime, before)) = &self.counts else {
            return at_once;
        };
        let stats = runtime.stats();
        let function = stats.functions.first();
        let hits = function.and_then(|function| function.tier(Level::L1));
        let hits = hits.map_or(0, |memory| memory.hits);
        before.swap(hits, Ordering::Relaxed) < hits
    }
}

/// Makes a call; `true` if it was answered at the first poll.
pub(crate) async fn call<T>(call: impl Future<Output = T>) -> (bool, T) {
    let mut call = pin!(call);
    match std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        Poll::Ready(value) => (true, value),
        Poll::Pending => (false, call.await),
    }
}
