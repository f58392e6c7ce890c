//! The main job on real input: replays an access trace, one key per line, through an annotated function.
//! `-- --trace FILE [--l1-entries N] [--engine moka|quick_cache] [--redis URL] [--callers C]`; no file: a Zipf.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use multi_tier_cached::{CacheRuntime, Engine, Level, Memory, Redis, multi_tier_cached};
use tokio::time::Instant;

#[multi_tier_cached(ttl = "1h", name = "replay::object")]
async fn object(key: &str) -> u64 {
    let _ = LOADED.try_with(|loaded| loaded.set(true));
    key.len() as u64
}

tokio::task_local! {
    /// Whether the call that a caller makes ran the body.
    static LOADED: Cell<bool>;
}

/// Nanoseconds of each call, by how it was answered: from memory, by the body, or by Redis or another caller.
type Latencies = [Vec<u64>; 3];
const PATHS: [&str; 3] = ["l1 hit", "load", "l2 hit or wait"];

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next().map(|_| {
        arguments
            .next()
            .unwrap_or_else(|| panic!("{name} needs a value"))
    })
}

fn number(name: &str, default: usize) -> usize {
    option(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not `{text}`"))
    })
}

/// A million accesses to 100,000 keys, the n-th as frequent as 1 / n.
fn zipf() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..1_000_000)
        .map(|_| ((100_000f64).powf(random.f64()) as u64).to_string())
        .collect()
}

async fn caller(trace: Arc<Vec<String>>, next: Arc<AtomicUsize>, bar: ProgressBar) -> Latencies {
    let mut latencies = Latencies::default();
    LOADED
        .scope(Cell::new(false), async {
            while let Some(key) = trace.get(next.fetch_add(1, Ordering::Relaxed)) {
                LOADED.with(|loaded| loaded.set(false));
                let began = Instant::now();
                let mut call = Box::pin(object(key));
                let first = std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())
                })
                .await;
                if !first {
                    call.await;
                }
                let path = if LOADED.with(Cell::get) {
                    1
                } else if first {
                    0
                } else {
                    2
                };
                latencies[path].push(began.elapsed().as_nanos() as u64);
                bar.inc(1);
            }
        })
        .await;
    latencies
}

/// What the engine alone would keep, of the same size on the same trace.
fn bare_hit_ratio(engine: Engine, entries: usize, trace: &[String]) -> f64 {
    let hits = if engine == Engine::Moka {
        let cache = moka::sync::Cache::new(entries as u64);
        trace
            .iter()
            .filter(|key| {
                cache.get(*key).is_some() || {
                    cache.insert(key.to_string(), ());
                    false
                }
            })
            .count()
    } else {
        let cache = quick_cache::sync::Cache::new(entries);
        trace
            .iter()
            .filter(|key| {
                cache.get(*key).is_some() || {
                    cache.insert(key.to_string(), ());
                    false
                }
            })
            .count()
    };
    hits as f64 / trace.len() as f64
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trace = Arc::new(match option("--trace") {
        Some(file) => std::fs::read_to_string(&file)
            .map_err(|error| format!("{file}: {error}"))?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => zipf(),
    });
    let entries = number("--l1-entries", 10_000);
    let engine: Engine = option("--engine").as_deref().unwrap_or("moka").parse()?;
    let mut builder =
        CacheRuntime::builder().l1(Memory::builder().engine(engine).max_entries(entries as u64));
    if let Some(url) = option("--redis") {
        builder = builder.l2(Redis::new(url).namespace("replay").required());
    }
    let runtime = builder.install().await?;

    let (next, bar) = (
        Arc::new(AtomicUsize::new(0)),
        ProgressBar::new(trace.len() as u64),
    );
    let began = Instant::now();
    let callers: Vec<_> = (0..number("--callers", 1))
        .map(|_| tokio::spawn(caller(Arc::clone(&trace), Arc::clone(&next), bar.clone())))
        .collect();
    let mut latencies = Latencies::default();
    for caller in callers {
        for (all, one) in latencies.iter_mut().zip(caller.await?) {
            all.extend(one);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let accesses = trace.len() as f64;
    let stats = runtime
        .stats()
        .function("replay::object")
        .cloned()
        .ok_or("the trace is empty")?;
    println!(
        "accesses  {:>9}   ({:.0} per second)",
        trace.len(),
        accesses / seconds
    );
    for tier in &stats.tiers {
        println!(
            "{} hits   {:>9}   hit ratio {:.2} %",
            tier.level,
            tier.hits,
            100.0 * tier.hits as f64 / accesses
        );
        if tier.level == Level::L1 {
            println!(
                "          the bare engine ({engine:?}): {:.2} %",
                100.0 * bare_hit_ratio(engine, entries, &trace)
            );
        }
    }
    println!(
        "loads     {:>9}\nwaits     {:>9}\n",
        stats.loads, stats.waits
    );
    println!(
        "{:<16} {:>9} {:>10} {:>10} {:>10}",
        "path", "calls", "p50", "p99", "max"
    );
    for (path, mut calls) in PATHS.into_iter().zip(latencies) {
        calls.sort_unstable();
        let at = |share: f64| {
            calls
                .get(((calls.len() as f64 * share) as usize).min(calls.len().max(1) - 1))
                .map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        println!(
            "{path:<16} {:>9} {:>7.1} us {:>7.1} us {:>7.1} us",
            calls.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    Ok(runtime.shutdown().await?)
}
