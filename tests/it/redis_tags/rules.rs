//! The rules of the ledger, on each topology.

use multi_tier_cached::tier::Target;
use testbed::deployment::Deployment;

use super::*;

async fn two(servers: &Deployment) -> (Cache, Cache) {
    (
        Cache::open(servers.redis()).await,
        Cache::open(servers.redis()).await,
    )
}

#[tokio::test]
async fn invalidated_tag_voids_its_records_everywhere_and_no_others() {
    let servers = Deployment::start().await;
    let (here, there) = two(&servers).await;
    // Keys of every shard.
    for digest in (0..16).map(|at| at << 12) {
        let (key, other) = (key(digest), key(digest + 1));
        let (tags, other_tags) = ([digest + 100, 7], [digest + 200, 8]);
        let record = here.load(&key, 1).await;
        let untouched = here.load(&other, 1).await;
        assert_eq!(there.read(&key).await, Some(record));
        there
            .until_state(&key, record, &tags, MarksState::Valid)
            .await;
        assert_eq!(here.invalidate(&tags[..1]).await, Receipt::Acked);
        assert_eq!(
            here.state(&key, record, &tags),
            Some(MarksState::Invalidated)
        );
        for cache in [&here, &there] {
            let state = cache.in_store(&key, record, &tags).await;
            assert_eq!(state, MarksState::Invalidated);
            let state = cache.in_store(&other, untouched, &other_tags).await;
            assert_eq!(state, MarksState::Valid);
        }
        there
            .until_state(&key, record, &tags, MarksState::Invalidated)
            .await;
        for cache in [&here, &there] {
            let state = cache.state(&other, untouched, &other_tags);
            assert_eq!(state, Some(MarksState::Valid));
        }
        // The record of a load that began after it.
        let record = there.load(&key, 2).await;
        assert_eq!(there.in_store(&key, record, &tags).await, MarksState::Valid);
        here.until_state(&key, record, &tags, MarksState::Valid)
            .await;
    }
}

/// The invalidation takes effect here when it returns, although its message arrives later.
#[tokio::test]
async fn own_invalidation_is_in_effect_when_it_returns() {
    let servers = Deployment::start().await;
    let here = Cache::open(servers.redis()).await;
    let key = key(1);
    for tag in 0..200 {
        let record = here.load(&key, tag).await;
        // The first load begins the ledger, and its message has the copy loaded again.
        here.until_state(&key, record, &[tag], MarksState::Valid)
            .await;
        here.invalidate(&[tag]).await;
        let state = here.state(&key, record, &[tag]);
        assert_eq!(state, Some(MarksState::Invalidated));
        let target = Target::Key(&key);
        here.tier(&key).invalidate(target, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn invalidation_during_a_load_voids_the_record_of_the_load() {
    let servers = Deployment::start().await;
    let (here, there) = two(&servers).await;
    let key = key(1);
    let lease = here.lease(&key).await.unwrap();
    there.invalidate(&[5]).await;
    let mark = lease.mark.unwrap();
    let record = Record { version: 1, mark };
    let fill = here
        .tier(&key)
        .fill(&key, &lease, record.bytes(), HOUR, SOON);
    assert_eq!(fill.await.unwrap(), FillResult::Stored, "it does not look");
    for cache in [&here, &there] {
        let state = cache.in_store(&key, record, &[5]).await;
        assert_eq!(state, MarksState::Invalidated);
        cache
            .until_state(&key, record, &[5], MarksState::Invalidated)
            .await;
        let state = cache.in_store(&key, record, &[6]).await;
        assert_eq!(state, MarksState::Valid);
    }
}

#[tokio::test]
async fn expired_key_function_and_tag_are_stale_everywhere_until_they_are_loaded_again() {
    let servers = Deployment::start().await;
    let (here, there) = two(&servers).await;
    let (key, tags) = (key(1), [5]);
    let function = Arc::clone(&key.function);
    for target in [
        Expiry::Key(&key),
        Expiry::Function(&function),
        Expiry::Tags(&tags),
    ] {
        let record = here.load(&key, 1).await;
        let running = there.lease(&key).await.expect("a lease");
        assert_eq!(here.expire(target).await, Receipt::Acked);
        assert_eq!(here.state(&key, record, &tags), Some(MarksState::Expired));
        there
            .until_state(&key, record, &tags, MarksState::Expired)
            .await;
        assert_eq!(
            there.in_store(&key, record, &tags).await,
            MarksState::Expired
        );
        // The load that was running would be stored as a fresh value.
        let mark = running.mark.unwrap();
        let late = Record { version: 2, mark };
        let fill = there
            .tier(&key)
            .fill(&key, &running, late.bytes(), HOUR, SOON);
        let is_refused = fill.await.unwrap() != FillResult::Stored;
        assert_eq!(is_refused, matches!(target, Expiry::Key(_)), "{target:?}");
        assert_eq!(there.in_store(&key, late, &tags).await, MarksState::Expired);
        drop(running);
        until("the lease is released", || !servers.has_lease()).await;
        let fresh = there.load(&key, 3).await;
        assert_eq!(there.in_store(&key, fresh, &tags).await, MarksState::Valid);
        here.until_state(&key, fresh, &tags, MarksState::Valid)
            .await;
    }
}

#[tokio::test]
async fn many_tags_of_one_call_are_all_invalidated() {
    let servers = Deployment::start().await;
    let (here, there) = two(&servers).await;
    let key = key(1);
    let record = here.load(&key, 1).await;
    let tags: Vec<u64> = (1_000..1_300).collect();
    assert_eq!(here.invalidate(&tags).await, Receipt::Acked);
    assert_eq!(here.invalidate(&[]).await, Receipt::Acked);
    for tag in &tags {
        let state = here.state(&key, record, &[*tag]);
        assert_eq!(state, Some(MarksState::Invalidated));
        there
            .until_state(&key, record, &[*tag], MarksState::Invalidated)
            .await;
    }
}

/// A ledger that is followed from later on has what was invalidated before.
#[tokio::test]
async fn function_that_is_bound_later_has_the_ledger_loaded_then() {
    let servers = Deployment::start().await;
    let here = Cache::open(servers.redis()).await;
    let later = Cache::open_unbound(servers.redis()).await;
    let (key, tags) = (key(1), [5]);
    let record = here.load(&key, 1).await;
    here.invalidate(&tags).await;
    until("it is coherent", || {
        let shared = |tier: &Arc<dyn Tier>| tier.as_shared().unwrap().coherence().holds();
        later.0.iter().all(shared)
    })
    .await;
    assert_eq!(later.state(&key, record, &tags), None);
    let state = later.in_store(&key, record, &tags).await;
    assert_eq!(state, MarksState::Invalidated);
    later.bind();
    later
        .until_state(&key, record, &tags, MarksState::Invalidated)
        .await;
    assert_eq!(later.state(&key, record, &[6]), Some(MarksState::Valid));
}

/// No key of one shard is in the slot of another.
#[tokio::test]
async fn every_key_of_the_ledger_is_in_the_slot_of_its_shard() {
    let servers = Deployment::start().await;
    let here = Cache::open(servers.redis()).await;
    for digest in (0..16).map(|at| at << 12) {
        here.load(&key(digest), 1).await;
    }
    here.invalidate(&[1]).await;
    let keys = servers.keys();
    for shard in 0..here.0.len() {
        let name = format!("{{cache:{shard}}}:#ledger");
        assert!(keys.contains(&name), "{name} is not in {keys:?}");
    }
    for key in keys {
        assert!(key.starts_with("{cache:"), "{key}");
    }
}
