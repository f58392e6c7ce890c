//! Arguments and results of every form that a load in the background can own compile.
use std::borrow::Cow;
use std::sync::Arc;

use multi_tier_cached::{KeyArgument, LoadTimeout, multi_tier_cached};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[multi_tier_cached(ttl = "5m", refresh_ahead = "1m")]
async fn patterns(
    (a, mut b): (u64, u64),
    mut c: u64,
    &(d, e): &(u64, u64),
) -> Result<u64, AnyError> {
    b += 1;
    c += 1;
    std::future::ready(()).await;
    Ok(a + b + c + d + e)
}

#[multi_tier_cached(ttl = "5m", refresh_ahead, skip(check))]
async fn references(
    text: &str,
    words: &[String],
    nested: &&&str,
    forever: &'static str,
    title: Cow<'static, str>,
    check: fn(&str) -> bool,
) -> usize {
    std::future::ready(()).await;
    let length = text.len() + words.len() + nested.len() + forever.len() + title.len();
    if check(text) { 0 } else { length }
}

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m", skip(load))]
async fn generic<'a, T, F>(
    ids: &'a [T],
    id: T,
    load: &F,
    more: &(impl KeyArgument + Clone + Send + Sync + 'static),
) -> Vec<T>
where
    T: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
    F: Fn(&T) -> T + Clone + Send + Sync + 'static,
{
    let _ = more;
    let loaded: Vec<T> = ids.iter().map(|id| load(id)).collect();
    std::future::ready(()).await;
    [loaded, vec![id]].concat()
}

#[derive(Clone)]
struct Repo<T> {
    tenant: u64,
    rows: T,
}

impl<T: AsRef<[u64]> + Clone + Send + Sync + 'static> Repo<T> {
    #[multi_tier_cached(ttl = "5m", scope = self.tenant, hard_timeout = "1s")]
    async fn by_reference<'a>(&'a self, id: usize) -> Result<Option<u64>, Failure> {
        std::future::ready(()).await;
        Ok(self.rows.as_ref().get(id).copied())
    }

    #[multi_tier_cached(ttl = "5m", skip(self), refresh_ahead)]
    async fn by_value(mut self, id: u64) -> u64 {
        self.tenant += id;
        self.tenant
    }

    #[multi_tier_cached(ttl = "5m", skip(self), refresh_ahead)]
    async fn by_pointer(self: Arc<Self>, id: u64) -> u64 {
        self.tenant + id
    }

    #[multi_tier_cached(ttl = "5m", skip(self), refresh_ahead)]
    async fn by_reference_to_pointer(self: &Arc<Self>, id: u64) -> u64 {
        self.tenant + id
    }

    #[multi_tier_cached(ttl = "5m", scope = Self, refresh_ahead)]
    async fn without_self(ids: &[u64]) -> Option<Vec<u64>> {
        Some(ids.to_vec())
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Failure;

impl From<LoadTimeout> for Failure {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

macro_rules! late {
    ($name:ident, $argument:ty) => {
        #[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m")]
        async fn $name(text: $argument, more: &$argument) -> usize {
            text.len() + more.len()
        }
    };
}

late!(in_a_macro, &str);

fn main() {
    fn send<T: Send>(future: T) {
        std::mem::drop(future);
    }
    let repo = Repo {
        tenant: 1,
        rows: vec![2],
    };
    send(patterns((1, 2), 3, &(4, 5)));
    send(references("1", &[], &&&"2", "3", "4".into(), str::is_empty));
    send(generic(&[1_u64], 2, &|id: &u64| *id, &3));
    send(repo.by_reference(0));
    send(repo.clone().by_value(1));
    send(Arc::new(repo.clone()).by_pointer(1));
    send(Arc::new(repo).by_reference_to_pointer(1));
    send(Repo::<Vec<u64>>::without_self(&[1]));
    send(in_a_macro("a", &"b"));
}
