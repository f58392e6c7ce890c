//! Calls of all shards of a cluster while something happens to one of its primaries.
//!
//! [`run`] starts a cluster and two instances: one calls keys of all shards, and the other one
//! invalidates them. It returns a [`Table`] with the duration of the calls whose shard is on
//! another primary, beside the duration while nothing happens, and with the number of stale values.

mod load;
mod table;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::Redis;
use testbed::Instance;
use testbed::cluster::{Cluster, Options as Nodes, slot_of};
use tokio::time::{Instant, sleep};

use self::load::{Load, shards_of_keys};
use self::table::Own;
pub use self::table::{Row, Table};
use crate::address::SHARDS;

const NAMESPACE: &str = "shards";

/// Options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program of the servers.
    pub server: String,
    /// Shortest time of each row.
    pub row: Duration,
}

/// Calls all shards in quiet times and under each fault.
///
/// # Errors
/// A key has no record after it was called.
pub async fn run(options: &Options) -> io::Result<Table> {
    let nodes = Nodes {
        binary: options.server.clone(),
        is_for_a_test: false,
        ..Nodes::new(3)
    };
    let cluster = Cluster::start_with(&nodes).await;
    let redis = || {
        let redis = Redis::cluster(cluster.urls()).shards(SHARDS);
        redis.namespace(NAMESPACE)
    };
    let here = Instance::with_redis(redis()).await;
    let there = Instance::with_redis(redis()).await;
    let load = Arc::new(Load::new());
    load.fill(&here).await;
    let shards = shards_of_keys(&cluster).await?;
    let tasks = load.start(&here, &there, &shards);
    let mut run = Run {
        cluster,
        load,
        shards,
        row: options.row,
        table: Table::default(),
    };
    // Connections and code are warm after a while.
    sleep(options.row / 2).await;
    run.load.take();
    run.all().await;
    drop(tasks);
    Ok(run.table)
}

struct Run {
    cluster: Cluster,
    load: Arc<Load>,
    /// The shard of each key.
    shards: Vec<u8>,
    row: Duration,
    table: Table,
}

impl Run {
    async fn all(&mut self) {
        self.quiet().await;
        self.killed().await;
        self.frozen().await;
        self.replaced().await;
        self.migrated(Migration::KeyByKey).await;
        if self.cluster.migrates_in_one_step().await {
            self.migrated(Migration::InOneStep).await;
        }
    }

    async fn quiet(&mut self) {
        let began = Instant::now();
        self.end("quiet", began, &[], Own::KeepsTheBound).await;
    }

    async fn killed(&mut self) {
        let (primary, shards) = self.primary().await;
        let began = Instant::now();
        self.cluster.kill_primary(primary).await;
        self.cluster.restart(primary).await;
        let what = "primary killed, replaced by its replica";
        self.end(what, began, &shards, Own::KeepsTheBound).await;
    }

    async fn frozen(&mut self) {
        let (primary, shards) = self.primary().await;
        let began = Instant::now();
        self.cluster.freeze_primary(primary).await;
        self.cluster.thaw(primary);
        self.cluster.until_ok().await;
        let what = "primary cut off, replaced, and back";
        self.end(what, began, &shards, Own::MayLagBehind).await;
    }

    async fn replaced(&mut self) {
        let (primary, shards) = self.primary().await;
        let began = Instant::now();
        self.cluster.fail_over(primary).await;
        self.cluster.until_ok().await;
        let what = "primary replaced by an operator";
        self.end(what, began, &shards, Own::KeepsTheBound).await;
    }

    async fn migrated(&mut self, how: Migration) {
        let shard = SHARDS / 2;
        let slot = slot_of(&tag(shard));
        let from = self.cluster.primary_of_slot(slot).await;
        let primaries = self.cluster.primaries().await;
        let to = *primaries.iter().find(|to| **to != from).expect("another");
        let began = Instant::now();
        let what = match how {
            Migration::KeyByKey => {
                self.cluster.migrate(slot, to).await;
                "slot migrated, key by key"
            }
            Migration::InOneStep => {
                self.cluster.migrate_in_one_step(slot, to).await;
                "slot migrated, in one step"
            }
        };
        self.end(what, began, &[shard], Own::KeepsTheBound).await;
    }

    /// A primary with shards, and these shards.
    async fn primary(&self) -> (usize, Vec<u8>) {
        let mut of_primary = Vec::new();
        let primary = self.cluster.primary_of(&tag(0)).await;
        for shard in 0..SHARDS {
            if self.cluster.primary_of(&tag(shard)).await == primary {
                of_primary.push(shard);
            }
        }
        (primary, of_primary)
    }

    /// Ends a row that disturbed these shards, once it has lasted long enough.
    async fn end(&mut self, what: &'static str, began: Instant, disturbed: &[u8], own: Own) {
        sleep((began + self.row).saturating_duration_since(Instant::now())).await;
        let samples = self.load.take();
        let is_own = |key: usize| disturbed.contains(&self.shards[key]);
        let row = Row::new(what, began.elapsed(), own, &samples, is_own);
        self.table.rows.push(row);
        // What the next row disturbs has recovered.
        sleep(self.row / 2).await;
        self.load.take();
    }
}

/// How a slot is migrated.
#[derive(Clone, Copy, Debug)]
enum Migration {
    KeyByKey,
    InOneStep,
}

/// The part of each key by which a cluster finds the slot of a shard.
fn tag(shard: u8) -> String {
    format!("{{{NAMESPACE}:{shard}}}")
}
