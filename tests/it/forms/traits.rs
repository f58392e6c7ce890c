//! Methods of traits.

use multi_tier_cached::multi_tier_cached;
use testbed::server::Server;
use testbed::{Instance, assert_count, until};

use super::count;

#[async_trait::async_trait]
trait Store {
    async fn load(&self, id: u64, name: &str) -> Result<u64, String>;
}

struct Database(u64);

#[async_trait::async_trait]
impl Store for Database {
    #[multi_tier_cached(ttl = "1h", scope = self.0)]
    async fn load(&self, id: u64, name: &str) -> Result<u64, String> {
        count();
        let length: u64 = name.len().try_into().map_err(|_| "too long".to_owned())?;
        Ok(self.0 + id + length)
    }
}

trait Native {
    async fn get(&self, id: u64, pair: (u64, u64)) -> Option<u64>;
}

impl Native for Database {
    #[multi_tier_cached(ttl = "1h", scope = self.0, trait_impl)]
    async fn get(&self, mut id: u64, (a, _): (u64, u64)) -> Option<u64> {
        count();
        id += 1;
        Some(self.0 + id + a)
    }
}

#[tokio::test]
async fn method_of_a_trait_is_cached_and_has_its_scope_in_the_key() {
    let database = Database(1);
    assert_cached!(database.load(1, "a"), database.get(1, (2, 3)));
    Instance::with_memory()
        .await
        .call(async {
            let dynamic: &dyn Store = &database;
            assert_eq!(dynamic.load(1, "ab").await, Ok(4));
            assert_eq!(Database(2).load(1, "ab").await, Ok(5));
        })
        .await;
}

trait Gross {
    async fn price(&self, id: u64) -> u64;
}

trait Net {
    async fn price(&self, id: u64) -> u64;
}

impl Gross for Database {
    #[multi_tier_cached(ttl = "1h", skip(self), trait_impl)]
    async fn price(&self, id: u64) -> u64 {
        id * 100
    }
}

impl Net for Database {
    #[multi_tier_cached(ttl = "1h", skip(self), trait_impl)]
    async fn price(&self, id: u64) -> u64 {
        id * 90
    }
}

/// Other instances may call the methods in another order, so an order must not be part of the key.
#[tokio::test]
async fn methods_of_one_name_in_two_traits_have_keys_of_their_own_in_redis() {
    let server = Server::start();
    let database = Database(1);
    let (first, second) = Instance::two_at(&server.url()).await;
    first
        .call(async {
            assert_eq!(Gross::price(&database, 1).await, 100);
            assert_eq!(Net::price(&database, 1).await, 90);
        })
        .await;
    until("both records are stored", || server.records().len() == 2).await;
    second
        .call(async {
            assert_eq!(Net::price(&database, 1).await, 90);
            assert_eq!(Gross::price(&database, 1).await, 100);
        })
        .await;
    let loads: u64 = second.stats().functions.iter().map(|f| f.loads).sum();
    assert_count("loads of the second", loads, 0, &[&second]).await;
    assert_eq!(server.records().len(), 2, "{:?}", server.records());
}
