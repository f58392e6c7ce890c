//! Steps 3 and 4 for a value that is replaced in the background, while its callers have it.

use std::sync::Arc;

use super::join::complete;
use super::lease::LeaseTurn;
use super::read::TierLookup;
use super::{Boxed, Load, Revalidated, Step};
use crate::cached_function::CachedFunction;
use crate::flight::{FlightView, Join, Leader};
use crate::key::Key;
use crate::tier::LeaseMode;
use crate::timer::deadline_after;

impl CachedFunction {
    /// Returns `true` if a load of the key runs that later callers may join.
    pub(crate) fn has_flight(&self, key: &Key) -> bool {
        self.flight(key).is_some()
    }

    /// Returns the flight of a key that a call would join now.
    pub(super) fn flight(&self, key: &Key) -> Option<FlightView> {
        let may_join = |start, began| self.may_join(key, start, began);
        self.state.flights.view(key, may_join)
    }

    /// Leads the flight of a key, if there is none.
    fn lead_if_idle(&self, key: &Arc<Key>) -> Option<Leader> {
        let state = &*self.state;
        let may_join = |start, began| self.may_join(key, start, began);
        let now = state.clock.now();
        match state.flights.join(key, &state.fences, now, may_join) {
            Join::Lead(leader) => Some(leader),
            // Dropped: a waiter that leaves.
            Join::Wait(_) => None,
        }
    }
}

impl Load<'_> {
    /// Makes this the load of a value that is replaced in the background.
    pub(crate) fn replacing(mut self, revalidated: Revalidated) -> Self {
        let Revalidated { stale, due_within } = revalidated;
        self.is_revalidation = true;
        self.stale = stale;
        self.due_within = due_within;
        self
    }

    /// Looks for a value that another instance has loaded, and takes the leases of the lower tiers.
    /// Returns [`Step::Run`] if the body is to run, and `None` if the load has ended.
    ///
    /// Unlike the leader of a [`join`](super::join), it does not look in memory, which has the
    /// value that is to be replaced, and it runs the body only if no other instance does.
    ///
    /// Callers may have joined the flight that have no value, because memory evicted the one that
    /// is replaced. If this load ends without a value, one of them takes the lead.
    ///
    /// The flight begins here, when the owner of background loads polls this load, and not when the
    /// load is queued: callers without a value must not wait for a load that has no place yet.
    pub(crate) fn revalidate(&mut self) -> Boxed<'_, Option<Step>> {
        Box::pin(async move {
            let key = self.key.clone()?;
            let leader = self.function.lead_if_idle(&key)?;
            if let Some(soft) = self.function.times.soft_timeout {
                leader.set_soft_deadline(deadline_after(soft));
            }
            self.revalidate_key(&key, leader).await
        })
    }

    async fn revalidate_key(&mut self, key: &Arc<Key>, leader: Leader) -> Option<Step> {
        let function = self.function;
        let mut has_waited = false;
        loop {
            if let Some(stale) = &self.stale {
                leader.offer_stale(stale.clone());
            }
            let mut visits = self.visits(key);
            visits.due_within = self.due_within;
            visits.is_revalidation = true;
            if let TierLookup::Hit(hit) = visits.read(self.value_type).await {
                if leader.is_current() {
                    function.keep_found(key, &hit, leader.start(), self.value_type);
                }
                leader.note_tags(&hit.tags);
                return Some(complete(leader, hit.outcome()));
            }
            // The load of the other instance failed. It has backed the key off.
            if has_waited {
                return None;
            }
            let mode = match self.wait.lease_mode(&mut visits) {
                LeaseMode::Exclusive => LeaseMode::Refresh,
                mode => mode,
            };
            match visits.lease(mode, self.value_type).await {
                LeaseTurn::Load => return Some(self.run(visits, leader)),
                LeaseTurn::BackedOff(left) => {
                    function.counters.backed_off.add_one();
                    function.note_back_off(key, left, None);
                    return None;
                }
                LeaseTurn::Wait(wakeup, at) => {
                    let flight = Some(leader.id());
                    self.wait.wait(visits, wakeup, at, flight).await;
                    // A value that is read from now on is as of now.
                    let state = &function.state;
                    leader.restart(&state.fences, state.clock.now());
                    has_waited = true;
                }
            }
        }
    }
}
