//! A function of several ids loads those that are missing together, beside one of a single id.

use std::collections::HashMap;
use std::sync::Mutex;

use multi_tier_cached::{CacheRuntime, Error, Memory, invalidate, multi_tier_cached};

/// The queries that the database has seen.
static QUERIES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, PartialEq)]
struct User {
    id: u64,
    name: String,
}

#[derive(Clone, Debug)]
struct QueryFailed;

/// Stands for `select .. where id = any(..)`. There is no user with a number above 100.
async fn select(ids: &[u64]) -> Result<Vec<User>, QueryFailed> {
    QUERIES.lock().expect("no panic").push(format!("{ids:?}"));
    let found = ids.iter().filter(|id| **id <= 100);
    let user = |id: &u64| User {
        id: *id,
        name: format!("user {id}"),
    };
    Ok(found.map(user).collect())
}

#[multi_tier_cached(ttl = "5m", tiers = "l1", none_ttl = "10s", tags = ["user:{id}"])]
async fn get_user(id: u64) -> Result<Option<User>, QueryFailed> {
    Ok(select(&[id]).await?.pop())
}

/// It has the options, the values and the loads of `get_user`. The body gets each missing id once,
/// at most 500 at a time.
#[multi_tier_cached(batch(ids, most = 500), same_as = get_user)]
async fn get_users(ids: &[u64]) -> Result<HashMap<u64, User>, QueryFailed> {
    let users = select(ids).await?;
    Ok(users.into_iter().map(|user| (user.id, user)).collect())
}

/// A function of several ids without one of a single id. Its result is in the order of the ids.
#[multi_tier_cached(ttl = "5m", tiers = "l1", batch = names)]
async fn lengths(names: &[&str]) -> Vec<Option<usize>> {
    QUERIES.lock().expect("no panic").push(format!("{names:?}"));
    names.iter().map(|name| Some(name.len())).collect()
}

/// Prints what a call has loaded.
fn loaded(call: &str) -> Vec<String> {
    let queries = std::mem::take(&mut *QUERIES.lock().expect("no panic"));
    println!("{call:<28} {}", queries.join(" "));
    queries
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let runtime = CacheRuntime::builder().l1(Memory::builder());
    let runtime = runtime.install().await?;
    println!("call                         queries");

    get_user(2).await.expect("the database answers");
    assert_eq!(loaded("get_user(2)"), ["[2]"]);

    let users = get_users(&[3, 2, 1, 3]).await;
    assert_eq!(users.expect("the database answers").len(), 3);
    assert_eq!(loaded("get_users(&[3, 2, 1, 3])"), ["[3, 1]"]);

    // A value that a batch has loaded is found by a call of a single id.
    get_user(1).await.expect("the database answers");
    assert!(loaded("get_user(1)").is_empty());

    // An id that the result does not have is a `None`, which `none_ttl` keeps.
    let users = get_users(&[3, 404]).await;
    assert_eq!(users.expect("the database answers").len(), 1);
    assert_eq!(loaded("get_users(&[3, 404])"), ["[404]"]);
    assert_eq!(get_user(404).await.expect("the database answers"), None);
    assert!(loaded("get_user(404)").is_empty());

    // Two batches that overlap load each id once, whichever of them does.
    let (one, two) = tokio::join!(get_users(&[10, 11, 12]), get_users(&[11, 12, 13]));
    assert_eq!(one.expect("the database answers").len(), 3);
    assert_eq!(two.expect("the database answers").len(), 3);
    assert_eq!(loaded("two that overlap"), ["[10, 11, 12]", "[13]"]);

    invalidate!(get_users, &[10, 11]).await?;
    invalidate!(tag "user:12").await?;
    get_users(&[10, 11, 12, 13])
        .await
        .expect("the database answers");
    assert_eq!(loaded("after three invalidations"), ["[10, 11, 12]"]);

    let found = lengths(&["a", "bcd", "a"]).await;
    assert_eq!(found, [Some(1), Some(3), Some(1)]);
    loaded("lengths(&[\"a\", \"bcd\", \"a\"])");
    assert_eq!(lengths::entry(&["a"]).peek().await, [Some(1)]);
    runtime.shutdown().await
}
