//! Forms of late functions: what their loads keep of arguments, and their handles.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, LoadTimeout, ManualClock, Memory, invalidate, multi_tier_cached,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use testbed::Instance;

use super::until_idle;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A source of numbers, as a pool of connections is: clones share it.
#[derive(Clone, Debug, Default)]
struct Pool(Arc<AtomicU64>);

impl Pool {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn used(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(pool))]
async fn text(pool: &Pool, name: &str, ids: &[u64], owned: Vec<String>) -> (u64, String) {
    tokio::task::yield_now().await;
    let sum: u64 = ids.iter().sum();
    (pool.next(), format!("{name} {sum} {}", owned.join("+")))
}

#[multi_tier_cached(ttl = "1h", refresh_ahead = "59m", skip(pool))]
async fn generic<T>(pool: &Pool, value: T) -> (u64, Vec<T>)
where
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    tokio::task::yield_now().await;
    (pool.next(), vec![value])
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(pool))]
async fn by_reference<T>(pool: &Pool, value: &T) -> (u64, String)
where
    T: ?Sized + Serialize + ToOwned<Owned: Send + Display + 'static> + Display + Sync + 'static,
{
    tokio::task::yield_now().await;
    (pool.next(), value.to_string())
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(pool))]
async fn anything(
    pool: &Pool,
    name: impl Serialize + Display + Send + 'static,
    other: &(impl Serialize + Display + Clone + Send + Sync + 'static),
) -> (u64, String) {
    tokio::task::yield_now().await;
    (pool.next(), format!("{name} {other}"))
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(pool))]
async fn patterns(pool: &Pool, (a, mut b): (u64, u64), [c, ..]: [u64; 3]) -> (u64, u64) {
    tokio::task::yield_now().await;
    b += 1;
    (pool.next(), a * 100 + b * 10 + c)
}

#[derive(Clone, Debug)]
struct Repo<T> {
    pool: Pool,
    tenant: T,
}

impl<T: Serialize + Display + Clone + Send + Sync + 'static> Repo<T> {
    #[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", scope = self.tenant)]
    async fn by_self(&self, id: u64) -> (u64, String) {
        tokio::task::yield_now().await;
        (self.pool.next(), format!("{} {id}", self.tenant))
    }

    #[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(self))]
    async fn by_arc(self: Arc<Self>, id: u64) -> (u64, u64) {
        tokio::task::yield_now().await;
        (self.pool.next(), id)
    }

    #[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", scope = Self, skip(pool))]
    async fn without_self(pool: &Pool, id: u64) -> (u64, u64) {
        tokio::task::yield_now().await;
        (pool.next(), id)
    }
}

/// An instance whose values are one hour old, or as old as the test says.
struct Aged {
    clock: ManualClock,
    here: Instance,
}

impl Aged {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let here = Instance::build(builder.clock(&clock)).await;
        Self { clock, here }
    }

    /// Asserts that a call loads, hits, and is replaced in the background after `age`. `call` makes
    /// one call. The first part of its value is the number of the load.
    async fn assert_replaced<V, F>(&self, age: Duration, pool: &Pool, call: impl Fn() -> F)
    where
        V: Clone + PartialEq + std::fmt::Debug,
        F: Future<Output = (u64, V)>,
    {
        let first = pool.used() + 1;
        let (number, value) = self.here.call(call()).await;
        assert_eq!(number, first, "a load");
        let known = (first, value.clone());
        assert_eq!(self.here.call(call()).await, known, "a hit");
        self.clock.advance(age);
        assert_eq!(self.here.call(call()).await, known, "the value from before");
        until_idle(&self.here).await;
        assert_eq!(self.here.call(call()).await, (first + 1, value));
        assert_eq!(pool.used(), first + 1);
    }
}

#[tokio::test]
async fn load_in_the_background_owns_text_slices_and_vectors() {
    let (aged, pool) = (Aged::new().await, Pool::default());
    let call = async || {
        // They end with the call.
        let (name, ids) = ("name".to_owned(), vec![1, 2, 3]);
        text(&pool, &name, &ids, vec![name.clone(), "x".into()]).await
    };
    aged.assert_replaced(HOUR, &pool, &call).await;
    let (_, value) = aged.here.call(call()).await;
    assert_eq!(value, "name 6 name+x");
    let name = "name".to_owned();
    let owned = vec![name.clone(), "x".into()];
    let invalidation = invalidate!(text, &pool, &name, &[1, 2, 3], owned);
    aged.here.invalidate(invalidation).await;
    assert_eq!(aged.here.call(call()).await.0, 3, "the same key");
}

#[tokio::test]
async fn load_in_the_background_of_a_generic_function_keeps_its_types() {
    let (aged, pool) = (Aged::new().await, Pool::default());
    // A minute, and what the moment is rounded by at which a value is due.
    let due = Duration::from_secs(90);
    aged.assert_replaced(due, &pool, || generic(&pool, 7_u32))
        .await;
    let text = || generic(&pool, "seven".to_owned());
    aged.assert_replaced(due, &pool, text).await;
    aged.assert_replaced(HOUR, &pool, || by_reference(&pool, "text"))
        .await;
    aged.assert_replaced(HOUR, &pool, || by_reference(&pool, &9_u8))
        .await;
}

#[tokio::test]
async fn load_in_the_background_owns_arguments_of_any_type_and_patterns() {
    let (aged, pool) = (Aged::new().await, Pool::default());
    let call = async || {
        let local = String::from("local");
        anything(&pool, local.clone(), &local).await
    };
    aged.assert_replaced(HOUR, &pool, &call).await;
    assert_eq!(aged.here.call(call()).await.1, "local local");
    let call = || patterns(&pool, (1, 2), [3, 4, 5]);
    aged.assert_replaced(HOUR, &pool, call).await;
    assert_eq!(aged.here.call(call()).await.1, 133);
}

#[tokio::test]
async fn load_in_the_background_of_a_method_owns_a_copy_of_self() {
    let (aged, pool) = (Aged::new().await, Pool::default());
    let repo = |tenant: &str| Repo {
        pool: pool.clone(),
        tenant: tenant.to_owned(),
    };
    for tenant in ["one", "two"] {
        // The receiver ends with the call.
        let call = async || repo(tenant).by_self(1).await;
        aged.assert_replaced(HOUR, &pool, &call).await;
        assert_eq!(aged.here.call(call()).await.1, format!("{tenant} 1"));
    }
    let call = async || Arc::new(repo("three")).by_arc(1).await;
    aged.assert_replaced(HOUR, &pool, &call).await;
    let call = || Repo::<String>::without_self(&pool, 1);
    aged.assert_replaced(HOUR, &pool, call).await;
    let invalidation = invalidate!(Repo::<String>::without_self, &pool, 1);
    aged.here.invalidate(invalidation).await;
    let before = pool.used();
    aged.here.call(call()).await;
    assert_eq!(pool.used(), before + 1);
}

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[multi_tier_cached(
    ttl = "1h",
    stale_while_revalidate = "1h",
    stale_if_error = "1h",
    soft_timeout = "10ms",
    hard_timeout = "1s",
    tiers = "l1",
    skip(pool, slow)
)]
async fn handled(pool: &Pool, slow: bool, _id: u64) -> Result<u64, TimedOut> {
    if slow {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    Ok(pool.next())
}

/// A handle runs the body that it holds, on the task of its caller.
#[tokio::test(start_paused = true)]
async fn refresh_and_strong_of_a_late_function_load_in_the_foreground_without_a_timeout() {
    let (aged, pool) = (Aged::new().await, Pool::default());
    let here = &aged.here;
    let entry = |slow| handled::entry(&pool, slow, 1);
    assert_eq!(here.call(handled(&pool, false, 1)).await, Ok(1));
    assert_eq!(here.call(entry(true).refresh()).await, Ok(2), "no timeout");
    assert_eq!(here.call(handled(&pool, false, 1)).await, Ok(2));
    aged.clock.advance(HOUR);
    assert_eq!(
        here.call(entry(true).strong()).await,
        Ok(3),
        "no stale value"
    );
    assert_eq!(here.call(handled(&pool, false, 1)).await, Ok(3));
    aged.clock.advance(HOUR);
    assert_eq!(
        here.call(entry(false).refresh()).await,
        Ok(4),
        "no stale value"
    );
    assert_eq!(here.background_loads().running, 0);
    let counted = super::stats(here, "forms::handled");
    assert_eq!((counted.refreshes, counted.timeouts), (0, 0));
}

/// A refresh that is dropped ends, though callers wait for its value: they load it.
#[tokio::test]
async fn refresh_of_a_late_function_ends_with_its_caller() {
    super::late_function!(refreshed);

    let (aged, body) = (Aged::new().await, super::Body::held());
    let here = &aged.here;
    let entry = refreshed::entry(&body, 1);
    let mut refresh = Box::pin(here.call(entry.refresh()));
    assert!(testbed::poll_until(&mut refresh, 2).await.is_pending());
    let mut waiter = Box::pin(here.call(refreshed(&body, 1)));
    assert!(testbed::poll_until(&mut waiter, 1).await.is_pending());
    drop(refresh);
    assert_eq!(body.alive(), 0);
    body.gate.open();
    assert_eq!(waiter.await, 2);
}
