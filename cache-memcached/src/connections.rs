//! The connections of a link, each with a task that runs one command after another.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_memcached::{Client, Error as ClientError};
use cache_core::{Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::commands::Command;
use crate::error::{failed, is_refusal, lost};

/// The largest number of commands that wait for one connection. If there were more, the server
/// would be too slow to be of use.
const MAX_WAITING: usize = 256;

/// A command with what is done with its result. Breaks if the connection cannot be used any more.
type Job = Box<
    dyn for<'a> FnOnce(&'a mut Client) -> Pin<Box<dyn Future<Output = ControlFlow<()>> + Send + 'a>>
        + Send,
>;

/// The caller of a command, when the command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Waiting,
    Dropped,
}

/// The connections to one process of the server.
#[derive(Debug)]
pub(crate) struct Connections {
    queues: Vec<mpsc::Sender<Job>>,
    /// Where the next command goes. Relaxed: it only spreads the load.
    next: AtomicUsize,
    /// The time limit of a command on its connection, whether or not a call waits for it.
    silence: Duration,
}

impl Connections {
    /// Spawns a task for each connection. The first task that ends means that the connections are
    /// lost.
    pub(crate) fn new(clients: Vec<Client>, silence: Duration, workers: &mut JoinSet<()>) -> Self {
        let start = |client| {
            let (queue, jobs) = mpsc::channel(MAX_WAITING);
            workers.spawn(work(client, jobs));
            queue
        };
        Self {
            queues: clients.into_iter().map(start).collect(),
            next: AtomicUsize::new(0),
            silence,
        }
    }

    /// Starts a command, and returns where its result will be. The command runs to its end, even if
    /// no caller waits for the result. `finish` then runs with the result on the task of the
    /// connection; it does not run if the connection is lost before. Returns `None` if the
    /// connection is lost or has too many commands waiting.
    pub(crate) fn start<C: Command, T: Send + 'static>(
        &self,
        command: C,
        finish: impl FnOnce(Result<C::Reply, ClientError>, Caller) -> Result<T, ClientError>
        + Send
        + 'static,
    ) -> Option<oneshot::Receiver<Result<T, ClientError>>> {
        let (sender, result) = oneshot::channel();
        let silence = self.silence;
        let job: Job = Box::new(move |client| {
            Box::pin(async move {
                let Ok(reply) = timeout(silence, command.run(client)).await else {
                    return ControlFlow::Break(());
                };
                let is_usable = reply.as_ref().err().is_none_or(is_refusal);
                let caller = match sender.is_closed() {
                    true => Caller::Dropped,
                    false => Caller::Waiting,
                };
                // If the call was dropped, its result is dropped as well, and a lease in it is
                // released.
                let _ = sender.send(finish(reply, caller));
                match is_usable {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })
        });
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        let queued = self.queues[next].try_send(job);
        queued.ok().map(|()| result)
    }

    /// Runs a command. Has no time limit of its own, except that the connection is given up if the
    /// server is silent.
    pub(crate) async fn send<C: Command>(&self, command: C) -> Result<C::Reply, Error> {
        self.send_then(command, |reply, _| reply).await
    }

    /// Runs a command and then `finish`, as [`start`](Self::start) does.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command and `finish` run nevertheless.
    pub(crate) async fn send_then<C: Command, T: Send + 'static>(
        &self,
        command: C,
        finish: impl FnOnce(Result<C::Reply, ClientError>, Caller) -> Result<T, ClientError>
        + Send
        + 'static,
    ) -> Result<T, Error> {
        let Some(result) = self.start(command, finish) else {
            let problem = "the connection to memcached is lost or has too many commands waiting";
            let problem = format!("{}: {problem}", C::NAME);
            return Err(Error::new(ErrorKind::Unavailable, problem));
        };
        match result.await {
            Ok(result) => result.map_err(|error| failed(C::NAME, error)),
            Err(_) => Err(lost(C::NAME)),
        }
    }
}

/// Runs the commands of one connection, until it cannot be used any more or the link is
/// dropped.
async fn work(mut client: Client, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        if job(&mut client).await.is_break() {
            return;
        }
    }
}
