//! A storage that does not respond does not block callers, nor operations on other keys.

use cache_core::tier::Breaker;
use tokio::task::JoinSet;

use super::*;
use crate::owner::HEARTBEAT;

#[tokio::test(start_paused = true)]
async fn hanging_reads_time_out_and_open_the_breaker_until_the_next_heartbeat() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let known = key("f", 1);
    fill(&tier, &known, b"one").await;
    storage.breaks(Operation::Read, "records", Fault::Hangs);
    let began = Instant::now();
    let mut reads = JoinSet::new();
    for number in 0..200 {
        let tier = Arc::clone(&tier);
        reads.spawn(async move { read(&tier, &key("f", number)).await });
    }
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert!(began.elapsed() < LIMIT * 2);
    // The breaker is open: further reads fail at once.
    assert_eq!(tier.breaker(), Breaker::Open);
    assert!(!tier.health().connected);
    let began = Instant::now();
    let refused = read(&tier, &known).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(began.elapsed(), Duration::ZERO);
    storage.faults.clear();
    until("the next heartbeat", || tier.breaker() == Breaker::Closed).await;
    assert!(began.elapsed() <= HEARTBEAT);
    assert_eq!(storage.valid(&tier, &known).await.unwrap(), b"one");
}

#[tokio::test(start_paused = true)]
async fn answered_ping_closes_the_breaker() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    storage.breaks(Operation::Read, "records", Fault::Hangs);
    for _ in 0..8 {
        let read = read(&tier, &key("f", 1)).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        // Without this, a heartbeat would close the breaker.
        storage.breaks(Operation::Write, "owner", Fault::Hangs);
    }
    assert_eq!(tier.breaker(), Breaker::Open);
    tier.ping(LIMIT).await.unwrap();
    assert_eq!(tier.breaker(), Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn inspections_that_time_out_do_not_open_the_breaker() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    storage.breaks(Operation::Read, "records", Fault::Hangs);
    // Without this, a heartbeat would reset the count of timeouts.
    storage.breaks(Operation::Write, "owner", Fault::Hangs);
    let mut looks = JoinSet::new();
    for number in 0..20 {
        let tier = Arc::clone(&tier);
        looks.spawn(async move { tier.inspect(&key("f", number), LIMIT).await });
    }
    while let Some(look) = looks.join_next().await {
        assert_eq!(look.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert_eq!(tier.breaker(), Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn inspection_that_is_answered_does_not_end_a_row_of_timeouts() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let (sound, broken) = (key("f", 1), key("f", 2));
    fill(&tier, &sound, b"one").await;
    let path = tier.prefix().store.path(&broken);
    storage.breaks(Operation::Read, &path, Fault::Hangs);
    storage.breaks(Operation::Write, "owner", Fault::Hangs);
    let mut reads = JoinSet::new();
    for _ in 0..7 {
        let (tier, key) = (Arc::clone(&tier), broken.clone());
        reads.spawn(async move { read(&tier, &key).await });
    }
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    let seen = tier.inspect(&sound, LIMIT).await.unwrap();
    assert_eq!(seen.record.as_deref(), Some(&b"one"[..]));
    assert_eq!(tier.breaker(), Breaker::Closed);
    read(&tier, &broken).await.unwrap_err();
    assert_eq!(tier.breaker(), Breaker::Open);
}

#[tokio::test(start_paused = true)]
async fn hanging_removals_do_not_delay_other_keys() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    for number in 0..100 {
        fill(&tier, &key("f", number), b"old").await;
    }
    storage.breaks(Operation::Delete, "records", Fault::Hangs);
    let mut removals = JoinSet::new();
    for number in 0..100 {
        let tier = Arc::clone(&tier);
        removals.spawn(async move { invalidate(&tier, Target::Key(&key("f", number))).await });
    }
    while let Some(receipt) = removals.join_next().await {
        assert_eq!(receipt.unwrap(), Receipt::Queued);
    }
    storage.faults.clear();
    until("the next heartbeat", || tier.health().connected).await;
    // The removals of the maintenance task have timed out by then.
    sleep(HEARTBEAT).await;
    let began = Instant::now();
    fill(&tier, &key("f", 200), b"new").await;
    let receipt = invalidate(&tier, Target::Key(&key("f", 200))).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "the invalidation waits for a hanging removal"
    );
    tier.settle().await.unwrap();
    assert_eq!(tier.health().queued, 0);
    for number in 0..100 {
        assert!(!storage.has(&tier, &key("f", number)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn pending_removal_is_done_while_others_hang() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let well = key("f", 100);
    fill(&tier, &well, b"old").await;
    let store = &tier.prefix().store;
    let is_apart = |key: &RecordKey| !store.share_a_lock(&store.path(key), &store.path(&well));
    let hang: Vec<_> = (0..20).map(|number| key("f", number)).collect();
    let hang: Vec<_> = hang.into_iter().filter(is_apart).take(10).collect();
    for hangs in &hang {
        let path = store.path(hangs);
        storage.breaks(Operation::Delete, &path, Fault::Hangs);
        tier.invalidate_later(Target::Key(hangs));
    }
    // Now the removals are in progress.
    sleep(LIMIT).await;
    let began = Instant::now();
    tier.invalidate_later(Target::Key(&well));
    until("the other removal is done", || !tier.is_pending(&well)).await;
    assert!(
        began.elapsed() <= HEARTBEAT + LIMIT,
        "the removal waited for longer than the limit of the others"
    );
    assert!(hang.iter().all(|hangs| tier.is_pending(hangs)));
    assert_eq!(read(&tier, &hang[0]).await.unwrap(), None);
    assert!(!storage.has(&tier, &well).await);
}

#[tokio::test(start_paused = true)]
async fn removals_that_can_be_done_are_done_although_many_others_fail() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    for number in 0..48 {
        let refused = key("f", number);
        let path = tier.prefix().store.path(&refused);
        storage.breaks(Operation::Delete, &path, Fault::Fails);
        tier.invalidate_later(Target::Key(&refused));
    }
    for number in 0..8 {
        tier.invalidate_later(Target::Key(&key("g", number)));
    }
    let began = Instant::now();
    while tier.health().queued > 48 {
        assert!(began.elapsed() < HOUR);
        sleep(HEARTBEAT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_reads_release_their_permits() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let well = key("f", 100);
    fill(&tier, &well, b"one").await;
    let path = tier.prefix().store.path(&key("f", 1));
    storage.breaks(Operation::Read, &path, Fault::Hangs);
    let mut reads = JoinSet::new();
    for _ in 0..100 {
        let tier = Arc::clone(&tier);
        reads.spawn(async move { read(&tier, &key("f", 1)).await });
    }
    sleep(LIMIT / 10).await;
    reads.shutdown().await;
    let began = Instant::now();
    assert_eq!(storage.valid(&tier, &well).await.unwrap(), b"one");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_whichever_operation_hangs() {
    for (operation, path) in [
        (Operation::Write, "records"),
        (Operation::Write, "left"),
        (Operation::Write, "owner"),
        (Operation::Read, "owner"),
        (Operation::Delete, "records"),
    ] {
        let storage = Storage::new();
        let tier = storage.owner().await;
        fill(&tier, &key("f", 1), b"old").await;
        storage.breaks(operation, path, Fault::Hangs);
        // A heartbeat may be in progress.
        sleep(HEARTBEAT + LIMIT / 2).await;
        let _ = try_fill(&tier, &key("f", 2), b"late").await;
        invalidate(&tier, Target::Key(&key("f", 1))).await;
        let began = Instant::now();
        let ended = tier.shutdown().await;
        assert!(began.elapsed() <= LIMIT * 4, "{path}");
        let is_left = !matches!(path, "left" | "owner");
        assert_eq!(ended.is_ok(), is_left, "{path}: {ended:?}");
        let next = storage.faults.clone();
        next.clear();
        let next = storage.owner().await;
        assert_eq!(storage.valid(&next, &key("f", 1)).await, None, "{path}");
        assert_eq!(storage.valid(&next, &key("f", 2)).await, None, "{path}");
    }
}
