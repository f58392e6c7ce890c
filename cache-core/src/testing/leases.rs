//! Checks of leases and guards: which caller may fill a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{SOON, Store, key};
use crate::tier::{
    FillResult, LeaseMode, LeaseResult, ReadOptions, RecordKey, Refusal, Stamp, Target,
};

pub(super) async fn lease_fills_once(store: &Store) {
    let key = key("f", 1);
    let lease = store.granted(&key, LeaseMode::Exclusive).await;
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
    assert!(
        matches!(
            store.fill_under(&key, &lease, b"two").await,
            FillResult::Refused(_)
        ),
        "the lease was used"
    );
    assert_eq!(
        store.valid(&key, lease.stamp).await.as_deref(),
        Some(&b"one"[..])
    );
}

pub(super) async fn exclusive_lease_makes_others_wait_until_it_is_dropped(store: &Store) {
    let key = key("f", 1);
    let lease = store.granted(&key, LeaseMode::Exclusive).await;
    assert!(matches!(
        store.lease(&key, LeaseMode::Exclusive).await,
        LeaseResult::Held(_)
    ));
    drop(lease);
    // The lease may be released a little later.
    let again = async {
        loop {
            match store.lease(&key, LeaseMode::Exclusive).await {
                LeaseResult::Granted(_) => return,
                LeaseResult::Held(wakeup) => {
                    wakeup.await;
                }
                LeaseResult::Refused(refusal) => panic!("refused: {refusal:?}"),
                LeaseResult::BackedOff(_) => panic!("only a refresh is backed off"),
            }
        }
    };
    assert!(
        timeout(SOON, again).await.is_ok(),
        "a dropped lease is not released"
    );
}

pub(super) async fn probe_takes_no_lease(store: &Store) {
    let key = key("f", 1);
    let look = store.granted(&key, LeaseMode::Probe).await;
    let lease = store.granted(&key, LeaseMode::Exclusive).await;
    let filled = store.fill_under(&key, &look, b"one").await;
    assert!(matches!(filled, FillResult::Refused(_)), "{filled:?}");
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
}

pub(super) async fn waiter_is_woken_by_a_fill_and_by_an_invalidation(store: &Store) {
    for (number, fills) in [(1, true), (2, false)] {
        let key = key("f", number);
        let lease = store.granted(&key, LeaseMode::Exclusive).await;
        let LeaseResult::Held(wakeup) = store.lease(&key, LeaseMode::Exclusive).await else {
            panic!("the lease is granted twice");
        };
        if fills {
            assert_eq!(
                store.fill_under(&key, &lease, b"one").await,
                FillResult::Stored
            );
        } else {
            store.invalidate(Target::Key(&key)).await;
        }
        assert!(
            timeout(SOON, wakeup).await.is_ok(),
            "the waiter is not woken"
        );
    }
}

pub(super) async fn shared_leases_are_granted_together_and_voided_together(store: &Store) {
    let key = key("f", 1);
    let first = store.granted(&key, LeaseMode::Shared).await;
    let second = store.granted(&key, LeaseMode::Shared).await;
    store.invalidate(Target::Key(&key)).await;
    for lease in [&first, &second] {
        assert!(
            matches!(
                store.fill_under(&key, lease, b"late").await,
                FillResult::Refused(_)
            ),
            "the lease is from before the invalidation"
        );
    }
    let lease = store.granted(&key, LeaseMode::Shared).await;
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
}

/// The holder of the exclusive lease may wait for the caller that asks for the shared one.
pub(super) async fn shared_lease_does_not_wait_for_an_exclusive_one(store: &Store) {
    let key = key("f", 1);
    let _exclusive = store.granted(&key, LeaseMode::Exclusive).await;
    store.granted(&key, LeaseMode::Shared).await;
}

pub(super) async fn preempting_lease_voids_the_lease_before_it(store: &Store) {
    let key = key("f", 1);
    for mode in [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Refresh] {
        let old = store.granted(&key, mode).await;
        let new = store.granted(&key, LeaseMode::Preempt).await;
        assert!(
            matches!(
                store.fill_under(&key, &old, b"old").await,
                FillResult::Refused(_)
            ),
            "{mode:?}: a refresh or a put has preempted the lease"
        );
        assert_eq!(
            store.fill_under(&key, &new, b"new").await,
            FillResult::Stored
        );
        store.invalidate(Target::Key(&key)).await;
    }
}

pub(super) async fn exclusive_lease_is_held_if_the_key_was_filled_since_the_read(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"another caller's").await;
    // The caller read the key before it was filled.
    let LeaseResult::Held(wakeup) = store.lease(&key, LeaseMode::Exclusive).await else {
        panic!("the lease is granted although the key was filled");
    };
    assert!(timeout(SOON, wakeup).await.is_ok());
    // The caller read this record, and could not use it.
    let expected = b"another caller's";
    let leased = store
        .tier
        .lease(&key, LeaseMode::Exclusive, expected, SOON)
        .await;
    assert!(matches!(leased, Ok(LeaseResult::Granted(_))), "{leased:?}");
}

pub(super) async fn guard_refuses_leases_and_fills_until_it_ends(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"old").await;
    let lease = store.granted(&key, LeaseMode::Preempt).await;
    let guard = store.tier.guard(&key, SOON).await.expect("a guard");
    assert!(guard.is_placed());
    assert_eq!(
        store.read(&key).await.expect("the result of a read").0,
        None
    );
    assert!(matches!(
        store.fill_under(&key, &lease, b"late").await,
        FillResult::Refused(_)
    ));
    for mode in [
        LeaseMode::Exclusive,
        LeaseMode::Shared,
        LeaseMode::Preempt,
        LeaseMode::Refresh,
    ] {
        let leased = store.lease(&key, mode).await;
        assert!(
            matches!(leased, LeaseResult::Refused(Refusal::Guard)),
            "{mode:?}: {leased:?}"
        );
    }
    store.invalidate(Target::Key(&key)).await;
    guard.end();
    let free = async {
        while !matches!(
            store.lease(&key, LeaseMode::Preempt).await,
            LeaseResult::Granted(_)
        ) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, free).await.is_ok(), "the guard does not end");
}

/// The versions of one key, in the order of time.
#[derive(Default)]
struct Versions {
    committed: AtomicU64,
    /// The last version whose invalidation has returned. No earlier one may be read.
    invalidated: AtomicU64,
}

/// In any order of operations: after an invalidation has returned, no value from before it is read.
pub(super) async fn no_fill_survives_an_invalidation(store: &Store) {
    let versions: Arc<Vec<Versions>> = Arc::new((0..3).map(|_| Versions::default()).collect());
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (tier, versions) = (Arc::clone(&store.tier), Arc::clone(&versions));
        tasks.spawn(async move {
            let store = Store { tier };
            for round in 0..150 {
                operate(&store, &versions, task, round).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no stale read");
    }
}

/// Runs one operation of a task: two tasks commit versions, and the others read and load.
async fn operate(store: &Store, versions: &[Versions], task: u64, round: u64) {
    let number = (round * 7 + task * 3) % versions.len() as u64;
    let (key, versions) = (key("f", number), &versions[number as usize]);
    match task {
        0 | 1 => commit(store, &key, versions, round).await,
        _ => {
            read(store, &key, versions).await;
            load(store, &key, versions, round).await;
        }
    }
}

/// Commits a version, and invalidates the key or its function.
async fn commit(store: &Store, key: &RecordKey, versions: &Versions, round: u64) {
    let version = versions.committed.fetch_add(1, Ordering::SeqCst) + 1;
    let target = match round % 10 {
        0 => Target::Function(&key.function),
        _ => Target::Key(key),
    };
    store.invalidate(target).await;
    versions.invalidated.fetch_max(version, Ordering::SeqCst);
    sleep(Duration::from_micros(500)).await;
}

/// Reads a key, and checks that a valid record is not stale.
async fn read(store: &Store, key: &RecordKey, versions: &Versions) {
    let least = versions.invalidated.load(Ordering::SeqCst);
    // Strong, because the channel may be behind the invalidation.
    let options = ReadOptions {
        consistency: crate::Consistency::Strong,
        ..ReadOptions::default()
    };
    let found = store.tier.read(key, options, SOON).await;
    let found = found.expect("the result of a read");
    if let (Some(record), Some(now)) = (found.record, found.stamp) {
        let (stamp, version) = record.split_at(16);
        let version = u64::from_le_bytes(version.try_into().expect("a version"));
        assert!(
            stamp != bytes_of(now) || version >= least,
            "version {version} was read after version {least} was invalidated"
        );
    }
}

/// Loads a key if a lease is granted: takes the committed version, and stores it a little later.
async fn load(store: &Store, key: &RecordKey, versions: &Versions, round: u64) {
    let modes = [
        LeaseMode::Exclusive,
        LeaseMode::Shared,
        LeaseMode::Preempt,
        LeaseMode::Refresh,
    ];
    let LeaseResult::Granted(lease) = store.lease(key, modes[(round % 4) as usize]).await else {
        tokio::task::yield_now().await;
        return;
    };
    let loaded = versions.committed.load(Ordering::SeqCst);
    if round.is_multiple_of(3) {
        sleep(Duration::from_micros(300)).await;
    }
    let mut record = bytes_of(lease.stamp).to_vec();
    record.extend(loaded.to_le_bytes());
    store.fill_under(key, &lease, &record).await;
}

fn bytes_of(stamp: Stamp) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&stamp.epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&stamp.history.to_le_bytes());
    bytes
}
