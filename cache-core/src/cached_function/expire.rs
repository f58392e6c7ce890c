//! Expiry: values become stale instead of being invalidated, so that calls return them until a load
//! has replaced them.

use super::CachedFunction;
use super::invalidate::Effect;
use crate::error::Error;
use crate::events::EventScope;
use crate::fence::FencedAfter;
use crate::key::Key;
use crate::tier::{Receipt, Target};
use crate::trace;

impl CachedFunction {
    /// Makes the value of a key stale in every tier, the lowest first. A function without a stale
    /// window invalidates it, because no call would return it.
    ///
    /// The fence of expiries is raised before, so that no load in progress is joined or counts as
    /// fresh, and after, so that a value that was read from a lower tier in between does not count
    /// as fresh either. The second fence is also raised if the future is dropped. By then the tiers
    /// that are not reached yet invalidate the key, or have that as pending.
    pub(crate) async fn expire(&self, key: &Key) -> Result<Receipt, Error> {
        if !self.has_window() {
            return self.invalidate(key).await;
        }
        let span = self.change_of_key("expire", key);
        trace::change(span, self.expire_key(key)).await
    }

    async fn expire_key(&self, key: &Key) -> Result<Receipt, Error> {
        let raise = || self.state.fences.expire(self.digest(key));
        self.counters.expiries.key.add_one();
        self.note_expired(EventScope::Key, Some(self.digest(key)));
        raise();
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let _after = FencedAfter(raise);
        let record_key = self.record_key(key);
        self.change_lower(Target::Key(&record_key), Effect::Expire)
            .await
    }

    /// Makes every value of the function stale in every tier, as [`expire`](Self::expire) does for
    /// one key. The cost does not depend on the number of keys.
    pub(crate) async fn expire_all(&self) -> Result<Receipt, Error> {
        if !self.has_window() {
            return self.invalidate_all().await;
        }
        let raise = || self.state.fences.expire(self.function_digest());
        self.counters.expiries.function.add_one();
        self.note_expired(EventScope::Function, None);
        raise();
        let expired = async {
            let _after = FencedAfter(raise);
            self.change_lower(Target::Function(&self.key), Effect::Expire)
                .await
        };
        trace::change(self.change("expire", "function"), expired).await
    }
}
