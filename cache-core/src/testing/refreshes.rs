//! Checks of loads whose callers have a value already: their leases, and the back-off after they
//! failed.

use std::time::Duration;

use super::{SOON, Store, key};
use crate::tier::{
    BackOff, FillResult, LeaseMode, LeaseResult, RecordKey, Refusal, Target, TierFuture,
};

/// A back-off that does not end during a check.
const BACK_OFF: Duration = Duration::from_secs(30);

/// Asks for a lease to replace the record `b"old"`.
fn refresh<'a>(store: &'a Store, key: &'a RecordKey) -> TierFuture<'a, LeaseResult> {
    store.tier.lease(key, LeaseMode::Refresh, b"old", SOON)
}

pub(super) async fn refresh_lease_makes_others_wait_and_keeps_the_record(store: &Store) {
    let key = key("f", 1);
    let stamp = store.fill(&key, b"old").await;
    let LeaseResult::Granted(lease) = refresh(store, &key).await.expect("an answer") else {
        panic!("the lease is not granted");
    };
    let read = store.valid(&key, stamp).await;
    assert_eq!(read.as_deref(), Some(&b"old"[..]), "callers still need it");
    let other = refresh(store, &key).await.expect("an answer");
    assert!(matches!(other, LeaseResult::Held(_)), "{other:?}");
    let filled = store.fill_under(&key, &lease, b"new").await;
    assert_eq!(filled, FillResult::Stored);
    let read = store.valid(&key, lease.stamp).await;
    assert_eq!(read.as_deref(), Some(&b"new"[..]));
    let late = refresh(store, &key).await.expect("an answer");
    assert!(
        matches!(late, LeaseResult::Held(_)),
        "the record was replaced"
    );
}

/// A tier that keeps no back-off grants each refresh.
pub(super) async fn back_off_of_a_failed_load_ends_with_an_invalidation(store: &Store) {
    let key = key("f", 1);
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        let lease = store.granted(&key, mode).await;
        assert_eq!(lease.failures, 0);
        lease.load_failed(Some(BackOff {
            failures: 1,
            lasts: BACK_OFF,
        }));
        // The lease may be released a little later.
        let backed_off = loop {
            match store.lease(&key, LeaseMode::Refresh).await {
                LeaseResult::Held(wakeup) => {
                    wakeup.await;
                }
                LeaseResult::BackedOff(left) => break Some(left),
                LeaseResult::Granted(_) => break None,
                LeaseResult::Refused(refusal) => panic!("refused: {refusal:?}"),
            }
        };
        if let Some(left) = backed_off {
            assert!(left <= BACK_OFF, "{left:?}");
        }
        store.invalidate(Target::Key(&key)).await;
        let lease = store.granted(&key, LeaseMode::Refresh).await;
        assert_eq!(lease.failures, 0, "the invalidation ends the back-off");
        drop(lease);
        // The same for the next mode.
        store.invalidate(Target::Key(&key)).await;
    }
}

/// The caller has no value, so it does not wait for the end of the back-off.
pub(super) async fn exclusive_lease_is_granted_during_a_back_off_and_fills(store: &Store) {
    let key = key("f", 1);
    let lease = store.granted(&key, LeaseMode::Exclusive).await;
    lease.load_failed(Some(BackOff {
        failures: 1,
        lasts: BACK_OFF,
    }));
    let lease = loop {
        match store.lease(&key, LeaseMode::Exclusive).await {
            LeaseResult::Granted(lease) => break lease,
            LeaseResult::Held(wakeup) => {
                wakeup.await;
            }
            LeaseResult::BackedOff(_) => panic!("only a refresh is backed off"),
            LeaseResult::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    };
    assert!(lease.failures <= 1, "{}", lease.failures);
    let filled = store.fill_under(&key, &lease, b"new").await;
    assert_eq!(filled, FillResult::Stored);
    // The load succeeded, so the next one may begin.
    let next = store.tier.lease(&key, LeaseMode::Refresh, b"new", SOON);
    match next.await.expect("an answer") {
        LeaseResult::Granted(lease) => assert_eq!(lease.failures, 0),
        LeaseResult::Refused(Refusal::Queued) | LeaseResult::Held(_) => {}
        other => panic!("the fill ends the back-off: {other:?}"),
    }
}
