//! The cost of collecting the metrics of a program with 500 functions.
//!
//! `cargo bench -p benches --bench metrics` prints the time of [`CacheRuntime::samples`]. Each
//! function uses memory and a tier below it, and was called. The bar is 2 ms, so that a scrape each
//! second takes 0.2 % of a processor for it. With `-- --short` it collects a few times, as a test.

use std::hint::black_box;
use std::time::{Duration, Instant};

use multi_tier_cached::{CacheRuntime, Function, Memory};
use testbed::fake_tier::FakeTier;

const FUNCTIONS: usize = 500;

const BAR: Duration = Duration::from_millis(2);

/// Returns the median of the times that `collect` takes.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn median(rounds: usize, mut collect: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            collect();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let is_short = std::env::args().any(|argument| argument == "--short");
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let runtime = builder.l2(FakeTier::new()).build().await;
    let runtime = runtime.expect("a runtime");
    let functions: Vec<Function<u64>> = (0..FUNCTIONS)
        .map(|number| {
            let function = Function::builder(format!("metrics::function_{number}"));
            let function = function.ttl(Duration::from_secs(3_600)).build();
            function.expect("a function")
        })
        .collect();
    let calls = async {
        for function in &functions {
            function.get_or_load((1,), || async { 1 }).await;
        }
    };
    CacheRuntime::scope(runtime.clone(), calls).await;
    let rounds = if is_short { 3 } else { 1_000 };
    let number = runtime.samples().len();
    assert!(number > 40 * FUNCTIONS, "{number} samples");
    let samples = median(rounds, || drop(black_box(runtime.samples())));
    println!("{FUNCTIONS} functions, {number} samples");
    println!("samples  {samples:.1?}, bar {BAR:?}");
    assert!(
        is_short || samples <= BAR,
        "the samples take longer than the bar"
    );
}
