//! Calls that a result in memory does not answer, and calls that end before their loads do.

use std::collections::HashMap;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, CallOutcome, Function, Level, LoadTimeout, ManualClock, Memory,
};
use testbed::server::Server;
use testbed::{Gate, Instance};
use tokio::time::sleep;

use super::{HOUR, TimedOut, assert_trace, build, builder, steps, trace_of, traced};

const SECOND: Duration = Duration::from_secs(1);

/// The call cannot return the absence that memory has, and loads.
#[tokio::test]
async fn call_that_cannot_return_what_memory_has_is_traced_once() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::absent")
        .none_ttl(HOUR)
        .build()
        .unwrap();
    let absent = function.get_or_load((1,), async || None::<u64>);
    assert_eq!(here.call(absent).await, None);
    let trace = trace_of(&here, function.get_or_load((1,), async || 7)).await;
    assert_trace(&trace, CallOutcome::Loaded, None, &["body: value"]);
}

#[tokio::test]
async fn kept_absence_is_a_hit() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::none").none_ttl(HOUR).build().unwrap();
    let call = || function.get_or_load((1,), async || None::<u64>);
    here.call(call()).await;
    let trace = trace_of(&here, call()).await;
    assert_trace(&trace, CallOutcome::Hit, Some(Level::L1), &[]);
}

/// The body ends while the future that is traced still runs.
#[tokio::test(start_paused = true)]
async fn trace_does_not_change_after_its_call_has_timed_out() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::frozen").hard_timeout(SECOND);
    let function = function.build().unwrap();
    let make = || async {
        sleep(5 * SECOND).await;
        Ok::<u64, TimedOut>(1)
    };
    let calls = async {
        let result = function.get_or_load_late((1,), make).await;
        sleep(10 * SECOND).await;
        result
    };
    let (result, traces) = traced(&here, calls).await;
    assert_eq!(result, Err(TimedOut));
    assert_eq!(traces[0].outcome, CallOutcome::TimedOut);
    assert_eq!(steps(&traces[0]), ["body"], "{}", traces[0]);
    assert_eq!(traces[0].steps[0].took, None);
}

#[derive(Clone, Debug, PartialEq)]
struct Limited;

impl From<LoadTimeout> for Limited {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[tokio::test(start_paused = true)]
async fn body_at_its_limit_has_timed_out() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::limited").load_limit(SECOND);
    let function = function.build().unwrap();
    let call = function.get_or_load((1,), pending::<Result<u64, Limited>>);
    let trace = trace_of(&here, call).await;
    assert_trace(&trace, CallOutcome::TimedOut, None, &["body: cancelled"]);
}

#[tokio::test]
async fn call_whose_body_panics_is_cancelled() {
    let here = Instance::with_memory().await;
    let function = build("call_traces::panics");
    let calls = async {
        let call = function.get_or_load((1,), async || -> u64 { panic!("a test") });
        let mut call = pin!(call);
        std::future::poll_fn(|cx| {
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
            Poll::Ready(polled.is_err())
        })
        .await
    };
    let (has_panicked, traces) = traced(&here, calls).await;
    assert!(has_panicked);
    assert_eq!(traces[0].outcome, CallOutcome::Cancelled, "{}", traces[0]);
}

#[tokio::test]
async fn value_that_was_expired_is_stale_and_not_fresh() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::expired").stale_while_revalidate(HOUR);
    let function = function.build().unwrap();
    let call = || function.get_or_load_late((1,), async || 1);
    here.call(call()).await;
    here.call(function.entry((1,)).expire()).await.unwrap();
    let trace = trace_of(&here, call()).await;
    assert_trace(&trace, CallOutcome::Stale, Some(Level::L1), &[]);
    assert_eq!(trace.fresh_for, None);
}

#[tokio::test]
async fn strong_call_and_refresh_are_traced() {
    let here = Instance::with_memory().await;
    let function = build("call_traces::handles");
    let entry = function.entry((1,));
    let refreshed = trace_of(&here, entry.refresh(async || 1)).await;
    assert_trace(&refreshed, CallOutcome::Loaded, None, &["body: value"]);
    let strong = trace_of(&here, entry.strong(async || 2)).await;
    assert_trace(&strong, CallOutcome::Hit, Some(Level::L1), &[]);
}

fn values(ids: Vec<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[tokio::test]
async fn batch_of_stale_values_is_stale() {
    let clock = ManualClock::new();
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(tiers).await;
    let function = builder("call_traces::stale_batch").stale_while_revalidate(HOUR);
    let function = function.build().unwrap();
    let call = async || {
        let make = || |ids: Vec<u64>| async move { values(ids) };
        let many = function.get_or_load_many_late(&[1, 2], |id| (*id,), make);
        let _: HashMap<u64, u64> = many.await;
    };
    here.call(call()).await;
    clock.advance(HOUR + HOUR / 2);
    let trace = trace_of(&here, call()).await;
    assert_eq!((trace.outcome, trace.keys), (CallOutcome::Stale, Some(2)));
}

/// One of its keys is in Redis, and the body of the other does not end.
#[tokio::test]
async fn batch_that_is_dropped_during_its_body_is_cancelled() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let function = builder("call_traces::dropped_batch").tiers([Level::L2]);
    let function: Function<u64> = function.build().unwrap();
    here.call(function.get_or_load((1_u64,), async || 1)).await;
    server.until_records(1).await;
    let gate = Gate::new();
    let body = async |ids: Vec<u64>| {
        gate.pass().await;
        values(ids)
    };
    let calls = async {
        let many = function.get_or_load_many(&[1, 2], |id| (*id,), body);
        tokio::select! {
            _ = async { let _: HashMap<u64, u64> = many.await; } => {}
            () = gate.until_entered(1) => {}
        }
    };
    let ((), traces) = traced(&here, calls).await;
    assert_eq!(traces[0].outcome, CallOutcome::Cancelled, "{}", traces[0]);
}
