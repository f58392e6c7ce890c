//! `replay`: replays a trace of accesses, one key per line, through a cached function.
//!
//! A value is a hash of its key, so a value that belongs to another key is noticed.

mod answers;
mod paths;
mod report;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::tier::FunctionKey;
use cache_core::{CacheRuntime, Engine, Function, Memory};
use cache_redis::inspect::InspectedShard;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::paths::{Path, Paths};
use self::report::{Counts, Report};
use crate::args::{Place, Replay, ReplayEngine, ReplayTier};
use crate::failure::Failure;
use crate::interrupt::{Signals, Stop};
use crate::output::Output;
use crate::scratch::Scratch;
use crate::verdict::Verdict;

/// The name of the function.
const NAME: &str = "replay::object";

/// Longer than a run takes, so that nothing expires.
const TTL: Duration = Duration::from_secs(3_600);

pub(crate) async fn run(
    place: &Place,
    output: &Output,
    arguments: &Replay,
) -> Result<Verdict, Failure> {
    let tiers = tiers(place, arguments)?;
    let keys = Arc::new(trace::read(arguments.trace.as_deref())?);
    let scratch = match tiers.contains(&ReplayTier::L2) {
        true => Some(Scratch::new(place, "replay").await?),
        false => None,
    };
    let (mut signals, stop) = (Signals::new()?, Stop::default());
    let work = work(arguments, scratch.as_ref(), &keys, &stop);
    let (replayed, removed) = signals.run(&stop, work).await;
    let (took, counts, paths) = match replayed {
        Ok(replayed) => replayed,
        Err(failure) => {
            if let Err(left) = removed {
                left.print(output.is_json);
            }
            return Err(failure);
        }
    };
    let (engine, entries) = (arguments.engine, arguments.entries);
    let accesses = &keys[..keys.len().min(paths.calls() as usize)];
    let report = Report {
        took,
        counts,
        paths,
        engine,
        entries,
        distinct: report::distinct(accesses),
        bare_hit_ratio: report::bare_hit_ratio(engine, entries, accesses),
        is_interrupted: stop.is_set(),
    };
    let printed = report.print(output);
    // Also if the output could not be written.
    removed?;
    printed
}

/// Replays the trace, and removes everything that it stored.
async fn work(
    arguments: &Replay,
    scratch: Option<&Scratch>,
    keys: &Arc<Vec<String>>,
    stop: &Stop,
) -> (
    Result<(Duration, Counts, Paths), Failure>,
    Result<(), Failure>,
) {
    let runtime = match start(arguments, scratch).await {
        Ok(runtime) => runtime,
        Err(failure) => {
            let removed = match scratch {
                Some(scratch) => scratch.remove_controls().await,
                None => Ok(()),
            };
            return (Err(failure), removed);
        }
    };
    let replayed = replay(arguments, runtime, keys, stop).await;
    let epoch = |shard: &InspectedShard| vec![shard.epoch_name(&FunctionKey::new(NAME, 1))];
    let removed = match scratch {
        Some(scratch) => scratch.remove(epoch).await,
        None => Ok(()),
    };
    (replayed, removed)
}

/// Returns the tiers that are named, or those that have an address on the command line: a server
/// that only the environment names may be in production.
fn tiers(place: &Place, arguments: &Replay) -> Result<Vec<ReplayTier>, Failure> {
    let mut tiers = arguments.tiers.clone();
    let is_default = tiers.is_empty();
    if is_default {
        tiers.push(ReplayTier::L1);
        tiers.extend(place.names_servers().then_some(ReplayTier::L2));
        #[cfg(feature = "disk")]
        tiers.extend(arguments.disk.as_ref().map(|_| ReplayTier::L3));
        return Ok(tiers);
    }
    let unused = |what: &str, tier: &str| {
        Failure::usage(
            format!("an option names {what}, and `--tiers` does not name {tier}"),
            format!("add {tier} to `--tiers`, or leave the option out"),
        )
    };
    if !tiers.contains(&ReplayTier::L1) {
        return Err(Failure::usage(
            "`--tiers` does not name l1, which cannot be left out",
            "use `--tiers l1,l2`",
        ));
    }
    if place.names_servers() && !tiers.contains(&ReplayTier::L2) {
        return Err(unused("a server", "l2"));
    }
    #[cfg(feature = "disk")]
    match (&arguments.disk, tiers.contains(&ReplayTier::L3)) {
        (Some(_), false) => return Err(unused("a directory", "l3")),
        (None, true) => {
            return Err(Failure::usage(
                "`--tiers` names l3, which has no directory",
                "use `--disk DIRECTORY`",
            ));
        }
        (Some(_), true) | (None, false) => {}
    }
    Ok(tiers)
}

/// Starts the tiers.
async fn start(arguments: &Replay, scratch: Option<&Scratch>) -> Result<CacheRuntime, Failure> {
    let engine = match arguments.engine {
        ReplayEngine::Moka => Engine::Moka,
        ReplayEngine::QuickCache => Engine::QuickCache,
    };
    let memory = Memory::builder()
        .engine(engine)
        .max_entries(arguments.entries);
    let mut builder = CacheRuntime::builder().l1(memory);
    if let Some(scratch) = scratch {
        builder = builder.l2(scratch.redis());
    }
    #[cfg(feature = "disk")]
    if let Some(directory) = &arguments.disk {
        builder = builder.l3(cache_disk::Disk::new(directory));
    }
    Ok(builder.install().await?)
}

/// Replays the trace, and shuts the tiers down. Returns how long the accesses took.
async fn replay(
    arguments: &Replay,
    runtime: CacheRuntime,
    keys: &Arc<Vec<String>>,
    stop: &Stop,
) -> Result<(Duration, Counts, Paths), Failure> {
    let function = Function::<u64>::builder(NAME).ttl(TTL).build()?;
    let caller = Caller {
        function: Arc::new(function),
        keys: Arc::clone(keys),
        next: Arc::default(),
        stop: stop.clone(),
    };
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..arguments.callers {
        let memory = answers::Memory::new(&runtime, arguments.callers);
        callers.spawn(caller.clone().run(memory));
    }
    let mut paths = Paths::default();
    let mut failure = None;
    while let Some(done) = callers.join_next().await {
        match done {
            Ok(one) => paths.merge(&one),
            Err(error) => failure = Some(std::io::Error::other(error)),
        }
    }
    let took = began.elapsed();
    let counts = Counts::of(runtime.stats().function(NAME));
    runtime.shutdown().await?;
    match failure {
        None => Ok((took, counts, paths)),
        Some(error) => Err(error.into()),
    }
}

/// One of the callers that share the accesses of the trace.
#[derive(Clone, Debug)]
struct Caller {
    function: Arc<Function<u64>>,
    keys: Arc<Vec<String>>,
    /// The access that is the next one to be made.
    next: Arc<AtomicUsize>,
    stop: Stop,
}

impl Caller {
    /// Makes accesses, one after the other, together with the other callers.
    async fn run(self, memory: answers::Memory) -> Paths {
        let mut paths = Paths::default();
        // Relaxed: the number orders nothing.
        while let Some(key) = self.keys.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.stop.is_set() {
                break;
            }
            let has_loaded = AtomicBool::new(false);
            let load = async || {
                has_loaded.store(true, Ordering::Relaxed);
                value_of(key)
            };
            let began = Instant::now();
            let call = self.function.get_or_load((key.as_str(),), load);
            let (is_immediate, value) = answers::call(call).await;
            let took = began.elapsed();
            if value != value_of(key) {
                paths.count_wrong();
            }
            let has_loaded = has_loaded.into_inner();
            let path = match (has_loaded, memory.has_answered(is_immediate)) {
                (true, _) => Path::Load,
                (false, true) => Path::L1Hit,
                (false, false) => Path::LowerHitOrWait,
            };
            paths.record(path, took);
        }
        paths
    }
}

/// Returns the FNV-1a hash of a key, so that different keys have different values.
fn value_of(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
