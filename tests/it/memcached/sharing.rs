//! Instances share records, and apply each other's invalidations within the staleness bound.

use multi_tier_cached::invalidate;
use multi_tier_cached::tier::Receipt;
use testbed::memcached::Memcached as Server;
use testbed::{Truth, assert_reads, until};

use super::{assert_replaced_within_bound, read, two_instances};

#[tokio::test]
async fn value_of_one_instance_is_found_by_another_until_it_is_invalidated() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    until("the record is stored", || {
        server.has_item("mtc:it::memcached::read:1:1")
    })
    .await;
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    assert_reads(&truth, 1, &[&here, &there]).await;
    for whole_function in [false, true] {
        let old = there.call(read(&truth, 1)).await;
        truth.commit();
        let receipt = match whole_function {
            true => here.invalidate(invalidate!(read)).await,
            false => here.invalidate(invalidate!(read, &truth, 1)).await,
        };
        assert_eq!(receipt, Receipt::Acked);
        assert_eq!(here.call(read(&truth, 1)).await, old + 1);
        assert_replaced_within_bound(&there, &truth, 1, old).await;
    }
}

/// `flush_all` removes the log, and memcached does not report it.
#[tokio::test]
async fn lost_log_invalidates_everything_within_the_bound() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    truth.commit();
    server.ask("flush_all");
    assert_replaced_within_bound(&there, &truth, 1, 1).await;
    assert!(there.tier_health().gaps > 0, "{:?}", there.tier_health());
}
