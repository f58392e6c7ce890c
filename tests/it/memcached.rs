//! The shared tier on memcached, a module for each group of promises.

mod guards;
mod items;
mod leases;
mod outages;
mod servers;
mod settings;
mod sharing;
mod tags;

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memcached, Memory, multi_tier_cached};
use testbed::memcached::Memcached as Server;
use testbed::{Instance, Truth};
use tokio::time::{Instant, sleep};

/// The default staleness bound.
const BOUND: Duration = Duration::from_millis(500);

/// Its records are under `mtc:it::memcached::read:1:<key>`.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    let version = truth.read();
    tokio::task::yield_now().await;
    version
}

async fn instance(memcached: Memcached) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder()).l2(memcached);
    Instance::build(builder).await
}

async fn two_instances(server: &Server) -> (Instance, Instance) {
    let memcached = || Memcached::new(server.url());
    (instance(memcached()).await, instance(memcached()).await)
}

fn url(port: u16) -> String {
    format!("memcached://127.0.0.1:{port}")
}

/// Asserts that calls return another value than `old` before the staleness bound has passed.
async fn assert_replaced_within_bound(instance: &Instance, truth: &Truth, key: u64, old: u64) {
    let began = Instant::now();
    while instance.call(read(truth, key)).await == old {
        assert!(
            began.elapsed() < BOUND,
            "the old value is still returned after {:?}: {}",
            began.elapsed(),
            instance.snapshot().await
        );
        sleep(Duration::from_millis(1)).await;
    }
}
