//! Settings of the tier.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::transport::Pem;

/// After what silence a connection is asked whether it is there. Routers forget one that is silent for some minutes.
const ALIVE: Duration = Duration::from_secs(30);

/// A Redis or Valkey server as a shared tier.
///
/// **When**: several instances, or values that are to outlive one.
///
/// **What it promises**: it is *shared* and fenced. After an invalidation no late fill is stored, and other instances no longer
/// answer with the old value once [`staleness_bound`](Self::staleness_bound) has passed, whatever fails; what waits to be sent while
/// the server is away outlives the process with a [`journal_file`](Self::journal_file).
///
/// **What it costs**: a round trip for a hit, three for a miss, one for an invalidation; two connections; eight barriers and a
/// heartbeat each second.
///
/// # Permissions
///
/// A user of the server (ACL) needs the keys `~{namespace:0}:*`, the channels `&{namespace:0}:*`
/// (0 is a constant, not the database), and these commands:
///
/// | for | commands |
/// | --- | --- |
/// | caching | `ping info time getrange set del exists incr append pexpire pttl evalsha script\|load spublish ssubscribe` |
/// | a database other than 0 | `select` |
/// | bodies that call cached functions | `hset hgetall hdel` |
/// | write guards | `zadd zrem zscore zremrangebyscore` |
/// | `invalidate_matching` | `scan unlink` |
/// | `replicated` | `wait` |
/// | [`audit`](Self::audit) | `xadd` |
/// | [`streams`](Self::streams) | `xadd xread xrevrange xgroup\|create xreadgroup xack xautoclaim` |
///
/// The permissions are checked when a link is made. If one for caching is missing, the tier is not
/// used: calls run their bodies, invalidations are queued, and the log and the runtime's health name
/// the commands. If one for a feature is missing, that feature fails with an error that names the
/// commands, or, for write guards, is not held; everything else works.
#[derive(Clone)]
pub struct Redis {
    pub(crate) url: String,
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
    pub(crate) required: bool,
    pub(crate) root_certificate: Option<Pem>,
}

/// Who invalidations are written down for, and how many are kept.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(crate) who: String,
    pub(crate) most: u32,
}

impl fmt::Debug for Redis {
    /// Without the URL's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("url", &redacted(&self.url))
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// The server at `url`: `redis://[user][:password@]host[:port][/database]`, `rediss://…` for TLS (feature `tls`),
    /// `redis+unix:///path?db=…` for a socket.
    ///
    /// It may be any node of a cluster: a namespace is in one slot, and its node is found and followed. (To use all nodes of a
    /// cluster, use as many namespaces.) It may be a proxy or a name that leads to whoever is primary.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            settings: Settings {
                namespace: "cache".into(),
                // A healthy server answers within a millisecond; a quarter of a second is more than its pauses for a
                // fork or a slow command, and less than what a user notices.
                time_limit: Duration::from_millis(250),
                // A handshake is a few round trips, with TLS some more; nobody waits for it but `install`.
                connect_limit: Duration::from_secs(1),
                // One lost answer is a hiccup; five in a row, with no answer between, are not.
                breaker_threshold: 5,
                // A larger one takes a Gbit link for some 8 ms and the server for about as long.
                max_record_bytes: 1 << 20,
                // A barrier costs a round trip each quarter of it: eight a second for each instance.
                staleness_bound: Duration::from_millis(500),
                // What a crashed load costs those who wait for it. Renewed each third, so that two renewals may be lost.
                lease_time: Duration::from_secs(2),
                journal_file: None,
                audit: None,
                required: false,
                root_certificate: None,
            },
        }
    }

    /// What all keys begin with; instances that share values share it. Default: `cache`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.settings.namespace = namespace.into();
        self
    }

    /// What a call may spend on the server in all, beside its body. Default: 250 ms.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.settings.time_limit = time_limit;
        self
    }

    /// How long an attempt to connect may take. Calls never wait for it. Default: 1 s.
    #[must_use]
    pub fn connect_limit(mut self, connect_limit: Duration) -> Self {
        self.settings.connect_limit = connect_limit;
        self
    }

    /// After how many operations in a row without an answer the breaker opens. Default: 5.
    #[must_use]
    pub fn breaker_threshold(mut self, breaker_threshold: u32) -> Self {
        self.settings.breaker_threshold = breaker_threshold;
        self
    }

    /// Largest record that is sent or read; the same for all instances of a namespace. Default: 1 MiB.
    /// A larger one is not stored here, and counted
    /// ([`TierStats::too_large`](cache_core::TierStats::too_large)). A longer string under a record's
    /// key is damage: no more of it than this is read, and the next fill replaces it.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.settings.max_record_bytes = max_record_bytes;
        self
    }

    /// How old a value may be, at most, after it was invalidated by another instance. While this instance cannot prove it, it
    /// does not answer from memory without asking. From 50 ms to a minute; the same for all instances of a namespace. Default:
    /// 500 ms.
    #[must_use]
    pub fn staleness_bound(mut self, staleness_bound: Duration) -> Self {
        self.settings.staleness_bound = staleness_bound;
        self
    }

    /// Time until the lease of an instance that no longer responds expires; others wait for its load no
    /// longer than that. The lease is renewed while the load runs, however long the load takes. From
    /// 300 ms to a minute; the same for all instances of a namespace, because a caller cuts a lease that
    /// lives longer than its own would. Default: 2 s.
    #[must_use]
    pub fn lease_time(mut self, lease_time: Duration) -> Self {
        self.settings.lease_time = lease_time;
        self
    }

    /// Keeps invalidations that could not be sent in a file, so that they outlive this process: one that is started with the
    /// same file sends them. Each instance needs a file of its own. While the server is away an invalidation costs a write to
    /// the disk (`fdatasync`); else nothing. Default: none, and what is queued is lost with the process.
    #[must_use]
    pub fn journal_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.journal_file = Some(path.into());
        self
    }

    /// Lets `install` fail when the server cannot be reached or used, with its address and the reason. Default: a warning, and
    /// service without it until it is there.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.settings.required = true;
        self
    }

    /// The certificate that signed the server's, as PEM, in place of those the system trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.root_certificate = Some(Pem::new(pem.into()));
        self
    }

    /// Has every invalidation that this instance sends written into the stream [`Streams::INVALIDATIONS`](crate::Streams::INVALIDATIONS): `who` (this instance, under
    /// the name that is given here), `what` (`function:version:arguments`, `function:version`, or `*`; where keys were looked at, the
    /// pattern in place of arguments), and when, as the entry's id says it, in milliseconds by the server's clock. The stream is
    /// trimmed to about `most` entries. Default: nothing is written.
    ///
    /// In the same step as the invalidation, which goes on where the stream cannot be written; before the first step of one that has
    /// several, `invalidate_matching`. What is sent again after an outage is written again. The arguments of keys are in it, readable as they are in the keys themselves.
    #[must_use]
    pub fn audit(mut self, who: impl Into<String>, most: u32) -> Self {
        let who = who.into();
        self.settings.audit = Some(Audit { who, most });
        self
    }

    /// Whether a tier could be built.
    pub(crate) fn check(&self) -> Result<(), Error> {
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
            required: _,
            root_certificate: _,
        } = &self.settings;
        let wrong = |problem: &str| Err(Error::new(ErrorKind::Configuration, problem));
        if namespace.is_empty()
            || !namespace
                .chars()
                .all(|c| c.is_alphanumeric() || "_-./:".contains(c))
        {
            return wrong(&format!(
                "namespace `{namespace}` of Redis is not valid: it may have letters, digits, `_`, `-`, `.`, `/` and `:`"
            ));
        }
        if time_limit.is_zero() || connect_limit.is_zero() {
            return wrong("time limit of Redis is zero: no reply could arrive in time");
        }
        if time_limit.max(connect_limit) > &Duration::from_secs(5 * 60) {
            return wrong(
                "time limit of Redis is more than five minutes: calls would wait that long for a server that does not respond",
            );
        }
        if *breaker_threshold == 0 {
            return wrong("breaker threshold of Redis is zero: the breaker would never close");
        }
        let minute = Duration::from_secs(60);
        if *staleness_bound < Duration::from_millis(50) || *staleness_bound > minute {
            return wrong("staleness bound of Redis is not between 50 ms and one minute");
        }
        if *lease_time < Duration::from_millis(300) || *lease_time > minute {
            return wrong("lease time of Redis is not between 300 ms and one minute");
        }
        if *max_record_bytes == 0 || *max_record_bytes > 512 << 20 {
            return wrong(
                "maximum record size of Redis is not between 1 byte and 512 MiB, the limit of the server",
            );
        }
        if let Some(audit) = audit
            && (audit.who.is_empty() || audit.who.len() > 256 || audit.most == 0)
        {
            return wrong(
                "audit of Redis has no name, a name of more than 256 bytes, or no entries",
            );
        }
        self.client().map(drop)
    }

    #[cfg(test)]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn client(&self) -> Result<Client, Error> {
        let cannot = |why: &str, source: redis::RedisError| {
            Error::with_source(
                ErrorKind::Configuration,
                format!("`{}` is not a URL of Redis{why}", redacted(&self.url)),
                source,
            )
        };
        let info = self.url.as_str().into_connection_info();
        let info: ConnectionInfo = info.map_err(|source| {
            let why = if self.url.starts_with("rediss:") && cfg!(not(feature = "tls")) {
                "; `rediss://` needs the feature `tls`"
            } else {
                "; it has the form `redis://host:port`"
            };
            cannot(why, source)
        })?;
        // RESP3, since a connection is to carry pushed messages beside answers.
        let redis = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        // No delay: small requests go out at once. Alive: what is between does not forget a connection that waits, and one whose other
        // end is gone is noticed.
        let alive = TcpKeepalive::new()
            .with_time(ALIVE)
            .with_interval(ALIVE / 3);
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(alive);
        let info = info.set_redis_settings(redis).set_tcp_settings(tcp);
        #[cfg(feature = "tls")]
        if let Some(pem) = &self.settings.root_certificate {
            let certificates = redis::TlsCertificates {
                client_tls: None,
                root_cert: Some(pem.bytes().to_vec()),
            };
            return Client::build_with_tls(info, certificates).map_err(|source| cannot("", source));
        }
        Client::open(info).map_err(|source| cannot("", source))
    }
}

/// The URL without a user, a password, or a query, which may hold either.
fn redacted(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    match url.rfind('@') {
        Some(at) if start < at => format!("{}***{}", &url[..start], &url[at..]),
        _ => url.to_owned(),
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
    fn wrong_settings_are_errors_that_say_what() {
        let redis = || Redis::new("redis://127.0.0.1:1");
        assert!(Box::new(redis()).build(&context()).is_ok());
        wrong(Redis::new("http://127.0.0.1"), "`http://127.0.0.1`");
        wrong(Redis::new("127.0.0.1:6379:x"), "URL of Redis");
        wrong(Redis::new("127.0.0.1:6379"), "`redis://host:port`");
        wrong(redis().namespace(""), "namespace");
        wrong(redis().namespace("a{b}"), "`a{b}`");
        wrong(
            redis().time_limit(Duration::ZERO),
            "time limit of Redis is zero",
        );
        wrong(redis().time_limit(Duration::MAX), "more than five minutes");
        wrong(
            redis().connect_limit(Duration::MAX),
            "more than five minutes",
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
    fn connections_are_kept_alive() {
        let client = Redis::new("redis://127.0.0.1:1").client().unwrap();
        let settings = client.get_connection_info().tcp_settings().clone();
        assert!(settings.nodelay() && settings.keepalive().is_some());
    }

    #[test]
    fn a_password_is_in_no_text() {
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
