//! Invalidation by pattern and of everything, in each kind of tier.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Disk, Engine, Memcached, Memory, Objects, Redis, multi_tier_cached,
};
use opendal::Operator;
use opendal::services::Fs;

use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{Instance, Truth, poll_once, poll_until, until, until_returns};

const BOUND: Duration = Duration::from_millis(500);

const READ: &str = concat!(module_path!(), "::read");

/// Each load returns another number, so that a test sees which values were loaded again.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _shop: &str, item: u64) -> (u64, u64) {
    tokio::task::yield_now().await;
    (item, truth.commit())
}

/// Another function, whose value shows whether it was loaded again as well.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn other(truth: &Truth, shop: &str, item: u64) -> (u64, u64) {
    read(truth, shop, item).await
}

/// The values of four keys of `read`, and of one key of `other`, which calls `read` with a fifth.
async fn all(instance: &Instance, truth: &Truth) -> Vec<(u64, u64)> {
    let mut values = Vec::new();
    for (shop, item) in [("east", 1), ("east", 22), ("west", 1), ("we-t", 3)] {
        values.push(instance.call(read(truth, shop, item)).await);
    }
    values.push(instance.call(other(truth, "east", 5)).await);
    values
}

/// Returns for each value whether it was loaded again.
fn changed(before: &[(u64, u64)], after: &[(u64, u64)]) -> Vec<bool> {
    let pairs = before.iter().zip(after);
    pairs.map(|(before, after)| before != after).collect()
}

/// Returns the number of keys that were invalidated.
async fn invalidate_matching(instance: &Instance, pattern: &str) -> u64 {
    let matched = instance.invalidate_matching(READ, pattern).await;
    matched.unwrap().keys
}

#[tokio::test]
async fn pattern_in_memory_drops_matching_values_and_loads_in_progress() {
    for engine in [Engine::Moka, Engine::QuickCache] {
        let memory = Memory::builder().engine(engine);
        let here = Instance::build(CacheRuntime::builder().l1(memory)).await;
        let truth = Truth::new();
        let before = all(&here, &truth).await;
        let dropped = invalidate_matching(&here, "east,*").await;
        assert_eq!(dropped, 3, "{engine:?}");
        let after = all(&here, &truth).await;
        assert_eq!(changed(&before, &after), [true, true, false, false, false]);
        assert_eq!(invalidate_matching(&here, r"we\-[st],?").await, 1);
        let mut load = Box::pin(here.call(read(&truth, "north", 1)));
        assert!(poll_until(&mut load, 1).await.is_pending());
        assert_eq!(invalidate_matching(&here, "north,*").await, 1);
        let old = load.await;
        let new = here.call(read(&truth, "north", 1)).await;
        assert_ne!(new, old, "the load began before the invalidation");
    }
}

#[tokio::test]
async fn pattern_in_redis_drops_matching_values_on_every_instance() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let before = all(&here, &truth).await;
    server.until_records(6).await;
    assert_eq!(all(&there, &truth).await, before);
    assert_eq!(invalidate_matching(&here, "east,*").await, 3);
    let expected = vec![true, true, false, false, false];
    let found = async || changed(&before, &all(&there, &truth).await);
    until_returns(expected, BOUND, found).await;
}

#[tokio::test]
async fn pattern_in_redis_voids_the_load_of_another_instance() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let mut load = Box::pin(there.call(read(&truth, "north", 1)));
    until("the other instance has a lease", || {
        assert!(poll_once(&mut load).is_pending());
        server.has_lease()
    })
    .await;
    invalidate_matching(&here, "north,*").await;
    let old = load.await;
    let fresh = Instance::with_redis_at(&server.url()).await;
    let new = fresh.call(read(&truth, "north", 1)).await;
    assert_ne!(new, old, "the old value was stored");
}

#[tokio::test]
async fn pattern_is_queued_by_an_instance_that_never_called_the_function() {
    let server = Server::start();
    let (filling, here) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    all(&filling, &truth).await;
    server.until_records(6).await;
    assert_eq!(invalidate_matching(&here, "*").await, 5);
    drop(server);
    here.until_disconnected().await;
    let queued = here.invalidate_matching(READ, "*").await.unwrap();
    assert_eq!(queued.receipt, Receipt::Queued);
}

#[tokio::test]
async fn key_that_two_instances_match_at_once_is_counted_once() {
    let server = Server::start();
    let filling = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    all(&filling, &truth).await;
    server.until_records(6).await;
    let (here, there) = Instance::two_at(&server.url()).await;
    let (one, other) = tokio::join!(
        invalidate_matching(&here, "*"),
        invalidate_matching(&there, "*"),
    );
    assert_eq!(one + other, 5);
}

/// A pattern cannot be queued, so the whole function is invalidated after the outage.
#[tokio::test]
async fn pattern_during_an_outage_drops_the_whole_function_after_it() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let before = all(&here, &truth).await;
    server.until_records(6).await;
    server.freeze();
    let matched = here.invalidate_matching(READ, "east,*").await;
    assert_eq!(matched.unwrap().receipt, Receipt::Queued);
    server.thaw();
    here.until_queue_is_empty().await;
    here.until_coherent().await;
    there.until_coherent().await;
    let after = all(&there, &truth).await;
    assert_eq!(changed(&before, &after), [true, true, true, true, false]);
}

#[tokio::test]
async fn value_on_disk_that_a_pattern_dropped_is_not_back_after_a_restart() {
    let directory = Directory::new("matching");
    let start = async || {
        let disk = Disk::new(directory.path()).time_limit(Duration::from_secs(10));
        let tiers = CacheRuntime::builder().l1(Memory::builder()).l3(disk);
        Instance::build(tiers).await
    };
    let truth = Truth::new();
    let first = start().await;
    let before = all(&first, &truth).await;
    first.shutdown().await.unwrap();
    let second = start().await;
    assert_eq!(invalidate_matching(&second, "*,1").await, 2);
    second.shutdown().await.unwrap();
    let after = all(&start().await, &truth).await;
    assert_eq!(changed(&before, &after), [true, false, true, false, false]);
}

#[tokio::test]
async fn pattern_drops_the_whole_function_in_tiers_that_cannot_list_keys() {
    let directory = Directory::new("matching");
    let memcached = MemcachedServer::start();
    let files = Fs::default().root(&directory.path().display().to_string());
    let operator = Operator::new(files).unwrap();
    for tiers in [
        CacheRuntime::builder().l2(Memcached::new(memcached.url())),
        CacheRuntime::builder().l4(Objects::new(operator)),
    ] {
        let (here, truth) = (Instance::build(tiers).await, Truth::new());
        let before = all(&here, &truth).await;
        invalidate_matching(&here, "east,*").await;
        let after = all(&here, &truth).await;
        assert_eq!(changed(&before, &after), [true, true, true, true, false]);
    }
}

#[tokio::test]
async fn invalidate_all_drops_every_value_of_its_namespace_and_of_no_other() {
    let server = Server::start();
    let instance = async |namespace: &str| {
        Instance::with_redis(Redis::new(server.url()).namespace(namespace)).await
    };
    let (here, there) = (instance("shop").await, instance("shop").await);
    let (neighbour, truth) = (instance("other").await, Truth::new());
    let before = all(&here, &truth).await;
    assert_eq!(all(&there, &truth).await.len(), 5);
    let of_neighbour = all(&neighbour, &truth).await;
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    let after = all(&here, &truth).await;
    assert_eq!(changed(&before, &after), [true; 5]);
    there.until_coherent().await;
    until_returns(after, BOUND, async || all(&there, &truth).await).await;
    let of_neighbour_now = all(&neighbour, &truth).await;
    assert_eq!(of_neighbour_now, of_neighbour, "another namespace");
}

#[tokio::test]
async fn invalidate_all_drops_every_value_in_memory() {
    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let before = all(&here, &truth).await;
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    let after = all(&here, &truth).await;
    assert_eq!(changed(&before, &after), [true; 5]);
    assert_eq!(invalidate_matching(&here, "*").await, 5);
}

/// The function is not bound to the runtime when the invalidation begins.
#[tokio::test]
async fn value_that_a_first_call_reads_during_the_invalidation_is_not_kept() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn first_called(truth: &Truth, _item: u64) -> u64 {
        truth.read()
    }

    const NAME: &str = concat!(module_path!(), "::first_called");
    let (fake_tier, truth) = (FakeTier::new(), Truth::new());
    let instance = async || {
        let tiers = CacheRuntime::builder()
            .l1(Memory::builder())
            .l3(fake_tier.clone());
        Instance::build(tiers).await
    };
    let earlier = instance().await;
    earlier.call(first_called(&truth, 1)).await;
    until("the value is stored", || fake_tier.len() == 1).await;
    truth.commit();
    let here = instance().await;
    let mut matching = Box::pin(here.invalidate_matching(NAME, "*"));
    assert!(poll_until(&mut matching, 1).await.is_pending());
    assert_eq!(here.call(first_called(&truth, 1)).await, 1);
    fake_tier.let_through();
    matching.await.unwrap();
    assert_eq!(here.call(first_called(&truth, 1)).await, 2);
}
