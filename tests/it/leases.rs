//! No call waits for a lease for longer than the lease time, whatever expiry the server has for it.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memcached, Memory, Redis, multi_tier_cached};
use tokio::time::{Instant, timeout};

use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{Gate, Instance, assert_count, until};

const LEASE_TIME: Duration = Duration::from_millis(500);
/// Time that a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_secs(1);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

#[multi_tier_cached(ttl = "1h", skip(gate))]
async fn gated(gate: &Gate, _key: u64) -> u64 {
    gate.pass().await;
    7
}

/// Writes a valid exclusive lease of `key`, as a holder that died leaves it, with these options of
/// SET. Returns the name of the lease.
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
    let redis = Redis::new(server.url()).lease_time(LEASE_TIME);
    let here = Instance::with_redis(redis).await;
    here.call(read(0)).await;
    until("the function has an epoch", || !server.records().is_empty()).await;
    let one_hour: &[&str] = &["PX", "3600000"];
    for (key, options, least) in [(1, one_hour, LEASE_TIME / 2), (2, &[], Duration::ZERO)] {
        let name = leave_a_lease(&server, key, options);
        let _: () = server.command(&["CONFIG", "RESETSTAT"]);
        let began = Instant::now();
        let answer = timeout(LEASE_TIME + SLACK, here.call(read(key))).await;
        let took = began.elapsed();
        assert_eq!(answer.ok(), Some(key), "{options:?}: still waiting");
        assert!(
            took >= least,
            "{options:?}: the holder had no time to renew, {took:?}"
        );
        // Barriers and renewals are commands, and only calls run scripts.
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

/// The other instance shortens the expiry, and the holder renews the lease before that.
#[tokio::test]
async fn live_holder_keeps_a_lease_whose_expiry_was_shortened() {
    let server = Server::start();
    let redis = || Redis::new(server.url()).lease_time(LEASE_TIME);
    let here = Instance::with_redis(redis()).await;
    let there = Instance::with_redis(redis()).await;
    let gate = Arc::new(Gate::new());
    let call = |instance: &Instance| {
        let gate = Arc::clone(&gate);
        instance.spawn(async move { gated(&gate, 1).await })
    };
    let holder = call(&here);
    gate.until_entered(1).await;
    let name = "{cache:0}:it::leases::gated:1:1#lease";
    let _: () = server.command(&["PEXPIRE", name, "3600000"]);
    let waiter = call(&there);
    until("the expiry is shortened", || {
        server.command::<i64>(&["PTTL", name]) <= 500
    })
    .await;
    // Three renewals come in each lease time, so twelve span several lease times.
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    until("the lease is renewed", || server.calls("pexpire") >= 12).await;
    let what = "loads while the holder has its lease";
    assert_count(what, gate.entered(), 1, &[&here, &there]).await;
    gate.let_through(2);
    assert_eq!(holder.await.unwrap(), 7);
    assert_eq!(waiter.await.unwrap(), 7);
    assert_count("loads", gate.entered(), 1, &[&here, &there]).await;
}

#[tokio::test]
async fn memcached_lease_with_a_foreign_expiry_is_taken_over_within_two_lease_times() {
    let server = MemcachedServer::start();
    let lease_time = Duration::from_secs(2);
    let instance = async || {
        let memcached = Memcached::new(server.url()).lease_time(lease_time);
        let tiers = CacheRuntime::builder().l1(Memory::builder()).l2(memcached);
        Instance::build(tiers).await
    };
    let (here, there) = (instance().await, instance().await);
    let gate = Arc::new(Gate::new());
    let own = Arc::clone(&gate);
    let holder = here.spawn(async move { gated(&own, 1).await });
    gate.until_entered(1).await;
    // The holder cannot renew or release its lease any more, and the lease does not expire.
    here.shutdown().await.unwrap();
    let touched = server.ask("touch mtc:it::leases::gated:1:1 0");
    assert!(touched.starts_with("TOUCHED"), "{touched}");
    // The load of the other instance passes another gate than that of the holder, which is stuck.
    let open = Gate::new();
    open.open();
    let limit = lease_time * 2 + SLACK * 2;
    let answer = timeout(limit, there.call(gated(&open, 1))).await;
    assert_eq!(answer.ok(), Some(7), "still waiting");
    holder.abort();
}
