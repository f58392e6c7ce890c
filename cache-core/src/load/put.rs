//! Values that are looked at, or put by hand, without a body.

use std::sync::Arc;
use std::time::Duration;

use super::{Boxed, publish};
use crate::bound::{CachedFunction, TierLookup};
use crate::codec::ErasedType;
use crate::entry::Held;
use crate::error::Error;
use crate::key::Key;
use crate::tier::{LeaseMode, Receipt};

/// Returns the value if a tier has it. Never loads, and puts nothing into memory.
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
        let mut lower = function.lower_tiers(&key);
        match function.find(&key, &mut lower, value_type).await {
            TierLookup::Hit(hit) => Some(hit.value),
            TierLookup::Miss => None,
            TierLookup::Unavailable => function.peek_isolated(&key.as_ref()),
        }
    })
}

/// Replaces the value in every tier. Loads under way do not overwrite it.
pub(crate) fn put(
    function: Arc<CachedFunction>,
    key: Key,
    held: Held,
    ttl: Option<Duration>,
    value_type: &dyn ErasedType,
) -> Boxed<'_, Result<Receipt, Error>> {
    Box::pin(async move {
        let (function, key) = (&*function, &key);
        function.check_kept()?;
        let state = &function.state;
        // Loads under way may have seen what the value replaces. The value counts from here on, and
        // an invalidation of its key from here on drops it.
        function.fence_off(key);
        let leader = state
            .flights
            .lead(key, &state.fences, state.clock.now(), true);
        let began = leader.start();
        let dropped = function.make_room(key, &leader).await;
        let mut lower = function.lower_tiers(key).with_ttl(ttl);
        // A claim that takes over does not wait.
        let _ = function
            .lease(&mut lower, LeaseMode::Preempt, value_type)
            .await;
        // An invalidation elsewhere, which is not seen here, voids the leases. If another put, a
        // refresh or a load has replaced this flight, the table no longer records invalidations for
        // it; their value is newer than this one, so this one is given up.
        if function.is_invalidated(&leader, began) || !leader.is_current() {
            return dropped;
        }
        publish(
            function,
            key,
            held,
            Duration::ZERO,
            leader,
            lower,
            value_type,
        )
        .await;
        dropped
    })
}
