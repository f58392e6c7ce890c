//! The parts of a command.

use std::future::Future;

use async_memcached::{Client, Error};

/// A command with its arguments. It owns them, because it runs to its end even if the call that
/// sent it is dropped: a connection on which a command was cut off could not be used any more.
pub(crate) trait Command: Send + 'static {
    /// The name of the command in errors: `read`.
    const NAME: &'static str;

    /// The result of the command.
    type Reply: Send + 'static;

    /// Runs the command on a connection that nothing else uses until it has returned.
    ///
    /// # Errors
    /// The connection was lost, or the server replied with an error.
    fn run(self, client: &mut Client) -> impl Future<Output = Result<Self::Reply, Error>> + Send;
}
