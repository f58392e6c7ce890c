//! Timeouts over each store, in real time: a store that is waited for must not see a paused clock.

use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use testbed::until;

use super::bodies::{Body, Failed, Timed, stats, timed};
use crate::stale::in_every_store;
use crate::stale::stores::{Node, Store};

const HARD: Duration = Duration::from_millis(300);

/// How much later a call may return on a busy machine. The limit of the body is later.
const SLACK: Duration = Duration::from_millis(1_500);

#[multi_tier_cached(ttl = "60s", hard_timeout = "300ms", load_limit = "3s", skip(body))]
async fn limited(body: &Body, _key: u64) -> Result<u64, Failed> {
    Ok(body.clone().run().await)
}

fn call(node: &Node, body: &Body, key: u64) -> Timed<Result<u64, Failed>> {
    let body = body.clone();
    timed(node, async move { limited(&body, key).await })
}

/// Calls of all instances return at their timeout.
async fn assert_wave(nodes: &[&Node], body: &Body) {
    let calls: Vec<_> = (0..16)
        .map(|number| call(nodes[number % nodes.len()], body, 1))
        .collect();
    for call in calls {
        let (result, took) = call.await.unwrap();
        assert!(matches!(result, Err(Failed::Timeout(_))), "{result:?}");
        assert!(HARD <= took && took < HARD + SLACK, "{took:?}");
    }
}

async fn no_call_waits_longer_for_a_body_that_never_ends(store: Store) {
    let (here, there, body) = (store.node().await, store.node().await, Body::endless());
    let nodes: &[&Node] = match store.has_tier() {
        true => &[&here, &there],
        false => &[&here],
    };
    for _ in 0..2 {
        assert_wave(nodes, &body).await;
        assert_eq!(
            (body.began(), body.alive()),
            (1, 1),
            "one load in all instances"
        );
    }
    body.takes(Some(Duration::from_millis(1)));
    until("the body is dropped at its limit", || body.alive() == 0).await;
    for node in nodes {
        node.until_idle().await;
    }
    let abandoned = nodes.iter().map(|node| stats(node, "limited").abandoned);
    assert_eq!(abandoned.sum::<u64>(), 1);
    let timeouts = nodes.iter().map(|node| stats(node, "limited").timeouts);
    assert_eq!(timeouts.sum::<u64>(), 32);
    for node in nodes {
        let (result, _) = call(node, &body, 1).await.unwrap();
        assert!(result.is_ok(), "the key is free: {result:?}");
    }
}

async fn late_value_is_kept_under_its_lease(store: Store) {
    let (here, there) = (store.node().await, store.node().await);
    let body = Body::taking(HARD * 3 / 2);
    let (result, _) = call(&here, &body, 2).await.unwrap();
    assert!(matches!(result, Err(Failed::Timeout(_))), "{result:?}");
    here.until_idle().await;
    assert_eq!(call(&here, &body, 2).await.unwrap().0, Ok(1));
    if store.has_tier() {
        until("the value is stored", || here.fills() == 1).await;
        assert_eq!(call(&there, &body, 2).await.unwrap().0, Ok(1));
    }
    assert_eq!(body.began(), 1);
}

in_every_store!(
    no_call_waits_longer_for_a_body_that_never_ends,
    late_value_is_kept_under_its_lease,
);
