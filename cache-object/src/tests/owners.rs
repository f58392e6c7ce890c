//! What counts for who comes after: all of one that ended in order, and nothing of one that did
//! not.

use std::error::Error as _;

use tokio::time::timeout;

use super::*;
use crate::owner::{HEARTBEAT, SILENCE, WRITE_LIMIT};

#[tokio::test(start_paused = true)]
async fn what_was_stored_counts_after_an_end_in_order_and_only_then() {
    let storage = Storage::new();
    let known = key("f", 1);
    let tier = storage.owner().await;
    fill(&tier, &known, b"one").await;
    tier.shutdown().await.unwrap();
    let began = Instant::now();
    let second = storage.owner().await;
    assert_eq!(began.elapsed(), Duration::ZERO, "the prefix is free");
    assert_eq!(storage.valid(&second, &known).await.unwrap(), b"one");
    drop(second);
    let third = storage.owner().await;
    assert_eq!(storage.valid(&third, &known).await, None, "it was killed");
}

/// It is in memory alone, and yet there after a restart.
#[tokio::test(start_paused = true)]
async fn an_invalidated_function_needs_no_storage() {
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
    until("it is well again", || tier.health().connected).await;
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

/// A killed owner's write, and that of one which ended in order, land when another has the prefix.
#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_counts_for_nobody() {
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

/// The same within one life: what is under the function's epoch of then is void as soon as the end
/// of the write is not known.
#[tokio::test(start_paused = true)]
async fn a_write_without_an_end_voids_its_function() {
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

/// It waited for another write of its key while the prefix was lost.
#[tokio::test(start_paused = true)]
async fn a_write_begins_only_while_the_prefix_is_its_own() {
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

/// Its epochs of before are not those of its next time: what the other did in between is not known.
#[tokio::test(start_paused = true)]
async fn who_lost_the_prefix_begins_anew() {
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
    // It takes it back with a beat that fails at its end.
    sleep(SILENCE).await;
    storage.breaks(Operation::Write, "owner", Fault::Unanswered);
    sleep(HEARTBEAT * 3).await;
    storage.faults.clear();
    until("it has it again", || first.health().connected).await;
    assert_eq!(storage.valid(&first, &known).await, None);
}

/// What was invalidated while the prefix was another's is paid to what that one leaves.
#[tokio::test(start_paused = true)]
async fn what_was_invalidated_while_it_waited_does_not_count() {
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
async fn why_a_prefix_cannot_be_used_is_said_while_it_is_so() {
    let storage = Storage::new();
    let (first, second) = (storage.owner().await, storage.tier().await);
    let why = async || format!("{:?}", second.ping(LIMIT).await.unwrap_err());
    let error = why().await;
    assert!(error.contains("another instance uses it"), "{error}");
    first.shutdown().await.unwrap();
    until("it is its own", || second.health().connected).await;
    second.ping(LIMIT).await.unwrap();
    // Not what was so before.
    assert!(
        second
            .prefix()
            .last_error
            .unavailable("use it")
            .source()
            .is_none()
    );
    storage.breaks(Operation::Read, "owner", Fault::Fails);
    until("it is lost", || !second.health().connected).await;
    let error = why().await;
    assert!(error.contains("the heartbeat failed"), "{error}");
}
