//! Functions of several ids of every form compile: their arguments, results and handles.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use multi_tier_cached::{LoadTimeout, expire, invalidate, multi_tier_cached, tag};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
    org: u32,
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn slice(ids: &[u64], tenant: u32) -> HashMap<u64, User> {
    std::future::ready(()).await;
    let users = ids.iter().map(|id| User { id: *id, org: tenant });
    users.map(|user| (user.id, user)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(ids, most = 2))]
async fn list(tenant: String, mut ids: Vec<u64>) -> Result<BTreeMap<u64, User>, AnyError> {
    ids.sort_unstable();
    let org = tenant.len() as u32;
    Ok(ids.into_iter().map(|id| (id, User { id, org })).collect())
}

#[multi_tier_cached(ttl = "5m", batch = names, skip(pool))]
async fn texts(pool: &Pool, names: &[&str]) -> Vec<(String, usize)> {
    let _ = pool;
    names.iter().map(|name| ((*name).to_owned(), name.len())).collect()
}

#[multi_tier_cached(ttl = "5m", batch(names), key = "n:{names}:{tenant}")]
async fn strings(names: &[String], tenant: u64) -> Result<Vec<Option<usize>>, std::fmt::Error> {
    Ok(names.iter().map(|name| Some(name.len() + tenant as usize)).collect())
}

#[multi_tier_cached(
    ttl = "5m",
    batch = ids,
    tags = ["user:{ids}", "all"],
    tags_of = |user: &User| [tag!("org:{user.org}")],
    cache_if = |user: &User| user.org > 0,
    none_ttl = "1m",
    stale_if_error = "1h"
)]
async fn tagged(ids: &[u64]) -> Result<HashMap<u64, User>, AnyError> {
    Ok(ids.iter().map(|id| (*id, User { id: *id, org: 1 })).collect())
}

#[multi_tier_cached(ttl = "5m", batch = ids, refresh_ahead)]
async fn late(
    pool: &Pool,
    ids: &[u64],
    text: &str,
    more: &&u64,
    by_value: Vec<u64>,
) -> Option2<HashMap<u64, User>> {
    std::future::ready(()).await;
    let org = pool.0 + text.len() as u32 + by_value.len() as u32 + **more as u32;
    ids.iter().map(|id| (*id, User { id: *id, org })).collect()
}

/// The type decides what a result is, so an alias is one too.
type Option2<T> = T;

#[multi_tier_cached(ttl = "5m", batch = names, stale_while_revalidate = "1m", hard_timeout = "2s")]
async fn late_texts(names: &[&str]) -> Result<HashMap<String, usize>, Failure> {
    Ok(names.iter().map(|name| ((*name).to_owned(), name.len())).collect())
}

#[multi_tier_cached(ttl = "5m", batch = names, stale_while_revalidate = "1m")]
async fn late_owned_texts(names: Vec<&str>) -> HashMap<String, usize> {
    names.into_iter().map(|name| (name.to_owned(), name.len())).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn generic<'a, K, V, const N: usize>(ids: &'a [K], make: &'a V) -> Vec<(K, [V; N])>
where
    K: Clone + Eq + std::hash::Hash + serde::Serialize,
    V: Copy + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
    [V; N]: serde::Serialize + serde::de::DeserializeOwned,
{
    ids.iter().map(|id| (id.clone(), [*make; N])).collect()
}

#[derive(Clone, Debug, serde::Serialize)]
struct Pool(u32);

#[derive(Clone)]
struct Repo<T> {
    tenant: u64,
    rows: T,
}

impl<T: AsRef<[u64]> + Clone + Send + Sync + 'static> Repo<T> {
    #[multi_tier_cached(ttl = "5m", scope = self.tenant, batch = ids, tags = ["row:{ids}:{self.tenant}"])]
    async fn by_reference<'a>(&'a self, ids: &[usize]) -> HashMap<usize, u64> {
        let rows = self.rows.as_ref();
        ids.iter().filter_map(|id| Some((*id, *rows.get(*id)?))).collect()
    }

    #[multi_tier_cached(ttl = "5m", skip(self), batch = ids)]
    async fn by_value(mut self, ids: &[u64]) -> HashMap<u64, u64> {
        self.tenant += 1;
        ids.iter().map(|id| (*id, self.tenant)).collect()
    }

    #[multi_tier_cached(ttl = "5m", skip(self), batch = ids, refresh_ahead)]
    async fn by_pointer(self: Arc<Self>, ids: Vec<u64>, factor: u64) -> HashMap<u64, u64> {
        ids.into_iter().map(|id| (id, factor * self.tenant)).collect()
    }

    #[multi_tier_cached(ttl = "5m", scope = Self, batch = ids)]
    async fn without_self(ids: &[u64]) -> Vec<Option<u64>> {
        ids.iter().map(|id| Some(*id)).collect()
    }

    #[multi_tier_cached(ttl = "5m", scope = self.tenant, stale_while_revalidate = "1m")]
    async fn row(&self, id: usize, factor: u64) -> Option<u64> {
        self.rows.as_ref().get(id).map(|row| row * factor)
    }

    #[multi_tier_cached(batch = ids, same_as = Self::row)]
    async fn rows(&self, ids: &[usize], factor: u64) -> HashMap<usize, u64> {
        let rows = self.rows.as_ref();
        ids.iter().filter_map(|id| Some((*id, *rows.get(*id)? * factor))).collect()
    }
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id}"], skip(pool))]
async fn one(pool: &Pool, id: u64, tenant: u32) -> Result<User, AnyError> {
    let _ = pool;
    Ok(User { id, org: tenant })
}

#[multi_tier_cached(batch(ids, most = 100), same_as = one, skip(pool))]
async fn many(pool: &Pool, ids: &[u64], tenant: u32) -> Result<HashMap<u64, User>, AnyError> {
    let _ = pool;
    Ok(ids.iter().map(|id| (*id, User { id: *id, org: tenant })).collect())
}

#[multi_tier_cached(ttl = "5m")]
async fn of_text<T: serde::Serialize>(name: &str, more: T) -> Option<usize> {
    let _ = more;
    Some(name.len())
}

#[multi_tier_cached(batch = names, same_as = of_text::<u8>)]
async fn of_texts(names: &[&str], more: u8) -> HashMap<String, usize> {
    let _ = more;
    names.iter().map(|name| ((*name).to_owned(), name.len())).collect()
}

#[derive(Clone, Debug, PartialEq)]
struct Failure;

impl From<LoadTimeout> for Failure {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

macro_rules! batch {
    ($name:ident, $argument:ty, $result:ty) => {
        #[multi_tier_cached(ttl = "5m", batch = ids)]
        async fn $name(ids: $argument, more: u64) -> $result {
            ids.iter().map(|id| (*id, more)).collect()
        }
    };
}

batch!(in_a_macro, &[u64], HashMap<u64, u64>);

fn main() {
    fn send<T: Send>(future: T) {
        std::mem::drop(future);
    }
    let (pool, ids) = (Pool(1), [1_u64, 2]);
    send(slice(&ids, 3));
    send(list("a".to_owned(), ids.to_vec()));
    send(texts(&pool, &["a"]));
    send(strings(&["a".to_owned()], 1));
    send(tagged(&ids));
    send(late(&pool, &ids, "a", &&1, vec![]));
    send(late_texts(&["a"]));
    send(late_owned_texts(vec!["a"]));
    send(generic::<u64, u64, 3>(&ids, &1));
    send(in_a_macro(&ids, 1));
    let repo = Repo {
        tenant: 1,
        rows: vec![2],
    };
    send(repo.by_reference(&[0]));
    send(repo.clone().by_value(&ids));
    send(Arc::new(repo.clone()).by_pointer(ids.to_vec(), 2));
    send(Repo::<Vec<u64>>::without_self(&ids));
    send(repo.rows(&[0], 2));
    send(many(&pool, &ids, 3));
    send(of_texts(&["a"], 1));

    let text = String::from("a");
    let names = [text.as_str()];
    let entry = texts::entry(&pool, &names);
    send(entry.peek());
    send(entry.invalidate());
    send(entry.put(vec![("a".to_owned(), 1)]));
    send(slice::entry(&ids, 3).refresh());
    send(many::entry(&pool, &ids, 3).refresh());
    send(late::entry(&pool, &ids, "a", &&1, vec![]).refresh());
    send(Repo::rows_entry(&repo, &[0], 2).refresh());
    send(Repo::by_value_entry(repo.clone(), &ids).refresh());
    send(invalidate!(slice, &ids, 3));
    send(invalidate!(many, &pool, &ids, 3));
    send(invalidate!(many));
    send(invalidate!(Repo::rows, &repo, &[0], 2));
    send(invalidate!(Repo::<Vec<u64>>::rows));
    send(expire!(slice, &ids, 3));
    send(expire!(of_texts, &["a"], 1));
}
