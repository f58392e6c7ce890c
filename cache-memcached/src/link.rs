//! The connections to one process of the server, made together and lost together, and what all of this tier share.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_memcached::{Client, Error as ClientError};
use cache_core::tier::kit::PendingInvalidations;
use cache_core::tier::{LastError, Peers, Target};
use cache_core::{Coherence, Error, ErrorKind};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::commands;
use crate::config::Memcached;
use crate::guards::Guards;
use crate::keys::Keys;
use crate::leases::Leases;

/// Operations that wait for one connection; more than that, and it answers too slowly to be of use.
const MOST_WAITING: usize = 256;

/// The steps of an operation on a connection.
pub(crate) type Steps<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + 'a>>;

/// Done on a connection; `false` when that is of no further use.
type Job = Box<
    dyn for<'a> FnOnce(&'a mut Client) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> + Send,
>;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u64,
    connections: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
    silence: Duration,
}

/// Works on one connection, until it or the link is gone. Who waits for an answer may go away: the connection ends in order all
/// the same.
pub(crate) async fn work(mut client: Client, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        if !job(&mut client).await {
            return;
        }
    }
}

impl Link {
    /// Over these connections, with what works on each.
    pub(crate) fn new(
        generation: u64,
        clients: Vec<Client>,
        silence: Duration,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + use<>>) {
        let (mut connections, mut workers) = (Vec::new(), Vec::new());
        for client in clients {
            let (sender, jobs) = mpsc::channel(MOST_WAITING);
            connections.push(sender);
            workers.push(work(client, jobs));
        }
        let link = Self {
            generation,
            connections,
            next: AtomicUsize::new(0),
            silence,
        };
        (link, workers)
    }

    /// Begins an operation; it is done whether or not somebody waits for its answer. `None` where the connection is gone, or has too
    /// much to do.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        operation: impl for<'a> FnOnce(&'a mut Client) -> Steps<'a, T> + Send + 'static,
    ) -> Option<oneshot::Receiver<Result<T, ClientError>>> {
        let (reply, answer) = oneshot::channel();
        let silence = self.silence;
        let job: Job = Box::new(move |client| {
            Box::pin(async move {
                let Ok(done) = timeout(silence, operation(client)).await else {
                    return false;
                };
                let is_good = done.as_ref().err().is_none_or(commands::is_refusal);
                // Nobody may wait for it any more.
                let _ = reply.send(done);
                is_good
            })
        });
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[at].try_send(job).ok().map(|()| answer)
    }

    /// Runs one operation.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl for<'a> FnOnce(&'a mut Client) -> Steps<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(answer) = self.begin(operation) else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: the connection to memcached is lost, or has too much to do"),
            ));
        };
        match timeout(within, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(failed(what, error)),
            Ok(Err(_)) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: the connection to memcached was lost"),
            )),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{what}: no answer from memcached within {} ms",
                    within.as_millis()
                ),
            )),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) isolations: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) history_changes: AtomicU64,
    pub(crate) replays: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Memcached,
    pub(crate) keys: Keys,
    pub(crate) peers: Peers,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) owed: PendingInvalidations,
    /// Rung when something was paid, or the end has come.
    pub(crate) paid: Notify,
    pub(crate) leases: Leases,
    pub(crate) guards: Guards,
    pub(crate) counters: Counters,
    current: RwLock<Option<Arc<Link>>>,
    /// Why there is no link, while there is none.
    pub(crate) last_error: LastError,
    /// Rung when something is owed that no connection took.
    pub(crate) rung: Notify,
    /// Rung when a link is lost.
    pub(crate) lost: Notify,
    pub(crate) is_probing: AtomicBool,
    is_closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Memcached, peers: Peers) -> Self {
        Self {
            keys: Keys::new(&config.namespace),
            coherence: Arc::new(Coherence::new(config.staleness_bound)),
            config,
            peers,
            owed: PendingInvalidations::default(),
            paid: Notify::new(),
            rung: Notify::new(),
            leases: Leases::default(),
            guards: Guards::default(),
            counters: Counters::default(),
            current: RwLock::default(),
            last_error: LastError::default(),
            lost: Notify::new(),
            is_probing: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// How long an answer may be on its way before the link is taken for dead.
    pub(crate) fn silence(&self) -> Duration {
        self.config.staleness_bound.max(self.config.time_limit) * 2
    }

    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.read().clone()
    }

    pub(crate) fn is_there(&self, generation: u64) -> bool {
        let current = self.read();
        current
            .as_ref()
            .is_some_and(|link| link.generation == generation)
    }

    /// Takes a link; `false` once [closed](Self::close).
    pub(crate) fn put(&self, link: &Arc<Link>) -> bool {
        let mut current = self.write();
        if self.is_closed() {
            return false;
        }
        *current = Some(Arc::clone(link));
        true
    }

    /// Gives up the link of that number. From now on it is not known what others invalidate.
    pub(crate) fn lose(&self, generation: u64) {
        let mut current = self.write();
        if current
            .as_ref()
            .is_some_and(|link| link.generation == generation)
        {
            *current = None;
            self.isolate();
            drop(current);
            self.counters.isolations.fetch_add(1, Ordering::Relaxed);
            self.lost.notify_waiters();
        }
    }

    fn isolate(&self) {
        self.coherence.revoke();
        self.guards.forget();
    }

    pub(crate) fn close(&self) {
        let mut current = self.write();
        self.is_closed.store(true, Ordering::SeqCst);
        *current = None;
        self.isolate();
        drop(current);
        self.lost.notify_waiters();
        self.paid.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Runs one operation on the link that is there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl for<'a> FnOnce(&'a mut Client) -> Steps<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        self.linked(what)?.run(what, within, operation).await
    }

    /// The link that is there.
    pub(crate) fn linked(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        self.link().ok_or_else(|| {
            let url = self.config.shown();
            let what = format!("{what}: memcached at {url} is not connected");
            self.last_error.unavailable(what)
        })
    }

    /// Tells the server what is owed under that number. What does not get through is told over the next link, and what no
    /// connection takes when all that is owed is told next.
    ///
    /// When nobody holds `waiter` any more the tiers above have been told by then, and may have copied up since what this deletes.
    pub(crate) fn tell(
        self: &Arc<Self>,
        link: &Link,
        target: Target<'_>,
        number: u64,
        waiter: Weak<()>,
    ) -> Option<oneshot::Receiver<Result<(), ClientError>>> {
        let (shared, generation) = (Arc::clone(self), link.generation);
        let target = OwnedTarget::of(target);
        let told = link.begin(move |client| {
            Box::pin(async move {
                let told = commands::invalidate(client, &shared.keys, target.borrow()).await;
                match told {
                    Ok(()) => {
                        if waiter.strong_count() == 0 {
                            shared.peers.done_late(target.borrow());
                        }
                        shared.owed.done(target.borrow(), number);
                        shared.paid.notify_waiters();
                        Ok(())
                    }
                    Err(error) => {
                        // Half of it may be done, and what is left must not wait for long.
                        shared.lose(generation);
                        Err(error)
                    }
                }
            })
        });
        if told.is_none() {
            self.rung.notify_one();
        }
        told
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Option<Arc<Link>>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<Link>>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target that lives on its own.
#[derive(Clone)]
pub(crate) enum OwnedTarget {
    Key(cache_core::tier::RecordKey),
    Function(cache_core::tier::FunctionKey),
    All,
}

impl OwnedTarget {
    pub(crate) fn of(target: Target<'_>) -> Self {
        match target {
            Target::Key(key) => Self::Key(key.clone()),
            Target::Function(function) => Self::Function(function.clone()),
            Target::All => Self::All,
        }
    }

    pub(crate) fn borrow(&self) -> Target<'_> {
        match self {
            Self::Key(key) => Target::Key(key),
            Self::Function(function) => Target::Function(function),
            Self::All => Target::All,
        }
    }
}

pub(crate) fn failed(what: &'static str, error: ClientError) -> Error {
    let kind = match &error {
        ClientError::Connect(_) | ClientError::Io(_) | ClientError::ConnectionClosed => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Protocol,
    };
    Error::with_source(kind, what, error)
}
