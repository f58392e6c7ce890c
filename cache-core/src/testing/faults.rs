//! A store that is lost, and comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{HOUR, SOON, Store, key};
use crate::tier::{Breaker, LeaseMode, LeaseResult, ReadOptions, Receipt, Target, TierBuilder};

/// What an operation may take beyond the time it is given.
const GRACE: Duration = Duration::from_millis(500);

/// Checks that a store that is cut off keeps nobody waiting, and that nothing old is read when it is back.
///
/// `cut` makes it unreachable (it is silent, refuses, or is gone), `mend` brings it back with what it had. A store that cannot be
/// cut off needs no such test. Takes some seconds.
///
/// # Panics
/// With what the tier did not do.
pub async fn faults(new: Box<dyn TierBuilder>, cut: impl AsyncFn(), mend: impl AsyncFn()) {
    let store = Store::open(new).await;
    let tier = Arc::clone(&store.tier);
    let (dropped, kept) = (key("f", 1), key("g", 1));
    let old = store.fill(&dropped, b"old").await;
    store.fill(&kept, b"kept").await;
    let lease = store.given(&key("f", 2), LeaseMode::Exclusive).await;
    cut().await;
    let within = Duration::from_millis(200);
    let began = Instant::now();
    // Until it is known to be away, and a while longer.
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
            assert!(ended, "operation {number} hangs on a store that is away");
            assert!(
                took < within + GRACE,
                "operation {number} took {took:?}, and had {within:?}"
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
    let receipt = tier.invalidate(Target::Key(&dropped), within).await;
    assert!(
        !matches!(receipt, Ok(Receipt::Acked)),
        "an invalidation is acknowledged that cannot have reached the store"
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
    assert!(timeout(SOON * 3, is_back).await.is_ok(), "it stays away");
    if receipt.is_ok() {
        // It was promised, so it is not read from now on, told or not.
        assert_eq!(
            store.valid(&dropped, old).await,
            None,
            "what was invalidated is back"
        );
        assert!(
            timeout(SOON, tier.settle()).await.is_ok(),
            "it does not settle"
        );
        assert_eq!(
            store.valid(&dropped, old).await,
            None,
            "what was invalidated is back"
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
    store.close("faults").await;
}
