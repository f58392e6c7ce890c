//! Errors of the client, and the errors of the cache that they become.

use async_memcached::{Error as ClientError, Status};
use cache_core::{Error, ErrorKind};

/// The name of the store in errors and logs.
pub(crate) const STORE: &str = "memcached";

/// Creates the error of an operation, which `what` names.
pub(crate) fn failed(what: &str, error: ClientError) -> Error {
    let (kind, problem) = match &error {
        ClientError::Connect(_) => (ErrorKind::Unavailable, "connection to memcached failed"),
        ClientError::Io(_) | ClientError::ConnectionClosed => {
            (ErrorKind::Unavailable, "connection to memcached lost")
        }
        ClientError::Protocol(_) => (ErrorKind::Protocol, "memcached replied with an error"),
        ClientError::ParseError(_) => (
            ErrorKind::Protocol,
            "the reply of memcached cannot be parsed",
        ),
    };
    Error::with_source(kind, format!("{what}: {problem}"), error)
}

/// Creates the error of an operation that got no reply because the connection was lost.
pub(crate) fn lost(what: &str) -> Error {
    let problem = format!("{what}: connection to memcached lost");
    Error::new(ErrorKind::Unavailable, problem)
}

/// Returns `true` if an item did not meet the condition of the command: there is another item, or
/// none.
pub(crate) fn is_condition_failure(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Protocol(Status::Exists | Status::NotFound | Status::NotStored)
    )
}

/// Returns `true` if the server understood the command and refused it. The connection can still be
/// used then.
pub(crate) fn is_refusal(error: &ClientError) -> bool {
    is_condition_failure(error) || matches!(error, ClientError::Protocol(Status::Error(_)))
}
