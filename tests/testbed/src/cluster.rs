//! A cluster: primaries with a replica each, which are killed, frozen, replaced and restarted, and
//! between which slots migrate.

mod hash;
mod migrations;
mod nodes;
mod options;

use std::time::Duration;

use tokio::time::timeout;

use crate::ask::{ask, poll, replication};
use crate::server::Server;
use crate::until_ok;

pub use self::hash::slot_of;
pub use self::nodes::View;
pub use self::options::Options;

/// A running cluster, which ends when this value is dropped.
///
/// Nodes have indexes. At the start, the first half are primaries, in the order of their slots, and
/// node `n + i` of `2 * n` is the replica of node `i`.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster with this many primaries, and waits until it can be used.
    pub async fn start(primaries: usize) -> Self {
        Self::start_with(&Options::new(primaries)).await
    }

    /// Starts a cluster, and waits until it can be used.
    pub async fn start_with(options: &Options) -> Self {
        // Another process may take one of the ports before its node binds it.
        for _ in 0..5 {
            let mut nodes = nodes::prepare(options);
            nodes.iter_mut().for_each(Server::launch);
            if nodes.iter_mut().all(Server::is_ready) {
                let cluster = Self { nodes };
                cluster.until_ok().await;
                return cluster;
            }
        }
        panic!("{} does not start a cluster", options.binary);
    }

    /// Addresses of all nodes, for a client.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut [Server] {
        &mut self.nodes
    }

    /// Index of the node that was the primary of a key at the start.
    pub(crate) fn first_primary_of(&self, key: &str) -> usize {
        let primaries = self.nodes.len() / 2;
        let is_below = |primary: &usize| {
            usize::from(slot_of(key)) < usize::from(hash::SLOTS) * (primary + 1) / primaries
        };
        (0..primaries)
            .find(is_below)
            .expect("a primary of each slot")
    }

    /// Returns a node.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index]
    }

    /// Indexes of the nodes that run and are not suspended.
    fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].is_up())
    }

    /// Runs a command on one node, for a second at most.
    ///
    /// # Errors
    /// The error of the node, or a timeout.
    pub async fn ask<T: redis::FromRedisValue>(
        &self,
        node: usize,
        arguments: &[&str],
    ) -> redis::RedisResult<T> {
        ask(self.nodes[node].port(), arguments).await
    }

    /// Waits until every running node knows a running primary for each slot, and every running
    /// replica has caught up.
    pub async fn until_ok(&self) {
        poll("the cluster can be used", async || self.is_ok().await).await;
    }

    async fn is_ok(&self) -> Result<(), String> {
        let mut owners: Option<Vec<usize>> = None;
        for node in self.up() {
            let info: String = self.command(node, &["CLUSTER", "INFO"]).await?;
            if !info.contains("cluster_state:ok") || !info.contains("cluster_slots_ok:16384") {
                return Err(format!("node {node}: {info}"));
            }
            let view = self.view(node).await?;
            let known = view.owners().ok_or("a slot has no primary")?;
            if owners.get_or_insert_with(|| known.clone()) != &known {
                return Err(format!("node {node} knows other primaries"));
            }
            if let Some(owner) = known.iter().find(|owner| !self.nodes[**owner].is_up()) {
                return Err(format!("node {owner} is a primary and does not run"));
            }
            let mut unreachable = view.unreachable().iter();
            if let Some(other) = unreachable.find(|other| self.nodes[**other].is_up()) {
                return Err(format!("node {node} does not reach node {other}"));
            }
            let port = self.nodes[node].port();
            let link = replication(port, "master_link_status").await;
            if link.is_some_and(|link| link != "up") {
                return Err(format!("replica {node} has not caught up"));
            }
        }
        Ok(())
    }

    async fn command(&self, node: usize, arguments: &[&str]) -> Result<String, String> {
        let reply = self.ask(node, arguments).await;
        reply.map_err(|error| format!("node {node}: {error}"))
    }

    /// Returns what one node knows of all nodes.
    ///
    /// # Errors
    /// The node does not reply.
    pub async fn view(&self, node: usize) -> Result<View, String> {
        let text = self.command(node, &["CLUSTER", "NODES"]).await?;
        Ok(View::parse(&text, &self.nodes))
    }

    /// Returns what the first running node knows.
    async fn any_view(&self) -> View {
        until_ok("a node replies", async || {
            let node = self.up().next().ok_or("no node runs")?;
            self.view(node).await
        })
        .await
    }

    /// Index of the primary of a slot.
    pub async fn primary_of_slot(&self, slot: u16) -> usize {
        let owner = self.any_view().await.owner_of(slot);
        owner.expect("a slot with a primary")
    }

    /// Index of the primary of a key.
    pub async fn primary_of(&self, key: &str) -> usize {
        self.primary_of_slot(slot_of(key)).await
    }

    /// Indexes of the primaries that have slots.
    pub async fn primaries(&self) -> Vec<usize> {
        let mut owners = self.any_view().await.owners().expect("all slots");
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Index of the running replica of a primary.
    pub async fn replica_of(&self, primary: usize) -> usize {
        until_ok("the primary has a replica", async || {
            let view = self.any_view().await;
            let mut replicas = view.replicas_of(primary);
            replicas
                .find(|replica| self.nodes[*replica].is_up())
                .ok_or("none runs")
        })
        .await
    }

    /// Ends a node at once, as a crash does.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Suspends a node: its sockets stay open, and it sends no reply. The others replace it if this
    /// lasts longer than the node timeout.
    pub fn freeze(&self, node: usize) {
        self.nodes[node].freeze();
    }

    /// Resumes a node.
    pub fn thaw(&self, node: usize) {
        self.nodes[node].thaw();
    }

    /// Starts a node again, with no data and with what it knew of the cluster, and waits until it
    /// has joined.
    pub async fn restart(&mut self, node: usize) {
        let _ = std::fs::remove_file(self.nodes[node].directory().join("dump.rdb"));
        self.nodes[node].restart();
        self.until_ok().await;
    }

    /// Waits until `replica` is the primary of `slot` in the view of every running node.
    async fn until_owned(&self, slot: u16, replica: usize) {
        let what = format!("node {replica} is the primary of slot {slot}");
        poll(&what, async || {
            for node in self.up() {
                let owner = self.view(node).await?.owner_of(slot);
                if owner != Some(replica) {
                    return Err(format!("node {node} says {owner:?}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Any slot of a primary.
    async fn slot_of_primary(&self, primary: usize) -> u16 {
        let view = self.any_view().await;
        let mut slots = 0..hash::SLOTS;
        let slot = slots.find(|slot| view.owner_of(*slot) == Some(primary));
        slot.expect("a primary with slots")
    }

    /// Kills a primary and waits until the others have replaced it by its replica, for which two
    /// others must run. Returns the index of the new primary.
    pub async fn kill_primary(&mut self, primary: usize) -> usize {
        let (slot, replica) = self.slot_and_replica(primary).await;
        self.kill(primary);
        self.until_owned(slot, replica).await;
        replica
    }

    /// Freezes a primary and waits until the others have replaced it by its replica. Returns the
    /// index of the new primary. The old one lives on when it is thawed, until it learns of that.
    pub async fn freeze_primary(&self, primary: usize) -> usize {
        let (slot, replica) = self.slot_and_replica(primary).await;
        self.freeze(primary);
        self.until_owned(slot, replica).await;
        replica
    }

    /// Kills a primary, and lets its replica take over at once. Returns the index of the new
    /// primary.
    pub async fn kill_and_take_over(&mut self, primary: usize) -> usize {
        let (slot, replica) = self.slot_and_replica(primary).await;
        self.kill(primary);
        self.take_over(replica, "TAKEOVER").await;
        self.until_owned(slot, replica).await;
        replica
    }

    /// Replaces a running primary by its replica, without loss, as an operator does. Returns the
    /// index of the new primary.
    pub async fn fail_over(&self, primary: usize) -> usize {
        let (slot, replica) = self.slot_and_replica(primary).await;
        // The primary may miss the request, so it is repeated.
        until_ok("the replica has taken over", async || {
            self.command(replica, &["CLUSTER", "FAILOVER"]).await?;
            let taken = timeout(Duration::from_secs(1), self.until_owned(slot, replica));
            taken.await.map_err(|error| error.to_string())
        })
        .await;
        replica
    }

    /// Lets a replica take over from a running primary, without asking it: the primary learns of it
    /// later. Returns the index of the new primary.
    pub async fn depose(&self, primary: usize) -> usize {
        let (slot, replica) = self.slot_and_replica(primary).await;
        self.take_over(replica, "TAKEOVER").await;
        self.until_owned(slot, replica).await;
        replica
    }

    async fn slot_and_replica(&self, primary: usize) -> (u16, usize) {
        let slot = self.slot_of_primary(primary).await;
        (slot, self.replica_of(primary).await)
    }

    async fn take_over(&self, replica: usize, how: &str) {
        until_ok("the replica takes over", async || {
            self.command(replica, &["CLUSTER", "FAILOVER", how]).await
        })
        .await;
    }

    /// Returns `true` if the nodes can migrate a slot in one step, as Valkey 9 does.
    pub async fn migrates_in_one_step(&self) -> bool {
        let reply = self.command(0, &["CLUSTER", "GETSLOTMIGRATIONS"]).await;
        !reply.is_err_and(|error| error.to_lowercase().contains("unknown subcommand"))
    }
}
