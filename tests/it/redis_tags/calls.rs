//! Calls of functions with tags over Redis.

use multi_tier_cached::{Tag, multi_tier_cached};
use testbed::deployment::Deployment;
use testbed::network::Network;
use testbed::proxy::NetworkFault;
use testbed::{Instance, Truth, assert_reads, until_returns};

use super::*;

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", tags = ["user:{id}", "users"], skip(truth))]
async fn user(truth: &Truth, id: u64) -> u64 {
    let _ = id;
    truth.read()
}

async fn invalidate(instance: &Instance, tag: &str) -> Receipt {
    let invalidation = instance.invalidate_tags([Tag::new(tag)]);
    invalidation.await.unwrap()
}

#[tokio::test]
async fn value_is_loaded_again_everywhere_after_one_of_its_tags_was_invalidated() {
    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    for id in 0..20 {
        assert_eq!(here.call(user(&truth, id)).await, 1);
        servers.until_records(id as usize + 1).await;
        assert_eq!(there.call(user(&truth, id)).await, 1);
    }
    assert_reads(&truth, 20, &[&here, &there]).await;
    let new = truth.commit();
    assert_eq!(invalidate(&here, "user:7").await, Receipt::Acked);
    assert_eq!(here.call(user(&truth, 7)).await, new, "at once");
    until_returns(new, BOUND, async || there.call(user(&truth, 7)).await).await;
    for instance in [&here, &there] {
        assert_eq!(instance.call(user(&truth, 8)).await, 1, "another tag");
    }
    // The own message may arrive during the load of `here`. Its value is stored nowhere then.
    assert!(
        (21..=22).contains(&truth.reads()),
        "{} reads",
        truth.reads()
    );
    let newer = truth.commit();
    assert_eq!(invalidate(&there, "users").await, Receipt::Acked);
    for id in 0..20 {
        assert_eq!(there.call(user(&truth, id)).await, newer);
        until_returns(newer, BOUND, async || here.call(user(&truth, id)).await).await;
    }
}

#[tokio::test]
async fn invalidation_of_a_tag_during_an_outage_reaches_other_instances_after_it() {
    let servers = Deployment::start().await;
    let network: Network = servers.network().await;
    let other = servers.instance().await;
    let cut = Instance::with_redis(servers.redis_through(&network)).await;
    let truth = Truth::new();
    assert_eq!(cut.call(user(&truth, 1)).await, 1);
    assert_eq!(other.call(user(&truth, 1)).await, 1);
    network.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    let new = truth.commit();
    assert_eq!(invalidate(&cut, "user:1").await, Receipt::Queued);
    assert_eq!(cut.call(user(&truth, 1)).await, new, "at once");
    network.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    until_returns(new, BOUND, async || other.call(user(&truth, 1)).await).await;
}

#[tokio::test]
async fn hit_on_a_record_with_tags_reads_the_record_alone() {
    let server = Server::start();
    // With this bound no barrier reads beside the calls.
    let redis = || Redis::new(server.url()).staleness_bound(Duration::from_secs(60));
    let here = Instance::with_redis(redis()).await;
    let truth = Truth::new();
    for id in 1..=10 {
        here.call(user(&truth, id)).await;
    }
    server.until_records(10).await;
    let there = Instance::with_redis(redis()).await;
    // The first call binds the function, which has the ledger loaded, and reads its epoch.
    there.call(user(&truth, 1)).await;
    until("the ledger is loaded", || server.calls("hmget") > 0).await;
    until_idle(&server).await;
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    for id in 2..=10 {
        assert_eq!(there.call(user(&truth, id)).await, 1);
    }
    let calls = ["getrange", "hmget", "evalsha"].map(|command| server.calls(command));
    assert_eq!(calls, [9, 0, 0]);
    assert_reads(&truth, 10, &[&here, &there]).await;
}

/// Values of a lost ledger are loaded again, and the new ones are kept.
#[tokio::test]
async fn lost_ledger_costs_one_load_of_each_value() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    for id in 1..=3 {
        here.call(user(&truth, id)).await;
    }
    server.until_records(3).await;
    let deleted: u64 = server.command(&["DEL", "{cache:0}:#ledger"]);
    assert_eq!(deleted, 1);
    let new = truth.commit();
    assert_eq!(invalidate(&there, "user:3").await, Receipt::Acked);
    let later = Instance::with_redis_at(&server.url()).await;
    for id in 1..=3 {
        assert_eq!(later.call(user(&truth, id)).await, new);
    }
    until_returns(new, BOUND, async || here.call(user(&truth, 3)).await).await;
    let reads = truth.reads();
    let last = Instance::with_redis_at(&server.url()).await;
    for id in 1..=3 {
        assert_eq!(last.call(user(&truth, id)).await, new);
    }
    assert_reads(&truth, reads, &[&later, &last]).await;
}
