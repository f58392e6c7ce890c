//! Invalidations of tags that the server may not have are queued, sent later, and respected until
//! then.

use multi_tier_cached::tier::Target;
use testbed::deployment::Deployment;
use testbed::directory::Directory;
use testbed::poll_until;
use testbed::proxy::{NetworkFault, Proxy};

use super::*;

#[tokio::test]
async fn tags_invalidated_during_an_outage_are_sent_after_it() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let here = Cache::open(servers.redis()).await;
    let cut = Cache::open(servers.redis_through(&network)).await;
    let (key, tags) = (key(1), [5, 6]);
    let record = here.load(&key, 1).await;
    cut.until_state(&key, record, &tags, MarksState::Valid)
        .await;
    network.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    assert_eq!(cut.invalidate(&tags[..1]).await, Receipt::Queued);
    assert_eq!(cut.queued(), cut.0.len());
    let ledger = cut.ledger(&key);
    assert!(ledger.is_pending(&tags) && !ledger.is_pending(&tags[1..]));
    let own = cut.state(&key, record, &tags);
    assert_eq!(own, Some(MarksState::Invalidated), "at once");
    let others = here.state(&key, record, &tags);
    assert_eq!(others, Some(MarksState::Valid), "it cannot know yet");
    network.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    assert!(!cut.ledger(&key).is_pending(&tags));
    for cache in [&here, &cut] {
        cache
            .until_state(&key, record, &tags, MarksState::Invalidated)
            .await;
        let state = cache.state(&key, record, &tags[1..]);
        assert_eq!(state, Some(MarksState::Valid));
    }
    let replays = |tier: &Arc<dyn Tier>| tier.health().replays;
    assert!(cut.0.iter().all(|tier| replays(tier) == 1));
}

/// The tag must not be usable between the acknowledgement and the message.
#[tokio::test]
async fn tag_that_was_queued_is_invalid_here_without_a_gap() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let cut = Cache::open(Redis::new(proxy.url())).await;
    let key = key(1);
    let record = cut.load(&key, 1).await;
    for tag in 0..5 {
        proxy.set(NetworkFault::Cut);
        cut.until_disconnected().await;
        assert_eq!(cut.invalidate(&[tag]).await, Receipt::Queued);
        proxy.set(NetworkFault::Fair);
        let mut is_sent = false;
        until("it is sent, and the copy is loaded", || {
            let state = cut.state(&key, record, &[tag]);
            assert_ne!(state, Some(MarksState::Valid));
            is_sent |= cut.queued() == 0;
            is_sent && state.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn queued_tags_outlive_the_process_in_the_journal_file() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let directory = Directory::new("tags");
    let file = directory.path().join("journal");
    let here = Cache::open(Redis::new(server.url())).await;
    let (one, other) = (key(1), key(2));
    let record = here.load(&one, 1).await;
    let untouched = here.load(&other, 1).await;
    let first = Cache::open(Redis::new(proxy.url()).journal_file(&file)).await;
    proxy.set(NetworkFault::Cut);
    first.until_disconnected().await;
    assert_eq!(first.invalidate(&[5, 6]).await, Receipt::Queued);
    first.shutdown().await;
    drop(first);
    let next = Cache::open(Redis::new(server.url()).journal_file(&file)).await;
    next.until_queue_is_empty().await;
    for cache in [&here, &next] {
        for tag in [5, 6] {
            cache
                .until_state(&one, record, &[tag], MarksState::Invalidated)
                .await;
        }
        cache
            .until_state(&other, untouched, &[7], MarksState::Valid)
            .await;
    }
    until_ok("the file is empty", async || {
        match std::fs::metadata(&file).map(|file| file.len()) {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_queued_tags_invalidate_all_tags_and_nothing_else() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = Cache::open(Redis::new(server.url())).await;
    let cut = Cache::open(Redis::new(proxy.url())).await;
    let (tagged, plain) = (key(1), key(2));
    let record = here.load(&tagged, 1).await;
    let without_tags = here.load(&plain, 1).await;
    proxy.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    let tags: Vec<u64> = (100..4_196).collect();
    assert_eq!(cut.invalidate(&tags).await, Receipt::Queued);
    assert_eq!(cut.queued(), 4_096);
    assert!(!cut.ledger(&tagged).is_pending(&[5]));
    cut.0[0].invalidate_tags_later(&[99]);
    assert_eq!(cut.queued(), 1);
    assert!(cut.ledger(&tagged).is_pending(&[5]), "every tag");
    assert!(!cut.ledger(&plain).is_pending(&[]));
    proxy.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    for cache in [&here, &cut] {
        cache
            .until_state(&tagged, record, &[5], MarksState::Invalidated)
            .await;
        // It may have been expired, as nothing is known of the lost ledger.
        cache
            .until_state(&plain, without_tags, &[], MarksState::Expired)
            .await;
        assert_eq!(cache.read(&plain).await, Some(without_tags));
    }
}

/// The instance cannot know how far it came.
#[tokio::test]
async fn invalidation_of_tags_that_is_dropped_after_its_first_poll_is_still_sent() {
    let servers = Deployment::start().await;
    let here = Cache::open(servers.redis()).await;
    let there = Cache::open(servers.redis()).await;
    let key = key(1);
    let record = here.load(&key, 1).await;
    there
        .until_state(&key, record, &[5], MarksState::Valid)
        .await;
    servers.freeze();
    let tier = here.tier(&key);
    let invalidation = async { tier.invalidate_tags(&[5], SOON).await };
    let mut invalidation = Box::pin(invalidation);
    assert!(poll_until(&mut invalidation, 1).await.is_pending());
    drop(invalidation);
    let own = here.state(&key, record, &[5]);
    assert_eq!(own, Some(MarksState::Invalidated));
    servers.thaw();
    here.until_queue_is_empty().await;
    there
        .until_state(&key, record, &[5], MarksState::Invalidated)
        .await;
}

#[tokio::test]
async fn expiry_during_an_outage_is_queued_as_an_invalidation() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = Cache::open(Redis::new(server.url())).await;
    let cut = Cache::open(Redis::new(proxy.url())).await;
    let (one, other) = (key(1), key(2));
    let record = here.load(&one, 1).await;
    let tagged = here.load(&other, 1).await;
    proxy.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    assert_eq!(cut.expire(Expiry::Key(&one)).await, Receipt::Queued);
    assert_eq!(cut.expire(Expiry::Tags(&[5])).await, Receipt::Queued);
    assert!(cut.0[0].is_pending(&one) && cut.ledger(&one).is_pending(&[5]));
    proxy.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    until_ok("the record is deleted", async || {
        match here.read(&one).await {
            None => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    here.until_state(&other, tagged, &[5], MarksState::Invalidated)
        .await;
    let state = here.state(&one, record, &[]);
    assert_eq!(
        state,
        Some(MarksState::Valid),
        "the key was deleted instead"
    );
}

/// A tag takes no other record with it, and neither does the deletion of a key take a tag.
#[tokio::test]
async fn invalidations_of_tags_and_of_keys_are_queued_and_sent_apart() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = Cache::open(Redis::new(server.url())).await;
    let cut = Cache::open(Redis::new(proxy.url())).await;
    let keys = [key(1), key(2), key(3)];
    let mut records = Vec::new();
    for key in &keys {
        records.push(here.load(key, 1).await);
    }
    proxy.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    let target = Target::Key(&keys[0]);
    let receipt = cut.0[0].invalidate(target, SOON).await;
    assert_eq!(receipt.unwrap(), Receipt::Queued);
    cut.0[0].invalidate_tags_later(&[5]);
    assert_eq!(cut.queued(), 2);
    assert!(!cut.0[0].is_pending(&keys[1]));
    proxy.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    let state = MarksState::Invalidated;
    here.until_state(&keys[1], records[1], &[5], state).await;
    let state = here.state(&keys[2], records[2], &[6]);
    assert_eq!(state, Some(MarksState::Valid));
    for (key, record) in keys.iter().zip(records).skip(1) {
        assert_eq!(here.read(key).await, Some(record));
    }
    assert_eq!(here.read(&keys[0]).await, None);
}
