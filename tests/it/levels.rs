//! Order of tiers: calls read them from the highest level to the lowest, and invalidations reach
//! all of them.

use std::path::Path;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    BoxedTier, CacheRuntime, Disk, IntoTier, Level, Memcached, Memory, Objects, Redis, TierConfig,
    invalidate, multi_tier_cached,
};
use opendal::Operator;
use opendal::services::Fs;
use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_tier, until, until_ok};
use tokio::time::timeout;

#[multi_tier_cached(ttl = "100s", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Longest time until an invalidation on one instance changes what another returns, while nothing
/// fails.
const INVALIDATION_LIMIT: Duration = Duration::from_millis(500);

/// Remaining life in milliseconds of the only record on `server`.
fn life_of_record(server: &Server) -> u64 {
    server.command(&["PTTL", &server.records()[0]])
}

#[tokio::test]
async fn two_shared_tiers_are_read_in_level_order_and_both_are_invalidated() {
    let truth = Truth::new();
    let (near, far) = (Server::start(), Server::start());
    let instance = || {
        let builder = CacheRuntime::builder()
            // The order of these calls must not matter, only the levels do.
            .tier(
                Redis::new(far.url()),
                TierConfig::new(Level::L4).ttl_scale(8.0),
            )
            .l2(Redis::new(near.url()))
            .l1(Memory::builder());
        Instance::build(builder)
    };
    let (here, there) = (instance().await, instance().await);
    let levels: Vec<_> = here.tiers().iter().map(|tier| tier.level).collect();
    assert_eq!(levels, [Level::L2, Level::L4]);
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    until("both tiers are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    // A record lives up to a twentieth shorter than its ttl.
    let (near_life, far_life) = (life_of_record(&near), life_of_record(&far));
    assert!((94_000..=100_000).contains(&near_life), "{near_life}");
    assert!((754_000..=800_000).contains(&far_life), "{far_life}");

    // The near tier loses the record, so the next call must get it from the far tier.
    let _: u64 = near.command(&["DEL", &near.records()[0]]);
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    assert_tier(&there, "read", Level::L2, |tier| tier.hits, 0).await;
    assert_tier(&there, "read", Level::L4, |tier| tier.hits, 1).await;

    truth.commit();
    assert_eq!(
        here.invalidate(invalidate!(read, &truth, 1)).await,
        Receipt::Acked
    );
    assert_eq!(near.records(), [""; 0]);
    assert_eq!(far.records(), [""; 0]);
    let sees_new_value = until_ok(
        "the other instance returns the new value",
        async || match there.call(read(&truth, 1)).await {
            2 => Ok(()),
            value => Err(value),
        },
    );
    let in_time = timeout(INVALIDATION_LIMIT, sees_new_value).await;
    assert!(in_time.is_ok(), "{}", there.stats());
}

#[tokio::test]
async fn records_written_at_one_time_expire_at_different_times() {
    #[multi_tier_cached(ttl = "100s")]
    async fn spread(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let here = Instance::build(CacheRuntime::builder().l2(Redis::new(server.url()))).await;
    for key in 0..20 {
        here.call(spread(key)).await;
    }
    until("all records are stored", || server.records().len() == 20).await;
    let lives: Vec<u64> = server
        .records()
        .iter()
        .map(|record| server.command(&["PTTL", record]))
        .collect();
    let (first, last) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
    assert!((94_000..97_500).contains(first), "{lives:?}");
    assert!((97_500..=100_000).contains(last), "{lives:?}");
}

#[tokio::test]
async fn snapshot_shows_tiers_counters_and_entries_in_memory() {
    #[multi_tier_cached(ttl = "100s")]
    async fn reported(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.call(reported(5)).await;
    here.call(reported(5)).await;
    let snapshot = here.snapshot().await;
    let table = snapshot.to_string();
    assert!(table.contains("l2  redis      closed"), "{table}");
    assert!(table.contains("entries in memory: 1"), "{table}");
    let json = serde_json::to_value(&snapshot).unwrap();
    let function = &json["functions"][0];
    assert_eq!(function["tiers"][0]["level"], "l1", "{json:#}");
    assert_eq!(function["tiers"][0]["hits"], 1, "{json:#}");
    assert_eq!(function["loads"], 1, "{json:#}");
    assert_eq!(json["tiers"][0]["breaker"], "closed", "{json:#}");
}

/// Each letter is a tier, from the highest level to the lowest: Redis, memcached, disk, objects,
/// and a fake tier (`s`).
const MIXTURES: [&str; 14] = [
    "rm", "mr", "rd", "dr", "mo", "om", "do", "ds", "sr", "ms", "rdo", "mdo", "rsd", "rmdo",
];

/// The time limit of each tier: a busy machine must not look like a store that does not respond.
const PATIENCE: Duration = Duration::from_secs(10);

/// Servers that all mixtures use, each under names of its own.
struct Stores {
    redis: Server,
    memcached: testbed::memcached::Memcached,
}

impl Stores {
    /// A tier that no other mixture uses, because `name` is its namespace or directory.
    fn tier(&self, kind: char, name: String, directory: &Path) -> BoxedTier {
        let path = directory.join(&name);
        match kind {
            'r' => {
                let redis = Redis::new(self.redis.url()).namespace(name);
                redis.time_limit(PATIENCE).required().into_tier()
            }
            'm' => {
                let memcached = Memcached::new(self.memcached.url()).namespace(name);
                memcached.time_limit(PATIENCE).required().into_tier()
            }
            'd' => Disk::new(path).time_limit(PATIENCE).into_tier(),
            'o' => {
                let files = Fs::default().root(&path.display().to_string());
                let objects = Objects::new(Operator::new(files).unwrap());
                objects.time_limit(PATIENCE).into_tier()
            }
            's' => {
                let fake_tier = FakeTier::new();
                (0..9).for_each(|_| fake_tier.let_through());
                fake_tier.into_tier()
            }
            _ => unreachable!("`{kind}` is no tier of a mixture"),
        }
    }
}

#[tokio::test]
async fn every_mixture_of_shared_and_private_tiers_serves_loads_puts_and_invalidations() {
    let stores = Stores {
        redis: Server::start(),
        memcached: testbed::memcached::Memcached::start(),
    };
    let directory = Directory::new("mixtures");
    for mixture in MIXTURES {
        for has_memory in [true, false] {
            let mut builder = CacheRuntime::builder();
            if has_memory {
                builder = builder.l1(Memory::builder());
            }
            for (level, kind) in (2..).zip(mixture.chars()) {
                let name = format!("{mixture}-{has_memory}-{level}");
                let tier = stores.tier(kind, name, directory.path());
                builder = builder.tier(tier, TierConfig::new(Level::new(level).unwrap()));
            }
            let here = Instance::build(builder).await;
            let label = format!("{mixture}, memory: {has_memory}");
            here.call(use_mixture(&here, &label)).await;
            here.shutdown().await.unwrap();
        }
    }
}

/// Loads, puts and invalidates one key by each kind of invalidation.
async fn use_mixture(here: &CacheRuntime, label: &str) {
    // Larger than any version, so that a value that was put differs from every loaded one.
    const PUT: u64 = 1_000_000;

    let truth = Truth::new();
    assert_eq!(read(&truth, 1).await, 1);
    truth.commit();
    assert_eq!(read(&truth, 1).await, 1, "{label}: the load was not kept");
    let stats = here.stats();
    let hits: u64 = stats.functions[0].tiers.iter().map(|tier| tier.hits).sum();
    assert_eq!(hits, 1, "{label}: not exactly one tier answered\n{stats}");
    read::entry(&truth, 1).put(PUT).await.unwrap();
    assert_eq!(read(&truth, 1).await, PUT, "{label}: the put was not kept");
    assert_eq!(invalidate!(read, &truth, 1).await.unwrap(), Receipt::Acked);
    assert_eq!(read(&truth, 1).await, 2, "{label}: the key is still there");
    truth.commit();
    assert_eq!(invalidate!(read).await.unwrap(), Receipt::Acked);
    let third = read(&truth, 1).await;
    assert_eq!(third, 3, "{label}: the function was not invalidated");
    truth.commit();
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    let fourth = read(&truth, 1).await;
    assert_eq!(fourth, 4, "{label}: the namespace was not invalidated");
}
