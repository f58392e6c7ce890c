use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use multi_tier_cached::{multi_tier_cached, invalidate, CacheRuntime};

static N: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct User { id: u64, name: String }

/// doc
#[multi_tier_cached(ttl = "5m")]
pub async fn get_user(id: u64, name: &str) -> Result<User, std::fmt::Error> {
    N.fetch_add(1, Ordering::SeqCst);
    if id == 0 { return Err(std::fmt::Error); }
    let x = async { Ok::<_, std::fmt::Error>(3) }.await?;
    let _ = x;
    Ok(User { id, name: name.to_owned() })
}

#[multi_tier_cached(ttl = "5m")]
async fn find<T: Clone + Send + Sync + 'static + serde::Serialize + serde::de::DeserializeOwned + Default>(_id: u64) -> Option<T> where T: std::fmt::Debug {
    N.fetch_add(1, Ordering::SeqCst);
    Some(T::default())
}

#[multi_tier_cached(ttl = "5m", tiers = "l1")]
async fn arc((a, b): (u32, u64), mut c: u8) -> Arc<User> { c += 1; Arc::new(User { id: u64::from(a) + b + u64::from(c), name: "a".into() }) }

struct Repo { tenant: u64 }
impl Repo {
    #[multi_tier_cached(ttl = "5m", scope = self.tenant)]
    async fn get(&self, id: u64) -> anyhow::Result<Option<String>> { Ok(Some(format!("{}-{id}", self.tenant))) }
    #[multi_tier_cached(ttl = "5m", skip(self))]
    async fn get2(self: Arc<Self>, id: impl Into<u64> + serde::Serialize + Send) -> u64 { id.into() }
    #[multi_tier_cached(ttl = "5m", scope = Self)]
    async fn assoc(id: u64) -> u64 { id }
}
#[async_trait::async_trait]
trait Store { async fn load(&self, id: u64) -> Result<u64, String>; }
#[async_trait::async_trait]
impl Store for Repo {
    #[multi_tier_cached(ttl = "5m", key = "{self.tenant}:{id}")]
    async fn load(&self, id: u64) -> Result<u64, String> { N.fetch_add(1, Ordering::SeqCst); Ok(id + self.tenant) }
}

#[tokio::test]
async fn all() {
    let runtime = CacheRuntime::builder().build().await.unwrap();
    let r2 = runtime.clone();
    CacheRuntime::scope(runtime, async {
        let fut = tokio::spawn(CacheRuntime::scope(CacheRuntime::current(), async { get_user(1, "a").await }));
        assert_eq!(fut.await.unwrap().unwrap().id, 1);
        assert_eq!(get_user(1, "a").await.unwrap().name, "a");
        assert_eq!(N.load(Ordering::SeqCst), 1);
        invalidate!(get_user, 1, "a").await.unwrap();
        assert_eq!(get_user::entry(1, "a").peek().await, None);
        get_user::entry(1, "a").put(User { id: 9, name: "z".into() }).await.unwrap();
        assert_eq!(get_user(1, "a").await.unwrap().id, 9);
        assert_eq!(get_user::entry(1, "a").refresh().await.unwrap().id, 1);
        invalidate!(get_user).await.unwrap();
        assert_eq!(find::<u64>(1).await, Some(0));
        assert_eq!(find::<String>(1).await, Some(String::new()));
        invalidate!(find::<u64>, 1).await.unwrap();
        invalidate!(find::<u64>).await.unwrap();
        assert_eq!(arc((1, 2), 3).await.id, 7);
        assert_eq!(arc::entry((1, 2), 3).peek().await.unwrap().id, 7);
        let repo = Repo { tenant: 1 };
        assert_eq!(repo.get(1).await.unwrap().unwrap(), "1-1");
        invalidate!(Repo::get, &repo, 1).await.unwrap();
        assert_eq!(Repo::get_entry(&repo, 1).peek().await, None);
        assert_eq!(repo.load(1).await.unwrap(), 2);
        assert_eq!(Repo::assoc(1).await, 1);
        assert_eq!(Arc::new(Repo { tenant: 3 }).get2(8u8).await, 8);
    }).await;
    println!("{}", r2.stats());
}
