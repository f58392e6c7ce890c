//! Pending invalidations, and the callers that wait for them.

use std::task::{Context, Waker};

use tokio::time::timeout;

use super::*;
use crate::owner::HEARTBEAT;

/// The invalidation is dropped after one poll, after two polls, and so on.
#[tokio::test(start_paused = true)]
async fn dropped_invalidation_is_done_in_the_background() {
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
            assert!(
                began.elapsed() < HEARTBEAT,
                "the invalidation was not done at once"
            );
            assert!(!storage.has(&tier, &key).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settle_waits_until_a_failed_invalidation_is_done() {
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

/// The process is killed before the invalidation is done.
#[tokio::test(start_paused = true)]
async fn record_with_a_pending_invalidation_is_not_valid_after_a_kill() {
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

/// The instance shuts down in order and cannot delete the object, so it voids the whole function.
#[tokio::test(start_paused = true)]
async fn function_with_a_pending_invalidation_is_voided_at_the_shutdown() {
    for fault in [Fault::Fails, Fault::Hangs] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        let (invalidated, other) = (key("f", 1), key("g", 1));
        for key in [&invalidated, &other] {
            fill(&tier, key, b"old").await;
        }
        storage.breaks(Operation::Delete, "records", fault);
        assert_eq!(
            invalidate(&tier, Target::Key(&invalidated)).await,
            Receipt::Queued
        );
        tier.shutdown().await.unwrap();
        tier.settle().await.unwrap();
        let next = storage.owner().await;
        assert_eq!(storage.valid(&next, &invalidated).await, None);
        assert!(storage.valid(&next, &other).await.is_some());
    }
}

/// The stored records are not valid any more, and the error says so.
#[tokio::test(start_paused = true)]
async fn shutdown_fails_if_the_prefix_was_lost() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    storage.breaks(Operation::Read, "owner", Fault::Fails);
    until("the prefix is lost", || !tier.health().connected).await;
    tier.shutdown().await.unwrap_err();
    let never = storage.tier().await;
    never.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_fails_if_an_invalidation_is_pending_and_another_instance_has_the_prefix() {
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
    let settled = timeout(HOUR, settled).await.expect("settle ends");
    settled.unwrap().unwrap_err();
    let late = second.invalidate(Target::Key(&target), LIMIT).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// The write lands after the invalidation has begun, and before it ends.
#[tokio::test(start_paused = true)]
async fn removal_waits_for_a_write_of_its_key() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    let lease = lease(&tier, &key).await;
    storage.breaks(Operation::Write, "records", Fault::Slow);
    let written = tier.fill(&key, &lease, b"old".to_vec(), HOUR, HEARTBEAT);
    let removed = async {
        until("the write has begun", || {
            storage.faults.begun(Operation::Write, "records") == 1
        })
        .await;
        tier.invalidate(Target::Key(&key), HEARTBEAT).await.unwrap()
    };
    let (_, receipt) = tokio::join!(written, removed);
    assert_eq!(receipt, Receipt::Acked);
    assert!(!storage.has(&tier, &key).await);
}

/// The record is on its way when its key or its function is invalidated.
#[tokio::test(start_paused = true)]
async fn record_that_is_invalidated_during_its_read_is_not_valid() {
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
            until("the read has begun", || {
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
