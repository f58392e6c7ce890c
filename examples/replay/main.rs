//! The main job on real input: replays an access trace, one key per line, through an annotated function.
//!
//! `cargo run --release --example replay -- [--trace FILE] [--l1-entries N] [--engine moka|quick_cache]
//! [--redis URL] [--callers C]`; without a file a Zipf of a million accesses.

mod options;
mod report;

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use indicatif::ProgressBar;
use multi_tier_cached::{CacheRuntime, Memory, Redis, multi_tier_cached};
use tokio::time::Instant;

use crate::options::Options;
use crate::report::{Latencies, Path};

#[multi_tier_cached(ttl = "1h", name = "replay::object")]
async fn object(key: &str) -> u64 {
    let _ = LOADED.try_with(|loaded| loaded.set(true));
    key.len() as u64
}

tokio::task_local! {
    /// Whether the call that this caller makes ran the body.
    static LOADED: Cell<bool>;
}

/// Takes accesses from the trace, one after the other, until it is done.
async fn caller(trace: Arc<Vec<String>>, next: Arc<AtomicUsize>, bar: ProgressBar) -> Latencies {
    let mut latencies = Latencies::default();
    LOADED
        .scope(Cell::new(false), async {
            while let Some(key) = trace.get(next.fetch_add(1, Ordering::Relaxed)) {
                LOADED.with(|loaded| loaded.set(false));
                let began = Instant::now();
                let at_once = call(key).await;
                let path = match (LOADED.with(Cell::get), at_once) {
                    (true, _) => Path::Load,
                    (false, true) => Path::L1Hit,
                    (false, false) => Path::L2HitOrWait,
                };
                latencies.note(path, began.elapsed());
                bar.inc(1);
            }
        })
        .await;
    latencies
}

/// Makes one call; `true` if it was answered at the first poll, as from memory.
async fn call(key: &str) -> bool {
    let mut call = Box::pin(object(key));
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    if !first {
        call.await;
    }
    first
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
    let runtime = builder.install().await?;

    let trace = Arc::new(options.trace()?);
    let next = Arc::new(AtomicUsize::new(0));
    let bar = ProgressBar::new(trace.len() as u64);
    let began = Instant::now();
    let callers: Vec<_> = (0..options.callers)
        .map(|_| tokio::spawn(caller(Arc::clone(&trace), Arc::clone(&next), bar.clone())))
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
    report::print(&options, &trace, began.elapsed(), &stats, latencies);
    runtime.shutdown().await?;
    Ok(())
}
