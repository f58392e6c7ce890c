//! Nobody waits longer for a lease than a lease may live, whatever the server says of its expiry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memcached, Memory, Redis, multi_tier_cached};
use tokio::time::{Instant, timeout};

use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{build, until};

const LEASE_TIME: Duration = Duration::from_millis(500);
/// Time that a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_secs(1);

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    key
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Writes a valid exclusive lease on `key`, as a holder that died leaves it, with these options of
/// SET.
fn leave_a_lease(server: &Server, key: u64, options: &[&str]) -> String {
    let function = "{cache:0}:it::leases::read:1";
    let epoch: String = server.command(&["GET", &format!("{function}#epoch")]);
    let history: String = server.command(&["GET", "{cache:0}:#history"]);
    let history = history.split(':').next().unwrap();
    let name = format!("{function}:{key}#lease");
    let lease = format!("4711:{epoch}:{history}:x");
    let mut set = vec!["SET", &name, &lease];
    set.extend(options);
    let _: () = server.command(&set);
    name
}

#[tokio::test]
async fn lease_with_a_foreign_expiry_is_taken_over_within_the_lease_time() {
    let server = Server::start();
    let runtime = build(Redis::new(server.url()).lease_time(LEASE_TIME)).await;
    on(&runtime, read(0)).await;
    until("the function has an epoch", || !server.records().is_empty()).await;
    let one_hour: &[&str] = &["PX", "3600000"];
    for (key, options, least) in [(1, one_hour, LEASE_TIME / 2), (2, &[], Duration::ZERO)] {
        let name = leave_a_lease(&server, key, options);
        let _: () = server.command(&["CONFIG", "RESETSTAT"]);
        let began = Instant::now();
        let answer = timeout(LEASE_TIME + SLACK, on(&runtime, read(key))).await;
        let took = began.elapsed();
        assert_eq!(answer.ok(), Some(key), "{options:?}: still waiting");
        assert!(
            took >= least,
            "{options:?}: the holder had no time to renew, {took:?}"
        );
        // Each barrier and renewal is a command of its own; only calls run scripts.
        let scripts = server.calls("evalsha");
        assert!(scripts < 10, "{options:?}: {scripts} scripts");
        until("the value is stored", || {
            server
                .records()
                .iter()
                .any(|record| record.ends_with(&format!(":{key}")))
        })
        .await;
        assert!(!server.keys().contains(&name), "the lease was not replaced");
    }
}

/// The cut must not cost a live holder its lease: it renews in time.
#[tokio::test]
async fn holder_of_a_cut_lease_keeps_it_by_renewing() {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    static FINISH: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn slow(_key: u64) -> u64 {
        STARTED.fetch_add(1, Ordering::SeqCst);
        FINISH.acquire().await.unwrap().forget();
        7
    }

    let server = Server::start();
    let redis = || Redis::new(server.url()).lease_time(LEASE_TIME);
    let (here, there) = (build(redis()).await, build(redis()).await);
    let holder = tokio::spawn(CacheRuntime::scope(here.clone(), slow(1)));
    until("the load runs", || STARTED.load(Ordering::SeqCst) == 1).await;
    let name = "{cache:0}:it::leases::slow:1:1#lease";
    let _: () = server.command(&["PEXPIRE", name, "3600000"]);
    let waiter = tokio::spawn(CacheRuntime::scope(there.clone(), slow(1)));
    until("the lease is cut", || {
        server.command::<i64>(&["PTTL", name]) <= 500
    })
    .await;
    // Renewals come three to a lease time: twelve of them span several.
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    until("the lease is renewed", || server.calls("pexpire") >= 12).await;
    assert_eq!(STARTED.load(Ordering::SeqCst), 1, "the waiter loads too");
    FINISH.add_permits(2);
    assert_eq!(holder.await.unwrap(), 7);
    assert_eq!(waiter.await.unwrap(), 7);
    assert_eq!(STARTED.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn memcached_lease_with_a_foreign_expiry_is_taken_over_within_the_lease_time() {
    static STARTED: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn stuck(_key: u64) -> u64 {
        if STARTED.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        7
    }

    let server = MemcachedServer::start();
    let lease_time = Duration::from_secs(2);
    let instance = async || {
        let memcached = Memcached::new(server.url()).lease_time(lease_time);
        let runtime = CacheRuntime::builder().l1(Memory::builder()).l2(memcached);
        runtime.build().await.unwrap()
    };
    let (here, there) = (instance().await, instance().await);
    let holder = tokio::spawn(CacheRuntime::scope(here.clone(), stuck(1)));
    until("the load runs", || STARTED.load(Ordering::SeqCst) == 1).await;
    // The holder cannot renew or give back its lease any more, and the lease has no expiry.
    here.shutdown().await.unwrap();
    let touched = server.ask("touch mtc:it::leases::stuck:1:1 0");
    assert!(touched.starts_with("TOUCHED"), "{touched}");
    let answer = timeout(lease_time * 2 + SLACK * 2, on(&there, stuck(1))).await;
    assert_eq!(answer.ok(), Some(7), "still waiting");
    holder.abort();
}
