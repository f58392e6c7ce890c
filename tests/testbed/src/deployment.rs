//! The Redis of a test of the promises: one server, a cluster, or a primary behind sentinels. The
//! variable `TOPOLOGY` says which, so that one test shows its promise on each of them.

mod pool;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use multi_tier_cached::Redis;

use self::pool::{Pool, Pooled};
use crate::cluster::{self, Cluster};
use crate::directory::Directory;
use crate::network::Network;
use crate::sentinel::{self, Sentinels};
use crate::server::Server;
use crate::{Instance, until};

/// Number of shards of a namespace on a cluster.
const SHARDS: u8 = 8;

/// Time without a reply after which servers replace each other: longer than any outage of a test,
/// which is of all servers.
const NEVER: Duration = Duration::from_secs(120);

/// How the Redis of the tests of this process is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "only tests use it")]
pub enum Topology {
    /// One server.
    Standalone,
    /// A cluster of three primaries with a replica each, and a namespace of eight shards.
    Cluster,
    /// A primary with two replicas, behind three sentinels.
    Sentinel,
}

impl Topology {
    /// Returns what the variable `TOPOLOGY` says: `standalone`, which is the default, `cluster` or
    /// `sentinel`.
    #[must_use]
    pub fn of_this_run() -> Self {
        match std::env::var("TOPOLOGY").as_deref() {
            Err(_) | Ok("standalone") => Self::Standalone,
            Ok("cluster") => Self::Cluster,
            Ok("sentinel") => Self::Sentinel,
            Ok(other) => panic!("unknown topology `{other}`"),
        }
    }
}

/// A Redis of one test alone. It ends when this value is dropped, or is used by another test, with
/// other data.
#[derive(Debug)]
pub struct Deployment {
    servers: Servers,
    directory: Directory,
}

#[derive(Debug)]
enum Servers {
    One(Server),
    Cluster(Pooled<Cluster>),
    Sentinels(Pooled<Sentinels>),
}

static CLUSTERS: Mutex<Pool<Cluster>> = Mutex::new(Pool::new());
static SENTINELS: Mutex<Pool<Sentinels>> = Mutex::new(Pool::new());

impl Deployment {
    /// Starts what the variable `TOPOLOGY` says.
    pub async fn start() -> Self {
        let servers = match Topology::of_this_run() {
            Topology::Standalone => Servers::One(Server::start()),
            Topology::Cluster => Servers::Cluster(Pooled::take(&CLUSTERS).await),
            Topology::Sentinel => Servers::Sentinels(Pooled::take(&SENTINELS).await),
        };
        Self {
            servers,
            directory: Directory::new("deployment"),
        }
    }

    /// The directory for the files of instances.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Number of links of each instance.
    pub fn links(&self) -> u64 {
        match self.servers {
            Servers::One(_) | Servers::Sentinels(_) => 1,
            Servers::Cluster(_) => SHARDS.into(),
        }
    }

    /// The tier of an instance that uses this Redis.
    pub fn redis(&self) -> Redis {
        match &self.servers {
            Servers::One(server) => Redis::new(server.url()),
            Servers::Cluster(cluster) => Redis::cluster(cluster.urls()).shards(SHARDS),
            Servers::Sentinels(all) => Redis::sentinel(all.addresses(), sentinel::PRIMARY),
        }
    }

    /// Creates a network of its own for an instance.
    pub async fn network(&self) -> Network {
        let port = |server: &Server| server.port();
        match &self.servers {
            Servers::One(server) => Network::to(server.port()).await,
            Servers::Cluster(cluster) => {
                let ports: Vec<_> = cluster.nodes().iter().map(port).collect();
                Network::around(&ports).await
            }
            Servers::Sentinels(all) => {
                let sentinels = all.sentinels().iter().map(port);
                let ports: Vec<_> = sentinels.chain(all.servers().iter().map(port)).collect();
                Network::around(&ports).await
            }
        }
    }

    /// The tier of an instance that uses this Redis through its own network.
    pub fn redis_through(&self, network: &Network) -> Redis {
        match &self.servers {
            Servers::One(_) => Redis::new(network.urls().remove(0)),
            Servers::Cluster(_) => Redis::cluster(network.urls()).shards(SHARDS),
            Servers::Sentinels(all) => {
                let sentinels = network.addresses().into_iter().take(all.sentinels().len());
                Redis::sentinel(sentinels, sentinel::PRIMARY)
            }
        }
    }

    /// Creates an instance with memory and this Redis.
    pub async fn instance(&self) -> Instance {
        Instance::with_redis(self.redis()).await
    }

    /// Creates two instances with memory and this Redis.
    pub async fn two(&self) -> (Instance, Instance) {
        (self.instance().await, self.instance().await)
    }

    /// All servers with data, replicas included.
    fn servers(&self) -> &[Server] {
        match &self.servers {
            Servers::One(server) => std::slice::from_ref(server),
            Servers::Cluster(cluster) => cluster.nodes(),
            Servers::Sentinels(all) => all.servers(),
        }
    }

    fn servers_mut(&mut self) -> &mut [Server] {
        match &mut self.servers {
            Servers::One(server) => std::slice::from_mut(server),
            Servers::Cluster(cluster) => cluster.nodes_mut(),
            Servers::Sentinels(all) => all.servers_mut(),
        }
    }

    /// The servers that take writes.
    fn primaries(&self) -> impl Iterator<Item = &Server> {
        let number = match self.servers {
            Servers::One(_) | Servers::Sentinels(_) => 1,
            // The first half are primaries: none is replaced.
            Servers::Cluster(_) => self.servers().len() / 2,
        };
        self.servers().iter().take(number)
    }

    /// Ends all servers at once, as a power failure does.
    pub fn kill(&mut self) {
        self.servers_mut().iter_mut().for_each(Server::kill);
    }

    /// Starts all servers again, with the data that they saved. A cluster takes about two seconds
    /// more until it can be used.
    pub fn restart(&mut self) {
        self.servers_mut().iter_mut().for_each(Server::kill);
        self.servers_mut().iter_mut().for_each(Server::launch);
        for server in self.servers_mut() {
            assert!(
                server.is_ready(),
                "it does not start again: {}",
                server.log()
            );
        }
    }

    /// Suspends all servers: their sockets stay open, and they send no reply.
    pub fn freeze(&self) {
        self.servers().iter().for_each(Server::freeze);
    }

    /// Resumes all servers.
    pub fn thaw(&self) {
        self.servers().iter().for_each(Server::thaw);
    }

    /// Runs a command on each server, replicas included.
    pub fn on_all(&self, command: &[&str]) {
        for server in self.servers() {
            let _: redis::Value = server.command(command);
        }
    }

    /// Runs a command on each primary.
    pub fn on_primaries(&self, command: &[&str]) {
        for server in self.primaries() {
            let _: redis::Value = server.command(command);
        }
    }

    /// Runs a command on the primary of a key.
    pub fn on_primary_of<T: redis::FromRedisValue>(&self, key: &str, command: &[&str]) -> T {
        let index = match &self.servers {
            Servers::One(_) | Servers::Sentinels(_) => 0,
            Servers::Cluster(cluster) => cluster.first_primary_of(key),
        };
        self.servers()[index].command(command)
    }

    /// Returns all keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.primaries().flat_map(Server::keys).collect();
        keys.sort();
        keys
    }

    /// Returns the keys of records, sorted.
    pub fn records(&self) -> Vec<String> {
        let keys = self.keys().into_iter();
        keys.filter(|key| !key.contains('#')).collect()
    }

    /// Returns `true` if there is the lease of some key.
    pub fn has_lease(&self) -> bool {
        self.primaries().any(Server::has_lease)
    }

    /// Returns `true` if there is the write guard of some key.
    pub fn has_guard(&self) -> bool {
        self.primaries().any(Server::has_guard)
    }

    /// Waits until there are this many records. A call does not wait for its fill, so a test does.
    pub async fn until_records(&self, number: usize) {
        let what = format!("there are {number} records");
        until(&what, || self.records().len() == number).await;
    }

    /// Waits until there is no write guard any more.
    pub async fn until_no_guard(&self) {
        until("no write guard is left", || !self.has_guard()).await;
    }

    /// Number of connections of instances to all primaries.
    pub fn connections(&self) -> usize {
        let of_instances = |server: &Server| {
            let requests: String = server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
            let channels: String = server.command(&["CLIENT", "LIST", "TYPE", "PUBSUB"]);
            let clients = requests.lines().chain(channels.lines());
            let clients = clients.filter(|line| !line.contains("name=sentinel-"));
            // The first list has the connection that asks for it.
            clients.count() - 1
        };
        self.primaries().map(of_instances).sum()
    }

    /// Number of bytes that the primaries have sent to all of their clients, without replicas.
    pub fn sent_bytes(&self) -> u64 {
        let sent =
            |server: &Server| server.sent_bytes() - server.stat("total_net_repl_output_bytes");
        self.primaries().map(sent).sum()
    }

    /// Returns how often clients and scripts have called `command` since the last reset.
    pub fn calls(&self, command: &str) -> u64 {
        self.primaries().map(|server| server.calls(command)).sum()
    }
}

impl pool::Reusable for Cluster {
    async fn start() -> Self {
        let options = cluster::Options {
            node_timeout: NEVER,
            ..cluster::Options::new(3)
        };
        Self::start_with(&options).await
    }

    fn servers(&self) -> &[Server] {
        self.nodes()
    }

    async fn until_ready(&self) {
        self.until_ok().await;
    }
}

impl pool::Reusable for Sentinels {
    async fn start() -> Self {
        let options = sentinel::Options {
            down_after: NEVER,
            ..sentinel::Options::new()
        };
        Self::start_with(&options).await
    }

    fn servers(&self) -> &[Server] {
        self.servers()
    }

    async fn until_ready(&self) {
        self.until_ok().await;
    }
}
