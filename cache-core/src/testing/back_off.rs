//! Checks of the leases of callers that have a value, and of the back-off after a load has failed.
//!
//! A tier need not keep the back-off. The checks ask whether it does, and require of one that does
//! not that it grants.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{SOON, Store, key};
use crate::tier::{
    BackOff, FillResult, Glob, Lease, LeaseMode, LeaseResult, RecordKey, Target, TierBuilder,
};

/// A back-off that does not end during a check.
const LONG: Duration = BackOff::LONGEST;

impl Store {
    /// Asks for a lease for a caller that has a value, and has read this record.
    async fn refresh(&self, key: &RecordKey, read: &[u8]) -> LeaseResult {
        let leased = self.tier.lease(key, LeaseMode::Refresh, read, SOON).await;
        leased.expect("the result of a lease")
    }
}

/// Releases a lease after its load failed, and counts the failure.
fn fail(lease: Lease, lasts: Duration) {
    let failures = lease.failures + 1;
    lease.load_failed(Some(BackOff { failures, lasts }));
}

/// Takes a lease of this mode, once nothing keeps it from being granted.
async fn take(store: &Store, key: &RecordKey, mode: LeaseMode, read: &[u8]) -> Lease {
    let mut last = None;
    let granted = async {
        loop {
            match store.tier.lease(key, mode, read, SOON).await {
                Ok(LeaseResult::Granted(lease)) => return lease,
                other => last = Some(other.expect("the result of a lease")),
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    match timeout(SOON, granted).await {
        Ok(lease) => lease,
        Err(_) => panic!("{mode:?} lease on {key:?} is not granted: {last:?}"),
    }
}

/// Lets a load of a caller that has read this record fail, and returns `true` if the key is backed
/// off then. No load may have failed before.
pub(super) async fn backs_off(store: &Store, key: &RecordKey, read: &[u8]) -> bool {
    let lease = take(store, key, LeaseMode::Refresh, read).await;
    assert_eq!(lease.failures, 0, "{key:?}: a load failed before");
    fail(lease, LONG);
    let answered = async {
        loop {
            match store.refresh(key, read).await {
                // The lease may be released a little later.
                LeaseResult::Held(_) => sleep(Duration::from_millis(2)).await,
                answer => return answer,
            }
        }
    };
    match timeout(SOON, answered).await {
        Ok(LeaseResult::BackedOff(left)) => {
            assert!(left > Duration::ZERO && left <= LONG, "{left:?}");
            true
        }
        Ok(LeaseResult::Granted(_)) => false,
        other => panic!("after a failed load: {other:?}"),
    }
}

/// Checks that the store keeps the [back-off](BackOff) of a key, which a tier need not do: the
/// other checks pass without it.
///
/// # Panics
/// With what the tier did not do.
pub async fn backing_off(builder: Box<dyn TierBuilder>) {
    let store = Store::open(builder).await;
    let (missing, stale) = (key("f", 1), key("f", 2));
    assert!(backs_off(&store, &missing, b"").await, "without a record");
    store.fill(&stale, b"stale").await;
    assert!(backs_off(&store, &stale, b"stale").await, "with a record");
    store.close().await;
}

pub(super) async fn refresh_lease_is_exclusive(store: &Store) {
    for (number, read) in [(1, &b""[..]), (2, b"stale")] {
        let key = key("f", number);
        if !read.is_empty() {
            store.fill(&key, read).await;
        }
        let waits = [LeaseMode::Exclusive, LeaseMode::Refresh];
        let LeaseResult::Granted(lease) = store.refresh(&key, read).await else {
            panic!("{read:?}: a refresh is not granted");
        };
        for mode in waits {
            let leased = store.tier.lease(&key, mode, read, SOON).await;
            let is_held = matches!(leased, Ok(LeaseResult::Held(_)));
            assert!(is_held, "{mode:?} beside a refresh: {leased:?}");
        }
        let filled = store.fill_under(&key, &lease, b"fresh").await;
        assert_eq!(filled, FillResult::Stored, "{read:?}");
        for mode in waits {
            let leased = store.tier.lease(&key, mode, read, SOON).await;
            let Ok(LeaseResult::Held(wakeup)) = leased else {
                panic!("{mode:?} after a fill: {leased:?}");
            };
            assert!(timeout(SOON, wakeup).await.is_ok(), "it reads at once");
        }
        let next = store.tier.lease(&key, LeaseMode::Exclusive, b"fresh", SOON);
        let _next = next.await.expect("the result of a lease");
        let leased = store.refresh(&key, b"fresh").await;
        let is_held = matches!(leased, LeaseResult::Held(_));
        assert!(is_held, "beside an exclusive lease: {leased:?}");
    }
}

pub(super) async fn refresh_lease_leaves_the_record_until_it_is_filled(store: &Store) {
    let key = key("f", 1);
    let stamp = store.fill(&key, b"stale").await;
    for fails in [false, true] {
        let lease = take(store, &key, LeaseMode::Refresh, b"stale").await;
        let during = store.valid(&key, stamp).await;
        assert_eq!(during.as_deref(), Some(&b"stale"[..]), "during the load");
        match fails {
            true => fail(lease, Duration::from_millis(1)),
            false => drop(lease),
        }
        let _next = take(store, &key, LeaseMode::Refresh, b"stale").await;
        let after = store.valid(&key, stamp).await;
        assert_eq!(after.as_deref(), Some(&b"stale"[..]), "fails: {fails}");
    }
    let lease = take(store, &key, LeaseMode::Refresh, b"stale").await;
    let filled = store.fill_under(&key, &lease, b"fresh").await;
    assert_eq!(filled, FillResult::Stored);
    let read = store.valid(&key, lease.stamp).await;
    assert_eq!(read.as_deref(), Some(&b"fresh"[..]));
}

pub(super) async fn failed_refresh_is_backed_off_and_other_modes_are_granted(store: &Store) {
    let modes = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt];
    for (number, mode) in (0..).zip(modes) {
        let key = key("f", number);
        let keeps = backs_off(store, &key, b"").await;
        store.granted(&key, LeaseMode::Probe).await;
        let lease = take(store, &key, mode, b"").await;
        assert_eq!(lease.failures, u32::from(keeps), "{mode:?}");
        let filled = store.fill_under(&key, &lease, b"fresh").await;
        assert_eq!(filled, FillResult::Stored, "{mode:?}");
    }
    let passes = key("f", 3);
    let keeps = backs_off(store, &key("f", 4), b"").await;
    let lease = take(store, &passes, LeaseMode::Refresh, b"").await;
    assert_eq!(lease.failures, 0, "the load of another key failed");
    fail(lease, Duration::from_millis(10));
    let lease = take(store, &passes, LeaseMode::Refresh, b"").await;
    assert_eq!(lease.failures, u32::from(keeps), "the back-off has passed");
}

pub(super) async fn failures_are_counted_until_a_fill(store: &Store) {
    for (number, read) in [(1, &b""[..]), (2, b"stale")] {
        let key = key("f", number);
        if !read.is_empty() {
            store.fill(&key, read).await;
        }
        let keeps = backs_off(store, &key, read).await;
        for failures in 1..4 {
            let lease = take(store, &key, LeaseMode::Exclusive, read).await;
            if keeps {
                assert_eq!(lease.failures, failures, "{read:?}");
            }
            fail(lease, LONG);
        }
        let lease = take(store, &key, LeaseMode::Exclusive, read).await;
        let filled = store.fill_under(&key, &lease, b"fresh").await;
        assert_eq!(filled, FillResult::Stored);
        let lease = take(store, &key, LeaseMode::Refresh, b"fresh").await;
        assert_eq!(lease.failures, 0, "{read:?}: the last load was successful");
    }
}

pub(super) async fn invalidation_and_guard_end_a_back_off(store: &Store) {
    for (number, read) in [(1, &b""[..]), (2, b"stale")] {
        let key = key("f", number);
        let fill = async || {
            if !read.is_empty() {
                store.fill(&key, read).await;
            }
        };
        let ended = async |by: &str| {
            // The store may still have a record that is void by its stamp.
            let (void, _) = store.read(&key).await.expect("the result of a read");
            let void = void.unwrap_or_default();
            let lease = take(store, &key, LeaseMode::Refresh, &void).await;
            assert_eq!(lease.failures, 0, "after {by}");
            // A load that fails after that is one of the old state.
            store.invalidate(Target::Key(&key)).await;
            fail(lease, LONG);
            let lease = take(store, &key, LeaseMode::Refresh, b"").await;
            assert_eq!(lease.failures, 0, "the lease was void");
        };
        for target in [
            Target::Key(&key),
            Target::Function(&key.function),
            Target::All,
        ] {
            fill().await;
            backs_off(store, &key, read).await;
            store.invalidate(target).await;
            ended(&format!("{target:?}")).await;
        }
        fill().await;
        backs_off(store, &key, read).await;
        let all = Glob::new("*").expect("a pattern");
        let matched = store.tier.invalidate_matching(&key.function, &all).await;
        matched.expect("the result of an invalidation");
        ended("an invalidation of all matching keys").await;

        fill().await;
        backs_off(store, &key, read).await;
        let guard = store.tier.guard(&key, SOON).await.expect("a guard");
        store.invalidate(Target::Key(&key)).await;
        guard.end();
        ended("a guard").await;
    }
}
