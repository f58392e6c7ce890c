//! Around a transaction: what is read before its commit is kept nowhere. And what else an invalidation can wait for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, ErrorKind, Level, Memory, Redis, WhenIsolated, invalidate, multi_tier_cached,
};
use serde::{Deserialize, Serialize};
use testbed::fake_tier::FakeTier;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{build, two_tiers, until, until_ok};
use tokio::time::sleep;

const LEASE: Duration = Duration::from_millis(300);

macro_rules! truth {
    ($name:ident) => {
        mod $name {
            use super::*;

            pub(super) static VERSION: AtomicU64 = AtomicU64::new(1);

            #[multi_tier_cached(ttl = "1h")]
            pub(super) async fn read(_key: u64) -> u64 {
                VERSION.load(Ordering::SeqCst)
            }
        }
    };
}

fn commit(version: &AtomicU64) {
    version.fetch_add(1, Ordering::SeqCst);
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

async fn instances(server: &Server) -> (CacheRuntime, CacheRuntime) {
    let redis = || Redis::new(server.url()).lease_time(LEASE);
    (build(redis()).await, build(redis()).await)
}

truth!(guarded);

#[tokio::test]
async fn what_is_read_before_the_commit_is_kept_nowhere() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    assert_eq!(on(&there, guarded::read(1)).await, 1);
    let guard = on(&here, async { guarded::read::entry(1).write_guard().await })
        .await
        .unwrap();
    assert!(guard.is_held());
    until("the other has heard of it", || server.records().is_empty()).await;
    sleep(Duration::from_millis(50)).await;
    for runtime in [&here, &there] {
        assert_eq!(on(runtime, guarded::read(1)).await, 1, "not committed yet");
        assert_eq!(on(runtime, guarded::read(2)).await, 1, "another key");
    }
    assert_eq!(server.records().len(), 1, "{:?}", server.records());
    commit(&guarded::VERSION);
    for runtime in [&here, &there] {
        assert_eq!(on(runtime, guarded::read(1)).await, 2, "it was kept");
    }
    let refused = there.stats();
    let refused = refused.functions[0].tier(Level::L2).unwrap().refused_fills;
    assert_eq!((refused.guard, refused.total()), (2, 2));
    // However long it takes.
    sleep(LEASE * 3).await;
    on(&there, guarded::read(1)).await;
    assert_eq!(server.records().len(), 1, "it is guarded still");
    assert_eq!(guard.invalidate().await.unwrap(), Receipt::Acked);
    until("others may fill again", || {
        !server.keys().iter().any(|key| key.ends_with("#guards"))
    })
    .await;
    on(&there, guarded::read(1)).await;
    until("it is filled", || server.records().len() == 2).await;
}

truth!(died);

#[tokio::test]
async fn a_process_that_dies_after_its_commit_leaves_nothing_old() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    assert_eq!(on(&there, died::read(1)).await, 1);
    let guard = on(&here, async { died::read::entry(1).write_guard().await })
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(on(&there, died::read(1)).await, 1);
    commit(&died::VERSION);
    // Nothing of it is left but what the server has.
    std::mem::forget(guard);
    here.shutdown().await.unwrap();
    assert_eq!(on(&there, died::read(1)).await, 2);
    sleep(LEASE * 2).await;
    assert_eq!(on(&there, died::read(1)).await, 2);
    until("it is filled again", || server.records().len() == 1).await;
}

truth!(dropped);

#[tokio::test]
async fn a_guard_that_is_dropped_invalidates() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    let guard = on(&here, async { dropped::read::entry(1).write_guard().await })
        .await
        .unwrap();
    commit(&dropped::VERSION);
    drop(guard);
    assert_eq!(on(&here, dropped::read(1)).await, 2);
    until("the tiers were told", || {
        here.tiers()[0].health.queued == 0
            && !server.keys().iter().any(|key| key.ends_with("#guards"))
    })
    .await;
    assert_eq!(on(&there, dropped::read(1)).await, 2);
    assert_eq!(here.tiers()[0].health.replays, 1);
}

truth!(twice);

#[tokio::test]
async fn of_two_guards_the_other_goes_on() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    let take = || async { twice::read::entry(1).write_guard().await.unwrap() };
    let (first, second) = (on(&here, take()).await, on(&there, take()).await);
    first.invalidate().await.unwrap();
    sleep(Duration::from_millis(50)).await;
    on(&here, twice::read(1)).await;
    assert_eq!(server.records(), Vec::<String>::new());
    second.invalidate().await.unwrap();
    until("neither is left", || {
        !server.keys().iter().any(|key| key.ends_with("#guards"))
    })
    .await;
    on(&here, twice::read(1)).await;
    until("it is filled", || server.records().len() == 1).await;
}

truth!(cut);

#[tokio::test]
async fn a_guard_is_put_in_place_again_over_another_link() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = build(Redis::new(proxy.url()).lease_time(LEASE)).await;
    let guard = on(&here, async { cut::read::entry(1).write_guard().await })
        .await
        .unwrap();
    assert!(guard.is_held());
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    assert!(!guard.is_held(), "it may be over");
    server.restart();
    proxy.set(NetworkFault::Fair);
    until("it is held again", || guard.is_held()).await;
    until("it is there again", || {
        here.tiers()[0].health.connected && server.keys().iter().any(|key| key.ends_with("#guards"))
    })
    .await;
    let there = two_tiers(&server.url()).await;
    on(&there, cut::read(1)).await;
    assert_eq!(server.records(), Vec::<String>::new());
    guard.invalidate().await.unwrap();
}

truth!(unreachable);

#[tokio::test]
async fn without_a_server_a_guard_says_that_it_is_not_held() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = build(Redis::new(proxy.url())).await;
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    let guard = on(&here, async {
        unreachable::read::entry(1).write_guard().await
    })
    .await
    .unwrap();
    assert!(!guard.is_held());
    commit(&unreachable::VERSION);
    assert_eq!(guard.invalidate().await.unwrap(), Receipt::Queued);
    assert_eq!(on(&here, unreachable::read(1)).await, 2);
}

truth!(unasked);

/// Whether the key is guarded could not be asked: what is loaded is good until it can.
#[tokio::test]
async fn what_is_loaded_without_asking_for_a_lease_is_a_stopgap() {
    let mut server = Server::start();
    let here = two_tiers(&server.url()).await;
    let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
    assert_eq!(on(&here, unasked::read(1)).await, 1);
    commit(&unasked::VERSION);
    assert_eq!(on(&here, unasked::read(1)).await, 2, "it was kept");
    server.kill();
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    commit(&unasked::VERSION);
    assert_eq!(
        on(&here, unasked::read(1)).await,
        2,
        "there is nobody to ask"
    );
}

/// Until the server has a replica.
async fn follows(server: &Server) {
    until("it follows", || {
        let info: String = server.command(&["INFO", "replication"]);
        info.contains("state=online")
    })
    .await;
}

#[tokio::test]
async fn an_invalidation_waits_for_replicas_where_it_is_asked_to() {
    let server = Server::start_with(&["--repl-diskless-sync-delay", "0"]);
    let port = server.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    follows(&server).await;
    let here = two_tiers(&server.url()).await;
    let invalidate = |replicas| {
        on(&here, async move {
            invalidate!(isolated::read, 1).replicated(replicas).await
        })
    };
    // A replica that has just come says nothing for a second.
    let receipt = until_ok("the replica says so", async || invalidate(1).await).await;
    assert_eq!(receipt, Receipt::Acked);
    // A tier of this instance alone has no replicas, and is not asked for them.
    let directory = testbed::directory::Directory::new("replicated");
    let beside = CacheRuntime::builder()
        .l2(Redis::new(server.url()).required())
        .l3(multi_tier_cached::Disk::new(directory.path().join("disk")));
    let beside = beside.build().await.unwrap();
    let invalidation = async { invalidate!(isolated::read, 1).replicated(1).await };
    assert_eq!(on(&beside, invalidation).await.unwrap(), Receipt::Acked);
    let alone = testbed::memory_alone().await;
    let invalidation = async { invalidate!(isolated::read, 1).replicated(1).await };
    let error = on(&alone, invalidation).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let error = invalidate(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("1 of 2"), "{error}");
    replica.freeze();
    let error = invalidate(1).await.unwrap_err();
    replica.thaw();
    assert!(error.to_string().contains("0 of 1"), "{error}");
}

/// What was acknowledged was so by a server that may be another by now.
#[tokio::test]
async fn replicas_of_another_link_are_not_counted() {
    let server = Server::start_with(&["--repl-diskless-sync-delay", "0"]);
    let port = server.port().to_string();
    let here = build(Redis::new(server.url()).time_limit(Duration::from_secs(10))).await;
    // A server whose first replica comes goes by another name from then on.
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    follows(&server).await;
    let invalidate = || {
        on(&here, async {
            invalidate!(isolated::read, 1).replicated(1).await
        })
    };
    // While there is no link it is queued.
    let acknowledged = async || match invalidate().await {
        Ok(Receipt::Queued) => Err("queued".to_owned()),
        result => result.map_err(|error| error.to_string()),
    };
    until_ok("the replica has it", acknowledged).await;
    replica.freeze();
    let isolations = here.tiers()[0].health.isolations;
    let result = tokio::join!(invalidate(), async {
        // Its own connection, which waits.
        until("it waits", || {
            let clients: String = server.command(&["CLIENT", "LIST"]);
            clients.contains("flags=b")
        })
        .await;
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until("the link is lost", || {
            here.tiers()[0].health.isolations > isolations
        })
        .await;
        replica.thaw();
    });
    let error = result.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    until("the link is back", || here.tiers()[0].health.connected).await;
    until_ok("the replica has it again", acknowledged).await;
}

/// As postcard has it, what is left out is read back as something else: such a value is stored in no shared tier.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unstorable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    version: u64,
}

static UNSTORABLE: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "1h")]
async fn unstorable(_key: u64) -> Unstorable {
    Unstorable {
        note: None,
        version: UNSTORABLE.load(Ordering::SeqCst),
    }
}

#[tokio::test]
async fn a_guard_holds_for_values_that_no_shared_tier_can_store() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    let version = |runtime| async move { on(runtime, unstorable(1)).await.version };
    assert_eq!(version(&there).await, 1);
    assert_eq!(server.records(), Vec::<String>::new(), "it can be stored");
    assert_eq!(version(&here).await, 1);
    until("no lease is left behind", || {
        !server.keys().iter().any(|key| key.ends_with("#lease"))
    })
    .await;
    // Now that it is known that it cannot be stored none is taken.
    let other = on(&here, unstorable(2)).await;
    assert_eq!(other.version, 1);
    let has_lease = server.keys().iter().any(|key| key.ends_with("#lease"));
    assert!(!has_lease, "{:?}", server.keys());
    let guard = on(&here, async { unstorable::entry(1).write_guard().await });
    let guard = guard.await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(version(&there).await, 1, "not committed yet");
    commit(&UNSTORABLE);
    assert_eq!(version(&there).await, 2, "it was kept");
    guard.invalidate().await.unwrap();
    assert_eq!(version(&there).await, 2);
}

static ALONE: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn alone(_key: u64) -> u64 {
    ALONE.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_guard_holds_for_a_function_that_has_memory_alone() {
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .build()
        .await
        .unwrap();
    assert_eq!(on(&here, alone(1)).await, 1);
    let guard = on(&here, async { alone::entry(1).write_guard().await });
    let guard = guard.await.unwrap();
    assert!(guard.is_held());
    assert_eq!(on(&here, alone(1)).await, 1, "not committed yet");
    commit(&ALONE);
    assert_eq!(on(&here, alone(1)).await, 2, "it was kept");
    // A commit may land after its guard was dropped.
    drop(guard);
    assert_eq!(on(&here, alone(1)).await, 2);
    commit(&ALONE);
    assert_eq!(on(&here, alone(1)).await, 3);
    let guard = on(&here, async { alone::entry(2).write_guard().await });
    guard.await.unwrap().invalidate().await.unwrap();
    on(&here, alone(2)).await;
    commit(&ALONE);
    assert_eq!(on(&here, alone(2)).await, 3, "it is kept again");
}

truth!(filed);

#[tokio::test]
async fn a_guard_that_outlives_its_runtime_is_in_the_journals_file() {
    let server = Server::start();
    let file = server.directory().join("journal");
    let redis = || {
        Redis::new(server.url())
            .lease_time(LEASE)
            .journal_file(&file)
    };
    let (here, there) = (build(redis()).await, two_tiers(&server.url()).await);
    let guard = on(&here, async { filed::read::entry(1).write_guard().await });
    let guard = guard.await.unwrap();
    here.shutdown().await.unwrap();
    drop(here);
    sleep(LEASE * 2).await;
    assert_eq!(
        on(&there, filed::read(1)).await,
        1,
        "it has ended by itself"
    );
    until("it is filled", || server.records().len() == 1).await;
    commit(&filed::VERSION);
    drop(guard);
    let next = build(redis()).await;
    until("the next has sent it", || {
        next.tiers()[0].health.replays == 1
    })
    .await;
    until("the other has heard of it", || server.records().is_empty()).await;
}

#[tokio::test]
async fn health_is_asked_for() {
    let server = Server::start();
    let here = two_tiers(&server.url()).await;
    let health = here.health().await;
    assert!(health.is_well(), "{health}");
    let table = health.to_string();
    assert!(table.contains("l2  redis      closed"), "{table}");
    server.freeze();
    let health = here.health().await;
    server.thaw();
    assert_eq!(health.tiers[0].answered_in, None);
    assert!(!health.is_well());
}

truth!(unplaced);

/// It could not be placed, and is dropped when the server is back: the key is invalidated all the same.
#[tokio::test]
async fn a_guard_that_could_not_be_placed_invalidates_when_it_is_dropped() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = build(Redis::new(proxy.url()).lease_time(LEASE)).await;
    let there = two_tiers(&server.url()).await;
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[0].health.connected).await;
    let guard = on(&here, async {
        unplaced::read::entry(1).write_guard().await
    });
    let guard = guard.await.unwrap();
    assert!(!guard.is_held());
    assert_eq!(on(&there, unplaced::read(1)).await, 1);
    proxy.set(NetworkFault::Fair);
    until("it is back", || here.tiers()[0].health.connected).await;
    commit(&unplaced::VERSION);
    drop(guard);
    until("the other has heard of it", || server.records().is_empty()).await;
    sleep(LEASE * 2).await;
    assert_eq!(on(&there, unplaced::read(1)).await, 2);
}

truth!(late);

/// A request that ran out of time drops the guard; its commit lands all the same.
#[tokio::test]
async fn a_commit_that_lands_after_its_guard_was_dropped_leaves_nothing_old() {
    let server = Server::start();
    let (here, there) = instances(&server).await;
    let guard = on(&here, async { late::read::entry(1).write_guard().await });
    drop(guard.await.unwrap());
    until("the tiers were told", || here.tiers()[0].health.queued == 0).await;
    assert_eq!(on(&there, late::read(1)).await, 1, "before the commit");
    commit(&late::VERSION);
    sleep(LEASE * 2).await;
    assert_eq!(on(&there, late::read(1)).await, 2);
}

truth!(isolated);

#[tokio::test]
async fn what_a_runtime_does_when_it_is_cut_off_is_a_setting_of_its_own() {
    for (when_isolated, expected) in [(WhenIsolated::Serve, 1), (WhenIsolated::Load, 2)] {
        isolated::VERSION.store(1, Ordering::SeqCst);
        let mut server = Server::start();
        let here = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(Redis::new(server.url()))
            .when_isolated(when_isolated)
            .build()
            .await
            .unwrap();
        assert_eq!(on(&here, isolated::read(1)).await, 1);
        server.kill();
        until("it is cut off", || !here.tiers()[0].health.connected).await;
        commit(&isolated::VERSION);
        assert_eq!(on(&here, isolated::read(1)).await, expected);
    }
}

/// The tier that has its own guard cannot be asked.
#[tokio::test]
async fn a_guard_holds_here_whichever_tier_fails() {
    #[multi_tier_cached(ttl = "100s")]
    async fn unasked(_key: u64) -> u64 {
        UNASKED.load(Ordering::SeqCst)
    }
    static UNASKED: AtomicU64 = AtomicU64::new(1);

    let fake_tier = FakeTier::new();
    (0..2).for_each(|_| fake_tier.let_through());
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime, async {
        let guard = unasked::entry(1).write_guard().await.unwrap();
        assert!(guard.is_held());
        fake_tier.break_down();
        assert_eq!(unasked(1).await, 1);
        UNASKED.store(2, Ordering::SeqCst);
        assert_eq!(unasked(1).await, 2, "it was kept");
        guard.invalidate().await.unwrap();
        UNASKED.store(3, Ordering::SeqCst);
        assert_eq!(unasked(1).await, 3);
        UNASKED.store(4, Ordering::SeqCst);
        assert_eq!(unasked(1).await, 3, "it is not kept any more");
    })
    .await;
}
