//! Identifies a server, and checks that it can be used.

use std::fmt;

use cache_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;

use crate::errors::{self, failed};
use crate::mistakes;

/// The oldest major version that has the commands of the scripts.
const OLDEST: u32 = 7;

/// The identity of a server process and its data set. It changes with a restart, a failover, and
/// the promotion of a replica.
///
/// The number of shards that the namespace is laid out for belongs to it: it is written wherever
/// the identity is, after a `#`, unless it is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    run: String,
    replication: String,
    shards: u8,
}

#[cfg(test)]
impl Identity {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            run: name.to_owned(),
            replication: name.to_owned(),
            shards: 1,
        }
    }

    /// Returns the identity of this server with a namespace that is laid out for so many shards.
    pub(crate) fn of_shards(self, shards: u8) -> Self {
        Self { shards, ..self }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.replication)?;
        match self.shards {
            1 => Ok(()),
            shards => write!(f, "#{shards}"),
        }
    }
}

/// Returns the number of shards that a history was begun for; `None` if the text is no history.
pub(crate) fn shards_of_history(text: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(text).ok()?;
    let (number, identity) = text.split_once(':')?;
    number.parse::<u64>().ok().filter(|number| *number > 0)?;
    match identity.rsplit_once('#') {
        Some((_, shards)) => Some(shards.parse().unwrap_or(1)),
        None => Some(1),
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
    /// `true` if the server says that it is no node of a cluster.
    pub(crate) is_alone: bool,
}

/// Asks a server for its identity, and whether it has `key`. `shards` is the number of shards that
/// the namespace is to have.
///
/// # Errors
/// The server does not reply, or cannot be used.
pub(crate) async fn greet(
    connection: &mut MultiplexedConnection,
    key: &str,
    shards: u8,
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
            .arg("cluster")
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
    let identity = check(&info, shards);
    // All control keys have an expiry, so both policies evict them.
    let evicts_at_random = info.lines().any(|line| {
        let policy = line.trim_end().strip_prefix("maxmemory_policy:");
        matches!(policy, Some("allkeys-random" | "volatile-random"))
    });
    let is_alone = info
        .lines()
        .any(|line| line.trim_end() == "cluster_enabled:0");
    // The identity explains more than a refused command, except if the refusal names the node that
    // has the key.
    if let Err(error) = is_here
        && (identity.is_ok() || errors::code_of(&error) == Some("MOVED"))
    {
        return Err(error);
    }
    Ok(Greeting {
        identity: identity?,
        evicts_at_random,
        is_alone,
        millis: millis_of((seconds, micros)),
    })
}

/// Converts a reply to TIME, seconds and microseconds, to milliseconds.
pub(crate) fn millis_of((seconds, micros): (u64, u64)) -> u64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

fn check(info: &str, shards: u8) -> Result<Identity, Error> {
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
        let primary = field("master_host").zip(field("master_port"));
        return Err(mistakes::replica(primary));
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
            shards,
        }),
        _ => Err(Error::new(
            ErrorKind::Protocol,
            "the server reports no identity (`run_id`, `master_replid`), so a failover could not be noticed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "\r\nrun_id:5a\r\nmaster_replid:7b\r\n";

    #[test]
    fn server_that_is_too_old_or_not_redis_is_refused() {
        let check = |info: &str| check(info, 1);
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

    #[test]
    fn number_of_shards_is_in_the_history_unless_it_is_one() {
        let identity = |shards| check(&format!("redis_version:7.0.15{NAMES}"), shards).unwrap();
        assert_eq!(identity(8).to_string(), "5a-7b#8");
        assert_ne!(identity(8), identity(4));
        for shards in [1, 2, 8, 64] {
            let history = format!("17:{}", identity(shards));
            assert_eq!(shards_of_history(history.as_bytes()), Some(shards));
        }
        for foreign in ["", "foreign", ":5a", "0:5a", "x:5a#8"] {
            assert_eq!(shards_of_history(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
