//! A server that lost data, or may have, begins a new history, under which older records are
//! misses.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{invalidate, multi_tier_cached};

use testbed::server::Server;
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
    let mut server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    let _: () = server.command(&["SAVE"]);
    assert_eq!(change(&here, &truth).await, Receipt::Acked);
    server.kill();
    server.restart();
    assert_eq!(server.records().len(), 1, "the old record is back");
    here.until_connected().await;
    there.until_connected().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    let changes = here.tier_health().history_changes + there.tier_health().history_changes;
    assert!(changes >= 1, "no instance has begun a new history");
}

#[tokio::test]
async fn flushed_server_is_used_again_and_brings_no_old_value_back() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    let _: () = server.command(&["FLUSHALL"]);
    let _: () = server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(change(&here, &truth).await, Receipt::Acked);
    here.until_coherent().await;
    there.until_coherent().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
    change(&there, &truth).await;
    until_returns(3, BOUND, async || here.call(read(&truth, 1)).await).await;
}
