//! Replays an access trace, one key per line, through an annotated function.
//!
//! `cargo run --release --example replay -- [--trace FILE] [--tiers l1,l2,l3] [--l1-entries N]
//! [--engine moka|quick_cache] [--redis URL] [--disk DIRECTORY] [--callers C]`
//!
//! Without a file, the trace is a Zipf distribution of a million accesses. `l2` is Redis, and `l3`
//! is the disk, with `--features disk`. Without `--tiers`, all tiers that have an address are used.
//! A value that belongs to another key is counted, and the program fails.

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

/// Returns the FNV-1a hash of a key, so that different keys have different values.
fn value_of(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

tokio::task_local! {
    /// `true` if the current call of this caller ran the body.
    static LOADED: Cell<bool>;
}

/// Makes the accesses of the trace, one after the other, together with the other callers.
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
                let (is_immediate, value) = answers::call(object(key)).await;
                let took = began.elapsed();
                if value != value_of(key) {
                    latencies.count_wrong();
                }
                let path = match (LOADED.with(Cell::get), memory.has_answered(is_immediate)) {
                    (true, _) => Path::Load,
                    (false, true) => Path::L1Hit,
                    (false, false) => Path::LowerHitOrWait,
                };
                latencies.record(path, took);
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
        return Err(format!("{wrong} values belong to other keys").into());
    }
    Ok(())
}
