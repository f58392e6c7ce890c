//! Opens a connection.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::AbortOnDrop;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use crate::locator::Entrance;
use crate::transport::{self, Pem};
use crate::{errors, mistakes};

/// The time limit of one command.
const RESPONSE: Duration = Duration::from_secs(5);

/// The settings of a connection: each command has a time limit.
pub(super) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE))
}

/// Opens a connection, whose driver ends with the second part of the result.
///
/// # Errors
/// The server does not answer within `limit`, or refuses the connection.
pub(super) async fn open(
    entrance: &Entrance,
    root: Option<&Pem>,
    config: AsyncConnectionConfig,
    limit: Duration,
) -> Result<(MultiplexedConnection, AbortOnDrop<()>), Error> {
    let connecting = transport::connect(&entrance.info, root, config);
    let (connection, driver) = timeout(limit, connecting)
        .await
        .unwrap_or_else(|_| Err(errors::no_reply()))
        .map_err(|error| mistakes::not_connected_to(&entrance.info, error))?;
    Ok((connection, AbortOnDrop::new(tokio::spawn(driver))))
}
