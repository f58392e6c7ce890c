//! Tags invalidate values of several functions at once, and an expiry keeps callers from waiting.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Error, Memory, caching, expire, invalidate, multi_tier_cached, tag,
};

/// Loads of each function.
static PROFILES: AtomicU32 = AtomicU32::new(0);
static MEMBERS: AtomicU32 = AtomicU32::new(0);
static REPORTS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone)]
struct Profile {
    name: String,
    org: u32,
}

/// The arguments tell one tag, and the value another.
#[multi_tier_cached(
    ttl = "5m",
    tiers = "l1",
    tags = ["user:{id}", "profiles"],
    tags_of = |profile: &Profile| [tag!("org:{profile.org}")]
)]
async fn profile(id: u64) -> Profile {
    PROFILES.fetch_add(1, SeqCst);
    Profile {
        name: format!("user {id}"),
        org: (id % 2) as u32,
    }
}

/// The tags of the members are known to the body alone.
#[multi_tier_cached(ttl = "5m", tiers = "l1", tags = ["org:{org}"])]
async fn members(org: u32) -> Vec<String> {
    MEMBERS.fetch_add(1, SeqCst);
    let mut names = Vec::new();
    for id in (0..4).filter(|id| id % 2 == u64::from(org)) {
        caching::tag(tag!("user:{id}"));
        names.push(profile(id).await.name);
    }
    names
}

/// A report takes long to make, so callers get the old one while a new one is made.
#[multi_tier_cached(
    ttl = "5m",
    tiers = "l1",
    tags = ["org:{org}"],
    stale_while_revalidate = "1h"
)]
async fn report(org: u32) -> u32 {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = org;
    REPORTS.fetch_add(1, SeqCst) + 1
}

/// Reads everything, and returns how often each function has loaded so far.
async fn read_all() -> [u32; 3] {
    for org in [0, 1] {
        members(org).await;
        report(org).await;
    }
    for id in 0..4 {
        profile(id).await;
    }
    [&PROFILES, &MEMBERS, &REPORTS].map(|loads| loads.load(SeqCst))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let runtime = CacheRuntime::builder().l1(Memory::builder());
    let runtime = runtime.install().await?;
    println!("loads of profiles, members, reports");
    println!("first reads:           {:?}", read_all().await);
    assert_eq!(read_all().await, [4, 2, 2], "memory has every value");

    // The user's profile, and the members of the organization.
    let id = 3;
    invalidate!(tag "user:{id}").await?;
    let loads = read_all().await;
    println!("after tag user:3:      {loads:?}");
    assert_eq!(loads, [5, 3, 2]);

    // Two profiles, one list of members, and one report.
    invalidate!(tag "org:{id}", "org:1").await?;
    let loads = read_all().await;
    println!("after tag org:1:       {loads:?}");
    assert_eq!(loads, [7, 4, 3]);

    // The report has a stale window, so its callers do not wait. The other functions have none, so
    // their values are removed.
    expire!(tag "org:1").await?;
    assert_eq!(report(1).await, 3, "the old report");
    while report(1).await == 3 {
        tokio::task::yield_now().await;
    }
    println!("after expiry of org:1: {:?}", read_all().await);

    expire!(report, 0).await?;
    invalidate!(profile).await?;
    println!("after both functions:  {:?}", read_all().await);
    runtime.shutdown().await
}
