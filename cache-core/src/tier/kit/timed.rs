//! Operations with a time limit.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, ErrorKind};

/// Runs `operation` for at most `within`.
///
/// `what` names the operation and `store` the store that does not reply, for the error.
///
/// # Errors
/// [`TimedOut`](ErrorKind::TimedOut), as [`timed_out`] words it. The result of the operation itself
/// is returned as it is.
///
/// # Cancel safety
/// As the operation.
pub async fn timed<T>(
    what: &str,
    store: &str,
    within: Duration,
    operation: impl Future<Output = T>,
) -> Result<T, Error> {
    let result = timeout(within, operation).await;
    result.map_err(|_| timed_out(what, store, within))
}

/// Creates the error of an operation whose store did not reply in time: "read: no reply from Redis
/// within 250 ms".
#[must_use]
pub fn timed_out(what: &str, store: &str, within: Duration) -> Error {
    let millis = within.as_millis();
    let problem = format!("{what}: no reply from {store} within {millis} ms");
    Error::new(ErrorKind::TimedOut, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn operation_without_a_reply_fails_with_its_name_and_its_store() {
        let limit = Duration::from_millis(250);
        let error = timed("read", "Redis", limit, std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "read: no reply from Redis within 250 ms");
        let result = timed("read", "Redis", limit, async { 7 }).await;
        assert_eq!(result.expect("a result in time"), 7);
    }
}
