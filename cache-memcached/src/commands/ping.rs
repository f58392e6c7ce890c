//! Asks for a sign of life.

use async_memcached::{Client, Error};

use super::command::Command;

/// Asks the server for its version, which every server has.
#[derive(Debug)]
pub(crate) struct Ping;

impl Command for Ping {
    const NAME: &'static str = "ping";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        client.version().await?;
        Ok(())
    }
}
