//! Bodies are counted when they begin and once when they end, by result, with the time they took.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, FunctionBuilder, FunctionStats, LoadTimeout, ManualClock, Memory,
    caching, multi_tier_cached,
};
use testbed::{Gate, Instance, poll_once, until};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3_600);
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

impl From<LoadTimeout> for Failed {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// The end of a body.
#[derive(Clone, Copy, Debug)]
enum Body {
    Value,
    Absent,
    Error,
    SaysFailed,
    Panic,
    Hang,
}

impl Body {
    async fn run(self) -> Result<Option<u64>, Failed> {
        match self {
            Self::Value => Ok(Some(1)),
            Self::Absent => Ok(None),
            Self::Error => Err(Failed),
            Self::SaysFailed => {
                caching::failed();
                Ok(Some(1))
            }
            Self::Panic => panic!("a body that panics"),
            Self::Hang => pending().await,
        }
    }
}

fn builder(name: &'static str) -> FunctionBuilder<u64> {
    Function::<u64>::builder(name).ttl(HOUR)
}

fn stats(here: &Instance, function: &str) -> FunctionStats {
    here.stats().function(function).unwrap().clone()
}

/// The loads that began, those that ended with a value, without one, with an error or without a
/// result, and those that run.
fn loads(here: &Instance, function: &str) -> (u64, [u64; 4], u64) {
    let stats = stats(here, function);
    let times = &stats.load_times;
    let ended = [&times.value, &times.absent, &times.error, &times.cancelled];
    (
        stats.loads,
        ended.map(|of_result| of_result.count()),
        stats.running_loads(),
    )
}

/// Makes one call for each of these bodies, each of another key. A body that hangs is dropped.
async fn call_each(here: &Instance, function: &Function<u64>, bodies: &[Body]) {
    for (key, body) in (0_u64..).zip(bodies.iter().copied()) {
        let called = function.clone();
        let call = here.spawn(async move {
            let _ = called.get_or_load((key,), || body.run()).await;
        });
        if let Body::Hang = body {
            until("the body hangs", || loads(here, function.name()).2 == 1).await;
            call.abort();
        }
        let _ = call.await;
    }
}

const BODIES: [Body; 6] = [
    Body::Value,
    Body::Absent,
    Body::Error,
    Body::SaysFailed,
    Body::Panic,
    Body::Hang,
];

#[tokio::test]
async fn each_body_is_counted_once_by_its_result() {
    let here = Instance::with_memory().await;
    let plain = builder("load_times::plain").build().unwrap();
    call_each(&here, &plain, &[Body::Value]).await;
    assert_eq!(loads(&here, "load_times::plain"), (1, [1, 0, 0, 0], 0));
    let again = plain.get_or_load((0_u64,), || Body::Error.run());
    assert_eq!(here.call(again).await, Ok(Some(1)));
    assert_eq!(loads(&here, "load_times::plain"), (1, [1, 0, 0, 0], 0));
    here.call(plain.entry((0_u64,)).invalidate()).await.unwrap();
    call_each(&here, &plain, &BODIES).await;
    assert_eq!(loads(&here, "load_times::plain"), (7, [2, 1, 2, 2], 0));
    // The panic is counted, because it is caught.
    assert_eq!(stats(&here, "load_times::plain").load_errors, 3);
}

#[multi_tier_cached(ttl = "1h", skip(body))]
async fn annotated(_key: u64, body: Body) -> Result<Option<u64>, Failed> {
    body.run().await
}

#[tokio::test]
async fn each_body_of_an_annotated_function_is_counted_once_by_its_result() {
    const NAME: &str = "it::statistics::load_times::annotated";
    let here = Instance::with_memory().await;
    for (key, body) in (0_u64..).zip(BODIES) {
        let call = here.spawn(annotated(key, body));
        if let Body::Hang = body {
            until("the body hangs", || loads(&here, NAME).2 == 1).await;
            call.abort();
        }
        let _ = call.await;
    }
    assert_eq!(loads(&here, NAME), (6, [1, 1, 2, 2], 0));
    // The panic is not counted, because it is not caught.
    assert_eq!(stats(&here, NAME).load_errors, 2);
}

#[tokio::test]
async fn each_body_of_a_function_with_times_is_counted_once_by_its_result() {
    let here = Instance::with_memory().await;
    let timed = builder("load_times::timed").stale_if_error(HOUR);
    let timed = timed.build().unwrap();
    call_each(&here, &timed, &BODIES).await;
    assert_eq!(loads(&here, "load_times::timed"), (6, [1, 1, 2, 2], 0));
    assert_eq!(stats(&here, "load_times::timed").load_errors, 3);
}

#[tokio::test(start_paused = true)]
async fn body_that_reaches_its_limit_is_counted_as_cancelled() {
    let here = Instance::with_memory().await;
    let limited = builder("load_times::limited").load_limit(HOUR);
    let limited = limited.build().unwrap();
    let call = limited.get_or_load((1_u64,), || Body::Hang.run());
    assert_eq!(here.call(call).await, Err(Failed));
    assert_eq!(loads(&here, "load_times::limited"), (1, [0, 0, 0, 1], 0));
    let stats = stats(&here, "load_times::limited");
    assert_eq!((stats.load_errors, stats.abandoned), (0, 1));
}

#[tokio::test]
async fn body_that_runs_is_counted_as_running() {
    let here = Instance::with_memory().await;
    let function = builder("load_times::running").build().unwrap();
    let gate = Gate::new();
    let body = || async {
        gate.pass().await;
        1
    };
    let mut call = Box::pin(here.call(function.get_or_load((1_u64,), body)));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(loads(&here, "load_times::running"), (1, [0; 4], 1));
    gate.open();
    assert_eq!(call.await, 1);
    assert_eq!(loads(&here, "load_times::running"), (1, [1, 0, 0, 0], 0));
}

/// A body that calls its own key cannot wait for itself, so that call runs a body beside it.
#[tokio::test]
async fn body_beside_a_flight_is_counted_by_its_result() {
    let here = Instance::with_memory().await;
    let function = builder("load_times::beside").build().unwrap();
    let inner = function.clone();
    let body = || async move {
        let beside = inner.get_or_load((1_u64,), || Body::Value.run()).await;
        inner.get_or_load((1_u64,), || Body::Absent.run()).await?;
        let _ = inner.get_or_load((1_u64,), || Body::Error.run()).await;
        beside
    };
    let call = function.get_or_load((1_u64,), body);
    assert_eq!(here.call(call).await, Ok(Some(1)));
    assert_eq!(loads(&here, "load_times::beside"), (4, [2, 1, 1, 0], 0));
}

#[tokio::test]
async fn call_without_a_key_is_no_load() {
    let here = Instance::with_memory().await;
    let function = builder("load_times::keyless").build().unwrap();
    struct NoKey;
    impl serde::Serialize for NoKey {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no key"))
        }
    }
    let call = function.get_or_load((NoKey,), || Body::Value.run());
    assert_eq!(here.call(call).await, Ok(Some(1)));
    assert_eq!(loads(&here, "load_times::keyless"), (0, [0; 4], 0));
    assert_eq!(stats(&here, "load_times::keyless").key_errors, 1);
}

#[tokio::test]
async fn body_of_a_batch_is_counted_for_each_of_its_ids() {
    type Values = Result<HashMap<u64, u64>, Failed>;

    let here = Instance::with_memory().await;
    let function = builder("load_times::batch").build().unwrap();
    let call = async |ids: &[u64], body: Body| {
        let body = async |ids: Vec<u64>| -> Values {
            match body {
                // Every second id has no value.
                Body::Value => Ok(ids
                    .into_iter()
                    .filter(|id| id % 2 == 0)
                    .map(|id| (id, id))
                    .collect()),
                body => body.run().await.map(|_| HashMap::new()),
            }
        };
        function.get_or_load_many(ids, |id| (*id,), body).await
    };
    here.call(call(&[1, 2, 3], Body::Value)).await.unwrap();
    assert_eq!(loads(&here, "load_times::batch"), (3, [1, 2, 0, 0], 0));
    here.call(call(&[4, 5], Body::Error)).await.unwrap_err();
    assert_eq!(loads(&here, "load_times::batch"), (5, [1, 2, 2, 0], 0));
    let mut hanging = Box::pin(here.call(call(&[6, 7, 8], Body::Hang)));
    assert!(poll_once(&mut hanging).is_pending());
    assert_eq!(loads(&here, "load_times::batch"), (8, [1, 2, 2, 0], 3));
    drop(hanging);
    assert_eq!(loads(&here, "load_times::batch"), (8, [1, 2, 2, 3], 0));
}

/// A body runs for 1,000 ids at most. Those of the next body are ready when the first one fails.
#[tokio::test]
async fn ids_of_a_batch_whose_body_does_not_begin_are_no_loads() {
    type Values = Result<HashMap<u64, u64>, Failed>;

    let here = Instance::with_memory().await;
    let function = builder("load_times::most").build().unwrap();
    let ids: Vec<u64> = (0..1_500).collect();
    let body = async |_: Vec<u64>| -> Values { Err(Failed) };
    let call = function.get_or_load_many(&ids, |id| (*id,), body);
    assert_eq!(here.call(call).await, Err(Failed));
    assert_eq!(
        loads(&here, "load_times::most"),
        (1_000, [0, 0, 1_000, 0], 0)
    );
}

#[tokio::test]
async fn time_of_a_body_is_that_of_the_clock() {
    let clock = ManualClock::new();
    let builder_of_runtime = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(builder_of_runtime).await;
    let function = builder("load_times::twenty").build().unwrap();
    let body = || async {
        clock.advance(20 * MILLISECOND);
        1
    };
    here.call(function.get_or_load((1_u64,), body)).await;
    let times = stats(&here, "load_times::twenty").load_times;
    assert_eq!(times.value.sum(), 20 * MILLISECOND);
    let exported = times.value.exported();
    let bucket = exported.iter().find(|bucket| bucket.count == 1).unwrap();
    assert_eq!(bucket.up_to, Some(20 * MILLISECOND));
    let median = times.value.quantile(0.5).unwrap();
    assert!(
        median > 10 * MILLISECOND && median <= 20 * MILLISECOND,
        "{median:?}"
    );
    let table = here.stats().to_string();
    assert!(table.contains("cancelled"), "{table}");
}

/// With a clock that advances every 4 ms a short body takes 0 or 4 ms.
#[tokio::test]
async fn body_of_less_than_a_millisecond_is_timed_as_such() {
    let here = Instance::with_memory().await;
    let function = builder("load_times::short").build().unwrap();
    let shortest = Duration::from_micros(100);
    for key in 0..100_u64 {
        let body = || async {
            let began = Instant::now();
            while began.elapsed() < shortest {
                std::hint::spin_loop();
            }
            key
        };
        here.call(function.get_or_load((key,), body)).await;
    }
    let times = stats(&here, "load_times::short").load_times.value;
    assert_eq!(times.count(), 100);
    let is_short = |up_to: Duration| up_to >= shortest && up_to <= MILLISECOND;
    let short = times.buckets().iter();
    let short = short.filter(|bucket| bucket.up_to.is_some_and(is_short));
    let short: u64 = short.map(|bucket| bucket.count).sum();
    // The machine may be busy, but not during each of them.
    assert!(short > 20, "{times:?}");
}
