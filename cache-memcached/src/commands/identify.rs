//! Tells processes of the server apart.

use async_memcached::{Client, Error};

use super::command::Command;
use super::items::{get, number_or_create};
use crate::keys::Keys;

/// Asks which process of the server answers.
///
/// The answer is a random number that the first client has stored in the memory of the process.
/// The server's own statistics cannot tell processes apart: they can be equal in all processes that
/// are started from one image.
#[derive(Debug)]
pub(crate) struct Identify {
    pub(crate) keys: Keys,
}

/// Which process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The process with this number.
    Process(u64),
    /// A process that was started with `-C`: it gives its items no CAS numbers, so it cannot have
    /// leases.
    WithoutCas,
}

impl Command for Identify {
    const NAME: &'static str = "identify";
    type Reply = Reply;

    async fn run(self, client: &mut Client) -> Result<Reply, Error> {
        let name = self.keys.process();
        let item = get(client, &name).await?;
        let number = number_or_create(client, &name, item).await?;
        // Read again, because the server may just have created the item.
        Ok(match get(client, &name).await? {
            Some(item) if item.cas == 0 => Reply::WithoutCas,
            _ => Reply::Process(number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::TestServer;

    #[tokio::test]
    async fn all_connections_to_one_process_get_one_number_and_a_restarted_process_another() {
        let identify = |server: &TestServer| Identify {
            keys: server.keys.clone(),
        };
        let mut server = TestServer::start().await;
        let first = server.send(identify(&server)).await;
        assert!(matches!(first, Reply::Process(1..)), "{first:?}");
        server.connect_again().await;
        assert_eq!(server.send(identify(&server)).await, first);
        let mut other = TestServer::start().await;
        assert_ne!(other.send(identify(&other)).await, first);
    }

    #[tokio::test]
    async fn process_without_cas_numbers_is_recognized() {
        let mut server = TestServer::start_with(&["-C"]).await;
        let keys = server.keys.clone();
        assert_eq!(server.send(Identify { keys }).await, Reply::WithoutCas);
    }
}
