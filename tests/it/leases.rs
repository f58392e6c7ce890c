//! No call waits for a lease for longer than the lease time, whatever expiry the server has for it.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memcached, Memory, multi_tier_cached};
use tokio::time::{Instant, timeout};

use testbed::deployment::Deployment;
use testbed::memcached::Memcached as MemcachedServer;
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

/// Replaces the record of `key` by a valid exclusive lease, as a holder that died leaves it, with
/// these options of SET. Returns the name of the lease.
async fn leave_a_lease(servers: &Deployment, key: u64, options: &[&str]) -> String {
    // Another instance has the value in its memory, so that only the record is missing.
    let holder = servers.instance().await;
    holder.call(read(key)).await;
    let record = format!(":it::leases::read:1:{key}");
    let is_stored = || servers.records().iter().any(|name| name.ends_with(&record));
    until("the value is stored", is_stored).await;
    let names = servers.records();
    let name = names.iter().find(|name| name.ends_with(&record)).unwrap();
    let (function, _) = name.rsplit_once(':').unwrap();
    let (shard, _) = name.split_once("}:").unwrap();
    let get = |key: &str| -> String { servers.on_primary_of(key, &["GET", key]) };
    let epoch = get(&format!("{function}#epoch"));
    let history = get(&format!("{shard}}}:#history"));
    let history = history.split(':').next().unwrap();
    let lease_name = format!("{name}#lease");
    let lease = format!("4711:{epoch}:{history}:x");
    let _: u64 = servers.on_primary_of(name, &["DEL", name]);
    let mut set = vec!["SET", &lease_name, &lease];
    set.extend(options);
    let _: () = servers.on_primary_of(name, &set);
    lease_name
}

#[tokio::test]
async fn lease_with_a_foreign_expiry_is_taken_over_within_the_lease_time() {
    let servers = Deployment::start().await;
    let redis = servers.redis().lease_time(LEASE_TIME);
    let here = Instance::with_redis(redis).await;
    let one_hour: &[&str] = &["PX", "3600000"];
    for (key, options, least) in [(1, one_hour, LEASE_TIME / 2), (2, &[], Duration::ZERO)] {
        let name = leave_a_lease(&servers, key, options).await;
        servers.on_primaries(&["CONFIG", "RESETSTAT"]);
        let began = Instant::now();
        let answer = timeout(LEASE_TIME + SLACK, here.call(read(key))).await;
        let took = began.elapsed();
        assert_eq!(answer.ok(), Some(key), "{options:?}: still waiting");
        assert!(
            took >= least,
            "{options:?}: the holder had no time to renew, {took:?}"
        );
        // Barriers and renewals are commands, and only calls run scripts.
        let scripts = servers.calls("evalsha");
        assert!(scripts < 10, "{options:?}: {scripts} scripts");
        until("the value is stored", || {
            servers
                .records()
                .iter()
                .any(|record| record.ends_with(&format!(":{key}")))
        })
        .await;
        assert!(
            !servers.keys().contains(&name),
            "the lease was not replaced"
        );
    }
}

/// The other instance shortens the expiry, and the holder renews the lease before that.
#[tokio::test]
async fn live_holder_keeps_a_lease_whose_expiry_was_shortened() {
    let servers = Deployment::start().await;
    let redis = || servers.redis().lease_time(LEASE_TIME);
    let here = Instance::with_redis(redis()).await;
    let there = Instance::with_redis(redis()).await;
    let gate = Arc::new(Gate::new());
    let call = |instance: &Instance| {
        let gate = Arc::clone(&gate);
        instance.spawn(async move { gated(&gate, 1).await })
    };
    let holder = call(&here);
    gate.until_entered(1).await;
    let keys = servers.keys();
    let is_lease = |name: &&String| name.ends_with(":it::leases::gated:1:1#lease");
    let name = keys.iter().find(is_lease).unwrap();
    let _: () = servers.on_primary_of(name, &["PEXPIRE", name, "3600000"]);
    let waiter = call(&there);
    until("the expiry is shortened", || {
        servers.on_primary_of::<i64>(name, &["PTTL", name]) <= 500
    })
    .await;
    // Three renewals come in each lease time, so twelve span several lease times.
    servers.on_primaries(&["CONFIG", "RESETSTAT"]);
    until("the lease is renewed", || servers.calls("pexpire") >= 12).await;
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
