//! A hit executes as many instructions with the exporters of metrics attached as without them.
//!
//! Needs `valgrind`, which counts the instructions. `cargo test -p tests --test instructions` runs
//! 20,000 hits of each engine; with `--release`, and the number of hits in `HITS`, it prints what a
//! program has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cache_opentelemetry::instrument;
use cache_opentelemetry::opentelemetry::metrics::MeterProvider;
use multi_tier_cached::{CacheRuntime, Engine, Memory, PrometheusMetrics, multi_tier_cached};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// Names the engine for the process that is measured.
const ENGINE: &str = "MTC_TEST_ENGINE";
/// Set for the process that is measured if exporters are attached.
const EXPORTED: &str = "MTC_TEST_EXPORTED";

/// The one key that is called. The keys of a process have random hashes, and of several keys more
/// would collide in one process than in another.
const ID: u64 = 1;

/// The bar: this part of the instructions may be more.
const MOST: f64 = 0.001;

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn by_id(shard: u32, id: u64) -> Arc<str> {
    format!("{shard} {id}").into()
}

/// Polls a call once. A hit is ready then.
fn hit<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call was no hit"),
    }
}

/// The part that is counted. Its name is an option of `valgrind`.
#[inline(never)]
fn counted_hits(number: u64) {
    for _ in 0..number {
        black_box(hit(by_id(1, black_box(ID))));
    }
}

fn number_of_hits() -> u64 {
    let number = std::env::var("HITS").ok();
    number.map_or(20_000, |number| number.parse().unwrap())
}

/// Makes the hits. Exporters read the metrics once before.
#[tokio::main(flavor = "current_thread")]
async fn measured(engine: Engine, are_exported: bool) {
    let memory = Memory::builder().engine(engine);
    let runtime = CacheRuntime::builder().l1(memory).install().await.unwrap();
    by_id(1, ID).await;
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let instruments = are_exported.then(|| instrument(&runtime, &provider.meter("tests")));
    if are_exported {
        assert!(
            runtime
                .prometheus_text()
                .contains("multi_tier_cached_lookups_total")
        );
        provider.force_flush().unwrap();
    }
    counted_hits(number_of_hits());
    drop(instruments);
}

/// Returns the number of instructions of the hits, in a process of their own.
fn instructions(engine: &str, are_exported: bool) -> u64 {
    let directory = std::env::temp_dir().join(format!("mtc-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join(engine);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*counted_hits*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().unwrap())
        .env(ENGINE, engine);
    if are_exported {
        command.env(EXPORTED, "1");
    }
    let output = command.output().expect("valgrind starts; help: install it");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let profile = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.unwrap_or_else(|| panic!("no total in the profile\n{log}"));
    total.trim().parse().unwrap()
}

fn main() {
    if let Ok(engine) = std::env::var(ENGINE) {
        return measured(
            engine.parse().unwrap(),
            std::env::var_os(EXPORTED).is_some(),
        );
    }
    let hits = number_of_hits();
    for engine in ["quick_cache", "moka"] {
        let [plain, exported] = [false, true].map(|is| instructions(engine, is));
        assert!(
            plain > hits,
            "the hits of {engine} were not counted: {plain}"
        );
        let ratio = exported as f64 / plain as f64;
        println!(
            "{engine}: {:.1} instructions for a hit, {:.1} with exporters, ratio {ratio:.5}",
            plain as f64 / hits as f64,
            exported as f64 / hits as f64,
        );
        assert!(
            (ratio - 1.0).abs() <= MOST,
            "{engine}: {plain} and {exported}"
        );
    }
}
