//! The suite for a store that can be cut off.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{HOUR, SOON, Store, key};
use crate::tier::{
    Breaker, Lease, LeaseMode, LeaseResult, ReadOptions, Receipt, RecordKey, Target, TierBuilder,
};

/// How much longer than its time limit an operation may take.
const GRACE: Duration = Duration::from_millis(500);

/// The time limit of each operation.
const WITHIN: Duration = Duration::from_millis(200);

/// Checks that operations keep their time limit while the store is cut off, and that no stale
/// record is read when it is reachable again.
///
/// `cut` makes the store unreachable (it does not respond, refuses connections, or is stopped), and
/// `mend` makes it reachable again with the data that it had. A store that cannot be cut off needs
/// no such test. Takes some seconds.
///
/// # Panics
/// With what the tier did not do.
pub async fn faults(new: Box<dyn TierBuilder>, cut: impl AsyncFn(), mend: impl AsyncFn()) {
    let store = Store::open(new).await;
    let (dropped, kept) = (key("f", 1), key("g", 1));
    let old = store.fill(&dropped, b"old").await;
    store.fill(&kept, b"kept").await;
    let lease = store.granted(&key("f", 2), LeaseMode::Exclusive).await;
    cut().await;
    operations_keep_their_time_limit(&store, &lease).await;
    let receipt = store.tier.invalidate(Target::Key(&dropped), WITHIN).await;
    assert!(
        !matches!(receipt, Ok(Receipt::Acked)),
        "an invalidation is acknowledged although it cannot have reached the store"
    );
    mend().await;
    until_it_serves(&store, &kept).await;
    if receipt.is_ok() {
        // The invalidation was promised, so the record is a miss, whether the store has it or not.
        let stale = store.valid(&dropped, old).await;
        assert_eq!(stale, None, "an invalidated record is valid again");
        let settled = timeout(SOON, store.tier.settle()).await;
        assert!(settled.is_ok(), "the invalidation is never done");
        let stale = store.valid(&dropped, old).await;
        assert_eq!(stale, None, "an invalidated record is valid again");
    } else {
        store.invalidate(Target::Key(&dropped)).await;
    }
    let refilled = timeout(SOON, refill(&store, &dropped)).await;
    let record = refilled.expect("no lease is granted after the outage");
    assert_eq!(record.as_deref(), Some(&b"new"[..]));
    store.close().await;
}

/// Runs operations for two seconds: long enough for the tier to notice the outage, and a while
/// longer.
async fn operations_keep_their_time_limit(store: &Store, lease: &Lease) {
    let tier = &store.tier;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for number in 0..4 {
            let asked = Instant::now();
            let key = key("f", number);
            let operation = async {
                match number {
                    0 => drop(tier.read(&key, ReadOptions::default(), WITHIN).await),
                    1 => drop(tier.lease(&key, LeaseMode::Exclusive, &[], WITHIN).await),
                    2 => drop(tier.fill(&key, lease, b"late".to_vec(), HOUR, WITHIN).await),
                    _ => drop(tier.ping(WITHIN).await),
                }
            };
            assert!(
                timeout(SOON, operation).await.is_ok(),
                "operation {number} does not end while the store is cut off"
            );
            let took = asked.elapsed();
            assert!(
                took < WITHIN + GRACE,
                "operation {number} took {took:?}; its limit is {WITHIN:?}"
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_it_serves(store: &Store, kept: &RecordKey) {
    let serves = async {
        while store.tier.breaker() != Breaker::Closed
            || !matches!(store.read(kept).await, Ok((_, Some(_))))
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let serves = timeout(SOON * 3, serves).await;
    assert!(serves.is_ok(), "the tier does not serve again");
}

/// Fills a key as soon as a lease is granted, and returns its valid record.
async fn refill(store: &Store, key: &RecordKey) -> Option<Vec<u8>> {
    loop {
        let leased = store.tier.lease(key, LeaseMode::Preempt, &[], SOON).await;
        if let Ok(LeaseResult::Granted(lease)) = leased {
            store.fill_under(key, &lease, b"new").await;
            return store.valid(key, lease.stamp).await;
        }
        sleep(Duration::from_millis(10)).await;
    }
}
