//! Shards on the nodes of a real cluster: a lost primary, a promoted replica, a slot that moves.

use std::collections::BTreeMap;

use testbed::cluster::{Cluster, Options, slot_of};
use testbed::{until, until_returns};

use multi_tier_cached::Redis;
use multi_tier_cached::tier::ShardStatus;

use super::*;

const BOUND: Duration = Duration::from_millis(500);

/// Number of shards of the namespace.
const REDIS_SHARDS: u8 = 8;

/// Number of keys: each shard has several of them.
const REDIS_KEYS: u64 = 64;

/// Time without a reply after which nodes replace each other: longer than a test.
const NEVER: Duration = Duration::from_secs(120);

/// Two instances with eight shards on a cluster, and where each key is.
struct Nodes {
    cluster: Cluster,
    here: Instance,
    there: Instance,
    truth: Truth,
    shards: BTreeMap<u64, u8>,
}

impl Nodes {
    /// Starts three primaries with a replica each, and calls every key on both instances.
    async fn start(options: &Options) -> Self {
        let cluster = Cluster::start_with(options).await;
        let redis = || {
            let redis = Redis::cluster(cluster.urls()).shards(REDIS_SHARDS);
            redis.staleness_bound(BOUND).required()
        };
        let here = Instance::with_redis(redis()).await;
        let there = Instance::with_redis(redis()).await;
        let mut nodes = Self {
            cluster,
            here,
            there,
            truth: Truth::new(),
            shards: BTreeMap::new(),
        };
        for instance in [&nodes.here, &nodes.there] {
            assert_eq!(nodes.keys_with(instance, 1).await, nodes.keys());
        }
        until("every key has its record", || {
            nodes.shards = nodes.shards_of_records();
            nodes.shards.len() == nodes.keys().len()
        })
        .await;
        nodes
    }

    fn keys(&self) -> BTreeSet<u64> {
        (0..REDIS_KEYS).collect()
    }

    /// Calls every key, and returns the keys for which `read` returned `value`.
    async fn keys_with(&self, instance: &Instance, value: u64) -> BTreeSet<u64> {
        let mut keys = BTreeSet::new();
        for key in self.keys() {
            if instance.call(read(&self.truth, key)).await == value {
                keys.insert(key);
            }
        }
        keys
    }

    /// Asserts that `here` returns the new value of these keys, and that its memory answers for all
    /// others, which were not invalidated.
    async fn assert_only_these_are_loaded(&self, keys: &BTreeSet<u64>) {
        let counts = || tier_stats(&self.here, "shards::read", Level::L1).unwrap();
        let before = counts();
        let new = self.truth.commit();
        assert_eq!(self.keys_with(&self.here, new).await, *keys);
        let hits = REDIS_KEYS - keys.len() as u64;
        assert_eq!(counts().hits, before.hits + hits);
    }

    /// Returns the shard of each key that has a record: `{namespace:shard}:function:version:key`.
    fn shards_of_records(&self) -> BTreeMap<u64, u8> {
        let primaries = self.cluster.nodes().iter().take(3);
        let records = primaries.flat_map(testbed::server::Server::records);
        let shard_of = |record: String| {
            let (tag, _) = record.split_once('}')?;
            let (_, shard) = tag.rsplit_once(':')?;
            let (_, key) = record.rsplit_once(':')?;
            Some((key.parse().ok()?, shard.parse().ok()?))
        };
        records.filter_map(shard_of).collect()
    }

    /// Returns the keys of these shards.
    fn keys_of(&self, shards: &BTreeSet<u8>) -> BTreeSet<u64> {
        let keys = self.shards.iter();
        let keys = keys.filter(|(_, shard)| shards.contains(shard));
        keys.map(|(key, _)| *key).collect()
    }

    /// Returns a primary with shards, and these shards.
    async fn primary(&self) -> (usize, BTreeSet<u8>) {
        let primary = self.cluster.primary_of(&tag(0)).await;
        let mut shards = BTreeSet::new();
        for shard in 0..REDIS_SHARDS {
            if self.cluster.primary_of(&tag(shard)).await == primary {
                shards.insert(shard);
            }
        }
        (primary, shards)
    }

    /// Invalidates every key on `there`, and returns the keys whose invalidation is queued.
    async fn invalidate_every_key(&self) -> BTreeSet<u64> {
        let mut queued = BTreeSet::new();
        for key in self.keys() {
            let invalidation = invalidate!(read, &self.truth, key);
            if self.there.invalidate(invalidation).await == Receipt::Queued {
                queued.insert(key);
            }
        }
        queued
    }

    /// Asserts that both instances return `value` for every key, within the bound.
    async fn assert_all_return(&self, value: u64) {
        for instance in [&self.here, &self.there] {
            until_returns(self.keys(), BOUND, async || {
                self.keys_with(instance, value).await
            })
            .await;
        }
    }
}

/// Options of three primaries that are replaced only by a test.
fn never_replaced() -> Options {
    Options {
        node_timeout: NEVER,
        ..Options::new(3)
    }
}

fn tag(shard: u8) -> String {
    format!("{{cache:{shard}}}")
}

fn shards_where(instance: &Instance, is_so: impl Fn(&ShardStatus) -> bool) -> BTreeSet<u8> {
    let tiers = instance.tiers();
    let shards = tiers[0].shards.iter();
    let found = shards.filter(|shard| is_so(shard));
    found.map(|shard| shard.index).collect()
}

fn isolated(instance: &Instance) -> BTreeSet<u8> {
    shards_where(instance, |shard| shard.health.coherent_for.is_none())
}

/// Returns the shards that have lost a link.
fn were_isolated(instance: &Instance) -> BTreeSet<u8> {
    shards_where(instance, |shard| shard.health.isolations > 0)
}

/// Waits until both instances have lost the links of exactly these shards.
async fn until_isolated(nodes: &Nodes, shards: &BTreeSet<u8>) {
    until("the links are lost", || {
        let mut instances = [&nodes.here, &nodes.there].into_iter();
        instances.all(|instance| isolated(instance) == *shards)
    })
    .await;
}

/// Waits until both instances have no isolated shard and no queued invalidation.
async fn until_well(nodes: &Nodes) {
    until("all shards are coherent", || {
        let mut instances = [&nodes.here, &nodes.there].into_iter();
        instances
            .all(|instance| isolated(instance).is_empty() && instance.tier_health().queued == 0)
    })
    .await;
}

#[tokio::test]
async fn lost_primary_isolates_the_keys_of_its_shards_until_a_replica_is_promoted() {
    let mut nodes = Nodes::start(&never_replaced()).await;
    let (primary, shards) = nodes.primary().await;
    let own = nodes.keys_of(&shards);
    assert!(!own.is_empty() && own.len() < nodes.keys().len());
    let replica = nodes.cluster.replica_of(primary).await;
    nodes.cluster.kill(primary);
    until_isolated(&nodes, &shards).await;

    // Memory answers for the other shards alone, and their invalidations are acknowledged.
    nodes.assert_only_these_are_loaded(&own).await;
    let queued = timeout(SOON, nodes.invalidate_every_key()).await;
    assert_eq!(queued.expect("nothing waits for the lost primary"), own);
    nodes.assert_all_return(2).await;

    let promote = ["CLUSTER", "FAILOVER", "TAKEOVER"];
    let _: () = nodes.cluster.ask(replica, &promote).await.unwrap();
    until_well(&nodes).await;
    // The queued invalidations were sent, and new ones are acknowledged.
    nodes.truth.commit();
    assert_eq!(nodes.invalidate_every_key().await, BTreeSet::new());
    nodes.assert_all_return(3).await;
    assert_eq!(were_isolated(&nodes.here), shards);
    assert_eq!(were_isolated(&nodes.there), shards);
}

/// The replica lacks an acknowledged invalidation and has the record that it removed.
#[tokio::test]
async fn replica_that_lost_invalidations_serves_no_old_value_after_its_promotion() {
    let nodes = Nodes::start(&never_replaced()).await;
    let (primary, shards) = nodes.primary().await;
    let own = nodes.keys_of(&shards);
    let replica = nodes.cluster.replica_of(primary).await;
    let _: u64 = nodes.cluster.node(primary).command(&["WAIT", "1", "5000"]);
    let records = nodes.cluster.node(replica).records().len();
    assert_eq!(records, own.len(), "the replica has the records");
    // The replica reads nothing any more from its primary.
    nodes.cluster.freeze(replica);
    let _: i64 = nodes
        .cluster
        .node(primary)
        .command(&["CLIENT", "KILL", "TYPE", "replica"]);
    nodes.truth.commit();
    assert_eq!(nodes.invalidate_every_key().await, BTreeSet::new());
    nodes.cluster.freeze(primary);
    nodes.cluster.thaw(replica);
    assert!(nodes.cluster.node(replica).records().len() >= own.len());
    let promote = ["CLUSTER", "FAILOVER", "TAKEOVER"];
    let _: () = nodes.cluster.ask(replica, &promote).await.unwrap();
    until("the links of the old primary are lost", || {
        [&nodes.here, &nodes.there]
            .iter()
            .all(|instance| were_isolated(instance) == shards)
    })
    .await;
    until_well(&nodes).await;
    nodes.assert_all_return(2).await;
    nodes.cluster.thaw(primary);
}

#[tokio::test]
async fn slot_that_moves_costs_its_own_shard_a_link_and_no_other_key_is_loaded() {
    let nodes = Nodes::start(&Options::new(3)).await;
    let shard = 5;
    let own = nodes.keys_of(&BTreeSet::from([shard]));
    let slot = slot_of(&tag(shard));
    let from = nodes.cluster.primary_of_slot(slot).await;
    let primaries = nodes.cluster.primaries().await;
    let to = primaries.into_iter().find(|to| *to != from).unwrap();
    nodes.cluster.migrate(slot, to).await;
    until("the shard is on the other node", || {
        let expected = format!("127.0.0.1:{}", nodes.cluster.node(to).port());
        [&nodes.here, &nodes.there].iter().all(|instance| {
            let moved = shards_where(instance, |shard| {
                shard.health.address.as_deref() == Some(&*expected)
                    && shard.health.isolations > 0
                    && shard.health.coherent_for.is_some()
            });
            moved == BTreeSet::from([shard])
        })
    })
    .await;
    // A new history began for this shard alone, so its keys are loaded again.
    nodes.assert_only_these_are_loaded(&own).await;
    assert_eq!(nodes.invalidate_every_key().await, BTreeSet::new());
    nodes.assert_all_return(2).await;
    assert_eq!(were_isolated(&nodes.here), BTreeSet::from([shard]));
    assert_eq!(were_isolated(&nodes.there), BTreeSet::from([shard]));
}
