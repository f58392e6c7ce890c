//! After an invalidation nobody reads what was loaded before it.

use std::collections::HashMap;
use std::sync::Mutex;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Level, Memory, invalidate, multi_tier_cached};

use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{memory_alone, poll_until, two_tiers};

/// The source of truth: a version for each key.
static VERSIONS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

fn commit(key: &str, version: u64) {
    VERSIONS
        .lock()
        .unwrap()
        .get_or_insert_default()
        .insert(key.to_owned(), version);
}

fn version(key: &str) -> u64 {
    VERSIONS.lock().unwrap().get_or_insert_default()[key]
}

/// Reads the truth, then dawdles: the window in which an invalidation comes.
#[multi_tier_cached(ttl = "1h")]
async fn read(key: &str) -> u64 {
    tokio::task::yield_now().await;
    let version = version(key);
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    version
}

/// At every await point of a load: commit, invalidate, let the load end; then nobody may read the old value.
async fn at_every_await_point(
    name: &str,
    here: &CacheRuntime,
    others: impl AsyncFn() -> Option<CacheRuntime>,
    whole_function: bool,
) -> usize {
    let mut n = 0;
    loop {
        let key = format!("{name} {n}");
        commit(&key, 1);
        let finished = CacheRuntime::scope(here.clone(), async {
            let mut load = Box::pin(read(&key));
            let finished = poll_until(&mut load, n).await.is_ready();
            commit(&key, 2);
            if whole_function {
                invalidate!(read).await.unwrap();
            } else {
                invalidate!(read, &key).await.unwrap();
            }
            assert_eq!(
                read(&key).await,
                2,
                "a call during the load, invalidated at await point {n}"
            );
            if !finished {
                load.await;
            }
            assert_eq!(
                read(&key).await,
                2,
                "a call after the load, invalidated at await point {n}"
            );
            finished
        })
        .await;
        if let Some(other) = others().await {
            let value = CacheRuntime::scope(other, async { read(&key).await }).await;
            assert_eq!(value, 2, "another instance, invalidated at await point {n}");
        }
        if finished {
            return n;
        }
        n += 1;
    }
}

#[tokio::test]
async fn an_invalidation_at_any_await_point_of_a_load_holds_in_memory() {
    let runtime = memory_alone().await;
    for whole_function in [false, true] {
        let name = format!("memory {whole_function}");
        let points = at_every_await_point(&name, &runtime, async || None, whole_function).await;
        assert!(points >= 3, "{points}");
    }
}

#[tokio::test]
async fn an_invalidation_at_any_await_point_of_a_load_holds_in_redis() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    for whole_function in [false, true] {
        let name = format!("redis {whole_function}");
        let others = async || Some(two_tiers(&server.url()).await);
        let points = at_every_await_point(&name, &runtime, others, whole_function).await;
        assert!(
            points >= 6,
            "a load through Redis has more await points than {points}"
        );
    }
}

/// The fill of a load that an invalidation overtook is refused by the server itself, whoever sends it.
#[tokio::test]
async fn a_late_fill_from_another_instance_is_refused() {
    let server = Server::start();
    let (loader, invalidator) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    commit("late", 1);
    CacheRuntime::scope(loader.clone(), async {
        let mut load = Box::pin(read("late"));
        // To where it has the lease and has read the truth.
        while server
            .keys()
            .iter()
            .filter(|key| key.contains("late") && key.ends_with("#lease"))
            .count()
            == 0
        {
            assert!(poll_until(&mut load, 1).await.is_pending());
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        commit("late", 2);
        CacheRuntime::scope(invalidator.clone(), async {
            invalidate!(read, "late").await.unwrap()
        })
        .await;
        load.await;
    })
    .await;
    assert_eq!(server.records(), Vec::<String>::new());
    let fills = loader
        .stats()
        .function("it::invalidation::read")
        .unwrap()
        .tier(Level::L2)
        .unwrap()
        .refused_fills
        .total();
    assert_eq!(fills, 1);
    assert_eq!(
        CacheRuntime::scope(invalidator, async { read("late").await }).await,
        2
    );
}

#[tokio::test]
async fn a_whole_function_is_invalidated_at_a_cost_that_does_not_grow() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let other = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime, async {
        for n in 0..100 {
            let key = format!("all {n}");
            commit(&key, 1);
            read(&key).await;
            commit(&key, 2);
        }
        let _: () = server.command(&["CONFIG", "RESETSTAT"]);
        invalidate!(read).await.unwrap();
        assert_eq!(
            (
                server.calls("eval") + server.calls("evalsha"),
                server.calls("getrange")
            ),
            (1, 0),
            "one round trip for a hundred keys"
        );
        for n in 0..100 {
            assert_eq!(read(&format!("all {n}")).await, 2);
        }
    })
    .await;
    assert_eq!(
        CacheRuntime::scope(other, async { read("all 5").await }).await,
        2
    );
}

/// The fence is up and the record still there: a call that reads it now must not leave it in memory.
#[tokio::test]
async fn what_was_read_from_below_during_an_invalidation_is_not_kept() {
    for whole_function in [false, true] {
        let fake_tier = FakeTier::new();
        let build = || {
            CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(fake_tier.clone())
                .build()
        };
        let key = format!("between {whole_function}");
        commit(&key, 1);
        CacheRuntime::scope(build().await.unwrap(), async { read(&key).await }).await;
        CacheRuntime::scope(build().await.unwrap(), async {
            commit(&key, 2);
            let mut invalidation = Box::pin(async {
                if whole_function {
                    invalidate!(read).await
                } else {
                    invalidate!(read, &key).await
                }
            });
            assert!(poll_until(&mut invalidation, 1).await.is_pending());
            assert_eq!(
                read(&key).await,
                1,
                "a call during the invalidation may see either"
            );
            fake_tier.let_through();
            invalidation.await.unwrap();
            assert_eq!(read(&key).await, 2);
        })
        .await;
    }
}

/// The same of one that is dropped: what the tier below still has is asked for each time, until it is told.
#[tokio::test]
async fn what_was_read_from_below_during_an_invalidation_that_is_dropped_is_not_kept() {
    for whole_function in [false, true] {
        let fake_tier = FakeTier::new();
        let build = || {
            CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(fake_tier.clone())
                .build()
        };
        let key = format!("dropped {whole_function}");
        commit(&key, 1);
        CacheRuntime::scope(build().await.unwrap(), async { read(&key).await }).await;
        let runtime = build().await.unwrap();
        CacheRuntime::scope(runtime.clone(), async {
            let mut invalidation = Box::pin(async {
                if whole_function {
                    invalidate!(read).await
                } else {
                    invalidate!(read, &key).await
                }
            });
            assert!(poll_until(&mut invalidation, 1).await.is_pending());
            read(&key).await;
            drop(invalidation);
            read(&key).await;
        })
        .await;
        let stats = runtime.stats();
        let tier = |level| stats.functions[0].tier(level).unwrap().hits;
        assert_eq!((tier(Level::L1), tier(Level::L2)), (0, 2));
    }
}

/// When the server cannot be told, the caller hears of it, and memory is clean all the same.
#[tokio::test]
async fn an_invalidation_that_does_not_reach_redis_says_so() {
    let mut server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime, async {
        commit("unreachable", 1);
        assert_eq!(read("unreachable").await, 1);
        commit("unreachable", 2);
        server.kill();
        assert_eq!(
            invalidate!(read, "unreachable").await.unwrap(),
            Receipt::Queued
        );
        assert_eq!(read("unreachable").await, 2);
    })
    .await;
}

/// At every await point of a put: commit, invalidate, let the put end; then nobody may read what was put.
async fn at_every_await_point_of_a_put(name: &str, here: &CacheRuntime, whole_function: bool) {
    // Before it is polled it has not begun.
    let mut n = 1;
    loop {
        let key = format!("{name} {n}");
        commit(&key, 1);
        let finished = CacheRuntime::scope(here.clone(), async {
            let entry = read::entry(&key);
            let mut put = Box::pin(entry.put(1));
            let polled = poll_until(&mut put, n).await;
            commit(&key, 2);
            if whole_function {
                invalidate!(read).await.unwrap();
            } else {
                invalidate!(read, &key).await.unwrap();
            }
            let finished = polled.is_ready();
            if !finished {
                put.await.unwrap();
            }
            assert_eq!(read(&key).await, 2, "invalidated at await point {n}");
            finished
        })
        .await;
        if finished {
            return;
        }
        n += 1;
    }
}

#[tokio::test]
async fn a_put_under_way_is_invalidated_too() {
    let server = Server::start();
    let runtimes = [memory_alone().await, two_tiers(&server.url()).await];
    for (number, here) in runtimes.iter().enumerate() {
        for whole_function in [false, true] {
            let name = format!("put {number} {whole_function}");
            at_every_await_point_of_a_put(&name, here, whole_function).await;
        }
    }
}
