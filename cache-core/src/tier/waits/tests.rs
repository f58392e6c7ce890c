//! Callers that close a ring at the same time, in every order of their steps.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::level::Level;
use crate::tier::FunctionKey;

const WITHIN: Duration = Duration::from_secs(1);

/// A shard whose leases all have the number of their key as their token. Each step is pending once
/// before it is done.
#[derive(Default)]
struct Graph {
    edges: Mutex<Vec<(u64, AwaitedLease)>>,
    is_free: bool,
}

impl Graph {
    fn edges(&self) -> std::sync::MutexGuard<'_, Vec<(u64, AwaitedLease)>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a step after one poll.
fn step<'a, T: 'a>(step: impl FnOnce() -> T + Send + 'a) -> TierFuture<'a, T> {
    Box::pin(async {
        tokio::task::yield_now().await;
        Ok(step())
    })
}

impl ShardWaits for Graph {
    fn holder<'a>(&'a self, key: &'a RecordKey, _: Duration) -> TierFuture<'a, Option<u64>> {
        step(|| (!self.is_free).then_some(key.digest))
    }

    fn note_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        _: Duration,
    ) -> TierFuture<'a, ()> {
        let notes = held.iter().map(|held| (held.token, awaited.clone()));
        step(move || self.edges().extend(notes))
    }

    fn forget_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        _: Duration,
    ) -> TierFuture<'a, ()> {
        let is_held = |token| held.iter().any(|held| held.token == token);
        let is_note = move |edge: &(u64, AwaitedLease)| is_held(edge.0) && edge.1 == *awaited;
        step(move || self.edges().retain(|edge| !is_note(edge)))
    }

    fn waits_of<'a>(
        &'a self,
        leases: &'a [AwaitedLease],
        _: Duration,
    ) -> TierFuture<'a, Vec<AwaitedLease>> {
        let is_asked = |token| leases.iter().any(|lease| lease.token == token);
        step(move || {
            let edges = self.edges();
            let edges = edges.iter().filter(|(token, _)| is_asked(*token));
            edges.map(|(_, to)| to.clone()).collect()
        })
    }
}

/// The key that is in the shard with this index, of two.
fn key(shard: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    RecordKey::new(function, shard.to_string(), shard << 15)
}

fn held(shard: u64) -> Vec<HeldLease> {
    let key = key(shard);
    let token = key.digest;
    vec![HeldLease::new(Level::L2, Arc::new(key), token)]
}

fn wait<'a>(held: &'a [HeldLease], awaited: &'a RecordKey) -> Wait<'a> {
    Wait {
        shard: Shard::all(2).unwrap()[0],
        held,
        awaited,
        within: WITHIN,
    }
}

/// Polls two futures in the order that the bits of `order` say, until both are ready.
fn run_in_order<T>(mut futures: [Pin<Box<dyn Future<Output = T> + '_>>; 2], order: u32) -> [T; 2] {
    let mut outputs = [None, None];
    let mut context = Context::from_waker(Waker::noop());
    for turn in 0.. {
        let turn = (order >> (turn % u32::BITS) & 1) as usize;
        let of = if outputs[turn].is_none() {
            turn
        } else {
            1 - turn
        };
        if let Poll::Ready(output) = futures[of].as_mut().poll(&mut context) {
            outputs[of] = Some(output);
        }
        if let [Some(_), Some(_)] = outputs {
            break;
        }
    }
    outputs.map(|output| output.expect("both have ended"))
}

#[test]
fn at_least_one_caller_sees_a_ring_that_two_close_at_the_same_time() {
    let mut both = 0;
    for order in 0..1 << 12 {
        let graphs = [Graph::default(), Graph::default()];
        let graphs = [&graphs[0] as &dyn ShardWaits, &graphs[1]];
        let (keys, leases) = ([key(0), key(1)], [held(0), held(1)]);
        let waits = [wait(&leases[0], &keys[1]), wait(&leases[1], &keys[0])];
        let answers = run_in_order(
            waits.each_ref().map(|wait| {
                let asked = wait.closes_ring(&graphs);
                Box::pin(asked) as Pin<Box<dyn Future<Output = _>>>
            }),
            order,
        );
        let present = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Deadlock::Present)));
        match present.count() {
            0 => panic!("order {order:b}: {answers:?}"),
            1 => {}
            _ => both += 1,
        }
    }
    assert!(
        both > 0,
        "in no order do both see it, so no two searches overlapped"
    );
}

#[tokio::test]
async fn caller_that_does_not_wait_leaves_no_note() {
    let graphs = [Graph::default(), Graph::default()];
    let dynamic = [&graphs[0] as &dyn ShardWaits, &graphs[1]];
    let (first, second) = (held(0), held(1));
    let (of_first, of_second) = (key(1), key(0));
    let answer = wait(&first, &of_first).closes_ring(&dynamic).await;
    assert_eq!(answer.unwrap(), Deadlock::Absent);
    let answer = wait(&second, &of_second).closes_ring(&dynamic).await;
    assert_eq!(answer.unwrap(), Deadlock::Present);
    assert_eq!((graphs[0].edges().len(), graphs[1].edges().len()), (1, 0));
}

#[tokio::test]
async fn wait_for_a_lease_that_was_released_is_no_deadlock_and_leaves_no_note() {
    let graphs = [
        Graph::default(),
        Graph {
            is_free: true,
            ..Graph::default()
        },
    ];
    let dynamic = [&graphs[0] as &dyn ShardWaits, &graphs[1]];
    let (held, awaited) = (held(0), key(1));
    let answer = wait(&held, &awaited).closes_ring(&dynamic).await;
    assert_eq!(answer.unwrap(), Deadlock::Absent);
    assert!(graphs[0].edges().is_empty());
}
