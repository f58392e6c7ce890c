//! An invalidation on one instance ends stale values on the others within the staleness bound,
//! whatever happens to the channel.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Level, TierStats, invalidate, multi_tier_cached};
use tokio::time::{Instant, sleep};

use testbed::deployment::Deployment;
use testbed::network::Network;
use testbed::proxy::NetworkFault;
use testbed::{Instance, Truth, assert_reads, assert_tier, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(truth), when_isolated = "load")]
async fn read_or_load(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Two instances, the second in a network of its own.
async fn two_behind(servers: &Deployment, network: &Network) -> (Instance, Instance) {
    let here = servers.instance().await;
    let redis = servers.redis_through(network).staleness_bound(BOUND);
    (here, Instance::with_redis(redis).await)
}

#[tokio::test]
async fn invalidation_reaches_the_memory_of_other_instances_within_the_bound() {
    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    for version in 1..=20 {
        assert_eq!(there.call(read(&truth, 1)).await, version);
        assert_eq!(here.call(read(&truth, 1)).await, version);
        let new = truth.commit();
        let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
        assert_eq!(receipt, Receipt::Acked);
        let own = here.call(read(&truth, 1)).await;
        assert_eq!(own, new, "the invalidating instance, at once");
        until_returns(new, BOUND, async || there.call(read(&truth, 1)).await).await;
    }
    // The whole function.
    there.call(read(&truth, 2)).await;
    let new = truth.commit();
    assert_eq!(here.invalidate(invalidate!(read)).await, Receipt::Acked);
    until_returns(new, BOUND, async || there.call(read(&truth, 2)).await).await;
}

#[tokio::test]
async fn settled_invalidation_leaves_the_old_value_on_no_instance() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let (here, there) = two_behind(&servers, &network).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    // The channel delivers nothing, so the other instance learns of nothing.
    network.set(NetworkFault::BlackHole);
    truth.commit();
    let began = Instant::now();
    let settled = here.call(async { invalidate!(read, &truth, 1).settled().await });
    settled.await.unwrap();
    assert!(began.elapsed() >= BOUND, "it returned before the bound");
    // The other instance knows that it is isolated, so it does not answer from memory alone.
    network.set(NetworkFault::Fair);
    assert_eq!(there.call(read(&truth, 1)).await, 2);
}

#[tokio::test]
async fn isolated_instance_stops_returning_stale_values_within_the_bound() {
    let (servers, truth) = (Deployment::start().await, Truth::new());
    for network_fault in [
        NetworkFault::Fair,
        NetworkFault::Delay(Duration::from_millis(200)),
        NetworkFault::Cut,
        NetworkFault::BlackHole,
    ] {
        let network = servers.network().await;
        let (here, there) = two_behind(&servers, &network).await;
        let old = truth.version();
        assert_eq!(there.call(read_or_load(&truth, 1)).await, old);
        network.set(network_fault);
        truth.commit();
        here.invalidate(invalidate!(read_or_load, &truth, 1)).await;
        let invalidated = Instant::now();
        let mut last_stale = Duration::ZERO;
        // Samples for longer than the bound, because a stale value may also reappear.
        while invalidated.elapsed() < BOUND * 2 {
            let began = invalidated.elapsed();
            if there.call(read_or_load(&truth, 1)).await == old {
                last_stale = began;
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert!(
            last_stale <= BOUND,
            "{network_fault:?}: a call {last_stale:?} after the invalidation returned a stale value"
        );
    }
}

#[tokio::test]
async fn redis_outage_causes_loads_only_of_functions_that_load_when_isolated() {
    let mut servers = Deployment::start().await;
    let here = servers.instance().await;
    let (serving, loading) = (Truth::new(), Truth::new());
    let call_both = async || {
        here.call(read(&serving, 1)).await;
        here.call(read_or_load(&loading, 7)).await;
    };
    call_both().await;
    servers.kill();
    here.until_disconnected().await;
    for _ in 0..10 {
        call_both().await;
    }
    assert_reads(&serving, 1, &[&here]).await;
    assert_reads(&loading, 11, &[&here]).await;
    let isolated_hits = |tier: &TierStats| (tier.isolated_hits, tier.misses);
    // The miss is that of the first call.
    assert_tier(&here, "channel::read", Level::L1, isolated_hits, (10, 1)).await;
    let table = here.stats().to_string();
    assert!(table.contains("isolated"), "{table}");
}
