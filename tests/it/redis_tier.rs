//! The shared tier in order: keys, round trips, lives, settings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, ErrorKind, Function, Level, ManualClock, Memory, Redis, invalidate,
    multi_tier_cached,
};

use testbed::server::Server;
use testbed::{build, two_tiers, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", name = "users::by_id")]
async fn user(id: u64, name: &str) -> Option<String> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    (id > 0).then(|| format!("{name} {id}"))
}

#[multi_tier_cached(ttl(l1 = "1h", l2 = "50ms"), key = "short:{id}")]
async fn short(id: u64) -> u64 {
    id
}

#[tokio::test]
async fn a_record_is_readable_and_costs_three_round_trips_then_one() {
    let server = Server::start();
    // So long a bound that no barrier reads beside the calls.
    let redis = || Redis::new(server.url()).staleness_bound(Duration::from_secs(60));
    let (first, second) = (build(redis()).await, build(redis()).await);
    // The first barriers of each are read at once.
    loop {
        let read = server.calls("getrange");
        tokio::time::sleep(Duration::from_millis(50)).await;
        if server.calls("getrange") == read {
            break;
        }
    }
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(
        CacheRuntime::scope(first, async { user(42, "a:b").await })
            .await
            .unwrap(),
        "a:b 42"
    );
    // A read of record, epoch and history in one round trip; LEASE reads these and the lease again,
    // and FILL all but the record.
    assert_eq!(
        (server.calls("getrange"), server.calls("evalsha")),
        (3 + 4 + 3, 2)
    );
    assert_eq!(server.records(), ["{cache:0}:users::by_id:1:42,'a%3Ab'"]);
    let life: i64 = server.command(&["PTTL", &server.records()[0]]);
    assert!((3_420_000..=3_600_000).contains(&life), "{life}");

    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    let loads = LOADS.load(Ordering::SeqCst);
    assert_eq!(
        CacheRuntime::scope(second.clone(), async { user(42, "a:b").await })
            .await
            .unwrap(),
        "a:b 42"
    );
    assert_eq!(LOADS.load(Ordering::SeqCst), loads);
    assert_eq!((server.calls("getrange"), server.calls("evalsha")), (3, 0));
    CacheRuntime::scope(second.clone(), async { user(42, "a:b").await }).await;
    assert_eq!(server.calls("getrange"), 3, "the record was copied up");
    let stats = second.stats();
    let stats = stats.function("users::by_id").unwrap();
    assert_eq!(
        (
            stats.tier(Level::L1).unwrap().hits,
            stats.tier(Level::L2).unwrap().hits,
            stats.loads
        ),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn every_key_but_a_lease_under_way_has_a_life_and_none_is_zero() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let tiny = Function::<u64>::builder("redis_tier::tiny")
        .ttl(Duration::from_nanos(1))
        .build()
        .unwrap();
    CacheRuntime::scope(runtime, async {
        user(1, "a").await;
        assert_eq!(user(0, "none").await, None);
        tiny.get_or_load((1,), || async { 1 }).await;
    })
    .await;
    for key in server.keys() {
        let life: i64 = server.command(&["PTTL", &key]);
        assert_ne!(life, -1, "{key} has no end");
    }
}

/// In memory a copy from Redis lives as long as the record would have.
#[tokio::test]
async fn a_copy_lives_no_longer_than_its_record() {
    let server = Server::start();
    let clock = ManualClock::new();
    let writer = two_tiers(&server.url()).await;
    let reader = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .clock(&clock)
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(writer, async { short(1).await }).await;
    assert_eq!(
        server.records(),
        ["{cache:0}:it::redis_tier::short:1:short:1"]
    );
    CacheRuntime::scope(reader.clone(), async {
        short(1).await;
        let hits = || {
            reader
                .stats()
                .function("it::redis_tier::short")
                .unwrap()
                .tier(Level::L1)
                .unwrap()
                .hits
        };
        short(1).await;
        assert_eq!(hits(), 1);
        clock.advance(Duration::from_millis(51));
        short(1).await;
        assert_eq!(hits(), 1, "its 50 ms are over, whatever l1's ttl says");
    })
    .await;
}

#[tokio::test]
async fn a_value_over_the_limit_is_not_sent_and_counted() {
    let server = Server::start();
    let runtime = build(Redis::new(server.url()).max_record_bytes(1_000)).await;
    let large = Function::<String>::builder("redis_tier::large")
        .ttl(Duration::from_secs(60))
        .build()
        .unwrap();
    CacheRuntime::scope(runtime.clone(), async {
        for _ in 0..2 {
            assert_eq!(
                large
                    .get_or_load((1,), || async { "x".repeat(5_000) })
                    .await
                    .len(),
                5_000
            );
        }
    })
    .await;
    assert_eq!(server.records(), Vec::<String>::new());
    let stats = runtime.stats();
    let stats = stats.function("redis_tier::large").unwrap();
    assert_eq!(
        (stats.loads, stats.tier(Level::L2).unwrap().too_large),
        (1, 1),
        "memory keeps it"
    );
}

#[tokio::test]
async fn databases_passwords_users_and_sockets_are_used() {
    let server = Server::start_with(&[
        "--requirepass",
        "secret",
        "--user",
        "app",
        "on",
        ">pw",
        "~*",
        "&*",
        "+@all",
    ]);
    let count = |database: &str, user: &str, password: &str| {
        let url = format!(
            "redis://{user}:{password}@127.0.0.1:{}/{database}",
            server.port()
        );
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        redis::cmd("DBSIZE").query::<u64>(&mut connection).unwrap()
    };
    for (n, url) in [
        format!("redis://:secret@127.0.0.1:{}/3", server.port()),
        format!("redis://app:pw@127.0.0.1:{}/4", server.port()),
        format!("{}?db=5&pass=secret", server.socket_url()),
    ]
    .into_iter()
    .enumerate()
    {
        let runtime = build(Redis::new(url).required()).await;
        CacheRuntime::scope(runtime, async { user(7 + n as u64, "db").await }).await;
        assert_eq!(
            count(&(n + 3).to_string(), "app", "pw"),
            5,
            "a record, an epoch, the history, the sequence and the heartbeat"
        );
    }
    let refused = CacheRuntime::builder()
        .l2(Redis::new(format!("redis://:wrong@127.0.0.1:{}", server.port())).required())
        .build()
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("WRONGPASS"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("secret"));
}

#[tokio::test]
async fn a_required_server_that_is_away_or_no_redis_fails_the_build() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    // Takes connections and never answers, as a server of another protocol may.
    let silent = Redis::new(format!("redis://127.0.0.1:{port}"))
        .connect_limit(Duration::from_millis(100))
        .required();
    let error = CacheRuntime::builder()
        .l2(silent)
        .build()
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Unavailable),
        "{error:?}"
    );
    drop(nobody);
    let away = Redis::new(format!("redis://127.0.0.1:{port}")).required();
    let error = CacheRuntime::builder().l2(away).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let text = format!("{error:?}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
}

/// Which, and why, is in the error; what is secret is not.
#[tokio::test]
async fn a_required_server_that_is_another_is_named() {
    let memcached = testbed::memcached::Memcached::start();
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = web.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (mut client, _) = web.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            let mut asked = [0; 1024];
            let _ = client.read(&mut asked).await;
            let _ = client.write_all(answer).await;
        }
    });
    for port in [memcached.port(), port] {
        let url = format!("redis://:secret@127.0.0.1:{port}");
        let other = Redis::new(url).required();
        let error = CacheRuntime::builder().l2(other).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
        let text = format!("{error:?}");
        assert!(!text.contains("secret"), "{text}");
        for part in [&*format!("127.0.0.1:{port}"), "does not speak its protocol"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    serving.abort();
}

/// A certificate of the server's own, which the tier is told to trust.
#[tokio::test]
async fn a_connection_over_tls_trusts_the_certificate_it_is_given() {
    let directory = std::env::temp_dir().join(format!("mtc-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (key, certificate) = (directory.join("key.pem"), directory.join("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=cache",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ])
        .args([&"-keyout".into(), &key, &"-out".into(), &certificate])
        .output()
        .expect("openssl; install it");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Server::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate.display().to_string(),
        "--tls-key-file",
        &key.display().to_string(),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}");
    let pem = std::fs::read(&certificate).unwrap();
    // A handshake of an unoptimized build, beside other tests.
    let redis = Redis::new(&url).connect_limit(Duration::from_secs(5));
    let runtime = build(redis.tls_root_certificate(pem).required()).await;
    CacheRuntime::scope(runtime, async { user(70, "tls").await }).await;
    assert_eq!(server.records(), ["{cache:0}:users::by_id:1:70,tls"]);

    let distrusting = CacheRuntime::builder()
        .l2(Redis::new(&url).required())
        .build()
        .await;
    assert!(
        distrusting.is_err(),
        "a certificate that nobody vouches for"
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_new_version_orphans_old_records() {
    let server = Server::start();
    let load = async |version: u32, value: u64| {
        let function = Function::<u64>::builder("redis_tier::versioned")
            .ttl(Duration::from_secs(60))
            .version(version);
        let function = function.build().unwrap();
        let runtime = two_tiers(&server.url()).await;
        CacheRuntime::scope(runtime, async {
            function.get_or_load((1,), || async { value }).await
        })
        .await
    };
    assert_eq!(
        (
            load(1, 10).await,
            load(1, 11).await,
            load(2, 20).await,
            load(1, 12).await
        ),
        (10, 10, 20, 10)
    );
}

#[tokio::test]
async fn after_shutdown_calls_are_served_and_nothing_runs() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime.clone(), async {
        user(1, "before").await;
        runtime.shutdown().await.unwrap();
        assert_eq!(user(1, "before").await.unwrap(), "before 1");
        assert_eq!(user(1, "after").await.unwrap(), "after 1");
        assert_eq!(
            invalidate!(user, 1, "after").await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    })
    .await;
    until("the connection is closed", || {
        let clients: String = server.command(&["CLIENT", "LIST"]);
        clients.lines().count() == 1
    })
    .await;
}
