//! Storing: leases before the load, fills after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::CachedFunction;
use super::lower::{RecordsWork, TierBinding};
use super::visit::{LeaseTurn, TierVisit, TierVisits};
use crate::codec::{ErasedType, check_round_trip};
use crate::entry::Held;
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::record::{HEADER, Header, RecordKind};
use crate::tier::watch::Operation;
use crate::tier::{
    FillResult, HeldLease, Lease, LeaseMode, LeaseResult, RecordKey, Refusal, Stamp, Target, Wakeup,
};

/// How long it stays said that nothing is there.
const LIFE_OF_NOTHING: Duration = Duration::from_secs(1);

impl CachedFunction {
    /// Takes a lease in each lower tier, before the load begins. Where there is none, nothing will be filled.
    pub(crate) async fn lease(
        &self,
        lookup: &mut TierVisits<'_>,
        claim: LeaseMode,
        value_type: &dyn ErasedType,
    ) -> LeaseTurn {
        // A refresh replaces what the tiers have, even if the new value cannot be stored.
        lookup.replaces = claim == LeaseMode::Preempt;
        // For a value that cannot be stored no lease is taken, and no other load is awaited. The tiers
        // are still asked whether the key is guarded, because a guard holds for memory too.
        let writes = value_type.has_records() && (lookup.replaces || self.can_be_written());
        let claim = if writes { claim } else { LeaseMode::Probe };
        let TierVisits {
            record_key,
            visits,
            exclusive,
            is_guarded,
            guard_is_unknown,
            ..
        } = &mut *lookup;
        for (at, visit) in visits.iter_mut().enumerate() {
            let lower = visit.tier;
            // What another fills there could not be read either: there is nothing to wait for.
            let claim = match claim {
                LeaseMode::Exclusive if visit.is_unread => LeaseMode::Shared,
                claim => claim,
            };
            let unusable = &visit.unusable;
            match visit
                .budget
                .spend(|within| lower.tier.lease(record_key, claim, unusable, within))
                .await
            {
                // The store says now that the record was valid: what was known of its stamp was too old.
                Ok(LeaseResult::Granted(lease)) if visit.stale_stamp == Some(lease.stamp) => {
                    return LeaseTurn::Wait(Wakeup::new(std::future::ready(())), at);
                }
                Ok(LeaseResult::Granted(lease)) => {
                    lower.succeeded(Operation::Lease);
                    if matches!(claim, LeaseMode::Exclusive | LeaseMode::Preempt)
                        && !lower.is_private()
                    {
                        let key = Arc::clone(record_key);
                        exclusive.push(HeldLease::new(lower.level, key, lease.token));
                    }
                    visit.lease = Some(lease);
                }
                Ok(LeaseResult::Held(wakeup)) => {
                    lower.succeeded(Operation::Lease);
                    lower.counters.lease_waits.add_one();
                    return LeaseTurn::Wait(wakeup, at);
                }
                Ok(LeaseResult::Refused(refusal)) => {
                    lower.counters.refused_fills.add_one(refusal);
                    *is_guarded |= refusal == Refusal::Guard;
                    // Nobody was asked whether it is guarded.
                    *guard_is_unknown |= refusal == Refusal::Queued;
                }
                Err(error) => {
                    lower.call_failed(Operation::Lease, &self.name, &error);
                    *guard_is_unknown |= lower.tier.as_shared().is_some();
                }
            }
        }
        if lookup.is_guarded || !writes {
            for visit in &mut lookup.visits {
                visit.lease = None;
            }
            lookup.exclusive.clear();
        }
        LeaseTurn::Load
    }

    /// Stores a value in every lower tier that gave a lease. A lease that is void by now is refused there.
    pub(crate) async fn fill(
        &self,
        key: &Key,
        held: &Held,
        start: u64,
        load: Duration,
        lookup: &mut TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) {
        if !value_type.has_records() {
            return;
        }
        if !lookup.holds_a_lease() && !lookup.replaces {
            return;
        }
        let payload = self.payload(held, value_type);
        let TierVisits {
            record_key,
            visits,
            guard_is_unknown,
            replaces,
            ttl,
            ..
        } = &mut *lookup;
        for visit in visits {
            let lower = visit.tier;
            // A change of the key may be under way: as in memory, what was loaded is no more than a stopgap.
            let is_stopgap = *guard_is_unknown && self.is_fenced_here(lower);
            let Some(lease) = visit.lease.take().filter(|_| !is_stopgap) else {
                if *replaces {
                    // What is there is to be replaced, and cannot be now.
                    lower.tier.invalidate_later(Target::Key(record_key));
                }
                continue;
            };
            let payload = payload.as_deref();
            let (kind, payload, life) = match payload.filter(|payload| self.fits(lower, payload)) {
                Some(payload) => {
                    let life = lower.life(record_key.digest, *ttl);
                    (RecordKind::Value, payload, life)
                }
                // Not by an invalidation, which would drop what memory has now too.
                None if *replaces => (RecordKind::Nothing, &[][..], LIFE_OF_NOTHING),
                None => continue,
            };
            let stamp = self.stamp_in(lower, lease.stamp, start);
            let header = Header {
                codec: self.encoding.id(),
                created: lower.tier.now(),
                life: u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1),
                load: u32::try_from(load.as_millis()).unwrap_or(u32::MAX),
                version: self.function.version,
                epoch: stamp.epoch,
                history: stamp.history,
                shape: self.shape(value_type).fingerprint,
                digest: key.digest(self.name_hash),
                kind,
            };
            let record = header.etag(payload);
            let stored = self.store(visit, record_key, &lease, record, life).await;
            if stored.is_err() && *replaces {
                // What is there now nobody knows.
                lower.tier.invalidate_later(Target::Key(record_key));
            }
        }
    }

    /// Drops what the tiers have of a key that the function does not use now, before a value is loaded that is to replace it.
    pub(crate) async fn drop_disabled(&self, key: &Key) {
        if self.disabled.is_empty() {
            return;
        }
        let record_key = self.record_key(key);
        for lower in self.disabled.iter().rev() {
            if let Err(error) = lower
                .invalidated(self.tokio_context_of(lower), Target::Key(&record_key))
                .await
            {
                lower.failed("invalidate", &self.name, &error);
            }
        }
    }

    /// What a record is to carry, which is filled under a lease with this stamp, for a load that began at `start`.
    pub(super) fn stamp_in(&self, lower: &TierBinding, leased: Stamp, start: u64) -> Stamp {
        if self.is_fenced_here(lower) {
            self.own_stamp(start)
        } else {
            leased
        }
    }

    /// Sends a record; `true` when it is stored.
    ///
    /// # Errors
    /// Where that is not known, counted already.
    pub(super) async fn store(
        &self,
        visit: &mut TierVisit<'_>,
        record_key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<bool, Error> {
        let lower = visit.tier;
        match visit
            .budget
            .spend(|within| lower.tier.fill(record_key, lease, record, life, within))
            .await
        {
            Ok(FillResult::Stored) => {
                lower.succeeded(Operation::Fill);
                Ok(true)
            }
            Ok(FillResult::Refused(refusal)) => {
                lower.refused(refusal);
                Ok(false)
            }
            Err(error) => {
                lower.call_failed(Operation::Fill, &self.name, &error);
                Err(error)
            }
        }
    }

    /// Whether a tier takes a record with this payload; counted where it does not.
    pub(super) fn fits(&self, lower: &TierBinding, payload: &[u8]) -> bool {
        let bytes = HEADER + payload.len();
        let fits = bytes <= lower.tier.settings().max_record_bytes;
        if !fits {
            lower.counters.too_large.add_one();
            tracing::debug!(
                function = %self.name,
                tier = %lower.level,
                bytes,
                "a value is too large for the tier and was not sent"
            );
        }
        fits
    }

    /// Whether values of the function are not known to be lost when they are written and read.
    fn can_be_written(&self) -> bool {
        self.records.state.load(Ordering::Relaxed) != RecordsWork::NO
    }

    /// The payload of a record; `None` when the type does not survive the codec. The first is read back.
    fn payload(&self, held: &Held, value_type: &dyn ErasedType) -> Option<Vec<u8>> {
        if !self.can_be_written() {
            return None;
        }
        let mut payload = Vec::new();
        if let Err(source) = value_type.encode(&self.encoding, held, &mut payload) {
            // Of this value, and not always of its type: the next may be written.
            self.report(&Error::with_source(
                ErrorKind::Codec,
                format!("a value cannot be written with {}", self.encoding),
                source,
            ));
            return None;
        }
        let checked = if self.encoding.needs_every_field() && value_type.skips_a_field(held) {
            Err(Error::new(
                ErrorKind::Codec,
                format!(
                    "a value skips a field, and {} needs every field",
                    self.encoding
                ),
            ))
        } else if self.records.state.load(Ordering::Relaxed) == RecordsWork::UNKNOWN {
            check_round_trip(value_type, &self.encoding, &payload).map(|()| {
                self.records
                    .state
                    .store(RecordsWork::YES, Ordering::Relaxed)
            })
        } else {
            Ok(())
        };
        match checked {
            Ok(()) => Some(payload),
            Err(error) => {
                self.records_do_not_work(&error);
                None
            }
        }
    }

    fn records_do_not_work(&self, error: &Error) {
        self.records.state.store(RecordsWork::NO, Ordering::Relaxed);
        self.report(error);
    }

    /// Says once that values of this function do not survive their codec.
    fn report(&self, error: &Error) {
        if !self.records.reported.swap(true, Ordering::Relaxed) {
            tracing::error!(
                function = %self.name,
                codec = %self.encoding,
                error = ?error,
                "a value does not survive its codec and stays out of the shared tiers; use `codec = \"json\"` or \
                 `codec = \"msgpack\"`, or change the serde attributes of its type"
            );
        }
    }
}
