//! The suite for a store that can be cut off.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{HOUR, SOON, Store, key};
use crate::tier::{Breaker, LeaseMode, LeaseResult, ReadOptions, Receipt, Target, TierBuilder};

/// How much longer than its time limit an operation may take.
const GRACE: Duration = Duration::from_millis(500);

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
    let tier = Arc::clone(&store.tier);
    let (dropped, kept) = (key("f", 1), key("g", 1));
    let old = store.fill(&dropped, b"old").await;
    store.fill(&kept, b"kept").await;
    let lease = store.granted(&key("f", 2), LeaseMode::Exclusive).await;
    cut().await;
    let within = Duration::from_millis(200);
    let began = Instant::now();
    // Long enough for the tier to notice, and a while longer.
    while began.elapsed() < Duration::from_secs(2) {
        for number in 0..4 {
            let asked = Instant::now();
            let (key, strong) = (key("f", number), ReadOptions::default());
            let ended = match number {
                0 => timeout(SOON, tier.read(&key, strong, within)).await.is_ok(),
                1 => timeout(SOON, tier.lease(&key, LeaseMode::Exclusive, &[], within))
                    .await
                    .is_ok(),
                2 => timeout(
                    SOON,
                    tier.fill(&key, &lease, b"late".to_vec(), HOUR, within),
                )
                .await
                .is_ok(),
                _ => timeout(SOON, tier.ping(within)).await.is_ok(),
            };
            let took = asked.elapsed();
            assert!(
                ended,
                "operation {number} does not end while the store is cut off"
            );
            assert!(
                took < within + GRACE,
                "operation {number} took {took:?}; its limit is {within:?}"
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
    let receipt = tier.invalidate(Target::Key(&dropped), within).await;
    assert!(
        !matches!(receipt, Ok(Receipt::Acked)),
        "an invalidation is acknowledged although it cannot have reached the store"
    );
    mend().await;
    let is_back = async {
        loop {
            if tier.breaker() == Breaker::Closed
                && matches!(store.read(&kept).await, Ok((_, Some(_))))
            {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        timeout(SOON * 3, is_back).await.is_ok(),
        "the tier does not serve again"
    );
    if receipt.is_ok() {
        // The invalidation was promised, so the record is a miss, whether the store has it or not.
        assert_eq!(
            store.valid(&dropped, old).await,
            None,
            "an invalidated record is valid again"
        );
        assert!(
            timeout(SOON, tier.settle()).await.is_ok(),
            "the invalidation is never done"
        );
        assert_eq!(
            store.valid(&dropped, old).await,
            None,
            "an invalidated record is valid again"
        );
    } else {
        store.invalidate(Target::Key(&dropped)).await;
    }
    let works = async {
        loop {
            if let Ok(LeaseResult::Granted(lease)) =
                tier.lease(&dropped, LeaseMode::Preempt, &[], SOON).await
            {
                store.fill_under(&dropped, &lease, b"new").await;
                return store.valid(&dropped, lease.stamp).await;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let read = timeout(SOON, works).await;
    assert_eq!(read.ok().flatten().as_deref(), Some(&b"new"[..]));
    store.close().await;
}
