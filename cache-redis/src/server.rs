//! Identifies a server, and classifies its errors.

use std::fmt;

use cache_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, RedisError};

/// The oldest major version that has the commands of the scripts.
const OLDEST: u32 = 7;

/// The identity of a server process and its data set. It changes with a restart, a failover, and
/// the promotion of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    run: String,
    replication: String,
}

#[cfg(test)]
impl Identity {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            run: name.to_owned(),
            replication: name.to_owned(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.replication)
    }
}

/// The properties of a server that a link depends on.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) identity: Identity,
    /// The server's clock, in milliseconds.
    pub(crate) millis: u64,
    /// `true` if the server evicts keys however often they are used, including control keys.
    pub(crate) evicts_at_random: bool,
}

/// Asks a server for its identity.
///
/// # Errors
/// The server does not reply, or cannot be used.
pub(crate) async fn greet(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> Result<Greeting, Error> {
    let mut other = connection.clone();
    // If the key is on another node of a cluster, this command fails and names that node.
    let is_here = async {
        redis::cmd("EXISTS")
            .arg(key)
            .exec_async(&mut other)
            .await
            .map_err(|error| failed("ask the server for a key", error))
    };
    let who = async {
        redis::pipe()
            .cmd("INFO")
            .arg("server")
            .arg("replication")
            .arg("persistence")
            .arg("memory")
            .cmd("TIME")
            .query_async(connection)
            .await
            .map_err(|error| failed("greet the server", error))
    };
    let ((info, (seconds, micros)), is_here): ((String, (u64, u64)), _) =
        match tokio::join!(who, is_here) {
            (Ok(who), is_here) => (who, is_here),
            (Err(error), _) => return Err(error),
        };
    let identity = check(&info);
    // All control keys have an expiry, so both policies evict them.
    let evicts_at_random = info.lines().any(|line| {
        let policy = line.trim_end().strip_prefix("maxmemory_policy:");
        matches!(policy, Some("allkeys-random" | "volatile-random"))
    });
    // The identity explains more than a refused command, except if the refusal names the node that
    // has the key.
    if let Err(error) = is_here
        && (identity.is_ok() || moved_to(&error).is_some())
    {
        return Err(error);
    }
    Ok(Greeting {
        identity: identity?,
        evicts_at_random,
        millis: millis_of((seconds, micros)),
    })
}

/// Converts a reply to TIME, seconds and microseconds, to milliseconds.
pub(crate) fn millis_of((seconds, micros): (u64, u64)) -> u64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

fn check(info: &str) -> Result<Identity, Error> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let Some(version) = field("redis_version") else {
        return Err(Error::new(
            ErrorKind::Protocol,
            "the server is neither Redis nor Valkey: it reports no `redis_version`",
        ));
    };
    let major: Option<u32> = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_some_and(|major| major < OLDEST) {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!("Redis {version} is too old: the minimum is {OLDEST}.0"),
        ));
    }
    if field("role").is_some_and(|role| role != "master") {
        return Err(Error::new(ErrorKind::Protocol, "the server is a replica"));
    }
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the server is still loading its data set",
        ));
    }
    match (field("run_id"), field("master_replid")) {
        (Some(run), Some(replication)) if !run.is_empty() => Ok(Identity {
            run: run.to_owned(),
            replication: replication.to_owned(),
        }),
        _ => Err(Error::new(
            ErrorKind::Protocol,
            "the server reports no identity (`run_id`, `master_replid`), so a failover could not be noticed",
        )),
    }
}

/// The node of a cluster that the namespace has moved to: its host, unless that is the same, and
/// its port.
///
/// Only MOVED is followed. ASK names a node for a single command while a slot is in migration; that
/// node sends every other command back.
pub(crate) fn moved_to(error: &Error) -> Option<(Option<String>, u16)> {
    let error = std::error::Error::source(error)?.downcast_ref::<RedisError>()?;
    if error.code() != Some("MOVED") {
        return None;
    }
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = Some(host).filter(|host| !host.is_empty() && *host != "?");
    Some((host.map(ToOwned::to_owned), port.parse().ok()?))
}

/// A client of the node that the cluster's error names, with the same settings otherwise.
pub(crate) fn moved_client(client: &Client, error: &Error) -> Option<Client> {
    let (host, port) = moved_to(error)?;
    let info = client.get_connection_info().clone();
    let address = match info.addr().clone() {
        ConnectionAddr::Tcp(before, _) => ConnectionAddr::Tcp(host.unwrap_or(before), port),
        ConnectionAddr::TcpTls {
            host: before,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: host.unwrap_or(before),
            port,
            insecure,
            tls_params,
        },
        _ => return None,
    };
    Client::open(info.set_addr(address)).ok()
}

/// The code of the server's error that is the source of `error`.
pub(crate) fn code_of(error: &Error) -> Option<&str> {
    let error = std::error::Error::source(error)?;
    error.downcast_ref::<RedisError>()?.code()
}

/// Returns `true` if a connection cannot be used after this error: it is broken, or leads to a
/// server that cannot serve (a replica since a failover, one that is still loading, a primary that
/// lost its replicas).
pub(crate) fn is_fatal(error: &RedisError) -> bool {
    error.is_connection_dropped()
        || error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(
            error.code(),
            Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOREPLICAS" | "CLUSTERDOWN" | "MOVED")
        )
}

/// Returns `true` if a command was refused because its key has a value of another type.
pub(crate) fn is_of_another_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// Returns `true` if a node of a cluster does not answer for a key now, because it migrates the
/// slot.
pub(crate) fn is_of_a_migrating_slot(error: &RedisError) -> bool {
    matches!(error.code(), Some("ASK" | "TRYAGAIN"))
}

/// The error of a request that failed: "could not <what>".
pub(crate) fn failed(what: &'static str, error: RedisError) -> Error {
    Error::with_source(kind_of(&error), format!("could not {what}"), error)
}

/// The error of a connection that could not be made.
pub(crate) fn not_connected(error: RedisError) -> Error {
    let what = match error.kind() {
        redis::ErrorKind::Parse => "connect to Redis: the peer does not speak its protocol",
        _ => "connect to Redis",
    };
    failed(what, error)
}

/// The error of a request without a reply.
pub(crate) fn no_answer() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// The kind of error that callers see.
pub(crate) fn kind_of(error: &RedisError) -> ErrorKind {
    if error.is_timeout() {
        ErrorKind::TimedOut
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_of_a_moved_slot_is_followed_and_target_of_a_migration_is_not() {
        let answer = |text: &str| {
            let value = redis::parse_redis_value(text.as_bytes()).unwrap();
            let answer: Result<(), RedisError> = redis::from_redis_value(value).unwrap();
            failed("read", answer.unwrap_err())
        };
        let moved = answer("-MOVED 7 10.0.0.1:7001\r\n");
        assert_eq!(moved_to(&moved), Some((Some("10.0.0.1".into()), 7001)));
        assert_eq!(moved_to(&answer("-ASK 7 10.0.0.1:7001\r\n")), None);
    }

    const NAMES: &str = "\r\nrun_id:5a\r\nmaster_replid:7b\r\n";

    #[test]
    fn server_that_is_too_old_or_not_redis_is_refused() {
        let identity = check(&format!("# Server\r\nredis_version:7.0.15{NAMES}")).unwrap();
        assert_eq!(identity.to_string(), "5a-7b");
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2";
        assert_eq!(check(&format!("{valkey}{NAMES}")).unwrap(), identity);
        let old = check(&format!("redis_version:6.2.1{NAMES}"))
            .unwrap_err()
            .to_string();
        assert!(old.contains("6.2.1") && old.contains("7.0"), "{old}");
        assert!(check("hello").is_err());
        assert!(
            check("redis_version:7.0.15").is_err(),
            "it reports no identity"
        );
        assert!(check(&format!("redis_version:7.0.15\r\nrole:slave{NAMES}")).is_err());
    }
}
