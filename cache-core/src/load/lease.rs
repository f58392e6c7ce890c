//! Step 4: the leases, which are taken before the body runs.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use super::visit::TierVisits;
use crate::codec::ErasedType;
use crate::tier::{HeldLease, LeaseMode, LeaseResult, Refusal, Wakeup};

/// Which caller runs the load.
#[derive(Debug)]
pub(crate) enum LeaseTurn {
    /// This caller.
    Load,
    /// Another caller, which holds the lease of the tier at that place. The key is read again when
    /// the wakeup resolves.
    Wait(Wakeup, usize),
    /// None before this time has passed: a load of the key failed.
    BackedOff(Duration),
}

impl TierVisits<'_> {
    /// Takes a lease in each lower tier, before the load begins. A tier that grants none is not
    /// filled.
    pub(super) async fn lease(
        &mut self,
        mode: LeaseMode,
        value_type: &dyn ErasedType,
    ) -> LeaseTurn {
        // A refresh replaces what the tiers have, even if the new value cannot be stored.
        self.replaces = mode == LeaseMode::Preempt;
        if self.visits.is_empty() {
            return LeaseTurn::Load;
        }
        // Boxed, because a call without lower tiers is to have a small future.
        Box::pin(self.lease_in_tiers(mode, value_type)).await
    }

    async fn lease_in_tiers(&mut self, mode: LeaseMode, value_type: &dyn ErasedType) -> LeaseTurn {
        // For a value that cannot be stored no lease is taken, and no other load is awaited. The
        // tiers are still asked whether the key is guarded, because a guard holds for memory too.
        let records = &self.function.records;
        let writes = value_type.has_records() && (self.replaces || records.can_be_written());
        let mode = if writes { mode } else { LeaseMode::Probe };
        for at in 0..self.visits.len() {
            if let Some(turn) = self.lease_in(at, mode).await {
                return turn;
            }
        }
        if self.is_guarded || !writes {
            for visit in &mut self.visits {
                visit.lease = None;
            }
            self.exclusive.clear();
        }
        LeaseTurn::Load
    }

    /// Takes the lease of the tier at place `at`. Returns the reason if the load is not to begin
    /// now.
    async fn lease_in(&mut self, at: usize, mode: LeaseMode) -> Option<LeaseTurn> {
        let visit = &mut self.visits[at];
        let tier = visit.tier;
        // A tier that could not be read cannot be read after a wait for another load either.
        let mode = match mode {
            LeaseMode::Exclusive | LeaseMode::Refresh if visit.read_failed => LeaseMode::Shared,
            mode => mode,
        };
        match visit.lease(&self.record_key, mode).await {
            // The store says that the stamp of the record that was read is valid: what was known
            // about the stamp was too old.
            Ok(LeaseResult::Granted(lease)) if visit.stale_stamp == Some(lease.stamp) => {
                return Some(LeaseTurn::Wait(Wakeup::new(ready(())), at));
            }
            Ok(LeaseResult::Granted(lease)) => {
                let is_shared = matches!(mode, LeaseMode::Shared | LeaseMode::Probe);
                if !is_shared && !tier.is_private() {
                    let key = Arc::clone(&self.record_key);
                    let lease = HeldLease::new(tier.level, key, lease.token);
                    self.exclusive.push(lease);
                }
                visit.lease = Some(lease);
            }
            Ok(LeaseResult::Held(wakeup)) => {
                tier.counters.lease_waits.add_one();
                return Some(LeaseTurn::Wait(wakeup, at));
            }
            Ok(LeaseResult::BackedOff(left)) => return Some(LeaseTurn::BackedOff(left)),
            Ok(LeaseResult::Refused(refusal)) => {
                self.is_guarded |= refusal == Refusal::Guard;
                // The store was not asked, so it is not known whether the key is guarded.
                self.guard_is_unknown |= refusal == Refusal::Queued;
            }
            Err(_) => self.guard_is_unknown |= !tier.is_private(),
        }
        None
    }
}
