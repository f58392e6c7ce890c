//! Type parameters in keys: one that only skipped arguments name is not in the key, any other is.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::{CacheRuntime, invalidate, multi_tier_cached};
use serde::Serialize;
use serde::de::DeserializeOwned;

use testbed::memory_alone;

/// An executor as in sqlx: a shared pool, or one connection.
trait Executor: Send {
    fn read(self) -> u64;
}

/// Returns another value for each read.
#[derive(Default)]
struct Pool(AtomicU64);

struct Connection<'a>(&'a Pool);

impl Executor for &Pool {
    fn read(self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

impl Executor for &mut Connection<'_> {
    fn read(self) -> u64 {
        self.0.read()
    }
}

#[multi_tier_cached(ttl = "1h", skip(db), name = "skipped_types::price")]
async fn price<E: Executor>(db: E, _id: u64) -> u64 {
    db.read()
}

#[tokio::test]
async fn value_loaded_through_one_type_is_invalidated_through_another() {
    let (pool, runtime) = (Pool::default(), memory_alone().await);
    let mut connection = Connection(&pool);
    CacheRuntime::scope(runtime.clone(), async {
        assert_eq!(price(&pool, 1).await, 0);
        assert_eq!(price(&mut connection, 1).await, 0);
        invalidate!(price, &mut connection, 1).await.unwrap();
        assert_eq!(price(&pool, 1).await, 1);
        invalidate!(price).await.unwrap();
        assert_eq!(price(&pool, 1).await, 2);
    })
    .await;
    assert!(runtime.stats().function("skipped_types::price").is_some());
}

struct Prices;

impl Prices {
    #[multi_tier_cached(ttl = "1h", skip(self, db, _buffer))]
    async fn price<E, const N: usize>(&self, db: E, id: u64, _buffer: [u8; N]) -> u64
    where
        E: Executor,
    {
        db.read() + id
    }
}

#[tokio::test]
async fn method_has_one_key_for_all_types_of_its_skipped_arguments() {
    let pool = Pool::default();
    let mut connection = Connection(&pool);
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(Prices.price(&pool, 1, [0; 2]).await, 1);
        assert_eq!(Prices.price(&mut connection, 1, [0; 3]).await, 1);
        invalidate!(Prices::price).await.unwrap();
        assert_eq!(Prices.price(&mut connection, 1, [0; 4]).await, 2);
    })
    .await;
}

trait Pricing {
    async fn price<E: Executor>(&self, db: E, id: u64) -> u64;
}

impl Pricing for Prices {
    #[multi_tier_cached(ttl = "1h", skip(self, db), trait_impl)]
    async fn price<E: Executor>(&self, db: E, id: u64) -> u64 {
        db.read() + id
    }
}

#[tokio::test]
async fn trait_method_has_one_key_for_all_types_of_its_skipped_arguments() {
    let pool = Pool::default();
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(Pricing::price(&Prices, &pool, 1).await, 1);
        let mut connection = Connection(&pool);
        assert_eq!(Pricing::price(&Prices, &mut connection, 1).await, 1);
    })
    .await;
}

/// Used in the body of a function only, and by none of its arguments.
trait Table {
    const ROWS: u64;
}

struct Users;
struct Orders;

impl Table for Users {
    const ROWS: u64 = 1;
}

impl Table for Orders {
    const ROWS: u64 = 2;
}

#[multi_tier_cached(ttl = "1h", skip(db))]
async fn rows<T: Table, E: Executor>(db: E, _id: u64) -> u64 {
    db.read();
    T::ROWS
}

#[tokio::test]
async fn type_that_only_the_body_uses_stays_in_the_key() {
    let pool = Pool::default();
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(rows::<Users, _>(&pool, 1).await, 1);
        assert_eq!(rows::<Orders, _>(&pool, 1).await, 2);
        invalidate!(rows::<Users>).await.unwrap();
        let reads = pool.0.load(Ordering::SeqCst);
        rows::<Orders, _>(&pool, 1).await;
        assert_eq!(pool.0.load(Ordering::SeqCst), reads);
        rows::<Users, _>(&mut Connection(&pool), 1).await;
        assert_eq!(pool.0.load(Ordering::SeqCst), reads + 1);
    })
    .await;
}

/// `T` is in a skipped argument and in the result, so each type has a key of its own.
#[multi_tier_cached(ttl = "1h", skip(default))]
async fn or_default<T>(default: T, _id: u64) -> T
where
    T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    default
}

/// Only a field of this argument is in the key, but all type parameters of the argument are.
#[derive(Serialize)]
struct Filter<T> {
    id: u64,
    value: T,
}

#[multi_tier_cached(ttl = "1h", key = "{filter.id}", skip(sample))]
async fn described<T: Debug>(filter: Filter<T>, sample: Option<T>) -> String {
    format!("{:?}{sample:?}", filter.value)
}

#[tokio::test]
async fn type_in_the_result_or_in_a_keyed_argument_stays_in_the_key() {
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(or_default(7u64, 1).await, 7);
        assert_eq!(or_default("seven".to_owned(), 1).await, "seven");
        assert_eq!(or_default(8u64, 1).await, 7);
        let number = Filter { id: 1, value: 5u8 };
        let text = Filter { id: 1, value: "5" };
        assert_eq!(described(number, Some(1)).await, "5Some(1)");
        assert_eq!(described(text, None).await, "\"5\"None");
    })
    .await;
}
