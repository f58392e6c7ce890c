//! Redis evicts the keys that invalidation relies on, and nothing is lost but them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};
use tokio::time::{Instant, interval, sleep};

use testbed::server::Server;
use testbed::{build, until};

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Waits until each of two instances has sent two barriers: each reads two keys.
async fn until_barriers(server: &Server) {
    let reads = || -> u64 {
        let stats: String = server.command(&["INFO", "commandstats"]);
        let mut lines = stats.lines();
        let calls = lines.find_map(|line| line.strip_prefix("cmdstat_getrange:calls="));
        let calls = calls.and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    };
    let before = reads();
    until("barriers are sent", || reads() >= before + 8).await;
}

fn changes(runtime: &CacheRuntime) -> (u64, u64, u64) {
    let health = &runtime.tiers()[0].health;
    (health.isolations, health.gaps, health.history_changes)
}

#[tokio::test]
async fn evicted_control_keys_are_restored_and_cost_no_link() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn kept(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("evicted");
    let (here, there) = (build(redis()).await, build(redis()).await);
    let call_all = || async {
        for key in 0..50 {
            on(&here, kept(key)).await;
            on(&there, kept(key)).await;
        }
    };
    call_all().await;
    on(&here, async { invalidate!(kept, 0).await })
        .await
        .unwrap();
    call_all().await;
    let (loads, before) = (
        LOADS.load(Ordering::SeqCst),
        [changes(&here), changes(&there)],
    );
    let epoch = "{evicted:0}:it::evictions::kept:1#epoch";
    let names = ["{evicted:0}:#sequence", "{evicted:0}:#history", epoch];
    let keys = server.keys();
    for name in names {
        assert!(
            keys.iter().any(|key| key == name),
            "{name} is not in {keys:?}"
        );
    }
    // The sequence and the history are never missing together but after a flush, which is another test's.
    for evicted in [&names[..1], &names[1..2], &names[2..], &names[1..]] {
        for name in evicted {
            let deleted: u64 = server.command(&["DEL", name]);
            assert_eq!(deleted, 1, "{name}");
        }
        until("they are restored", || {
            let keys = server.keys();
            names.iter().all(|name| keys.iter().any(|key| key == name))
        })
        .await;
        call_all().await;
        assert_eq!(LOADS.load(Ordering::SeqCst), loads, "after {evicted:?}");
        // Else the next eviction could look like a flush: the sequence began anew, and no history.
        until_barriers(&server).await;
    }
    // An invalidation right after the eviction is no gap: the numbers begin anew above the earlier ones.
    let last: u64 = server.command(&["GET", names[0]]);
    let _: u64 = server.command(&["DEL", names[0]]);
    on(&here, async { invalidate!(kept, 0).await })
        .await
        .unwrap();
    assert!(server.command::<u64>(&["GET", names[0]]) > last + 1);
    call_all().await;
    assert_eq!(LOADS.load(Ordering::SeqCst), loads + 1);
    assert_eq!([changes(&here), changes(&there)], before);
}

#[tokio::test]
async fn instance_that_attaches_while_the_sequence_is_missing_isolates_no_other() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn met(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    // With this bound a barrier, which would restore the sequence, is sent every 15 s.
    let redis = || {
        Redis::new(server.url())
            .namespace("met")
            .staleness_bound(Duration::from_secs(60))
    };
    let first = build(redis()).await;
    on(&first, async { invalidate!(met, 9).await })
        .await
        .unwrap();
    on(&first, met(1)).await;
    let before = changes(&first);
    let deleted: u64 = server.command(&["DEL", "{met:0}:#sequence"]);
    assert_eq!(deleted, 1);
    let second = build(redis()).await;
    assert_eq!(on(&second, met(1)).await, 1);
    for _ in 0..2 {
        for runtime in [&second, &first] {
            on(runtime, async { invalidate!(met, 1).await })
                .await
                .unwrap();
        }
    }
    // Its own invalidation has returned, so it loads; what it stores tells that its link is good.
    let loads = LOADS.load(Ordering::SeqCst);
    for _ in 0..5 {
        on(&first, met(1)).await;
    }
    assert_eq!(LOADS.load(Ordering::SeqCst), loads + 1);
    assert_eq!(changes(&first), before);
    assert_eq!(changes(&second).1, 0, "gaps");
}

#[tokio::test]
async fn a_flush_drops_what_memory_has_and_begins_a_new_history() {
    static VERSION: AtomicU64 = AtomicU64::new(1);

    #[multi_tier_cached(ttl = "1h")]
    async fn purged(_key: u64) -> u64 {
        VERSION.load(Ordering::SeqCst)
    }

    let server = Server::start();
    let runtime = build(Redis::new(server.url()).namespace("flushed")).await;
    on(&runtime, async { invalidate!(purged, 2).await })
        .await
        .unwrap();
    assert_eq!(on(&runtime, purged(1)).await, 1);
    VERSION.store(2, Ordering::SeqCst);
    let before = changes(&runtime);
    let _: () = server.command(&["FLUSHALL"]);
    until("the flush is noticed", || changes(&runtime).2 > before.2).await;
    until("it is coherent again", || {
        runtime.tiers()[0].health.coherent_for.is_some()
    })
    .await;
    assert_eq!(on(&runtime, purged(1)).await, 2);

    // A message right after the flush begins the sequence anew, so the next barrier finds it.
    VERSION.store(3, Ordering::SeqCst);
    let before = changes(&runtime);
    let _: () = server.command(&["FLUSHALL"]);
    on(&runtime, async { invalidate!(purged, 2).await })
        .await
        .unwrap();
    until("the flush is noticed", || changes(&runtime).2 > before.2).await;
    until("it is coherent again", || {
        runtime.tiers()[0].health.coherent_for.is_some()
    })
    .await;
    assert_eq!(on(&runtime, purged(1)).await, 3);
}

/// Fillers that turn all of the memory over every second or two, beside hot keys and few invalidations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_evicts_all_the_time_isolates_no_instance() {
    const HOT: u64 = 500;
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn hot(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    // The time in CI; the bar is for twenty seconds, by hand.
    let seconds = std::env::var("EVICTION_SECONDS").ok();
    let seconds = seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(5);
    let server = Server::start_with(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"]);
    let redis = || Redis::new(server.url());
    let instances = [build(redis()).await, build(redis()).await];
    let url = server.url();
    let filler = tokio::spawn(async move {
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut tick = interval(Duration::from_millis(10));
        let filler = "x".repeat(300);
        for batch in 0_u64.. {
            tick.tick().await;
            let mut pipeline = redis::pipe();
            for at in 0..80 {
                let name = format!("filler:{}", batch * 80 + at);
                pipeline.cmd("SET").arg(name).arg(&filler).ignore();
            }
            let _: Result<(), _> = pipeline.exec_async(&mut connection).await;
        }
    });
    let before = instances.each_ref().map(changes);
    let (end, mut invalidations) = (Instant::now() + Duration::from_secs(seconds), 0);
    let mut next = Instant::now();
    while Instant::now() < end {
        for instance in &instances {
            for key in 0..HOT {
                on(instance, hot(key)).await;
            }
        }
        if Instant::now() >= next {
            on(&instances[0], async { invalidate!(hot, 1).await })
                .await
                .unwrap();
            invalidations += 1;
            next += Duration::from_millis(500);
        }
        sleep(Duration::from_millis(1)).await;
    }
    filler.abort();
    let stats: String = server.command(&["INFO", "stats"]);
    let evicted = stats
        .lines()
        .find_map(|line| line.strip_prefix("evicted_keys:"));
    let evicted: u64 = evicted.unwrap().trim().parse().unwrap();
    assert!(evicted > 5_000, "nothing was evicted");
    assert_eq!(
        instances.each_ref().map(changes),
        before,
        "{evicted} evicted"
    );
    // Each instance once, since a record may be evicted before the other reads it; and what was invalidated.
    let loads = LOADS.load(Ordering::SeqCst);
    let most = 2 * (HOT + invalidations);
    assert!(loads * 10 <= most * 11, "{loads} loads, {most} explained");
    println!(
        "{evicted} keys evicted, {invalidations} invalidations, {loads} loads of {most} explained"
    );
}

#[tokio::test]
async fn an_older_data_set_brings_no_invalidated_value_back() {
    static VERSION: AtomicU64 = AtomicU64::new(1);

    #[multi_tier_cached(ttl = "1h")]
    async fn versioned(_key: u64) -> u64 {
        VERSION.load(Ordering::SeqCst)
    }

    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("swapped");
    let (here, there) = (build(redis()).await, build(redis()).await);
    on(&here, async { invalidate!(versioned, 2).await })
        .await
        .unwrap();
    assert_eq!(on(&here, versioned(1)).await, 1);
    // The copy that comes back later.
    for key in server.keys() {
        let _: u64 = server.command(&["COPY", &key, &key, "DB", "1"]);
    }
    VERSION.store(2, Ordering::SeqCst);
    on(&here, async { invalidate!(versioned, 1).await })
        .await
        .unwrap();
    let before = [changes(&here).0, changes(&there).0];
    let _: () = server.command(&["SWAPDB", "0", "1"]);
    until("both notice the older data set", || {
        changes(&here).0 > before[0] && changes(&there).0 > before[1]
    })
    .await;
    assert!(changes(&here).2 + changes(&there).2 > 0, "a new history");
    for runtime in [&here, &there] {
        until("it is coherent again", || {
            runtime.tiers()[0].health.coherent_for.is_some()
        })
        .await;
        assert_eq!(on(runtime, versioned(1)).await, 2);
    }
}
