//! Plain functions: without `async`, and with the same promises.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Disk, Level, Memory, Redis, invalidate, multi_tier_cached};
use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::poll_until;
use testbed::server::Server;

/// Declares a function that counts its loads. Each test has one of its own.
macro_rules! counted {
    ($name:ident, $($options:tt)*) => {
        mod $name {
            use super::*;

            pub(super) static LOADS: AtomicU64 = AtomicU64::new(0);

            #[multi_tier_cached($($options)*)]
            pub(super) fn read(key: u64) -> (u64, u64) {
                (key, LOADS.fetch_add(1, Ordering::SeqCst))
            }
        }
    };
}

counted!(alone, ttl = "1h", tiers = "l1");

#[test]
fn plain_function_is_cached_and_invalidated_without_an_async_runtime() {
    let first = alone::read(1);
    assert_eq!(alone::read(1), first);
    assert_ne!(alone::read(2), first);
    assert_eq!(
        invalidate!(alone::read, 1).blocking().unwrap(),
        Receipt::Acked
    );
    assert_ne!(alone::read(1), first);
    alone::read::invalidate_all().blocking().unwrap();
    assert_eq!(alone::LOADS.load(Ordering::SeqCst), 3);
    alone::read(2);
    assert_eq!(alone::LOADS.load(Ordering::SeqCst), 4);
}

/// Waits until `number` calls wait for the load of `function`.
fn until_waiting(function: &str, number: u64) {
    for _ in 0..30_000 {
        let stats = CacheRuntime::current().stats();
        let waits = stats.function(function).map_or(0, |stats| stats.waits);
        if waits == number {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = CacheRuntime::current().stats();
    panic!("not within 30 s: {number} calls of {function} wait\n{stats}");
}

static CROWD: AtomicU64 = AtomicU64::new(0);

/// Ends when the 31 other threads of its test wait for it.
#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn crowd(key: u64) -> (u64, u64) {
    let load = CROWD.fetch_add(1, Ordering::SeqCst);
    if load == 0 {
        until_waiting("it::plain::crowd", 31);
    }
    (key, load)
}

#[test]
fn threads_that_call_at_the_same_time_make_one_load() {
    let together = Arc::new(Barrier::new(32));
    let threads: Vec<_> = (0..32)
        .map(|_| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || {
                together.wait();
                crowd(1)
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), (1, 0));
    }
    assert_eq!(CROWD.load(Ordering::SeqCst), 1);
}

static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// Panics in its first load, when the three other threads of its test wait for it.
#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn panics_at_first(key: u64) -> u64 {
    if ATTEMPTS.fetch_add(1, Ordering::SeqCst) == 0 {
        until_waiting("it::plain::panics_at_first", 3);
        panic!("the first load fails");
    }
    key
}

#[test]
fn waiting_threads_load_themselves_when_the_load_panics() {
    let together = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || {
                together.wait();
                panics_at_first(7)
            })
        })
        .collect();
    let ended: Vec<_> = threads
        .into_iter()
        .map(std::thread::JoinHandle::join)
        .collect();
    assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), 1);
    // The other threads must not wait again, for a load that may panic as well.
    let attempts = ATTEMPTS.load(Ordering::SeqCst);
    assert!((2..=4).contains(&attempts), "{attempts}");
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn halves(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(2) {
        Ok(n / 2)
    } else {
        Err(format!("{n} is odd"))
    }
}

/// Each load calls the function again, with a smaller argument.
#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn depth(n: u64) -> u64 {
    if n == 0 { 0 } else { depth(n - 1) + 1 }
}

struct Shop(u64);

trait Prices {
    fn price(&self, item: &str) -> usize;
}

impl Shop {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", scope = self.0)]
    fn stock<T: serde::Serialize + 'static>(&self, item: T) -> Option<String> {
        let _ = item;
        Some(format!("of {}", self.0))
    }
}

impl Prices for Shop {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", scope = self.0, trait_impl)]
    fn price(&self, mut item: &str) -> usize {
        if item.is_empty() {
            return 0;
        }
        item = item.trim();
        item.len()
    }
}

#[test]
fn plain_function_of_every_form_is_cached() {
    assert_eq!(halves(4), Ok(2));
    assert!(halves(3).is_err());
    assert_eq!(depth(20), 20);
    let shop = Shop(5);
    assert_eq!(shop.stock(1_u8).as_deref(), Some("of 5"));
    invalidate!(Shop::stock, &shop, 1_u8).blocking().unwrap();
    assert_eq!((shop.price(" tea "), shop.price("")), (3, 0));
}

counted!(on_disk, ttl = "1h");

/// The disk is used from a thread outside of the Tokio runtime in which the cache was built.
#[test]
fn plain_function_is_served_from_disk_and_runs_its_body_when_the_tokio_runtime_has_ended() {
    let directory = Directory::new("plain");
    let home = tokio::runtime::Runtime::new().unwrap();
    let build = || {
        home.block_on(
            CacheRuntime::builder()
                .l1(Memory::builder())
                .l3(Disk::new(directory.path()).time_limit(Duration::from_secs(10)))
                .build(),
        )
    };
    let runtime = build().unwrap();
    let call =
        |runtime: &CacheRuntime| CacheRuntime::scope_blocking(runtime.clone(), || on_disk::read(1));
    let first = call(&runtime);
    home.block_on(runtime.shutdown()).unwrap();
    let runtime = build().unwrap();
    assert_eq!(call(&runtime), first);
    let stats = runtime.stats();
    assert_eq!(stats.functions[0].tier(Level::L3).unwrap().hits, 1);
    let dropped = || invalidate!(on_disk::read, 1).blocking();
    let receipt = CacheRuntime::scope_blocking(runtime.clone(), dropped);
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    assert_ne!(call(&runtime), first);
    drop(home);
    // Without its Tokio runtime, the disk tier cannot be used.
    CacheRuntime::scope_blocking(runtime, || {
        assert_eq!(on_disk::read(9).0, 9);
        assert_eq!(on_disk::read(9).0, 9);
        invalidate!(on_disk::read, 9).blocking().unwrap();
    });
}

counted!(nobody_drives, ttl = "1h");

/// A current-thread runtime runs its tasks only inside `block_on`, so a task spawned outside would
/// stay there forever.
#[test]
fn miss_leaves_no_task_in_a_tokio_runtime_that_is_not_driven() {
    let directory = Directory::new("plain");
    let home = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let disk = Disk::new(directory.path()).time_limit(Duration::from_secs(10));
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(disk)
        .build();
    let runtime = home.block_on(runtime).unwrap();
    let before = home.metrics().num_alive_tasks();
    CacheRuntime::scope_blocking(runtime, || {
        for key in 0..50 {
            nobody_drives::read(key);
        }
    });
    assert_eq!(home.metrics().num_alive_tasks(), before);
}

counted!(beside_a_refresh, ttl = "1h");

/// Calls a plain function while a refresh of its key has begun and is not polled.
async fn call_beside_a_refresh(directory: PathBuf) {
    let disk = Disk::new(directory).time_limit(Duration::from_secs(10));
    let builder = CacheRuntime::builder().l1(Memory::builder()).l3(disk);
    let runtime = builder.build().await.unwrap();
    for polls in 1..6 {
        CacheRuntime::scope(runtime.clone(), async {
            let refresh = async { beside_a_refresh::read::entry(1).refresh().await };
            let mut refresh = Box::pin(refresh);
            let _ = poll_until(&mut refresh, polls).await;
            assert_eq!(beside_a_refresh::read(1).0, 1);
        })
        .await;
    }
}

/// On the only thread of a Tokio runtime, a blocked call keeps the tasks from running. Waiting for
/// the refresh, which has begun on this thread, would be a deadlock.
#[test]
fn plain_call_does_not_wait_for_a_task_that_only_its_own_thread_can_run() {
    let directory = Directory::new("plain");
    let (done, ended) = std::sync::mpsc::channel();
    let path = directory.path().to_owned();
    std::thread::spawn(move || {
        let one_thread = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        one_thread.unwrap().block_on(call_beside_a_refresh(path));
        done.send(()).unwrap();
    });
    assert!(
        ended.recv_timeout(Duration::from_secs(30)).is_ok(),
        "the call waits for a task of its own thread"
    );
}

counted!(behind_tasks, ttl = "1h");

#[multi_tier_cached(ttl = "1h")]
async fn of_a_task(key: u64) -> u64 {
    key
}

/// The tasks wait for the disk as well. They cannot take their turn there while the plain call
/// blocks the only thread.
#[test]
fn plain_call_does_not_wait_for_the_turns_of_tasks_that_only_its_own_thread_can_run() {
    let directory = Directory::new("plain");
    let (done, ended) = std::sync::mpsc::channel();
    let path = directory.path().to_owned();
    std::thread::spawn(move || {
        let one_thread = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        one_thread.unwrap().block_on(async {
            let disk = Disk::new(path).time_limit(Duration::from_secs(10));
            let stack = CacheRuntime::builder().l1(Memory::builder()).l3(disk);
            let runtime = stack.build().await.unwrap();
            for round in 0..20 {
                let tasks: Vec<_> = (0..400)
                    .map(|key| {
                        let call = of_a_task(round * 1_000 + key);
                        tokio::spawn(CacheRuntime::scope(runtime.clone(), call))
                    })
                    .collect();
                // After a few polls, most tasks wait for the disk.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                let call = || behind_tasks::read(round);
                CacheRuntime::scope_blocking(runtime.clone(), call);
                for task in tasks {
                    task.await.unwrap();
                }
            }
            done.send(()).unwrap();
        });
    });
    assert!(
        ended.recv_timeout(Duration::from_secs(60)).is_ok(),
        "the call waits for tasks that wait for its thread"
    );
}

counted!(above_an_endless_tier, ttl = "1h");

/// The timers of a current-thread runtime do not run while its thread is blocked, so the time limit
/// must not depend on them.
#[test]
fn plain_call_ends_within_the_time_limit_when_only_its_own_thread_drives_the_timers() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let home = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fake_tier = FakeTier::that_holds_fills()
            .for_threads()
            .time_limit(Duration::from_millis(50));
        let runtime = CacheRuntime::builder()
            .l1(Memory::builder())
            .l3(fake_tier)
            .build();
        let runtime = home.block_on(runtime).unwrap();
        CacheRuntime::scope_blocking(runtime, || above_an_endless_tier::read(1));
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(10));
    assert!(ended.is_ok(), "the call waits for a tier that does not end");
}

counted!(in_a_task, ttl = "1h", tiers = "l1");

/// The runtime has a shared tier, which the function does not use.
#[tokio::test]
async fn plain_function_can_be_called_from_tasks() {
    let server = Server::start();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime.clone(), async {
        let first = in_a_task::read(1);
        assert_eq!(in_a_task::read(1), first);
        assert_eq!(in_a_task::read::entry(1).peek().await, Some(first));
        assert_ne!(in_a_task::read::entry(1).refresh().await, first);
        invalidate!(in_a_task::read, 1).await.unwrap();
        assert_ne!(in_a_task::read(1), first);
    })
    .await;
    assert!(server.records().is_empty());
}

/// Tokio bounds the operations of a task between two yields. A plain call cannot yield, so it must
/// not be bounded by that.
#[tokio::test]
async fn plain_calls_beyond_the_budget_of_a_task_are_all_cached() {
    #[multi_tier_cached(ttl = "1h", tiers = "l3")]
    fn often(key: u64) -> u64 {
        key + OFTEN.fetch_add(1, Ordering::SeqCst)
    }
    static OFTEN: AtomicU64 = AtomicU64::new(0);
    const CALLS: u64 = 300;

    let directory = Directory::new("often");
    let disk = Disk::new(directory.path()).time_limit(Duration::from_secs(10));
    let runtime = CacheRuntime::builder().l3(disk).build().await.unwrap();
    CacheRuntime::scope(runtime.clone(), async {
        for key in 0..CALLS {
            often(key);
        }
        for key in 0..CALLS {
            assert_eq!(often(key), key * 2);
        }
        for key in 0..CALLS {
            let receipt = invalidate!(often, key).blocking();
            assert_eq!(receipt.unwrap(), Receipt::Acked);
        }
    })
    .await;
    assert_eq!(OFTEN.load(Ordering::SeqCst), CALLS);
    runtime.shutdown().await.unwrap();
}

#[test]
fn build_with_a_tier_below_memory_is_refused_outside_of_a_tokio_runtime_with_timers() {
    let directory = Directory::new("nothing-drives");
    let build = || {
        let mut build = Box::pin(
            CacheRuntime::builder()
                .l3(Disk::new(directory.path()))
                .build(),
        );
        let polled = build.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(built) => built.map(drop).unwrap_err().to_string(),
            Poll::Pending => panic!("the build waits for a runtime that no thread drives"),
        }
    };
    assert!(
        build().contains("there is no Tokio runtime here"),
        "{}",
        build()
    );
    let timeless = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _entered = timeless.enter();
    assert!(
        build().contains("the Tokio runtime has no timers"),
        "{}",
        build()
    );
    let mut alone = Box::pin(CacheRuntime::builder().l1(Memory::builder()).build());
    let polled = alone.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}
