//! What one instance invalidates, the others no longer answer; and of a key the whole cluster makes one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::{Health, Receipt};
use multi_tier_cached::{
    CacheRuntime, Function, Level, Memory, Promotion, Redis, TierConfig, invalidate,
    multi_tier_cached,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use testbed::log::Log;
use testbed::proxy::{End, NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{build, poll_until, two_tiers, until};

const BOUND: Duration = Duration::from_millis(500);
/// What a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_millis(250);

/// The source of truth, and a function that reads it: a name and an instance of its own for each test.
macro_rules! truth {
    ($name:ident $(, $option:ident = $value:literal)*) => {
        mod $name {
            use super::*;

            pub(super) static VERSION: AtomicU64 = AtomicU64::new(1);
            pub(super) static LOADS: AtomicU64 = AtomicU64::new(0);

            #[multi_tier_cached(ttl = "1h" $(, $option = $value)*)]
            pub(super) async fn read(_key: u64) -> u64 {
                LOADS.fetch_add(1, Ordering::SeqCst);
                VERSION.load(Ordering::SeqCst)
            }

        }
    };
}

/// Changes the truth, and says so.
macro_rules! change {
    ($name:ident) => {
        async {
            $name::VERSION.fetch_add(1, Ordering::SeqCst);
            invalidate!($name::read, 1).await.unwrap()
        }
    };
}

fn health(runtime: &CacheRuntime) -> Health {
    runtime.tiers()[0].health.clone()
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Two instances that have the value in memory, the second behind a proxy.
async fn two_behind(server: &Server, proxy: &Proxy) -> (CacheRuntime, CacheRuntime) {
    let there = Redis::new(proxy.url()).staleness_bound(BOUND);
    (two_tiers(&server.url()).await, build(there).await)
}

truth!(plain);

#[tokio::test]
async fn an_invalidation_reaches_the_memory_of_other_instances() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    for _ in 0..20 {
        let version = plain::VERSION.load(Ordering::SeqCst);
        assert_eq!(on(&there, plain::read(1)).await, version);
        assert_eq!(on(&here, plain::read(1)).await, version);
        assert_eq!(on(&here, change!(plain)).await, Receipt::Acked);
        assert_eq!(
            on(&here, plain::read(1)).await,
            version + 1,
            "where it was invalidated, at once"
        );
        let invalidated = Instant::now();
        while on(&there, plain::read(1)).await == version {
            assert!(invalidated.elapsed() < BOUND, "the bound has passed");
            tokio::task::yield_now().await;
        }
    }
    // The whole function.
    on(&there, plain::read(2)).await;
    plain::VERSION.fetch_add(1, Ordering::SeqCst);
    assert_eq!(
        on(&here, async { invalidate!(plain::read).await })
            .await
            .unwrap(),
        Receipt::Acked
    );
    let version = plain::VERSION.load(Ordering::SeqCst);
    let invalidated = Instant::now();
    while on(&there, plain::read(2)).await != version {
        assert!(invalidated.elapsed() < BOUND, "the bound has passed");
        tokio::task::yield_now().await;
    }
}

truth!(settled);

#[tokio::test]
async fn when_an_invalidation_has_settled_nobody_answers_with_the_old_value() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let (here, there) = two_behind(&server, &proxy).await;
    assert_eq!(on(&there, settled::read(1)).await, 1);
    // Whatever becomes of the channel.
    proxy.set(NetworkFault::BlackHole);
    settled::VERSION.store(2, Ordering::SeqCst);
    let began = Instant::now();
    on(&here, async {
        invalidate!(settled::read, 1).settled().await
    })
    .await
    .unwrap();
    assert!(began.elapsed() >= BOUND);
    // It is cut off, cannot ask, and knows that it does not know.
    proxy.set(NetworkFault::Fair);
    assert_eq!(on(&there, settled::read(1)).await, 2);
}

truth!(cut_off, when_isolated = "load");
truth!(serving);

/// Stale reads end within the bound, whatever happens to the channel.
#[tokio::test]
async fn an_instance_that_is_cut_off_stops_answering_within_the_bound() {
    let server = Server::start();
    for network_fault in [
        NetworkFault::Fair,
        NetworkFault::Delay(Duration::from_millis(200)),
        NetworkFault::Cut,
        NetworkFault::BlackHole,
    ] {
        let proxy = Proxy::to(server.port()).await;
        let (here, there) = two_behind(&server, &proxy).await;
        let old = cut_off::VERSION.load(Ordering::SeqCst);
        assert_eq!(on(&there, cut_off::read(1)).await, old);
        proxy.set(network_fault);
        on(&here, change!(cut_off)).await;
        let invalidated = Instant::now();
        let mut last_stale = Duration::ZERO;
        while invalidated.elapsed() < BOUND * 2 {
            let began = invalidated.elapsed();
            if on(&there, cut_off::read(1)).await == old {
                last_stale = began;
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert!(
            last_stale <= BOUND,
            "{network_fault:?}: a stale answer to a call {last_stale:?} later"
        );
    }
}

/// Where the shared tier cannot be asked, memory goes on, unless it is told not to.
#[tokio::test]
async fn an_outage_of_redis_is_none_of_the_database() {
    let mut server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    on(&runtime, async {
        assert_eq!(
            (serving::read(1).await, cut_off::read(7).await),
            (1, cut_off::VERSION.load(Ordering::SeqCst))
        );
        server.kill();
        until("it is noticed", || !health(&runtime).connected).await;
        let loads = (
            serving::LOADS.load(Ordering::SeqCst),
            cut_off::LOADS.load(Ordering::SeqCst),
        );
        for _ in 0..10 {
            serving::read(1).await;
            cut_off::read(7).await;
        }
        assert_eq!(serving::LOADS.load(Ordering::SeqCst), loads.0);
        assert!(cut_off::LOADS.load(Ordering::SeqCst) >= loads.1 + 10);
        let stats = runtime.stats();
        let l1 = stats
            .function("it::coherence::serving::read")
            .unwrap()
            .tier(Level::L1)
            .unwrap()
            .clone();
        assert_eq!(
            (l1.isolated_hits, l1.misses),
            (10, 1),
            "the first call missed"
        );
        let table = stats.to_string();
        assert!(table.contains("isolated"), "{table}");
    })
    .await;
}

truth!(queued);

#[tokio::test]
async fn an_invalidation_that_cannot_be_sent_is_sent_when_it_can() {
    let log = Log::default();
    let _captured = log.capture();
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let (other, cut) = two_behind(&server, &proxy).await;
    assert_eq!(on(&cut, queued::read(1)).await, 1);
    assert_eq!(on(&other, queued::read(1)).await, 1);
    proxy.set(NetworkFault::Cut);
    until("it is noticed", || !health(&cut).connected).await;
    assert_eq!(on(&cut, change!(queued)).await, Receipt::Queued);
    assert_eq!(health(&cut).queued, 1);
    let warnings = log.lines_with("an invalidation could not be sent");
    assert!(
        warnings.len() == 1 && warnings[0].contains("WARN"),
        "{warnings:?}"
    );
    assert_eq!(
        on(&cut, queued::read(1)).await,
        2,
        "where it was invalidated, at once"
    );
    assert_eq!(on(&other, queued::read(1)).await, 1, "it cannot know");
    proxy.set(NetworkFault::Fair);
    until("it is sent", || health(&cut).queued == 0).await;
    assert_eq!(health(&cut).replays, 1);
    sleep(BOUND).await;
    assert_eq!(on(&other, queued::read(1)).await, 2);
}

truth!(dropped);

/// An invalidation that was begun and dropped is queued: nobody knows how far it came.
#[tokio::test]
async fn an_invalidation_that_is_dropped_is_sent_all_the_same() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    assert_eq!(on(&there, dropped::read(1)).await, 1);
    server.freeze();
    dropped::VERSION.store(2, Ordering::SeqCst);
    on(&here, async {
        let mut invalidation = Box::pin(invalidate!(dropped::read, 1));
        assert!(poll_until(&mut invalidation, 1).await.is_pending());
    })
    .await;
    server.thaw();
    until("it is sent", || {
        health(&here).queued == 0 && health(&here).connected
    })
    .await;
    sleep(BOUND).await;
    assert_eq!(on(&there, dropped::read(1)).await, 2);
}

truth!(restarted);

/// A server that comes back with an older state is another history: its records are misses.
#[tokio::test]
async fn what_a_restarted_server_brings_back_is_not_read() {
    let mut server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    assert_eq!(on(&here, restarted::read(1)).await, 1);
    let _: () = server.command(&["SAVE"]);
    assert_eq!(on(&here, change!(restarted)).await, Receipt::Acked);
    server.kill();
    server.restart();
    assert_eq!(server.records().len(), 1, "the old record is back");
    until("both are back", || {
        health(&here).connected && health(&there).connected
    })
    .await;
    assert_eq!(on(&there, restarted::read(1)).await, 2);
    assert!(health(&here).history_changes + health(&there).history_changes >= 1);
}

truth!(late);

/// The old primary lives on for a while with an instance that invalidates there; nobody else hears of it. The one that leaves last
/// is not the one that begins the new history.
#[tokio::test]
async fn what_was_sent_to_a_server_that_was_replaced_is_sent_to_the_other() {
    let (old, new) = (Server::start(), Server::start());
    let (first, last) = (Proxy::to(old.port()).await, Proxy::to(old.port()).await);
    let here = build(Redis::new(first.url())).await;
    let there = build(Redis::new(last.url())).await;
    let changes = |runtime| health(runtime).history_changes;
    let before = changes(&here);
    first.repoint(new.port());
    first.end(End::Reset);
    until("the first has moved", || {
        changes(&here) > before && health(&here).connected
    })
    .await;
    assert_eq!(on(&here, late::read(1)).await, 1);
    assert_eq!(on(&there, change!(late)).await, Receipt::Acked);
    let before = changes(&there);
    last.repoint(new.port());
    last.end(End::Reset);
    until("the last has moved", || {
        changes(&there) > before && health(&there).connected
    })
    .await;
    let moved = Instant::now();
    while on(&here, late::read(1)).await != 2 {
        assert!(moved.elapsed() < BOUND, "the bound has passed");
        tokio::task::yield_now().await;
    }
}

truth!(many);

/// More than a connection attempt could send one by one.
#[tokio::test]
async fn however_much_has_waited_is_sent_over_however_slow_a_link() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let redis = Redis::new(proxy.url()).connect_limit(Duration::from_millis(500));
    let here = build(redis).await;
    proxy.set(NetworkFault::Cut);
    until("the link is lost", || !health(&here).connected).await;
    for key in 0..1_000 {
        let receipt = on(&here, async { invalidate!(many::read, key).await });
        assert_eq!(receipt.await.unwrap(), Receipt::Queued);
    }
    proxy.set(NetworkFault::Delay(Duration::from_millis(20)));
    until("all was sent", || {
        health(&here).connected && health(&here).queued == 0
    })
    .await;
    assert_eq!(on(&here, many::read(1)).await, 1);
}

truth!(filed);

#[tokio::test]
async fn what_is_queued_outlives_its_process_in_a_file() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let file = server.directory().join("journal");
    let redis = || Redis::new(proxy.url()).journal_file(&file);
    let (here, there) = (build(redis()).await, two_tiers(&server.url()).await);
    assert_eq!(on(&there, filed::read(1)).await, 1);
    let second = CacheRuntime::builder().l2(redis()).build().await;
    let error = second.map(drop).unwrap_err().to_string();
    assert!(error.contains("journal"), "{error}");
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !health(&here).connected).await;
    assert_eq!(on(&here, change!(filed)).await, Receipt::Queued);
    // As if it were killed: nothing is sent.
    here.shutdown().await.unwrap();
    drop(here);
    proxy.set(NetworkFault::Fair);
    assert_eq!(
        on(&there, filed::read(1)).await,
        1,
        "nobody has heard of it"
    );
    let next = build(redis()).await;
    until("the next has sent it", || health(&next).queued == 0).await;
    until("the other has heard of it", || server.records().is_empty()).await;
    sleep(BOUND).await;
    assert_eq!(on(&there, filed::read(1)).await, 2);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}

truth!(refused);

/// The server answers reads and refuses scripts: what it still has is not what was invalidated here.
#[tokio::test]
async fn what_is_queued_is_not_read_back() {
    let server = Server::start();
    let here = two_tiers(&server.url()).await;
    for version in 1..4 {
        assert_eq!(on(&here, refused::read(1)).await, version);
        until("it is filled", || server.records().len() == 1).await;
        let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
        assert_eq!(on(&here, change!(refused)).await, Receipt::Queued);
        assert!(health(&here).connected, "the link is not lost");
        assert_eq!(on(&here, refused::read(1)).await, version + 1);
        let _: () = server.command(&["ACL", "SETUSER", "default", "+evalsha"]);
        until("it was sent", || health(&here).queued == 0).await;
        assert_eq!(on(&here, refused::read(1)).await, version + 1);
    }
}

truth!(outage);

/// An outage of the cache is none of the database, whatever was invalidated in it.
#[tokio::test]
async fn what_was_invalidated_in_an_outage_is_loaded_once() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = build(Redis::new(proxy.url())).await;
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !health(&here).connected).await;
    let loads = || here.stats().functions[0].loads;
    for whole_function in [false, true] {
        on(&here, outage::read(1)).await;
        let before = loads();
        let receipt = if whole_function {
            on(&here, async { invalidate!(outage::read).await }).await
        } else {
            on(&here, async { invalidate!(outage::read, 1).await }).await
        };
        assert_eq!(receipt.unwrap(), Receipt::Queued);
        for _ in 0..20 {
            on(&here, outage::read(1)).await;
        }
        assert_eq!(loads() - before, 1);
    }
    let put = on(&here, async { outage::read::entry(1).put(77).await });
    assert_eq!(put.await.unwrap(), Receipt::Queued);
    assert_eq!(on(&here, outage::read(1)).await, 77);
}

truth!(stopgap);

/// While an invalidation waits to be sent nobody asks whether the key is guarded.
#[tokio::test]
async fn what_is_loaded_while_its_invalidation_waits_is_not_kept() {
    let server = Server::start();
    let here = two_tiers(&server.url()).await;
    let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
    assert_eq!(on(&here, change!(stopgap)).await, Receipt::Queued);
    let before = on(&here, stopgap::read(1)).await;
    stopgap::VERSION.fetch_add(1, Ordering::SeqCst);
    assert_eq!(on(&here, stopgap::read(1)).await, before + 1);
    let _: () = server.command(&["ACL", "SETUSER", "default", "+evalsha"]);
}

#[multi_tier_cached(ttl = "1h", name = "coherence::growing")]
async fn growing(_key: u64) -> String {
    let size = GROWN.load(Ordering::SeqCst);
    "x".repeat(usize::try_from(size).unwrap())
}

static GROWN: AtomicU64 = AtomicU64::new(10);

/// The old value is not what anybody gets.
#[tokio::test]
async fn a_refresh_that_cannot_be_stored_drops_what_it_was_to_replace() {
    let server = Server::start();
    let redis = || Redis::new(server.url()).max_record_bytes(1_000);
    let (here, there) = (build(redis()).await, build(redis()).await);
    on(&here, growing(1)).await;
    until("it is filled", || server.records().len() == 1).await;
    GROWN.store(5_000, Ordering::SeqCst);
    let refreshed = on(&here, async { growing::entry(1).refresh().await });
    assert_eq!(refreshed.await.len(), 5_000);
    assert_eq!(on(&there, growing(1)).await.len(), 5_000);
    let loads = || here.stats().functions[0].loads;
    assert_eq!((on(&here, growing(1)).await.len(), loads()), (5_000, 2));
    let put = on(&here, async {
        growing::entry(1).put("y".repeat(6_000)).await
    });
    assert_eq!(put.await.unwrap(), Receipt::Acked);
    // In memory, unless the word of what the put has dropped came later than that.
    assert!([5_000, 6_000].contains(&on(&here, growing(1)).await.len()));
    let strong = on(&here, async { growing::entry(1).strong().await });
    assert_eq!(strong.await.len(), 5_000);
}

truth!(asking);

/// Its lease is given to nobody.
#[tokio::test]
async fn a_call_that_is_dropped_while_it_asks_for_a_lease_keeps_nobody_waiting() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let slow = Redis::new(proxy.url()).time_limit(Duration::from_secs(2));
    let (here, there) = (build(slow).await, two_tiers(&server.url()).await);
    proxy.set(NetworkFault::Delay(Duration::from_millis(100)));
    let call = timeout(Duration::from_millis(300), on(&here, asking::read(1)));
    assert!(call.await.is_err(), "it has its answer to the read alone");
    sleep(Duration::from_millis(50)).await;
    let lease = server
        .keys()
        .into_iter()
        .find(|key| key.ends_with("#lease"));
    assert!(lease.is_some(), "the lease is given by now");
    let began = Instant::now();
    assert_eq!(on(&there, asking::read(1)).await, 1);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "a lease time is two seconds"
    );
}

truth!(flushed);

#[tokio::test]
async fn a_flushed_server_is_used_again_and_brings_nothing_back() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    assert_eq!(on(&here, flushed::read(1)).await, 1);
    let _: () = server.command(&["FLUSHALL"]);
    let _: () = server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(on(&here, change!(flushed)).await, Receipt::Acked);
    until("both are back", || {
        [&here, &there]
            .iter()
            .all(|runtime| health(runtime).coherent_for.is_some())
    })
    .await;
    assert_eq!(on(&there, flushed::read(1)).await, 2);
    assert_eq!(on(&here, flushed::read(1)).await, 2);
    on(&there, change!(flushed)).await;
    sleep(BOUND).await;
    assert_eq!(on(&here, flushed::read(1)).await, 3);
}

/// A function whose loads a test lets through.
struct Gated {
    function: Function<u64>,
    gate: Semaphore,
    loads: AtomicU64,
}

impl Gated {
    fn new(name: &'static str) -> Self {
        let function = Function::builder(name).ttl(Duration::from_secs(3600));
        Self {
            function: function.build().unwrap(),
            gate: Semaphore::new(0),
            loads: AtomicU64::new(0),
        }
    }

    async fn call(&self) -> u64 {
        let load = || async {
            self.loads.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            7
        };
        self.function.get_or_load((1,), load).await
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn callers_in_all_instances_make_one_load() {
    let server = Server::start();
    let gated = Arc::new(Gated::new("coherence::one_load"));
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(two_tiers(&server.url()).await);
    }
    let mut calls = JoinSet::new();
    for runtime in instances.iter().cycle().take(100) {
        let (runtime, gated) = (runtime.clone(), Arc::clone(&gated));
        calls.spawn(async move { on(&runtime, gated.call()).await });
    }
    let release = async {
        until("the others wait", || {
            let waits = |runtime: &CacheRuntime| {
                let stats = runtime.stats();
                let function = stats.function("coherence::one_load");
                function
                    .and_then(|function| function.tier(Level::L2))
                    .map_or(0, |tier| tier.lease_waits)
            };
            instances.iter().map(waits).sum::<u64>() == 3
        })
        .await;
        // Longer than a lease: it is renewed.
        sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        gated.gate.add_permits(1);
        began
    };
    let began = release.await;
    while let Some(value) = calls.join_next().await {
        assert_eq!(value.unwrap(), 7);
    }
    assert_eq!(gated.loads(), 1);
    assert!(
        began.elapsed() < SLACK,
        "they are woken, not polling: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_load_that_is_dropped_lets_another_instance_load() {
    let server = Server::start();
    let gated = Gated::new("coherence::dropped_load");
    let (first, second) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    let mut leader = Box::pin(on(&first, gated.call()));
    while gated.loads() == 0 {
        assert!(poll_until(&mut leader, 1).await.is_pending());
        tokio::task::yield_now().await;
    }
    let mut waiter = Box::pin(on(&second, gated.call()));
    let waits = || {
        let stats = second.stats();
        let function = stats.function("coherence::dropped_load");
        function
            .and_then(|function| function.tier(Level::L2))
            .map_or(0, |tier| tier.lease_waits)
    };
    while waits() == 0 {
        assert!(
            timeout(Duration::from_millis(5), &mut waiter)
                .await
                .is_err()
        );
    }
    drop(leader);
    gated.gate.add_permits(1);
    let began = Instant::now();
    assert_eq!(waiter.await, 7);
    assert!(
        began.elapsed() < SLACK,
        "the lease was given back: {:?}",
        began.elapsed()
    );
    assert_eq!(gated.loads(), 2);
}

#[tokio::test]
async fn an_instance_that_dies_keeps_others_waiting_for_a_lease_time_at_most() {
    let server = Server::start();
    let gated = Gated::new("coherence::dead_load");
    let lease = Duration::from_millis(600);
    let proxy = Proxy::to(server.port()).await;
    let dying = build(Redis::new(proxy.url()).lease_time(lease)).await;
    let second = build(Redis::new(server.url()).lease_time(lease)).await;
    let mut leader = Box::pin(on(&dying, gated.call()));
    while gated.loads() == 0 {
        assert!(poll_until(&mut leader, 1).await.is_pending());
        tokio::task::yield_now().await;
    }
    proxy.set(NetworkFault::BlackHole);
    gated.gate.add_permits(2);
    let began = Instant::now();
    assert_eq!(on(&second, gated.call()).await, 7);
    assert!(
        began.elapsed() < lease + lease / 10 + SLACK,
        "{:?}",
        began.elapsed()
    );
    proxy.set(NetworkFault::Fair);
    assert_eq!(leader.await, 7);
    assert_eq!(gated.loads(), 2);
}

truth!(strong, consistency = "strong");

#[tokio::test]
async fn a_strong_function_is_current_the_moment_an_invalidation_returns() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    for version in 1..100 {
        assert_eq!(on(&there, strong::read(1)).await, version);
        if version % 2 == 0 {
            on(&here, change!(strong)).await;
        } else {
            strong::VERSION.fetch_add(1, Ordering::SeqCst);
            on(&here, async { invalidate!(strong::read).await })
                .await
                .unwrap();
        }
    }
    let loads = strong::LOADS.load(Ordering::SeqCst);
    on(&there, strong::read(1)).await;
    on(&here, strong::read(1)).await;
    on(&there, strong::read(1)).await;
    assert_eq!(strong::LOADS.load(Ordering::SeqCst), loads + 1);
}

mod large {
    use super::*;

    pub(super) static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h", consistency = "strong")]
    pub(super) async fn read(_key: u64) -> Arc<String> {
        LOADS.fetch_add(1, Ordering::SeqCst);
        Arc::new("x".repeat(100_000))
    }
}

/// What memory has is not sent again: the server says that it is the same.
#[tokio::test]
async fn a_strong_call_is_answered_from_memory_where_the_server_has_the_same() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    on(&there, large::read(1)).await;
    let sent = || {
        let stats: String = server.command(&["INFO", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.map_or(0, |bytes| bytes.trim().parse::<u64>().unwrap())
    };
    let first = on(&here, large::read(1)).await;
    let before = sent();
    for _ in 0..10 {
        let again = on(&here, large::read(1)).await;
        assert!(Arc::ptr_eq(&first, &again));
    }
    assert!(sent() - before < 50_000, "it was sent again");
    // Not without asking.
    on(&there, async { invalidate!(large::read, 1).await })
        .await
        .unwrap();
    let loads = large::LOADS.load(Ordering::SeqCst);
    assert!(!Arc::ptr_eq(&first, &on(&here, large::read(1)).await));
    assert_eq!(large::LOADS.load(Ordering::SeqCst), loads + 1);
    let mut server = server;
    server.kill();
    on(&here, large::read(1)).await;
    assert_eq!(large::LOADS.load(Ordering::SeqCst), loads + 2);
}

truth!(seldom_promoted);

#[tokio::test]
async fn a_bounded_call_answers_nothing_older_than_the_strong_call_before_it() {
    let server = Server::start();
    let instance = || async {
        let seldom = TierConfig::as_l2().promotion(Promotion::OneIn(1_000));
        let tiers = CacheRuntime::builder().l1(Memory::builder());
        let tiers = tiers.tier(Redis::new(server.url()), seldom);
        tiers.build().await.unwrap()
    };
    let (here, there) = (instance().await, instance().await);
    assert_eq!(on(&here, seldom_promoted::read(1)).await, 1);
    seldom_promoted::VERSION.store(2, Ordering::SeqCst);
    // A refresh invalidates nothing: the memory of the other instance keeps what it has.
    on(&there, async {
        seldom_promoted::read::entry(1).refresh().await
    })
    .await;
    assert_eq!(on(&here, seldom_promoted::read(1)).await, 1);
    let strong = async { seldom_promoted::read::entry(1).strong().await };
    assert_eq!(on(&here, strong).await, 2);
    assert_eq!(on(&here, seldom_promoted::read(1)).await, 2);
}

truth!(now_and_then);

#[tokio::test]
async fn one_call_of_a_function_may_be_strong() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let (here, there) = two_behind(&server, &proxy).await;
    assert_eq!(on(&there, now_and_then::read(1)).await, 1);
    // The message is late, and the answer to a question that follows it is not.
    for version in 2..20 {
        on(&here, change!(now_and_then)).await;
        let strong = on(&there, async {
            now_and_then::read::entry(1).strong().await
        });
        assert_eq!(strong.await, version);
        assert_eq!(
            on(&there, now_and_then::read(1)).await,
            version,
            "it was kept"
        );
    }
    let hits = there.stats();
    let hits = hits.functions[0].tier(Level::L1).unwrap().hits;
    assert!(hits > 0, "memory answers the calls that are not");
}

truth!(per_process, single_flight = "process");

#[tokio::test]
async fn instances_that_do_not_wait_for_each_other_do_not() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    let mut held = Box::pin(on(&here, per_process::read(1)));
    let lease = || server.keys().iter().any(|key| key.ends_with("#lease"));
    while !lease() {
        assert!(poll_until(&mut held, 1).await.is_pending());
        sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    assert_eq!(on(&there, per_process::read(1)).await, 1);
    assert!(began.elapsed() < SLACK);
    held.await;
}

/// Two loads in two instances that call each other's keys: nobody sees the ring, and it does not hold.
#[tokio::test]
async fn loads_in_two_instances_that_wait_for_each_other_do_not_deadlock() {
    let server = Server::start();
    let redis = || {
        Redis::new(server.url())
            .lease_time(Duration::from_millis(500))
            .staleness_bound(Duration::from_millis(100))
    };
    let (one, two) = (build(redis()).await, build(redis()).await);
    let function = Function::<u64>::builder("coherence::ring").ttl(Duration::from_secs(60));
    let function = function.build().unwrap();
    let both_load = tokio::sync::Barrier::new(2);
    let call = |key: u64, other: u64| {
        let (function, both_load) = (&function, &both_load);
        async move {
            let load = || async move {
                both_load.wait().await;
                // The others come first.
                sleep(Duration::from_millis(50)).await;
                key + function
                    .get_or_load((other,), || async move { other })
                    .await
            };
            function.get_or_load((key,), load).await
        }
    };
    let plain = |key: u64| function.get_or_load((key,), move || async move { key });
    let both_lead = || {
        let leases = server.keys();
        leases.iter().filter(|key| key.ends_with("#lease")).count() == 2
    };
    // Others of each process lead the flights that the loads come to.
    let others = async {
        until("both load", both_lead).await;
        tokio::join!(on(&one, plain(2)), on(&two, plain(1)))
    };
    let calls = async {
        let (one, two, _) = tokio::join!(on(&one, call(1, 2)), on(&two, call(2, 1)), others);
        (one, two)
    };
    let values = timeout(Duration::from_secs(5), calls)
        .await
        .expect("no deadlock");
    // Each got the other's from its own load or from what the other had filled by then.
    assert!(values.0 >= 3 && values.1 >= 3, "{values:?}");
}
