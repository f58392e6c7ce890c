//! Checks of operations that are dropped before they end, or have no time.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{HOUR, SOON, Store, key, named};
use crate::tier::{
    FillResult, Glob, Lease, LeaseMode, LeaseResult, ReadOptions, RecordKey, Refusal, Target,
};

/// The result may be anything, but it comes at once and nothing is wrong after it.
pub(super) async fn operations_without_time_end_at_once(store: &Store) {
    let (key, tier) = (key("f", 1), &store.tier);
    store.fill(&key, b"old").await;
    let lease = store.granted(&key, LeaseMode::Preempt).await;
    for within in [Duration::ZERO, Duration::from_micros(1)] {
        let all = async {
            let _ = tier.read(&key, ReadOptions::default(), within).await;
            let _ = tier.lease(&key, LeaseMode::Shared, &[], within).await;
            let _ = tier.ping(within).await;
            let _ = tier.fill(&key, &lease, b"old".to_vec(), HOUR, within).await;
            let _ = tier.invalidate(Target::Key(&key), within).await;
        };
        let ended = timeout(Duration::from_secs(2), all).await;
        assert!(ended.is_ok(), "operations do not keep their time limit");
    }
    // A tier that got no answer in time may have given up its connection, and makes a new one.
    let answers = async {
        while tier.ping(SOON).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let answers = timeout(SOON * 3, answers).await;
    answers.expect("the store answers operations that have time");
    store.invalidate(Target::Key(&key)).await;
    let settled = timeout(SOON, tier.settle()).await;
    assert!(matches!(settled, Ok(Ok(()))), "{settled:?}");
    assert_eq!(
        store.read(&key).await.expect("the result of a read").0,
        None
    );
}

pub(super) async fn dropped_guard_ends(store: &Store) {
    let key = key("f", 1);
    let guard = store.tier.guard(&key, SOON).await.expect("a guard");
    drop(guard);
    let filled = async {
        loop {
            if let LeaseResult::Granted(lease) = store.lease(&key, LeaseMode::Preempt).await
                && store.fill_under(&key, &lease, b"new").await == FillResult::Stored
            {
                return lease.stamp;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    // The guard lasts a little longer, for a commit that may be in progress.
    let stamp = timeout(SOON * 3, filled).await.expect("the guard ends");
    assert!(store.valid(&key, stamp).await.is_some());
}

/// Polls a future `polls` times at most, drops it, and returns whether it was ready.
async fn begin_and_drop(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(super) async fn operation_dropped_at_any_point_is_done_or_not_done(store: &Store) {
    let (key, tier) = (key("f", 1), &store.tier);
    let function = &key.function;
    let all = Glob::new("*").expect("a pattern");
    let (mut has_ended, mut guards) = (false, Vec::new());
    for polls in 1..64 {
        if has_ended {
            break;
        }
        has_ended = true;
        for (target, looks_first) in [Target::Key(&key), Target::Function(function)]
            .into_iter()
            .flat_map(|target| [(target, true), (target, false)])
        {
            let old = store.fill(&key, b"old").await;
            let lease = store.granted(&key, LeaseMode::Shared).await;
            has_ended &= begin_and_drop(tier.invalidate(target, SOON), polls).await;
            settled(store, polls).await;
            // The record and the lease are both valid or both void, whichever is looked at first.
            let was_void = looks_first && store.valid(&key, old).await.is_none();
            let late = store.fill_under(&key, &lease, b"late").await;
            match late {
                FillResult::Stored => assert!(!was_void, "{polls}: the lease outlives {target:?}"),
                FillResult::Refused(_) => assert_eq!(
                    store.valid(&key, old).await,
                    None,
                    "{polls}: the record outlives {target:?}"
                ),
            }
        }
        let guarded = named("g", polls.to_string());
        has_ended &= begin_and_drop(tier.invalidate_matching(function, &all), polls).await
            & begin_and_drop(tier.guard(&guarded, SOON), polls).await;
        guards.push(guarded);
        // Dropped operations are not in progress any more after another invalidation.
        store.invalidate(Target::Function(function)).await;
        settled(store, polls).await;
        let stamp = store.fill(&key, b"new").await;
        assert!(store.valid(&key, stamp).await.is_some(), "{polls}");
    }
    assert!(has_ended, "an operation takes more than 64 polls");
    let free = async {
        for key in &guards {
            while !matches!(
                store.lease(key, LeaseMode::Preempt).await,
                LeaseResult::Granted(_)
            ) {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let free = timeout(SOON * 3, free).await;
    assert!(
        free.is_ok(),
        "a guard that was dropped before it was returned does not end"
    );
}

async fn settled(store: &Store, polls: usize) {
    let settled = timeout(SOON, store.tier.settle()).await;
    assert!(
        matches!(settled, Ok(Ok(()))),
        "{polls}: a dropped invalidation is not done: {settled:?}"
    );
}

/// A tier may do nothing in `invalidate_later`. If it reports the invalidation as pending, the
/// records are misses from then on.
pub(super) async fn pending_invalidation_makes_its_keys_misses(store: &Store) {
    let (first, second) = (key("f", 1), key("f", 2));
    for target in [
        Target::Key(&first),
        Target::Function(&first.function),
        Target::All,
    ] {
        let stamp = store.fill(&first, b"old").await;
        store.fill(&second, b"other").await;
        let lease = store.granted(&first, LeaseMode::Shared).await;
        store.tier.invalidate_later(target);
        let is_pending = store.tier.is_pending(&first);
        if is_pending {
            assert_eq!(store.valid(&first, stamp).await, None, "{target:?}");
            let late = store.fill_under(&first, &lease, b"late").await;
            assert!(
                matches!(late, FillResult::Refused(_)),
                "{target:?}: {late:?}"
            );
        }
        settled(store, 0).await;
        assert!(
            !store.tier.is_pending(&first),
            "{target:?} is pending after it was settled"
        );
        if is_pending {
            assert_eq!(store.valid(&first, stamp).await, None, "{target:?}");
        }
        store.invalidate(Target::All).await;
    }
}

/// Polls a future once and drops it.
fn begin(future: impl Future) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

pub(super) async fn dropped_operations_leave_no_lease_behind(store: &Store) {
    let tier = &store.tier;
    let key = key("f", 1);
    for round in 0..20_u64 {
        begin(tier.read(&key, ReadOptions::default(), SOON));
        begin(tier.lease(&key, LeaseMode::Exclusive, &[], SOON));
        // The dropped future has no lease, so the next caller gets one.
        let lease = timeout(SOON, exclusive_lease(store, &key)).await;
        let lease = lease.expect("the lease of a dropped future is not released");
        begin(tier.fill(&key, &lease, round.to_le_bytes().to_vec(), HOUR, SOON));
        begin(tier.invalidate(Target::Key(&key), SOON));
        store.invalidate(Target::Key(&key)).await;
        assert_eq!(
            store.read(&key).await.expect("the result of a read").0,
            None
        );
        let late = store.fill_under(&key, &lease, b"late").await;
        assert!(matches!(late, FillResult::Refused(_)), "{late:?}");
    }
}

/// Waits for an exclusive lease.
async fn exclusive_lease(store: &Store, key: &RecordKey) -> Lease {
    loop {
        match store.lease(key, LeaseMode::Exclusive).await {
            LeaseResult::Granted(lease) => return lease,
            LeaseResult::Held(wakeup) => {
                wakeup.await;
            }
            // A dropped invalidation is still pending.
            LeaseResult::Refused(Refusal::Queued) => sleep(Duration::from_millis(2)).await,
            LeaseResult::Refused(refusal) => panic!("the lease is refused: {refusal:?}"),
            LeaseResult::BackedOff(_) => panic!("only a refresh is backed off"),
        }
    }
}
