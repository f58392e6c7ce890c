//! A cache that is broken, slow or full of rubbish costs a call at most the time limit, and never its result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::{Breaker, Receipt};
use multi_tier_cached::{CacheRuntime, Level, Redis, TierStats, invalidate, multi_tier_cached};
use tokio::time::Instant;

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{build, two_tiers, until, until_ok};

const LIMIT: Duration = Duration::from_millis(100);
/// What a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_millis(150);

static NEXT: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn double(n: u64) -> u64 {
    2 * n
}

fn breaker(runtime: &CacheRuntime) -> Breaker {
    runtime.tiers()[0].breaker
}

/// Calls of new keys; every one is right, and none takes longer than the limit.
async fn traffic(runtime: &CacheRuntime, calls: u64) -> Duration {
    let mut slowest = Duration::ZERO;
    CacheRuntime::scope(runtime.clone(), async {
        for _ in 0..calls {
            let n = NEXT.fetch_add(1, Ordering::SeqCst);
            let began = Instant::now();
            assert_eq!(double(n).await, 2 * n);
            slowest = slowest.max(began.elapsed());
        }
    })
    .await;
    assert!(slowest < LIMIT + SLACK, "a call took {slowest:?}");
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_fails_no_call_and_is_used_again_when_it_is_back() {
    let mut server = Server::start();
    let runtime = build(Redis::new(server.url()).time_limit(LIMIT)).await;
    traffic(&runtime, 20).await;
    assert_eq!(
        (breaker(&runtime), server.records().len()),
        (Breaker::Closed, 20)
    );
    let during = tokio::spawn({
        let runtime = runtime.clone();
        async move {
            for _ in 0..20 {
                traffic(&runtime, 5).await;
                tokio::task::yield_now().await;
            }
        }
    });
    server.kill();
    during.await.unwrap();
    traffic(&runtime, 20).await;
    until("the breaker opens", || breaker(&runtime) != Breaker::Closed).await;
    server.restart();
    until("the breaker closes", || {
        breaker(&runtime) == Breaker::Closed
    })
    .await;
    traffic(&runtime, 20).await;
    assert_eq!(server.records().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_delays_calls_by_the_limit_until_the_breaker_opens() {
    let server = Server::start();
    let redis = Redis::new(server.url())
        .time_limit(LIMIT)
        .connect_limit(LIMIT)
        .breaker_threshold(3);
    let runtime = build(redis).await;
    traffic(&runtime, 5).await;
    server.freeze();
    let slowest = traffic(&runtime, 6).await;
    assert!(
        slowest >= LIMIT,
        "somebody waited for the frozen server: {slowest:?}"
    );
    until("the breaker opens", || breaker(&runtime) != Breaker::Closed).await;
    let began = Instant::now();
    traffic(&runtime, 50).await;
    assert!(
        began.elapsed() < LIMIT,
        "nobody waits behind an open breaker"
    );
    server.thaw();
    until("the breaker closes", || {
        breaker(&runtime) == Breaker::Closed
    })
    .await;
    let before = server.records().len();
    traffic(&runtime, 5).await;
    assert_eq!(server.records().len(), before + 5);
}

/// Callers who go away before the limit leave no answer to count; the link notices all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_is_noticed_although_no_caller_waits_for_the_limit() {
    let server = Server::start();
    let runtime = build(Redis::new(server.url()).time_limit(LIMIT)).await;
    traffic(&runtime, 5).await;
    server.freeze();
    let impatient = async {
        while breaker(&runtime) == Breaker::Closed {
            let n = NEXT.fetch_add(1, Ordering::SeqCst);
            let call = CacheRuntime::scope(runtime.clone(), async { double(n).await });
            let _ = tokio::time::timeout(LIMIT / 2, call).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), impatient)
        .await
        .expect("the breaker opens");
    server.thaw();
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_used_when_it_comes() {
    let mut server = Server::start();
    server.kill();
    let runtime = build(Redis::new(server.url()).time_limit(LIMIT)).await;
    traffic(&runtime, 5).await;
    server.restart();
    until("the breaker closes", || {
        breaker(&runtime) == Breaker::Closed
    })
    .await;
    traffic(&runtime, 5).await;
    assert_eq!(server.records().len(), 5);
}

fn l2(runtime: &CacheRuntime) -> TierStats {
    runtime
        .stats()
        .function("it::faults::double")
        .unwrap()
        .tier(Level::L2)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn foreign_cut_and_flipped_bytes_are_misses_replaced_and_counted() {
    let server = Server::start();
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    let call = async |runtime: &CacheRuntime| {
        CacheRuntime::scope(runtime.clone(), async { double(n).await }).await
    };
    let writer = two_tiers(&server.url()).await;
    assert_eq!(call(&writer).await, 2 * n);
    let key = server.records().remove(0);
    let good: Vec<u8> = server.command(&["GET", &key]);
    let mut rubbish: Vec<Vec<u8>> = vec![
        b"hello".to_vec(),
        vec![0; 84],
        good[..good.len() - 1].to_vec(),
    ];
    for byte in 0..good.len() {
        let mut flipped = good.clone();
        flipped[byte] ^= 1 << (byte % 8);
        rubbish.push(flipped);
    }
    for bytes in rubbish {
        let _: () = server.command_bytes(&[b"SET", key.as_bytes(), &bytes, b"PX", b"60000"]);
        let reader = two_tiers(&server.url()).await;
        assert_eq!(call(&reader).await, 2 * n, "{bytes:?}");
        let stats = l2(&reader);
        assert_eq!(
            (stats.hits, stats.misses, stats.decode_errors),
            (0, 1, 1),
            "{bytes:?}"
        );
        let other = two_tiers(&server.url()).await;
        assert_eq!(call(&other).await, 2 * n);
        assert_eq!(l2(&other).hits, 1, "replaced: {bytes:?}");
    }
}

/// Other types under our keys: a list as record, text as lease and epoch.
#[tokio::test]
async fn foreign_controls_are_replaced() {
    let server = Server::start();
    let here = two_tiers(&server.url()).await;
    CacheRuntime::scope(here.clone(), async {
        double(1_000_001).await;
        until("it is filled", || server.records().len() == 1).await;
        let name = server.records().remove(0);
        let _: () = server.command(&["DEL", &name]);
        let _: () = server.command(&["SET", &format!("{name}#guards"), "somebody's"]);
        let _: () = server.command(&["SET", "{cache:0}:#sequence", "9007199254740993"]);
        invalidate!(double, 1_000_001).await.unwrap();
        // Once the gap is mended: what is loaded before that is not kept.
        until_ok("it is filled", async || {
            double(1_000_001).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if server.records().len() == 1 {
                return Ok(());
            }
            invalidate!(double, 1_000_001)
                .await
                .map_err(|error| error.to_string())?;
            Err("not yet".to_owned())
        })
        .await;
        let gaps = here.tiers()[0].health.gaps;
        for _ in 0..5 {
            invalidate!(double, 1_000_001).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(here.tiers()[0].health.gaps, gaps);
    })
    .await;
}

#[tokio::test]
async fn foreign_types_under_our_keys_are_replaced() {
    let server = Server::start();
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    let record = format!("{{cache:0}}:it::faults::double:1:{n}");
    let epoch = "{cache:0}:it::faults::double:1#epoch";
    for (key, command) in [
        (record.clone(), "RPUSH"),
        (format!("{record}#lease"), "RPUSH"),
        (epoch.to_owned(), "SET"),
    ] {
        let _: () = server.command(&["FLUSHALL"]);
        let _: () = server.command(&[command, &key, "foreign"]);
        for _ in 0..2 {
            let runtime = two_tiers(&server.url()).await;
            assert_eq!(
                CacheRuntime::scope(runtime, async { double(n).await }).await,
                2 * n
            );
        }
        let reader = two_tiers(&server.url()).await;
        CacheRuntime::scope(reader.clone(), async { double(n).await }).await;
        assert_eq!(l2(&reader).hits, 1, "{key}");
    }
}

/// What an answer is worth when the server has no memory left: the value.
#[tokio::test]
async fn a_full_redis_fails_no_call() {
    let server = Server::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let runtime = two_tiers(&server.url()).await;
    traffic(&runtime, 10).await;
    assert_eq!(l2(&runtime).tier_errors, 10, "each fill was refused");
    // Memory goes on.
    let n = NEXT.load(Ordering::SeqCst) - 1;
    let loads = runtime.stats().functions[0].loads;
    let hits = CacheRuntime::scope(runtime.clone(), async { double(n).await });
    assert_eq!(hits.await, 2 * n);
    assert_eq!(runtime.stats().functions[0].loads, loads);
    assert_eq!(
        breaker(&runtime),
        Breaker::Closed,
        "a server that answers is in order"
    );
}

/// Who looks at the health of it, or at an error, need not have read the log of an hour ago.
#[tokio::test]
async fn why_a_server_is_away_is_said_and_what_is_lost_at_the_end() {
    let server = Server::start_with(&["--requirepass", "secret"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let directory = Directory::new("ends");
    std::fs::create_dir_all(directory.path()).unwrap();
    let journal = directory.path().join("journal");
    for (url, reason) in [
        (format!("redis://127.0.0.1:{closed}"), "Connection refused"),
        (
            format!("redis://:wrong@127.0.0.1:{}", server.port()),
            "WRONGPASS",
        ),
    ] {
        for journal in [None, Some(&journal)] {
            let mut redis = Redis::new(&url);
            if let Some(journal) = journal {
                redis = redis.journal_file(journal);
            }
            let runtime = build(redis).await;
            let health = runtime.health().await;
            let last_error = health.tiers[0].last_error.clone().unwrap();
            let address = url
                .rsplit('@')
                .next()
                .unwrap()
                .trim_start_matches("redis://");
            assert!(
                last_error.contains(reason) && last_error.contains(address),
                "{last_error}"
            );
            assert!(!health.is_well());
            let dropped = async { invalidate!(double, 1).await };
            let receipt = CacheRuntime::scope(runtime.clone(), dropped).await;
            assert_eq!(receipt.unwrap(), Receipt::Queued);
            match (runtime.shutdown().await, journal) {
                (Ok(()), Some(_)) => {}
                (Err(error), None) => {
                    assert!(
                        error.to_string().contains("1 invalidations were not sent"),
                        "{error}"
                    );
                }
                (ended, journal) => panic!("{ended:?} with {journal:?}"),
            }
        }
        // The next one has it.
        let next = build(Redis::new(&url).journal_file(&journal)).await;
        assert_eq!(next.tiers()[0].health.queued, 1);
        next.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn health_says_why_a_tier_that_answers_does_not_serve_the_calls() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    traffic(&runtime, 10).await;
    assert!(runtime.health().await.is_well());
    let _: () = server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    traffic(&runtime, 10).await;
    // A caller does not wait for its fill.
    let is_told = async {
        loop {
            let health = runtime.health().await;
            if !health.is_well() {
                return health.to_string();
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(5), is_told).await;
    let told = told.expect("it is not well");
    assert!(
        told.contains("fills failed") && told.contains("OOM"),
        "{told}"
    );
    let _: () = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    traffic(&runtime, 1).await;
    let is_well = async { while !runtime.health().await.is_well() {} };
    let is_well = tokio::time::timeout(Duration::from_secs(5), is_well).await;
    is_well.expect("it is well again");
}
