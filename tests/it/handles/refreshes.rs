//! Refreshes through handles.

use multi_tier_cached::Function;
use testbed::server::Server;
use testbed::{Gate, Instance};

use super::MINUTE;

/// The refreshed value must stay in memory and in Redis when the older load ends.
#[tokio::test]
async fn refresh_is_not_overwritten_by_a_load_that_began_before_it() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let function = Function::<u64>::builder("handles::refreshed").ttl(MINUTE);
    let function = function.build().unwrap();
    let gate = Gate::new();
    let mut load = Box::pin(here.call(function.get_or_load((1,), || async {
        gate.pass().await;
        1
    })));
    tokio::select! {
        value = &mut load => panic!("the load did not wait at the gate: {value}"),
        () = gate.until_entered(1) => {}
    }
    let refreshed = here.call(async { function.entry((1,)).refresh(|| async { 2 }).await });
    assert_eq!(refreshed.await, 2);
    gate.open();
    assert_eq!(load.await, 1, "a load returns its own value");
    let value = here.call(function.get_or_load((1,), || async { 3 })).await;
    assert_eq!(value, 2, "{}", here.stats());
    let value = there
        .call(async { function.entry((1,)).peek().await })
        .await;
    assert_eq!(value, Some(2), "{}", there.stats());
}

#[tokio::test]
async fn refresh_removes_the_value_when_its_body_returns_nothing_to_store() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let function = Function::<u64>::builder("handles::emptied")
        .ttl(MINUTE)
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    for (key, emptied) in [(1u64, None), (2, Some(11))] {
        here.call(async {
            assert_eq!(function.get_or_load((key,), || async { 3 }).await, 3);
            let refreshed = function.entry((key,)).refresh(|| async { emptied }).await;
            assert_eq!(refreshed, emptied);
            assert_eq!(function.entry((key,)).peek().await, None);
        })
        .await;
        let peeked = there.call(async { function.entry((key,)).peek().await });
        assert_eq!(peeked.await, None);
    }
}

/// An error says nothing about the value.
#[tokio::test]
async fn refresh_leaves_the_value_when_its_body_fails() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let function = Function::<u64>::builder("handles::failed").ttl(MINUTE);
    let function = function.build().unwrap();
    here.call(async {
        function.get_or_load((3,), || async { 3 }).await;
        let failed = function.entry((3,)).refresh(|| async { Err(()) }).await;
        assert_eq!(failed, Err::<u64, ()>(()));
        assert_eq!(function.entry((3,)).peek().await, Some(3));
    })
    .await;
}
