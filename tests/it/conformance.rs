//! Every tier of this project passes the suites for tiers.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::testing::{backing_off, faults, persistence, sharing, tag_sharing};
use multi_tier_cached::tier::{Tier, TierBuilder, TierContext};
use multi_tier_cached::{Disk, Error, Memcached, Objects};
use opendal::Operator;
use opendal::services::{Fs, Memory};
use testbed::deployment::Deployment;
use testbed::directory::Directory;
use testbed::fake_store::FakeStore;
use testbed::ledgered::Ledgered;
use testbed::proxy::NetworkFault;

fn files(directory: &Directory) -> Operator {
    let root = directory.path().join("objects").display().to_string();
    Operator::new(Fs::default().root(&root)).unwrap()
}

mod redis {
    use super::*;

    multi_tier_cached::testing::tier_conformance! {
        let servers = Deployment::start().await;
        servers.redis().lease_time(Duration::from_millis(500)).required()
    }
}

mod memcached {
    use super::*;

    multi_tier_cached::testing::tier_conformance! {
        let server = testbed::memcached::Memcached::start();
        Memcached::new(server.url())
    }
}

mod disk {
    use super::*;

    multi_tier_cached::testing::tier_conformance! {
        let directory = Directory::new("conformance");
        Disk::new(directory.path().join("disk")).time_limit(Duration::from_secs(10))
    }
}

mod objects_in_memory {
    use super::*;

    multi_tier_cached::testing::tier_conformance! {
        Objects::new(Operator::new(Memory::default()).unwrap())
    }
}

mod objects_in_files {
    use super::*;

    multi_tier_cached::testing::tier_conformance! {
        let directory = Directory::new("objects");
        Objects::new(files(&directory))
    }
}

/// The tier of the example `custom_tier`.
mod custom_tier {
    multi_tier_cached::testing::tier_conformance!(crate::map::Map::default());
}

/// A tier of the example with a ledger.
mod ledger {
    multi_tier_cached::testing::tier_conformance! {
        testbed::ledgered::Ledgered(crate::map::Map::default())
    }
}

/// A store whose four shards are tiers of the example with ledgers.
mod shards {
    use super::*;

    #[derive(Debug)]
    struct Maps;

    impl TierBuilder for Maps {
        fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
            Box::new(Ledgered(crate::map::Map::default())).build(context)
        }

        fn shards(&self) -> u8 {
            4
        }

        fn build_shards(
            self: Box<Self>,
            contexts: &[TierContext],
        ) -> Result<Vec<Arc<dyn Tier>>, Error> {
            let shards = contexts.iter().map(|context| Box::new(Self).build(context));
            shards.collect()
        }
    }

    multi_tier_cached::testing::tier_conformance!(Maps);
}

#[tokio::test]
async fn every_tier_of_this_project_keeps_back_offs() {
    let redis = Deployment::start().await;
    backing_off(Box::new(redis.redis().required())).await;
    let memcached = testbed::memcached::Memcached::start();
    backing_off(Box::new(Memcached::new(memcached.url()))).await;
    let directory = Directory::new("back-off");
    let disk = Disk::new(directory.path().join("disk")).time_limit(Duration::from_secs(10));
    backing_off(Box::new(disk)).await;
    backing_off(Box::new(Objects::new(files(&directory)))).await;
    backing_off(Box::new(crate::map::Map::default())).await;
}

#[tokio::test]
async fn two_instances_on_redis_agree() {
    let servers = Deployment::start().await;
    sharing(|| Box::new(servers.redis().required())).await;
}

#[tokio::test]
async fn two_instances_on_redis_agree_on_tags() {
    let servers = Deployment::start().await;
    tag_sharing(|| Box::new(servers.redis().required())).await;
}

#[tokio::test]
async fn two_instances_of_one_store_agree_on_tags() {
    for shards in [1, 4] {
        let store = FakeStore::new(shards);
        tag_sharing(|| Box::new(store.connect())).await;
    }
}

#[tokio::test]
async fn two_instances_on_memcached_agree() {
    let memcached = testbed::memcached::Memcached::start();
    sharing(|| Box::new(Memcached::new(memcached.url()))).await;
    let memcached = testbed::memcached::Memcached::start();
    tag_sharing(|| Box::new(Memcached::new(memcached.url()))).await;
}

#[tokio::test]
async fn disk_keeps_valid_records_and_no_others_over_a_restart() {
    let directory = Directory::new("persistence");
    persistence(|| Box::new(Disk::new(directory.path().join("disk")))).await;
}

#[tokio::test]
async fn object_storage_keeps_valid_records_and_no_others_over_a_restart() {
    let directory = Directory::new("persistence");
    let operator = files(&directory);
    persistence(|| Box::new(Objects::new(operator.clone()))).await;
}

async fn redis_behind(network_fault: NetworkFault) {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let redis = servers.redis_through(&network).required();
    let cut = async || {
        network.set(network_fault);
    };
    let mend = async || {
        network.set(NetworkFault::Fair);
    };
    faults(Box::new(redis), cut, mend).await;
}

#[tokio::test]
async fn calls_do_not_hang_and_stale_records_stay_away_if_nothing_reaches_redis() {
    redis_behind(NetworkFault::BlackHole).await;
}

#[tokio::test]
async fn calls_do_not_hang_and_stale_records_stay_away_if_replies_of_redis_are_lost() {
    redis_behind(NetworkFault::Deaf).await;
}

#[tokio::test]
async fn calls_do_not_hang_and_stale_records_stay_away_if_connections_to_redis_are_cut() {
    redis_behind(NetworkFault::Cut).await;
}

#[tokio::test]
async fn calls_do_not_hang_and_stale_records_stay_away_if_memcached_is_frozen() {
    let server = testbed::memcached::Memcached::start();
    let tier = Box::new(Memcached::new(server.url()));
    faults(tier, async || server.freeze(), async || server.thaw()).await;
}
