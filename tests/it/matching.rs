//! Invalidation by pattern and of everything: an administrator's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::Log;
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Disk, ErrorKind, Function, Memcached, Memory, Objects, Redis, multi_tier_cached,
};
use opendal::Operator;
use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{memory_alone, poll_until, until};

macro_rules! counted {
    ($name:ident) => {
        mod $name {
            use super::*;

            static LOADS: AtomicU64 = AtomicU64::new(0);

            #[multi_tier_cached(ttl = "1h")]
            pub(super) async fn read(_shop: &str, item: u64) -> (u64, u64) {
                tokio::task::yield_now().await;
                (item, LOADS.fetch_add(1, Ordering::SeqCst))
            }

            #[multi_tier_cached(ttl = "1h")]
            pub(super) async fn other(shop: &str, item: u64) -> (u64, u64) {
                read(shop, item).await
            }

            pub(super) const NAME: &str = concat!(module_path!(), "::read");

            const KEYS: [(&str, u64); 4] = [("east", 1), ("east", 22), ("west", 1), ("we-t", 3)];

            pub(super) async fn all() -> Vec<(u64, u64)> {
                let mut values = Vec::new();
                for (shop, item) in KEYS {
                    values.push(read(shop, item).await);
                }
                values.push(other("east", 5).await);
                values
            }
        }
    };
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Which of the values are others than before.
fn changed(before: &[(u64, u64)], after: &[(u64, u64)]) -> Vec<bool> {
    before
        .iter()
        .zip(after)
        .map(|(before, after)| before != after)
        .collect()
}

counted!(in_memory);

#[tokio::test]
async fn in_memory_alone_what_matches_is_dropped() {
    for engine in [
        multi_tier_cached::Engine::Moka,
        multi_tier_cached::Engine::QuickCache,
    ] {
        let memory = Memory::builder().engine(engine);
        let here = CacheRuntime::builder().l1(memory).build().await.unwrap();
        let before = on(&here, in_memory::all()).await;
        let dropped = here.invalidate_matching(in_memory::NAME, "east,*").await;
        assert_eq!(dropped.unwrap().keys, 3, "{engine:?}");
        let after = on(&here, in_memory::all()).await;
        assert_eq!(changed(&before, &after), [true, true, false, false, false]);
        let dropped = here
            .invalidate_matching(in_memory::NAME, r"we\-[st],?")
            .await;
        assert_eq!(dropped.unwrap().keys, 1);
        // One that is loading.
        let mut held = Box::pin(on(&here, in_memory::read("north", 1)));
        assert!(poll_until(&mut held, 1).await.is_pending());
        let dropped = here.invalidate_matching(in_memory::NAME, "north,*").await;
        assert_eq!(dropped.unwrap().keys, 1);
        let old = held.await;
        assert_ne!(
            on(&here, in_memory::read("north", 1)).await,
            old,
            "its load began before"
        );
    }
}

counted!(in_redis);

#[tokio::test]
async fn in_redis_what_matches_is_gone_on_every_instance() {
    let server = Server::start();
    let (here, there) = (
        testbed::two_tiers(&server.url()).await,
        testbed::two_tiers(&server.url()).await,
    );
    let before = on(&here, in_redis::all()).await;
    until("all are filled", || server.records().len() == 6).await;
    assert_eq!(on(&there, in_redis::all()).await, before);
    let dropped = here.invalidate_matching(in_redis::NAME, "east,*").await;
    assert_eq!(dropped.unwrap().keys, 3);
    let mut after = on(&there, in_redis::all()).await;
    let settled = tokio::time::Instant::now();
    while changed(&before, &after) != [true, true, false, false, false] {
        assert!(settled.elapsed().as_millis() < 500, "{before:?} {after:?}");
        after = on(&there, in_redis::all()).await;
    }
    // One that the other is loading.
    let mut held = Box::pin(on(&there, in_redis::read("north", 1)));
    let lease = || server.keys().iter().any(|key| key.ends_with("#lease"));
    while !lease() {
        assert!(poll_until(&mut held, 1).await.is_pending());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    here.invalidate_matching(in_redis::NAME, "north,*")
        .await
        .unwrap();
    let old = held.await;
    let fresh = testbed::two_tiers(&server.url()).await;
    assert_ne!(
        on(&fresh, in_redis::read("north", 1)).await,
        old,
        "it was stored"
    );
    // Not called here yet.
    let last = testbed::two_tiers(&server.url()).await;
    assert!(
        last.invalidate_matching(in_redis::NAME, "*")
            .await
            .unwrap()
            .keys
            >= 4
    );
    let error = last.invalidate_matching("in_redis", "*").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let error = last
        .invalidate_matching(in_redis::NAME, "[")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    drop(server);
    until("it is gone", || !last.tiers()[0].health.connected).await;
    let queued = last.invalidate_matching(in_redis::NAME, "*").await.unwrap();
    assert_eq!(queued.receipt, Receipt::Queued);
}

/// More than are looked at in one step, and names that mean something in patterns.
#[tokio::test]
async fn of_many_keys_each_is_found() {
    #[multi_tier_cached(ttl = "1h", name = "many")]
    async fn many<T: Default + 'static>(item: u64) -> u64 {
        drop(T::default());
        item
    }
    #[multi_tier_cached(ttl = "1h", name = "neighbour")]
    async fn neighbour(item: u64) -> u64 {
        item
    }
    let server = Server::start();
    let here = testbed::two_tiers(&server.url()).await;
    on(&here, async {
        for item in 0..3_000 {
            many::<[u8; 2]>(item).await;
        }
        neighbour(1).await;
    })
    .await;
    until("all are filled", || server.records().len() == 3_001).await;
    let mut names = here
        .stats()
        .functions
        .into_iter()
        .map(|function| function.name);
    let name = names.find(|name| name.starts_with("many")).unwrap();
    assert!(name.contains("[u8; 2]"), "{name}");
    let dropped = here.invalidate_matching(&name, "*").await;
    assert_eq!(dropped.unwrap().keys, 3_000);
    assert_eq!(server.records().len(), 1);
}

counted!(counted_once);

#[tokio::test]
async fn what_two_look_for_is_counted_once() {
    let server = Server::start();
    let url = server.url();
    let filling = testbed::two_tiers(&url).await;
    on(&filling, counted_once::all()).await;
    until("all are filled", || server.records().len() == 6).await;
    let (here, there) = (
        testbed::two_tiers(&url).await,
        testbed::two_tiers(&url).await,
    );
    let (one, other) = tokio::join!(
        here.invalidate_matching(counted_once::NAME, "*"),
        there.invalidate_matching(counted_once::NAME, "*"),
    );
    assert_eq!(one.unwrap().keys + other.unwrap().keys, 5);
}

counted!(on_disk);

#[tokio::test]
async fn on_a_disk_what_matches_does_not_come_back() {
    let directory = Directory::new("matching");
    let build = || {
        let disk = Disk::new(directory.path()).time_limit(std::time::Duration::from_secs(10));
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l3(disk)
            .build()
    };
    let here = build().await.unwrap();
    let before = on(&here, on_disk::all()).await;
    here.shutdown().await.unwrap();
    let here = build().await.unwrap();
    let dropped = here.invalidate_matching(on_disk::NAME, "*,1").await;
    assert_eq!(dropped.unwrap().keys, 2);
    here.shutdown().await.unwrap();
    let here = build().await.unwrap();
    let after = on(&here, on_disk::all()).await;
    assert_eq!(changed(&before, &after), [true, false, true, false, false]);
}

counted!(elsewhere);

/// They cannot look at their keys: the whole function is dropped, and no other.
#[tokio::test]
async fn a_tier_that_cannot_look_drops_the_function() {
    let directory = Directory::new("matching");
    let memcached = testbed::memcached::Memcached::start();
    let files = opendal::services::Fs::default().root(&directory.path().display().to_string());
    let operator = Operator::new(files).unwrap();
    let stacks = [
        CacheRuntime::builder().l2(Memcached::new(memcached.url())),
        CacheRuntime::builder().l4(Objects::new(operator)),
    ];
    for stack in stacks {
        let here = stack.build().await.unwrap();
        let before = on(&here, elsewhere::all()).await;
        here.invalidate_matching(elsewhere::NAME, "east,*")
            .await
            .unwrap();
        let after = on(&here, elsewhere::all()).await;
        assert_eq!(changed(&before, &after), [true, true, true, true, false]);
    }
}

counted!(everything);

#[tokio::test]
async fn all_of_a_namespace_is_dropped_in_one_step() {
    let server = Server::start();
    let redis = |namespace: &str| Redis::new(server.url()).namespace(namespace);
    let stack = |namespace: &str| {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(redis(namespace))
            .build()
    };
    let (here, there) = (stack("shop").await.unwrap(), stack("shop").await.unwrap());
    let neighbour = stack("other").await.unwrap();
    let before = on(&here, everything::all()).await;
    assert_eq!(on(&there, everything::all()).await.len(), 5);
    let beside = on(&neighbour, everything::all()).await;
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    let after = on(&here, everything::all()).await;
    assert_eq!(changed(&before, &after), [true; 5]);
    until("the other has heard", || {
        there.tiers()[0].health.coherent_for.is_some()
    })
    .await;
    let began = tokio::time::Instant::now();
    while on(&there, everything::all()).await != after {
        assert!(began.elapsed().as_millis() < 500);
    }
    assert_eq!(
        on(&neighbour, everything::all()).await,
        beside,
        "another namespace"
    );
    let alone = memory_alone().await;
    let before = on(&alone, everything::all()).await;
    assert_eq!(alone.invalidate_all().await.unwrap(), Receipt::Acked);
    assert_eq!(
        changed(&before, &on(&alone, everything::all()).await),
        [true; 5]
    );
    let dropped = alone.invalidate_matching(everything::NAME, "*").await;
    assert_eq!(dropped.unwrap().keys, 5);
}

#[multi_tier_cached(ttl = "1h")]
async fn generic<T: Default + 'static>(_item: u64) -> u64 {
    drop(T::default());
    GENERIC.fetch_add(1, Ordering::SeqCst)
}

static GENERIC: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn a_generic_function_is_called_by_its_own_name_or_by_an_instances() {
    const NAME: &str = concat!(module_path!(), "::generic");
    let server = Server::start();
    let here = testbed::two_tiers(&server.url()).await;
    on(&here, generic::<u8>(1)).await;
    on(&here, generic::<u16>(1)).await;
    until("both are filled", || server.records().len() == 2).await;
    let one = format!("{NAME}<u8>");
    assert_eq!(here.invalidate_matching(&one, "*").await.unwrap().keys, 1);
    assert_eq!(server.records().len(), 1);
    on(&here, generic::<u8>(1)).await;
    until("both are filled", || server.records().len() == 2).await;
    assert_eq!(here.invalidate_matching(NAME, "*").await.unwrap().keys, 2);
    assert!(server.records().is_empty());
}

#[multi_tier_cached(ttl = "1h")]
async fn first_called_meanwhile(_item: u64) -> u64 {
    MEANWHILE.load(Ordering::SeqCst)
}

static MEANWHILE: AtomicU64 = AtomicU64::new(1);

#[tokio::test]
async fn what_a_first_call_reads_meanwhile_is_not_kept() {
    const NAME: &str = concat!(module_path!(), "::first_called_meanwhile");
    let fake_tier = FakeTier::new();
    let build = || {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l3(fake_tier.clone())
            .build()
    };
    let before = build().await.unwrap();
    on(&before, first_called_meanwhile(1)).await;
    until("it is on the fake_tier", || fake_tier.len() == 1).await;
    MEANWHILE.store(2, Ordering::SeqCst);
    let here = build().await.unwrap();
    let mut matching = Box::pin(here.invalidate_matching(NAME, "*"));
    assert!(poll_until(&mut matching, 1).await.is_pending());
    assert_eq!(on(&here, first_called_meanwhile(1)).await, 1);
    fake_tier.let_through();
    matching.await.unwrap();
    assert_eq!(on(&here, first_called_meanwhile(1)).await, 2);
}

#[tokio::test]
async fn a_function_that_was_made_is_known_before_it_is_called() {
    let here = memory_alone().await;
    let made = Function::<u64>::builder("matching::made")
        .ttl(std::time::Duration::from_secs(60))
        .build()
        .unwrap();
    assert_eq!(
        here.invalidate_matching("matching::made", "*")
            .await
            .unwrap()
            .keys,
        0
    );
    drop(made);
    let error = here.invalidate_matching("matching::made", "*").await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("unknown function `matching::made`")
    );
}

#[multi_tier_cached(ttl = "1h", name = "matching::stock")]
async fn stock(_shop: i32, item: i64) -> (u64, u64) {
    (item as u64, STOCK.fetch_add(1, Ordering::SeqCst))
}

static STOCK: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn pattern_matches_numbers_as_they_are_written_in_the_call() {
    let server = Server::start();
    for here in [
        memory_alone().await,
        testbed::two_tiers(&server.url()).await,
    ] {
        let all = async || {
            let mut values = Vec::new();
            for (shop, item) in [(1, 7), (1, 77), (11, 7), (-1, 7)] {
                values.push(stock(shop, item).await);
            }
            values
        };
        for (pattern, expected) in [
            ("1,7", [true, false, false, false]),
            ("1i32,7i64", [true, false, false, false]),
            ("1,*", [true, true, false, false]),
            ("*,7", [true, false, true, true]),
        ] {
            let before = on(&here, all()).await;
            let matched = here.invalidate_matching("matching::stock", pattern).await;
            let keys = expected.iter().filter(|is_meant| **is_meant).count() as u64;
            assert_eq!(matched.unwrap().keys, keys, "{pattern}");
            let after = on(&here, all()).await;
            // With a lower tier memory asks it again for all of them.
            assert_eq!(changed(&before, &after), expected, "{pattern}");
        }
    }
}

#[tokio::test]
async fn pattern_that_matches_nothing_is_in_the_log() {
    let log = Log::default();
    let _guard = log.capture();
    let here = memory_alone().await;
    on(&here, stock(1, 7)).await;
    let says = "a pattern matches no key";
    let matched = here.invalidate_matching("matching::stock", "1,7").await;
    assert_eq!((matched.unwrap().keys, log.lines(says)), (1, 0));
    let matched = here.invalidate_matching("matching::stock", "1,8").await;
    assert_eq!((matched.unwrap().keys, log.lines(says)), (0, 1));
}

counted!(while_away);

/// What is dropped in Redis when it is back is the whole function: a pattern cannot be kept for it.
#[tokio::test]
async fn pattern_is_queued_for_the_whole_function_while_redis_is_away() {
    let server = Server::start();
    let (here, there) = (
        testbed::two_tiers(&server.url()).await,
        testbed::two_tiers(&server.url()).await,
    );
    let before = on(&here, while_away::all()).await;
    until("all are filled", || server.records().len() == 6).await;
    server.freeze();
    let matched = here.invalidate_matching(while_away::NAME, "east,*").await;
    assert_eq!(matched.unwrap().receipt, Receipt::Queued);
    server.thaw();
    until("it is sent", || here.tiers()[0].health.queued == 0).await;
    until("both are coherent", || {
        let is_coherent = |runtime: &CacheRuntime| runtime.tiers()[0].health.coherent_for.is_some();
        is_coherent(&here) && is_coherent(&there)
    })
    .await;
    let after = on(&there, while_away::all()).await;
    assert_eq!(changed(&before, &after), [true, true, true, true, false]);
}

struct Store<T>(T);

impl<T: Clone + Send + Sync + 'static> Store<T> {
    #[multi_tier_cached(ttl = "1h", skip(self))]
    async fn fake_tier(&self, _id: i64) -> u64 {
        STOCK.fetch_add(1, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn pattern_finds_methods_that_were_not_called_in_the_process() {
    const NAME: &str = concat!(module_path!(), "::fake_tier");
    let server = Server::start();
    let (filling, here) = (
        testbed::two_tiers(&server.url()).await,
        testbed::two_tiers(&server.url()).await,
    );
    let all = async || {
        let numbers = (Store(1u8).fake_tier(1).await, Store(1u8).fake_tier(2).await);
        let arrays = Store([(1u8, "a")]).fake_tier(1).await;
        (numbers, arrays, generic::<u8>(1).await)
    };
    let before = on(&filling, all()).await;
    until("all are filled", || server.records().len() == 4).await;
    let matched = here.invalidate_matching(NAME, "1").await.unwrap();
    assert_eq!((matched.keys, matched.receipt), (2, Receipt::Acked));
    let after = on(&here, all()).await;
    assert_ne!(after.0.0, before.0.0);
    assert_eq!(after.0.1, before.0.1, "another argument");
    assert_ne!(after.1, before.1);
    assert_eq!(after.2, before.2, "another function");
    // One that was called here, and one that was not.
    on(&filling, Store("text").fake_tier(1)).await;
    let records = || server.records().len();
    until("all are filled", || records() == 5).await;
    assert_eq!(here.invalidate_matching(NAME, "*").await.unwrap().keys, 4);
    assert_eq!(records(), 1);
    // Nothing of it is anywhere.
    let matched = memory_alone().await.invalidate_matching(NAME, "*").await;
    assert_eq!(matched.unwrap().keys, 0);
}
