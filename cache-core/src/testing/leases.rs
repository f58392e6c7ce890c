//! Leases and guards: who fills what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{SOON, Store, key};
use crate::tier::{FillResult, LeaseMode, LeaseResult, ReadOptions, Refusal, Target};

pub(super) async fn a_lease_fills_once(store: &Store) {
    let key = key("f", 1);
    let lease = store.given(&key, LeaseMode::Exclusive).await;
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
    assert!(
        matches!(
            store.fill_under(&key, &lease, b"two").await,
            FillResult::Refused(_)
        ),
        "it was used"
    );
    assert_eq!(
        store.valid(&key, lease.stamp).await.as_deref(),
        Some(&b"one"[..])
    );
}

pub(super) async fn one_loads_and_others_wait(store: &Store) {
    let key = key("f", 1);
    let lease = store.given(&key, LeaseMode::Exclusive).await;
    assert!(matches!(
        store.lease(&key, LeaseMode::Exclusive).await,
        LeaseResult::Held(_)
    ));
    drop(lease);
    // Given back, in its time.
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
        "a lease that was dropped keeps others waiting"
    );
}

pub(super) async fn a_look_takes_nothing(store: &Store) {
    let key = key("f", 1);
    let look = store.given(&key, LeaseMode::Probe).await;
    let lease = store.given(&key, LeaseMode::Exclusive).await;
    let filled = store.fill_under(&key, &look, b"one").await;
    assert!(matches!(filled, FillResult::Refused(_)), "{filled:?}");
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
}

pub(super) async fn who_waits_is_woken(store: &Store) {
    for (number, fills) in [(1, true), (2, false)] {
        let key = key("f", number);
        let lease = store.given(&key, LeaseMode::Exclusive).await;
        let LeaseResult::Held(wakeup) = store.lease(&key, LeaseMode::Exclusive).await else {
            panic!("another has it");
        };
        if fills {
            assert_eq!(
                store.fill_under(&key, &lease, b"one").await,
                FillResult::Stored
            );
        } else {
            store.invalidate(Target::Key(&key)).await;
        }
        assert!(timeout(SOON, wakeup).await.is_ok(), "nobody wakes it");
    }
}

pub(super) async fn shared_leases_fill_beside_each_other(store: &Store) {
    let key = key("f", 1);
    let first = store.given(&key, LeaseMode::Shared).await;
    let second = store.given(&key, LeaseMode::Shared).await;
    store.invalidate(Target::Key(&key)).await;
    for lease in [&first, &second] {
        assert!(
            matches!(
                store.fill_under(&key, lease, b"late").await,
                FillResult::Refused(_)
            ),
            "its load began before the invalidation"
        );
    }
    let lease = store.given(&key, LeaseMode::Shared).await;
    assert_eq!(
        store.fill_under(&key, &lease, b"one").await,
        FillResult::Stored
    );
}

/// Who asks for it may be what the holder of the exclusive one waits for.
pub(super) async fn a_shared_lease_waits_for_nobody(store: &Store) {
    let key = key("f", 1);
    let _alone = store.given(&key, LeaseMode::Exclusive).await;
    store.given(&key, LeaseMode::Shared).await;
}

pub(super) async fn who_takes_over_voids_the_lease_before(store: &Store) {
    let key = key("f", 1);
    for claim in [LeaseMode::Exclusive, LeaseMode::Shared] {
        let old = store.given(&key, claim).await;
        let new = store.given(&key, LeaseMode::Preempt).await;
        assert!(
            matches!(
                store.fill_under(&key, &old, b"old").await,
                FillResult::Refused(_)
            ),
            "{claim:?}: a refresh or a put took its place"
        );
        assert_eq!(
            store.fill_under(&key, &new, b"new").await,
            FillResult::Stored
        );
        store.invalidate(Target::Key(&key)).await;
    }
}

pub(super) async fn what_was_filled_meanwhile_is_looked_at(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"somebody else's").await;
    // It was not there when it was read.
    let LeaseResult::Held(wakeup) = store.lease(&key, LeaseMode::Exclusive).await else {
        panic!("there is a record by now");
    };
    assert!(timeout(SOON, wakeup).await.is_ok());
    // It was there, and could not be used.
    let seen = b"somebody else's";
    let leased = store
        .tier
        .lease(&key, LeaseMode::Exclusive, seen, SOON)
        .await;
    assert!(matches!(leased, Ok(LeaseResult::Granted(_))), "{leased:?}");
}

pub(super) async fn a_guard_keeps_everybody_from_filling(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"old").await;
    let lease = store.given(&key, LeaseMode::Preempt).await;
    let guard = store.tier.guard(&key, SOON).await.expect("a guard");
    assert!(guard.is_placed());
    assert_eq!(store.read(&key).await.expect("a read").0, None);
    assert!(matches!(
        store.fill_under(&key, &lease, b"late").await,
        FillResult::Refused(_)
    ));
    for claim in [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt] {
        let leased = store.lease(&key, claim).await;
        assert!(
            matches!(leased, LeaseResult::Refused(Refusal::Guard)),
            "{claim:?}: {leased:?}"
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
    assert!(timeout(SOON, free).await.is_ok(), "the guard has ended");
}

/// Whatever the order: once an invalidation has returned, nothing that was loaded before it is read.
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
                // As of now: what a channel tells may come later.
                let question = ReadOptions {
                    consistency: crate::Consistency::Strong,
                    ..ReadOptions::default()
                };
                let found = store.tier.read(&key, question, SOON).await.expect("a read");
                if let (Some(record), Some(now)) = (found.record, found.stamp) {
                    let (stamp, version) = record.split_at(16);
                    let is_valid = stamp[..8] == now.epoch.to_le_bytes()
                        && stamp[8..] == now.history.to_le_bytes();
                    assert!(
                        !is_valid || version_of(version) >= least,
                        "version {} was read, and {least} invalidated",
                        version_of(version)
                    );
                }
                let claim = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt]
                    [(round % 3) as usize];
                let LeaseResult::Granted(lease) = store.lease(&key, claim).await else {
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
