//! The cost of instances for a server, by their number.
//!
//! [`run`] starts a server, and instances in this process. It counts what they send while they are
//! idle, and what an invalidation costs, and returns a [`Table`]. What a thousand instances would
//! cost follows from these counts. It also counts what each kind of operation costs.

mod operations;
mod table;
mod usage;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use multi_tier_cached::{Redis, invalidate, multi_tier_cached};
use testbed::Instance;
use testbed::server::Server;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

pub use self::operations::Cost;
pub use self::table::{Row, Table};
pub use self::usage::Usage;
use self::usage::used;

/// Numbers of instances, and of the shards that each of them uses on the one server.
const SETTINGS: [(usize, u8); 4] = [(1, 1), (16, 1), (64, 1), (16, 8)];

/// Time for which idle instances are counted.
const IDLE: Duration = Duration::from_secs(5);

/// Number of invalidations whose cost is counted.
const INVALIDATIONS: u64 = 2_000;

/// Number of invalidations whose propagation is measured.
const MEASURED: usize = 1_000;

/// Pause between two invalidations whose propagation is measured.
const PAUSE: Duration = Duration::from_millis(2);

#[multi_tier_cached(ttl = "1h", name = "soak::growth", skip(version))]
async fn read(version: &AtomicU64, _key: u64) -> u64 {
    version.load(Ordering::Relaxed)
}

/// Measures each number of instances, and the kinds of operations, on servers of their own.
///
/// # Errors
/// The server does not reply.
pub async fn run(binary: &str) -> io::Result<Table> {
    let mut table = Table::default();
    for (number, shards) in SETTINGS {
        let server = Server::start_binary(binary, &[]);
        table.rows.push(measure(&server, number, shards).await?);
    }
    table.costs = operations::costs(binary).await?;
    Ok(table)
}

async fn measure(server: &Server, number: usize, shards: u8) -> io::Result<Row> {
    let mut instances = Vec::new();
    for _ in 0..number {
        let redis = Redis::new(server.url()).shards(shards);
        instances.push(Instance::with_redis(redis).await);
    }
    let version = Arc::new(AtomicU64::new(0));
    for instance in &instances {
        instance.until_coherent().await;
        instance.call(read(&version, 1)).await;
    }
    // Connections that only the start needed have ended.
    sleep(Duration::from_secs(1)).await;
    let (before, began) = (used(server).await?, Instant::now());
    sleep(IDLE).await;
    let idle = (used(server).await? - before).per(began.elapsed().as_secs_f64());

    let (before, began) = (used(server).await?, Instant::now());
    for key in 0..INVALIDATIONS {
        instances[0]
            .invalidate(invalidate!(read, &version, 1_000 + key))
            .await;
    }
    let elapsed = began.elapsed().as_secs_f64();
    // The last messages are sent.
    sleep(Duration::from_millis(100)).await;
    let all = used(server).await? - before;
    let invalidation = (all - idle.times(elapsed + 0.1)).per(INVALIDATIONS as f64);
    Ok(Row {
        instances: number,
        shards,
        idle,
        invalidation,
        propagation: propagation(&instances, &version).await,
    })
}

/// Times from the begin of an invalidation on one instance until another one, chosen at random,
/// returns the new value. Sorted.
async fn propagation(instances: &[Instance], version: &AtomicU64) -> Vec<Duration> {
    let mut times = Vec::new();
    let Some((first, others)) = instances.split_first() else {
        return times;
    };
    if others.is_empty() {
        return times;
    }
    let mut rng = Rng::with_seed(7);
    for _ in 0..MEASURED {
        let other = &others[rng.usize(..others.len())];
        other.call(read(version, 1)).await;
        let new = version.fetch_add(1, Ordering::Relaxed) + 1;
        let began = Instant::now();
        let invalidated = first.invalidate(invalidate!(read, version, 1));
        let seen = async {
            // A hit is ready at its first poll, so the other tasks get their turns here.
            while other.call(read(version, 1)).await != new {
                yield_now().await;
            }
            began.elapsed()
        };
        let (_, took) = tokio::join!(invalidated, seen);
        times.push(took);
        sleep(PAUSE).await;
    }
    times.sort_unstable();
    times
}
