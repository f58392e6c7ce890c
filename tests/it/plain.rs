//! Plain functions: no `async`, the same promises.

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

macro_rules! counted {
    ($name:ident, $($options:tt)*) => {
        mod $name {
            use super::*;

            pub(super) static LOADS: AtomicU64 = AtomicU64::new(0);

            #[multi_tier_cached($($options)*)]
            pub(super) fn read(key: u64) -> (u64, u64) {
                let load = LOADS.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                (key, load)
            }
        }
    };
}

counted!(alone, ttl = "1h", tiers = "l1");

/// Without any async runtime.
#[test]
fn it_is_cached_and_invalidated() {
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

counted!(crowd, ttl = "1h", tiers = "l1");

#[test]
fn threads_that_come_at_once_make_one_load() {
    let together = Arc::new(Barrier::new(32));
    let threads: Vec<_> = (0..32)
        .map(|_| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || {
                together.wait();
                crowd::read(1)
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), (1, 0));
    }
    assert_eq!(crowd::LOADS.load(Ordering::SeqCst), 1);
}

static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn stumbles(key: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    assert!(
        ATTEMPTS.fetch_add(1, Ordering::SeqCst) > 0,
        "the first load fails"
    );
    key
}

#[test]
fn when_a_load_panics_the_other_threads_load_by_themselves() {
    let together = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || {
                together.wait();
                stumbles(7)
            })
        })
        .collect();
    let ended: Vec<_> = threads
        .into_iter()
        .map(std::thread::JoinHandle::join)
        .collect();
    assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), 1);
    // None of them waits for a second load of a body that may panic again.
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

/// Each waits for the other on a thread of its own: whoever would close the ring runs its own.
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
fn every_form_works() {
    assert_eq!(halves(4), Ok(2));
    assert!(halves(3).is_err());
    assert_eq!(depth(20), 20);
    let shop = Shop(5);
    assert_eq!(shop.stock(1_u8).as_deref(), Some("of 5"));
    invalidate!(Shop::stock, &shop, 1_u8).blocking().unwrap();
    assert_eq!((shop.price(" tea "), shop.price("")), (3, 0));
}

counted!(on_disk, ttl = "1h");

/// Its tiers are private: the disk is asked from a thread that has nothing to do with the async runtime.
#[test]
fn a_private_stack_serves_it() {
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
    // The async runtime is gone: the body runs.
    CacheRuntime::scope_blocking(runtime, || {
        assert_eq!(on_disk::read(9).0, 9);
        assert_eq!(on_disk::read(9).0, 9);
        invalidate!(on_disk::read, 9).blocking().unwrap();
    });
}

counted!(nobody_drives, ttl = "1h");

/// A runtime of one thread runs what it was given only while somebody is in it.
#[test]
fn a_miss_leaves_nothing_in_an_async_runtime_that_is_not_driven() {
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

/// On the one thread of an async runtime nobody runs a task that a plain call would wait for.
#[test]
fn it_does_not_wait_for_a_task_of_its_own_thread() {
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
            for polls in 1..6 {
                CacheRuntime::scope(runtime.clone(), async {
                    let refresh = async { beside_a_refresh::read::entry(1).refresh().await };
                    let mut refresh = Box::pin(refresh);
                    let _ = poll_until(&mut refresh, polls).await;
                    assert_eq!(beside_a_refresh::read(1).0, 1);
                })
                .await;
            }
            done.send(()).unwrap();
        });
    });
    assert!(
        ended.recv_timeout(Duration::from_secs(30)).is_ok(),
        "it waits for itself"
    );
}

counted!(behind_tasks, ttl = "1h");

#[multi_tier_cached(ttl = "1h")]
async fn of_a_task(key: u64) -> u64 {
    key
}

/// Tasks ask the disk as well, and their one thread is the one that waits.
#[test]
fn it_does_not_wait_for_the_turns_of_tasks() {
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
                // Until most of them wait for the disk.
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
        "it waits for tasks that wait for it"
    );
}

counted!(beside_a_shelf, ttl = "1h");

/// Nobody drives the timers of a runtime whose one thread waits.
#[test]
fn a_tier_that_does_not_end_keeps_no_thread() {
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
        CacheRuntime::scope_blocking(runtime, || beside_a_shelf::read(1));
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(10));
    assert!(ended.is_ok(), "it waits for ever");
}

counted!(in_a_task, ttl = "1h", tiers = "l1");

/// On the one thread of an async runtime, beside tiers that it does not use.
#[tokio::test]
async fn it_can_be_called_from_tasks() {
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

/// What a task may do in one turn is bounded; a plain call in it cannot give the turn back.
#[tokio::test]
async fn so_many_calls_in_one_turn_of_a_task_are_all_cached() {
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

/// Where nothing drives what tiers below memory need.
#[test]
fn a_build_without_an_async_runtime_is_an_error() {
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
            Poll::Pending => panic!("it waits for what nobody drives"),
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
