//! An invalidation reaches every tier that may have the value: when it is dropped, when the tier
//! was removed from the function, and when the runtime lacks another tier.

use std::path::Path;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Memory, Redis, invalidate, multi_tier_cached};
use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, Truth, poll_until, until};
use tokio::time::timeout;

#[tokio::test]
async fn dropped_invalidation_reaches_every_shared_tier() {
    #[multi_tier_cached(ttl = "100s")]
    async fn dropped(key: u64) -> u64 {
        key
    }

    let (near, far) = (Server::start(), Server::start());
    let here = Instance::build(
        CacheRuntime::builder()
            .l2(Redis::new(near.url()))
            .l4(Redis::new(far.url()).time_limit(Duration::from_secs(5))),
    )
    .await;
    here.call(dropped(9)).await;
    until("both tiers are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    // The far tier comes first in an invalidation. It does not answer, so the near tier has not
    // been reached when the invalidation is dropped.
    far.freeze();
    let mut invalidation = Box::pin(here.call(async { invalidate!(dropped, 9).await }));
    let polled = poll_until(&mut invalidation, 1).await;
    assert!(polled.is_pending(), "a frozen server has answered");
    assert_eq!(near.records().len(), 1, "the near tier came first");
    drop(invalidation);
    until("the near tier has lost the record", || {
        near.records().is_empty()
    })
    .await;
    far.thaw();
    until("the far tier has lost the record", || {
        far.records().is_empty()
    })
    .await;
}

/// Two instances on one server, of which the first had Redis removed from a function by its
/// operator.
struct Overridden {
    server: Server,
    with: Instance,
    without: Instance,
    _directory: Directory,
}

impl Overridden {
    async fn new(function: &str) -> Self {
        let server = Server::start();
        let directory = Directory::new("overrides");
        let file = directory.path().join("functions.toml");
        write_override(&file, function);
        let without = Instance::build(
            CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(Redis::new(server.url()))
                .functions_file(&file),
        )
        .await;
        Self {
            with: Instance::with_redis_at(&server.url()).await,
            without,
            server,
            _directory: directory,
        }
    }

    async fn filled(&self) {
        until("Redis is filled", || self.server.records().len() == 1).await;
    }

    /// An instance without the override, and with nothing in memory.
    async fn later(&self) -> Instance {
        Instance::with_redis_at(&self.server.url()).await
    }
}

fn write_override(file: &Path, function: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!("[functions.\"{function}\"]\ntiers = \"l1\"");
    std::fs::write(file, text).unwrap();
}

/// Operators may put the tier back later, and it must not have the old value then.
#[tokio::test]
async fn tier_removed_by_an_override_receives_the_invalidation_of_a_key_and_of_the_function() {
    #[multi_tier_cached(ttl = "100s", name = "tier_invalidations::removed", skip(truth))]
    async fn removed(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let truth = Truth::new();
    for whole_function in [false, true] {
        let version = truth.version();
        let overridden = Overridden::new("tier_invalidations::removed").await;
        overridden.with.call(removed(&truth, 1)).await;
        overridden.filled().await;
        overridden.without.call(removed(&truth, 1)).await;
        truth.commit();
        let invalidation = match whole_function {
            true => invalidate!(removed),
            false => invalidate!(removed, &truth, 1),
        };
        let receipt = overridden.without.invalidate(invalidation).await;
        assert_eq!(receipt, Receipt::Acked);
        let later = overridden.later().await;
        let value = later.call(removed(&truth, 1)).await;
        assert_eq!(value, version + 1, "whole function: {whole_function}");
    }
}

#[tokio::test]
async fn refresh_invalidates_a_tier_removed_by_an_override() {
    #[multi_tier_cached(ttl = "100s", name = "tier_invalidations::refreshed", skip(truth))]
    async fn refreshed(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let truth = Truth::new();
    let overridden = Overridden::new("tier_invalidations::refreshed").await;
    overridden.with.call(refreshed(&truth, 1)).await;
    overridden.filled().await;
    overridden.without.call(refreshed(&truth, 1)).await;
    truth.commit();
    let value = overridden
        .without
        .call(async { refreshed::entry(&truth, 1).refresh().await });
    assert_eq!(value.await, 2);
    let later = overridden.later().await;
    assert_eq!(
        later.call(refreshed(&truth, 1)).await,
        2,
        "{}",
        later.stats()
    );
}

/// A function that names a tier the runtime lacks is served from memory alone. Its invalidations
/// must still reach the shared tier that the runtime has, because other instances use it.
#[tokio::test]
async fn runtime_that_lacks_a_tier_of_a_function_invalidates_the_tiers_that_it_has() {
    #[multi_tier_cached(ttl = "100s", tiers = "l1,l2,l3", skip(truth))]
    async fn lacking(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let truth = Truth::new();
    let server = Server::start();
    let with = || {
        let builder = CacheRuntime::builder().l1(Memory::builder());
        Instance::build(builder.l2(Redis::new(server.url())).l3(FakeTier::new()))
    };
    with().await.call(lacking(&truth, 1)).await;
    until("Redis is filled", || server.records().len() == 1).await;
    let without = Instance::with_redis_at(&server.url()).await;
    truth.commit();
    let receipt = without.invalidate(invalidate!(lacking, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    let later = with().await;
    assert_eq!(later.call(lacking(&truth, 1)).await, 2, "{}", later.stats());
}

/// The shared tier may have a copy of what is to be invalidated in the private tier below it.
#[tokio::test]
async fn call_loads_and_fills_the_upper_tier_while_an_invalidation_below_it_is_queued() {
    #[multi_tier_cached(ttl = "100s", tiers = "l2,l3", skip(truth))]
    async fn below(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let truth = Truth::new();
    let server = Server::start();
    let private = FakeTier::new();
    let here = Instance::build(
        CacheRuntime::builder()
            .l2(Redis::new(server.url()))
            .l3(private.clone()),
    )
    .await;
    private.owe();
    let record = || {
        let name = server.records().pop()?;
        Some(server.command_bytes::<Vec<u8>>(&[b"GET", name.as_bytes()]))
    };
    let mut before = None;
    for loaded in 1..4 {
        let call = timeout(Duration::from_secs(10), here.call(below(&truth, 1)));
        assert_eq!(call.await, Ok(loaded), "{}", here.stats());
        until("Redis has the record of this load", || record() != before).await;
        before = record();
        truth.commit();
    }
}
