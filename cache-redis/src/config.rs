//! Settings of the tier.

mod servers;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::tier::Shard;
use cache_core::tier::kit::{DurationRange, NameRule, SizeRange};
use cache_core::{Error, ErrorKind};

use crate::access::Access;
use crate::topology::{Addresses, Topology};

/// A namespace is part of a hash tag, which braces would end, and of the names in an ACL.
const NAMESPACE: NameRule = NameRule {
    max_bytes: usize::MAX,
    is_allowed: |c| c.is_alphanumeric() || "_-./:".contains(c),
    allowed: "letters, digits, `_`, `-`, `.`, `/` and `:`",
};

/// Lease times. A shorter lease could expire between two renewals during a pause of the process;
/// with a longer one, callers would wait too long for a loader that crashed.
const LEASE_TIME: DurationRange =
    DurationRange::new(Duration::from_millis(300), Duration::from_secs(60));

/// The shards of a cluster, unless they are set. Eight are spread evenly over two or four
/// primaries, and cost an instance 16 connections.
const CLUSTER_SHARDS: u8 = 8;

/// Maximum record sizes. The server's own limit for a string is 512 MiB.
const RECORD_SIZE: SizeRange = SizeRange::new(1, 512 << 20);

/// A Redis or Valkey server as a shared tier.
///
/// **When**: several instances share values, or values must outlive an instance.
///
/// **Promises**: the tier is *shared* and fenced. After an invalidation no late fill is stored, and
/// other instances stop answering with the old value once
/// [`staleness_bound`](Self::staleness_bound) has passed; the page on guarantees has the
/// exceptions. Invalidations that are queued while the server is unreachable outlive the process if
/// there is a [`journal_file`](Self::journal_file).
///
/// **Costs**: one round trip for a hit, three for a miss, one for an invalidation; two connections;
/// eight barriers and a heartbeat each second. Connections, barriers and heartbeats are for each
/// shard.
///
/// # Which server
///
/// [`Redis::new`] takes the URL of one server, [`Redis::cluster`] some nodes of a cluster, and
/// [`Redis::sentinel`] the sentinels of a primary. [`credentials`](Self::credentials) are for
/// tokens that end.
///
/// # Permissions
///
/// A user of the server (ACL) needs the keys `~{namespace:0}:*`, the channels `&{namespace:0}:*`
/// (0 is the shard, not the database; with several shards `~{namespace:*}:*` and
/// `&{namespace:*}:*`), and these commands:
///
/// | for | commands |
/// | --- | --- |
/// | caching: keys | `ping info time getrange set del exists incr append pexpire pttl` |
/// | caching: scripts, channel | `evalsha script\|load spublish ssubscribe` |
/// | a database other than 0 | `select` |
/// | the nodes of a cluster besides the seeds | `cluster\|slots` |
/// | the keys `{namespace:*}:#history`: to notice another number of shards elsewhere | `getrange` |
/// | bodies that call cached functions | `hset hgetall hdel` |
/// | tags and `expire` | `hmget hset hincrby hlen hscan rename unlink` |
/// | several records in one command | `mget` |
/// | write guards | `zadd zrem zscore zremrangebyscore` |
/// | `invalidate_matching` | `scan unlink` |
/// | `replicated` | `wait` |
/// | [audit](Self::audit) | `xadd` |
/// | `observe` | `hset hdel hmget zadd zremrangebyscore`, and `xadd`, as it turns on the audit |
/// | `explain` | `zcount` |
/// | [streams](Self::streams) | `xadd xread xrevrange xgroup\|create xreadgroup xack xautoclaim` |
///
/// The permissions are checked when a link is made. If one for caching is missing, the tier is not
/// used: calls run their bodies, invalidations are queued, and the log and the runtime's health
/// name the commands. If one for a feature is missing, that feature fails with an error that names
/// the commands, or, for write guards, is not held; everything else works.
#[derive(Clone)]
pub struct Redis {
    pub(crate) addresses: Addresses,
    pub(crate) settings: Settings,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) time_limit: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) breaker_threshold: u32,
    pub(crate) max_record_bytes: usize,
    pub(crate) staleness_bound: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) journal_file: Option<PathBuf>,
    pub(crate) audit: Option<Audit>,
    /// The name under which this instance publishes its state for tools.
    pub(crate) observe: Option<String>,
    pub(crate) required: bool,
    /// `None`: the default of the kind of addresses.
    pub(crate) shards: Option<u8>,
    pub(crate) access: Access,
}

/// The stream of invalidations.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    /// The name of this instance in each entry.
    pub(crate) who: String,
    /// The approximate maximum number of entries.
    pub(crate) most: u32,
}

impl fmt::Debug for Redis {
    /// Shows the addresses without users and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("addresses", &self.addresses)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// The settings with their defaults.
    fn at(addresses: Addresses) -> Self {
        Self {
            addresses,
            settings: Settings {
                namespace: "cache".into(),
                // A healthy server replies within a millisecond. A quarter of a second is longer
                // than its pauses for a fork or a slow command, and shorter than what a user
                // notices.
                time_limit: Duration::from_millis(250),
                // A handshake takes a few round trips, and some more with TLS. Only `install` waits
                // for it.
                connect_limit: Duration::from_secs(1),
                // One timeout is a hiccup; five in a row without a reply in between are not.
                breaker_threshold: 5,
                // A record of 1 MiB occupies a Gbit link for 8 ms, and the server for about as
                // long.
                max_record_bytes: 1 << 20,
                // A barrier is sent four times within the bound: eight a second for each instance.
                staleness_bound: Duration::from_millis(500),
                // The time that waiters lose if a loader crashes. Leases are renewed every third of
                // it, so that two renewals may be lost.
                lease_time: Duration::from_secs(2),
                journal_file: None,
                audit: None,
                observe: None,
                required: false,
                shards: None,
                access: Access::default(),
            },
        }
    }

    /// Sets the prefix of all keys. Instances that share values have the same namespace. Default:
    /// `cache`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.settings.namespace = namespace.into();
        self
    }

    /// Sets the time that a call may spend on the server in total, besides its body. Default: 250
    /// ms.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.settings.time_limit = time_limit;
        self
    }

    /// Sets the time limit of an attempt to connect. Calls never wait for it. Default: 1 s.
    #[must_use]
    pub fn connect_limit(mut self, connect_limit: Duration) -> Self {
        self.settings.connect_limit = connect_limit;
        self
    }

    /// Sets the number of operations in a row without a reply after which the breaker opens.
    /// Default: 5.
    #[must_use]
    pub fn breaker_threshold(mut self, breaker_threshold: u32) -> Self {
        self.settings.breaker_threshold = breaker_threshold;
        self
    }

    /// Sets the size in bytes of the largest record that is sent or read; the same for all
    /// instances of a namespace. A larger record is not stored here, but counted
    /// ([`TierStats::too_large`](cache_core::TierStats::too_large)). A longer string under a
    /// record's key is damaged: no more than this is read of it, and the next fill replaces it.
    /// Default: 1 MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.settings.max_record_bytes = max_record_bytes;
        self
    }

    /// Sets the longest time for which this instance may answer with a value after another instance
    /// invalidated it. While this instance cannot prove that it received every invalidation in this
    /// time, it does not answer from memory without asking the server. From 50 ms to a minute; the
    /// same for all instances of a namespace. Default: 500 ms.
    #[must_use]
    pub fn staleness_bound(mut self, staleness_bound: Duration) -> Self {
        self.settings.staleness_bound = staleness_bound;
        self
    }

    /// Sets the time until the lease of an instance that no longer responds expires; others wait
    /// for its load no longer than that. The lease is renewed while the load runs, however long the
    /// load takes. From 300 ms to a minute; the same for all instances of a namespace, because a
    /// caller shortens a lease that lives longer than its own would. Default: 2 s.
    #[must_use]
    pub fn lease_time(mut self, lease_time: Duration) -> Self {
        self.settings.lease_time = lease_time;
        self
    }

    /// Keeps invalidations that could not be sent in a file, so that they outlive this process: the
    /// next process that is started with the file sends them. Each instance needs a file of its
    /// own; with several [`shards`](Self::shards), each shard has one, with its number after the
    /// path: `.0of8` to `.7of8`. While the server is unreachable, an invalidation costs a write to
    /// the disk (`fdatasync`); otherwise the file costs nothing. Default: no file, and queued
    /// invalidations are lost with the process.
    #[must_use]
    pub fn journal_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.journal_file = Some(path.into());
        self
    }

    /// Makes `install` fail if the server cannot be reached or used; the error has its address and
    /// the reason. With several shards it fails if one of them cannot be used. Default: `install`
    /// logs a warning, and calls continue without the server until it can be used.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.settings.required = true;
        self
    }

    /// Records every invalidation that this instance sends in the stream
    /// [`Streams::INVALIDATIONS`](crate::Streams::INVALIDATIONS). An entry has the field `who`
    /// (this instance, under the name that is given here) and the field `what`:
    /// `function:version:arguments`, `function:version`, or `*`; for an invalidation by pattern,
    /// the pattern in place of the arguments. The id of the entry is the time, in milliseconds by
    /// the server's clock. The stream is trimmed to about `most` entries. Default: no stream.
    ///
    /// The entry is written in the same step as the invalidation, and before the first step of
    /// `invalidate_matching`, which has several. If the stream cannot be written, the invalidation
    /// is done without an entry. An invalidation that is sent again after an outage has another
    /// entry. The arguments are readable in the stream, as they are in the names of keys.
    ///
    /// With several shards each of them has such a stream, which
    /// [`streams_in_shard`](Self::streams_in_shard) reads: an entry is written in one step with its
    /// invalidation. An invalidation of more than a key has an entry in each.
    #[must_use]
    pub fn audit(mut self, who: impl Into<String>, most: u32) -> Self {
        let who = who.into();
        self.settings.audit = Some(Audit { who, most });
        self
    }

    /// Publishes the state of this instance and its functions for tools, under this name. Default:
    /// nothing is published.
    ///
    /// Every five seconds this costs one script on the server, with at most 32 KiB; functions are
    /// sent once. The state of an instance expires after 15 seconds, and the functions expire after
    /// a day in which no instance publishes. The cache reads none of it, so a loss concerns
    /// displays only. Names of functions and arguments are published, and no keys or values.
    ///
    /// Unless [`audit`](Self::audit) is set, this sets it, with the same name and 10,000 entries.
    /// The audit adds an `XADD` to each invalidation, and its stream contains the arguments of
    /// keys.
    #[cfg(feature = "inspect")]
    #[must_use]
    pub fn observe(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        let who = name.clone();
        self.settings
            .audit
            .get_or_insert(Audit { who, most: 10_000 });
        self.settings.observe = Some(name);
        self
    }

    /// The number of shards, as it is set.
    pub(crate) fn shard_count(&self) -> u8 {
        let default = match self.addresses {
            Addresses::Cluster(_) => CLUSTER_SHARDS,
            Addresses::Server(_) | Addresses::Sentinels { .. } => 1,
        };
        self.settings.shards.unwrap_or(default)
    }

    /// Checks the settings, and returns the addresses.
    ///
    /// # Errors
    /// A setting is outside of its range, or an address cannot be parsed.
    pub(crate) fn check(&self) -> Result<Topology, Error> {
        let Settings {
            namespace,
            time_limit,
            connect_limit,
            breaker_threshold,
            max_record_bytes,
            staleness_bound,
            lease_time,
            journal_file: _,
            audit,
            observe,
            required: _,
            shards: _,
            access,
        } = &self.settings;
        NAMESPACE.check("namespace", "Redis", namespace)?;
        DurationRange::TIME_LIMIT.check("time limit of Redis", *time_limit)?;
        DurationRange::TIME_LIMIT.check("connect limit of Redis", *connect_limit)?;
        DurationRange::STALENESS_BOUND.check("staleness bound of Redis", *staleness_bound)?;
        LEASE_TIME.check("lease time of Redis", *lease_time)?;
        RECORD_SIZE.check("maximum record size of Redis", *max_record_bytes as u64)?;
        if *breaker_threshold == 0 {
            return Err(Error::new(
                ErrorKind::Configuration,
                "breaker threshold of Redis is zero: the breaker would never close",
            ));
        }
        if let Some(audit) = audit
            && (audit.who.is_empty() || audit.who.len() > 256 || audit.most == 0)
        {
            return Err(Error::new(
                ErrorKind::Configuration,
                "audit of Redis has no name, a name of more than 256 bytes, or no entries",
            ));
        }
        if observe
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.len() > 256)
        {
            return Err(Error::new(
                ErrorKind::Configuration,
                "name of the instance that Redis publishes is empty, or has more than 256 bytes",
            ));
        }
        self.check_shards()?;
        Topology::new(&self.addresses, access)
    }

    fn check_shards(&self) -> Result<(), Error> {
        let shards = self.shard_count();
        let wrong = |problem: &str, help: &'static str| {
            let problem = format!("Redis is set to {shards} shards (`Redis::shards`){problem}");
            Err(Error::new(ErrorKind::Configuration, problem).with_help(help))
        };
        if Shard::all(shards).is_err() {
            return wrong("", "use 1, 2, 4, 8, 16, 32 or 64");
        }
        if shards > 1 && matches!(self.addresses, Addresses::Sentinels { .. }) {
            return wrong(
                ", but sentinels have one primary",
                "leave out `Redis::shards`, or use a cluster by `Redis::cluster`",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::{TierBuilder, TierContext};

    use super::*;

    #[track_caller]
    fn wrong(redis: Redis, expected: &str) {
        let error = Box::new(redis).build(&context()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }

    fn context() -> TierContext {
        TierContext::new(cache_core::Level::L2, cache_core::tier::Peers::none())
    }

    #[test]
    fn wrong_setting_is_an_error_that_names_it() {
        let redis = || Redis::new("redis://127.0.0.1:1");
        assert!(Box::new(redis()).build(&context()).is_ok());
        wrong(Redis::new("http://127.0.0.1"), "`http://127.0.0.1`");
        wrong(Redis::new("127.0.0.1:6379:x"), "URL of Redis");
        wrong(Redis::new("127.0.0.1:6379"), "`redis://host:port`");
        wrong(redis().namespace(""), "namespace");
        wrong(redis().namespace("a{b}"), "`a{b}`");
        wrong(
            redis().time_limit(Duration::ZERO),
            "time limit of Redis is 0s",
        );
        wrong(redis().time_limit(Duration::MAX), "at most 5m");
        wrong(
            redis().connect_limit(Duration::MAX),
            "connect limit of Redis",
        );
        wrong(
            redis().breaker_threshold(0),
            "breaker threshold of Redis is zero",
        );
        wrong(redis().max_record_bytes(0), "maximum record size");
        wrong(redis().staleness_bound(Duration::ZERO), "staleness bound");
        wrong(redis().lease_time(Duration::from_secs(61)), "lease time");
        #[cfg(not(feature = "tls"))]
        wrong(Redis::new("rediss://127.0.0.1"), "feature `tls`");
    }

    #[test]
    fn number_of_shards_is_a_power_of_two_and_one_behind_sentinels() {
        let redis = || Redis::new("redis://127.0.0.1:1");
        assert_eq!(redis().shard_count(), 1);
        assert_eq!(Redis::cluster(["a:1"]).shard_count(), 8);
        assert_eq!(Redis::cluster(["a:1"]).shards(64).shard_count(), 64);
        for shards in [0, 3, 65, 128, 255] {
            wrong(redis().shards(shards), "`Redis::shards`");
        }
        let behind_sentinels = Redis::sentinel(["a:1"], "mymaster").shards(8);
        wrong(behind_sentinels, "sentinels have one primary");
    }

    #[test]
    fn password_is_in_no_text() {
        let redis = Redis::new("redis://user:s3cr@t@host:1/x/y");
        assert!(!format!("{redis:?}").contains("s3cr"));
        let error = Box::new(redis).build(&context()).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr"), "{error:?}");
        for url in [
            "redis+unix:///run/x.sock?pass=s3cret",
            "default:s3cret@host:6379",
        ] {
            let redis = Redis::new(url);
            assert!(!format!("{redis:?}").contains("s3cret"), "{redis:?}");
            if let Err(error) = Box::new(redis).build(&context()) {
                assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            }
        }
    }
}
