//! Errors of the server and of its client: what they mean for a connection, and how callers see
//! them.
//!
//! The server's refusals that are of its role or of its place in a cluster have these effects. A
//! call that meets one continues without the server, as after every error; an invalidation is
//! queued.
//!
//! | code | the server | effect |
//! | --- | --- | --- |
//! | `MOVED` | is not the node of the slot, and names that node | the link is lost; the next attempt goes to that node |
//! | `ASK` | migrates the slot, and the key may be at the other node already | the link is kept; if the heartbeat is refused as well, it is lost, and made again until the slot has moved |
//! | `TRYAGAIN` | migrates the slot, and has some of the keys of a script | as `ASK` |
//! | `CLUSTERDOWN` | is cut off from most of its cluster, or the cluster does not cover the slot | the link is lost; the next attempt asks another node |
//! | `LOADING` | has not yet read its data set | the link is lost; it is made again when the data set is loaded |
//! | `READONLY` | is a replica since a failover | the link is lost; the next attempt asks for the address again |
//! | `MASTERDOWN` | is a replica without a primary | as `READONLY` |
//! | `NOREPLICAS` | is a primary that was cut off from its replicas (`min-replicas-to-write`) | the link is lost; the next attempt asks for the address again |
//!
//! A link is made again after a pause of 100 ms to 1 s. `ASK` is not followed: the node that it
//! names answers single commands, and neither the channel nor scripts with several keys. No command
//! is sent to a replica.

use cache_core::{Error, ErrorKind};
use redis::{ConnectionInfo, RedisError};

use crate::topology::at;

/// The address that a node of a cluster names for a key that it does not have, with the settings of
/// `info`, which is the address of that node.
pub(crate) fn moved(info: &ConnectionInfo, error: &RedisError) -> Option<ConnectionInfo> {
    if error.code() != Some("MOVED") {
        return None;
    }
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    // Without a host, it is the one that was asked.
    let host = Some(host).filter(|host| !host.is_empty() && *host != "?");
    at(info, host, port.parse().ok()?)
}

/// The address that `moved` returns for the error that is the source of `error`.
pub(crate) fn moved_by(info: &ConnectionInfo, error: &Error) -> Option<ConnectionInfo> {
    let error = std::error::Error::source(error)?.downcast_ref::<RedisError>()?;
    moved(info, error)
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

/// The error of a request without a reply.
pub(crate) fn no_reply() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// The error of a request whose link ended before the reply.
pub(crate) fn link_ended() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
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
    use redis::IntoConnectionInfo;

    use super::*;

    fn refusal(text: &str) -> RedisError {
        let value = redis::parse_redis_value(text.as_bytes()).unwrap();
        let answer: Result<(), RedisError> = redis::from_redis_value(value).unwrap();
        answer.unwrap_err()
    }

    #[test]
    fn node_of_a_moved_slot_is_followed_and_target_of_a_migration_is_not() {
        let info = ("10.0.0.9", 7000).into_connection_info().unwrap();
        let followed = |text: &str| {
            let moved = moved_by(&info, &failed("read", refusal(text)));
            moved.map(|info| info.addr().to_string())
        };
        for (text, address) in [
            ("-MOVED 7 10.0.0.1:7001\r\n", Some("10.0.0.1:7001")),
            ("-MOVED 7 :7001\r\n", Some("10.0.0.9:7001")),
            ("-MOVED 7 ?:7001\r\n", Some("10.0.0.9:7001")),
            ("-ASK 7 10.0.0.1:7001\r\n", None),
        ] {
            assert_eq!(followed(text).as_deref(), address, "{text}");
        }
    }

    /// The table in the docs of this file, and what the code does.
    #[test]
    fn refusals_of_role_and_place_cost_the_link_as_the_docs_say() {
        let table = include_str!("errors.rs").lines().filter_map(|line| {
            let row = line.strip_prefix("//! | `")?;
            let (code, rest) = row.split_once('`')?;
            let effect = rest.rsplit(" | ").next()?.trim_end_matches(" |");
            Some((code.to_owned(), effect.to_owned()))
        });
        let table: Vec<_> = table.collect();
        assert_eq!(table.len(), 8, "{table:?}");
        for (code, effect) in table {
            let error = refusal(&format!("-{code} 7 127.0.0.1:1\r\n"));
            assert_eq!(error.code(), Some(&*code));
            let is_kept = effect.starts_with("the link is kept") || effect == "as `ASK`";
            assert_eq!(!is_kept, is_fatal(&error), "{code}");
            assert_eq!(is_kept, is_of_a_migrating_slot(&error), "{code}");
        }
    }
}
