//! Cost of a hit, a miss and an invalidation in Redis, beside bare redis-rs on the same server.
//!
//! `cargo bench --bench redis_path` starts a `redis-server` of its own on a Unix socket. Round
//! trips are counted by the server (`INFO commandstats`): each command of a client is one. Rounds
//! alternate between the contenders, so that a slow spell of the machine slows all of them down.
//! The numbers are medians.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::{Row, Server};
use multi_tier_cached::{CacheRuntime, Engine, Memory, Redis, invalidate, multi_tier_cached};
use redis::aio::MultiplexedConnection;

const CALLS: u64 = 400;
const ROUNDS: usize = 15;

/// Has no `l1`, so every call goes to Redis.
#[multi_tier_cached(ttl = "1h", tiers = "l2", name = "bench::row")]
async fn read(id: u64) -> Row {
    Row::new(id)
}

/// Has `l1`, which answers while the instance is coherent.
#[multi_tier_cached(ttl = "1h", name = "bench::near")]
async fn near(a: u32, b: u64) -> Arc<Row> {
    Arc::new(Row::new(u64::from(a) + b))
}

/// Returns the number of commands that clients sent, without those of this bench's own bookkeeping.
///
/// Commands that a script calls are no round trips.
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

/// Operations by bare redis-rs, on keys and values of the same length as ours.
#[derive(Clone)]
struct Bare {
    connection: MultiplexedConnection,
    /// A record of ours, with its header.
    record: Arc<[u8]>,
    header: usize,
}

impl Bare {
    /// Copies a record that `read` has stored.
    async fn new(mut connection: MultiplexedConnection) -> Self {
        read(0).await;
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("*bench*:0")
            .query_async(&mut connection)
            .await
            .expect("keys");
        let record: Vec<u8> = redis::cmd("GET")
            .arg(&keys[0])
            .query_async(&mut connection)
            .await
            .expect("the record");
        let header = record.len() - postcard::to_stdvec(&Row::new(0)).expect("bytes").len();
        Self {
            connection,
            record: record.into(),
            header,
        }
    }

    async fn get(mut self, id: u64) {
        let bytes: Vec<u8> = redis::cmd("GET")
            .arg(bare_key(id))
            .query_async(&mut self.connection)
            .await
            .expect("the bytes");
        let row: Row = postcard::from_bytes(&bytes[self.header..]).expect("a row");
        assert_eq!(row.id, 0);
    }

    async fn set(mut self, id: u64) {
        let set = redis::cmd("SET")
            .arg(bare_key(id))
            .arg(&*self.record)
            .arg("PX")
            .arg(3_600_000)
            .to_owned();
        let () = set.query_async(&mut self.connection).await.expect("set");
    }

    async fn del(mut self, id: u64) {
        let () = redis::cmd("DEL")
            .arg(bare_key(id))
            .query_async(&mut self.connection)
            .await
            .expect("del");
    }
}

fn bare_key(id: u64) -> String {
    format!("{{cache:0}}:bench::bare:1:{id}")
}

async fn call(id: u64) {
    assert_eq!(read(id).await.id, id);
}

async fn invalidate_one(id: u64) {
    invalidate!(read, id).await.expect("an invalidation");
}

/// One line of the table: times of each round, and the round trips of our calls.
struct Line {
    name: &'static str,
    peer: &'static str,
    ours: Vec<f64>,
    bare: Vec<f64>,
    trips: u64,
}

async fn measure(bare: &Bare, watch: &mut MultiplexedConnection) -> [Line; 3] {
    let line = |name, peer| Line {
        name,
        peer,
        ours: Vec::new(),
        bare: Vec::new(),
        trips: 0,
    };
    let mut hit = line("hit", "GET, decode");
    let mut miss = line("miss", "SET");
    let mut invalidated = line("invalidate", "DEL");
    for round in 0..ROUNDS {
        let from = round as u64 * CALLS + 1;
        reset(watch).await;
        miss.ours.push(time(call, from).await);
        // LEASE reads three texts and the record, and FILL reads three texts.
        miss.trips = commands(watch, CALLS * 7).await;
        miss.bare.push(time(|id| bare.clone().set(id), from).await);
        reset(watch).await;
        hit.ours.push(time(call, from).await);
        hit.trips = commands(watch, 0).await;
        hit.bare.push(time(|id| bare.clone().get(id), from).await);
        reset(watch).await;
        invalidated.ours.push(time(invalidate_one, from).await);
        invalidated.trips = commands(watch, 0).await;
        let del = time(|id| bare.clone().del(id), from);
        invalidated.bare.push(del.await);
    }
    [hit, miss, invalidated]
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
    let connect = async || {
        let connection = client.get_multiplexed_async_connection().await;
        connection.expect("a connection")
    };
    let bare = Bare::new(connect().await).await;
    let mut watch = connect().await;
    let table = measure(&bare, &mut watch).await;
    println!(
        "\n{:12} {:>10} {:>24} {:>8} {:>18}",
        "", "ours", "bare redis-rs", "ratio", "our round trips"
    );
    for line in table {
        let (name, peer) = (line.name, line.peer);
        let (ours, bare) = (median(line.ours), median(line.bare));
        let trips = line.trips as f64 / CALLS as f64;
        println!(
            "{name:12} {ours:>7.1} us {peer:>13} {bare:>7.1} us {:>8.2} {trips:>18.2}",
            ours / bare
        );
    }
    memory_hits().await;
    runtime.shutdown().await.expect("an end");
}

/// Measures a hit in memory of a function with a shared tier, which includes the check for
/// coherence.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn memory_hits() {
    // As many hits and keys as in `hit_path`, so that the two benches can be compared.
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
        // Lets the link send and answer barriers, so that the instance remains coherent.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (ours, peer) = (median(ours), median(peer));
    println!(
        "\nhit in memory while coherent, quick_cache engine: {ours:.1} ns, {:.2} x a bare moka get of {peer:.1} ns",
        ours / peer
    );
}
