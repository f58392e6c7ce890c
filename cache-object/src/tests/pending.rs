//! Invalidations that wait, and who waits for them.

use std::task::{Context, Waker};

use tokio::time::timeout;

use super::*;
use crate::owner::HEARTBEAT;

/// Polled once, and dropped: at its first wait. Then at the second, and so on.
#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_dropped_is_done_all_the_same() {
    for polls in 1..6 {
        for is_slow in [true, false] {
            let storage = Storage::new();
            let tier = storage.owner().await;
            let key = key("f", 1);
            fill(&tier, &key, b"old").await;
            if is_slow {
                storage.breaks(Operation::Delete, "records", Fault::Slow);
            }
            let mut invalidation = tier.invalidate(Target::Key(&key), LIMIT);
            for _ in 0..polls {
                let mut cx = Context::from_waker(Waker::noop());
                if invalidation.as_mut().poll(&mut cx).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(invalidation);
            assert_eq!(read(&tier, &key).await.unwrap(), None);
            storage.faults.clear();
            let began = Instant::now();
            tier.settle().await.unwrap();
            assert!(began.elapsed() < HEARTBEAT, "nobody paid it");
            assert!(!storage.has(&tier, &key).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_until_it_has_settled_waits_until_it_is_done() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    fill(&tier, &key, b"old").await;
    storage.breaks(Operation::Delete, "records", Fault::Fails);
    assert_eq!(invalidate(&tier, Target::Key(&key)).await, Receipt::Queued);
    assert_eq!(tier.health().queued, 1);
    let settles = Arc::clone(&tier);
    let settled = tokio::spawn(async move { settles.settle().await });
    sleep(HEARTBEAT * 10).await;
    assert!(!settled.is_finished() && storage.has(&tier, &key).await);
    storage.faults.clear();
    settled.await.unwrap().unwrap();
    assert!(!storage.has(&tier, &key).await);
    assert_eq!(tier.health().queued, 0);
}

/// The process is killed before it is done.
#[tokio::test(start_paused = true)]
async fn what_was_owed_by_one_that_was_killed_does_not_come_back() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    fill(&tier, &key, b"old").await;
    storage.breaks(Operation::Delete, "records", Fault::Fails);
    assert_eq!(invalidate(&tier, Target::Key(&key)).await, Receipt::Queued);
    drop(tier);
    let next = storage.owner().await;
    assert!(storage.has(&next, &key).await);
    assert_eq!(storage.valid(&next, &key).await, None);
}

/// It ends in order, and cannot remove what it owes: the whole function is void then, and no other.
#[tokio::test(start_paused = true)]
async fn what_is_owed_at_the_end_is_void_with_its_function() {
    for fault in [Fault::Fails, Fault::Hangs] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        let (gone, other) = (key("f", 1), key("g", 1));
        for key in [&gone, &other] {
            fill(&tier, key, b"old").await;
        }
        storage.breaks(Operation::Delete, "records", fault);
        assert_eq!(invalidate(&tier, Target::Key(&gone)).await, Receipt::Queued);
        tier.shutdown().await.unwrap();
        tier.settle().await.unwrap();
        let next = storage.owner().await;
        assert_eq!(storage.valid(&next, &gone).await, None);
        assert!(storage.valid(&next, &other).await.is_some());
    }
}

/// What it has stored does not count any more, and who ends it hears so.
#[tokio::test(start_paused = true)]
async fn an_end_without_the_storage_is_an_error() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    storage.breaks(Operation::Read, "owner", Fault::Fails);
    until("it has lost the prefix", || !tier.health().connected).await;
    tier.shutdown().await.unwrap_err();
    let never = storage.tier().await;
    never.shutdown().await.unwrap();
}

/// It could not say so to anybody.
#[tokio::test(start_paused = true)]
async fn an_end_with_something_owed_in_anothers_prefix_is_an_error() {
    let storage = Storage::new();
    let _first = storage.owner().await;
    let second = storage.tier().await;
    let target = key("f", 1);
    invalidate(&second, Target::Key(&target)).await;
    let settles = Arc::clone(&second);
    let settled = tokio::spawn(async move { settles.settle().await });
    sleep(LIMIT).await;
    let error = second.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let settled = timeout(HOUR, settled).await.expect("it is told");
    settled.unwrap().unwrap_err();
    let late = second.invalidate(Target::Key(&target), LIMIT).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Its record lands after the invalidation has begun, and before it ends.
#[tokio::test(start_paused = true)]
async fn a_removal_waits_for_the_write_of_its_key() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    let lease = lease(&tier, &key).await;
    storage.breaks(Operation::Write, "records", Fault::Slow);
    let written = tier.fill(&key, &lease, b"old".to_vec(), HOUR, HEARTBEAT);
    let removed = async {
        until("it is being written", || {
            storage.faults.begun(Operation::Write, "records") == 1
        })
        .await;
        tier.invalidate(Target::Key(&key), HEARTBEAT).await.unwrap()
    };
    let (_, receipt) = tokio::join!(written, removed);
    assert_eq!(receipt, Receipt::Acked);
    assert!(!storage.has(&tier, &key).await);
}

/// A record on its way is not what it was when it was asked for.
#[tokio::test(start_paused = true)]
async fn what_is_invalidated_while_it_is_read_does_not_count() {
    for is_key in [true, false] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        let key = key("f", 1);
        fill(&tier, &key, b"old").await;
        let old = tier.prefix().store.epochs.stamp(&key.function);
        storage.breaks(Operation::Read, "records", Fault::Slow);
        storage.breaks(Operation::Delete, "records", Fault::Fails);
        let read = tier.read(&key, ReadOptions::default(), HEARTBEAT);
        let invalidated = async {
            until("it is being read", || {
                storage.faults.begun(Operation::Read, "records") == 1
            })
            .await;
            let target = match is_key {
                true => Target::Key(&key),
                false => Target::Function(&key.function),
            };
            invalidate(&tier, target).await
        };
        let (found, _) = tokio::join!(read, invalidated);
        let found = found.unwrap();
        assert_eq!(found.record.is_none(), is_key);
        assert_eq!(found.stamp == Some(old), is_key);
    }
}
