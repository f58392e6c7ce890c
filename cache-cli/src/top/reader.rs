//! Reads what instances publish, and connects again after a loss.

use std::time::Duration;

use cache_core::inspect::PublishedInstance;
use cache_core::tier::kit::AbortOnDrop;
use cache_redis::inspect::Inspection;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;
use crate::published;

/// The time between two reads.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads once in each period.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    inspection: &'a Inspection,
    next: Instant,
    connection: Connection,
}

/// The connection of a reader.
#[derive(Debug)]
enum Connection {
    /// That of the inspection.
    First,
    /// One that was opened after a loss.
    Later {
        connection: MultiplexedConnection,
        /// Ends the connection with this value.
        _driver: AbortOnDrop<()>,
    },
    Lost,
}

impl<'a> Reader<'a> {
    pub(super) fn new(inspection: &'a Inspection) -> Self {
        Self {
            inspection,
            next: Instant::now() + PERIOD,
            connection: Connection::First,
        }
    }

    /// Waits for the time of the next read, and reads. After a loss it connects to the same address
    /// first.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command. The next read tries again.
    pub(super) async fn next(&mut self) -> Result<Vec<PublishedInstance>, Failure> {
        sleep_until(self.next).await;
        let read = self.read().await;
        self.next = Instant::now() + PERIOD;
        read
    }

    async fn read(&mut self) -> Result<Vec<PublishedInstance>, Failure> {
        let Some(shard) = self.inspection.shards().first() else {
            return Ok(Vec::new());
        };
        if let Connection::Lost = self.connection {
            let (connection, _driver) = self.inspection.node_of(shard).open().await?;
            self.connection = Connection::Later {
                connection,
                _driver,
            };
        }
        let mut connection = match &self.connection {
            Connection::Later { connection, .. } => connection.clone(),
            Connection::First | Connection::Lost => shard.connection(),
        };
        let read = published::instances_by(shard, &mut connection).await;
        read.map_err(|error| {
            // A server that refuses a command, without the permission for it, is still connected.
            if error.code().is_none() {
                self.connection = Connection::Lost;
            }
            error.into()
        })
    }
}
