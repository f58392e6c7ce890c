//! Two tests that share one installed cache. The Tokio runtime of a `#[tokio::test]` ends with its
//! test, so the cache is installed in a runtime that lives as long as the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use multi_tier_cached::{CacheRuntime, Memory, Redis, multi_tier_cached};
use testbed::server::Server;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

static SERVER: LazyLock<Mutex<Option<Server>>> =
    LazyLock::new(|| Mutex::new(Some(Server::start())));
static TOKIO: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static CACHE: OnceCell<CacheRuntime> = OnceCell::const_new();

async fn cache() -> &'static CacheRuntime {
    let install = || async {
        let url = SERVER.lock().unwrap().as_ref().unwrap().url();
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(Redis::new(url));
        TOKIO.spawn(builder.install()).await.unwrap().unwrap()
    };
    CACHE.get_or_init(install).await
}

/// Ends the server when the last of the two tests ends, because a static is never dropped.
struct EndOfTest;

impl Drop for EndOfTest {
    fn drop(&mut self) {
        static ENDED: AtomicU64 = AtomicU64::new(0);
        if ENDED.fetch_add(1, Ordering::SeqCst) == 1
            && let Ok(mut server) = SERVER.lock()
        {
            drop(server.take());
        }
    }
}

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", consistency = "strong")]
async fn price(item: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    item * 10
}

#[tokio::test]
async fn first_test_uses_the_cache_that_one_of_both_installed() {
    let _end = EndOfTest;
    let cache = cache().await;
    assert_eq!((price(1).await, price(1).await), (10, 10));
    assert!(cache.health().await.is_well());
}

#[tokio::test]
async fn second_test_uses_the_same_cache_and_loads_nothing_again() {
    let _end = EndOfTest;
    let cache = cache().await;
    assert_eq!((price(1).await, price(1).await), (10, 10));
    assert!(cache.health().await.is_well());
    assert_eq!(
        LOADS.load(Ordering::SeqCst),
        1,
        "the test that ran second must find the value in the cache"
    );
}
