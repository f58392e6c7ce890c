//! After an invalidation, no call returns a value whose load began before it.

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Engine, Level, Memory, invalidate, multi_tier_cached};

use testbed::counts::tier_stats;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_tier, poll_once, poll_until, until};

/// Reads the truth between await points, so that an invalidation can come before or after that.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: &str) -> u64 {
    tokio::task::yield_now().await;
    let version = truth.read();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    version
}

/// The scope of an invalidation.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Key,
    Function,
}

const SCOPES: [Scope; 2] = [Scope::Key, Scope::Function];

async fn invalidate(instance: &Instance, truth: &Truth, key: &str, scope: Scope) -> Receipt {
    let invalidation = match scope {
        Scope::Key => invalidate!(read, truth, key),
        Scope::Function => invalidate!(read),
    };
    instance.invalidate(invalidation).await
}

/// For each await point of a load: stops the load there, commits, invalidates, and lets the load
/// end. No call may return the old value from the invalidation on. Returns the number of await
/// points.
async fn invalidate_at_each_await_point(
    here: &Instance,
    other: impl AsyncFn() -> Option<Instance>,
    scope: Scope,
) -> usize {
    for n in 0.. {
        let truth = Truth::new();
        let key = format!("load {scope:?} {n}");
        let mut load = Box::pin(here.call(read(&truth, &key)));
        let is_finished = poll_until(&mut load, n).await.is_ready();
        truth.commit();
        invalidate(here, &truth, &key, scope).await;
        let during = here.call(read(&truth, &key)).await;
        assert_eq!(during, 2, "during the load, at await point {n}");
        if !is_finished {
            load.await;
        }
        let after = here.call(read(&truth, &key)).await;
        assert_eq!(after, 2, "after the load, at await point {n}");
        if let Some(other) = other().await {
            let found = other.call(read(&truth, &key)).await;
            assert_eq!(found, 2, "another instance, at await point {n}");
        }
        if is_finished {
            return n;
        }
    }
    unreachable!("the load finishes");
}

#[tokio::test]
async fn invalidation_at_each_await_point_of_a_load_holds_in_memory() {
    let here = Instance::with_memory().await;
    for scope in SCOPES {
        let points = invalidate_at_each_await_point(&here, async || None, scope).await;
        assert!(points >= 3, "a load has more await points than {points}");
    }
}

#[tokio::test]
async fn invalidation_at_each_await_point_of_a_load_holds_in_redis() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    for scope in SCOPES {
        let other = async || Some(Instance::with_redis_at(&server.url()).await);
        let points = invalidate_at_each_await_point(&here, other, scope).await;
        assert!(
            points >= 6,
            "a load through Redis has more await points than {points}"
        );
    }
}

/// The server refuses the fill, so it does not matter when or from where the fill arrives.
#[tokio::test]
async fn late_fill_is_refused_after_an_invalidation_by_another_instance() {
    let server = Server::start();
    let (loader, invalidator) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let mut load = Box::pin(loader.call(read(&truth, "late")));
    until("the load has its lease and has read the truth", || {
        assert!(poll_once(&mut load).is_pending());
        truth.reads() == 1
    })
    .await;
    assert!(server.has_lease());
    truth.commit();
    invalidate(&invalidator, &truth, "late", Scope::Key).await;
    load.await;
    until("the fill is refused", || {
        let stats = tier_stats(&loader, "invalidation::read", Level::L2);
        stats.unwrap().refused_fills.total() == 1
    })
    .await;
    assert_eq!(server.records(), Vec::<String>::new());
    assert_eq!(invalidator.call(read(&truth, "late")).await, 2);
}

#[tokio::test]
async fn invalidation_of_a_function_costs_one_round_trip_for_a_hundred_keys() {
    let server = Server::start();
    let (here, other) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for key in &keys {
        here.call(read(&truth, key)).await;
    }
    truth.commit();
    let _: () = server.command(&["CONFIG", "RESETSTAT"]);
    invalidate(&here, &truth, "", Scope::Function).await;
    let scripts = server.calls("eval") + server.calls("evalsha");
    assert_eq!((scripts, server.calls("getrange")), (1, 0));
    for key in &keys {
        assert_eq!(here.call(read(&truth, key)).await, 2);
    }
    assert_eq!(other.call(read(&truth, "5")).await, 2);
}

async fn instance_with(fake_tier: &FakeTier) -> Instance {
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(fake_tier.clone());
    Instance::build(tiers).await
}

/// The fence has risen and the tier still has the record, which a call reads now.
#[tokio::test]
async fn record_that_is_read_during_an_invalidation_is_not_kept_in_memory() {
    for scope in SCOPES {
        let (fake_tier, truth) = (FakeTier::new(), Truth::new());
        let earlier = instance_with(&fake_tier).await;
        earlier.call(read(&truth, "between")).await;
        let here = instance_with(&fake_tier).await;
        truth.commit();
        let mut invalidation = Box::pin(invalidate(&here, &truth, "between", scope));
        assert!(poll_until(&mut invalidation, 1).await.is_pending());
        // A call during the invalidation may return either value; here it finds the record.
        assert_eq!(here.call(read(&truth, "between")).await, 1);
        fake_tier.let_through();
        invalidation.await;
        assert_eq!(here.call(read(&truth, "between")).await, 2);
    }
}

/// The tier still has the record after the invalidation was dropped, so each call reads it there
/// until the tier gets the invalidation.
#[tokio::test]
async fn record_that_is_read_during_a_dropped_invalidation_is_not_kept_in_memory() {
    for scope in SCOPES {
        let (fake_tier, truth) = (FakeTier::new(), Truth::new());
        let earlier = instance_with(&fake_tier).await;
        earlier.call(read(&truth, "dropped")).await;
        let here = instance_with(&fake_tier).await;
        let mut invalidation = Box::pin(invalidate(&here, &truth, "dropped", scope));
        assert!(poll_until(&mut invalidation, 1).await.is_pending());
        here.call(read(&truth, "dropped")).await;
        drop(invalidation);
        here.call(read(&truth, "dropped")).await;
        for (level, hits) in [(Level::L1, 0), (Level::L2, 2)] {
            assert_tier(&here, "invalidation::read", level, |tier| tier.hits, hits).await;
        }
    }
}

#[tokio::test]
async fn invalidation_that_does_not_reach_redis_returns_queued_and_drops_the_value_here() {
    let mut server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, "unreachable")).await, 1);
    truth.commit();
    server.kill();
    let receipt = invalidate(&here, &truth, "unreachable", Scope::Key).await;
    assert_eq!(receipt, Receipt::Queued);
    assert_eq!(here.call(read(&truth, "unreachable")).await, 2);
}

/// For each await point of a put: stops the put there, commits, invalidates, and lets the put end.
/// No call may return the value that was put.
async fn invalidate_at_each_await_point_of_a_put(here: &Instance, scope: Scope) {
    // A put begins when it is first polled, so an invalidation before that does not void it.
    for n in 1.. {
        let truth = Truth::new();
        let key = format!("put {scope:?} {n}");
        let entry = read::entry(&truth, &key);
        let mut put = Box::pin(here.call(entry.put(1)));
        let is_finished = poll_until(&mut put, n).await.is_ready();
        truth.commit();
        invalidate(here, &truth, &key, scope).await;
        if !is_finished {
            put.await.unwrap();
        }
        let found = here.call(read(&truth, &key)).await;
        assert_eq!(found, 2, "invalidated at await point {n}");
        if is_finished {
            return;
        }
    }
}

#[tokio::test]
async fn invalidation_at_each_await_point_of_a_put_voids_the_put() {
    let server = Server::start();
    for here in [
        Instance::with_memory().await,
        Instance::with_redis_at(&server.url()).await,
    ] {
        for scope in SCOPES {
            invalidate_at_each_await_point_of_a_put(&here, scope).await;
        }
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
async fn hot(truth: &Truth, _id: u64) -> u64 {
    truth.read()
}

/// Random numbers below 5,000, the same in each run.
fn draws() -> impl Iterator<Item = u64> {
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 5_000
    })
}

/// 50,000 invalidations of keys that no call reads, between 1,000,000 reads of 5,000 keys in a
/// memory of the default capacity.
#[tokio::test]
async fn invalidations_of_other_keys_cost_no_loads() {
    for engine in [Engine::Moka, Engine::QuickCache] {
        let memory = Memory::builder().engine(engine);
        let here = Instance::build(CacheRuntime::builder().l1(memory)).await;
        let truth = Truth::new();
        let reads_and_invalidations = async {
            for id in 0..5_000 {
                hot(&truth, id).await;
            }
            let mut draws = draws();
            for other in 0..50_000 {
                for id in draws.by_ref().take(20) {
                    hot(&truth, id).await;
                }
                let invalidated = invalidate!(hot, &truth, 1_000_000 + other).await;
                invalidated.expect("the invalidation succeeds");
            }
            truth.reads() - 5_000
        };
        let needless = here.call(reads_and_invalidations).await;
        assert!(needless <= 5, "{engine:?}: {needless} needless loads");
    }
}
