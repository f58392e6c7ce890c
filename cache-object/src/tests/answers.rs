//! A storage that does not answer keeps nobody, and nothing that is well.

use cache_core::tier::Breaker;
use tokio::task::JoinSet;

use super::*;
use crate::owner::HEARTBEAT;

#[tokio::test(start_paused = true)]
async fn reads_that_hang_end_and_leave_nothing_behind() {
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
    // Nobody is sent there any more.
    assert_eq!(tier.breaker(), Breaker::Open);
    assert!(!tier.health().connected);
    let began = Instant::now();
    let refused = read(&tier, &known).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(began.elapsed(), Duration::ZERO);
    storage.faults.clear();
    until("the next beat", || tier.breaker() == Breaker::Closed).await;
    assert!(began.elapsed() <= HEARTBEAT);
    assert_eq!(storage.valid(&tier, &known).await.unwrap(), b"one");
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_brings_callers_back() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    storage.breaks(Operation::Read, "records", Fault::Hangs);
    for _ in 0..8 {
        let read = read(&tier, &key("f", 1)).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        // Else the beats between would do.
        storage.breaks(Operation::Write, "owner", Fault::Hangs);
    }
    assert_eq!(tier.breaker(), Breaker::Open);
    tier.ping(LIMIT).await.unwrap();
    assert_eq!(tier.breaker(), Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_hangs_keeps_no_other() {
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
    until("the next beat", || tier.health().connected).await;
    // What the keeper had begun is given up.
    sleep(HEARTBEAT).await;
    let began = Instant::now();
    fill(&tier, &key("f", 200), b"new").await;
    let receipt = invalidate(&tier, Target::Key(&key("f", 200))).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_eq!(began.elapsed(), Duration::ZERO, "it waits for none of them");
    tier.settle().await.unwrap();
    assert_eq!(tier.health().queued, 0);
    for number in 0..100 {
        assert!(!storage.has(&tier, &key("f", number)).await);
    }
}

/// Those that hang, and one that is paid beside them.
#[tokio::test(start_paused = true)]
async fn what_is_owed_is_paid_beside_what_hangs() {
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
    // They are under way.
    sleep(LIMIT).await;
    let began = Instant::now();
    tier.invalidate_later(Target::Key(&well));
    until("the other is paid", || !tier.is_pending(&well)).await;
    assert!(began.elapsed() <= HEARTBEAT + LIMIT, "they had their time");
    assert!(hang.iter().all(|hangs| tier.is_pending(hangs)));
    assert_eq!(read(&tier, &hang[0]).await.unwrap(), None);
    assert!(!storage.has(&tier, &well).await);
}

#[tokio::test(start_paused = true)]
async fn what_can_be_paid_is_paid_though_much_cannot() {
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

/// Who waits no longer has no place.
#[tokio::test(start_paused = true)]
async fn a_read_that_is_dropped_is_over() {
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
async fn the_end_comes_whatever_hangs() {
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
        // A beat may be under way.
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
