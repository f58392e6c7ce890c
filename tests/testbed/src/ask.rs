//! Commands to servers that may be stopped, frozen or without a primary.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisResult};
use tokio::time::{sleep, timeout};

use crate::until_ok;

/// Longest wait for a reply.
const LONGEST: Duration = Duration::from_secs(1);

/// Runs one command on a new connection to the server on this port, for a second at most.
///
/// # Errors
/// The error of the server, or a timeout.
pub async fn ask<T: FromRedisValue>(port: u16, arguments: &[&str]) -> RedisResult<T> {
    ask_within(LONGEST, port, arguments).await
}

/// Runs one command on a new connection, for at most this long.
///
/// # Errors
/// The error of the server, or a timeout.
pub async fn ask_within<T: FromRedisValue>(
    longest: Duration,
    port: u16,
    arguments: &[&str],
) -> RedisResult<T> {
    let run = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut request = Cmd::new();
        for argument in arguments {
            request.arg(argument);
        }
        request.query_async(&mut connection).await
    };
    match timeout(longest, run).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// Returns one field of the section `replication` of `INFO`, if the server replies.
pub async fn replication(port: u16, field: &str) -> Option<String> {
    let info: String = ask(port, &["INFO", "replication"]).await.ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

/// Repeats `attempt`, which asks several servers, until it succeeds. It pauses longer than
/// [`until_ok`], so that the servers are not busy with it.
pub(crate) async fn poll<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    until_ok(what, async || {
        let reached = attempt().await;
        if reached.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        reached
    })
    .await
}
