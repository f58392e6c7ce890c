//! One load per key at a time, whatever happens to who runs it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use multi_tier_cached::{CacheRuntime, SharedError, multi_tier_cached};
use tokio::sync::Semaphore;

use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{memory_alone, poll_until, two_tiers, until};

/// What a body does is up to its test, by key.
struct Script {
    loads: AtomicUsize,
    gate: Semaphore,
}

static SCRIPTS: Mutex<Option<HashMap<String, Arc<Script>>>> = Mutex::new(None);

fn script(key: &str) -> Arc<Script> {
    let mut scripts = SCRIPTS.lock().unwrap();
    let scripts = scripts.get_or_insert_default();
    let new = || {
        Arc::new(Script {
            loads: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    };
    Arc::clone(scripts.entry(key.to_owned()).or_insert_with(new))
}

impl Script {
    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.gate.add_permits(1_000_000);
    }

    async fn load(&self) -> usize {
        let load = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
        self.gate.acquire().await.unwrap().forget();
        load
    }
}

#[multi_tier_cached(ttl = "1h")]
async fn gated(key: &str) -> usize {
    script(key).load().await
}

#[multi_tier_cached(ttl = "1h")]
async fn gated_in_redis(key: &str) -> usize {
    let load = script(key).load().await;
    tokio::task::yield_now().await;
    load
}

fn waits(runtime: &CacheRuntime, function: &str) -> u64 {
    runtime
        .stats()
        .function(function)
        .map_or(0, |function| function.waits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_of_a_cold_key_make_one_load() {
    let server = Server::start();
    for (key, runtime) in [
        ("many", memory_alone().await),
        ("many in redis", two_tiers(&server.url()).await),
    ] {
        let calls: Vec<_> = (0..10_000)
            .map(|_| {
                tokio::spawn(CacheRuntime::scope(runtime.clone(), async move {
                    gated(key).await
                }))
            })
            .collect();
        until("all wait", || {
            waits(&runtime, "it::single_flight::gated") == 9_999
        })
        .await;
        script(key).open();
        for call in calls {
            assert_eq!(call.await.unwrap(), 1);
        }
        assert_eq!(script(key).loads(), 1);
    }
}

#[tokio::test]
async fn a_leader_dropped_at_any_await_point_leaves_one_more_load() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let mut finished = false;
    let mut n = 0;
    while !finished {
        let key = format!("dropped at {n}");
        let script = script(&key);
        script.open();
        CacheRuntime::scope(runtime.clone(), async {
            let mut leader = Box::pin(gated_in_redis(&key));
            finished = poll_until(&mut leader, n).await.is_ready();
            let waiters: Vec<_> = (0..5)
                .map(|_| {
                    let key = key.clone();
                    tokio::spawn(CacheRuntime::scope(runtime.clone(), async move {
                        gated_in_redis(&key).await
                    }))
                })
                .collect();
            tokio::task::yield_now().await;
            drop(leader);
            for waiter in waiters {
                let value = tokio::time::timeout(std::time::Duration::from_secs(5), waiter).await;
                value
                    .unwrap_or_else(|_| panic!("a waiter hangs after a drop at await point {n}"))
                    .unwrap();
            }
            assert!(
                script.loads() <= 2,
                "{} loads after a drop at await point {n}",
                script.loads()
            );
        })
        .await;
        n += 1;
    }
    assert!(n > 4, "a load through Redis has more await points than {n}");
}

/// The leader is dropped while another caller is kept without being polled, as a branch of a `select!` may be. A
/// waiter that is not polled must not keep the others from the lead.
#[tokio::test]
async fn waiter_that_is_not_polled_does_not_hold_the_key() {
    let server = Server::start();
    for (key, runtime) in [
        ("kept", memory_alone().await),
        ("kept in redis", two_tiers(&server.url()).await),
    ] {
        let script = script(key);
        CacheRuntime::scope(runtime.clone(), async {
            let mut leader = Box::pin(gated_in_redis(key));
            while script.loads() == 0 {
                assert!(poll_until(&mut leader, 1).await.is_pending());
                tokio::task::yield_now().await;
            }
            let mut kept = Box::pin(gated_in_redis(key));
            assert!(poll_until(&mut kept, 1).await.is_pending());
            let mut polled = Box::pin(gated_in_redis(key));
            assert!(poll_until(&mut polled, 1).await.is_pending());
            assert_eq!(waits(&runtime, "it::single_flight::gated_in_redis"), 2);
            drop(leader);
            script.open();
            let limit = std::time::Duration::from_secs(5);
            let value = tokio::time::timeout(limit, polled).await;
            assert_eq!(value.expect("the waiter runs its body"), 2);
            assert_eq!(kept.await, 2, "it gets what the new leader loaded");
            assert_eq!(script.loads(), 2);
        })
        .await;
    }
}

#[tokio::test]
async fn waiters_load_by_themselves_when_the_leader_panics() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn panics_once() -> usize {
        let load = PANICS.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        assert!(load > 0, "the first load panics, as the test wants");
        load
    }

    let runtime = memory_alone().await;
    let call = || {
        tokio::spawn(CacheRuntime::scope(runtime.clone(), async {
            panics_once().await
        }))
    };
    let (first, second, third) = (call(), call(), call());
    assert!(first.await.unwrap_err().is_panic());
    // Neither waits for another load of a body that may panic again.
    assert_eq!((second.await.unwrap(), third.await.unwrap()), (1, 2));
}

#[tokio::test]
async fn a_dropped_waiter_disturbs_nobody() {
    let runtime = memory_alone().await;
    CacheRuntime::scope(runtime.clone(), async {
        let mut leader = Box::pin(gated("waiter dropped"));
        assert!(poll_until(&mut leader, 1).await.is_pending());
        let mut waiter = Box::pin(gated("waiter dropped"));
        assert!(poll_until(&mut waiter, 1).await.is_pending());
        drop(waiter);
        script("waiter dropped").open();
        assert_eq!(leader.await, 1);
        assert_eq!(gated("waiter dropped").await, 1);
    })
    .await;
}

#[derive(Clone, Debug, PartialEq)]
struct CloneError(u64);

static FAILURES: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn fails_with_a_clone(_key: u8) -> Result<u64, CloneError> {
    tokio::task::yield_now().await;
    Err(CloneError(FAILURES.fetch_add(1, Ordering::SeqCst)))
}

#[tokio::test]
async fn a_failed_load_gives_its_error_to_all_who_waited() {
    CacheRuntime::scope(memory_alone().await, async {
        let (a, b, c) = tokio::join!(
            fails_with_a_clone(1),
            fails_with_a_clone(1),
            fails_with_a_clone(1)
        );
        assert_eq!(
            (a.as_ref(), b.as_ref(), c.as_ref()),
            (
                Err(&CloneError(0)),
                Err(&CloneError(0)),
                Err(&CloneError(0))
            )
        );
        assert_eq!(
            fails_with_a_clone(1).await,
            Err(CloneError(1)),
            "an error is not kept"
        );
    })
    .await;
}

static ANYHOW: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn fails_with_anyhow(_key: u8) -> anyhow::Result<u64> {
    tokio::task::yield_now().await;
    ANYHOW.fetch_add(1, Ordering::SeqCst);
    Err(anyhow::anyhow!("the database is away").context("get a user"))
}

#[tokio::test]
async fn an_error_that_cannot_be_cloned_is_shared_as_text() {
    CacheRuntime::scope(memory_alone().await, async {
        let (leader, waiter) = tokio::join!(fails_with_anyhow(1), fails_with_anyhow(1));
        assert_eq!(ANYHOW.load(Ordering::SeqCst), 1);
        assert!(leader.unwrap_err().downcast_ref::<SharedError>().is_none());
        let waiter = waiter.unwrap_err();
        let shared = waiter
            .downcast_ref::<SharedError>()
            .expect("a shared error");
        assert_eq!(shared.to_string(), "get a user: the database is away");
    })
    .await;
}

#[derive(Debug)]
struct OwnError;

static UNSHARED: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn fails_alone(_key: u8) -> Result<u64, OwnError> {
    tokio::task::yield_now().await;
    if UNSHARED.fetch_add(1, Ordering::SeqCst) < 2 {
        Err(OwnError)
    } else {
        Ok(7)
    }
}

#[tokio::test]
async fn waiters_load_by_themselves_when_the_error_cannot_be_shared() {
    CacheRuntime::scope(memory_alone().await, async {
        let (a, b, c, d) = tokio::join!(
            fails_alone(1),
            fails_alone(1),
            fails_alone(1),
            fails_alone(1)
        );
        let values: Vec<_> = [a, b, c, d].into_iter().filter_map(Result::ok).collect();
        assert_eq!(values, [7, 7], "the first two loads fail");
        assert_eq!(UNSHARED.load(Ordering::SeqCst), 4);
    })
    .await;
}

#[multi_tier_cached(ttl = "1h")]
async fn factorial(n: u64) -> u64 {
    if n == 0 {
        1
    } else {
        n * Box::pin(factorial(n - 1)).await
    }
}

#[multi_tier_cached(ttl = "1h")]
async fn calls_itself(depth: u8) -> u8 {
    static DEPTH: AtomicU64 = AtomicU64::new(0);
    if DEPTH.fetch_add(1, Ordering::SeqCst) < 3 {
        Box::pin(calls_itself(depth)).await + 1
    } else {
        depth
    }
}

#[tokio::test]
async fn a_body_may_call_its_function_for_another_key_and_for_the_same() {
    let calls = CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(factorial(10).await, 3_628_800);
        assert_eq!(calls_itself(5).await, 8);
    });
    tokio::time::timeout(std::time::Duration::from_secs(5), calls)
        .await
        .expect("no deadlock");
}

/// Two bodies that each wait for the other's key: whoever would close the ring runs its own load.
#[tokio::test]
async fn loads_that_wait_for_each_other_do_not_deadlock() {
    static STARTED: std::sync::LazyLock<tokio::sync::Barrier> =
        std::sync::LazyLock::new(|| tokio::sync::Barrier::new(2));

    #[multi_tier_cached(ttl = "1h")]
    async fn left(nested: bool) -> u8 {
        if !nested {
            STARTED.wait().await;
        }
        if nested {
            1
        } else {
            Box::pin(right(false)).await
        }
    }

    #[multi_tier_cached(ttl = "1h")]
    async fn right(nested: bool) -> u8 {
        if IN_RIGHT.fetch_add(1, Ordering::SeqCst) == 0 {
            STARTED.wait().await;
            Box::pin(left(false)).await
        } else {
            u8::from(nested) + 2
        }
    }

    static IN_RIGHT: AtomicU64 = AtomicU64::new(0);

    let calls = CacheRuntime::scope(memory_alone().await, async {
        tokio::join!(left(false), right(false))
    });
    let (left, right) = tokio::time::timeout(std::time::Duration::from_secs(5), calls)
        .await
        .expect("no deadlock");
    assert_eq!((left, right), (2, 2));
}

/// Without memory it is the lower tier that answers who comes next: nobody is answered before it can.
#[tokio::test]
async fn a_function_without_memory_fills_before_it_answers() {
    static LOADS: AtomicU64 = AtomicU64::new(0);
    #[multi_tier_cached(ttl = "1h", tiers = "l2")]
    async fn below(id: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        id
    }
    let fake_tier = FakeTier::that_holds_fills();
    let runtime = CacheRuntime::builder()
        .l2(fake_tier.clone())
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime, async {
        let (mut leader, mut waiter) = (Box::pin(below(1)), Box::pin(below(1)));
        assert!(poll_until(&mut leader, 1).await.is_pending());
        assert_eq!(LOADS.load(Ordering::SeqCst), 1);
        assert!(poll_until(&mut waiter, 1).await.is_pending());
        assert_eq!(LOADS.load(Ordering::SeqCst), 1, "it waits for the first");
        fake_tier.let_a_fill_through();
        assert_eq!((leader.await, waiter.await), (1, 1));
        assert_eq!(below(1).await, 1);
        assert_eq!(LOADS.load(Ordering::SeqCst), 1);
    })
    .await;
}
