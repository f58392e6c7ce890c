//! Calls beside a load that runs, and the parts of an explanation.

use std::sync::Arc;

use multi_tier_cached::{Explanation, Level, NextCall, multi_tier_cached};

use testbed::server::Server;
use testbed::{Gate, Instance};

use super::{assert_next, tier};

#[multi_tier_cached(ttl = "1h", name = "explain::gated", skip(gate))]
async fn gated(gate: Arc<Gate>, _key: u64) -> Result<Option<u64>, String> {
    Ok(Some(gate.pass().await))
}

#[tokio::test]
async fn call_joins_a_load_here_and_waits_for_one_elsewhere() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let gate = Arc::new(Gate::new());
    let call = first.spawn(gated(Arc::clone(&gate), 1));
    gate.until_entered(1).await;
    let explained = async |instance: &Instance| {
        let entry = gated::entry(Arc::clone(&gate), 1);
        instance.call(entry.explain()).await
    };
    let here = explained(&first).await;
    assert!(here.flight.is_some_and(|flight| !flight.has_waiters));
    assert_next(&here, |next| *next == NextCall::Joins);
    let elsewhere = explained(&second).await;
    let lease = tier(&elsewhere, Level::L2).lease.unwrap();
    assert!(
        lease.exclusive && !lease.waited && lease.left.is_some(),
        "{elsewhere}"
    );
    let level = Level::L2;
    assert_next(&elsewhere, |next| *next == NextCall::Waits { level });
    gate.open();
    assert_eq!(call.await.unwrap(), Ok(Some(1)));
}

#[tokio::test]
async fn explanation_can_be_written_as_json_and_read_back() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let gate = Arc::new(Gate::new());
    gate.open();
    here.call(gated(Arc::clone(&gate), 1)).await.unwrap();
    let explained = here.call(gated::entry(gate, 1).explain()).await;
    let json = serde_json::to_string(&explained).unwrap();
    let read: Explanation = serde_json::from_str(&json).unwrap();
    assert_eq!(read, explained);
    let table = explained.to_string();
    for part in [
        "explain::gated  key 1  version 1",
        "l1 memory",
        "l2 redis",
        "a call now",
    ] {
        assert!(table.contains(part), "{table}");
    }
}
