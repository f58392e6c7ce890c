//! Cost of a hit in memory: ours beside the bare engines and `cached`, in one process.
//!
//! `cargo bench --bench hit_path` prints nanoseconds, ratios and allocations, in one table for each
//! of our engines. A process has one runtime, so each table is measured in a process of its own.
//! All contenders run in each round, so that a slow spell of the machine slows all of them down.
//! The numbers are medians of the rounds. There are 1,000 keys: more than the nearest caches of the
//! processor hold beside the code, and few enough that every call is a hit.

#[path = "hit_path_functions.rs"]
mod ours;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use cached::macros::{cached, concurrent_cached};
use multi_tier_cached::{CacheRuntime, Engine, Memory, Tag, multi_tier_cached};
use tokio::runtime::Runtime;

const KEYS: u64 = 1_000;
/// Calls of a round. It is shorter than the time for which the system lets a process run, so that
/// in most rounds no other process runs.
const CALLS: u64 = 40_000;
const ROUNDS: usize = 101;
const CAPACITY: usize = 10_000;

type Moka = moka::sync::Cache<(u32, u64), Arc<Row>>;
type Quick = quick_cache::sync::Cache<(u32, u64), Arc<Row>>;

/// A value of 200 bytes. Cloning it copies all of them.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Row {
    id: u64,
    numbers: [u64; 24],
}

fn row(id: u64) -> Row {
    Row {
        id,
        numbers: [id; 24],
    }
}

/// The error of a load, which is kept.
#[derive(Clone, Debug)]
struct Refused;

static HANGS: AtomicBool = AtomicBool::new(false);

#[cached(max_size = 10_000, ttl_secs = 3600)]
async fn cached_shared(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

#[concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
async fn concurrent_cached_shared(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// Without a ttl, this does less than our hit does.
#[concurrent_cached(max_size = 10_000)]
async fn concurrent_cached_forever(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// Polls a future until it is ready. A hit is ready at the first poll.
///
/// If a lock keeps the call waiting (`#[cached]` on two threads), the thread is parked.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    if let Poll::Ready(value) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return value;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct Contender {
    name: &'static str,
    call: Box<dyn Fn(u64) + Send + Sync>,
    rounds: Vec<f64>,
}

fn contender<T>(name: &'static str, call: impl Fn(u64) -> T + Send + Sync + 'static) -> Contender {
    // The loop is inside of the closure, so that the virtual call is not measured.
    let call = Box::new(move |calls| {
        for n in 0..calls {
            black_box(call(black_box(n % KEYS)));
        }
    });
    Contender {
        name,
        call,
        rounds: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measure(contenders: &mut [Contender], threads: u64) {
    for contender in &mut *contenders {
        (contender.call)(KEYS);
        contender.rounds.clear();
    }
    for _ in 0..ROUNDS {
        for contender in &mut *contenders {
            // The last contender has filled the processor's caches with its own data.
            (contender.call)(KEYS);
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(|| (contender.call)(CALLS));
                }
                (contender.call)(CALLS);
            });
            contender
                .rounds
                .push(began.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }
}

fn median(contender: &Contender) -> f64 {
    let mut rounds = contender.rounds.clone();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

const NUMERIC: &str = "ours: (u32, u64) -> Arc<Row>";
const SHORT_TEXT: &str = "ours: &str of 8 -> Arc<Row>";
const CONCURRENT_CACHED: &str = "cached #[concurrent_cached], ttl";

/// The tables. Each has a process and a memory of its own: with more entries, all of them are
/// slower.
const TABLES: [(&str, Engine, Fill); 10] = [
    ("moka", Engine::Moka, plain),
    ("quick_cache", Engine::QuickCache, plain),
    ("moka, keys with a text", Engine::Moka, texts),
    ("quick_cache, keys with a text", Engine::QuickCache, texts),
    (
        "moka, functions with more times than a ttl",
        Engine::Moka,
        timed,
    ),
    (
        "quick_cache, functions with more times than a ttl",
        Engine::QuickCache,
        timed,
    ),
    ("moka, tags", Engine::Moka, tags),
    ("quick_cache, tags", Engine::QuickCache, tags),
    (
        "moka, tags, after others were invalidated",
        Engine::Moka,
        tags_after,
    ),
    (
        "quick_cache, tags, after others were invalidated",
        Engine::QuickCache,
        tags_after,
    ),
];

/// Fills the caches, and returns what is measured.
type Fill = fn(&Runtime) -> Vec<Contender>;

/// Calls for each key once, so that every later call is a hit.
fn fill<F: Future<Output = ()>>(tokio: &Runtime, call: impl Fn(u64) -> F) {
    tokio.block_on(async {
        for n in 0..KEYS {
            call(n).await;
        }
    });
}

fn bare_moka() -> Contender {
    let moka = Moka::new(CAPACITY as u64);
    for n in 0..KEYS {
        moka.insert((1u32, n), Arc::new(row(n)));
    }
    contender("moka, bare get", move |n| moka.get(&(1, n)))
}

fn bare_quick_cache() -> Contender {
    let quick = Quick::new(CAPACITY);
    for n in 0..KEYS {
        quick.insert((1u32, n), Arc::new(row(n)));
    }
    contender("quick_cache, bare get", move |n| quick.get(&(1, n)))
}

fn numeric() -> Contender {
    contender(NUMERIC, |n| now(ours::shared(1, n)))
}

fn plain(tokio: &Runtime) -> Vec<Contender> {
    let names: Arc<[String]> = (0..KEYS).map(|n| format!("customer-{n:08}")).collect();
    let bare = [bare_moka(), bare_quick_cache()];
    fill(tokio, |n| {
        let names = Arc::clone(&names);
        async move {
            assert_eq!(ours::shared(1, n).await.id, n + 1);
            assert_eq!(ours::whole(1, n).await.id, n + 1);
            ours::by_name(&names[n as usize]).await;
            cached_shared(1, n).await;
            concurrent_cached_shared(1, n).await;
            concurrent_cached_forever(1, n).await;
        }
    });
    let rest = [
        numeric(),
        contender("ours: (u32, u64) -> Row of 200 bytes", |n| {
            now(ours::whole(1, n))
        }),
        contender("ours: &str of 17 -> Arc<Row>", move |n| {
            now(ours::by_name(&names[n as usize]))
        }),
        contender(CONCURRENT_CACHED, |n| now(concurrent_cached_shared(1, n))),
        contender("cached #[concurrent_cached], no ttl", |n| {
            now(concurrent_cached_forever(1, n))
        }),
        contender("cached #[cached], ttl", |n| now(cached_shared(1, n))),
    ];
    bare.into_iter().chain(rest).collect()
}

/// Functions with a text among their arguments, beside the one with numbers.
fn texts(tokio: &Runtime) -> Vec<Contender> {
    let short: Arc<[String]> = (0..KEYS).map(|n| format!("user{n:04}")).collect();
    let long: Arc<[String]> = (0..KEYS).map(|n| format!("customer-{n:08}")).collect();
    let moka = bare_moka();
    let quick = quick_cache::sync::Cache::<Box<str>, Arc<Row>>::new(CAPACITY);
    for (n, text) in short.iter().enumerate() {
        quick.insert(text.as_str().into(), Arc::new(row(n as u64)));
    }
    fill(tokio, |n| {
        let (short, long) = (Arc::clone(&short), Arc::clone(&long));
        async move {
            let (short, long) = (&short[n as usize], &long[n as usize]);
            ours::shared(1, n).await;
            assert_eq!(ours::by_name(short).await.id, 8);
            assert_eq!(ours::by_name_and_id(short, n).await.id, 8 + n);
            assert_eq!(ours::by_name(long).await.id, 17);
        }
    });
    let [text, both] = [(); 2].map(|()| Arc::clone(&short));
    vec![
        moka,
        bare_quick_cache(),
        contender("quick_cache, bare get, text of 8", move |n| {
            quick.get(short[n as usize].as_str())
        }),
        numeric(),
        contender(SHORT_TEXT, move |n| now(ours::by_name(&text[n as usize]))),
        contender("ours: (&str of 8, u64) -> Arc<Row>", move |n| {
            now(ours::by_name_and_id(&both[n as usize], n))
        }),
        contender("ours: &str of 17 -> Arc<Row>", move |n| {
            now(ours::by_name(&long[n as usize]))
        }),
    ]
}

fn timed(tokio: &Runtime) -> Vec<Contender> {
    let moka = bare_moka();
    fill(tokio, |n| async move {
        ours::shared(1, n).await;
        assert!(matches!(ours::timed(1, n).await, Ok(Some(_))));
        assert!(matches!(ours::timed(2, n).await, Ok(None)));
        assert!(ours::timed(3, n).await.is_err());
        ours::stale(1, n).await;
    });
    HANGS.store(true, Ordering::Relaxed);
    // The clock of a hit can be late by a tick, which is 10 ms at most.
    std::thread::sleep(std::time::Duration::from_millis(50));
    vec![
        moka,
        numeric(),
        contender("ours: fresh, of a late function", |n| {
            now(ours::timed(1, n))
        }),
        contender("ours: absence that is kept", |n| now(ours::timed(2, n))),
        contender("ours: error that is kept", |n| now(ours::timed(3, n))),
        contender("ours: stale", |n| now(ours::stale(1, n))),
    ]
}

/// Values with tags, of which none was invalidated since.
fn tags(tokio: &Runtime) -> Vec<Contender> {
    let moka = bare_moka();
    fill(tokio, |n| async move {
        assert_eq!(ours::shared(1, n).await.id, n + 1);
        assert_eq!(ours::windowed(1, n).await.id, n + 1);
        assert_eq!(ours::one_tag(1, n).await.id, n + 1);
        assert_eq!(ours::four_tags(1, n).await.id, n + 1);
        assert_eq!(ours::four_tags_timed(1, n).await.id, n + 1);
    });
    vec![
        moka,
        numeric(),
        contender("ours: stale window, no tag", |n| now(ours::windowed(1, n))),
        contender("ours: 1 tag", |n| now(ours::one_tag(1, n))),
        contender("ours: 4 tags", |n| now(ours::four_tags(1, n))),
        contender("ours: 4 tags and a stale window", |n| {
            now(ours::four_tags_timed(1, n))
        }),
    ]
}

/// Values with tags. Others were invalidated and expired since, so all fences are compared.
fn tags_after(tokio: &Runtime) -> Vec<Contender> {
    let contenders = tags(tokio);
    let runtime = CacheRuntime::current();
    tokio.block_on(async {
        let others = [Tag::new("another")];
        runtime.invalidate_tags(others).await.expect("memory alone");
        runtime.expire_tags(others).await.expect("memory alone");
    });
    contenders
}

fn run((name, engine, fill): (&str, Engine, Fill)) {
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder()
            .engine(engine)
            .max_entries(CAPACITY as u64))
        .install();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a tokio runtime");
    tokio.block_on(runtime).expect("a runtime");

    // Loads of stale values begin in this runtime, which does not run them.
    let _entered = tokio.enter();
    let mut contenders = fill(&tokio);
    measure(&mut contenders, 1);
    let alone: Vec<f64> = contenders.iter().map(median).collect();
    let allocations: Vec<f64> = contenders
        .iter()
        .map(|contender| {
            let counted = allocation_counter::measure(|| (contender.call)(10_000));
            counted.count_total as f64 / 10_000.0
        })
        .collect();
    measure(&mut contenders, 2);

    println!("\nour engine: {name}");
    println!(
        "{:38} {:>9} {:>9} {:>13} {:>10} {:>11} {:>10}",
        "a hit", "1 thread", "x moka", "- moka", "2 threads", "2 / 1 thr.", "allocs"
    );
    for (at, contender) in contenders.iter().enumerate() {
        let both = median(contender);
        println!(
            "{:38} {:>6.1} ns {:>9.2} {:>10.1} ns {:>7.1} ns {:>11.2} {:>10.2}",
            contender.name,
            alone[at],
            alone[at] / alone[0],
            alone[at] - alone[0],
            both,
            both / alone[at],
            allocations[at]
        );
    }
    let row = |name| contenders.iter().position(|row| row.name == name);
    let ratio = |name, of, beside| {
        if let (Some(of), Some(beside)) = (row(of), row(beside)) {
            println!("{name}: {:.2}", alone[of] / alone[beside]);
        }
    };
    ratio(
        "ours / #[concurrent_cached] with ttl",
        NUMERIC,
        CONCURRENT_CACHED,
    );
    ratio("a short text / numbers", SHORT_TEXT, NUMERIC);
    println!(
        "an entry in memory, beyond its key and value: {:.0} bytes",
        overhead(&tokio)
    );
}

/// Returns the bytes of an entry without the 17 of its encoded key and the 200 of its value.
fn overhead(tokio: &Runtime) -> f64 {
    const ENTRIES: u64 = 5_000;
    let memory = allocation_counter::measure(|| {
        for n in 0..ENTRIES {
            tokio.block_on(ours::shared(2, n));
        }
    });
    memory.bytes_current as f64 / ENTRIES as f64 - 17.0 - 200.0
}

fn main() {
    if let Ok(asked) = std::env::var("HIT_PATH_TABLE") {
        for table in TABLES.into_iter().filter(|(name, ..)| *name == asked) {
            run(table);
        }
        return;
    }
    for (name, ..) in TABLES {
        let this = std::env::current_exe().expect("the path of this bench");
        let status = std::process::Command::new(this)
            .env("HIT_PATH_TABLE", name)
            .status();
        assert!(
            status.expect("a child").success(),
            "the table for {name} failed"
        );
    }
}
