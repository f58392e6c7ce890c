//! A server that is broken, slow or full of foreign bytes costs a call at most the time limit, and
//! never its result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::{Breaker, Receipt};
use multi_tier_cached::{Level, Redis, TierStats, invalidate, multi_tier_cached};
use tokio::time::{Instant, sleep, timeout};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, assert_loads, assert_tier, until, until_ok};

const LIMIT: Duration = Duration::from_millis(100);
/// Time that a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_millis(150);

#[multi_tier_cached(ttl = "1h")]
async fn double(n: u64) -> u64 {
    2 * n
}

/// An instance that is called with new keys only, so that each call asks the server.
struct Traffic {
    instance: Instance,
    next: AtomicU64,
}

impl Traffic {
    async fn with(redis: Redis) -> Self {
        Self {
            instance: Instance::with_redis(redis).await,
            next: AtomicU64::new(0),
        }
    }

    /// Calls one new key.
    async fn call(&self) -> u64 {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        let value = self.instance.call(double(n)).await;
        assert_eq!(value, 2 * n);
        n
    }

    /// Calls new keys, asserts that each value is right and that no call took longer than the
    /// limit, and returns the time of the slowest.
    async fn calls(&self, number: u64) -> Duration {
        let mut slowest = Duration::ZERO;
        for _ in 0..number {
            let began = Instant::now();
            self.call().await;
            slowest = slowest.max(began.elapsed());
        }
        assert!(slowest < LIMIT + SLACK, "a call took {slowest:?}");
        slowest
    }

    fn breaker(&self) -> Breaker {
        self.instance.tiers()[0].breaker
    }

    async fn until_breaker_opens(&self) {
        until("the breaker opens", || self.breaker() != Breaker::Closed).await;
    }

    async fn until_breaker_closes(&self) {
        until("the breaker closes", || self.breaker() == Breaker::Closed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_redis_fails_no_call_and_is_used_again_after_its_restart() {
    let mut server = Server::start();
    let redis = Redis::new(server.url()).time_limit(LIMIT);
    let traffic = Arc::new(Traffic::with(redis).await);
    traffic.calls(20).await;
    assert_eq!(traffic.breaker(), Breaker::Closed);
    server.until_records(20).await;
    let own = Arc::clone(&traffic);
    let during = tokio::spawn(async move {
        for _ in 0..20 {
            own.calls(5).await;
            tokio::task::yield_now().await;
        }
    });
    server.kill();
    during.await.unwrap();
    traffic.calls(20).await;
    traffic.until_breaker_opens().await;
    server.restart();
    traffic.until_breaker_closes().await;
    traffic.calls(20).await;
    server.until_records(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_redis_delays_calls_by_the_limit_until_the_breaker_opens() {
    let server = Server::start();
    let redis = Redis::new(server.url())
        .time_limit(LIMIT)
        .connect_limit(LIMIT)
        .breaker_threshold(3);
    let traffic = Traffic::with(redis).await;
    traffic.calls(5).await;
    server.freeze();
    let slowest = traffic.calls(6).await;
    assert!(
        slowest >= LIMIT,
        "no call waited for the frozen server: {slowest:?}"
    );
    traffic.until_breaker_opens().await;
    let began = Instant::now();
    traffic.calls(50).await;
    assert!(
        began.elapsed() < LIMIT,
        "calls wait although the breaker is open"
    );
    server.thaw();
    traffic.until_breaker_closes().await;
    let before = server.records().len();
    traffic.calls(5).await;
    server.until_records(before + 5).await;
}

/// Callers that give up before the limit leave no timeout to count, and the link notices
/// nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_redis_opens_the_breaker_although_no_caller_waits_for_the_limit() {
    let server = Server::start();
    let traffic = Traffic::with(Redis::new(server.url()).time_limit(LIMIT)).await;
    traffic.calls(5).await;
    server.freeze();
    let impatient = async {
        while traffic.breaker() == Breaker::Closed {
            let _ = timeout(LIMIT / 2, traffic.call()).await;
        }
    };
    let opened = timeout(Duration::from_secs(5), impatient).await;
    opened.expect("the breaker opens");
    server.thaw();
}

#[tokio::test]
async fn redis_that_is_down_when_the_runtime_is_built_is_used_once_it_starts() {
    let mut server = Server::start();
    server.kill();
    let traffic = Traffic::with(Redis::new(server.url()).time_limit(LIMIT)).await;
    traffic.calls(5).await;
    server.restart();
    traffic.until_breaker_closes().await;
    traffic.calls(5).await;
    server.until_records(5).await;
}

#[tokio::test]
async fn foreign_cut_and_flipped_bytes_are_misses_that_are_counted_and_replaced() {
    let server = Server::start();
    let new_instance = async || Instance::with_redis_at(&server.url()).await;
    assert_eq!(new_instance().await.call(double(1)).await, 2);
    server.until_records(1).await;
    let key = server.records().remove(0);
    let good: Vec<u8> = server.command(&["GET", &key]);
    let mut damaged: Vec<Vec<u8>> = vec![
        b"hello".to_vec(),
        vec![0; 84],
        good[..good.len() - 1].to_vec(),
    ];
    for byte in 0..good.len() {
        let mut flipped = good.clone();
        flipped[byte] ^= 1 << (byte % 8);
        damaged.push(flipped);
    }
    for bytes in damaged {
        let _: () = server.command_bytes(&[b"SET", key.as_bytes(), &bytes, b"PX", b"60000"]);
        let reader = new_instance().await;
        assert_eq!(reader.call(double(1)).await, 2, "{bytes:?}");
        let found = |tier: &TierStats| (bytes.clone(), tier.hits, tier.misses, tier.decode_errors);
        let expected = (bytes.clone(), 0, 1, 1);
        assert_tier(&reader, "double", Level::L2, found, expected).await;
        // A call does not wait for its fill, and the fill replaces the damaged record.
        until("the record is replaced", || {
            server.command::<Vec<u8>>(&["GET", &key]) != bytes
        })
        .await;
        let other = new_instance().await;
        assert_eq!(other.call(double(1)).await, 2);
        let found = |tier: &TierStats| (bytes.clone(), tier.hits);
        assert_tier(&other, "double", Level::L2, found, (bytes.clone(), 1)).await;
    }
}

#[tokio::test]
async fn foreign_guard_and_sequence_are_replaced_and_cost_one_gap() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.call(double(1)).await;
    server.until_records(1).await;
    let name = server.records().remove(0);
    let _: () = server.command(&["DEL", &name]);
    let _: () = server.command(&["SET", &format!("{name}#guards"), "foreign"]);
    let _: () = server.command(&["SET", "{cache:0}:#sequence", "9007199254740993"]);
    here.invalidate(invalidate!(double, 1)).await;
    // Values that are loaded before the gap is repaired are not kept, so the key is invalidated and
    // loaded until one is.
    until_ok("a value is stored", async || {
        here.call(double(1)).await;
        sleep(Duration::from_millis(50)).await;
        if server.records().len() == 1 {
            return Ok(());
        }
        here.invalidate(invalidate!(double, 1)).await;
        Err("no record")
    })
    .await;
    let gaps = here.tier_health().gaps;
    for _ in 0..5 {
        here.invalidate(invalidate!(double, 1)).await;
    }
    // The barrier that follows the messages would find a gap.
    let barriers = server.calls("getrange") + 8;
    until("barriers are sent", || server.calls("getrange") >= barriers).await;
    assert_eq!(here.tier_health().gaps, gaps);
}

#[tokio::test]
async fn foreign_types_under_keys_of_the_cache_are_replaced() {
    let server = Server::start();
    let record = "{cache:0}:it::faults::double:1:1";
    let lease = format!("{record}#lease");
    let epoch = "{cache:0}:it::faults::double:1#epoch";
    for (key, command) in [(record, "RPUSH"), (&*lease, "RPUSH"), (epoch, "SET")] {
        let _: () = server.command(&["FLUSHALL"]);
        let _: () = server.command(&[command, key, "foreign"]);
        for _ in 0..2 {
            let here = Instance::with_redis_at(&server.url()).await;
            assert_eq!(here.call(double(1)).await, 2);
        }
        let reader = Instance::with_redis_at(&server.url()).await;
        reader.call(double(1)).await;
        let found = |tier: &TierStats| (key, tier.hits);
        assert_tier(&reader, "double", Level::L2, found, (key, 1)).await;
    }
}

#[tokio::test]
async fn full_redis_fails_no_call_and_memory_still_keeps_values() {
    let server = Server::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let traffic = Traffic::with(Redis::new(server.url())).await;
    traffic.calls(9).await;
    let last = traffic.call().await;
    let here = &traffic.instance;
    // Each fill was refused by the server.
    assert_tier(here, "double", Level::L2, |tier| tier.tier_errors, 10).await;
    assert_eq!(here.call(double(last)).await, 2 * last);
    assert_loads(here, "double", 10).await;
    let breaker = traffic.breaker();
    assert_eq!(breaker, Breaker::Closed, "the server answers");
}

/// Makes a call of one key here, invalidates it while the server is unreachable, and shuts down.
/// Returns the text of the error of the shutdown.
async fn shut_down_with_a_queued_invalidation(here: &Instance) -> Option<String> {
    let receipt = here.invalidate(invalidate!(double, 1)).await;
    assert_eq!(receipt, Receipt::Queued);
    let error = here.shutdown().await.err();
    error.map(|error| error.to_string())
}

/// Asserts what an instance reports whose server at `url` is unreachable for this `reason`.
async fn assert_reports(url: &str, reason: &str) {
    let directory = Directory::new("ends");
    let journal = directory.path().join("journal");
    let without_file = Instance::with_redis_at(url).await;
    let health = without_file.health().await;
    let last_error = health.tiers[0].last_error.clone().unwrap();
    let address = url.rsplit(['@', '/']).next().unwrap();
    assert!(
        last_error.contains(reason) && last_error.contains(address),
        "{last_error}"
    );
    assert!(!health.is_well(), "{health}");
    let error = shut_down_with_a_queued_invalidation(&without_file).await;
    let error = error.expect("the invalidation is lost");
    assert!(error.contains("1 invalidation was not sent"), "{error}");
    // With a file, the next process has the invalidation.
    let redis = || Redis::new(url).journal_file(&journal);
    let with_file = Instance::with_redis(redis()).await;
    let error = shut_down_with_a_queued_invalidation(&with_file).await;
    assert_eq!(error, None);
    let next = Instance::with_redis(redis()).await;
    assert_eq!(next.tier_health().queued, 1);
    next.shutdown().await.unwrap();
}

#[tokio::test]
async fn refused_connection_is_in_the_health_and_lost_invalidations_are_in_the_shutdown_error() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let url = format!("redis://127.0.0.1:{closed}");
    assert_reports(&url, "Connection refused").await;
}

#[tokio::test]
async fn wrong_password_is_in_the_health_and_lost_invalidations_are_in_the_shutdown_error() {
    let server = Server::start_with(&["--requirepass", "secret"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", server.port());
    assert_reports(&url, "WRONGPASS").await;
}

#[tokio::test]
async fn health_says_why_a_tier_that_answers_does_not_serve_the_calls() {
    let server = Server::start();
    let traffic = Traffic::with(Redis::new(server.url())).await;
    let here = &traffic.instance;
    traffic.calls(10).await;
    assert!(here.health().await.is_well());
    let _: () = server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    traffic.calls(10).await;
    // A call does not wait for its fill, which fails.
    until_ok("health names the reason", async || {
        let health = here.health().await;
        let text = health.to_string();
        match !health.is_well() && text.contains("fills failed") && text.contains("OOM") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    let _: () = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    traffic.calls(1).await;
    until_ok("the tier is well again", async || {
        let health = here.health().await;
        if health.is_well() {
            Ok(())
        } else {
            Err(health)
        }
    })
    .await;
}
