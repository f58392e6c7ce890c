//! Which servers are used, and how their connections are authenticated.

use std::error::Error as StdError;

use super::Redis;
use crate::access::Secret;
use crate::credentials::{Credentials, CredentialsSource};
use crate::topology::Addresses;
#[cfg(feature = "tls")]
use crate::transport::Pem;

impl Redis {
    /// Uses the server at `url`: `redis://[user][:password@]host[:port][/database]`, `rediss://…`
    /// for TLS (feature `tls`), or `redis+unix:///path?db=…` for a socket.
    ///
    /// The URL may be of any node of a cluster: the namespace is in one slot, and the node of that
    /// slot is found and followed. To use all nodes of a cluster, use [`cluster`](Self::cluster).
    /// The URL may also be of a proxy, or a name that resolves to the current primary.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::at(Addresses::Server(url.into()))
    }

    /// Uses a cluster, of which `seeds` are some nodes: `host`, `host:port`, or URLs as in
    /// [`new`](Self::new). Default port: 6379. The namespace is spread over several
    /// [`shards`](Self::shards), each of which is on the node that has its slot.
    ///
    /// The cluster needs `cluster-require-full-coverage no`: otherwise all nodes refuse everything
    /// while one slot has no primary. Several seeds that are no cluster are refused.
    ///
    /// `install` reports seeds that cannot be used, and settings that exclude each other.
    ///
    /// One seed that answers is enough, and the nodes that it names are remembered. The user, the
    /// password and TLS of the seeds are those of all nodes, so they are the same for all seeds.
    ///
    /// ```no_run
    /// # use cache_redis::Redis;
    /// # let redis =
    /// Redis::cluster(["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"]).shards(16);
    /// ```
    #[must_use]
    pub fn cluster<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> Self {
        let seeds = seeds.into_iter().map(Into::into);
        Self::at(Addresses::Cluster(seeds.collect()))
    }

    /// Uses the server that `sentinels` name as the primary `primary`: the name that
    /// `sentinel monitor` has in their configuration. The address of a sentinel is `host`,
    /// `host:port` or a URL, whose user, password and TLS are those of the sentinel. Default port:
    /// 26379.
    ///
    /// All sentinels are asked for each attempt to connect, and the latest answer is used. While a
    /// link lives, one of them is asked every 2 s, so that a primary that was replaced and lives on
    /// is left.
    ///
    /// `install` reports addresses and names that cannot be used.
    ///
    /// ```no_run
    /// # use cache_redis::Redis;
    /// # let redis =
    /// Redis::sentinel(["10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"], "mymaster")
    ///     .user("shop")
    ///     .password("secret");
    /// ```
    #[must_use]
    pub fn sentinel<S: Into<String>>(
        sentinels: impl IntoIterator<Item = S>,
        primary: impl Into<String>,
    ) -> Self {
        Self::at(Addresses::Sentinels {
            sentinels: sentinels.into_iter().map(Into::into).collect(),
            primary: primary.into(),
        })
    }

    /// Sets the number of shards that the namespace is spread over: 1, 2, 4, 8, 16, 32 or 64. Each
    /// shard has its own keys, link and channel, and may be on another node. All instances of a
    /// namespace have the same number: an instance with another one does not use the servers.
    ///
    /// `install` reports another number. The default of a cluster, 8, is spread evenly over two or
    /// four primaries, and costs an instance 16 connections. A server without a cluster can have
    /// several shards as well, for tests.
    ///
    /// The number cannot be changed later; use another namespace for that. Each shard costs each
    /// instance two connections, and barriers and a heartbeat each second. Default: 8 for
    /// [`cluster`](Self::cluster), else 1.
    #[must_use]
    pub fn shards(mut self, shards: u8) -> Self {
        self.settings.shards = Some(shards);
        self
    }

    /// Sets the user of the servers. Needs a [`password`](Self::password), and excludes
    /// [`credentials`](Self::credentials). Default: the user in the address, or `default`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.access.user = Some(user.into());
        self
    }

    /// Sets the password of the servers. Default: the password in the address.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.settings.access.password = Some(Secret(password.into()));
        self
    }

    /// Sets the number of the database. Most clusters have no other than 0. Default: the number in
    /// the address, or 0.
    #[must_use]
    pub fn database(mut self, database: u32) -> Self {
        self.settings.access.database = Some(database.into());
        self
    }

    /// Uses TLS for the servers (feature `tls`), also if their address begins with `redis://`.
    /// Only [`sentinel`](Self::sentinel) needs it: other addresses can be written as `rediss://…`.
    /// Default: as the address says. `install` reports a socket, and a build without the feature.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.settings.access.tls = true;
        self
    }

    /// Sets the user of the sentinels, which have users of their own. Needs a
    /// [`sentinel_password`](Self::sentinel_password). Default: the user in the address of a
    /// sentinel.
    #[must_use]
    pub fn sentinel_user(mut self, user: impl Into<String>) -> Self {
        self.settings.access.sentinel_user = Some(user.into());
        self
    }

    /// Sets the password of the sentinels. Default: the password in the address of a sentinel.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.settings.access.sentinel_password = Some(Secret(password.into()));
        self
    }

    /// Sets a function that returns the user and the password of the servers, for credentials that
    /// change: tokens of managed services, passwords that are rotated. Default: the user and the
    /// password do not change.
    ///
    /// The function is called for each attempt to connect. If its credentials end
    /// ([`Credentials::valid_for`]), it is called again before that, and the open connections are
    /// authenticated again. If that fails, it is tried again each second, and the link is given up
    /// shortly before the credentials end. The error of the function is in the log and in the
    /// runtime's health.
    ///
    /// Each shard calls the function, so several calls can run at the same time. Each call runs in
    /// a task of its own, and its future is dropped after [`connect_limit`](Self::connect_limit),
    /// so it must be cancel safe, and must not block. A request for a token that must not be
    /// dropped halfway belongs into a task that the function spawns and awaits.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use cache_redis::{Credentials, Redis};
    /// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # let redis =
    /// Redis::new("rediss://cache.example.com:6379").credentials(async || {
    ///     let token = token().await?;
    ///     let credentials = Credentials::new("shop", token).valid_for(Duration::from_secs(3600));
    ///     Ok::<_, std::io::Error>(credentials)
    /// });
    /// ```
    #[must_use]
    pub fn credentials<F, A, E>(mut self, function: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.settings.access.credentials = Some(CredentialsSource::new(function));
        self
    }

    /// Sets the certificate (PEM) of the authority that signed the certificates of the servers and
    /// the sentinels. Default: the authorities that the system trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.access.root_certificate = Some(Pem::new(pem.into()));
        self
    }
}
