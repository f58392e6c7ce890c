//! The settings of a memcached tier.

use std::fmt;
use std::time::Duration;

use cache_core::tier::kit::{DurationRange, NameRule, SizeRange, redact_url};
use cache_core::{Error, ErrorKind};

use crate::item::OVERHEAD;
use crate::keys::LONGEST_NAMESPACE;

/// Namespaces are written into the names of items, where `:` and `#` separate the parts.
const NAMESPACE: NameRule = NameRule {
    max_bytes: LONGEST_NAMESPACE,
    is_allowed: |c| c.is_ascii_graphic() && !matches!(c, '#' | ':'),
    allowed: "printable ASCII characters without blanks, `:` and `#`",
};

/// A shorter lease could expire between two renewals, because memcached counts in seconds. After a
/// longer one, callers would wait long for an instance that died.
const LEASE_TIME: DurationRange =
    DurationRange::new(Duration::from_secs(2), Duration::from_secs(5 * 60));

/// memcached has no larger items.
const RECORD_BYTES: SizeRange = SizeRange::new(1, 1 << 30);

/// The largest number of connections of one instance.
const MAX_CONNECTIONS: usize = 64;

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
/// **When to use it**: several instances use the cache, and memcached is the server you have. With
/// Redis, invalidations reach other instances sooner, and the server can have replicas.
///
/// **Promises**: the tier is *shared* and fenced. After an invalidation no late fill is stored,
/// and other instances stop returning the old value within the
/// [`staleness_bound`](Self::staleness_bound). If the server is unreachable, invalidations wait in
/// memory, and are lost if the process ends before they are sent. If the server restarts, its data
/// is lost. Values with tags are not stored, because the server has no
/// [ledger](cache_core::tier::Ledger); the memory of all instances learns of an invalidated tag
/// within the same bound. An expired key or function is invalidated in the server, and stale in the
/// memory of all instances.
///
/// **Cost**: one round trip for a hit, six for a miss, three for an invalidation, two for one of up
/// to 512 tags, and eight requests per second from each instance.
///
/// The server must be memcached 1.6 or later, for its meta commands. A server that was started with
/// `-C` is not used, because it gives items no CAS numbers. Use one server: several servers behind
/// one name, or a proxy that spreads keys over them, would each have a log of invalidations of
/// their own. Several servers behind one name are detected when connections are made, and none of
/// them is used; a proxy is not detected.
///
/// memcached counts in seconds, so it keeps items one or two seconds longer than records live. A
/// record carries its own expiry, by the clock of the host that wrote it, and so does the back-off
/// of a key whose load failed: keep the clocks of hosts synchronized. A refresh or a put that fails
/// while the key has a record ends the back-off of the key and leaves none.
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
            .field("url", &self.redacted_url())
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
    /// Creates the settings for the server at `memcached://host:port` or `memcached+unix:///path`.
    /// The port is required (memcached's own is 11211), and host names are resolved to IPv4
    /// addresses.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "mtc".to_owned(),
            // A connection runs one command at a time, which takes a fraction of a millisecond.
            connections: 4,
            staleness_bound: Duration::from_millis(500),
            time_limit: Duration::from_millis(250),
            connect_limit: Duration::from_secs(1),
            lease_time: Duration::from_secs(10),
            // The largest item of a server that was started without `-I`.
            max_record_bytes: (1 << 20) - OVERHEAD,
            required: false,
        }
    }

    /// Sets the beginning of the names of all items: 1 to 64 printable ASCII characters without
    /// blanks, `:` and `#`. Default: `mtc`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the number of connections of this instance, 1 to 64, which is also the number of
    /// commands that run at the same time. Default: 4.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets how long after an invalidation other instances may return the old value from memory:
    /// between 50 ms and one minute. Each instance asks the server for invalidations four times
    /// within this time. Default: 500 ms.
    #[must_use]
    pub fn staleness_bound(mut self, bound: Duration) -> Self {
        self.staleness_bound = bound;
        self
    }

    /// Sets the time that one call may spend on the tier in all, besides its body. An invalidation
    /// waits for as long. Default: 250 ms.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Sets the time limit for making the connections. Default: 1 s.
    #[must_use]
    pub fn connect_limit(mut self, connect_limit: Duration) -> Self {
        self.connect_limit = connect_limit;
        self
    }

    /// Sets how long callers wait for the load of an instance that died: whole seconds, between 2
    /// seconds and five minutes. Leases are renewed three times within it. Default: 10 s.
    #[must_use]
    pub fn lease_time(mut self, lease_time: Duration) -> Self {
        self.lease_time = lease_time;
        self
    }

    /// Sets the size in bytes of the largest record that is stored. A larger one is not stored
    /// here, and is counted ([`TierStats::too_large`](cache_core::TierStats::too_large)). More than
    /// the default needs a server that was started with a larger `-I`. Default: 1 MiB less 512
    /// bytes.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// Makes `install` fail if the server cannot be reached or used. Default: `install` logs a
    /// warning, and the tier is used once the server can be used.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Returns the URL for logs and errors. memcached takes no password, but users may write one.
    pub(crate) fn redacted_url(&self) -> String {
        redact_url(&self.url)
    }

    /// Returns the address as the client takes it; `None` if the URL is not one of memcached.
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

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |problem: String| Error::new(ErrorKind::Configuration, problem);
        if self.address().is_none() {
            let problem = format!("`{}` is not a URL of memcached", self.redacted_url());
            return Err(wrong(problem).with_help(
                "use `memcached://host:port` with a name or an IPv4 address, or `memcached+unix:///path`, without a password",
            ));
        }
        NAMESPACE.check("namespace", "memcached", &self.namespace)?;
        let connections = self.connections;
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            return Err(wrong(format!(
                "number of connections to memcached is {connections}: it must be from 1 to {MAX_CONNECTIONS}"
            )));
        }
        DurationRange::STALENESS_BOUND
            .check("staleness bound of memcached", self.staleness_bound)?;
        let limit = DurationRange::TIME_LIMIT;
        limit.check("time limit of memcached", self.time_limit)?;
        limit.check("connect limit of memcached", self.connect_limit)?;
        LEASE_TIME.check("lease time of memcached", self.lease_time)?;
        if self.lease_time.subsec_nanos() > 0 {
            return Err(wrong(format!(
                "lease time of memcached is {:?}: it must be whole seconds, the unit of memcached",
                self.lease_time
            )));
        }
        let bytes = u64::try_from(self.max_record_bytes).unwrap_or(u64::MAX);
        RECORD_BYTES.check("maximum record size of memcached", bytes)
    }
}
