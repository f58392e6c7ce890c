//! A namespace gets another number of shards, by a second namespace and the steps of
//! `docs/more-than-one-redis.md`, and every promise holds between the instances of each two builds
//! that run at the same time.

use std::path::Path;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Level, Memory, Redis, TierConfig, invalidate, multi_tier_cached,
};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, Truth, until, until_returns};

const BOUND: Duration = Duration::from_millis(500);

/// Keys enough for one in each of eight shards.
const KEYS: u64 = 64;

#[multi_tier_cached(ttl = "1h", name = "resharded", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// The builds in the order of their deployment.
#[derive(Clone, Copy, Debug)]
enum Build {
    Before,
    /// Uses the old namespace, and invalidates in both.
    First,
    /// Uses the new namespace, and invalidates in both.
    Second,
    After,
}

struct Deployment {
    server: Server,
    directory: Directory,
}

impl Deployment {
    fn new() -> Self {
        let directory = Directory::new("resharding");
        write_overrides(directory.path());
        Self {
            server: Server::start(),
            directory,
        }
    }

    async fn instance(&self, build: Build) -> Instance {
        // A busy machine does not make a tier give up.
        let limit = Duration::from_secs(10);
        let patient = |redis: Redis| redis.connect_limit(limit).time_limit(limit).required();
        let old = || patient(Redis::new(self.server.url()).namespace("old"));
        let new = || {
            let redis = Redis::cluster([self.server.url()]).namespace("new");
            patient(redis.shards(8))
        };
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let l3 = TierConfig::new(Level::L3);
        let overrides = self.directory.path().join("functions.toml");
        Instance::build(match build {
            Build::Before => builder.l2(old()),
            Build::First => builder.l2(old()).tier(new(), l3).functions_file(&overrides),
            Build::Second => builder.l2(new()).tier(old(), l3).functions_file(&overrides),
            Build::After => builder.l2(new()),
        })
        .await
    }

    fn records_in(&self, namespace: &str) -> usize {
        let records = self.server.records();
        let prefix = format!("{{{namespace}:");
        let of_namespace = records.iter().filter(|key| key.starts_with(&prefix));
        of_namespace.count()
    }
}

fn write_overrides(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let text = "[functions.resharded]\ntiers = \"l1,l2\"\n";
    std::fs::write(directory.join("functions.toml"), text).unwrap();
}

#[tokio::test]
async fn invalidations_reach_the_instances_of_both_builds_in_each_step() {
    let deployment = Deployment::new();
    let truth = Truth::new();
    for (earlier, later) in [
        (Build::Before, Build::First),
        (Build::First, Build::Second),
        (Build::Second, Build::After),
    ] {
        let earlier = deployment.instance(earlier).await;
        let later = deployment.instance(later).await;
        for (here, there) in [(&earlier, &later), (&later, &earlier)] {
            for whole in [false, true] {
                let current = truth.commit();
                here.invalidate(invalidate!(read)).await;
                for instance in [here, there] {
                    let read = async || instance.call(read(&truth, 7)).await;
                    until_returns(current, BOUND, read).await;
                }
                let next = truth.commit();
                let receipt = match whole {
                    true => here.invalidate(invalidate!(read)).await,
                    false => here.invalidate(invalidate!(read, &truth, 7)).await,
                };
                assert_eq!(receipt, Receipt::Acked);
                assert_eq!(here.call(read(&truth, 7)).await, next);
                until_returns(next, BOUND, async || there.call(read(&truth, 7)).await).await;
            }
        }
        earlier.shutdown().await.unwrap();
        later.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn namespace_that_only_receives_invalidations_is_neither_filled_nor_read() {
    let deployment = Deployment::new();
    let truth = Truth::new();
    for (build, used, unused) in [(Build::First, "old", "new"), (Build::Second, "new", "old")] {
        let here = deployment.instance(build).await;
        let before = deployment.records_in(unused);
        for key in 0..KEYS {
            here.call(read(&truth, key)).await;
        }
        until("the namespace is filled", || {
            deployment.records_in(used) == KEYS as usize
        })
        .await;
        assert_eq!(deployment.records_in(unused), before);
        here.shutdown().await.unwrap();
    }
}
