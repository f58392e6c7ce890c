//! The Redis tier: keys, round trips, expiry, and settings of the connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, ErrorKind, Function, Level, ManualClock, Memory, Redis, invalidate,
    multi_tier_cached,
};

use testbed::counts::function_stats;
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, assert_loads, assert_tier, until, until_ok};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

#[multi_tier_cached(ttl = "1h", name = "users::by_id")]
async fn user(id: u64, name: &str) -> Option<String> {
    (id > 0).then(|| format!("{name} {id}"))
}

#[multi_tier_cached(ttl(l1 = "1h", l2 = "50ms"), key = "short:{id}")]
async fn short(id: u64) -> u64 {
    id
}

/// Waits until no command of the instances reads any more: they send their first barriers at once.
async fn until_idle(server: &Server) {
    let mut read = server.calls("getrange");
    until_ok("the first barriers are answered", async || {
        sleep(Duration::from_millis(50)).await;
        let before = std::mem::replace(&mut read, server.calls("getrange"));
        if before == read { Ok(()) } else { Err(read) }
    })
    .await;
}

#[tokio::test]
async fn first_load_costs_three_round_trips_and_a_read_elsewhere_costs_one() {
    let server = Server::start();
    // With this bound no barrier reads beside the calls.
    let redis = || Redis::new(server.url()).staleness_bound(Duration::from_secs(60));
    let first = Instance::with_redis(redis()).await;
    let second = Instance::with_redis(redis()).await;
    until_idle(&server).await;
    let commands = || (server.calls("getrange"), server.calls("evalsha"));
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(first.call(user(42, "a:b")).await.unwrap(), "a:b 42");
    // One round trip reads record, epoch and history; LEASE reads these and the lease again, and
    // FILL all but the record.
    until("the value is stored", || server.records().len() == 1).await;
    assert_eq!(commands(), (3 + 4 + 3, 2));

    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(second.call(user(42, "a:b")).await.unwrap(), "a:b 42");
    assert_eq!(commands(), (3, 0));
    second.call(user(42, "a:b")).await;
    assert_eq!(commands(), (3, 0), "the record was not copied to memory");
    for level in [Level::L1, Level::L2] {
        assert_tier(&second, "users::by_id", level, |tier| tier.hits, 1).await;
    }
    assert_loads(&second, "users::by_id", 0).await;
}

#[tokio::test]
async fn record_has_a_readable_name_and_a_ttl_that_is_up_to_a_twentieth_shorter() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.call(user(42, "a:b")).await;
    server.until_records(1).await;
    assert_eq!(server.records(), ["{cache:0}:users::by_id:1:42,'a%3Ab'"]);
    let ttl: i64 = server.command(&["PTTL", &server.records()[0]]);
    assert!((3_420_000..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn every_key_of_the_cache_expires() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let tiny = Function::<u64>::builder("redis_tier::tiny")
        .ttl(Duration::from_nanos(1))
        .build()
        .unwrap();
    here.call(user(1, "a")).await;
    assert_eq!(here.call(user(0, "none")).await, None);
    here.call(tiny.get_or_load((1,), || async { 1 })).await;
    server.until_records(1).await;
    for key in server.keys() {
        let ttl: i64 = server.command(&["PTTL", &key]);
        assert_ne!(ttl, -1, "{key} does not expire");
    }
}

/// The record has expired although the function's ttl in memory is an hour.
#[tokio::test]
async fn copy_in_memory_expires_with_the_record_it_was_copied_from() {
    let server = Server::start();
    let clock = ManualClock::new();
    let writer = Instance::with_redis_at(&server.url()).await;
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .clock(&clock);
    let reader = Instance::build(tiers).await;
    writer.call(short(0)).await;
    let name = "{cache:0}:it::redis_tier::short:1:short:0";
    assert_eq!(server.records(), [name]);
    // On a busy machine a record can expire before the reader copies it. Then the next one is
    // tried.
    let loads = || function_stats(&reader, "short").map_or(0, |stats| stats.loads);
    let mut copied = None;
    for id in 1..=50 {
        writer.call(short(id)).await;
        let before = loads();
        reader.call(short(id)).await;
        if loads() == before {
            copied = Some(id);
            break;
        }
    }
    let copied = copied.expect("one of 50 records is copied within 50 ms");
    reader.call(short(copied)).await;
    assert_tier(&reader, "short", Level::L1, |tier| tier.hits, 1).await;
    clock.advance(Duration::from_millis(51));
    reader.call(short(copied)).await;
    assert_tier(&reader, "short", Level::L1, |tier| tier.hits, 1).await;
}

#[tokio::test]
async fn value_over_the_size_limit_is_counted_and_kept_in_memory_only() {
    let server = Server::start();
    let redis = Redis::new(server.url()).max_record_bytes(1_000);
    let here = Instance::with_redis(redis).await;
    let large = Function::<String>::builder("redis_tier::large")
        .ttl(Duration::from_secs(60))
        .build()
        .unwrap();
    for _ in 0..2 {
        let call = large.get_or_load((1,), || async { "x".repeat(5_000) });
        assert_eq!(here.call(call).await.len(), 5_000);
    }
    assert_eq!(server.records(), Vec::<String>::new());
    assert_loads(&here, "redis_tier::large", 1).await;
    assert_tier(
        &here,
        "redis_tier::large",
        Level::L2,
        |tier| tier.too_large,
        1,
    )
    .await;
}

#[tokio::test]
async fn database_password_user_and_socket_of_the_url_are_used() {
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
        let here = Instance::with_redis(Redis::new(url).required()).await;
        here.call(user(7 + n as u64, "db")).await;
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
async fn required_server_that_is_down_or_silent_fails_the_build() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    // This server accepts connections and sends nothing, as a server of another protocol may.
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
    let down = Redis::new(format!("redis://127.0.0.1:{port}")).required();
    let error = CacheRuntime::builder().l2(down).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let text = format!("{error:?}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
}

/// The error has the address and the reason, and no secret.
#[tokio::test]
async fn required_server_of_another_protocol_is_named_in_the_error() {
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

/// Makes a key and a certificate for 127.0.0.1 in this directory, and returns their paths.
fn make_certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (directory.join("key.pem"), directory.join("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=cache"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=CA:FALSE"])
        .args([&"-keyout".into(), &key, &"-out".into(), &certificate])
        .output()
        .expect("openssl; install it");
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{errors}");
    (key, certificate)
}

#[tokio::test]
async fn tls_connection_trusts_only_the_root_certificate_that_it_is_given() {
    let directory = Directory::new("tls");
    let (key, certificate) = make_certificate(directory.path());
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
    // A handshake takes long in an unoptimized build, beside other tests.
    let redis = Redis::new(&url).connect_limit(Duration::from_secs(5));
    let redis = redis.tls_root_certificate(pem).required();
    let here = Instance::with_redis(redis).await;
    here.call(user(70, "tls")).await;
    server.until_records(1).await;
    assert_eq!(server.records(), ["{cache:0}:users::by_id:1:70,tls"]);

    let without = CacheRuntime::builder().l2(Redis::new(&url).required());
    let built = without.build().await;
    assert!(built.is_err(), "an unknown certificate was trusted");
}

#[tokio::test]
async fn new_version_of_a_function_does_not_read_records_of_the_old_one() {
    let server = Server::start();
    let load = async |version: u32, value: u64| {
        let function = Function::<u64>::builder("redis_tier::versioned")
            .ttl(Duration::from_secs(60))
            .version(version);
        let function = function.build().unwrap();
        let here = Instance::with_redis_at(&server.url()).await;
        let call = function.get_or_load((1,), || async { value });
        here.call(call).await
    };
    assert_eq!(load(1, 10).await, 10);
    server.until_records(1).await;
    assert_eq!(load(1, 11).await, 10);
    assert_eq!(load(2, 20).await, 20);
    server.until_records(2).await;
    assert_eq!(load(1, 12).await, 10);
}

#[tokio::test]
async fn calls_are_answered_after_shutdown_and_no_connection_is_left() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.call(user(1, "before")).await;
    here.shutdown().await.unwrap();
    assert_eq!(here.call(user(1, "before")).await.unwrap(), "before 1");
    assert_eq!(here.call(user(1, "after")).await.unwrap(), "after 1");
    let error = here.call(invalidate!(user, 1, "after")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    until("the connections are closed", || server.connections() == 1).await;
}
