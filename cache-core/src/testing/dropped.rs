//! Operations that nobody waits for to the end, and those that have no time.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{HOUR, SOON, Store, key, named};
use crate::tier::{FillResult, Glob, LeaseMode, LeaseResult, ReadOptions, Refusal, Target};

/// Whatever the answer: it comes, and nothing is wrong afterwards.
pub(super) async fn who_has_no_time_is_answered_at_once(store: &Store) {
    let (key, tier) = (key("f", 1), &store.tier);
    store.fill(&key, b"old").await;
    let lease = store.given(&key, LeaseMode::Preempt).await;
    for within in [Duration::ZERO, Duration::from_micros(1)] {
        let all = async {
            let _ = tier.read(&key, ReadOptions::default(), within).await;
            let _ = tier.lease(&key, LeaseMode::Shared, &[], within).await;
            let _ = tier.ping(within).await;
            let _ = tier.fill(&key, &lease, b"old".to_vec(), HOUR, within).await;
            let _ = tier.invalidate(Target::Key(&key), within).await;
        };
        let ended = timeout(Duration::from_secs(2), all).await;
        assert!(ended.is_ok(), "it does not keep to its time");
    }
    store.invalidate(Target::Key(&key)).await;
    let settled = timeout(SOON, tier.settle()).await;
    assert!(matches!(settled, Ok(Ok(()))), "{settled:?}");
    assert_eq!(store.read(&key).await.expect("a read").0, None);
}

pub(super) async fn a_guard_that_is_dropped_ends(store: &Store) {
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
    // A commit that is under way has some time left.
    let stamp = timeout(SOON * 3, filled).await.expect("the guard ends");
    assert!(store.valid(&key, stamp).await.is_some());
}

/// Polls so many times, unless it ends before, and drops.
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

pub(super) async fn wherever_it_is_dropped_nothing_is_half_done(store: &Store) {
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
            let lease = store.given(&key, LeaseMode::Shared).await;
            has_ended &= begin_and_drop(tier.invalidate(target, SOON), polls).await;
            settled(store, polls).await;
            // Of record and lease, whichever is looked at first: if it is void, so is the other.
            let was_gone = looks_first && store.valid(&key, old).await.is_none();
            let late = store.fill_under(&key, &lease, b"late").await;
            match late {
                FillResult::Stored => assert!(!was_gone, "{polls}: the lease outlives {target:?}"),
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
        // No longer under way when another has been.
        store.invalidate(Target::Function(function)).await;
        settled(store, polls).await;
        let stamp = store.fill(&key, b"new").await;
        assert!(store.valid(&key, stamp).await.is_some(), "{polls}");
    }
    assert!(has_ended, "an operation of more than 64 steps");
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
    assert!(free.is_ok(), "a guard that nobody has stays");
}

async fn settled(store: &Store, polls: usize) {
    let settled = timeout(SOON, store.tier.settle()).await;
    assert!(
        matches!(settled, Ok(Ok(()))),
        "{polls}: what was dropped is never done: {settled:?}"
    );
}

/// A tier may do nothing when nobody waits. What it says it has pending counts from then on.
pub(super) async fn what_is_owed_is_not_read(store: &Store) {
    let (first, second) = (key("f", 1), key("f", 2));
    for target in [
        Target::Key(&first),
        Target::Function(&first.function),
        Target::All,
    ] {
        let stamp = store.fill(&first, b"old").await;
        store.fill(&second, b"other").await;
        let lease = store.given(&first, LeaseMode::Shared).await;
        store.tier.invalidate_later(target);
        let is_owed = store.tier.is_pending(&first);
        if is_owed {
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
            "{target:?} is settled and owed"
        );
        if is_owed {
            assert_eq!(store.valid(&first, stamp).await, None, "{target:?}");
        }
        store.invalidate(Target::All).await;
    }
}

/// Polls once and drops.
fn begin(future: impl Future) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

pub(super) async fn what_is_dropped_leaves_nothing_behind(store: &Store) {
    let tier = &store.tier;
    let key = key("f", 1);
    for round in 0..20_u64 {
        begin(tier.read(&key, ReadOptions::default(), SOON));
        begin(tier.lease(&key, LeaseMode::Exclusive, &[], SOON));
        // Whoever dropped it has no lease: the next comes by one.
        let lease = async {
            loop {
                match store.lease(&key, LeaseMode::Exclusive).await {
                    LeaseResult::Granted(lease) => return lease,
                    LeaseResult::Held(wakeup) => {
                        wakeup.await;
                    }
                    // Until what was dropped in the round before is done.
                    LeaseResult::Refused(Refusal::Queued) => sleep(Duration::from_millis(2)).await,
                    LeaseResult::Refused(refusal) => panic!("refused: {refusal:?}"),
                }
            }
        };
        let lease = timeout(SOON, lease).await;
        let lease = lease.expect("a lease that was asked for and dropped keeps others waiting");
        begin(tier.fill(&key, &lease, round.to_le_bytes().to_vec(), HOUR, SOON));
        begin(tier.invalidate(Target::Key(&key), SOON));
        store.invalidate(Target::Key(&key)).await;
        assert_eq!(store.read(&key).await.expect("a read").0, None);
        let late = store.fill_under(&key, &lease, b"late").await;
        assert!(matches!(late, FillResult::Refused(_)), "{late:?}");
    }
}
