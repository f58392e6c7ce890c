//! A hit in memory, side by side with the engines bare and with `cached`, in one process: ns, ratios, allocations.
//!
//! `cargo bench --bench hit_path` prints one table for each engine of ours. A process has one runtime, so each table is
//! a process of its own, and all contenders run in each, round by round, so that a machine that is slow for a while is
//! slow for all. Numbers are medians of the rounds. 1,000 keys: more than the nearest caches hold beside the code, few
//! enough that every call is a hit.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use cached::macros::{cached, concurrent_cached};
use multi_tier_cached::{CacheRuntime, Engine, Memory, multi_tier_cached};

const KEYS: u64 = 1_000;
const CALLS: u64 = 200_000;
const ROUNDS: usize = 15;
const CAPACITY: usize = 10_000;

/// 200 bytes that are cloned whole.
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

mod ours {
    use super::{Arc, Row, multi_tier_cached, row};

    #[multi_tier_cached(ttl = "1h", tiers = "l1")]
    pub(crate) async fn shared(shard: u32, id: u64) -> Arc<Row> {
        Arc::new(row(id + u64::from(shard)))
    }

    #[multi_tier_cached(ttl = "1h", tiers = "l1")]
    pub(crate) async fn whole(shard: u32, id: u64) -> Row {
        row(id + u64::from(shard))
    }

    #[multi_tier_cached(ttl = "1h", tiers = "l1")]
    pub(crate) async fn by_name(name: &str) -> Arc<Row> {
        Arc::new(row(name.len() as u64))
    }
}

#[cached(max_size = 10_000, ttl_secs = 3600)]
async fn cached_shared(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

#[concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
async fn concurrent_cached_shared(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// The same without a ttl: less than our hit does.
#[concurrent_cached(max_size = 10_000)]
async fn concurrent_cached_forever(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// Polls once, as a hit needs no more; whoever is kept waiting by a lock (`#[cached]` on two threads) parks the thread.
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
    // The loop is inside, so that the virtual call is not measured.
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

fn run(engine: Engine, name: &str) {
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder()
            .engine(engine)
            .max_entries(CAPACITY as u64))
        .install();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a tokio runtime");
    tokio.block_on(runtime).expect("a runtime");

    let moka = moka::sync::Cache::new(CAPACITY as u64);
    let quick = Arc::new(quick_cache::sync::Cache::new(CAPACITY));
    let names: Vec<String> = (0..KEYS).map(|n| format!("customer-{n:08}")).collect();
    for n in 0..KEYS {
        moka.insert((1u32, n), Arc::new(row(n)));
        quick.insert((1u32, n), Arc::new(row(n)));
        tokio.block_on(async {
            assert_eq!(ours::shared(1, n).await.id, n + 1);
            assert_eq!(ours::whole(1, n).await.id, n + 1);
            ours::by_name(&names[n as usize]).await;
            cached_shared(1, n).await;
            concurrent_cached_shared(1, n).await;
            concurrent_cached_forever(1, n).await;
        });
    }
    let mut contenders = vec![
        contender("moka, bare get", move |n| moka.get(&(1, n))),
        contender("quick_cache, bare get", move |n| quick.get(&(1, n))),
        contender("ours: (u32, u64) -> Arc<Row>", |n| now(ours::shared(1, n))),
        contender("ours: (u32, u64) -> Row of 200 bytes", |n| {
            now(ours::whole(1, n))
        }),
        contender("ours: &str of 17 -> Arc<Row>", move |n| {
            now(ours::by_name(&names[n as usize]))
        }),
        contender("cached #[concurrent_cached], ttl", |n| {
            now(concurrent_cached_shared(1, n))
        }),
        contender("cached #[concurrent_cached], no ttl", |n| {
            now(concurrent_cached_forever(1, n))
        }),
        contender("cached #[cached], ttl", |n| now(cached_shared(1, n))),
    ];
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
    println!(
        "ours / #[concurrent_cached] with ttl: {:.2}",
        alone[2] / alone[5]
    );
    println!(
        "an entry in memory, beyond its key and value: {:.0} bytes",
        overhead(&tokio)
    );
}

/// What an entry takes beside the 17 bytes of its encoded key and the 200 of its value.
fn overhead(tokio: &tokio::runtime::Runtime) -> f64 {
    const ENTRIES: u64 = 5_000;
    let memory = allocation_counter::measure(|| {
        for n in 0..ENTRIES {
            tokio.block_on(ours::shared(2, n));
        }
    });
    memory.bytes_current as f64 / ENTRIES as f64 - 17.0 - 200.0
}

fn main() {
    let engines = [("moka", Engine::Moka), ("quick_cache", Engine::QuickCache)];
    if let Ok(asked) = std::env::var("HIT_PATH_ENGINE") {
        for (name, engine) in engines.into_iter().filter(|(name, _)| *name == asked) {
            run(engine, name);
        }
        return;
    }
    for (name, _) in engines {
        let this = std::env::current_exe().expect("the path of this bench");
        let status = std::process::Command::new(this)
            .env("HIT_PATH_ENGINE", name)
            .status();
        assert!(
            status.expect("a child").success(),
            "the table for {name} failed"
        );
    }
}
