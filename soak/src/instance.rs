//! One instance: a process with a runtime of its own, told over its input what to do.
//!
//! It answers one line to each command but those whose last column is empty:
//!
//! | command | does | answers |
//! | --- | --- | --- |
//! | `work <number>` | reads and changes keys at random until `rest`; so many loads in a thousand fail | |
//! | `rest` | ends that | `rested <calls that failed> <invalidations that did>` |
//! | `probe`, `unprobe` | reads one key each millisecond, and ends that | |
//! | `write <item>` | commits a version and invalidates | `wrote <acked or queued>` |
//! | `settle` | invalidates everything until that has settled | `settled` |
//! | `read` | reads every key | `read` |
//! | `burst <item> <number>` | so many calls of one key at once | `burst <first start> <last end>` |
//! | `ask <item>` | calls one key five times, one call after another | `asked` |
//! | `fail <item> <number>` | so many calls at once of one key whose loads fail | `failed` |
//! | `nest <item> <number>` | begins so many bodies at once that call one slow key | |
//! | `nested` | waits until these have returned | `nested` |
//! | `well` | asks the runtime for its health and records it | `well <0 or 1>` |
//! | `watch`, `unwatch` | does that and calls some keys every 50 ms, and ends that | |
//! | `panic` | panics in a task | `panicked` |
//! | `health` | | `health <connected> <coherent> <isolations> <gaps> <history changes> <replays> <queued>` |
//! | `stop` | shuts down and exits | `stopped` |

mod functions;
mod invalidations;
mod liveness;
mod panics;
mod work;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use multi_tier_cached::{CacheRuntime, Memory, Redis};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::functions::{FAILING_LOAD, NESTED_LOAD, SLOW_LOAD};
use self::functions::{LoadFailed, Versioned, bounded, in_memory, serving, strong};
use self::invalidations::{invalidate, settle};
pub use self::liveness::HOT_ITEMS;
use self::work::{change_at_random, read_at_random};
use crate::checker::PROBE;
use crate::clock;
use crate::database::Client;
use crate::history::{
    Event, Function, Item, Life, PUT, Reached, SERVING, STRONG, Scope, function_of,
};

/// Keys of the function with a bound; the first is the probe.
pub const BOUNDED_ITEMS: Item = 48;

/// Keys of the strong function.
pub const STRONG_ITEMS: Item = 12;

/// Keys of the function that goes on answering when its instance is cut off.
pub const SERVING_ITEMS: Item = 8;

/// Keys that an instance writes by hand.
const PUT_ITEMS: Item = 4;

/// Most instances whose keys that are written by hand are read.
const WRITERS: Item = 4;

/// Keys of the function that uses memory alone. The first half is never invalidated.
const MEMORY_ITEMS: Item = 12;

/// Work, of which one load in a hundred fails. Not while all is calm: who waited for one that failed loads in its place.
pub const WORK_AND_FAIL: &str = "work 10";

/// The staleness bound of all instances.
pub const BOUND: Duration = Duration::from_millis(500);

/// The mean time between two changes of an instance.
pub const PAUSE: Duration = Duration::from_millis(60);

/// The same where few keys change.
pub const LONG_PAUSE: Duration = Duration::from_secs(8);

const READERS: u64 = 4;
const READS_IN_A_ROW: usize = 8;

/// What an instance is told when it is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of Redis, as this instance sees it.
    pub url: String,
    /// Where the database serves.
    pub database: PathBuf,
    /// Where its events go.
    pub history: PathBuf,
    /// Which instance it is.
    pub life: Life,
    /// What it does at random follows from this.
    pub seed: u64,
    /// The mean time between two changes that it makes.
    pub pause: Duration,
}

impl Settings {
    /// As the arguments of a process.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        vec![
            self.url.clone(),
            self.database.display().to_string(),
            self.history.display().to_string(),
            self.life.instance.to_string(),
            self.life.number.to_string(),
            self.seed.to_string(),
            self.pause.as_millis().to_string(),
        ]
    }

    /// Of the arguments of a process; `None` if they are not such.
    #[must_use]
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [url, database, history, instance, number, seed, pause] = arguments else {
            return None;
        };
        Some(Self {
            url: url.clone(),
            database: database.into(),
            history: history.into(),
            life: Life {
                instance: instance.parse().ok()?,
                number: number.parse().ok()?,
            },
            seed: seed.parse().ok()?,
            pause: Duration::from_millis(pause.parse().ok()?),
        })
    }
}

static INSTANCE: OnceLock<Instance> = OnceLock::new();

#[derive(Debug)]
struct Instance {
    database: Client,
    life: Life,
    pause: Duration,
    /// How many loads in a thousand fail.
    failing: AtomicU32,
    history: Mutex<BufWriter<File>>,
    working: AtomicBool,
    probing: AtomicBool,
    watching: AtomicBool,
    failed: AtomicU64,
    /// Invalidations that ended in an error.
    errors: AtomicU64,
}

impl Instance {
    fn get() -> &'static Self {
        INSTANCE.get().expect("an instance that was started")
    }

    fn history(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: &Event) {
        let _ = writeln!(self.history(), "{event}");
    }
}

/// Reads one key and notes what came of it.
async fn read(item: Item) {
    let start = clock::now();
    let function = function_of(item);
    let result = match function {
        Function::Bounded => bounded(item).await,
        Function::Strong => strong(item).await,
        Function::Serving => serving(item).await,
        Function::Memory => in_memory(item).await,
        Function::Nested | Function::Failing | Function::Asked => return,
    };
    note(item, result, function == Function::Strong, start);
}

/// The same of what is kept, if anything is.
async fn peek(item: Item) {
    let start = clock::now();
    if let Some(kept) = bounded::entry(item).peek().await {
        note(item, Ok(kept), false, start);
    }
}

/// The same, as of now, of the function with a bound.
async fn read_strongly(item: Item) {
    let start = clock::now();
    let result = bounded::entry(item).strong().await;
    note(item, result, true, start);
}

fn note(item: Item, result: Result<Versioned, LoadFailed>, strong: bool, start: u64) {
    let (instance, end) = (Instance::get(), clock::now());
    match result {
        Ok(versioned) => instance.record(&Event::Read {
            life: instance.life,
            item,
            // What is of another key is a version that was never committed.
            version: if versioned.item == item {
                versioned.version
            } else {
                u64::MAX
            },
            strong,
            start,
            end,
        }),
        Err(LoadFailed) => {
            instance.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn all_items() -> impl Iterator<Item = Item> {
    (0..BOUNDED_ITEMS)
        .chain(STRONG..STRONG + STRONG_ITEMS)
        .chain(SERVING..SERVING + SERVING_ITEMS)
        .chain(PUT..PUT + WRITERS * PUT_ITEMS)
}

async fn probe() {
    while Instance::get().probing.load(Ordering::Relaxed) {
        read(PROBE).await;
        sleep(Duration::from_millis(1)).await;
    }
}

async fn burst(item: Item, number: usize) -> (u64, u64) {
    let mut calls = JoinSet::new();
    for _ in 0..number {
        calls.spawn(async move {
            let start = clock::now();
            read(item).await;
            (start, clock::now())
        });
    }
    let times = calls.join_all().await;
    let first = times.iter().map(|(start, _)| *start).min();
    let last = times.iter().map(|(_, end)| *end).max();
    (first.unwrap_or(0), last.unwrap_or(0))
}

fn health(runtime: &CacheRuntime) -> String {
    let tiers = runtime.tiers();
    let health = &tiers[0].health;
    format!(
        "health {} {} {} {} {} {} {}",
        u8::from(health.connected),
        u8::from(health.coherent_for.is_some()),
        health.isolations,
        health.gaps,
        health.history_changes,
        health.replays,
        health.queued
    )
}

/// Lives until it is told to stop, or its input ends.
///
/// # Errors
/// The runtime cannot be installed, or the history not be written.
pub async fn live(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let Settings {
        url,
        database,
        history,
        life,
        seed,
        pause,
    } = settings;
    panics::record(panics::file_of(&history), life);
    let journal = history.with_file_name(format!("journal-{}", life.instance));
    let instance = Instance {
        database: Client::new(Path::new(&database), life),
        life,
        pause,
        failing: AtomicU32::new(0),
        history: Mutex::new(BufWriter::new(File::create(history)?)),
        working: AtomicBool::new(false),
        probing: AtomicBool::new(false),
        watching: AtomicBool::new(false),
        failed: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    };
    INSTANCE
        .set(instance)
        .map_err(|_| "an instance lives already")?;
    let redis = Redis::new(url)
        .namespace("soak")
        .staleness_bound(BOUND)
        .journal_file(journal);
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .install()
        .await?;
    println!("ready");
    let instance = Instance::get();
    let flush = tokio::spawn(async {
        loop {
            sleep(Duration::from_millis(50)).await;
            let _ = Instance::get().history().flush();
        }
    });
    let mut rng = Rng::with_seed(seed);
    let mut work = JoinSet::new();
    let mut probes = JoinSet::new();
    let mut watches = JoinSet::new();
    let mut nests = JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let parts: Vec<_> = line.split(' ').collect();
        match parts[..] {
            ["work", failing] => {
                instance.failing.store(failing.parse()?, Ordering::Relaxed);
                instance.working.store(true, Ordering::Relaxed);
                for _ in 0..READERS {
                    work.spawn(read_at_random(rng.fork()));
                }
                work.spawn(change_at_random(rng.fork()));
            }
            ["rest"] => {
                instance.working.store(false, Ordering::Relaxed);
                while work.join_next().await.is_some() {}
                let failed = instance.failed.load(Ordering::Relaxed);
                let errors = instance.errors.load(Ordering::Relaxed);
                println!("rested {failed} {errors}");
            }
            ["probe"] => {
                instance.probing.store(true, Ordering::Relaxed);
                probes.spawn(probe());
            }
            ["unprobe"] => {
                instance.probing.store(false, Ordering::Relaxed);
                while probes.join_next().await.is_some() {}
            }
            ["write", item] => {
                let item = item.parse()?;
                instance.database.commit(item).await?;
                let reached = invalidate(Scope::One(item)).await;
                // It may be killed now.
                instance.history().flush()?;
                match reached {
                    Some(Reached::Acked) => println!("wrote acked"),
                    Some(_) => println!("wrote queued"),
                    None => println!("failed"),
                }
            }
            ["settle"] => {
                for item in all_items() {
                    instance.database.commit(item).await?;
                }
                for item in [0, STRONG, SERVING] {
                    settle(Scope::FunctionOf(item)).await;
                }
                println!("settled");
            }
            ["read"] => {
                for item in all_items() {
                    read(item).await;
                }
                println!("read");
            }
            ["burst", item, number] => {
                let (first, last) = burst(item.parse()?, number.parse()?).await;
                println!("burst {first} {last}");
            }
            ["ask", item] => {
                liveness::ask(item.parse()?).await;
                println!("asked");
            }
            ["fail", item, number] => {
                liveness::fail(item.parse()?, number.parse()?).await;
                println!("failed");
            }
            ["nest", item, number] => {
                nests.spawn(liveness::nest(item.parse()?, number.parse()?));
            }
            ["nested"] => {
                while nests.join_next().await.is_some() {}
                println!("nested");
            }
            ["well"] => {
                let well = liveness::report(&runtime).await;
                instance.history().flush()?;
                println!("well {}", u8::from(well));
            }
            ["watch"] => {
                instance.watching.store(true, Ordering::Relaxed);
                watches.spawn(liveness::watch(runtime.clone()));
            }
            ["unwatch"] => {
                instance.watching.store(false, Ordering::Relaxed);
                while watches.join_next().await.is_some() {}
            }
            ["panic"] => {
                panics::panic_in_a_task().await;
                println!("panicked");
            }
            ["health"] => println!("{}", health(&runtime)),
            ["stop"] => break,
            _ => return Err(format!("`{line}` is no command").into()),
        }
    }
    runtime.shutdown().await?;
    flush.abort();
    instance.history().flush()?;
    println!("stopped");
    Ok(())
}
