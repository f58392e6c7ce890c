//! Puts and invalidations through handles.

use multi_tier_cached::{Function, Ttl, invalidate, multi_tier_cached};
use testbed::server::Server;
use testbed::{Gate, Instance, Truth};

use super::{MINUTE, next};

#[multi_tier_cached(ttl = "1h")]
async fn plain(_id: u64) -> u64 {
    next()
}

#[multi_tier_cached(ttl = "1h")]
async fn named(_name: &str) -> u64 {
    next()
}

#[multi_tier_cached(ttl = "1h", skip(truth, gate))]
async fn gated(truth: &Truth, gate: &Gate, _id: u64) -> u64 {
    let value = truth.read();
    gate.pass().await;
    value
}

#[tokio::test]
async fn put_is_seen_by_other_instances_and_not_overwritten_by_a_load_in_progress() {
    const PUT: u64 = 1_000;
    let (truth, gate) = (Truth::new(), Gate::new());
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let mut load = Box::pin(here.call(gated(&truth, &gate, 50)));
    tokio::select! {
        value = &mut load => panic!("the load did not wait at the gate: {value}"),
        () = gate.until_entered(1) => {}
    }
    let put = here.call(async { gated::entry(&truth, &gate, 50).put(PUT).await });
    put.await.unwrap();
    gate.open();
    assert_eq!(load.await, 1, "a load returns its own value");
    let value = here.call(gated(&truth, &gate, 50)).await;
    assert_eq!(value, PUT, "{}", here.stats());
    let value = there.call(gated(&truth, &gate, 50)).await;
    assert_eq!(value, PUT, "{}", there.stats());
}

#[tokio::test]
async fn put_of_a_value_that_cache_if_rejects_removes_the_stored_value() {
    let function = Function::<u64>::builder("handles::judged")
        .ttl(MINUTE)
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    Instance::with_memory()
        .await
        .call(async {
            let entry = function.entry((1,));
            entry.put(5).await.unwrap();
            assert_eq!(entry.peek().await, Some(5));
            entry.put(50).await.unwrap();
            assert_eq!(entry.peek().await, None);
        })
        .await;
}

#[tokio::test]
async fn put_into_a_function_that_is_not_cached_fails_and_says_why() {
    let function = Function::<u64>::builder("handles::flawed");
    let function = function.ttl(Ttl::policy("none")).build().unwrap();
    let here = Instance::with_memory().await;
    let put = here.call(async { function.entry((1,)).put(1).await });
    let error = format!("{:?}", put.await.unwrap_err());
    assert!(
        error.contains("is not cached") && error.contains("unknown policy `none`"),
        "{error}"
    );
}

/// An invalidation borrows nothing from its arguments, so a task of its own may run it.
#[tokio::test]
async fn invalidation_can_run_in_another_task() {
    let here = Instance::with_memory().await;
    let first = here.call(plain(60)).await;
    here.spawn(invalidate!(plain, 60)).await.unwrap().unwrap();
    let second = here.call(plain(60)).await;
    assert_ne!(first, second);
    here.spawn(invalidate!(plain)).await.unwrap().unwrap();
    assert_ne!(second, here.call(plain(60)).await);
    let invalidation = {
        let name = String::from("here");
        here.call(named(&name)).await;
        invalidate!(named, &name)
    };
    here.spawn(invalidation).await.unwrap().unwrap();
    let peeked = here.call(async { named::entry("here").peek().await });
    assert_eq!(peeked.await, None);
}
