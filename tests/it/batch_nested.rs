//! Bodies of batches that call other functions, whose bodies call the ids of the batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::Function;
use testbed::server::Server;
use testbed::{Gate, Instance};
use tokio::time::timeout;

fn function(name: &'static str) -> Function<u64> {
    let builder = Function::<u64>::builder(name).ttl(Duration::from_secs(3600));
    builder.build().unwrap()
}

/// The body of the batch of 1 and 2 waits for the load of `other`, which waits for the load of 1.
#[tokio::test]
async fn batch_and_another_load_that_wait_for_each_other_end() {
    let here = Instance::with_memory().await;
    let (tens, other) = (
        function("batch_nested::tens"),
        function("batch_nested::other"),
    );
    let (gate, waits) = (Arc::new(Gate::new()), Arc::new(Gate::new()));
    let second = {
        let (tens, other, gate) = (tens.clone(), other.clone(), Arc::clone(&gate));
        async move {
            let body = || async move {
                gate.pass().await;
                tens.get_or_load((1_u64,), || async { 7 }).await
            };
            other.get_or_load((5_u64,), body).await
        }
    };
    let second = here.spawn(second);
    gate.until_entered(1).await;
    let first = {
        let (tens, other, waits) = (tens.clone(), other.clone(), Arc::clone(&waits));
        async move {
            let body = async |ids: Vec<u64>| {
                waits.open();
                waits.pass().await;
                let nested = other.get_or_load((5_u64,), || async { 0 }).await;
                ids.into_iter().map(|id| (id, nested)).collect()
            };
            let found: HashMap<u64, u64> =
                tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body).await;
            found
        }
    };
    let first = here.spawn(first);
    waits.until_entered(1).await;
    testbed::until("the batch waits for the other load", || {
        let stats = testbed::counts::function_stats(&here, "batch_nested::other");
        stats.is_some_and(|stats| stats.waits == 1)
    })
    .await;
    gate.open();
    let limit = Duration::from_secs(5);
    let second = timeout(limit, second).await.expect("no deadlock").unwrap();
    let first = timeout(limit, first).await.expect("no deadlock").unwrap();
    assert_eq!((second, first), (7, HashMap::from([(1, 7), (2, 7)])));
}

/// The body runs for id 1 while the batch leads the flight of id 2, and waits there for the load of
/// another instance.
#[tokio::test]
async fn body_that_calls_an_id_which_another_instance_loads_does_not_wait_for_its_own_batch() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let (tens, gate) = (function("batch_nested::elsewhere"), Arc::new(Gate::new()));
    let elsewhere = {
        let (tens, gate) = (tens.clone(), Arc::clone(&gate));
        async move {
            let body = || async move {
                gate.pass().await;
                20
            };
            tens.get_or_load((2_u64,), body).await
        }
    };
    let elsewhere = there.spawn(elsewhere);
    gate.until_entered(1).await;
    let body = async |ids: Vec<u64>| {
        assert_eq!(ids, [1], "the other instance has the lease of id 2");
        let nested = tens.get_or_load((2_u64,), || async { 7 }).await;
        // A call outside of the body gets what the other instance has loaded, while the body runs.
        gate.open();
        let outside = here.spawn({
            let tens = tens.clone();
            async move { tens.get_or_load((2_u64,), || async { 8 }).await }
        });
        let outside = outside.await.unwrap();
        ids.into_iter()
            .map(|id| (id, nested + 100 * outside))
            .collect()
    };
    let batch = tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body);
    let batch = timeout(Duration::from_secs(5), here.call(batch));
    let found: HashMap<u64, u64> = batch.await.expect("no deadlock");
    assert_eq!(found, HashMap::from([(1, 2_007), (2, 20)]));
    assert_eq!(elsewhere.await.unwrap(), 20);
}
