//! Checks of the operations on several keys: each key has the result that it would have alone.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{HOUR, SOON, Store, key};
use crate::tier::{
    Fill, FillResult, Lease, LeaseMode, LeaseRequest, LeaseResult, ReadOptions, RecordKey, Stamp,
    Target,
};

/// More keys than a store handles in one step.
const KEYS: u64 = 300;

fn keys() -> Vec<Arc<RecordKey>> {
    (0..KEYS).map(|number| Arc::new(key("f", number))).collect()
}

/// Returns the record of each key that is valid.
async fn read(store: &Store, keys: &[Arc<RecordKey>]) -> Vec<Option<(Vec<u8>, Option<Stamp>)>> {
    let keys: Vec<_> = keys.iter().map(Arc::as_ref).collect();
    let read = store.tier.read_many(&keys, ReadOptions::default(), SOON);
    let read = read.await;
    assert_eq!(read.len(), keys.len(), "one result for each key");
    let records = read.into_iter().map(|result| {
        let found = result.expect("the result of a read");
        Some((found.record?, found.stamp))
    });
    records.collect()
}

async fn lease(
    store: &Store,
    keys: &[Arc<RecordKey>],
    mode: LeaseMode,
    expected_header: &[u8],
) -> Vec<LeaseResult> {
    let requests: Vec<_> = keys
        .iter()
        .map(|key| LeaseRequest {
            key,
            expected_header,
        })
        .collect();
    let leased = store.tier.lease_many(&requests, mode, SOON).await;
    assert_eq!(leased.len(), keys.len(), "one result for each key");
    let leased = leased.into_iter();
    leased
        .map(|result| result.expect("the result of a lease"))
        .collect()
}

async fn fill(
    store: &Store,
    filled: &[(&Arc<RecordKey>, &Lease)],
    record: &[u8],
) -> Vec<FillResult> {
    let fills = filled.iter().map(|(key, lease)| Fill {
        key,
        lease,
        record: [record, key.arguments.as_bytes()].concat(),
        life: HOUR,
    });
    let stored = store.tier.fill_many(fills.collect(), SOON).await;
    assert_eq!(stored.len(), filled.len(), "one result for each key");
    let stored = stored.into_iter();
    stored
        .map(|result| result.expect("the result of a fill"))
        .collect()
}

pub(super) async fn many_keys_have_the_results_that_each_has_alone(store: &Store) {
    let keys = keys();
    assert!(read(store, &keys).await.iter().all(Option::is_none));
    // Another caller holds one key, and another key is guarded.
    let held = store.granted(&keys[7], LeaseMode::Exclusive).await;
    let guard = store.tier.guard(&keys[9], SOON).await.expect("a guard");
    let leased = lease(store, &keys, LeaseMode::Exclusive, &[]).await;
    let mut granted: Vec<(&Arc<RecordKey>, Lease)> = Vec::new();
    for (key, leased) in keys.iter().zip(leased) {
        match leased {
            LeaseResult::Granted(lease) => granted.push((key, lease)),
            LeaseResult::Held(_) => assert!(Arc::ptr_eq(key, &keys[7]), "{key:?}"),
            LeaseResult::Refused(_) => assert!(Arc::ptr_eq(key, &keys[9]), "{key:?}"),
            LeaseResult::BackedOff(_) => panic!("only a refresh is backed off"),
        }
    }
    assert_eq!(granted.len() as u64, KEYS - 2);
    // The lease of the first key is voided.
    store.invalidate(Target::Key(&keys[0])).await;
    let fills: Vec<_> = granted.iter().map(|(key, lease)| (*key, lease)).collect();
    let stored = fill(store, &fills, b"record of ").await;
    assert!(
        matches!(stored[0], FillResult::Refused(_)),
        "the lease is void"
    );
    assert!(
        stored[1..]
            .iter()
            .all(|stored| *stored == FillResult::Stored)
    );
    for (number, found) in read(store, &keys).await.into_iter().enumerate() {
        match number {
            0 | 7 | 9 => assert_eq!(found, None, "{number}"),
            _ => {
                let (record, stamp) = found.expect("a record");
                assert_eq!(record, format!("record of {number}").into_bytes());
                let lease = granted
                    .iter()
                    .find(|(key, _)| Arc::ptr_eq(key, &keys[number]));
                assert_eq!(stamp, lease.map(|(_, lease)| lease.stamp));
            }
        }
    }
    // A caller that has read no record learns that there is one.
    let some = [Arc::clone(&keys[3]), Arc::clone(&keys[0])];
    let again = lease(store, &some, LeaseMode::Exclusive, &[]).await;
    assert!(matches!(again[0], LeaseResult::Held(_)), "{again:?}");
    assert!(matches!(again[1], LeaseResult::Granted(_)), "{again:?}");
    drop(held);
    guard.end();
}

pub(super) async fn dropped_operations_on_many_keys_leave_no_lease_behind(store: &Store) {
    let keys = keys();
    let requests: Vec<_> = keys
        .iter()
        .map(|key| LeaseRequest {
            key,
            expected_header: &[],
        })
        .collect();
    for polls in 1..4 {
        let leased = store.tier.lease_many(&requests, LeaseMode::Exclusive, SOON);
        let mut leased = pin!(leased);
        for _ in 0..polls {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(leases) = leased.as_mut().poll(&mut context) {
                drop(leases);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    for key in [&keys[0], &keys[keys.len() - 1]] {
        let ended = tokio::time::timeout(SOON, until_free(store, key)).await;
        assert!(ended.is_ok(), "a dropped lease is not released");
    }
}

async fn until_free(store: &Store, key: &RecordKey) {
    loop {
        match store.lease(key, LeaseMode::Exclusive).await {
            LeaseResult::Granted(_) => return,
            LeaseResult::Held(wakeup) => {
                wakeup.await;
            }
            LeaseResult::Refused(_) | LeaseResult::BackedOff(_) => {
                panic!("nothing else keeps the lease")
            }
        }
    }
}
