//! Keys and invalidations of methods, associated functions and generic functions.

use multi_tier_cached::{Error, invalidate, multi_tier_cached};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A row of a table.
trait Row: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    fn load(tenant: &str, id: u64) -> Option<Self>;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    total: u64,
}

impl Row for User {
    fn load(tenant: &str, id: u64) -> Option<Self> {
        println!("  (loading user {id} of {tenant})");
        Some(Self {
            name: format!("user {id} of {tenant}"),
        })
    }
}

impl Row for Order {
    fn load(tenant: &str, id: u64) -> Option<Self> {
        println!("  (loading order {id} of {tenant})");
        (id < 100).then_some(Self { total: id * 10 })
    }
}

struct Repo {
    tenant: String,
}

impl Repo {
    /// The `scope` of a method says which part of `self` is in the key: tenants never share a user.
    #[multi_tier_cached(ttl = "5m", scope = self.tenant)]
    async fn user(&self, id: u64) -> Option<User> {
        User::load(&self.tenant, id)
    }

    /// An associated function has no `self`. `scope = Self` says that it is in an `impl`.
    #[multi_tier_cached(ttl = "5m", scope = Self)]
    async fn tenants(prefix: &str) -> Vec<String> {
        println!("  (listing tenants)");
        vec![format!("{prefix}-one"), format!("{prefix}-two")]
    }
}

/// Each type has keys of its own. `None` is not cached.
#[multi_tier_cached(ttl = "5m", key = "{tenant}:{id}")]
async fn find<T: Row>(tenant: &str, id: u64) -> Option<T> {
    T::load(tenant, id)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (north, south) = (
        Repo {
            tenant: "north".into(),
        },
        Repo {
            tenant: "south".into(),
        },
    );
    for repo in [&north, &north, &south] {
        println!("{:?}", repo.user(1).await);
    }
    invalidate!(Repo::user, &north, 1).await?;
    println!("after an invalidation: {:?}", north.user(1).await);
    println!(
        "still cached for south: {:?}",
        Repo::user_entry(&south, 1).peek().await
    );
    println!(
        "{:?}, {:?}",
        Repo::tenants("eu").await,
        Repo::tenants("eu").await
    );

    println!(
        "{:?}, {:?}",
        find::<User>("north", 7).await,
        find::<Order>("north", 7).await
    );
    println!(
        "{:?}, {:?}",
        find::<User>("north", 7).await,
        find::<Order>("north", 7).await
    );
    invalidate!(find::<Order>).await?;
    println!(
        "after all orders were invalidated: {:?}",
        find::<Order>("north", 7).await
    );
    println!(
        "an order that does not exist: {:?}",
        find::<Order>("north", 100).await
    );
    Ok(())
}
