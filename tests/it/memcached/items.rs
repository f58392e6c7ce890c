//! The items in the server: foreign ones are replaced, and each lives as long as it must.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Memcached, invalidate, multi_tier_cached};
use testbed::memcached::Memcached as Server;
use testbed::{Truth, assert_reads, until};
use tokio::time::sleep;

use super::{assert_replaced_within_bound, instance, read, two_instances};

/// The flags of a record.
const RECORD: u32 = 0x4D54_4301;

#[tokio::test]
async fn foreign_items_are_replaced() {
    let server = Server::start();
    let memcached = || Memcached::new(server.url()).namespace("shop");
    let here = instance(memcached()).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    let record = "shop:it::memcached::read:1:1";
    let is_stored = || server.flags(record) == Some(RECORD);
    until("the record is stored", is_stored).await;
    for name in [record, "shop:#h", "shop:#n"] {
        server.set(name, "abc");
    }
    let there = instance(memcached()).await;
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    assert_reads(&truth, 2, &[&here, &there]).await;
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_replaced_within_bound(&there, &truth, 1, 1).await;
}

/// memcached takes a number of seconds above thirty days for a date.
#[tokio::test]
async fn record_with_a_ttl_of_forty_days_is_kept_for_forty_days() {
    #[multi_tier_cached(ttl = "40days", name = "forty_days")]
    async fn long(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let here = instance(Memcached::new(server.url())).await;
    here.call(long(1)).await;
    let day = 24 * 60 * 60;
    // The lease that was there before the record is kept for seconds.
    until("the record is kept for forty days", || {
        let left = server.seconds_left("mtc:forty_days:1:1");
        left.is_some_and(|left| left > 37 * day && left < 41 * day)
    })
    .await;
}

#[tokio::test]
async fn record_expires_by_its_ttl_although_memcached_counts_in_seconds() {
    #[multi_tier_cached(ttl = "300ms", name = "a_moment", skip(truth))]
    async fn short(truth: &Truth, _key: u64) -> u64 {
        truth.read();
        truth.reads()
    }

    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let truth = Truth::new();
    let first = here.call(short(&truth, 1)).await;
    until("the record is stored", || {
        server.flags("mtc:a_moment:1:1") == Some(RECORD)
    })
    .await;
    assert_eq!(there.call(short(&truth, 1)).await, first);
    sleep(Duration::from_millis(300)).await;
    assert_ne!(there.call(short(&truth, 1)).await, first, "it has expired");
}

/// All records that carry an epoch or a history would become invalid with it.
#[tokio::test]
async fn epochs_histories_and_the_counter_of_the_log_never_expire() {
    let server = Server::start();
    let here = instance(Memcached::new(server.url())).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    let names = ["mtc:#h", "mtc:it::memcached::read:1#e", "mtc:#n"];
    let expiries = || names.map(|name| server.seconds_left(name));
    until("the items exist and never expire", || {
        expiries() == [Some(-1); 3]
    })
    .await;
    here.invalidate(invalidate!(read)).await;
    here.invalidate_all().await.unwrap();
    assert_eq!(expiries(), [Some(-1); 3], "after invalidations: {names:?}");
}
