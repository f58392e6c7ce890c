//! Errors of the server and of its client: what they mean for a connection, and how callers see
//! them.

use cache_core::{Error, ErrorKind};
use redis::{Client, ConnectionAddr, RedisError};

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
}
