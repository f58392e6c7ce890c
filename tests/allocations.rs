//! A hit allocates nothing while its arguments are short, whatever their types. The counter is the
//! allocator of the process, so this test is a binary of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use multi_tier_cached::{CacheRuntime, Engine, Memory, Tag, multi_tier_cached};

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn by_id(shard: u32, id: u64) -> Arc<str> {
    format!("{shard} {id}").into()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn by_name(name: &str) -> Arc<str> {
    name.into()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", stale_while_revalidate = "1h")]
async fn by_name_and_id(name: String, id: u64) -> Arc<str> {
    format!("{name} {id}").into()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", tags = ["shard:{shard}", "id:{id}", "a", "b"])]
async fn with_tags(shard: u32, id: u64) -> Arc<str> {
    format!("{shard} {id}").into()
}

#[multi_tier_cached(
    ttl = "1h",
    tiers = "l1",
    stale_if_error = "1h",
    tags = ["shard:{shard}", "id:{id}", "a", "b"]
)]
async fn with_tags_and_window(shard: u32, id: u64) -> Arc<str> {
    format!("{shard} {id}").into()
}

const HITS: u64 = 100;

/// Returns the allocations of so many hits. A hit is ready at the first poll.
fn allocations<T>(call: impl Fn() -> T) -> u64
where
    T: Future<Output = Arc<str>>,
{
    let counted = allocation_counter::measure(|| {
        for _ in 0..HITS {
            let future = pin!(call());
            let polled = future.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(_)), "the call was no hit");
        }
    });
    counted.count_total
}

#[tokio::test]
async fn hit_allocates_nothing_while_its_arguments_are_short() {
    let memory = Memory::builder().engine(Engine::QuickCache);
    let installed = CacheRuntime::builder().l1(memory).install().await;
    installed.unwrap();
    by_id(1, 2).await;
    assert_eq!(allocations(|| by_id(1, 2)), 0);
    // The lengths at which a text is read, written, hashed or stored in another way.
    for len in [0, 1, 3, 4, 7, 8, 15, 16, 17, 19, 20, 32, 33, 64, 113] {
        let name = "n".repeat(len);
        assert_eq!(&*by_name(&name).await, name);
        assert_eq!(allocations(|| by_name(&name)), 0, "a text of {len} bytes");
    }
    // The program allocates the argument.
    by_name_and_id("user0001".to_owned(), 2).await;
    let own = allocations(|| by_name_and_id("user0001".to_owned(), 2));
    assert_eq!(own, HITS);
    // Also after another tag was invalidated and expired, so that each fence is compared.
    for _ in 0..2 {
        with_tags(1, 2).await;
        with_tags_and_window(1, 2).await;
        assert_eq!(allocations(|| with_tags(1, 2)), 0, "four tags");
        assert_eq!(allocations(|| with_tags_and_window(1, 2)), 0, "four tags");
        let runtime = CacheRuntime::current();
        let another = [Tag::new("another")];
        runtime.invalidate_tags(another).await.unwrap();
        runtime.expire_tags(another).await.unwrap();
    }
    // Longer arguments are allocated once.
    for len in [114, 120, 500, 5_000] {
        let name = "n".repeat(len);
        assert_eq!(&*by_name(&name).await, name);
        assert_eq!(
            allocations(|| by_name(&name)),
            HITS,
            "a text of {len} bytes"
        );
    }
}
