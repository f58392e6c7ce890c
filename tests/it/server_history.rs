//! A server that lost data, or may have, begins a new history, under which older records are
//! misses.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{invalidate, multi_tier_cached};

use testbed::deployment::Deployment;
use testbed::{Instance, Truth, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Commits a new version and invalidates key 1.
async fn change(instance: &Instance, truth: &Truth) -> Receipt {
    truth.commit();
    instance.invalidate(invalidate!(read, truth, 1)).await
}

#[tokio::test]
async fn record_that_a_server_restart_brings_back_is_not_read() {
    let mut servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    servers.on_all(&["SAVE"]);
    assert_eq!(change(&here, &truth).await, Receipt::Acked);
    servers.restart();
    assert_eq!(servers.records().len(), 1, "the old record is back");
    here.until_connected().await;
    there.until_connected().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    let changes = here.tier_health().history_changes + there.tier_health().history_changes;
    assert!(changes >= 1, "no instance has begun a new history");
}

#[tokio::test]
async fn flushed_server_is_used_again_and_brings_no_old_value_back() {
    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    servers.on_primaries(&["FLUSHALL"]);
    servers.on_primaries(&["SCRIPT", "FLUSH"]);
    // It is queued if a barrier has noticed the flush, and the link begins again.
    change(&here, &truth).await;
    here.until_queue_is_empty().await;
    here.until_coherent().await;
    there.until_coherent().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
    change(&there, &truth).await;
    until_returns(3, BOUND, async || here.call(read(&truth, 1)).await).await;
}
