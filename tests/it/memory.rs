//! The memory tier: times, bounds, engines, and the default runtime.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Engine, Level, ManualClock, Memory, Weigh, multi_tier_cached,
};

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "250ms")]
async fn quarter(_id: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst)
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
async fn an_entry_is_fresh_until_its_ttl_and_not_a_moment_longer() {
    for engine in engines() {
        let clock = ManualClock::new();
        let memory = Memory::builder().engine(engine);
        let runtime = CacheRuntime::builder()
            .l1(memory)
            .clock(&clock)
            .build()
            .await
            .unwrap();
        CacheRuntime::scope(runtime, async {
            let first = quarter(1).await;
            clock.advance(Duration::from_nanos(249_999_999));
            assert_eq!(quarter(1).await, first);
            clock.advance(Duration::from_nanos(1));
            let second = quarter(1).await;
            assert_ne!(second, first);
            assert_eq!(quarter(1).await, second);
        })
        .await;
    }
}

#[tokio::test]
async fn bytes_are_counted_by_what_a_value_says_or_serde_finds() {
    for engine in engines() {
        let memory = || Memory::builder().engine(engine).max_bytes(1_000_000);
        let runtime = CacheRuntime::builder().l1(memory()).build().await.unwrap();
        CacheRuntime::scope(runtime.clone(), async {
            for id in 0..1_000 {
                heavy(id).await;
            }
        })
        .await;
        assert!(
            (50..=100).contains(&runtime.entries_in_memory()),
            "{engine:?}: {}",
            runtime.entries_in_memory()
        );
        let runtime = CacheRuntime::builder().l1(memory()).build().await.unwrap();
        CacheRuntime::scope(runtime.clone(), async {
            for id in 0..1_000 {
                text(id).await;
            }
        })
        .await;
        assert!(
            (50..=100).contains(&runtime.entries_in_memory()),
            "{engine:?}: {}",
            runtime.entries_in_memory()
        );
    }
}

/// Nobody installed a runtime in this process: a function that asks for Redis has memory all the same.
#[tokio::test]
async fn functions_run_on_memory_where_no_runtime_is_installed() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1,l2")]
    async fn asks_for_redis(id: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst) + id
    }

    let first = asks_for_redis(1).await;
    assert_eq!(asks_for_redis(1).await, first);
    let stats = CacheRuntime::current().stats();
    let stats = stats
        .functions
        .iter()
        .find(|function| function.name.ends_with("asks_for_redis"))
        .unwrap();
    assert_eq!(
        stats
            .tiers
            .iter()
            .map(|tier| tier.level)
            .collect::<Vec<_>>(),
        [Level::L1]
    );
    assert_eq!(
        (stats.tiers[0].hits, stats.tiers[0].misses, stats.loads),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_task_of_its_own_runtime_sees_nothing_of_another() {
    let build = || async {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .build()
            .await
            .unwrap()
    };
    let first = CacheRuntime::scope(build().await, async { quarter(9).await }).await;
    let second = CacheRuntime::scope(build().await, async { quarter(9).await }).await;
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
async fn a_policy_is_a_time_under_a_name() {
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
