//! Throughput of Redis as a tier beside bare redis-rs, with 1, 64 and 512 callers at a time.
//!
//! `cargo bench --bench redis_throughput` starts a `redis-server` of its own on a Unix socket.
//! Rounds of the two contenders alternate, so that a slow spell of the machine slows both down.
//! The numbers are medians, and each path is printed as a ratio to what stands beside it, with the
//! processor time of client and server for each call, which depends less on what else runs.
//!
//! Arguments: `--short` runs a few rounds, for CI; `--single` uses one thread for all callers; a
//! number is one of callers, and any other word a path, such as `strong`: the rest is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use benches::{Row, Server};
use multi_tier_cached::{
    CacheRuntime, Engine, Memory, Receipt, Redis, invalidate, multi_tier_cached,
};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use tokio::task::JoinSet;

const CALLERS: [u64; 3] = [1, 64, 512];
/// The keys that hits and strong calls read.
const KEYS: u64 = 1_000;

/// Has no `l1`, so every call goes to Redis.
#[multi_tier_cached(ttl = "1h", tiers = "l2", name = "bench::row")]
async fn read(id: u64) -> Arc<Row> {
    Arc::new(Row::new(id))
}

/// Has `l1`, and asks Redis on every call whether its value is current.
#[multi_tier_cached(ttl = "1h", consistency = "strong", name = "bench::strong")]
async fn strong(id: u64) -> Arc<Row> {
    Arc::new(Row::new(id))
}

/// A strong function without `l1`: Redis sends the value on every call.
#[multi_tier_cached(
    ttl = "1h",
    consistency = "strong",
    tiers = "l2",
    name = "bench::strong_l2"
)]
async fn strong_without_memory(id: u64) -> Arc<Row> {
    Arc::new(Row::new(id))
}

/// Operations by bare redis-rs, on keys and values of the same length as ours.
#[derive(Clone)]
struct Bare {
    connection: MultiplexedConnection,
    payload: Arc<[u8]>,
}

impl Bare {
    async fn get(mut self, id: u64) {
        let bytes: Option<Vec<u8>> = redis::cmd("GET")
            .arg(bare_key(id))
            .query_async(&mut self.connection)
            .await
            .expect("the bytes");
        let row: Row = postcard::from_bytes(&bytes.expect("a record")).expect("a row");
        std::hint::black_box(row);
    }

    async fn set(mut self, id: u64) {
        let set = redis::cmd("SET")
            .arg(bare_key(id))
            .arg(&*self.payload)
            .arg("PX")
            .arg(3_600_000)
            .to_owned();
        let () = set.query_async(&mut self.connection).await.expect("set");
    }

    async fn miss(mut self, id: u64) {
        let bytes: Option<Vec<u8>> = redis::cmd("GET")
            .arg(bare_key(id))
            .query_async(&mut self.connection)
            .await
            .expect("a reply");
        assert!(bytes.is_none());
        self.set(id).await;
    }

    async fn del(mut self, id: u64) {
        let mut pipeline = redis::pipe();
        pipeline.del(bare_key(id)).ignore();
        pipeline.publish("bench", id).ignore();
        let () = pipeline
            .exec_async(&mut self.connection)
            .await
            .expect("del");
    }
}

fn bare_key(id: u64) -> String {
    format!("{{cache:0}}:bench::bare:1:{id}")
}

/// The processor time that the threads of this process and of the server have used, in
/// microseconds. Zero on other systems than Linux.
fn processor_time(server: u32) -> [f64; 2] {
    ["self", &server.to_string()].map(|process| {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter();
        let used = tasks.flatten().flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        used.sum::<f64>() / 1000.0
    })
}

/// The rounds of one contender: thousands of calls per second, and processor time of client and
/// server.
#[derive(Default)]
struct Rounds {
    throughput: Vec<f64>,
    used: [f64; 2],
    calls: u64,
}

impl Rounds {
    async fn run(&mut self, server: u32, calls: u64, round: impl Future<Output = f64>) {
        let before = processor_time(server);
        self.throughput.push(round.await);
        let after = processor_time(server);
        self.used = [0, 1].map(|at| self.used[at] + after[at] - before[at]);
        self.calls += calls;
    }

    fn median(&mut self) -> f64 {
        self.throughput.sort_by(f64::total_cmp);
        self.throughput[self.throughput.len() / 2]
    }

    /// Microseconds of processor time for each call, of client and server.
    fn processor(&self) -> String {
        let [client, server] = self.used.map(|used| used / self.calls as f64);
        format!("{client:.1} + {server:.1} us")
    }
}

/// Runs `calls` calls by `callers` at a time, and returns thousands of calls per second.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn throughput<F>(
    callers: u64,
    calls: u64,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..callers {
        let (next, call) = (Arc::clone(&next), call.clone());
        tasks.spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= calls {
                    break;
                }
                call(id).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    calls as f64 / began.elapsed().as_secs_f64() / 1000.0
}

/// How much is measured, and what.
struct Plan {
    rounds: u64,
    /// Calls of one round with many callers.
    calls: u64,
    only: Vec<String>,
    callers: Vec<u64>,
    /// The process of the server.
    server: u32,
}

impl Plan {
    fn of_arguments(arguments: &[String]) -> Self {
        let is_short = arguments.iter().any(|argument| argument == "--short");
        let names = arguments.iter().filter(|name| !name.starts_with("--"));
        Self {
            rounds: if is_short { 3 } else { 9 },
            calls: if is_short { 10_000 } else { 60_000 },
            only: names
                .clone()
                .filter(|name| name.parse::<u64>().is_err())
                .cloned()
                .collect(),
            callers: names.filter_map(|name| name.parse().ok()).collect(),
            server: 0,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Measures one path with each number of callers. `ours` and `bare` get a number that no other
    /// call of the path had.
    async fn compare<F, G>(
        &self,
        (name, peer): (&str, &str),
        ours: impl Fn(u64) -> F + Clone + Send + 'static,
        bare: impl Fn(u64) -> G + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
        G: Future<Output = ()> + Send,
    {
        if !self.has(name) {
            return;
        }
        let mut from = 0;
        let is_wanted = |callers: &u64| self.callers.is_empty() || self.callers.contains(callers);
        for callers in CALLERS.into_iter().filter(is_wanted) {
            let calls = if callers == 1 {
                self.calls / 10
            } else {
                self.calls
            };
            let (mut our_rounds, mut bare_rounds) = (Rounds::default(), Rounds::default());
            for _ in 0..self.rounds {
                let (ours, bare) = (ours.clone(), bare.clone());
                let ours = throughput(callers, calls, move |id| ours(from + id));
                our_rounds.run(self.server, calls, ours).await;
                let bare = throughput(callers, calls, move |id| bare(from + id));
                bare_rounds.run(self.server, calls, bare).await;
                from += calls;
            }
            let (ours, bare) = (our_rounds.median(), bare_rounds.median());
            let (our_time, bare_time) = (our_rounds.processor(), bare_rounds.processor());
            println!(
                "{name:10} {callers:>4} callers {ours:>7.1} k/s {our_time:>14}   {peer:>12} {bare:>7.1} k/s {bare_time:>14}   ratio {:.2}",
                ours / bare
            );
        }
    }
}

async fn run(mut plan: Plan) {
    let server = Server::start();
    plan.server = server.process();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder().engine(Engine::QuickCache))
        .l2(Redis::new(server.url()).required())
        .install()
        .await
        .expect("a runtime");
    let client = redis::Client::open(server.url()).expect("a client");
    // No time limit: the machine may be busy.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await;
    let bare = Bare {
        connection: connection.expect("a connection"),
        // As long as a record of ours.
        payload: [
            postcard::to_stdvec(&Row::new(0)).expect("bytes"),
            vec![0; 84],
        ]
        .concat()
        .into(),
    };
    // Numbers of misses are larger than those of the keys that are read.
    const MISSES: u64 = 1 << 32;
    for id in 0..KEYS {
        read(id).await;
        strong(id).await;
        strong_without_memory(id).await;
        bare.clone().set(id).await;
    }
    let get = |bare: &Bare| {
        let bare = bare.clone();
        move |id| bare.clone().get(id % KEYS)
    };
    let hit = async |id| assert_eq!(read(id % KEYS).await.id, id % KEYS);
    plan.compare(("hit", "GET, decode"), hit, get(&bare)).await;
    let call = async |id| assert_eq!(strong(id % KEYS).await.id, id % KEYS);
    plan.compare(("strong", "GET, decode"), call, get(&bare))
        .await;
    let call = async |id| assert_eq!(strong_without_memory(id % KEYS).await.id, id % KEYS);
    plan.compare(("strong-l2", "GET, decode"), call, get(&bare))
        .await;
    let call = async |id| assert_eq!(read(MISSES + id).await.id, MISSES + id);
    let peer = bare.clone();
    let miss = move |id| peer.clone().miss(MISSES + id);
    plan.compare(("miss", "GET, SET PX"), call, miss).await;
    let call = async |id| {
        let receipt = invalidate!(read, id % KEYS).await;
        assert_eq!(receipt.expect("an invalidation"), Receipt::Acked);
    };
    let peer = bare.clone();
    let del = move |id| peer.clone().del(id % KEYS);
    plan.compare(("invalidate", "DEL, PUBLISH"), call, del)
        .await;
    runtime.shutdown().await.expect("an end");
}

fn main() {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan::of_arguments(&arguments);
    let mut builder = match arguments.iter().any(|argument| argument == "--single") {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let tokio = builder.enable_all().build().expect("a tokio runtime");
    tokio.block_on(run(plan));
}
