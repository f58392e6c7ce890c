//! Cost of a call of 100 ids, beside bare redis-rs on the same server and beside 100 calls of one.
//!
//! `cargo bench -p benches --bench batch` starts a `redis-server` of its own on a Unix socket, and
//! then a cluster, for which redis-rs has its own client.
//! Rounds alternate between the contenders, so that a slow spell of the machine slows all of them
//! down. The numbers are medians, in microseconds for all 100 ids; the ratios are those of medians
//! of one run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use benches::{Row, Server};
use multi_tier_cached::{CacheRuntime, Function, Level, Memory, Redis};
use redis::aio::{ConnectionLike, MultiplexedConnection};

use testbed::cluster::Cluster;

/// Number of ids that a page or a request of a service asks for.
const IDS: u64 = 100;
const ROUNDS: u64 = 300;

fn rows(ids: Vec<u64>) -> HashMap<u64, Row> {
    ids.into_iter().map(|id| (id, Row::new(id))).collect()
}

/// One function, called in one runtime.
struct Contender {
    function: Function<Row>,
    runtime: CacheRuntime,
}

impl Contender {
    async fn batch(&self, ids: &[u64], finds: bool) {
        let load = async |ids: Vec<u64>| {
            assert!(!finds, "the body runs");
            rows(ids)
        };
        let call = self.function.get_or_load_many(ids, |id| (*id,), load);
        let found: HashMap<u64, Row> = CacheRuntime::scope(self.runtime.clone(), call).await;
        assert_eq!(found.len(), ids.len());
    }

    async fn singles(&self, ids: &[u64]) {
        let calls = async {
            let mut found = HashMap::with_capacity(ids.len());
            for id in ids {
                let load = async || panic!("the body runs");
                let value: Row = self.function.get_or_load((*id,), load).await;
                found.insert(*id, value);
            }
            found
        };
        let found = CacheRuntime::scope(self.runtime.clone(), calls).await;
        assert_eq!(found.len(), ids.len());
    }
}

/// The values by bare redis-rs, which read and decode the payloads of our records.
async fn bare(connection: &mut impl ConnectionLike, keys: &[String], header: usize) {
    let records: Vec<Option<Vec<u8>>> = redis::cmd("MGET")
        .arg(keys)
        .query_async(connection)
        .await
        .expect("records");
    let decode = |record: Option<Vec<u8>>| {
        let record = record.expect("a record");
        let row: Row = postcard::from_bytes(&record[header..]).expect("a row");
        (row.id, row)
    };
    let found: HashMap<u64, Row> = records.into_iter().map(decode).collect();
    assert_eq!(found.len(), keys.len());
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn micros(call: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    call.await;
    began.elapsed().as_nanos() as f64 / 1000.0
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

async fn runtime(redis: Redis) -> CacheRuntime {
    let tiers = CacheRuntime::builder().l1(Memory::builder()).l2(redis);
    tiers.build().await.expect("a runtime")
}

fn function(name: &'static str, tiers: &[Level]) -> Function<Row> {
    let builder = Function::<Row>::builder(name).ttl(Duration::from_secs(3600));
    builder
        .tiers(tiers.iter().copied())
        .build()
        .expect("a function")
}

/// Returns the keys of the records that these servers have, and the length of what precedes their
/// payloads.
async fn stored(connections: &mut [MultiplexedConnection]) -> (Vec<String>, usize) {
    let id_of = |key: &str| key.rsplit(':').next()?.parse::<u64>().ok();
    let (mut keys, mut header) = (Vec::new(), 0);
    for connection in connections {
        let found: Vec<String> = redis::cmd("KEYS")
            .arg("*bench::below:*")
            .query_async(connection)
            .await
            .expect("keys");
        let found = found
            .into_iter()
            .filter_map(|key| Some((id_of(&key)?, key)));
        for (id, key) in found {
            let record: Vec<u8> = redis::cmd("GET")
                .arg(&key)
                .query_async(connection)
                .await
                .expect("the record");
            header = record.len() - postcard::to_stdvec(&Row::new(id)).expect("bytes").len();
            keys.push(key);
        }
    }
    assert_eq!(keys.len() as u64, IDS, "{keys:?}");
    (keys, header)
}

async fn connection(url: String) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a client");
    let connection = client.get_multiplexed_async_connection();
    connection.await.expect("a connection")
}

fn print(rows: &[&str], times: &mut [Vec<f64>]) -> Vec<f64> {
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for (row, micros) in rows.iter().zip(&medians) {
        println!(
            "{row:<36}{micros:>10.1} us{:>8.2} x bare",
            micros / medians[0]
        );
    }
    medians
}

/// A cluster of three primaries, and a namespace of eight shards. redis-rs asks the node of each
/// slot, and we the node of each shard.
async fn on_a_cluster(function: &Function<Row>) {
    let cluster = Cluster::start(3).await;
    let runtime = runtime(Redis::cluster(cluster.urls()).shards(8)).await;
    let below = Contender {
        function: function.clone(),
        runtime,
    };
    let ids: Vec<u64> = (0..IDS).collect();
    below.batch(&ids, false).await;
    let mut nodes = Vec::new();
    for primary in cluster.primaries().await {
        nodes.push(connection(cluster.node(primary).url()).await);
    }
    let (keys, header) = stored(&mut nodes).await;
    let client = redis::cluster::ClusterClient::new(cluster.urls()).expect("a client");
    let connection = client.get_async_connection();
    let mut connection = connection.await.expect("a connection");
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(micros(bare(&mut connection, &keys, header)).await);
        times[1].push(micros(below.batch(&ids, true)).await);
    }
    let rows = ["bare cluster MGET and decode", "batch, all in the cluster"];
    print(&rows, &mut times);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = Server::start();
    let (here, there) = (
        runtime(Redis::new(server.url())).await,
        runtime(Redis::new(server.url())).await,
    );
    let of = |function: &Function<Row>, runtime: &CacheRuntime| Contender {
        function: function.clone(),
        runtime: runtime.clone(),
    };
    let (below, near) = (
        function("bench::below", &[Level::L2]),
        function("bench::near", &[Level::L1, Level::L2]),
    );
    let (below, near, far) = (of(&below, &here), of(&near, &here), of(&near, &there));
    let ids: Vec<u64> = (0..IDS).collect();
    below.batch(&ids, false).await;
    near.batch(&ids, false).await;

    let mut connection = connection(server.url()).await;
    let (keys, header) = stored(std::slice::from_mut(&mut connection)).await;

    let rows = [
        "bare MGET and decode",
        "batch, all in Redis",
        "100 calls, all in Redis",
        "batch, all in Redis, into memory",
        "batch, all missing",
        "batch, all in memory",
        "100 calls, all in memory",
    ];
    let mut times: [Vec<f64>; 7] = Default::default();
    // One loop for each state of the server and of memory, so that the work that a contender leaves
    // to the next one, such as the upkeep of memory, is work of its own kind.
    for _ in 0..ROUNDS {
        times[0].push(micros(bare(&mut connection, &keys, header)).await);
        times[1].push(micros(below.batch(&ids, true)).await);
        times[2].push(micros(below.singles(&ids)).await);
    }
    for _ in 0..ROUNDS {
        times[5].push(micros(near.batch(&ids, true)).await);
        times[6].push(micros(near.singles(&ids)).await);
    }
    for round in 0..ROUNDS {
        let fresh: Vec<u64> = (1..=IDS).map(|id| 1000 + round * IDS + id).collect();
        near.batch(&fresh, false).await;
        // Sizes are known after a first read, as for keys that are read often.
        far.function.entry((0_u64,)).peek().await;
        times[3].push(micros(far.batch(&fresh, true)).await);
        times[4].push(micros(below.batch(&fresh, false)).await);
    }
    let medians = print(&rows, &mut times);
    println!(
        "all in memory: {:.1} us above 100 calls",
        medians[5] - medians[6]
    );
    drop(server);
    on_a_cluster(&below.function).await;
}
