//! An observer receives what the histograms count.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::metrics::{Family, Observer, SampleValue};
use multi_tier_cached::{CacheRuntime, Function, ManualClock, Memory, Redis};
use testbed::server::Server;
use testbed::{Instance, until};

use super::{HOUR, sample};

const MILLISECOND: Duration = Duration::from_millis(1);

type Seen = (&'static str, Vec<String>, Duration);

#[derive(Debug, Default)]
struct Records(Mutex<Vec<Seen>>);

impl Records {
    /// The durations of a family with these attributes.
    fn of(&self, family: &str, attributes: &[&str]) -> Vec<Duration> {
        let all = self.0.lock().unwrap();
        let matching = all
            .iter()
            .filter(|(name, values, _)| *name == family && values == attributes);
        matching.map(|(_, _, took)| *took).collect()
    }
}

impl Observer for Records {
    fn observe(&self, family: &'static Family, attributes: &[&str], took: Duration) {
        let attributes = attributes.iter().map(|value| (*value).to_owned()).collect();
        self.0.lock().unwrap().push((family.name, attributes, took));
    }
}

#[tokio::test]
async fn observer_receives_each_load_and_each_operation_once() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let records = Arc::<Records>::default();
    let observation = here.observe(Arc::clone(&records) as _);
    let function = Function::<u64>::builder("observer::read")
        .ttl(HOUR)
        .build()
        .unwrap();
    let call = |key: u64| here.call(function.get_or_load((key,), || async { 1 }));
    call(1).await;
    call(1).await;
    let operation = |operation| {
        records.of(
            "multi_tier_cached.tier.operation.duration",
            &["l2", "redis", operation, "ok"],
        )
    };
    until("the value is stored", || operation("fill").len() == 1).await;
    assert_eq!((operation("read").len(), operation("lease").len()), (1, 1));
    let loads = || {
        records.of(
            "multi_tier_cached.load.duration",
            &["observer::read", "value"],
        )
    };
    assert_eq!(loads().len(), 1);
    drop(observation);
    call(2).await;
    assert_eq!(loads().len(), 1, "the observation has ended");
}

#[tokio::test]
async fn body_of_20_ms_is_above_10_ms_and_at_most_20_ms() {
    let clock = ManualClock::new();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.clock(&clock)).await;
    let function = Function::<u64>::builder("observer::slow").ttl(HOUR).build();
    let function = function.unwrap();
    let body = || async {
        clock.advance(20 * MILLISECOND);
        1
    };
    here.call(function.get_or_load((1,), body)).await;
    let attributes = [("function", "observer::slow"), ("result", "value")];
    let sample = sample(&here, "multi_tier_cached.load.duration", &attributes).unwrap();
    let SampleValue::Histogram(histogram) = sample.value else {
        panic!("a load duration that is no histogram");
    };
    let exported = histogram.exported().into_iter();
    let used: Vec<_> = exported.filter(|bucket| bucket.count > 0).collect();
    assert_eq!(used.len(), 1);
    // The bound of a bucket is part of it.
    assert_eq!(used[0].up_to, Some(20 * MILLISECOND));
}
