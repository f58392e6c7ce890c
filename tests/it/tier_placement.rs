//! Tiers that cannot be placed: `build` refuses a store at two levels, and a tier at a level that
//! it does not fit.

use std::path::PathBuf;
use std::time::Duration;

use multi_tier_cached::{
    BoxedTier, CacheRuntime, Disk, IntoTier, Memcached, Memory, Objects, Promotion, Redis,
    TierConfig, multi_tier_cached,
};
use opendal::Operator;
use opendal::services::Fs;
use testbed::Instance;
use testbed::directory::Directory;
use testbed::server::Server;
use tokio::time::timeout;

/// Builds a runtime with two tiers. No server is needed: an unreachable tier is only a warning.
async fn build_both(one: BoxedTier, other: BoxedTier) -> Option<String> {
    let built = CacheRuntime::builder()
        .tier(one, TierConfig::as_l3())
        .tier(other, TierConfig::as_l4())
        .build();
    built.await.err().map(|error| error.to_string())
}

fn redis() -> Redis {
    Redis::new("redis://127.0.0.1:1")
}

fn memcached() -> Memcached {
    Memcached::new("memcached://127.0.0.1:1")
}

/// Makes tiers in one directory.
struct Local(Directory);

impl Local {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn disk(&self, name: &str) -> Disk {
        Disk::new(self.path(name))
    }

    fn operator(&self) -> Operator {
        let files = Fs::default().root(&self.path("objects").display().to_string());
        Operator::new(files).unwrap()
    }
}

/// A load would take a lease at one level and then wait for it at the other.
#[tokio::test]
async fn store_at_two_levels_is_refused() {
    let local = Local(Directory::new("one-store"));
    let operator = local.operator();
    let objects = || Objects::new(operator.clone());
    for (one, other, named) in [
        (
            redis().into_tier(),
            redis().into_tier(),
            "the namespace `cache` of",
        ),
        (
            memcached().into_tier(),
            memcached().into_tier(),
            "the namespace `mtc` of",
        ),
        (
            local.disk("one").into_tier(),
            local.disk("one").into_tier(),
            "the directory `",
        ),
        (
            objects().into_tier(),
            objects().prefix("mtc/").into_tier(),
            "the prefix `mtc` of fs",
        ),
    ] {
        let error = build_both(one, other).await.expect("an error");
        assert!(error.contains(named), "{named:?} is not in {error:?}");
        assert!(error.contains("is both l3 and l4"), "{error}");
        assert!(error.contains("; help: give each"), "{error}");
    }
}

#[tokio::test]
async fn two_namespaces_of_one_store_are_two_tiers() {
    let local = Local(Directory::new("two-stores"));
    let operator = local.operator();
    let objects = || Objects::new(operator.clone());
    let server = Server::start();
    let reachable = || Redis::new(server.url()).required();
    for (one, other) in [
        (redis().into_tier(), redis().namespace("other").into_tier()),
        (
            reachable().into_tier(),
            reachable().namespace("other").into_tier(),
        ),
        (
            memcached().into_tier(),
            memcached().namespace("other").into_tier(),
        ),
        (
            local.disk("one").into_tier(),
            local.disk("other").into_tier(),
        ),
        (objects().into_tier(), objects().prefix("other").into_tier()),
    ] {
        assert_eq!(build_both(one, other).await, None);
    }
}

/// `build` compares the urls, so it does not notice that two host names lead to one server.
#[tokio::test]
async fn redis_at_two_levels_under_two_host_names_delays_no_call() {
    #[multi_tier_cached(ttl = "100s")]
    async fn aliased(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let other_name = server.url().replace("127.0.0.1", "localhost");
    let here = Instance::build(
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(Redis::new(server.url()))
            .l4(Redis::new(other_name)),
    )
    .await;
    let answer = timeout(Duration::from_secs(10), here.call(aliased(22))).await;
    assert_eq!(answer, Ok(22), "{}", here.stats());
}

#[tokio::test]
async fn tier_that_does_not_fit_its_level_is_refused() {
    let local = Local(Directory::new("placed"));
    let disk = || local.disk("disk");
    let builder = CacheRuntime::builder;
    let every_third = TierConfig::as_l2().promotion(Promotion::OneIn(3));
    for (wrong, says) in [
        (builder().l2(redis()).l2(disk()), "l2 is set twice"),
        (
            builder().tier(disk(), TierConfig::as_l1()),
            "only memory can be l1",
        ),
        (builder().tier(redis(), every_third), "no tier is above it"),
        (
            builder().tier(disk(), TierConfig::as_l3().ttl_scale(f64::NAN)),
            "scale",
        ),
    ] {
        let error = wrong.build().await.unwrap_err().to_string();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    }
}
