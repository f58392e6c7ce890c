//! A namespace of one run, whose keys are removed at its end.

use std::time::Duration;

use cache_redis::Redis;
use cache_redis::inspect::{InspectedShard, Inspection};
use tokio::time::timeout;

use crate::args::Place;
use crate::failure::Failure;
use crate::place;
use crate::scan::Scan;

/// The time limit of the removal: the server walks over all keys of the database.
const LONGEST: Duration = Duration::from_secs(30);

/// The number of keys that one command removes.
const PORTION: usize = 512;

/// The name of the key that `bench` reads by a bare command, in each shard.
pub(crate) const BARE: &str = "#bench";

/// A namespace that no other program uses, on the servers of a namespace that programs use, with
/// the same number of shards.
///
/// It begins with the name of that namespace and a colon, so that a user of the server who may use
/// the keys `{shop:*}:*` may use it, and no shard of that namespace has this name.
#[derive(Debug)]
pub(crate) struct Scratch {
    redis: Redis,
    namespace: String,
}

impl Scratch {
    /// Chooses the name. Nothing is stored yet.
    pub(crate) async fn new(place: &Place, purpose: &str) -> Result<Self, Failure> {
        let redis = place::redis(place)?;
        let of_programs = Inspection::connect(&redis).await?;
        let random = fastrand::u64(..);
        let namespace = format!("{}:{purpose}-{random:016x}", of_programs.namespace());
        let redis = redis.namespace(&namespace).required();
        Ok(Self {
            redis: match of_programs.layout() {
                Ok(Some(shards)) => redis.shards(shards),
                Ok(None) | Err(_) => redis,
            },
            namespace,
        })
    }

    /// Returns the settings of a tier on the namespace. It fails to start without a server.
    pub(crate) fn redis(&self) -> Redis {
        self.redis.clone()
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Connects to the servers.
    pub(crate) async fn connect(&self) -> Result<Inspection, Failure> {
        Ok(Inspection::connect(&self.redis).await?)
    }

    /// Removes all keys of the namespace, after the tiers on it were shut down. `known` returns the
    /// names of some keys of a shard beside those that a tier writes when it starts. They are
    /// removed first, so that little is left if the walk over all keys takes too long.
    pub(crate) async fn remove(
        &self,
        known: impl Fn(&InspectedShard) -> Vec<String>,
    ) -> Result<(), Failure> {
        self.within_limit(async {
            // New connections: those of the run may be lost, or lead to a node that was replaced.
            let inspection = self.connect().await?;
            for shard in inspection.shards() {
                unlink_known(shard, &[known(shard), controls(shard)].concat()).await?;
            }
            self.remove_all(&inspection).await
        })
        .await
    }

    /// Removes the keys that a tier writes when it starts, if nothing else was stored. It needs no
    /// walk over all keys, which the user may not be permitted.
    pub(crate) async fn remove_controls(&self) -> Result<(), Failure> {
        self.within_limit(async {
            let inspection = self.connect().await?;
            for shard in inspection.shards() {
                unlink_known(shard, &controls(shard)).await?;
            }
            Ok(())
        })
        .await
    }

    async fn within_limit(
        &self,
        removal: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let problem = match timeout(LONGEST, removal).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("the server has more keys than it lists within {LONGEST:?}"),
        };
        let pattern = self.pattern();
        // Without `-0`, xargs would remove quotes that are a part of a name.
        Err(Failure::not_found(
            format!("some keys `{pattern}` may be left: {problem}"),
            format!(
                "redis-cli --scan --pattern '{pattern}' | tr '\\n' '\\0' | xargs -0 -r -n 1 \
                 redis-cli unlink"
            ),
        ))
    }

    async fn remove_all(&self, inspection: &Inspection) -> Result<(), Failure> {
        for node in inspection.nodes() {
            let is_here =
                |shard: &&InspectedShard| inspection.node_of(shard).address() == node.address();
            let Some(first) = inspection.shards().iter().find(is_here) else {
                continue;
            };
            let mut scan = Scan::new(first, self.pattern());
            while let Some(found) = scan.next().await? {
                for shard in inspection.shards().iter().filter(is_here) {
                    let of_shard = found.iter().filter(|name| shard.key_named(name).is_some());
                    let of_shard: Vec<String> = of_shard.cloned().collect();
                    unlink(shard, &of_shard).await?;
                }
            }
        }
        for shard in inspection.shards() {
            // A heartbeat that was on its way may have arrived since.
            unlink_known(shard, &[shard.controls().heartbeat]).await?;
        }
        Ok(())
    }

    /// A pattern of the server for all keys of the namespace. No character that a namespace may
    /// have is special.
    fn pattern(&self) -> String {
        format!("{{{}:*}}:*", self.namespace)
    }
}

/// The keys that a run writes before its first operation.
fn controls(shard: &InspectedShard) -> Vec<String> {
    let controls = shard.controls();
    let bare = shard.published_name(BARE);
    vec![
        controls.history,
        controls.sequence,
        controls.heartbeat,
        bare,
    ]
}

/// Removes the keys of one shard that are there. A user without the permission to remove keys has
/// left nothing if it could not store them either.
async fn unlink_known(shard: &InspectedShard, names: &[String]) -> Result<(), Failure> {
    let mut exists = redis::cmd("EXISTS");
    exists.arg(names);
    match exists.query_async::<u64>(&mut shard.connection()).await {
        Ok(0) => Ok(()),
        // The removal says more of what is wrong.
        Ok(_) | Err(_) => unlink(shard, names).await,
    }
}

/// Removes keys of one shard, which are in one slot of a cluster.
async fn unlink(shard: &InspectedShard, names: &[String]) -> Result<(), Failure> {
    for portion in names.chunks(PORTION) {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(portion);
        unlink.exec_async(&mut shard.connection()).await?;
    }
    Ok(())
}
