//! Values that are read or put by hand, without a body.

use std::sync::Arc;
use std::time::Duration;

use super::read::TierLookup;
use super::store::Kept;
use super::visit::TierVisits;
use super::{Boxed, Held};
use crate::cached_function::CachedFunction;
use crate::codec::ErasedType;
use crate::error::Error;
use crate::key::Key;
use crate::tier::{LeaseMode, Receipt};

/// Returns the value if a tier has it. Never loads, and keeps nothing in memory.
pub(crate) fn peek(
    function: Arc<CachedFunction>,
    key: Key,
    value_type: &dyn ErasedType,
) -> Boxed<'_, Option<Held>> {
    Box::pin(async move {
        if let Some(held) = function.peek(&key.as_ref())
            && value_type.is_of(&held)
        {
            return Some(held);
        }
        let key = Arc::new(key);
        let mut visits = TierVisits::new(&function, &key);
        match visits.read(value_type).await {
            TierLookup::Hit(hit) => hit.value,
            // A call would get it as well, without waiting for a load.
            TierLookup::Stale(hit) => {
                let window = function.times.stale_while_revalidate;
                (hit.since < window.unwrap_or_default()).then_some(hit.value)
            }
            TierLookup::Miss => function.peek_stale(&key),
            TierLookup::Unavailable => function.peek_isolated(&key),
        }
    })
}

/// Replaces the value in every tier. Loads in progress do not overwrite it.
pub(crate) fn put(
    function: Arc<CachedFunction>,
    key: Key,
    held: Held,
    ttl: Option<Duration>,
    value_type: &dyn ErasedType,
) -> Boxed<'_, Result<Receipt, Error>> {
    Box::pin(async move {
        let function = &*function;
        function.check_kept()?;
        let (state, key) = (&function.state, Arc::new(key));
        // Loads in progress may have read what the value replaces. The value is valid from here on,
        // and an invalidation of its key from here on drops it.
        function.fence_off(&key);
        let now = state.clock.now();
        let leader = state.flights.lead(&key, &state.fences, now, true);
        let began = leader.start();
        let receipt = function.make_room(&key, &leader).await;
        let mut visits = TierVisits::new(function, &key).with_ttl(ttl);
        // In this mode no tier lets the call wait.
        let _ = visits.lease(LeaseMode::Preempt, value_type).await;
        // An invalidation by another instance, which is not seen here, voids the leases. If another
        // put, a refresh or a load has replaced this flight, the table no longer records
        // invalidations for it. Their value is newer than this one, so this one is given up.
        if function.is_invalidated(&key, &leader, began) || !leader.is_current() {
            return receipt;
        }
        let kept = Kept {
            held: Some(held),
            took: Duration::ZERO,
        };
        visits.publish(kept, leader, value_type).await;
        receipt
    })
}
