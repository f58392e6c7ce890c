//! Errors of servers that a wrong setting commonly causes. They name the setting.

use cache_core::{Error, ErrorKind};
use redis::{ConnectionAddr, ConnectionInfo, RedisError};

use crate::errors::failed;
#[cfg(feature = "inspect")]
use crate::errors::kind_of;

/// The kind of process that the settings expect at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Server,
    Sentinel,
}

/// The help for a connection by TLS that is not answered.
pub(crate) const NO_TLS: &str = "check that the port is one for TLS, which is used because of \
     `rediss://`, `Redis::tls` or MULTI_TIER_CACHED_REDIS_TLS";

/// Returns `true` if connections to the address use TLS.
pub(crate) fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Returns the name of the user of a connection.
pub(crate) fn user_of(info: &ConnectionInfo) -> &str {
    info.redis_settings().username().unwrap_or("default")
}

/// The error of a request to the server at `info`: "could not <what>", or the setting that causes
/// it.
pub(crate) fn failed_at(
    what: &'static str,
    info: &ConnectionInfo,
    peer: Peer,
    error: RedisError,
) -> Error {
    let Some((kind, problem, help)) = explain(info, peer, &error) else {
        return failed(what, error);
    };
    let error = Error::with_source(kind, problem, error);
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// The error of a connection that could not be made.
pub(crate) fn not_connected(info: &ConnectionInfo, error: RedisError) -> Error {
    failed_at("connect to Redis", info, Peer::Server, error)
}

/// [`not_connected`], with the address: a log names it beside the error, and a tool has the error
/// alone.
#[cfg(feature = "inspect")]
pub(crate) fn not_connected_to(info: &ConnectionInfo, error: RedisError) -> Error {
    if explain(info, Peer::Server, &error).is_some() {
        return not_connected(info, error);
    }
    let problem = format!("could not connect to Redis at {}", info.addr());
    Error::with_source(kind_of(&error), problem, error)
}

type Explanation = (ErrorKind, String, Option<&'static str>);

fn explain(info: &ConnectionInfo, peer: Peer, error: &RedisError) -> Option<Explanation> {
    let address = info.addr();
    let name = match peer {
        Peer::Server => "Redis",
        Peer::Sentinel => "the sentinel",
    };
    if error.kind() == redis::ErrorKind::Parse {
        let problem = format!(
            "could not connect to Redis: the peer at {address} does not speak its protocol"
        );
        return Some((ErrorKind::Protocol, problem, None));
    }
    if is_tls(info) && error.is_timeout() {
        let problem = format!("could not connect to {name} at {address} by TLS in time");
        return Some((ErrorKind::TimedOut, problem, Some(NO_TLS)));
    }
    let text = error.to_string();
    let is_of_access = error.kind() == redis::ErrorKind::AuthenticationFailed;
    let (problem, help) = if text.contains("NOAUTH") {
        let problem = format!("{name} at {address} needs a password (NOAUTH)");
        (problem, password_help(peer))
    } else if is_of_access || text.contains("WRONGPASS") {
        let user = user_of(info);
        let problem = format!("{name} at {address} refuses the user `{user}` or its password");
        (problem, password_help(peer))
    } else if text.contains("refused to switch database") {
        let database = info.redis_settings().db();
        let problem = format!("{name} at {address} refuses the database {database}");
        let help = "check `Redis::database`, MULTI_TIER_CACHED_REDIS_DATABASE or the end of the \
             address; clusters commonly have the database 0 alone";
        (problem, help)
    } else if text.contains("unknown command 'SENTINEL'") {
        let help = "use the addresses of sentinels, which commonly listen on port 26379, or \
             `Redis::new` for a server";
        (
            format!("{address} is no sentinel (`Redis::sentinel`)"),
            help,
        )
    } else if ["TIME", "EXISTS"]
        .iter()
        .any(|command| text.contains(&format!("unknown command '{command}'")))
    {
        let help = "use `Redis::sentinel` if it is a sentinel";
        (format!("{address} is no server with data: {text}"), help)
    } else {
        return None;
    };
    Some((ErrorKind::Configuration, problem, Some(help)))
}

fn password_help(peer: Peer) -> &'static str {
    match peer {
        Peer::Server => {
            "check `Redis::user` and `Redis::password`, the address, or the function of \
             `Redis::credentials`"
        }
        Peer::Sentinel => {
            "check `Redis::sentinel_user` and `Redis::sentinel_password`, or its address"
        }
    }
}

/// Names the setting in the error of a server's first answers, if one causes it.
pub(crate) fn of_greeting(info: &ConnectionInfo, error: Error) -> Error {
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
    match cause.and_then(|cause| explain(info, Peer::Server, cause)) {
        Some((kind @ ErrorKind::Configuration, problem, Some(help))) => {
            Error::with_source(kind, problem, error).with_help(help)
        }
        _ => error,
    }
}

/// The error of a command that the user of the server may not run for `key`.
pub(crate) fn not_permitted(
    info: &ConnectionInfo,
    command: &str,
    key: &str,
    error: RedisError,
) -> Error {
    let user = user_of(info);
    let shard = key.split_once('}').map_or(key, |(tag, _)| tag);
    let namespace = shard
        .rsplit_once(':')
        .map_or(shard, |(namespace, _)| namespace);
    let (keys, all) = (format!("{shard}}}:*"), format!("{namespace}:*}}:*"));
    let problem = format!(
        "the user `{user}` of Redis at {} may not run {command} under `{keys}`",
        info.addr()
    );
    let help = format!("ACL SETUSER {user} +{command} ~{all} &{all}, on every node");
    Error::with_source(ErrorKind::Configuration, problem, error).with_help(help)
}

/// Returns the more useful of two errors: one that names a setting, or else the later one.
pub(crate) fn clearer(before: Option<Error>, later: Error) -> Error {
    match before {
        Some(before) if before.kind() == ErrorKind::Configuration => before,
        _ => later,
    }
}

/// Adds the help to an error of a search that took too long, if the connections use TLS.
pub(crate) fn with_tls_help(error: Error, infos: &[ConnectionInfo]) -> Error {
    match infos.iter().any(is_tls) {
        true => error.with_help(NO_TLS),
        false => error,
    }
}

/// The error of a server that is a replica. It may become a primary.
pub(crate) fn replica(primary: Option<(&str, &str)>) -> Error {
    let of = primary.map_or_else(String::new, |(host, port)| format!(" of {host}:{port}"));
    Error::new(ErrorKind::Protocol, format!("the server is a replica{of}"))
        .with_help("use the address of the primary, or `Redis::sentinel`")
}
