//! Metrics: the table of families, the samples of a runtime, and the libraries that export them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bridges;
mod observer;
mod prometheus;
mod provoke;
mod samples;
mod splits;

use std::time::Duration;

use multi_tier_cached::CacheRuntime;
use multi_tier_cached::metrics::{Sample, SampleValue};

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the sample of this family that has these attributes, among others.
fn sample(runtime: &CacheRuntime, family: &str, attributes: &[(&str, &str)]) -> Option<Sample> {
    let mut samples = runtime.samples().into_iter();
    samples.find(|sample| {
        let has = |(name, value): &(&str, &str)| sample.attribute(name) == Some(*value);
        sample.family.name == family && attributes.iter().all(has)
    })
}

/// Returns the number of a counter.
#[track_caller]
fn counter(runtime: &CacheRuntime, family: &str, attributes: &[(&str, &str)]) -> u64 {
    match sample(runtime, family, attributes).map(|sample| sample.value) {
        Some(SampleValue::Counter(number)) => number,
        other => panic!("{family} {attributes:?} is {other:?}"),
    }
}

/// Returns the value of a sample as one number. That of a histogram is the number of durations.
fn number(value: &SampleValue) -> f64 {
    match value {
        SampleValue::Counter(number) => *number as f64,
        SampleValue::UpDownCounter(number) => *number as f64,
        SampleValue::Gauge(number) => *number,
        SampleValue::Histogram(histogram) => histogram.count() as f64,
        other => panic!("a value of a new kind: {other:?}"),
    }
}
