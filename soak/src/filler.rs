//! Records of other users of the server, which use its memory.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Number of records in one request.
const BATCH: u64 = 100;

/// Time between two batches.
///
/// The server's clock for the use of keys has a resolution of one second. So much more than one
/// second must pass until the memory is filled again: otherwise all keys have the same age, and the
/// server evicts any of them.
const PAUSE: Duration = Duration::from_millis(12);

/// Task that writes records that are never read. It ends when this is dropped.
#[derive(Debug)]
pub struct Filler(JoinHandle<()>);

impl Filler {
    /// Starts to write to the server on this port.
    #[must_use]
    pub fn start(port: u16) -> Self {
        Self(tokio::spawn(async move {
            let mut next = 0;
            loop {
                // The server is stopped and killed at times, so errors are expected.
                let _ = fill(port, &mut next).await;
                sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes on one connection until it is lost.
async fn fill(port: u16, next: &mut u64) -> redis::RedisResult<()> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    loop {
        let mut batch = redis::pipe();
        for _ in 0..BATCH {
            batch
                .set(format!("filler:{next}"), [b'.'; 64].as_slice())
                .ignore();
            *next += 1;
        }
        let written = batch.exec_async(&mut connection);
        match timeout(Duration::from_secs(1), written).await {
            Ok(result) => result?,
            Err(_) => return Ok(()),
        }
        sleep(PAUSE).await;
    }
}
