//! Checks of leases and guards: which caller may fill a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{SOON, Store, key};
use crate::tier::{FillResult, LeaseMode, LeaseResult, ReadOptions, Refusal, Target};

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
    for mode in [LeaseMode::Exclusive, LeaseMode::Shared] {
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
    store.fill(&key, b"somebody else's").await;
    // The caller read the key before it was filled.
    let LeaseResult::Held(wakeup) = store.lease(&key, LeaseMode::Exclusive).await else {
        panic!("the lease is granted although the key was filled");
    };
    assert!(timeout(SOON, wakeup).await.is_ok());
    // The caller read this record, and could not use it.
    let expected = b"somebody else's";
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
    for mode in [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt] {
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

/// In any order of operations: after an invalidation has returned, no value from before it is read.
pub(super) async fn no_fill_survives_an_invalidation(store: &Store) {
    const KEYS: u64 = 3;
    const ROUNDS: u64 = 150;
    #[derive(Default)]
    struct Truth {
        committed: AtomicU64,
        invalidated: AtomicU64,
    }
    let truths: Arc<Vec<Truth>> = Arc::new((0..KEYS).map(|_| Truth::default()).collect());
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (tier, truths) = (Arc::clone(&store.tier), Arc::clone(&truths));
        tasks.spawn(async move {
            let store = Store { tier };
            for round in 0..ROUNDS {
                let number = (round * 7 + task * 3) % KEYS;
                let (key, truth) = (key("f", number), &truths[number as usize]);
                let version_of =
                    |record: &[u8]| u64::from_le_bytes(record.try_into().expect("a version"));
                if task < 2 {
                    let version = truth.committed.fetch_add(1, Ordering::SeqCst) + 1;
                    if round % 10 == 0 {
                        store.invalidate(Target::Function(&key.function)).await;
                    } else {
                        store.invalidate(Target::Key(&key)).await;
                    }
                    truth.invalidated.fetch_max(version, Ordering::SeqCst);
                    sleep(Duration::from_micros(500)).await;
                    continue;
                }
                let least = truth.invalidated.load(Ordering::SeqCst);
                // Strong, because the channel may be behind the invalidation.
                let options = ReadOptions {
                    consistency: crate::Consistency::Strong,
                    ..ReadOptions::default()
                };
                let found = store
                    .tier
                    .read(&key, options, SOON)
                    .await
                    .expect("the result of a read");
                if let (Some(record), Some(now)) = (found.record, found.stamp) {
                    let (stamp, version) = record.split_at(16);
                    let is_valid = stamp[..8] == now.epoch.to_le_bytes()
                        && stamp[8..] == now.history.to_le_bytes();
                    assert!(
                        !is_valid || version_of(version) >= least,
                        "version {} was read after version {least} was invalidated",
                        version_of(version)
                    );
                }
                let mode = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt]
                    [(round % 3) as usize];
                let LeaseResult::Granted(lease) = store.lease(&key, mode).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let loaded = truth.committed.load(Ordering::SeqCst);
                if round % 4 == 0 {
                    sleep(Duration::from_micros(300)).await;
                }
                let mut record = lease.stamp.epoch.to_le_bytes().to_vec();
                record.extend(lease.stamp.history.to_le_bytes());
                record.extend(loaded.to_le_bytes());
                store.fill_under(&key, &lease, &record).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no violation");
    }
}
