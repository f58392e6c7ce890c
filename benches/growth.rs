//! How the cost of a cache grows: with the entries in memory, with the functions of the program,
//! and with invalidations of other keys.
//!
//! `cargo bench -p benches --bench growth` prints a table for each, beside the bare engines and the
//! bars that the project has set itself. With `-- --short` it runs a few calls of each, as a test.
//!
//! Each number is measured in a process of its own, because a process has one runtime and because
//! the entries of one measurement would fill the caches of the next. Within a process all
//! contenders run in each round, so that a slow spell of the machine slows all of them down. The
//! numbers are medians of the rounds. Keys are called in random order: in the order in which they
//! were stored, the processor would fetch the next entry ahead.

use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use multi_tier_cached::{CacheRuntime, Engine, Function, Memory, invalidate, multi_tier_cached};
use tokio::runtime::Runtime;

type Moka = moka::sync::Cache<(u32, u64), Arc<Row>>;
type Quick = quick_cache::sync::Cache<(u32, u64), Arc<Row>>;

/// A value of 200 bytes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Row {
    id: u64,
    numbers: [u64; 24],
}

fn row(id: u64) -> Arc<Row> {
    Arc::new(Row {
        id,
        numbers: [id; 24],
    })
}

const TTL: Duration = Duration::from_secs(3600);

/// The largest growth of a hit that the project allows, beside that of the bare engine.
const GROWTH_BAR: f64 = 1.3;

const ENGINES: [&str; 2] = ["quick_cache", "moka"];

/// The longest time of an installation with 2,000 functions, in milliseconds.
const INSTALL_BAR: f64 = 50.0;

/// How much of each measurement is run.
#[derive(Clone, Copy)]
struct Scale {
    calls: u64,
    rounds: usize,
    entries: &'static [u64],
    functions: &'static [u64],
    installed: u64,
    reads: u64,
}

const FULL: Scale = Scale {
    calls: 2_000,
    rounds: 501,
    entries: &[1_000, 10_000, 100_000, 1_000_000],
    functions: &[1, 10, 100, 1_000],
    installed: 2_000,
    reads: 1_000_000,
};

const SHORT: Scale = Scale {
    calls: 2_000,
    rounds: 3,
    entries: &[100, 1_000],
    functions: &[1, 10],
    installed: 20,
    reads: 20_000,
};

/// Polls a future once. A hit is ready then.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call was no hit"),
    }
}

/// Returns the `n`th number below `below`, in an order without a pattern.
fn random(n: u64, below: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((u128::from(mixed) * u128::from(below)) >> 64) as u64
}

/// Calls a contender so many times.
type Call = Box<dyn Fn(u64)>;

/// The loop is inside of the closure, so that the virtual call is not measured. Each round
/// continues with other keys.
fn contender<T>(keys: u64, call: impl Fn(u64) -> T + 'static) -> Call {
    let next = Cell::new(0);
    Box::new(move |calls| {
        let first = next.replace(next.get() + calls);
        for n in first..first + calls {
            black_box(call(black_box(random(n, keys))));
        }
    })
}

/// Returns the median nanoseconds of a call, of each contender.
///
/// A round is shorter than the time for which the system lets a process run, so that in most rounds
/// no other process runs.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measure(contenders: &[Call], scale: Scale) -> Vec<f64> {
    let mut rounds = vec![Vec::new(); contenders.len()];
    for _ in 0..scale.rounds {
        for (call, rounds) in contenders.iter().zip(&mut rounds) {
            // The last contender has filled the processor's caches with its own data.
            call(scale.calls);
            let began = Instant::now();
            call(scale.calls);
            rounds.push(began.elapsed().as_nanos() as f64 / scale.calls as f64);
        }
    }
    let median = |mut rounds: Vec<f64>| {
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    };
    rounds.into_iter().map(median).collect()
}

fn tokio() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a tokio runtime")
}

/// Installs a runtime whose memory has room for twice the entries, so that none is evicted.
fn install(tokio: &Runtime, engine: Engine, entries: u64) {
    let memory = Memory::builder().engine(engine).max_entries(2 * entries);
    let installed = tokio.block_on(CacheRuntime::builder().l1(memory).install());
    installed.expect("a runtime");
}

/// A bare engine with so many entries.
fn bare(engine: Engine, entries: u64) -> Call {
    let capacity = 2 * entries;
    match engine {
        Engine::Moka => {
            let moka = Moka::new(capacity);
            (0..entries).for_each(|id| moka.insert((1, id), row(id)));
            contender(entries, move |id| moka.get(&(1, id)))
        }
        Engine::QuickCache => {
            let quick = Quick::new(capacity as usize);
            (0..entries).for_each(|id| quick.insert((1, id), row(id)));
            contender(entries, move |id| quick.get(&(1, id)))
        }
        _ => panic!("an engine without a contender"),
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn by_id(shard: u32, id: u64) -> Arc<Row> {
    row(id + u64::from(shard))
}

/// Measures hits among so many entries: of the bare engine, and ours.
fn among_entries(engine: Engine, entries: u64, scale: Scale) -> Vec<f64> {
    let tokio = tokio();
    install(&tokio, engine, entries);
    tokio.block_on(async {
        for id in 0..entries {
            by_id(1, id).await;
        }
    });
    let ours = contender(entries, |id| now(by_id(1, id)));
    measure(&[bare(engine, entries), ours], scale)
}

/// The entries of all functions together, while their number grows.
const ENTRIES_OF_FUNCTIONS: u64 = 10_000;

fn built(name: String) -> Function<Arc<Row>> {
    let built = Function::in_memory(name).ttl(TTL).build();
    built.expect("a function")
}

/// Measures hits of so many functions: with a bare engine of its own for each, and ours.
fn among_functions(engine: Engine, functions: u64, scale: Scale) -> Vec<f64> {
    let tokio = tokio();
    install(&tokio, engine, ENTRIES_OF_FUNCTIONS);
    let of_each = ENTRIES_OF_FUNCTIONS / functions;
    let caches: Vec<Quick> = (0..functions)
        .map(|_| {
            let cache = Quick::new(2 * of_each as usize);
            (0..of_each).for_each(|id| cache.insert((1, id), row(id)));
            cache
        })
        .collect();
    let names = (0..functions).map(|n| format!("growth::function{n}"));
    let ours: Vec<Function<Arc<Row>>> = names.map(built).collect();
    tokio.block_on(async {
        for id in 0..of_each {
            for function in &ours {
                function
                    .get_or_load((1u32, id), || async move { row(id) })
                    .await;
            }
        }
    });
    let bare = contender(ENTRIES_OF_FUNCTIONS, move |n| {
        caches[(n % functions) as usize].get(&(1, n / functions))
    });
    let ours = contender(ENTRIES_OF_FUNCTIONS, move |n| {
        let id = n / functions;
        let function = &ours[(n % functions) as usize];
        now(function.get_or_load((1u32, id), || async move { row(id) }))
    });
    measure(&[bare, ours], scale)
}

macro_rules! annotated {
    ($($name:ident)*) => {
        $(
            #[multi_tier_cached(ttl = "1h", tiers = "l1")]
            async fn $name(shard: u32, id: u64) -> Arc<Row> {
                row(id + u64::from(shard))
            }
        )*

        /// Functions with the attribute. Each has code of its own.
        const ANNOTATED: &[fn(u64) -> Arc<Row>] = &[$(|id| now($name(1, id))),*];

        async fn fill_annotated(of_each: u64) {
            for id in 0..of_each {
                $($name(1, id).await;)*
            }
        }
    };
}

annotated! {
    f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23
    f24 f25 f26 f27 f28 f29 f30 f31 f32 f33 f34 f35 f36 f37 f38 f39 f40 f41 f42 f43 f44 f45 f46 f47
    f48 f49
}

/// Measures hits of one function with the attribute, and of all of them in turn.
fn among_annotated(engine: Engine, scale: Scale) -> Vec<f64> {
    let tokio = tokio();
    let functions = ANNOTATED.len() as u64;
    install(&tokio, engine, 2 * ENTRIES_OF_FUNCTIONS);
    tokio.block_on(async {
        fill_annotated(ENTRIES_OF_FUNCTIONS / functions).await;
        for id in 0..ENTRIES_OF_FUNCTIONS {
            by_id(1, id).await;
        }
    });
    let one: fn(u64) -> Arc<Row> = |id| now(by_id(1, id));
    let one = contender(ENTRIES_OF_FUNCTIONS, move |id| black_box(one)(id));
    let all = contender(ENTRIES_OF_FUNCTIONS, move |n| {
        ANNOTATED[(n % functions) as usize](n / functions)
    });
    measure(&[one, all], scale)
}

/// Returns the milliseconds that it takes to build so many functions, to install a runtime for
/// them, and to call each of them for the first time.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn installation(engine: Engine, functions: u64) -> Vec<f64> {
    let tokio = tokio();
    let mut taken = Vec::new();
    let mut began = Instant::now();
    let mut lap = || {
        taken.push(began.elapsed().as_nanos() as f64 / 1e6);
        began = Instant::now();
    };
    let names = (0..functions).map(|n| format!("growth::function{n}"));
    let functions: Vec<Function<Arc<Row>>> = names.map(built).collect();
    lap();
    install(&tokio, engine, ENTRIES_OF_FUNCTIONS);
    lap();
    tokio.block_on(async {
        for function in &functions {
            function.get_or_load((1u32,), || async { row(1) }).await;
        }
    });
    lap();
    taken
}

/// The keys that are read, while others are invalidated: one for each 20 reads.
const HOT: u64 = 5_000;
const READS_OF_AN_INVALIDATION: u64 = 20;

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn counted(id: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::Relaxed);
    id
}

/// Returns how many loads so many reads of hot keys cause, between invalidations of other keys.
fn needless_loads(engine: Engine, reads: u64) -> Vec<f64> {
    let tokio = tokio();
    install(&tokio, engine, HOT);
    tokio.block_on(async {
        for id in 0..HOT {
            counted(id).await;
        }
        let first = LOADS.load(Ordering::Relaxed);
        for n in 0..reads {
            assert_eq!(counted(random(n, HOT)).await, random(n, HOT));
            if n % READS_OF_AN_INVALIDATION == 0 {
                let other = HOT + n;
                let invalidated = invalidate!(counted, other).await;
                invalidated.expect("an invalidation in memory");
            }
        }
        vec![(LOADS.load(Ordering::Relaxed) - first) as f64]
    })
}

/// Runs one measurement, whose arguments are in the environment, and prints its numbers.
fn run(arguments: &str, scale: Scale) {
    let mut words = arguments.split(' ');
    let (what, engine) = (words.next(), words.next());
    let engine = engine.expect("an engine").parse();
    let engine: Engine = engine.expect("the name of an engine");
    let mut number = || words.next().and_then(|number| number.parse().ok());
    let numbers = match what.expect("a measurement") {
        "entries" => among_entries(engine, number().expect("entries"), scale),
        "functions" => among_functions(engine, number().expect("functions"), scale),
        "annotated" => among_annotated(engine, scale),
        "install" => installation(engine, scale.installed),
        "needless" => needless_loads(engine, scale.reads),
        other => panic!("no measurement is called {other}"),
    };
    let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
    println!("{}", numbers.join(" "));
}

/// The name of the variable with the arguments of one measurement.
const MEASUREMENT: &str = "GROWTH_MEASUREMENT";

/// Runs one measurement in a process of its own.
fn apart(arguments: &str) -> Vec<f64> {
    let this = std::env::current_exe().expect("the path of this bench");
    let options = std::env::args().skip(1);
    let child = Command::new(this)
        .args(options)
        .env(MEASUREMENT, arguments)
        .output();
    let output = child.expect("a child");
    let (out, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments} failed: {errors}");
    let out = String::from_utf8(out).expect("a text");
    let numbers = out.split_whitespace().map(str::parse);
    numbers.map(|number| number.expect("a number")).collect()
}

fn verdict(value: f64, bar: f64) -> &'static str {
    if value <= bar { "met" } else { "missed" }
}

/// Prints hits of a bare engine and of ours while something grows, and how much each grew.
fn print_growth(what: &str, engine: &str, sizes: &[u64], beside: bool) {
    println!("\na hit by {what}, {engine}");
    println!("{:>10} {:>12} {:>12}", what, "bare", "ours");
    let mut rows = Vec::new();
    for size in sizes {
        let row = apart(&format!("{what} {engine} {size}"));
        println!("{size:>10} {:>9.1} ns {:>9.1} ns", row[0], row[1]);
        rows.push(row);
    }
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    let (bare, ours) = (last[0] / first[0], last[1] / first[1]);
    let value = if beside { ours / bare } else { ours };
    let of = if beside { "ours / bare" } else { "ours" };
    println!(
        "growth: bare {bare:.2}, ours {ours:.2}; {of} {value:.2}, the bar is {GROWTH_BAR}: {}",
        verdict(value, GROWTH_BAR)
    );
}

fn main() {
    let is_short = std::env::args().any(|argument| argument == "--short");
    let scale = if is_short { SHORT } else { FULL };
    if let Ok(arguments) = std::env::var(MEASUREMENT) {
        return run(&arguments, scale);
    }
    for engine in ENGINES {
        print_growth("entries", engine, scale.entries, true);
    }
    print_growth("functions", "quick_cache", scale.functions, false);
    let row = apart("annotated quick_cache");
    println!(
        "with the attribute: 1 function {:.1} ns, {} functions {:.1} ns, ratio {:.2}",
        row[0],
        ANNOTATED.len(),
        row[1],
        row[1] / row[0]
    );
    let row = apart("install quick_cache");
    println!(
        "\n{} functions: built in {:.1} ms, installed in {:.1} ms (the bar is {INSTALL_BAR} ms: \
         {}), all called for the first time in {:.1} ms",
        scale.installed,
        row[0],
        row[1],
        verdict(row[1], INSTALL_BAR),
        row[2]
    );
    for engine in ENGINES {
        let loads = apart(&format!("needless {engine}"))[0];
        println!(
            "{} reads of {HOT} hot keys between {} invalidations of others, {engine}: {loads} \
             needless loads",
            scale.reads,
            scale.reads / READS_OF_AN_INVALIDATION
        );
    }
}
