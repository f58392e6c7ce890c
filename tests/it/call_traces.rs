//! `CacheRuntime::traced`: each call of a task has a trace that says what answered it and which
//! steps it took, and the call itself is as without a trace.

mod ends;
mod outages;

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, CallOutcome, CallTrace, Function, FunctionBuilder, Level, LoadTimeout,
    ManualClock, Memory, Redis, StepKind, multi_tier_cached,
};
use testbed::counts::{function_stats, tier_stats};
use testbed::server::Server;
use testbed::{Gate, Instance, poll_once};
use tokio::task::yield_now;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3_600);

fn builder(name: &'static str) -> FunctionBuilder<u64> {
    Function::<u64>::builder(name).ttl(HOUR)
}

fn build(name: &'static str) -> Function<u64> {
    builder(name).build().unwrap()
}

/// Runs a future in an instance, and returns the traces of its calls.
async fn traced<F: Future>(here: &Instance, calls: F) -> (F::Output, Vec<CallTrace>) {
    here.call(CacheRuntime::traced(calls)).await
}

/// Returns the trace of a future that makes one call.
async fn trace_of<F: Future>(here: &Instance, call: F) -> CallTrace {
    let (_, mut traces) = traced(here, call).await;
    assert_eq!(traces.len(), 1, "{traces:?}");
    traces.remove(0)
}

/// Returns the steps of a trace as text: `l2 read: ok`.
fn steps(trace: &CallTrace) -> Vec<String> {
    let name = |kind: &StepKind| match kind {
        StepKind::Operation { tier, operation } => format!("{tier} {operation}"),
        StepKind::Flight => "flight".to_owned(),
        StepKind::Lease => "lease".to_owned(),
        StepKind::Body => "body".to_owned(),
        other => panic!("{other:?}"),
    };
    let steps = trace.steps.iter().map(|step| match &step.outcome {
        Some(outcome) => format!("{}: {outcome}", name(&step.kind)),
        None => name(&step.kind),
    });
    steps.collect()
}

#[track_caller]
fn assert_trace(trace: &CallTrace, outcome: CallOutcome, tier: Option<Level>, expected: &[&str]) {
    assert_eq!((trace.outcome, trace.tier), (outcome, tier), "{trace}");
    assert_eq!(steps(trace), expected, "{trace}");
    assert!(trace.took.is_some(), "{trace}");
    assert!(
        trace.steps.iter().all(|step| step.took <= trace.took),
        "{trace}"
    );
}

#[multi_tier_cached(ttl = "1h", name = "call_traces::user")]
async fn user(id: u64) -> u64 {
    id
}

#[tokio::test]
async fn load_then_hit_in_memory_then_hit_in_redis() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    first.until_coherent().await;
    let loaded = trace_of(&first, user(42)).await;
    assert_eq!(
        (&*loaded.function, loaded.key.as_deref()),
        ("call_traces::user", Some("42"))
    );
    let all = ["l2 read: ok", "l2 lease: ok", "body: value", "l2 fill: ok"];
    assert_trace(&loaded, CallOutcome::Loaded, None, &all);
    server.until_records(1).await;

    let hit = trace_of(&first, user(42)).await;
    assert_trace(&hit, CallOutcome::Hit, Some(Level::L1), &[]);
    assert_eq!(hit.key.as_deref(), Some("42"));
    assert!(hit.fresh_for.is_some_and(|left| left <= HOUR), "{hit}");

    let lower = trace_of(&second, user(42)).await;
    assert_trace(&lower, CallOutcome::Hit, Some(Level::L2), &["l2 read: ok"]);
    assert!(lower.fresh_for.is_some_and(|left| left <= HOUR), "{lower}");
}

#[tokio::test]
async fn calls_of_one_task_have_traces_in_the_order_in_which_they_began() {
    let here = Instance::with_memory().await;
    let (outer, inner) = (build("call_traces::outer"), build("call_traces::inner"));
    let calls = async {
        inner.get_or_load((1,), async || 1).await;
        let body = async || inner.get_or_load((1,), async || 2).await + 1;
        outer.get_or_load((1,), body).await
    };
    let (value, traces) = traced(&here, calls).await;
    assert_eq!(value, 2);
    let seen: Vec<_> = traces
        .iter()
        .map(|trace| (&*trace.function, trace.outcome))
        .collect();
    let expected = [
        ("call_traces::inner", CallOutcome::Loaded),
        ("call_traces::outer", CallOutcome::Loaded),
        ("call_traces::inner", CallOutcome::Hit),
    ];
    assert_eq!(seen, expected);
    assert_eq!(steps(&traces[1]), ["body: value"]);
}

#[tokio::test]
async fn waiter_names_the_load_of_the_other_call() {
    let here = Instance::with_memory().await;
    let function = build("call_traces::joined");
    let gate = Gate::new();
    let body = async || {
        gate.pass().await;
        1
    };
    let mut leader = Box::pin(here.call(function.get_or_load((1,), body)));
    assert!(poll_once(&mut leader).is_pending());
    let mut waiter = Box::pin(trace_of(&here, function.get_or_load((1,), async || 2)));
    assert!(poll_once(&mut waiter).is_pending());
    gate.open();
    leader.await;
    assert_trace(&waiter.await, CallOutcome::Joined, None, &["flight"]);
}

#[tokio::test]
async fn waiter_for_another_instance_names_the_lease() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let function = build("call_traces::elsewhere");
    let gate = Gate::new();
    let body = async || {
        gate.pass().await;
        1
    };
    let (value, trace) = tokio::join!(first.call(function.get_or_load((1,), body)), async {
        gate.until_entered(1).await;
        let call = traced(&second, function.get_or_load((1,), async || 2));
        let release = async {
            let waits = || tier_stats(&second, "call_traces::elsewhere", Level::L2);
            testbed::until("the call waits", || {
                waits().is_some_and(|stats| stats.lease_waits == 1)
            })
            .await;
            gate.open();
        };
        tokio::join!(call, release).0
    });
    assert_eq!((value, trace.0), (1, 1));
    let [trace] = &trace.1[..] else {
        panic!("{trace:?}")
    };
    assert_eq!(
        (trace.outcome, trace.tier),
        (CallOutcome::Hit, Some(Level::L2))
    );
    let steps = steps(trace);
    assert_eq!(
        steps[..3],
        ["l2 read: ok", "l2 lease: ok", "lease"],
        "{trace}"
    );
    assert_eq!(
        steps.last().map(String::as_str),
        Some("l2 read: ok"),
        "{trace}"
    );
}

#[tokio::test]
async fn call_that_needs_itself_is_uncached() {
    let here = Instance::with_memory().await;
    let function = build("call_traces::recursive");
    let body = async || function.get_or_load((1,), async || 1).await + 1;
    let (value, traces) = traced(&here, function.get_or_load((1,), body)).await;
    assert_eq!(value, 2);
    let [outer, inner] = &traces[..] else {
        panic!("{traces:?}")
    };
    assert_trace(outer, CallOutcome::Loaded, None, &["body: value"]);
    assert_trace(inner, CallOutcome::Uncached, None, &["body: value"]);
}

#[tokio::test]
async fn stale_value_has_another_outcome_than_a_fresh_one() {
    let clock = ManualClock::new();
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(tiers).await;
    let function = builder("call_traces::stale").stale_while_revalidate(HOUR);
    let function = function.build().unwrap();
    let call = || function.get_or_load_late((1,), async || 1);
    let loaded = trace_of(&here, call()).await;
    assert_trace(&loaded, CallOutcome::Loaded, None, &["body: value"]);
    let fresh = trace_of(&here, call()).await;
    assert_trace(&fresh, CallOutcome::Hit, Some(Level::L1), &[]);
    clock.advance(HOUR + HOUR / 2);
    let stale = trace_of(&here, call()).await;
    assert_trace(&stale, CallOutcome::Stale, Some(Level::L1), &[]);
    assert_eq!(stale.fresh_for, None);
}

#[derive(Clone, Debug, PartialEq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[tokio::test(start_paused = true)]
async fn load_that_continues_in_the_background_has_timed_out_for_its_call() {
    let here = Instance::with_memory().await;
    let function = builder("call_traces::timed_out").hard_timeout(Duration::from_secs(1));
    let function = function.build().unwrap();
    let make = pending::<Result<u64, TimedOut>>;
    let (result, traces) = traced(&here, function.get_or_load_late((1,), make)).await;
    assert_eq!(result, Err(TimedOut));
    let [trace] = &traces[..] else {
        panic!("{traces:?}")
    };
    assert_eq!(trace.outcome, CallOutcome::TimedOut);
    assert_eq!(steps(trace), ["body"], "{trace}");
    assert_eq!(trace.steps[0].took, None);
    assert!(trace.to_string().ends_with("body, not ended"), "{trace}");
}

#[tokio::test]
async fn call_that_is_dropped_is_cancelled_and_says_where_it_was() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let function = build("call_traces::dropped");
    let calls = async {
        let call = function.get_or_load((1,), pending::<u64>);
        timeout(Duration::from_millis(200), call).await.unwrap_err();
        function.get_or_load((1,), async || 1).await
    };
    let (value, traces) = traced(&here, calls).await;
    assert_eq!(value, 1);
    assert_eq!(traces.len(), 2);
    let before = ["l2 read: ok", "l2 lease: ok", "body: cancelled"];
    assert_trace(&traces[0], CallOutcome::Cancelled, None, &before);
    assert_eq!(traces[1].outcome, CallOutcome::Loaded);
}

#[tokio::test]
async fn trace_of_a_body_that_fails_does_not_have_its_error() {
    let here = Instance::with_memory().await;
    let function = build("call_traces::failed");
    let failed = function.get_or_load((1,), async || Err::<u64, _>("a secret"));
    let trace = trace_of(&here, failed).await;
    assert_trace(&trace, CallOutcome::Loaded, None, &["body: error"]);
    assert!(!format!("{trace:?}").contains("secret"));
}

#[tokio::test]
async fn batch_has_one_trace() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let function = build("call_traces::batch");
    let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id)).collect();
    let call = async |ids: &[u64]| {
        let values = function.get_or_load_many(ids, |id| (*id,), body);
        let values: HashMap<u64, u64> = values.await;
        values.len()
    };
    let loaded = trace_of(&here, call(&[1, 2, 3])).await;
    assert_eq!((&loaded.key, loaded.keys), (&None, Some(3)));
    let all = ["l2 read: ok", "l2 lease: ok", "body: value", "l2 fill: ok"];
    assert_trace(&loaded, CallOutcome::Loaded, None, &all);
    let hit = trace_of(&here, call(&[1, 2])).await;
    assert_trace(&hit, CallOutcome::Hit, None, &[]);
    assert_eq!(hit.keys, Some(2));
    let partly = trace_of(&here, call(&[2, 3, 4])).await;
    assert_eq!(
        (partly.outcome, partly.keys),
        (CallOutcome::Loaded, Some(1))
    );
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", name = "call_traces::plain")]
fn plain(key: u64) -> u64 {
    key
}

#[tokio::test]
async fn plain_function_is_traced_on_its_thread() {
    let here = Instance::with_memory().await;
    let runtime = here.runtime;
    let calls = || CacheRuntime::traced_blocking(|| plain(1) + plain(1));
    let (sum, traces) = CacheRuntime::scope_blocking(runtime, calls);
    assert_eq!(sum, 2);
    let outcomes: Vec<_> = traces.iter().map(|trace| trace.outcome).collect();
    assert_eq!(outcomes, [CallOutcome::Loaded, CallOutcome::Hit]);
}

/// The statistics say the same of a traced call.
#[tokio::test]
async fn calls_are_counted_as_without_a_trace() {
    let server = Server::start();
    let url = server.url();
    let calls = async |here: &Instance, function: &Function<u64>| {
        for key in [1_u64, 1, 2] {
            function.get_or_load((key,), async || 1).await;
        }
        function.entry((1_u64,)).invalidate().await.unwrap();
        // Its own message voids a value that memory got before it.
        here.until_keys_received(1).await;
        function.get_or_load((1_u64,), async || 1).await;
        let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, 1)).collect();
        let many = function.get_or_load_many(&[1, 3], |id| (*id,), body);
        let _: HashMap<u64, u64> = many.await;
    };
    let counted = async |name: &'static str, is_traced: bool| {
        let function = builder(name).stale_while_revalidate(HOUR).build().unwrap();
        let redis = Redis::new(&*url).namespace(name);
        let here = Instance::with_redis(redis).await;
        here.until_coherent().await;
        match is_traced {
            true => drop(traced(&here, calls(&here, &function)).await),
            false => here.call(calls(&here, &function)).await,
        }
        let stats = function_stats(&here, name).unwrap();
        let tiers: Vec<_> = stats
            .tiers
            .iter()
            .map(|tier| (tier.hits, tier.misses))
            .collect();
        (stats.loads, stats.invalidations, tiers)
    };
    let with = counted("call_traces::counted", true).await;
    assert_eq!(with, counted("call_traces::uncounted", false).await);
    assert_eq!(with.0, 4);
}

#[tokio::test]
async fn tasks_that_are_spawned_are_not_traced() {
    let here = Instance::with_memory().await;
    let other = here.clone();
    let calls = async move {
        other.spawn(user(1)).await.unwrap();
        user(1).await
    };
    let (_, traces) = traced(&here, calls).await;
    let outcomes: Vec<_> = traces.iter().map(|trace| trace.outcome).collect();
    assert_eq!(outcomes, [CallOutcome::Hit]);
}

#[tokio::test]
async fn calls_after_the_most_are_made_without_a_trace() {
    let here = Instance::with_memory().await;
    let calls = async {
        let mut sum = 0;
        for key in 0..5_000 {
            sum += user(key % 2).await;
        }
        sum
    };
    let (sum, traces) = traced(&here, calls).await;
    assert_eq!((sum, traces.len()), (2_500, 4_096));
}

/// A trace inside another one has the calls that are made in it.
#[tokio::test]
async fn inner_trace_takes_its_calls_from_the_outer_one() {
    let here = Instance::with_memory().await;
    let calls = async {
        user(1).await;
        CacheRuntime::traced(user(2)).await.1.len()
    };
    let (inner, traces) = traced(&here, calls).await;
    assert_eq!((inner, traces.len()), (1, 1));
}

#[tokio::test]
async fn calls_that_run_at_the_same_time_have_steps_of_their_own() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let function = build("call_traces::together");
    let call = |key: u64| {
        let body = async move || {
            yield_now().await;
            key
        };
        function.get_or_load((key,), body)
    };
    let together = async { tokio::join!(call(1), call(2)) };
    let (_, traces) = traced(&here, together).await;
    let all = ["l2 read: ok", "l2 lease: ok", "body: value", "l2 fill: ok"];
    assert_eq!(traces.len(), 2);
    for trace in &traces {
        assert_trace(trace, CallOutcome::Loaded, None, &all);
    }
}

#[tokio::test]
async fn trace_is_written_as_text_and_read_back() {
    let here = Instance::with_memory().await;
    let trace = trace_of(&here, user(7)).await;
    let text = trace.to_string();
    assert!(
        text.starts_with("call_traces::user  key 7  loaded, "),
        "{text}"
    );
    assert!(
        text.contains("\n  after ") && text.contains("body: value"),
        "{text}"
    );
    let json = serde_json::to_string(&trace).unwrap();
    assert_eq!(serde_json::from_str::<CallTrace>(&json).unwrap(), trace);
}
