//! Foreign values under keys of the cache cost no more than a record may, and are replaced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Level, multi_tier_cached};
use tokio::task::JoinSet;
use tokio::time::Instant;

use testbed::server::Server;
use testbed::{two_tiers, until};

/// Bytes of the foreign string.
const LARGE: u64 = 256 << 20;
/// Bytes that the server may send in each test: a few times the limit of a record, 1 MiB.
const MOST_SENT: u64 = 8 << 20;

static LOADS: AtomicU64 = AtomicU64::new(0);
static OTHER_LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn bounded(key: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    key
}

#[multi_tier_cached(ttl = "1h")]
async fn other(key: u64) -> u64 {
    OTHER_LOADS.fetch_add(1, Ordering::SeqCst);
    key
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

fn make_large(server: &Server, name: &str) {
    let _: u64 = server.command(&["SETRANGE", name, &(LARGE - 1).to_string(), "x"]);
}

fn length(server: &Server, name: &str) -> u64 {
    server.command(&["STRLEN", name])
}

/// Bytes that the server has sent to all of its clients.
fn sent(server: &Server) -> u64 {
    let stats: String = server.command(&["INFO", "stats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.unwrap().trim().parse().unwrap()
}

/// Calls `other` for ten keys, ten times each, and returns the time that the slowest call took.
async fn traffic(runtime: &CacheRuntime) -> Duration {
    let mut calls = JoinSet::new();
    for call in 0..100 {
        calls.spawn(CacheRuntime::scope(runtime.clone(), async move {
            let began = Instant::now();
            assert_eq!(other(call % 10).await, call % 10);
            began.elapsed()
        }));
    }
    calls.join_all().await.into_iter().max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_under_a_records_key_is_replaced_and_delays_nobody() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    // The first read of a function asks for its epoch too; later ones ask for the record alone.
    for key in [0, 1] {
        let name = format!("{{cache:0}}:it::oversized::bounded:1:{key}");
        make_large(&server, &name);
        let before = sent(&server);
        let (answer, slowest) = tokio::join!(on(&runtime, bounded(key)), traffic(&runtime));
        assert_eq!(answer, key);
        until("the string is replaced", || length(&server, &name) < 1_000).await;
        let sent = sent(&server) - before;
        assert!(sent < MOST_SENT, "{sent} bytes were sent");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    }
    assert_eq!(LOADS.load(Ordering::SeqCst), 2);
    assert_eq!(OTHER_LOADS.load(Ordering::SeqCst), 10, "once per key");
    let stats = runtime.stats();
    let stats = stats.function("it::oversized::bounded").unwrap();
    let stats = stats.tier(Level::L2).unwrap();
    assert_eq!((stats.decode_errors, stats.tier_errors), (2, 0));
}

/// A strong call whose value is in memory asks by a script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_is_replaced_when_a_strong_call_finds_it() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h", consistency = "strong")]
    async fn strong(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let name = "{cache:0}:it::oversized::strong:1:1";
    on(&runtime, strong(1)).await;
    until("it is filled", || server.records() == [name]).await;
    on(&runtime, strong(1)).await;
    assert_eq!(LOADS.load(Ordering::SeqCst), 1);
    let _: () = server.command(&["DEL", name]);
    make_large(&server, name);
    let before = sent(&server);
    on(&runtime, strong(1)).await;
    assert_eq!(LOADS.load(Ordering::SeqCst), 2);
    until("the string is replaced", || length(&server, name) < 1_000).await;
    on(&runtime, strong(1)).await;
    assert_eq!(LOADS.load(Ordering::SeqCst), 2, "the new record is used");
    let sent = sent(&server) - before;
    assert!(sent < MOST_SENT, "{sent} bytes were sent");
}

/// Epoch and history are read with each record that is not asked for alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_under_an_epochs_key_is_replaced_and_never_sent() {
    #[multi_tier_cached(ttl = "1h")]
    async fn fresh(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let name = "{cache:0}:it::oversized::fresh:1#epoch";
    make_large(&server, name);
    let before = sent(&server);
    on(&runtime, fresh(1)).await;
    until("the epoch is replaced", || length(&server, name) < 20).await;
    until("the value is stored", || server.records().len() == 1).await;
    let sent = sent(&server) - before;
    assert!(sent < MOST_SENT, "{sent} bytes were sent");
}
