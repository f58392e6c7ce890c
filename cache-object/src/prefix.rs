//! The prefix as this instance uses it: who holds it, how many operations are in progress, and the
//! steps of each operation.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cache_core::tier::kit::{AbortOnDrop, lock, timed, timed_out};
use cache_core::tier::{
    FillResult, LastError, LeaseMode, LeaseResult, ReadResult, RecordKey, Stamp, Target,
};
use cache_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::breaker::ConsecutiveTimeouts;
use crate::store::Store;

/// The store, for errors.
const STORAGE: &str = "object storage";

/// The number of operations at a time, besides writes.
const MAX_OPERATIONS: usize = 64;

/// The number of writes at a time. Each holds its record in memory, for as long as a write may
/// take.
const MAX_WRITES: usize = 32;

/// The state that the operations and the maintenance task share.
pub(crate) struct Prefix {
    pub(crate) store: Store,
    pub(crate) timeouts: ConsecutiveTimeouts,
    pub(crate) permits: Semaphore,
    write_permits: Arc<Semaphore>,
    /// Writes in progress, which continue if their callers are dropped. Aborted with the tier.
    writes: Mutex<JoinSet<()>>,
    /// The Tokio runtime in which the tier was started.
    runtime: OnceLock<Handle>,
    /// The time until which this instance holds the prefix.
    held_until: Mutex<Option<Instant>>,
    /// Why this instance does not hold the prefix.
    pub(crate) last_error: LastError,
    is_closed: AtomicBool,
    /// Notified when an invalidation is pending that no call waits for.
    pub(crate) has_work: Notify,
}

impl Prefix {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            timeouts: ConsecutiveTimeouts::default(),
            permits: Semaphore::new(MAX_OPERATIONS),
            write_permits: Arc::new(Semaphore::new(MAX_WRITES)),
            writes: Mutex::default(),
            runtime: OnceLock::new(),
            held_until: Mutex::default(),
            last_error: LastError::default(),
            is_closed: AtomicBool::new(false),
            has_work: Notify::new(),
        }
    }

    pub(crate) fn set_runtime(&self, runtime: Handle) {
        // A tier is started once, so the runtime is set once.
        let _ = self.runtime.set(runtime);
    }

    /// Returns `true` while this instance holds the prefix.
    pub(crate) fn is_held(&self) -> bool {
        is_ahead(*lock(&self.held_until))
    }

    /// Sets the time until which this instance holds the prefix; `None` if another one does.
    pub(crate) fn set_held(&self, until: Option<Instant>) {
        *lock(&self.held_until) = until;
    }

    /// Takes the prefix. `left` are the epochs of the last owner, if it shut down in order.
    /// Otherwise a new history begins, because it is not known which records of the old one are
    /// valid, and which writes are still in progress.
    pub(crate) fn take_over(&self, until: Instant, left: Option<&[u8]>) {
        // Locked throughout, so that an invalidation in `while_held` changes either the old epochs
        // or the new ones, and is not lost in between.
        let mut held_until = lock(&self.held_until);
        if !left.is_some_and(|left| self.store.epochs.inherit(left)) {
            self.store.epochs.void_all();
        }
        let voided = self.store.state.leases().void(Target::All);
        *held_until = Some(until);
        drop(held_until);
        // The waiters wake after the lock was released, because a waker may use the tier.
        drop(voided);
    }

    /// Runs a step that does not wait, if this instance holds the prefix, and keeps it from being
    /// taken over during the step. Returns `None` if another instance holds the prefix. The step
    /// runs under a lock, so it returns the wake-ups of waiters instead of dropping them.
    pub(crate) fn while_held<T>(&self, step: impl FnOnce() -> T) -> Option<T> {
        let held_until = lock(&self.held_until);
        is_ahead(*held_until).then(step)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Refuses operations from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Fails if the storage must not be used now.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_closed() {
            Err(unavailable("the object tier was shut down"))
        } else if !self.is_held() {
            let prefix = self.store.prefix();
            let problem = format!("prefix `{prefix}` of object storage cannot be used");
            Err(self.last_error.unavailable(problem))
        } else if self.timeouts.is_open() {
            Err(unavailable("object storage does not respond"))
        } else {
            Ok(())
        }
    }

    /// Runs one operation, which ends with its time limit or when its caller is dropped. It runs as
    /// a task: a caller that is not polled would otherwise keep a permit for longer than the limit.
    pub(crate) async fn run<T, F>(
        self: &Arc<Self>,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Some(runtime) = self.runtime.get() else {
            return Err(unavailable("the object tier was not started"));
        };
        let operation = operation(Arc::clone(self));
        let task = runtime.spawn(async move { timeout(within, operation).await });
        match timed(what, STORAGE, within, AbortOnDrop::new(task)).await? {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(timed_out(what, STORAGE, within)),
            Err(_) => Err(unavailable(&format!("{what}: the runtime shuts down"))),
        }
    }

    /// Runs an operation that every healthy storage completes in time, so that a timeout counts for
    /// the breaker. The write of a large record is not one.
    pub(crate) async fn ask<T, F>(
        self: &Arc<Self>,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let result = self.run(what, within, operation).await;
        if let Err(error) = &result
            && error.kind() == ErrorKind::TimedOut
        {
            self.timeouts.add_one();
        }
        result
    }

    /// Converts the reply of the storage to an operation.
    pub(crate) fn reply<T>(
        &self,
        what: &'static str,
        reply: opendal::Result<T>,
    ) -> Result<T, Error> {
        if reply.is_ok() {
            self.timeouts.reset();
        }
        reply.map_err(|source| failed(what, source))
    }

    pub(crate) async fn read(&self, key: &RecordKey) -> Result<ReadResult, Error> {
        self.read_then(key, |reply| self.reply("read", reply)).await
    }

    /// Reads a record for an operator. A reply does not end a row of timeouts, so that a look at a
    /// key does not change how calls are answered.
    pub(crate) async fn inspect(&self, key: &RecordKey) -> Result<ReadResult, Error> {
        let convert = |reply: opendal::Result<_>| reply.map_err(|source| failed("inspect", source));
        self.read_then(key, convert).await
    }

    /// Reads a record, and converts the reply of the storage.
    async fn read_then(
        &self,
        key: &RecordKey,
        convert: impl FnOnce(opendal::Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<ReadResult, Error> {
        let _permit = self.permits.acquire().await;
        self.check()?;
        let pending = self.store.state.pending();
        let record = match pending.covers(key) {
            true => None,
            false => convert(self.store.get(key).await)?,
        };
        // Looked at after the record was read, so that an invalidation during the read counts.
        let stamp = self.store.epochs.stamp(&key.function);
        let record = record.filter(|_| !pending.covers(key));
        Ok(ReadResult::new(record, Some(stamp)))
    }

    pub(crate) async fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
    ) -> Result<LeaseResult, Error> {
        let pending = self.store.state.pending();
        if pending.covers(key) {
            self.check()?;
            self.void_pending();
        }
        if pending.covers(key) {
            let number = pending.add(Target::Key(key));
            self.remove(key, number).await?;
        }
        let _permit = self.permits.acquire().await;
        self.check()?;
        let record = match mode.waits() {
            true => self.reply("lease", self.store.get(key).await)?,
            false => None,
        };
        let stamp = self.store.epochs.stamp(&key.function);
        let state = &self.store.state;
        Ok(state.grant(key, mode, expected_header, record.as_deref(), stamp))
    }

    /// Stores a record. Once a write has begun it continues if the caller is dropped, because the
    /// result of a write that is given up half way is unknown.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        key: RecordKey,
        token: u64,
        stamp: Stamp,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<FillResult, Error> {
        let locked = self.store.lock(&self.store.path(&key)).await;
        let permit = Arc::clone(&self.write_permits).acquire_owned().await;
        let (ended, end) = oneshot::channel();
        let prefix = Arc::clone(self);
        let write = async move {
            let filled = prefix.write(&key, token, stamp, &record, life).await;
            drop((locked, permit));
            // The caller may have been dropped.
            let _ = ended.send(filled);
        };
        {
            let mut writes = lock(&self.writes);
            while writes.try_join_next().is_some() {}
            // Checked under the lock: a shutdown waits for the writes that it finds after it has
            // closed the tier, so no write may be added after that.
            self.check()?;
            writes.spawn(write);
        }
        end.await
            .unwrap_or_else(|_| Err(unavailable("fill: the object tier shuts down")))
    }

    async fn write(
        &self,
        key: &RecordKey,
        token: u64,
        stamp: Stamp,
        record: &[u8],
        life: Duration,
    ) -> Result<FillResult, Error> {
        // Checked at the last moment. Another instance takes the prefix only after this one has not
        // held it for longer than a write may take.
        self.check()?;
        let now = self.store.epochs.stamp(&key.function);
        if let Some(refusal) = self.store.state.refusal(key, token, stamp, now) {
            return Ok(FillResult::Refused(refusal));
        }
        let written = self.store.put(key, stamp, record, life).await;
        self.reply("fill", written)?;
        self.store.state.leases().used(key, token);
        Ok(FillResult::Stored)
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.reply("ping", self.store.ping().await)
    }

    /// Waits for the writes in progress, and aborts those that take longer than the limit.
    pub(crate) async fn end_writes(&self, limit: Duration) {
        let mut writes = std::mem::take(&mut *lock(&self.writes));
        let all = async { while writes.join_next().await.is_some() {} };
        let _ = timeout(limit, all).await;
        writes.shutdown().await;
    }

    /// Aborts the writes in progress.
    pub(crate) fn abort_writes(&self) {
        lock(&self.writes).abort_all();
    }
}

fn is_ahead(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

fn failed(what: &'static str, source: opendal::Error) -> Error {
    Error::with_source(ErrorKind::Unavailable, what, source)
}

pub(crate) fn unavailable(problem: &str) -> Error {
    Error::new(ErrorKind::Unavailable, problem.to_owned())
}
