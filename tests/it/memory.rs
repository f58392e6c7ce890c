//! The memory tier: ttls, capacity, engines, policies, and the default runtime.

use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Engine, Level, ManualClock, Memory, Weigh, multi_tier_cached,
};
use testbed::{Instance, Truth};

/// Returns the number of the load.
#[multi_tier_cached(ttl = "250ms", skip(truth))]
async fn quarter(truth: &Truth, _id: u64) -> u64 {
    truth.read();
    truth.reads()
}

#[derive(Clone)]
struct Heavy;

impl Weigh for Heavy {
    fn weigh(&self) -> usize {
        10_000
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn heavy(_id: u64) -> Heavy {
    Heavy
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn text(_id: u64) -> String {
    "x".repeat(10_000)
}

fn engines() -> [Engine; 2] {
    [Engine::Moka, Engine::QuickCache]
}

#[tokio::test]
async fn entry_is_valid_until_its_ttl_and_not_a_nanosecond_longer() {
    for engine in engines() {
        let truth = Truth::new();
        let clock = ManualClock::new();
        let memory = Memory::builder().engine(engine);
        let runtime = CacheRuntime::builder()
            .l1(memory)
            .clock(&clock)
            .build()
            .await
            .unwrap();
        CacheRuntime::scope(runtime, async {
            let first = quarter(&truth, 1).await;
            clock.advance(Duration::from_nanos(249_999_999));
            assert_eq!(quarter(&truth, 1).await, first);
            clock.advance(Duration::from_nanos(1));
            let second = quarter(&truth, 1).await;
            assert_ne!(second, first);
            assert_eq!(quarter(&truth, 1).await, second);
        })
        .await;
    }
}

#[tokio::test]
async fn capacity_in_bytes_counts_the_weight_of_a_value_or_its_serialized_size() {
    for engine in engines() {
        let memory = || Memory::builder().engine(engine).max_bytes(1_000_000);
        let by_weight = Instance::build(CacheRuntime::builder().l1(memory())).await;
        let by_size = Instance::build(CacheRuntime::builder().l1(memory())).await;
        for id in 0..1_000 {
            by_weight.call(heavy(id)).await;
            by_size.call(text(id)).await;
        }
        // A hundred values fit, and an engine may keep fewer.
        let entries = [by_weight, by_size].map(|instance| instance.entries_in_memory());
        let are_bounded = entries.iter().all(|entries| (50..=100).contains(entries));
        assert!(are_bounded, "{engine:?}: {entries:?}");
    }
}

/// No test of this binary installs a runtime. A function that names Redis must be served from
/// memory then.
#[tokio::test]
async fn function_is_served_from_memory_when_no_runtime_is_installed() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1,l2", skip(truth))]
    async fn names_redis(truth: &Truth, _id: u64) -> u64 {
        truth.read();
        truth.reads()
    }

    let truth = Truth::new();
    let first = names_redis(&truth, 1).await;
    assert_eq!(names_redis(&truth, 1).await, first);
    let stats = CacheRuntime::current().stats();
    let stats = stats
        .functions
        .iter()
        .find(|function| function.name.ends_with("names_redis"))
        .unwrap();
    assert_eq!(
        stats
            .tiers
            .iter()
            .map(|tier| tier.level)
            .collect::<Vec<_>>(),
        [Level::L1]
    );
    let counts = (stats.tiers[0].hits, stats.tiers[0].misses, stats.loads);
    assert_eq!(counts, (1, 1, 1), "{stats:#?}");
}

#[tokio::test]
async fn runtime_of_a_scope_sees_no_entries_of_another_runtime() {
    let truth = Truth::new();
    let (one, other) = (Instance::with_memory().await, Instance::with_memory().await);
    let first = one.call(quarter(&truth, 9)).await;
    let second = other.call(quarter(&truth, 9)).await;
    assert_ne!(first, second);
}

#[multi_tier_cached(policy = "short", tiers = "l1")]
async fn short(id: u64) -> u64 {
    id
}

#[multi_tier_cached(policy = "long", tiers = "l1")]
async fn redefined(id: u64) -> u64 {
    id
}

#[tokio::test]
async fn policy_is_a_ttl_by_name_that_a_runtime_can_redefine() {
    let clock = ManualClock::new();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .clock(&clock)
        .policy("long", Duration::from_secs(10))
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime.clone(), async {
        let loads = |of: usize| runtime.stats().functions[of].loads;
        for (seconds, expected) in [
            (0, (1, 1)),
            (9, (1, 1)),
            (1, (2, 1)),
            (289, (3, 1)),
            (1, (3, 2)),
        ] {
            clock.advance(Duration::from_secs(seconds));
            redefined(1).await;
            short(1).await;
            assert_eq!((loads(0), loads(1)), expected, "after {seconds} s more");
        }
    })
    .await;
}
