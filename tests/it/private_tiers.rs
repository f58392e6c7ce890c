//! A private tier, which receives no invalidations of other instances, below a shared one, which
//! does.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Function, Level, Memory, Redis, invalidate, multi_tier_cached,
};
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_tier, until, until_ok};
use tokio::time::timeout;

#[multi_tier_cached(ttl = "100s", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// An instance with memory, the Redis that it shares, and a private tier.
async fn instance(server: &Server, private: &FakeTier) -> Instance {
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .l3(private.clone());
    Instance::build(builder).await
}

/// An instance without memory, so that a call must ask the tiers.
async fn without_memory(server: &Server, private: &FakeTier) -> Instance {
    let builder = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(private.clone());
    Instance::build(builder).await
}

async fn filled(private: &FakeTier) {
    until("the private tier is filled", || private.len() == 1).await;
}

#[tokio::test]
async fn private_tier_returns_no_value_that_another_instance_has_invalidated() {
    let truth = Truth::new();
    let server = Server::start();
    let (private, other_private) = (FakeTier::new(), FakeTier::new());
    let here = instance(&server, &private).await;
    let there = instance(&server, &other_private).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    filled(&private).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    truth.commit();
    other_private.let_through();
    assert_eq!(
        there.invalidate(invalidate!(read, &truth, 1)).await,
        Receipt::Acked
    );
    let sees_new_value = until_ok(
        "the first instance returns the new value",
        async || match here.call(read(&truth, 1)).await {
            2 => Ok(()),
            value => Err(value),
        },
    );
    let in_time = timeout(Duration::from_millis(500), sees_new_value).await;
    assert!(in_time.is_ok(), "{}", here.stats());
    assert_tier(&here, "read", Level::L3, |tier| tier.hits, 0).await;
}

/// The restarted process cannot know which invalidations it has missed.
#[tokio::test]
async fn private_tier_returns_no_value_from_before_a_restart() {
    let truth = Truth::new();
    let server = Server::start();
    let private = FakeTier::new();
    let before = instance(&server, &private).await;
    assert_eq!(before.call(read(&truth, 1)).await, 1);
    filled(&private).await;
    before.shutdown().await.unwrap();
    let _: () = server.command(&["FLUSHALL"]);
    truth.commit();
    let after = instance(&server, &private).await;
    assert_eq!(after.call(read(&truth, 1)).await, 2, "{}", after.stats());
}

/// Two private tiers, so that the end of the promotion is seen in the upper one. The shared tier
/// must not receive the copy: this instance may lag behind, and all others would read it.
#[tokio::test]
async fn value_of_a_private_tier_is_returned_when_the_shared_tier_lost_it_and_is_not_copied_there()
{
    let truth = Truth::new();
    let server = Server::start();
    let (upper, lower) = (FakeTier::new(), FakeTier::new());
    let here = Instance::build(
        CacheRuntime::builder()
            .l2(Redis::new(server.url()))
            .l3(upper.clone())
            .l4(lower.clone()),
    )
    .await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    filled(&upper).await;
    filled(&lower).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    upper.empty();
    truth.commit();
    assert_eq!(
        here.call(read(&truth, 1)).await,
        1,
        "it was not invalidated"
    );
    assert_tier(&here, "read", Level::L4, |tier| tier.hits, 1).await;
    filled(&upper).await;
    assert_eq!(server.records(), [""; 0]);
}

/// The private tier may lag behind by the staleness bound, which a strong call does not accept.
#[tokio::test]
async fn strong_call_loads_when_only_a_private_tier_has_the_value() {
    #[multi_tier_cached(ttl = "100s", consistency = "strong", skip(truth))]
    async fn strong(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let truth = Truth::new();
    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    assert_eq!(here.call(strong(&truth, 1)).await, 1);
    filled(&private).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    truth.commit();
    let call = timeout(Duration::from_secs(10), here.call(strong(&truth, 1)));
    assert_eq!(call.await, Ok(2), "{}", here.stats());
}

/// While the function did not exist in this process, nothing recorded its invalidations.
#[tokio::test]
async fn rebuilt_function_returns_no_value_that_was_invalidated_while_it_was_dropped() {
    let server = Server::start();
    let private = FakeTier::new();
    let here = instance(&server, &private).await;
    let there = Instance::with_redis_at(&server.url()).await;
    let build = || {
        let function = Function::<u64>::builder("private_tiers::rebuilt");
        function.ttl(Duration::from_secs(60)).build().unwrap()
    };
    let function = build();
    here.call(function.get_or_load((1,), async || 1)).await;
    filled(&private).await;
    drop(function);
    let function = build();
    there.call(function.invalidate_all()).await.unwrap();
    until_ok("the first instance loads again", async || {
        match here.call(function.get_or_load((1,), async || 2)).await {
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
    let truth = Truth::new();
    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    refuse_leases(&server);
    here.call(read(&truth, 1)).await;
    assert!(private.is_empty());
    let _: () = server.command(&["ACL", "SETUSER", "default", "+evalsha"]);
    here.call(read(&truth, 1)).await;
    filled(&private).await;
}

#[tokio::test]
async fn refresh_removes_the_value_of_a_private_tier_when_the_shared_tier_could_not_be_asked() {
    let truth = Truth::new();
    let server = Server::start();
    let private = FakeTier::new();
    let here = without_memory(&server, &private).await;
    here.call(read(&truth, 1)).await;
    filled(&private).await;
    refuse_leases(&server);
    here.call(async { read::entry(&truth, 1).refresh().await })
        .await;
    assert!(private.is_empty());
}
