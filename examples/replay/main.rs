//! The main job on real input: replays an access trace, one key per line, through an annotated function.
//!
//! `cargo run --release --example replay -- [--trace FILE] [--tiers l1,l2,l3] [--l1-entries N] [--engine moka|quick_cache]
//! [--redis URL] [--disk DIRECTORY] [--callers C]`; without a file a Zipf of a million accesses. `l2` is Redis, `l3` the disk,
//! with `--features disk`; without `--tiers` it is those that are given. A value that is not its key's is counted, and an error.

mod answers;
mod latencies;
mod options;
mod report;

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use multi_tier_cached::{CacheRuntime, Memory, Redis, multi_tier_cached};
use tokio::time::Instant;

use crate::latencies::{Latencies, Path};
use crate::options::Options;

#[multi_tier_cached(ttl = "1h", name = "replay::object")]
async fn object(key: &str) -> u64 {
    let _ = LOADED.try_with(|loaded| loaded.set(true));
    value_of(key)
}

/// FNV-1a: another key has another value.
fn value_of(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

tokio::task_local! {
    /// Whether the call that this caller makes ran the body.
    static LOADED: Cell<bool>;
}

/// Takes accesses from the trace, one after the other, until it is done.
async fn caller(
    memory: answers::Memory,
    trace: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    bar: ProgressBar,
) -> Latencies {
    let mut latencies = Latencies::default();
    LOADED
        .scope(Cell::new(false), async {
            while let Some(key) = trace.get(next.fetch_add(1, Ordering::Relaxed)) {
                LOADED.with(|loaded| loaded.set(false));
                let began = Instant::now();
                let (at_once, value) = answers::call(object(key)).await;
                let took = began.elapsed();
                if value != value_of(key) {
                    latencies.note_wrong();
                }
                let path = match (LOADED.with(Cell::get), memory.has_answered(at_once)) {
                    (true, _) => Path::Load,
                    (false, true) => Path::L1Hit,
                    (false, false) => Path::LowerHitOrWait,
                };
                latencies.note(path, took);
                bar.inc(1);
            }
        })
        .await;
    latencies
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::from_args()?;
    let memory = Memory::builder()
        .engine(options.engine)
        .max_entries(options.l1_entries);
    let mut builder = CacheRuntime::builder().l1(memory);
    if let Some(url) = &options.redis {
        builder = builder.l2(Redis::new(url).namespace("replay").required());
    }
    #[cfg(feature = "disk")]
    if let Some(directory) = &options.disk {
        builder = builder.l3(multi_tier_cached::Disk::new(directory));
    }
    let runtime = builder.install().await?;

    let trace = Arc::new(options.trace()?);
    let next = Arc::new(AtomicUsize::new(0));
    let bar = ProgressBar::new(trace.len() as u64);
    let began = Instant::now();
    let callers: Vec<_> = (0..options.callers)
        .map(|_| {
            let memory = answers::Memory::new(&runtime, options.callers);
            let (trace, next) = (Arc::clone(&trace), Arc::clone(&next));
            tokio::spawn(caller(memory, trace, next, bar.clone()))
        })
        .collect();
    let mut latencies = Latencies::default();
    for caller in callers {
        latencies.merge(caller.await?);
    }
    bar.finish_and_clear();

    let stats = runtime
        .stats()
        .function("replay::object")
        .cloned()
        .ok_or("the trace is empty")?;
    let wrong = report::print(&options, &trace, began.elapsed(), &stats, latencies);
    runtime.shutdown().await?;
    if wrong > 0 {
        return Err(format!("{wrong} values were not their keys'").into());
    }
    Ok(())
}
