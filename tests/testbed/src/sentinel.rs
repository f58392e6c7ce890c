//! A primary with two replicas behind three sentinels, which replace it.

use std::time::Duration;

use redis::{FromRedisValue, RedisResult};

use crate::ask::{ask, poll, replication};
use crate::server::{Role, Server, free_ports, program};
use crate::until_ok;

/// The name of the primary.
pub const PRIMARY: &str = "mymaster";

/// Number of servers with data, and of sentinels.
const EACH: usize = 3;

/// How servers and sentinels are set up.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "only tests use it")]
pub struct Options {
    /// Program of the servers and of the sentinels.
    pub binary: String,
    /// Time without a reply after which a sentinel considers a server to be failing.
    pub down_after: Duration,
    /// Further arguments of each server with data.
    pub arguments: Vec<String>,
    /// `true` if the processes are ended, with the test, when they run for too long.
    pub is_for_a_test: bool,
}

impl Options {
    /// Returns the options for a test. A primary is replaced within about two seconds.
    pub fn new() -> Self {
        Self {
            binary: program(),
            down_after: Duration::from_millis(500),
            arguments: Vec::new(),
            is_for_a_test: true,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Periods of a sentinel in milliseconds, which are seconds by default.
const PERIODS: [&str; 10] = [
    "INFO-PERIOD",
    "200",
    "PING-PERIOD",
    "100",
    "ASK-PERIOD",
    "100",
    "PUBLISH-PERIOD",
    "200",
    "ELECTION-TIMEOUT",
    "1000",
];

/// Servers and their sentinels, which end when this value is dropped.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    options: Options,
}

impl Sentinels {
    /// Starts a primary, its replicas and the sentinels, and waits until they know each other.
    pub async fn start() -> Self {
        Self::start_with(&Options::new()).await
    }

    /// Starts a primary, its replicas and the sentinels, and waits until they know each other.
    pub async fn start_with(options: &Options) -> Self {
        // Another process may take one of the ports before its server binds it.
        for _ in 0..5 {
            let mut started = Self::prepare(options);
            if started.all().all(|server| {
                server.launch();
                server.is_ready()
            }) {
                started.until_ok().await;
                return started;
            }
        }
        panic!("{} does not start with sentinels", options.binary);
    }

    fn prepare(options: &Options) -> Self {
        let ports = free_ports(EACH * 2);
        let (data, own) = ports.split_at(EACH);
        let prepare =
            |role, port| Server::prepare(&options.binary, role, port, options.is_for_a_test);
        let servers = (0..EACH).map(|index| {
            let mut server = prepare(Role::Data, data[index]);
            let primary = data[0].to_string();
            let mut arguments = data_arguments(options);
            if index > 0 {
                arguments.extend(["--replicaof", "127.0.0.1", &primary]);
            }
            server.set_arguments(&arguments);
            server
        });
        let sentinels = (0..EACH).map(|index| {
            let mut sentinel = prepare(Role::Sentinel, own[index]);
            let file = sentinel.directory().join("sentinel.conf");
            let text = configuration(index, (data, own), options, &sentinel);
            std::fs::write(&file, text).expect("a configuration file");
            sentinel.set_arguments(&[&file.display().to_string(), "--sentinel"]);
            sentinel
        });
        Self {
            servers: servers.collect(),
            sentinels: sentinels.collect(),
            options: options.clone(),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Server> {
        self.servers.iter_mut().chain(&mut self.sentinels)
    }

    /// Addresses of the sentinels, as `host:port`.
    pub fn addresses(&self) -> Vec<String> {
        let address = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port());
        self.sentinels.iter().map(address).collect()
    }

    /// The servers with data.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub(crate) fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Returns a server with data.
    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Waits until the sentinels agree on a primary that runs, and the running replicas follow it
    /// and have caught up.
    pub async fn until_ok(&self) {
        poll("the sentinels can be used", async || self.is_ok().await).await;
    }

    async fn is_ok(&self) -> Result<(), String> {
        let mut known = None;
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_up()) {
            let port = sentinel.port();
            let quorum = ["SENTINEL", "CKQUORUM", PRIMARY];
            ask::<String>(port, &quorum)
                .await
                .map_err(|error| error.to_string())?;
            // The periods are not in the configuration file, so they are set after each start.
            let periods = [&["SENTINEL", "DEBUG"][..], &PERIODS].concat();
            ask::<String>(port, &periods)
                .await
                .map_err(|error| error.to_string())?;
            let primary = self.primary_by(port).await?;
            if *known.get_or_insert(primary) != primary {
                return Err("the sentinels name different primaries".into());
            }
        }
        let primary = known.ok_or("no sentinel runs")?;
        if !self.servers[primary].is_up() {
            return Err(format!("server {primary} is the primary and does not run"));
        }
        for (index, server) in self.servers.iter().enumerate() {
            if index != primary && server.is_up() {
                let link = replication(server.port(), "master_link_status").await;
                let of = replication(server.port(), "master_port").await;
                if link.as_deref() != Some("up")
                    || of != Some(self.servers[primary].port().to_string())
                {
                    return Err(format!("server {index} does not follow server {primary}"));
                }
            }
        }
        Ok(())
    }

    /// Index of the primary that one sentinel names.
    async fn primary_by(&self, sentinel: u16) -> Result<usize, String> {
        let get = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY];
        let (_, port): (String, u16) = ask(sentinel, &get)
            .await
            .map_err(|error| error.to_string())?;
        let index = self.servers.iter().position(|server| server.port() == port);
        index.ok_or_else(|| format!("no server is on port {port}"))
    }

    /// Index of the primary that the first running sentinel names.
    pub async fn primary(&self) -> usize {
        until_ok("a sentinel names the primary", async || {
            let mut sentinels = self.sentinels.iter();
            let sentinel = sentinels.find(|sentinel| sentinel.is_up());
            self.primary_by(sentinel.ok_or("none runs")?.port()).await
        })
        .await
    }

    /// Waits until all running sentinels name another primary than `before`. Returns its index.
    async fn until_replaced(&self, before: usize) -> usize {
        let sentinels = self.sentinels.iter().filter(|sentinel| sentinel.is_up());
        let mut primary = before;
        for sentinel in sentinels {
            primary = poll("the primary is replaced", async || {
                match self.primary_by(sentinel.port()).await? {
                    primary if primary == before => Err("not yet".to_owned()),
                    primary => Ok(primary),
                }
            })
            .await;
        }
        primary
    }

    /// Runs a command on a server with data, for a second at most.
    ///
    /// # Errors
    /// The error of the server, or a timeout.
    pub async fn ask<T: FromRedisValue>(
        &self,
        server: usize,
        arguments: &[&str],
    ) -> RedisResult<T> {
        ask(self.servers[server].port(), arguments).await
    }

    /// Ends a server at once, as a crash does.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].kill();
    }

    /// Suspends a server: its sockets stay open, and it sends no reply. The sentinels replace a
    /// primary for which this lasts longer than half a second.
    pub fn freeze(&self, server: usize) {
        self.servers[server].freeze();
    }

    /// Resumes a server. One that was the primary continues to be one until a sentinel makes it a
    /// replica, about a second later.
    pub fn thaw(&self, server: usize) {
        self.servers[server].thaw();
    }

    /// Starts a server again, as a primary without data, as if it did not know that it was
    /// replaced. A sentinel makes it a replica about a second later.
    pub fn restart(&mut self, server: usize) {
        let _ = std::fs::remove_file(self.servers[server].directory().join("dump.rdb"));
        let options = self.options.clone();
        self.servers[server].restart_with(&data_arguments(&options));
    }

    /// Starts a server again, without data, as a replica of the primary, and waits until it has
    /// caught up.
    pub async fn rejoin(&mut self, server: usize) {
        let primary = self.primary().await;
        let port = self.servers[primary].port().to_string();
        self.restart(server);
        until_ok("the server is a replica", async || {
            self.ask::<String>(server, &["REPLICAOF", "127.0.0.1", &port])
                .await
        })
        .await;
        self.until_ok().await;
    }

    /// Kills the primary, and waits until the sentinels have replaced it. Returns the indexes of
    /// the old one and of the new one.
    pub async fn kill_primary(&mut self) -> (usize, usize) {
        let old = self.primary().await;
        self.kill(old);
        (old, self.until_replaced(old).await)
    }

    /// Freezes the primary, and waits until the sentinels have replaced it. Returns the indexes of
    /// the old one and of the new one.
    pub async fn freeze_primary(&self) -> (usize, usize) {
        let old = self.primary().await;
        self.freeze(old);
        (old, self.until_replaced(old).await)
    }

    /// Lets the sentinels replace a primary that runs, as an operator does. The old one is the
    /// primary of its clients for about a second more. Returns the indexes of the old one and of
    /// the new one.
    pub async fn fail_over(&self) -> (usize, usize) {
        let old = self.primary().await;
        let mut sentinels = self.sentinels.iter();
        let sentinel = sentinels
            .find(|sentinel| sentinel.is_up())
            .expect("a sentinel");
        until_ok("the sentinel begins to replace the primary", async || {
            ask::<String>(sentinel.port(), &["SENTINEL", "FAILOVER", PRIMARY]).await
        })
        .await;
        (old, self.until_replaced(old).await)
    }
}

/// Returns the further arguments of a primary.
fn data_arguments(options: &Options) -> Vec<&str> {
    let mut arguments = vec!["--repl-diskless-sync-delay", "0"];
    arguments.extend(options.arguments.iter().map(String::as_str));
    arguments
}

/// Returns the configuration of a sentinel that knows the servers and the other sentinels, by
/// their ports.
fn configuration(
    index: usize,
    (data, own): (&[u16], &[u16]),
    options: &Options,
    sentinel: &Server,
) -> String {
    let id = |index: usize| format!("{:08x}{:032x}", std::process::id(), own[index]);
    let down_after = options.down_after.as_millis();
    let mut lines = vec![
        format!("port {}", own[index]),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", sentinel.directory().display()),
        format!("sentinel myid {}", id(index)),
        format!("sentinel monitor {PRIMARY} 127.0.0.1 {} 2", data[0]),
        format!("sentinel down-after-milliseconds {PRIMARY} {down_after}"),
        format!("sentinel failover-timeout {PRIMARY} 1000"),
    ];
    for port in &data[1..] {
        lines.push(format!("sentinel known-replica {PRIMARY} 127.0.0.1 {port}"));
    }
    for (other, port) in own.iter().enumerate().filter(|(other, _)| *other != index) {
        let id = id(other);
        lines.push(format!(
            "sentinel known-sentinel {PRIMARY} 127.0.0.1 {port} {id}"
        ));
    }
    lines.join("\n") + "\n"
}
