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
use crate::tag::Tag;
use crate::tier::{LeaseMode, Receipt};
use crate::trace;

/// Returns the value if a tier has it. Never loads. A fresh value of a lower tier is kept in
/// memory, so that no later call returns an older one.
///
/// # Cancel safety
/// Cancel safe. Nothing is kept if it is dropped.
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
        let start = function.state.fences.now();
        let mut visits = TierVisits::new(&function, &key);
        match visits.read(value_type).await {
            TierLookup::Hit(hit) => {
                // Each call of a strong function reads the tier itself. An absence is returned as
                // if nothing had been found.
                if !function.is_strong() && hit.value.is_some() {
                    function.keep_direct_read(&key, &hit, start, None, value_type);
                }
                hit.value
            }
            // A call would get it as well, without waiting for a load.
            TierLookup::Stale(hit) => {
                let window = function.times.stale_while_revalidate;
                let now = function.state.clock.now();
                let end = hit.freshness.end(now);
                let is_returned = match window {
                    Some(window) => now < end.after(window),
                    None => now < end && !hit.is_expired,
                };
                is_returned.then_some(hit.value)
            }
            TierLookup::Miss => function.peek_stale(&key),
            TierLookup::Unavailable => function.peek_isolated(&key),
        }
    })
}

/// A value that is put by hand.
pub(crate) struct Put {
    pub(crate) held: Held,
    /// The value's own ttl, if it has one.
    pub(crate) ttl: Option<Duration>,
    /// The tags that the value itself has.
    pub(crate) tags: Vec<Tag>,
}

/// Replaces the value in every tier. Loads in progress do not overwrite it.
pub(crate) fn put(
    function: Arc<CachedFunction>,
    key: Key,
    put: Put,
    value_type: &dyn ErasedType,
) -> Boxed<'_, Result<Receipt, Error>> {
    let span = function.change_of_key("put", &key);
    let put = async move {
        let Put { held, ttl, tags } = put;
        let function = &*function;
        function.check_kept()?;
        let mut all_tags = function.tags_of(&key);
        all_tags.add_all(tags);
        if all_tags.is_too_large() {
            function.report_tag_error(false);
            return function.invalidate(&key).await;
        }
        let (state, key) = (&function.state, Arc::new(key));
        // Loads in progress may have read what the value replaces. The value is valid from here on,
        // and an invalidation of its key from here on drops it.
        function.fence_off(&key);
        let now = state.clock.now();
        let leader = state.flights.lead(&key, &state.fences, now, true);
        let began = leader.start();
        let stripes = state.fences.tag_stripes(all_tags.digests());
        leader.note_tags(&stripes);
        let receipt = function.make_room(&key, &leader).await;
        let mut visits = TierVisits::new(function, &key).with_ttl(ttl);
        visits.tags = all_tags;
        // In this mode no tier lets the call wait.
        let _ = visits.lease(LeaseMode::Preempt, value_type).await;
        // An invalidation by another instance, which is not seen here, voids the leases. If another
        // put, a refresh or a load has replaced this flight, the table no longer records
        // invalidations for it. Their value is newer than this one, so this one is given up.
        // The value was known before an expiry that came in the meantime, so it would not be fresh.
        let is_invalidated = function.is_invalidated(&key, &leader, began)
            || !function.admits_tags(began, &stripes)
            || function.is_expired(began, function.stripe(&key), &stripes);
        if is_invalidated || !leader.is_current() {
            return receipt;
        }
        let kept = Kept {
            held: Some(held),
            took: Duration::ZERO,
        };
        Box::new(visits).publish(kept, leader, value_type).await;
        receipt
    };
    Box::pin(trace::change(span, put))
}
