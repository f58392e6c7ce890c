use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{Tier, TierBuilder, TierContext};
use cache_core::{Error, ErrorKind};

use crate::keys::LONGEST_NAMESPACE;
use crate::tier::MemcachedTier;

/// A memcached server as a shared tier.
///
/// ```no_run
/// use cache_core::{CacheRuntime, Memory};
/// use cache_memcached::Memcached;
///
/// # async fn example() -> Result<(), cache_core::Error> {
/// CacheRuntime::builder()
///     .l1(Memory::builder())
///     .l2(Memcached::new("memcached://127.0.0.1:11211").namespace("shop"))
///     .install()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// **When**: several instances, where memcached is what there is. Redis tells of invalidations sooner, and can have replicas.
///
/// **What it promises**: it is *shared* and fenced. After an invalidation no late fill is stored, and other instances no longer
/// answer with the old value once [`staleness_bound`](Self::staleness_bound) has passed. What waits to be sent while the server is
/// away is lost with its process, and the server's data with the server.
///
/// **What it costs**: a round trip for a hit, six for a miss, three for an invalidation, and eight questions a second from each
/// instance.
///
/// One server, memcached 1.6 or later, for its meta commands; one that was started with `-C` numbers no items and is not used. Several
/// servers behind one name, or a proxy that spreads keys over them, would each have a log of invalidations of their own. Where
/// connections lead to several, that is noticed when they are made, and none is used; a proxy is not noticed.
///
/// memcached counts in seconds, and one of them may pass at once, so that items are kept a second or two longer than records live; the
/// record itself says when it is dead, by the wall clock of the host that wrote it: keep the clocks of hosts together.
#[derive(Clone)]
pub struct Memcached {
    pub(crate) url: String,
    pub(crate) namespace: String,
    pub(crate) connections: usize,
    pub(crate) staleness_bound: Duration,
    pub(crate) time_limit: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) required: bool,
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memcached")
            .field("url", &self.shown())
            .field("namespace", &self.namespace)
            .field("connections", &self.connections)
            .field("staleness_bound", &self.staleness_bound)
            .field("time_limit", &self.time_limit)
            .field("connect_limit", &self.connect_limit)
            .field("lease_time", &self.lease_time)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("required", &self.required)
            .finish()
    }
}

impl Memcached {
    /// The server at `memcached://host:port`, or `memcached+unix:///path`. The port is always said (memcached's own is 11211), and
    /// hosts are looked up as IPv4.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "mtc".to_owned(),
            // An operation has a connection for itself; one takes a fraction of a millisecond.
            connections: 4,
            staleness_bound: Duration::from_millis(500),
            time_limit: Duration::from_millis(250),
            connect_limit: Duration::from_secs(1),
            lease_time: Duration::from_secs(10),
            // What memcached takes unless it is told otherwise (`-I`), less what it keeps beside.
            max_record_bytes: (1 << 20) - crate::item::AROUND,
            required: false,
        }
    }

    /// Begins the names of all keys: printable ASCII without blanks, 64 bytes at most. Default: `mtc`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How many connections this instance makes; that many operations are under way at a time. Default: 4.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long after an invalidation other instances may answer with the old value from memory: between 50 ms and a minute.
    /// Default: 500 ms. Four times in each the server is asked whether there was one.
    #[must_use]
    pub fn staleness_bound(mut self, bound: Duration) -> Self {
        self.staleness_bound = bound;
        self
    }

    /// What a call may spend on it beyond its body, in all. Default: 250 ms. An invalidation waits for as long.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// How long making a connection may take. Default: 1 s.
    #[must_use]
    pub fn connect_limit(mut self, connect_limit: Duration) -> Self {
        self.connect_limit = connect_limit;
        self
    }

    /// How long a load keeps others waiting after its instance died, in whole seconds, 2 at least. Default: 10 s. Renewed each
    /// third.
    #[must_use]
    pub fn lease_time(mut self, lease_time: Duration) -> Self {
        self.lease_time = lease_time;
        self
    }

    /// Largest record that is sent. Default: 1 MiB less 512 bytes; more needs a server that was started with a larger `-I`. A larger one is not stored
    /// here, and counted ([`TierStats::too_large`](cache_core::TierStats::too_large)).
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// Lets `install` fail when the server cannot be reached or used, with its address and the reason. Default: a warning, and
    /// service without it until it is there.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The URL without a user or a password, which it cannot have, and may.
    pub(crate) fn shown(&self) -> String {
        let start = self.url.find("://").map_or(0, |scheme| scheme + 3);
        match self.url.rfind('@') {
            Some(at) if start < at => format!("{}***{}", &self.url[..start], &self.url[at..]),
            _ => self.url.clone(),
        }
    }

    /// The address in the words of the client.
    pub(crate) fn address(&self) -> Option<String> {
        if let Some(path) = self.url.strip_prefix("memcached+unix://") {
            return path.starts_with('/').then(|| format!("unix://{path}"));
        }
        let host = self.url.strip_prefix("memcached://")?.trim_end_matches('/');
        let (name, port) = host.split_once(':')?;
        let is_plain = !name.is_empty() && !name.contains(['/', '@', '?', '[']);
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0);
        (is_plain && is_port).then(|| format!("tcp://{host}"))
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |problem: String| Err(Error::new(ErrorKind::Configuration, problem));
        if self.address().is_none() {
            return wrong(format!(
                "`{}` is not a URL of memcached: it is `memcached://host:port` with a name or an IPv4 address, or `memcached+unix:///path`, without a password",
                self.shown()
            ));
        }
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= LONGEST_NAMESPACE
                && name.bytes().all(|byte| byte.is_ascii_graphic())
                && !name.contains(['#', ':'])
        };
        if !is_name(&self.namespace) {
            return wrong(format!(
                "namespace `{}` of memcached is not valid: it has 1 to {LONGEST_NAMESPACE} printable ASCII characters without blanks, `:` and `#`",
                self.namespace
            ));
        }
        if self.connections == 0 || self.connections > 64 {
            return wrong(format!(
                "number of connections to memcached is {}: it must be from 1 to 64",
                self.connections
            ));
        }
        if self.staleness_bound < Duration::from_millis(50)
            || self.staleness_bound > Duration::from_secs(60)
        {
            return wrong(format!(
                "staleness bound of memcached is {:?}: it must be between 50 ms and one minute",
                self.staleness_bound
            ));
        }
        for (what, limit) in [
            ("time limit", self.time_limit),
            ("connect limit", self.connect_limit),
        ] {
            if limit.is_zero() || limit > Duration::from_secs(300) {
                return wrong(format!(
                    "{what} of memcached is {limit:?}: it must be more than zero and at most five minutes"
                ));
            }
        }
        if self.lease_time < Duration::from_secs(2) || self.lease_time > Duration::from_secs(300) {
            return wrong(format!(
                "lease time of memcached is {:?}: it must be between 2 seconds and five minutes",
                self.lease_time
            ));
        }
        if self.lease_time.subsec_nanos() > 0 {
            return wrong(format!(
                "lease time of memcached is {:?}: it must be whole seconds, the unit of memcached",
                self.lease_time
            ));
        }
        if self.max_record_bytes == 0 || self.max_record_bytes > 1 << 30 {
            return wrong(format!(
                "maximum record size of memcached is {} bytes: it must be between 1 byte and 1 GiB",
                self.max_record_bytes
            ));
        }
        Ok(())
    }
}

impl TierBuilder for Memcached {
    fn store(&self) -> Option<String> {
        let (address, namespace) = (self.address()?, &self.namespace);
        Some(format!("the namespace `{namespace}` of {address}"))
    }

    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(MemcachedTier::new(*self, context.peers.clone())))
    }
}
