//! The fence of a whole function.

use std::sync::{Arc, Weak};

use crate::sync::{AtomicU64, Ordering};
use crate::tier::shard::{Shard, ShardCount};

/// The fence of a whole function: one number for each shard of its keys, so that the loss of one
/// shard of a store voids no value of the others. Clones are one fence.
#[derive(Clone, Debug)]
pub(crate) struct FunctionFence {
    shards: Arc<[AtomicU64]>,
    count: ShardCount,
}

/// A fence that does not keep its function alive.
#[derive(Debug)]
pub(super) struct WeakFence {
    shards: Weak<[AtomicU64]>,
    count: ShardCount,
}

impl FunctionFence {
    /// Makes the fence of a function whose keys are in one shard. Values that were loaded before
    /// this number are not valid.
    #[cfg(any(test, schedules))]
    pub(crate) fn at(number: u64) -> Self {
        Self::sharded(number, ShardCount::ONE)
    }

    /// Makes the fence of a function whose keys are in `count` shards.
    pub(crate) fn sharded(number: u64, count: ShardCount) -> Self {
        let shards = (0..count.get()).map(|_| AtomicU64::new(number)).collect();
        Self { shards, count }
    }

    /// Returns `true` if a value is valid whose load began at `start`, for a key whose stripe has
    /// this number.
    #[inline]
    pub(super) fn admits(&self, start: u64, stripe: u16) -> bool {
        let shard = self.count.index_of(stripe.into());
        start >= self.shards[shard].load(Ordering::Acquire)
    }

    /// Raises the fence for all keys of the function.
    pub(super) fn raise(&self, number: u64) {
        raise(&self.shards, number);
    }

    pub(super) fn downgrade(&self) -> WeakFence {
        WeakFence {
            shards: Arc::downgrade(&self.shards),
            count: self.count,
        }
    }
}

impl WeakFence {
    pub(super) fn is_alive(&self) -> bool {
        self.shards.strong_count() > 0
    }

    /// Raises the fence for the keys of the function that are in `shard` of a store. `next` makes
    /// the number.
    pub(super) fn raise_in(&self, shard: Shard, next: impl FnOnce() -> u64) {
        if let Some(shards) = self.shards.upgrade() {
            raise(&shards[shard.overlap(self.count)], next());
        }
    }
}

/// Raises fences. Max instead of store: if two threads raise one at the same time, the later number
/// must stay.
fn raise(shards: &[AtomicU64], number: u64) {
    for shard in shards {
        shard.fetch_max(number, Ordering::AcqRel);
    }
}
