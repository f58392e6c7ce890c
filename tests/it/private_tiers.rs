//! A private tier, which receives no invalidations of other instances, below a shared one, which
//! does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Function, Level, Memory, Redis, invalidate, multi_tier_cached,
};
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{two_tiers, until, until_ok};
use tokio::time::timeout;

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

fn hits(runtime: &CacheRuntime, level: Level) -> u64 {
    runtime.stats().functions[0].tier(level).unwrap().hits
}

/// An instance with memory, the Redis that it shares, and a private tier.
async fn instance(server: &Server, private: &FakeTier) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .l3(private.clone())
        .build()
        .await
        .unwrap()
}

/// An instance without memory, so that a call must ask the tiers.
async fn without_memory(server: &Server, private: &FakeTier) -> CacheRuntime {
    CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(private.clone())
        .build()
        .await
        .unwrap()
}

async fn filled(private: &FakeTier) {
    until("the private tier is filled", || private.len() == 1).await;
}

#[tokio::test]
async fn private_tier_returns_no_value_that_another_instance_has_invalidated() {
    #[multi_tier_cached(ttl = "100s")]
    async fn invalidated_elsewhere(_key: u64) -> u64 {
        ELSEWHERE.load(Ordering::SeqCst)
    }
    static ELSEWHERE: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let (private, other_private) = (FakeTier::new(), FakeTier::new());
    let here = instance(&server, &private).await;
    let there = instance(&server, &other_private).await;
    assert_eq!(on(&here, invalidated_elsewhere(1)).await, 1);
    filled(&private).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    ELSEWHERE.store(2, Ordering::SeqCst);
    other_private.let_through();
    let receipt = on(&there, async {
        invalidate!(invalidated_elsewhere, 1).await
    });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    let sees_new_value = until_ok(
        "the first instance returns the new value",
        async || match on(&here, invalidated_elsewhere(1)).await {
            2 => Ok(()),
            value => Err(value),
        },
    );
    let in_time = timeout(Duration::from_millis(500), sees_new_value).await;
    assert!(in_time.is_ok(), "{}", here.stats());
    assert_eq!(hits(&here, Level::L3), 0, "{}", here.stats());
}

/// The restarted process cannot know which invalidations it has missed.
#[tokio::test]
async fn private_tier_returns_no_value_from_before_a_restart() {
    #[multi_tier_cached(ttl = "100s")]
    async fn restarted(_key: u64) -> u64 {
        RESTARTED.fetch_add(1, Ordering::SeqCst)
    }
    static RESTARTED: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let private = FakeTier::new();
    let before = instance(&server, &private).await;
    assert_eq!(on(&before, restarted(1)).await, 1);
    filled(&private).await;
    before.shutdown().await.unwrap();
    let _: () = server.command(&["FLUSHALL"]);
    let after = instance(&server, &private).await;
    assert_eq!(on(&after, restarted(1)).await, 2, "{}", after.stats());
}

/// Two private tiers, so that the end of the promotion is seen in the upper one. The shared tier
/// must not receive the copy: this instance may lag behind, and all others would read it.
#[tokio::test]
async fn value_of_a_private_tier_is_returned_when_the_shared_tier_lost_it_and_is_not_copied_there()
{
    #[multi_tier_cached(ttl = "100s")]
    async fn lost(_key: u64) -> u64 {
        LOST.fetch_add(1, Ordering::SeqCst)
    }
    static LOST: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let (upper, lower) = (FakeTier::new(), FakeTier::new());
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(upper.clone())
        .l4(lower.clone())
        .build()
        .await
        .unwrap();
    assert_eq!(on(&here, lost(1)).await, 1);
    filled(&upper).await;
    filled(&lower).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    upper.empty();
    assert_eq!(on(&here, lost(1)).await, 1, "nobody has invalidated it");
    assert_eq!(hits(&here, Level::L4), 1, "{}", here.stats());
    filled(&upper).await;
    assert_eq!(server.records(), [""; 0]);
}

/// The private tier may lag behind by the staleness bound, which a strong call does not accept.
#[tokio::test]
async fn strong_call_loads_when_only_a_private_tier_has_the_value() {
    #[multi_tier_cached(ttl = "100s", consistency = "strong")]
    async fn strong(_key: u64) -> u64 {
        STRONG.fetch_add(1, Ordering::SeqCst)
    }
    static STRONG: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    assert_eq!(on(&here, strong(1)).await, 1);
    filled(&private).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    let call = timeout(Duration::from_secs(10), on(&here, strong(1)));
    assert_eq!(call.await, Ok(2), "{}", here.stats());
}

/// While the function did not exist in this process, nothing recorded its invalidations.
#[tokio::test]
async fn rebuilt_function_returns_no_value_that_was_invalidated_while_it_was_dropped() {
    let server = Server::start();
    let private = FakeTier::new();
    let here = instance(&server, &private).await;
    let there = two_tiers(&server.url()).await;
    let build = || {
        let function = Function::<u64>::builder("private_tiers::rebuilt");
        function.ttl(Duration::from_secs(60)).build().unwrap()
    };
    let function = build();
    on(&here, function.get_or_load((1,), async || 1)).await;
    filled(&private).await;
    drop(function);
    let function = build();
    on(&there, function.invalidate_all()).await.unwrap();
    until_ok("the first instance loads again", async || {
        match on(&here, function.get_or_load((1,), async || 2)).await {
            2 => Ok(()),
            value => Err(value),
        }
    })
    .await;
}

/// Makes every lease fail, so that a load cannot ask whether the key is being changed.
fn refuse_leases(server: &Server) {
    let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
}

#[tokio::test]
async fn load_is_not_stored_in_a_private_tier_when_the_shared_tier_could_not_be_asked() {
    #[multi_tier_cached(ttl = "100s")]
    async fn unasked(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    refuse_leases(&server);
    on(&here, unasked(1)).await;
    assert!(private.is_empty());
    let _: () = server.command(&["ACL", "SETUSER", "default", "+evalsha"]);
    on(&here, unasked(1)).await;
    filled(&private).await;
}

#[tokio::test]
async fn refresh_removes_the_value_of_a_private_tier_when_the_shared_tier_could_not_be_asked() {
    #[multi_tier_cached(ttl = "100s")]
    async fn refreshed(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    on(&here, refreshed(1)).await;
    filled(&private).await;
    refuse_leases(&server);
    on(&here, async { refreshed::entry(1).refresh().await }).await;
    assert!(private.is_empty());
}
