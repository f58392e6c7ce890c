//! The shared tier on memcached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::{
    FunctionKey, Peers, Receipt, RecordKey, Target, TierBuilder, TierContext,
};
use multi_tier_cached::{
    CacheRuntime, ErrorKind, Level, Memcached, Memory, Redis, invalidate, multi_tier_cached,
};
use testbed::memcached::Memcached as Server;
use testbed::poll_until;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

const BOUND: Duration = Duration::from_millis(500);

/// By key: each test has its own.
static VERSIONS: [AtomicU64; 16] = [const { AtomicU64::new(1) }; 16];
static LOADS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

#[multi_tier_cached(ttl = "1h")]
async fn read(key: usize) -> u64 {
    let version = VERSIONS[key].load(Ordering::SeqCst);
    LOADS[key].fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    version
}

fn commit(key: usize) {
    VERSIONS[key].fetch_add(1, Ordering::SeqCst);
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

async fn instance(memcached: Memcached) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(memcached)
        .build()
        .await
        .unwrap()
}

async fn instances(server: &Server) -> (CacheRuntime, CacheRuntime) {
    let memcached = || Memcached::new(server.url());
    (instance(memcached()).await, instance(memcached()).await)
}

/// How long the old value is still answered.
async fn stale_for(runtime: &CacheRuntime, key: usize, old: u64) -> Duration {
    let began = Instant::now();
    while on(runtime, read(key)).await == old {
        assert!(began.elapsed() < Duration::from_secs(5), "it does not end");
        sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn another_instance_finds_what_was_loaded_and_hears_of_invalidations() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    assert_eq!(on(&here, read(0)).await, 1);
    until("it is filled", || items(&server) >= 3).await;
    assert_eq!(on(&there, read(0)).await, 1);
    assert_eq!(LOADS[0].load(Ordering::SeqCst), 1, "it was there");
    for whole_function in [false, true] {
        let old = on(&there, read(0)).await;
        commit(0);
        let receipt = on(&here, async {
            if whole_function {
                invalidate!(read).await
            } else {
                invalidate!(read, 0).await
            }
        })
        .await;
        assert_eq!(receipt.unwrap(), Receipt::Acked);
        assert_eq!(on(&here, read(0)).await, old + 1);
        let stale = stale_for(&there, 0, old).await;
        assert!(stale < BOUND, "{stale:?}");
    }
}

/// How many items there are.
fn items(server: &Server) -> u64 {
    let stats = server.ask("stats");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT curr_items "));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn one_instance_loads_and_the_other_waits() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    let mut held = Box::pin(on(&here, read(1)));
    while LOADS[1].load(Ordering::SeqCst) == 0 {
        assert!(poll_until(&mut held, 1).await.is_pending());
        sleep(Duration::from_millis(1)).await;
    }
    let waits = tokio::spawn(CacheRuntime::scope(there.clone(), read(1)));
    sleep(Duration::from_millis(100)).await;
    assert!(!waits.is_finished(), "it waits");
    assert_eq!(held.await, 1);
    assert_eq!(waits.await.unwrap(), 1);
    assert_eq!(LOADS[1].load(Ordering::SeqCst), 1);
}

/// Its numbers begin anew with it: a lease from before fills nothing.
#[tokio::test]
async fn a_lease_does_not_outlive_its_server() {
    let mut server = Server::start();
    let (here, there) = instances(&server).await;
    let mut held = Box::pin(on(&here, read(2)));
    while LOADS[2].load(Ordering::SeqCst) == 0 {
        assert!(poll_until(&mut held, 1).await.is_pending());
        sleep(Duration::from_millis(1)).await;
    }
    server.restart();
    until("both are back", || {
        [&here, &there].iter().all(|runtime| {
            let health = &runtime.tiers()[0].health;
            health.connected && health.isolations == 1
        })
    })
    .await;
    // In its own place, whatever its number.
    commit(2);
    let receipt = on(&there, async { invalidate!(read, 2).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    assert_eq!(on(&there, read(2)).await, 2);
    assert_eq!(held.await, 1, "it began before");
    let stale = stale_for(&here, 2, 1).await;
    assert!(stale < BOUND, "{stale:?}");
    let fresh = instance(Memcached::new(server.url())).await;
    assert_eq!(on(&fresh, read(2)).await, 2);
}

#[tokio::test]
async fn an_invalidation_while_it_is_cut_off_is_sent_when_it_is_back() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(format!(
        "memcached://127.0.0.1:{}",
        proxy.port()
    )))
    .await;
    let there = instance(Memcached::new(server.url())).await;
    assert_eq!(on(&there, read(3)).await, 1);
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    commit(3);
    let receipt = on(&here, async { invalidate!(read, 3).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Queued);
    assert_eq!(
        on(&here, read(3)).await,
        2,
        "own invalidations count at once"
    );
    assert_eq!(on(&there, read(3)).await, 1, "it has not heard of it");
    proxy.set(NetworkFault::Fair);
    let settled = on(&here, async { invalidate!(read, 3).settled().await });
    settled.await.unwrap();
    assert_eq!(here.tiers()[0].health.queued, 0);
    assert!(here.tiers()[0].health.replays > 0);
    assert_eq!(on(&there, read(3)).await, 2);
}

/// What was invalidated meanwhile it did not hear.
#[tokio::test]
async fn an_instance_that_was_cut_off_forgets_what_it_had() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(server.url())).await;
    let there = instance(Memcached::new(format!(
        "memcached://127.0.0.1:{}",
        proxy.port()
    )))
    .await;
    assert_eq!(on(&there, read(9)).await, 1);
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !there.tiers()[0].health.connected).await;
    commit(9);
    let receipt = on(&here, async { invalidate!(read, 9).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    proxy.set(NetworkFault::Fair);
    until("it is back", || there.tiers()[0].health.connected).await;
    assert_eq!(on(&there, read(9)).await, 2);
}

/// `flush_all` takes the log with it, and nobody is told.
#[tokio::test]
async fn a_log_that_is_lost_is_an_invalidation_of_everything() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    assert_eq!(on(&here, read(4)).await, 1);
    assert_eq!(on(&there, read(4)).await, 1);
    commit(4);
    server.ask("flush_all");
    let stale = stale_for(&there, 4, 1).await;
    assert!(stale < BOUND, "{stale:?}");
    assert!(there.tiers()[0].health.gaps > 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_delays_a_call_by_its_limit_and_no_more() {
    let server = Server::start();
    let here = instance(Memcached::new(server.url()).time_limit(Duration::from_millis(100))).await;
    server.freeze();
    let began = Instant::now();
    assert_eq!(on(&here, read(5)).await, 1);
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    until("it is given up", || !here.tiers()[0].health.connected).await;
    let began = Instant::now();
    commit(5);
    let receipt = on(&here, async { invalidate!(read, 5).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Queued);
    assert_eq!(on(&here, read(5)).await, 2);
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    server.thaw();
    until("it is back", || {
        let health = &here.tiers()[0].health;
        health.connected && health.queued == 0
    })
    .await;
}

#[tokio::test]
async fn what_is_not_ours_is_replaced() {
    let server = Server::start();
    let here = instance(Memcached::new(server.url()).namespace("shop")).await;
    assert_eq!(on(&here, read(6)).await, 1);
    let name = "shop:it::memcached::read:1:6";
    until("it is filled", || {
        server.ask(&format!("mg {name} s")).starts_with("HD")
    })
    .await;
    server.ask(&format!("ms {name} 3\r\nabc"));
    for name in ["shop:#h", "shop:#n"] {
        server.ask(&format!("ms {name} 3\r\nabc"));
    }
    let there = instance(Memcached::new(server.url()).namespace("shop")).await;
    assert_eq!(on(&there, read(6)).await, 1);
    assert_eq!(LOADS[6].load(Ordering::SeqCst), 2);
    commit(6);
    let receipt = on(&here, async { invalidate!(read, 6).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    let stale = stale_for(&there, 6, 1).await;
    assert!(stale < BOUND, "{stale:?}");
}

/// memcached takes more than thirty days for a date, and counts in seconds.
#[tokio::test]
async fn lives_are_kept_whatever_memcached_counts_in() {
    #[multi_tier_cached(ttl = "40days", name = "forty_days")]
    async fn long(key: u64) -> u64 {
        key
    }
    #[multi_tier_cached(ttl = "300ms", name = "a_moment")]
    async fn short(_key: u64) -> u64 {
        LOADS[15].fetch_add(1, Ordering::SeqCst)
    }
    let server = Server::start();
    let (here, there) = instances(&server).await;
    on(&here, long(1)).await;
    let life = || -> Option<i64> {
        let answer = server.ask("mg mtc:forty_days:1:1 t");
        answer.strip_prefix("HD t")?.trim().parse().ok()
    };
    let days = 24 * 60 * 60;
    until("it is kept for as long", || {
        life().is_some_and(|life| life > 37 * days && life < 41 * days)
    })
    .await;
    let first = on(&here, short(1)).await;
    until("it is filled", || {
        server
            .ask("mg mtc:a_moment:1:1 f s")
            .contains("f1297367809")
    })
    .await;
    assert_eq!(on(&there, short(1)).await, first);
    sleep(Duration::from_millis(300)).await;
    assert_ne!(on(&there, short(1)).await, first, "it is dead");
}

#[tokio::test]
async fn a_guard_keeps_what_is_read_before_the_commit_out_of_every_cache() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    assert_eq!(on(&there, read(7)).await, 1);
    let guard = on(&here, async { read::entry(7).write_guard().await }).await;
    let guard = guard.unwrap();
    assert!(guard.is_held());
    sleep(BOUND).await;
    assert_eq!(on(&there, read(7)).await, 1, "not committed yet");
    commit(7);
    assert_eq!(on(&there, read(7)).await, 2, "it was kept");
    guard.invalidate().await.unwrap();
    assert_eq!(on(&there, read(7)).await, 2);
    until("it may be kept again", || {
        server
            .ask("mg mtc:it::memcached::read:1:7#g s")
            .starts_with("EN")
    })
    .await;
}

/// Without CAS numbers there is nothing that a lease could be: it is not used.
#[tokio::test]
async fn a_server_that_numbers_nothing_is_gone_on_without() {
    let server = Server::start_with(&["-C"]);
    let here = instance(Memcached::new(server.url())).await;
    for _ in 0..2 {
        let called = timeout(Duration::from_secs(10), on(&here, read(10)));
        assert_eq!(called.await.expect("an answer"), 1);
    }
    assert!(!here.tiers()[0].health.connected);
}

/// What records carry stays as long as they do.
#[tokio::test]
async fn what_records_carry_does_not_end_by_itself() {
    let server = Server::start();
    let here = instance(Memcached::new(server.url())).await;
    assert_eq!(on(&here, read(11)).await, 1);
    let controls = ["mtc:#h", "mtc:it::memcached::read:1#e", "mtc:#n"];
    let life = |name: &str| server.ask(&format!("mg {name} t")).trim().to_owned();
    let forever = || controls.map(life) == ["HD t-1"; 3];
    until("they are there for ever", forever).await;
    on(&here, async { invalidate!(read).await }).await.unwrap();
    here.invalidate_all().await.unwrap();
    assert_eq!(controls.map(life), ["HD t-1"; 3], "and those that follow");
}

/// Spreads connections over two servers that say the same of themselves, as two of one image do. Its port.
async fn spreading(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for port in ports.into_iter().cycle() {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move {
                let (mut asks, mut answered) = client.into_split();
                let (mut answers, mut asked) = server.into_split();
                let mut said = vec![0; 1 << 16];
                let answer = async {
                    loop {
                        let n = answers.read(&mut said).await.unwrap_or(0);
                        let text = &mut said[..n];
                        if text.starts_with(b"STAT pid ") {
                            let digits = text[9..].iter_mut();
                            digits
                                .take_while(|byte| byte.is_ascii_digit())
                                .for_each(|digit| *digit = b'1');
                        }
                        if n == 0 || answered.write_all(text).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = answer => {}
                    _ = tokio::io::copy(&mut asks, &mut asked) => {}
                }
            });
        }
    });
    port
}

/// Each would have a log of its own.
#[tokio::test]
async fn two_servers_behind_one_address_are_told() {
    let servers = [Server::start(), Server::start()];
    let port = spreading(servers.each_ref().map(Server::port)).await;
    let both = instance(Memcached::new(format!("memcached://127.0.0.1:{port}"))).await;
    assert!(!both.tiers()[0].health.connected);
    let port = spreading([servers[0].port(); 2]).await;
    let one = instance(Memcached::new(format!("memcached://127.0.0.1:{port}"))).await;
    assert!(one.tiers()[0].health.connected);
}

/// Whoever ends knows what the others were not told.
#[tokio::test]
async fn an_end_that_leaves_invalidations_untold_is_an_error() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let url = format!("memcached://127.0.0.1:{}", proxy.port());
    let here = instance(Memcached::new(url)).await;
    assert_eq!(on(&here, read(12)).await, 1);
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    let receipt = on(&here, async { invalidate!(read, 12).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Queued);
    let error = here.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("1 are left"), "{text}");
}

/// What it brings will be refused.
#[tokio::test]
async fn nobody_waits_for_a_load_from_before_its_functions_invalidation() {
    #[multi_tier_cached(ttl = "1h")]
    async fn doomed(_key: u64) -> u64 {
        let number = DOOMED.fetch_add(1, Ordering::SeqCst);
        if number == 1 {
            std::future::pending::<()>().await;
        }
        number
    }
    static DOOMED: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let (here, there) = instances(&server).await;
    let slow = tokio::spawn(CacheRuntime::scope(here.clone(), doomed(1)));
    until("it loads", || DOOMED.load(Ordering::SeqCst) == 2).await;
    let waiting = tokio::spawn(CacheRuntime::scope(there.clone(), doomed(1)));
    until("it waits for the load", || {
        let tiers = &there.stats().functions;
        let tier = tiers.first().and_then(|function| function.tier(Level::L2));
        tier.is_some_and(|tier| tier.lease_waits > 0)
    })
    .await;
    let receipt = on(&here, async { invalidate!(doomed).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    let call = timeout(Duration::from_secs(10), waiting);
    assert_eq!(call.await.unwrap().unwrap(), 2);
    let call = timeout(Duration::from_secs(10), on(&here, doomed(1)));
    assert_eq!(call.await, Ok(2));
    slow.abort();
}

/// More than the connections take while the server does not answer.
#[tokio::test]
async fn what_no_connection_takes_is_told_all_the_same() {
    let server = Server::start();
    let memcached = Memcached::new(server.url()).staleness_bound(Duration::from_secs(5));
    let context = TierContext::new(Level::L2, Peers::none());
    let tier = Box::new(memcached.required()).build(&context).unwrap();
    tier.start().await.unwrap();
    server.freeze();
    let function = Arc::new(FunctionKey::new("f", 1));
    for number in 0..8_000 {
        let key = RecordKey::new(Arc::clone(&function), number.to_string(), number);
        tier.invalidate_later(Target::Key(&key));
    }
    assert_eq!(tier.health().queued, 8_000);
    server.thaw();
    until("nothing is owed", || tier.health().queued == 0).await;
    tier.shutdown().await.unwrap();
}

/// What it deletes late may have been copied up meanwhile, after the tier above had deleted its own.
#[tokio::test]
async fn a_late_deletion_is_told_to_the_tiers_above() {
    const KEY: usize = 13;
    let (redis, server) = (testbed::server::Server::start(), Server::start());
    let proxy = Proxy::to(server.port()).await;
    let instance = async |port: u16| {
        let memcached = Memcached::new(format!("memcached://127.0.0.1:{port}"))
            .staleness_bound(Duration::from_secs(5))
            .required();
        let redis = Redis::new(redis.url()).required();
        let builder = CacheRuntime::builder().l1(Memory::builder()).l2(redis);
        builder.l3(memcached).build().await.unwrap()
    };
    let here = instance(proxy.port()).await;
    let there = instance(server.port()).await;
    let old = on(&here, read(KEY)).await;
    until("it is in Redis", || redis.records().len() == 1).await;
    proxy.set(NetworkFault::Delay(Duration::from_secs(1)));
    commit(KEY);
    let receipt = on(&here, async { invalidate!(read, KEY).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Queued);
    // Nobody has told it yet. It copies the old value up.
    assert_eq!(on(&there, read(KEY)).await, old);
    until("it is copied up", || redis.records().len() == 1).await;
    until("nothing is owed", || {
        here.tiers().iter().all(|tier| tier.health.queued == 0)
    })
    .await;
    until("it is told to the tier above", || {
        redis.records().is_empty()
    })
    .await;
    assert_eq!(on(&here, read(KEY)).await, old + 1);
}

/// Which, and why.
#[tokio::test]
async fn a_required_server_that_cannot_be_used_fails_the_build() {
    let redis = testbed::server::Server::start();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = nobody.local_addr().unwrap().port();
    drop(nobody);
    for port in [redis.port(), away] {
        let url = format!("memcached://127.0.0.1:{port}");
        let required = Memcached::new(&url).required();
        let built = CacheRuntime::builder().l2(required).build().await;
        let text = format!("{:?}", built.unwrap_err());
        assert!(
            text.contains(&format!("reach memcached at {url}")),
            "{text}"
        );
    }
    let server = Server::start();
    instance(Memcached::new(server.url()).required()).await;
}

#[tokio::test]
async fn settings_that_cannot_be_are_errors_and_a_server_of_another_kind_is_gone_on_without() {
    for (wrong, says) in [
        (
            Memcached::new("redis://127.0.0.1:1"),
            "is not a URL of memcached",
        ),
        (
            Memcached::new("memcached://user@host"),
            "is not a URL of memcached",
        ),
        (Memcached::new("memcached://host"), "host:port"),
        (Memcached::new("memcached://host:0"), "host:port"),
        (Memcached::new("memcached://host:65536"), "host:port"),
        (Memcached::new("memcached://[::1]:11211"), "host:port"),
        (
            Memcached::new("memcached://host:1").lease_time(Duration::from_millis(2_500)),
            "whole seconds",
        ),
        (
            Memcached::new("memcached://host:1").namespace("a b"),
            "namespace `a b` of memcached",
        ),
        (
            Memcached::new("memcached://host:1").connections(0),
            "number of connections to memcached is 0",
        ),
        (
            Memcached::new("memcached://host:1").lease_time(Duration::from_millis(1)),
            "lease time of memcached",
        ),
        (
            Memcached::new("memcached://host:1").staleness_bound(Duration::ZERO),
            "staleness bound of memcached",
        ),
        (
            Memcached::new("memcached://host:1").time_limit(Duration::ZERO),
            "time limit of memcached",
        ),
        (
            Memcached::new("memcached://host:1").max_record_bytes(0),
            "maximum record size of memcached",
        ),
    ] {
        let error = CacheRuntime::builder().l2(wrong).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(says), "{error}");
    }
    let redis = testbed::server::Server::start();
    let here = instance(Memcached::new(format!(
        "memcached://127.0.0.1:{}",
        redis.port()
    )))
    .await;
    assert_eq!(on(&here, read(8)).await, 1);
    assert!(!here.tiers()[0].health.connected);
    here.shutdown().await.unwrap();
}

/// Of a URL with a password, which it cannot have, nothing secret is shown.
#[tokio::test]
async fn why_it_is_away_is_said_and_no_secret() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let here = instance(Memcached::new(format!("memcached://127.0.0.1:{port}"))).await;
    let health = here.health().await;
    let last_error = health.tiers[0].last_error.clone().unwrap();
    for part in ["Connection refused", &port.to_string()] {
        assert!(last_error.contains(part), "{part:?} is not in {last_error}");
    }
    let secret = Memcached::new("memcached://user:secret@host:1");
    assert!(!format!("{secret:?}").contains("secret"));
    let error = CacheRuntime::builder()
        .l2(secret)
        .build()
        .await
        .unwrap_err();
    let text = format!("{error:?}");
    assert!(
        text.contains("***@host:1") && !text.contains("secret"),
        "{text}"
    );
    // It speaks, and another language.
    let redis = testbed::server::Server::start();
    let other = Memcached::new(format!("memcached://127.0.0.1:{}", redis.port()));
    let error = CacheRuntime::builder().l2(other.required()).build().await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("does not speak the protocol"), "{text}");
}
