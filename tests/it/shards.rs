//! A shared tier of several shards: a shard that is lost isolates its own keys, and what concerns
//! all keys reaches all shards.

mod clusters;
mod rings;

use std::collections::BTreeSet;
use std::time::Duration;

use multi_tier_cached::tier::{Breaker, Receipt};
use multi_tier_cached::{
    CacheRuntime, ErrorKind, Level, Memory, RuntimeHealth, TierStats, invalidate, multi_tier_cached,
};
use testbed::counts::tier_stats;
use testbed::fake_store::{FakeLinks, FakeStore};
use testbed::{Instance, Truth, assert_reads, assert_tier};
use tokio::time::timeout;

const SHARDS: usize = 4;

/// Enough that each shard has several of them.
const KEYS: u64 = 40;

/// Longer than any operation takes.
const SOON: Duration = Duration::from_secs(10);

#[multi_tier_cached(ttl = "1h", when_isolated = "load", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// A function whose memory answers in an outage.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn served(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

async fn over(links: &FakeLinks) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.l2(links.clone())).await
}

/// An instance of a store with four shards.
async fn instance(store: &FakeStore) -> (FakeLinks, Instance) {
    let links = store.connect();
    let instance = over(&links).await;
    (links, instance)
}

/// Calls every key, and returns the keys for which `read` returned `value`.
async fn keys_with(instance: &Instance, truth: &Truth, value: u64) -> BTreeSet<u64> {
    let mut keys = BTreeSet::new();
    for key in 0..KEYS {
        if instance.call(read(truth, key)).await == value {
            keys.insert(key);
        }
    }
    keys
}

/// Returns the keys that a shard has records of.
fn keys_in(store: &FakeStore, shard: usize) -> BTreeSet<u64> {
    let keys = store.keys_in(shard);
    keys.iter().map(|key| key.parse().unwrap()).collect()
}

fn all_keys() -> BTreeSet<u64> {
    (0..KEYS).collect()
}

fn hits_and_misses(stats: &TierStats) -> (u64, u64) {
    (stats.hits, stats.misses)
}

#[tokio::test]
async fn each_key_is_in_one_shard_and_each_shard_has_keys() {
    let store = FakeStore::new(4);
    let (_, here) = instance(&store).await;
    keys_with(&here, &Truth::new(), 1).await;
    let mut found = BTreeSet::new();
    for shard in 0..SHARDS {
        let keys = keys_in(&store, shard);
        assert!(!keys.is_empty(), "shard {shard}");
        for key in keys {
            assert!(found.insert(key), "{key} is in two shards");
        }
    }
    assert_eq!(found, all_keys());
}

#[tokio::test]
async fn lost_shard_makes_misses_of_its_own_keys_alone() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let truth = Truth::new();
    keys_with(&here, &truth, 1).await;
    let (hits, misses) = (tier_stats(&here, "shards::read", Level::L1), KEYS);
    assert_eq!(hits.map(|stats| hits_and_misses(&stats)), Some((0, misses)));
    truth.commit();
    links.lose(1);
    let (lost, own) = (keys_with(&here, &truth, 2).await, keys_in(&store, 1));
    assert_eq!(lost, own);
    let own = own.len() as u64;
    let counted = (KEYS - own, misses + own);
    assert_tier(&here, "shards::read", Level::L1, hits_and_misses, counted).await;
}

#[tokio::test]
async fn shard_that_is_reached_again_voids_its_own_keys_alone() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let truth = Truth::new();
    keys_with(&here, &truth, 1).await;
    for shard in 0..SHARDS {
        let hits = |stats: &TierStats| stats.hits;
        let before = tier_stats(&here, "shards::read", Level::L1).unwrap().hits;
        links.lose(shard);
        links.restore(shard).await;
        keys_with(&here, &truth, 1).await;
        let kept = KEYS - keys_in(&store, shard).len() as u64;
        assert_tier(&here, "shards::read", Level::L1, hits, before + kept).await;
    }
}

#[tokio::test]
async fn memory_serves_the_keys_of_a_lost_shard_by_default() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let truth = Truth::new();
    let call = async || {
        for key in 0..KEYS {
            assert_eq!(here.call(served(&truth, key)).await, 1);
        }
    };
    call().await;
    truth.commit();
    links.lose(2);
    call().await;
    let own = keys_in(&store, 2).len() as u64;
    let isolated = |stats: &TierStats| (stats.isolated_hits, stats.hits);
    let counted = (own, KEYS - own);
    assert_tier(&here, "shards::served", Level::L1, isolated, counted).await;
}

#[tokio::test]
async fn memory_does_not_serve_old_values_of_other_shards_because_one_is_lost() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let (_, there) = instance(&store).await;
    let truth = Truth::new();
    for key in 0..KEYS {
        here.call(served(&truth, key)).await;
    }
    let own = keys_in(&store, 0);
    truth.commit();
    links.lose(0);
    for key in 0..KEYS {
        there.invalidate(invalidate!(served, &truth, key)).await;
        let value = here.call(served(&truth, key)).await;
        assert_eq!(value == 1, own.contains(&key), "{key}: {value}");
    }
}

#[tokio::test]
async fn invalidation_of_a_function_reaches_all_shards_of_all_instances_at_the_same_time() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let (_, there) = instance(&store).await;
    let truth = Truth::new();
    for value in 1..=2 {
        for instance in [&here, &there] {
            assert_eq!(keys_with(instance, &truth, value).await, all_keys());
        }
        truth.commit();
        links.hold_until_all_begin();
        let invalidation = here.call(async {
            match value {
                1 => invalidate!(read).await,
                _ => here.invalidate_all().await,
            }
        });
        let receipt = timeout(SOON, invalidation).await.expect("all shards begin");
        assert_eq!(receipt.unwrap(), Receipt::Acked);
    }
    for instance in [&there, &here] {
        assert_eq!(keys_with(instance, &truth, 3).await, all_keys());
    }
}

#[tokio::test]
async fn invalidation_is_queued_if_one_shard_queues_it_and_done_in_the_others() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let (_, there) = instance(&store).await;
    let truth = Truth::new();
    keys_with(&there, &truth, 1).await;
    let own = keys_in(&store, 3);
    truth.commit();
    links.lose(3);
    let receipt = here.invalidate(invalidate!(read)).await;
    assert_eq!(receipt, Receipt::Queued);
    assert_eq!(keys_with(&there, &truth, 1).await, own);
    // A key of a shard that is reached is invalidated, and no call waits for the lost one.
    for key in all_keys() {
        let receipt = here.invalidate(invalidate!(read, &truth, key)).await;
        assert_eq!(receipt == Receipt::Queued, own.contains(&key), "{key}");
        let settled = here.call(async { invalidate!(read, &truth, key).settled().await });
        let settled = timeout(Duration::ZERO, settled).await;
        assert_eq!(settled.is_err(), own.contains(&key), "{key}");
    }
    links.restore(3).await;
    assert_eq!(keys_with(&there, &truth, 2).await, all_keys());
}

#[tokio::test]
async fn error_of_one_shard_names_it_and_the_others_are_invalidated() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    let (_, there) = instance(&store).await;
    let truth = Truth::new();
    keys_with(&there, &truth, 1).await;
    let own = keys_in(&store, 1);
    truth.commit();
    links.break_down(1);
    let error = here.call(async { invalidate!(read).await }).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let text = format!("{error:?}");
    assert!(text.contains("shard 1 of 4: invalidate: refused"), "{text}");
    assert_eq!(keys_with(&there, &truth, 1).await, own);
}

#[tokio::test]
async fn pattern_invalidates_the_matching_keys_of_all_shards() {
    let store = FakeStore::new(4);
    let (_, here) = instance(&store).await;
    let truth = Truth::new();
    keys_with(&here, &truth, 1).await;
    truth.commit();
    let matched = here.invalidate_matching("it::shards::read", "*").await;
    assert_eq!(matched.unwrap().receipt, Receipt::Acked);
    assert_eq!(keys_with(&here, &truth, 2).await, all_keys());
}

#[tokio::test]
async fn health_is_that_of_the_worst_shard_and_names_it() {
    let store = FakeStore::new(4);
    let (links, here) = instance(&store).await;
    links.hold_until_all_begin();
    let health = async || -> RuntimeHealth {
        let health = timeout(SOON, here.health()).await;
        health.expect("all shards are pinged at the same time")
    };
    let well = health().await;
    assert!(well.is_well(), "{well}");
    assert_eq!(well.tiers[0].answered_in, Some(Duration::from_millis(3)));
    let addresses = well.tiers[0].shards.iter();
    let addresses: Vec<_> = addresses.flat_map(|shard| &shard.health.address).collect();
    assert_eq!(addresses, ["fake:0", "fake:1", "fake:2", "fake:3"]);
    links.lose(2);
    here.invalidate(invalidate!(read, &Truth::new(), 1)).await;
    let ill = health().await;
    assert!(!ill.is_well(), "{ill}");
    let tier = &ill.tiers[0];
    assert_eq!(tier.answered_in, None);
    assert_eq!(tier.breaker, Breaker::Open);
    assert!(!tier.health.connected && tier.health.coherent_for.is_none());
    assert_eq!(tier.health.isolations, 1);
    let last_error = tier.last_error.as_deref().unwrap_or_default();
    assert!(last_error.starts_with("shard 2 of 4: "), "{last_error}");
    for shard in &tier.shards {
        let is_lost = shard.index == 2;
        assert_eq!(shard.last_error.is_some(), is_lost);
        assert_eq!(shard.answered_in.is_none(), is_lost);
        assert_eq!(shard.health.coherent_for.is_none(), is_lost);
        assert_eq!(shard.breaker == Breaker::Open, is_lost);
    }
    links.lose(3);
    let last_error = health().await.tiers.remove(0).last_error;
    let last_error = last_error.unwrap_or_default();
    assert!(last_error.starts_with("shards 2, 3 of 4: "), "{last_error}");
}

#[tokio::test]
async fn shards_that_have_started_are_shut_down_if_one_does_not_start() {
    let links = FakeStore::new(4).connect();
    links.hold_until_all_begin();
    links.break_down(2);
    let builder = CacheRuntime::builder().l2(links.clone());
    let built = timeout(SOON, builder.build()).await;
    let error = built.expect("all shards start at the same time");
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("shard 2 of 4: no server"),
        "{error}"
    );
    assert_eq!(links.running(), [0; 0]);

    let links = FakeStore::new(4).connect();
    let here = over(&links).await;
    assert_eq!(links.running(), [0, 1, 2, 3]);
    here.shutdown().await.unwrap();
    assert_eq!(links.running(), [0; 0]);
}

#[tokio::test]
async fn number_of_shards_that_cannot_be_used_is_an_error() {
    for (links, problem) in [
        (FakeStore::new(3).connect(), "a store cannot have 3 shards"),
        (FakeStore::new(0).connect(), "a store cannot have 0 shards"),
        (
            FakeStore::new(4).connect().built_with(2),
            "2 shards of a store were built, which has 4",
        ),
    ] {
        let built = CacheRuntime::builder().l2(links).build().await;
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}
