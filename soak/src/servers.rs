//! The servers: one alone, or a primary with a replica that takes its place.

use std::io;
use std::time::Duration;

use redis::{FromRedisValue, RedisResult};
use testbed::proxy::{End, Proxy};
use testbed::server::Server;
use tokio::time::{sleep, timeout};

/// How the servers stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, which is restarted.
    Standalone,
    /// A primary and a replica, which takes its place.
    Failover,
    /// One server with little memory, which evicts the keys that were not used for the longest time, and that others fill.
    Evicting,
}

impl Topology {
    /// The server's `maxmemory` and `maxmemory-policy`.
    #[must_use]
    pub fn memory(self) -> [&'static str; 2] {
        match self {
            Self::Standalone | Self::Failover => ["0", "noeviction"],
            Self::Evicting => ["4mb", "allkeys-lru"],
        }
    }
}

/// After how many seconds without a sign of its replica a primary refuses writes.
const MAX_LAG: u64 = 2;

/// How long after it has lost its replica an instance still answers as that primary has it. The server counts whole seconds and
/// looks each second; an instance writes each second, and waits for the answer for twice its bound.
pub const NOTICED: Duration = Duration::from_secs(MAX_LAG + 4);

/// Longest wait for a replica to have caught up.
const CATCHES_UP: Duration = Duration::from_secs(20);

/// The servers.
#[derive(Debug)]
pub struct Servers {
    topology: Topology,
    nodes: Vec<Server>,
    primary: usize,
    /// What the replica follows its primary through.
    replication: Option<Proxy>,
}

/// Runs one command, for a second at most.
///
/// # Errors
/// The server's, or that it did not answer.
pub async fn ask<T: FromRedisValue>(port: u16, arguments: &[&str]) -> RedisResult<T> {
    let run = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        for argument in arguments {
            command.arg(argument);
        }
        command.query_async(&mut connection).await
    };
    match timeout(Duration::from_secs(1), run).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// One field of `INFO`.
async fn info(port: u16, field: &str) -> Option<String> {
    let info: String = ask(port, &["INFO", "replication"]).await.ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

impl Servers {
    /// Starts them, by the program at `binary`.
    ///
    /// # Errors
    /// The replica does not catch up.
    pub async fn start(binary: &str, topology: Topology) -> io::Result<Self> {
        let max_lag = MAX_LAG.to_string();
        let [maxmemory, policy] = topology.memory();
        let arguments = [
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
            "--min-replicas-max-lag",
            &max_lag,
            "--maxmemory",
            maxmemory,
            "--maxmemory-policy",
            policy,
        ];
        let number = match topology {
            Topology::Standalone | Topology::Evicting => 1,
            Topology::Failover => 2,
        };
        let nodes: Vec<_> = (0..number)
            .map(|_| Server::start_binary(binary, &arguments))
            .collect();
        let replication = match topology {
            Topology::Standalone | Topology::Evicting => None,
            Topology::Failover => Some(Proxy::to(nodes[0].port()).await),
        };
        let servers = Self {
            topology,
            nodes,
            primary: 0,
            replication,
        };
        servers.follow().await?;
        Ok(servers)
    }

    /// How they stand to each other.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The primary.
    #[must_use]
    pub fn primary(&self) -> &Server {
        &self.nodes[self.primary]
    }

    /// What it says it is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn version(&self) -> RedisResult<String> {
        let info: String = ask(self.primary().port(), &["INFO", "server"]).await?;
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        Ok(match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => format!("valkey {version}"),
            (None, Some(version)) => format!("redis {version}"),
            (None, None) => "unknown".to_owned(),
        })
    }

    fn replica(&self) -> &Server {
        &self.nodes[1 - self.primary]
    }

    /// Lets the other node follow the primary, and waits until it does.
    async fn follow(&self) -> io::Result<()> {
        let Some(replication) = &self.replication else {
            return Ok(());
        };
        replication.repoint(self.primary().port());
        let url = replication.url();
        let port = url.rsplit(':').next().unwrap_or_default();
        let replica = self.replica().port();
        let follows = async {
            while ask::<()>(replica, &["REPLICAOF", "127.0.0.1", port])
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50)).await;
            }
            while info(replica, "master_link_status").await.as_deref() != Some("up") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CATCHES_UP, follows)
            .await
            .map_err(|_| io::Error::other("a replica does not catch up"))
    }

    /// Kills the server and starts it again, with what it had saved.
    pub fn restart(&mut self) {
        self.nodes[self.primary].kill();
        self.nodes[self.primary].restart();
    }

    /// Lets the replica go on without its primary, as its successor; the proxies lead to it from now on.
    async fn promote(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        let port = self.replica().port();
        let promoted = async {
            while ask::<()>(port, &["REPLICAOF", "NO", "ONE"]).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CATCHES_UP, promoted)
            .await
            .map_err(|_| io::Error::other("a replica is not promoted"))?;
        for proxy in proxies {
            proxy.repoint(port);
        }
        self.primary = 1 - self.primary;
        Ok(())
    }

    /// Starts the node that is not the primary, empty, as a replica.
    async fn rejoin(&mut self) -> io::Result<()> {
        let node = &mut self.nodes[1 - self.primary];
        node.kill();
        let _ = std::fs::remove_file(node.directory().join("dump.rdb"));
        node.restart();
        self.follow().await
    }

    /// The primary dies and its replica takes its place.
    ///
    /// # Errors
    /// The servers do not do as they are told.
    pub async fn fail_over(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        self.nodes[self.primary].kill();
        self.promote(proxies).await?;
        self.rejoin().await
    }

    /// The same, and what the primary acknowledged in the last moments is lost with it: whether anything was.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn fail_over_with_loss(
        &mut self,
        proxies: &[Proxy],
        lag: Duration,
    ) -> io::Result<bool> {
        let primary = self.primary().port();
        self.replica().freeze();
        // What the primary has sent it would still be read.
        let _ = ask::<i64>(primary, &["CLIENT", "KILL", "TYPE", "replica"]).await;
        sleep(lag).await;
        let offset = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let acknowledged = offset(info(primary, "master_repl_offset").await);
        self.nodes[self.primary].kill();
        self.replica().thaw();
        self.promote(proxies).await?;
        let kept = offset(info(self.primary().port(), "second_repl_offset").await);
        self.rejoin().await?;
        // The second offset is the first one that the new primary does not have.
        Ok(acknowledged
            .zip(kept)
            .is_some_and(|(there, here)| here <= there))
    }

    /// The replica takes over while the primary lives on, cut off from it; `stay` proxies still lead to the old one.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn split(&mut self, proxies: &[Proxy], stay: usize) -> io::Result<()> {
        let primary = self.primary().port();
        let _ = ask::<()>(primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        if let Some(replication) = &self.replication {
            replication.strand();
        }
        self.promote(&proxies[stay..]).await?;
        let _ = ask::<()>(
            self.primary().port(),
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        )
        .await;
        for proxy in &proxies[stay..] {
            proxy.end(End::Close);
        }
        Ok(())
    }

    /// Ends what [`split`](Self::split) began: the old primary dies, all proxies lead to the new one.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn unite(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        for proxy in proxies {
            proxy.repoint(self.primary().port());
        }
        self.rejoin().await
    }
}
