//! Explains what the tiers have under a key, and what a call of it does. It judges by the code of a
//! call, and changes nothing: no counter, no lease, no entry, and not the order of eviction.

mod memory;
mod next_call;
mod tier;

use std::sync::Arc;
use std::time::Duration;

use self::next_call::Reads;
use super::visit::TierVisits;
use crate::cached_function::CachedFunction;
use crate::codec::ErasedType;
use crate::error::Error;
use crate::events::{Concerns, Event};
use crate::explanation::{ExplainedFlight, ExplainedTier, Explanation, NextCall, Verdict};
use crate::key::Key;

/// The largest number of events in an explanation.
const EVENTS: usize = 8;

impl CachedFunction {
    /// Explains a key.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn explain(&self, key: &Arc<Key>, value_type: &dyn ErasedType) -> Explanation {
        let kept = self
            .state
            .memory()
            .and_then(|memory| memory.look(&(**key).as_ref()));
        let mut tiers: Vec<_> = self
            .explain_memory(key, kept.as_ref())
            .into_iter()
            .collect();
        let visits = TierVisits::new(self, key);
        let mut reads = Reads::default();
        for at in 0..self.lower.len() {
            let (explained, read) = visits.explain(at, value_type).await;
            tiers.push(explained);
            reads.add(read);
        }
        let disabled = self.disabled().iter().map(|tier| ExplainedTier {
            kind: tier.store.settings().kind.into(),
            ..ExplainedTier::new(tier.level, Verdict::Disabled)
        });
        tiers.extend(disabled);
        tiers.sort_by_key(|tier| tier.level);
        let flight = self.flight(key);
        // Last, so that it is of the state after the tiers were asked.
        let next_call = self.next_call(key, kept.as_ref(), &reads, value_type);
        Explanation {
            function: self.name().to_owned(),
            version: self.version(),
            key: self.record_key(key).arguments,
            problem: self.flaw().map(ToString::to_string),
            tiers,
            flight: flight.map(|flight| ExplainedFlight {
                has_waiters: flight.has_waiters(),
                has_body_ended: flight.has_body_ended(),
            }),
            is_guarded: self.is_guarded_here(key),
            next_call,
            events: self.events_of(self.digest(key)),
        }
    }

    /// Explains a call whose arguments make no key, for this reason.
    pub(crate) fn explain_without_key(&self, error: &Error) -> Explanation {
        Explanation {
            function: self.name().to_owned(),
            version: self.version(),
            key: String::new(),
            problem: Some(error.to_string()),
            tiers: Vec::new(),
            flight: None,
            is_guarded: false,
            next_call: NextCall::Loads {
                is_kept: false,
                has_stale: false,
            },
            events: Vec::new(),
        }
    }

    /// Returns the last events that concern the key with this digest, its function or its tiers.
    fn events_of(&self, key: u64) -> Vec<Event> {
        let function = self.function_digest();
        let levels = || self.lower.iter().map(|tier| tier.level);
        let is_meant = |concerns: &Concerns| {
            let of_tier = concerns
                .tier
                .is_none_or(|tier| levels().any(|level| level == tier));
            let of_function = concerns.function.is_none_or(|digest| digest == function);
            // An expiry by a message is of the digest of a key or of the function.
            let of_key = concerns
                .key
                .is_none_or(|digest| digest == key || digest == function);
            of_tier && of_function && of_key
        };
        let mut noted = self.state.events.after(0);
        noted.retain(|noted| is_meant(&noted.concerns));
        let last = noted.split_off(noted.len().saturating_sub(EVENTS));
        let name = |_| Some(self.name().to_owned());
        last.into_iter().map(|noted| noted.named(name)).collect()
    }

    /// Returns `true` if a call of a function without memory is certain to replace a record that is
    /// fresh for `left`. A call draws when the record is due; this is the latest draw.
    fn is_due(&self, left: Duration, life: Duration, load: Duration) -> bool {
        let gap = self
            .times
            .refresh_ahead
            .map(|ahead| ahead.least_gap(life, load));
        !self.has_memory() && self.has_late_calls() && gap.is_some_and(|gap| left <= gap)
    }

    /// Returns `true` if a call of the function can begin a load that continues in the background.
    fn has_late_calls(&self) -> bool {
        self.times.is_late() && !self.is_blocking
    }
}
