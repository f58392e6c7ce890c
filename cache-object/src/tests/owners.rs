//! The records of an instance that shut down in order are valid for the next one; those of any
//! other are not.

use std::error::Error as _;

use tokio::time::timeout;

use super::*;
use crate::owner::{HEARTBEAT, SILENCE, WRITE_LIMIT};

#[tokio::test(start_paused = true)]
async fn records_are_valid_after_a_shutdown_in_order_and_not_after_a_kill() {
    let storage = Storage::new();
    let known = key("f", 1);
    let tier = storage.owner().await;
    fill(&tier, &known, b"one").await;
    tier.shutdown().await.unwrap();
    let began = Instant::now();
    let second = storage.owner().await;
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "the prefix is not free at once"
    );
    assert_eq!(storage.valid(&second, &known).await.unwrap(), b"one");
    drop(second);
    let third = storage.owner().await;
    assert_eq!(
        storage.valid(&third, &known).await,
        None,
        "the owner was killed"
    );
}

/// The epochs are in memory only, and are still known after a restart.
#[tokio::test(start_paused = true)]
async fn invalidation_of_a_function_needs_no_request() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let (void, valid) = (key("void", 1), key("valid", 1));
    for key in [&void, &valid] {
        fill(&tier, key, b"old").await;
    }
    for operation in [Operation::Read, Operation::Write, Operation::Delete] {
        storage.breaks(operation, "", Fault::Hangs);
    }
    for _ in 0..8 {
        read(&tier, &valid).await.unwrap_err();
    }
    assert!(!tier.health().connected);
    let began = Instant::now();
    let receipt = invalidate(&tier, Target::Function(&void.function)).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_eq!(began.elapsed(), Duration::ZERO);
    storage.faults.clear();
    until("the storage responds again", || tier.health().connected).await;
    fill(&tier, &key("void", 2), b"new").await;
    tier.shutdown().await.unwrap();
    let next = storage.owner().await;
    assert_eq!(storage.valid(&next, &void).await, None);
    assert!(storage.valid(&next, &valid).await.is_some());
    assert!(storage.valid(&next, &key("void", 2)).await.is_some());
    assert_eq!(invalidate(&next, Target::All).await, Receipt::Acked);
    next.shutdown().await.unwrap();
    let last = storage.owner().await;
    for key in [&valid, &key("void", 2)] {
        assert_eq!(storage.valid(&last, key).await, None);
    }
}

/// The write of an owner lands after another instance has taken the prefix.
#[tokio::test(start_paused = true)]
async fn write_that_lands_after_its_owner_is_never_valid() {
    for is_killed in [true, false] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        let (late, other) = (key("f", 1), key("g", 1));
        fill(&tier, &other, b"other").await;
        storage.breaks(Operation::Write, "records", Fault::Late);
        try_fill(&tier, &late, b"late").await.unwrap_err();
        storage.faults.clear();
        if is_killed {
            drop(tier);
        } else {
            tier.shutdown().await.unwrap();
        }
        let next = storage.owner().await;
        invalidate(&next, Target::Key(&late)).await;
        assert_eq!(storage.faults.land(&storage.sound).await, 1);
        assert!(storage.has(&next, &late).await);
        assert_eq!(storage.valid(&next, &late).await, None);
        let other = storage.valid(&next, &other).await;
        assert_eq!(other.is_some(), !is_killed);
    }
}

/// The records of a function are void as soon as the result of a write is unknown.
#[tokio::test(start_paused = true)]
async fn write_with_an_unknown_result_voids_its_function() {
    for fault in [Fault::Late, Fault::Fails, Fault::Unanswered] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        let (late, before) = (key("f", 1), key("f", 2));
        fill(&tier, &before, b"before").await;
        storage.breaks(Operation::Write, "records", fault);
        try_fill(&tier, &late, b"late").await.unwrap_err();
        storage.faults.clear();
        sleep(WRITE_LIMIT).await;
        storage.faults.land(&storage.sound).await;
        assert_eq!(storage.valid(&tier, &late).await, None);
        assert_eq!(storage.valid(&tier, &before).await, None);
        fill(&tier, &late, b"new").await;
        assert_eq!(storage.valid(&tier, &late).await.unwrap(), b"new");
    }
}

/// The second write waits for the first one of its key, and the prefix is lost in between.
#[tokio::test(start_paused = true)]
async fn write_begins_only_while_the_prefix_is_held() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    let (first, second) = (lease(&tier, &key).await, LIMIT * 30);
    storage.breaks(Operation::Write, "records", Fault::Hangs);
    storage.breaks(Operation::Read, "owner", Fault::Hangs);
    let under = Lease::new(first.token, first.stamp);
    let fills = [&first, &under].map(|lease| tier.fill(&key, lease, vec![1], HOUR, second));
    let [one, other] = fills;
    let (one, other) = tokio::join!(one, other);
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = other.unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");
    assert_eq!(storage.faults.begun(Operation::Write, "records"), 1);
}

/// Its earlier epochs are not used again, because the other owner may have invalidated anything.
#[tokio::test(start_paused = true)]
async fn owner_that_lost_the_prefix_and_takes_it_back_begins_a_new_history() {
    let storage = Storage::new();
    let first = storage.owner().await;
    let known = key("f", 1);
    fill(&first, &known, b"old").await;
    storage.breaks(Operation::Read, "owner", Fault::Fails);
    sleep(SILENCE).await;
    assert!(!first.health().connected);
    let mut other = crate::owner::Owner::new("p");
    while !matches!(
        other.heartbeat(&storage.sound).await.unwrap(),
        crate::owner::Ownership::Taken(..)
    ) {
        sleep(HEARTBEAT).await;
    }
    storage.faults.clear();
    // It takes the prefix back with a heartbeat whose reply is lost.
    sleep(SILENCE).await;
    storage.breaks(Operation::Write, "owner", Fault::Unanswered);
    sleep(HEARTBEAT * 3).await;
    storage.faults.clear();
    until("it holds the prefix again", || first.health().connected).await;
    assert_eq!(storage.valid(&first, &known).await, None);
}

/// The pending invalidations are applied to the epochs that the other owner leaves.
#[tokio::test(start_paused = true)]
async fn invalidations_before_the_prefix_is_taken_apply_to_inherited_records() {
    let storage = Storage::new();
    let first = storage.owner().await;
    let (one, two, other) = (key("f", 1), key("g", 1), key("h", 1));
    for key in [&one, &two, &other] {
        fill(&first, key, b"old").await;
    }
    let second = storage.tier().await;
    let targets = [Target::Key(&one), Target::Function(&two.function)];
    for target in targets {
        assert_eq!(invalidate(&second, target).await, Receipt::Queued);
    }
    second.prefix().void_pending();
    assert!(timeout(HOUR, second.settle()).await.is_err());
    first.shutdown().await.unwrap();
    second.settle().await.unwrap();
    for key in [&one, &two] {
        assert_eq!(storage.valid(&second, key).await, None);
    }
    assert!(storage.valid(&second, &other).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn error_says_why_the_prefix_cannot_be_used_as_long_as_that_is_so() {
    let storage = Storage::new();
    let (first, second) = (storage.owner().await, storage.tier().await);
    let why = async || format!("{:?}", second.ping(LIMIT).await.unwrap_err());
    let error = why().await;
    assert!(error.contains("another instance uses it"), "{error}");
    first.shutdown().await.unwrap();
    until("the second holds the prefix", || second.health().connected).await;
    second.ping(LIMIT).await.unwrap();
    // The earlier reason is not reported any more.
    assert!(
        second
            .prefix()
            .last_error
            .unavailable("use it")
            .source()
            .is_none()
    );
    storage.breaks(Operation::Read, "owner", Fault::Fails);
    until("the prefix is lost", || !second.health().connected).await;
    let error = why().await;
    assert!(error.contains("the heartbeat failed"), "{error}");
}
