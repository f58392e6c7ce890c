//! What a hit, a miss and an invalidation in Redis cost, beside bare redis-rs on the same server in the same run.
//!
//! `cargo bench --bench redis_path` starts a `redis-server` of its own on a Unix socket. Round trips are counted at the
//! server (`INFO commandstats`): each command a client sends is one. Rounds alternate between the contenders, so that a slow
//! spell of the machine hits all; numbers are medians.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multi_tier_cached::{CacheRuntime, Engine, Memory, Redis, invalidate, multi_tier_cached};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

const CALLS: u64 = 400;
const ROUNDS: usize = 15;

/// 200 bytes or so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    numbers: Vec<u64>,
}

fn row(id: u64) -> Row {
    Row {
        id,
        name: format!("customer {id}"),
        numbers: vec![u64::MAX / 3; 16],
    }
}

/// Without l1, so that every call goes to Redis.
#[multi_tier_cached(ttl = "1h", tiers = "l2", name = "bench::row")]
async fn read(id: u64) -> Row {
    row(id)
}

/// With l1, which answers while the instance is coherent.
#[multi_tier_cached(ttl = "1h", name = "bench::near")]
async fn near(a: u32, b: u64) -> Arc<Row> {
    Arc::new(row(u64::from(a) + b))
}

struct Server {
    child: Child,
    directory: std::path::PathBuf,
}

impl Server {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("mtc-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(directory.join("socket"))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server; install it");
        while !directory.join("socket").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, directory }
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Commands that clients sent, but for those of this bench's own bookkeeping. What a script calls is not a round trip.
async fn commands(connection: &mut MultiplexedConnection, reads_in_scripts: u64) -> u64 {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(connection)
        .await
        .expect("stats");
    let sent = |name: &str| {
        let prefix = format!("cmdstat_{name}:calls=");
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.split(',').next());
        line.map_or(0, |calls| calls.parse::<u64>().expect("a number"))
    };
    // The server counts the commands of scripts with those of clients, so the reads in scripts are
    // subtracted.
    sent("evalsha") + sent("eval") + sent("getrange") - reads_in_scripts
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn time<F: Future<Output = ()>>(call: impl Fn(u64) -> F, from: u64) -> f64 {
    let began = Instant::now();
    for id in from..from + CALLS {
        call(id).await;
    }
    began.elapsed().as_nanos() as f64 / CALLS as f64 / 1000.0
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

async fn reset(connection: &mut MultiplexedConnection) {
    let () = redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async(connection)
        .await
        .expect("reset");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = Server::start();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder().engine(Engine::QuickCache))
        .l2(Redis::new(server.url()).required())
        .install()
        .await
        .expect("a runtime");
    let client = redis::Client::open(server.url()).expect("a client");
    let connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let mut watch = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");

    // The same bytes under keys of the same length: header and all.
    read(0).await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*bench*:0")
        .query_async(&mut watch)
        .await
        .expect("keys");
    let record: Vec<u8> = redis::cmd("GET")
        .arg(&keys[0])
        .query_async(&mut watch)
        .await
        .expect("the record");
    let header = record.len() - postcard::to_stdvec(&row(0)).expect("bytes").len();
    let key = |id: u64| format!("{{cache:0}}:bench::bare:1:{id}");

    let bare_get = |id: u64| {
        let mut connection = connection.clone();
        async move {
            let bytes: Vec<u8> = redis::cmd("GET")
                .arg(key(id))
                .query_async(&mut connection)
                .await
                .expect("the bytes");
            let row: Row = postcard::from_bytes(&bytes[header..]).expect("a row");
            assert_eq!(row.id, 0);
        }
    };
    let bare_set = |id: u64| {
        let (mut connection, record) = (connection.clone(), record.clone());
        async move {
            let set = redis::cmd("SET")
                .arg(key(id))
                .arg(record)
                .arg("PX")
                .arg(3_600_000)
                .to_owned();
            let () = set.query_async(&mut connection).await.expect("set");
        }
    };
    let bare_del = |id: u64| {
        let mut connection = connection.clone();
        async move {
            let () = redis::cmd("DEL")
                .arg(key(id))
                .query_async(&mut connection)
                .await
                .expect("del");
        }
    };
    let call = |id: u64| async move { assert_eq!(read(id).await.id, id) };
    let drop_it = |id: u64| async move {
        invalidate!(read, id).await.expect("an invalidation");
    };

    let (mut hit, mut miss, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut get, mut set, mut del) = (Vec::new(), Vec::new(), Vec::new());
    let mut trips = [0; 3];
    for round in 0..ROUNDS {
        let from = round as u64 * CALLS + 1;
        reset(&mut watch).await;
        miss.push(time(call, from).await);
        // LEASE reads three texts and the record, and FILL three texts.
        trips[1] = commands(&mut watch, CALLS * 7).await;
        set.push(time(bare_set, from).await);
        reset(&mut watch).await;
        hit.push(time(call, from).await);
        trips[0] = commands(&mut watch, 0).await;
        get.push(time(bare_get, from).await);
        reset(&mut watch).await;
        gone.push(time(drop_it, from).await);
        trips[2] = commands(&mut watch, 0).await;
        del.push(time(bare_del, from).await);
    }

    println!(
        "\n{:12} {:>10} {:>24} {:>8} {:>18}",
        "", "ours", "bare redis-rs", "ratio", "our round trips"
    );
    for (at, (name, ours, peer, bare)) in [
        ("hit", hit, "GET, decode", get),
        ("miss", miss, "SET", set),
        ("invalidate", gone, "DEL", del),
    ]
    .into_iter()
    .enumerate()
    {
        let (ours, bare) = (median(ours), median(bare));
        let trips = trips[at] as f64 / CALLS as f64;
        println!(
            "{name:12} {ours:>7.1} us {peer:>13} {bare:>7.1} us {:>8.2} {trips:>18.2}",
            ours / bare
        );
    }
    memory_hits().await;
    runtime.shutdown().await.expect("an end");
}

/// A hit in memory of a function that has a shared tier: the check for coherence is in it.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn memory_hits() {
    // As in `hit_path`.
    const HITS: u64 = 200_000;
    const KEYS: u64 = 1_000;
    let bare = moka::sync::Cache::new(10_000);
    for id in 0..KEYS {
        bare.insert((1u32, id), near(1, id).await);
    }
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for hit in 0..HITS {
            std::hint::black_box(near(1, std::hint::black_box(hit % KEYS)).await);
        }
        ours.push(began.elapsed().as_nanos() as f64 / HITS as f64);
        let began = Instant::now();
        for hit in 0..HITS {
            std::hint::black_box(bare.get(&(1, std::hint::black_box(hit % KEYS))));
        }
        peer.push(began.elapsed().as_nanos() as f64 / HITS as f64);
        // Barriers are answered.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (ours, peer) = (median(ours), median(peer));
    println!(
        "\nhit in memory while coherent, quick_cache engine: {ours:.1} ns, {:.2} x a bare moka get of {peer:.1} ns",
        ours / peer
    );
}
