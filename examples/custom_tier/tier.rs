//! The tier's contract: each operation is one step under the map's lock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use multi_tier_cached::tier::{
    FillResult, Guard, HEADER_LEN, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult, Receipt,
    RecordKey, Refusal, Target, Tier, TierFuture, TierSettings, Wakeup,
};

use super::map::Store;

const SETTINGS: TierSettings =
    TierSettings::new("map", Duration::from_millis(50)).max_record_bytes(1 << 20);

impl Tier for Store {
    fn settings(&self) -> &TierSettings {
        &SETTINGS
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        _: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(async move {
            let contents = self.contents()?;
            Ok(ReadResult::new(
                contents.record(key).cloned(),
                Some(contents.stamp(key)),
            ))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        _: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(async move {
            let contents = self.contents()?;
            // Somebody has filled the key since it was read.
            let is_another =
                |record: &Vec<u8>| record[..record.len().min(HEADER_LEN)] != *expected_header;
            if mode == LeaseMode::Exclusive && contents.record(key).is_some_and(is_another) {
                return Ok(LeaseResult::Held(Wakeup::new(std::future::ready(()))));
            }
            Ok(self.leases.take(key, mode, contents.stamp(key)))
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        _: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(async move {
            // One step: the lease is looked at and the record written under one lock, as an invalidation voids and removes.
            let mut contents = self.contents()?;
            if !self.leases.holds(key, lease.token) || contents.stamp(key) != lease.stamp {
                return Ok(FillResult::Refused(Refusal::Lease));
            }
            contents.insert(key, record, life);
            self.leases.used(key, lease.token);
            Ok(FillResult::Stored)
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            let mut contents = self.contents()?;
            self.leases.void(target);
            contents.invalidate(target);
            Ok(Receipt::Acked)
        })
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, _: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let (contents, of_key) = (Arc::clone(&self.contents), key.clone());
            let owed = move || {
                let mut contents = contents.lock().unwrap_or_else(PoisonError::into_inner);
                contents.invalidate(Target::Key(&of_key));
            };
            let mut contents = self.contents()?;
            let guard = self.leases.guard(key, owed);
            contents.invalidate(Target::Key(key));
            Ok(guard)
        })
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.has_ended.store(true, Ordering::SeqCst);
            Ok(())
        })
    }
}
