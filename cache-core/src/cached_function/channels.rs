//! The channels through which other instances invalidate a function.

use std::sync::Arc;

use crate::coherence::Coherence;
use crate::fence::Stripe;
use crate::tier::shard::ShardCount;
use crate::tier::store::Store;

/// The state of the channels of a function's shared tiers, by the shards of its keys.
#[derive(Debug)]
pub(super) struct Channels {
    /// The channels of the first shard, then those of the second, and so on.
    all: Box<[Arc<Coherence>]>,
    /// How many a shard has: one for each shared tier.
    in_each: usize,
    count: ShardCount,
}

impl Channels {
    /// Finds the channels of the stores that are shared. `count` is the number of shards that the
    /// store with most of them has.
    pub(super) fn new<'a>(
        stores: impl Iterator<Item = &'a Store> + Clone,
        count: ShardCount,
    ) -> Self {
        let in_shard = |shard| {
            let digest = count.digest_in(shard);
            let stores = stores.clone();
            stores.filter_map(move |store| store.of(digest).coherence().cloned())
        };
        Self {
            all: (0..count.get()).flat_map(in_shard).collect(),
            in_each: in_shard(0).count(),
            count,
        }
    }

    /// Returns `true` if no tier is shared.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the channels through which the keys with this stripe are invalidated.
    #[inline]
    pub(super) fn of(&self, stripe: Stripe) -> &[Arc<Coherence>] {
        let from = self.count.index_of(stripe.number().into()) * self.in_each;
        &self.all[from..from + self.in_each]
    }
}
