//! What the tier's operations, and what runs beside them, share: whose the prefix is, how many operations are under way, what is
//! owed, and each operation step by step.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cache_core::tier::{
    FillResult, HEADER_LEN, LastError, LeaseMode, LeaseResult, ReadResult, RecordKey, Stamp,
    Target, Wakeup,
};
use cache_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::breaker::Strikes;
use crate::store::Store;

/// Operations that are under way at a time, beside writes.
const MOST_AT_A_TIME: usize = 64;

/// Writes that are: each has its record in memory, for as long as a write may take.
const MOST_WRITES: usize = 32;

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) strikes: Strikes,
    pub(crate) places: Semaphore,
    write_places: Arc<Semaphore>,
    /// Writes under way, which go on when nobody waits for them. Aborted with the tier.
    writes: Mutex<JoinSet<()>>,
    /// Where it was started.
    home: OnceLock<Handle>,
    /// Until when the prefix is this instance's.
    held_until: Mutex<Option<Instant>>,
    /// Why it is not, if it is not.
    pub(crate) last_error: LastError,
    is_closed: AtomicBool,
    /// Something is owed that nobody pays.
    pub(crate) unpaid: Notify,
    /// Something was paid, or will never be.
    pub(crate) paid: Notify,
}

impl Shared {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            strikes: Strikes::default(),
            places: Semaphore::new(MOST_AT_A_TIME),
            write_places: Arc::new(Semaphore::new(MOST_WRITES)),
            writes: Mutex::default(),
            home: OnceLock::new(),
            held_until: Mutex::default(),
            last_error: LastError::default(),
            is_closed: AtomicBool::new(false),
            unpaid: Notify::new(),
            paid: Notify::new(),
        }
    }

    pub(crate) fn set_home(&self, home: Handle) {
        // Once: a tier is started once.
        let _ = self.home.set(home);
    }

    pub(crate) fn is_ours(&self) -> bool {
        is_ahead(*lock(&self.held_until))
    }

    /// It is this one's for longer, or another's.
    pub(crate) fn set_held(&self, until: Option<Instant>) {
        *lock(&self.held_until) = until;
    }

    /// It is this one's from now on, with what the one before left, if that left in order. Else a new history begins: nobody knows
    /// what of the old one still counts, or what is yet to land.
    pub(crate) fn take_over(&self, until: Instant, left: Option<&[u8]>) {
        // Held throughout: what is paid at this moment is paid to the one or the other.
        let mut held_until = lock(&self.held_until);
        if !left.is_some_and(|left| self.store.controls.inherit(left)) {
            self.store.controls.void_all();
        }
        self.store.leases.void(Target::All);
        *held_until = Some(until);
    }

    /// Does a step that waits for nothing, if it is this one's, and while it is.
    pub(crate) fn while_ours(&self, step: impl FnOnce()) -> bool {
        let held_until = lock(&self.held_until);
        let is_ours = is_ahead(*held_until);
        if is_ours {
            step();
        }
        is_ours
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let why = if self.is_closed() {
            "the tier was shut down"
        } else if !self.is_ours() {
            let prefix = self.store.prefix();
            let what = format!("use the prefix `{prefix}` of the object storage");
            return Err(self.last_error.unavailable(what));
        } else if self.strikes.is_out() {
            "it does not answer"
        } else {
            return Ok(());
        };
        Err(unavailable(&format!("use the object storage: {why}")))
    }

    /// Runs one operation, which ends with the time that it has, or with who waits for it. As a task, so that it holds its place no
    /// longer than that where who waits is not run.
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
        let Some(home) = self.home.get() else {
            return Err(unavailable("use the object storage: it was not started"));
        };
        let operation = operation(Arc::clone(self));
        let task = home.spawn(async move { timeout(within, operation).await });
        let mut task = EndsWithItsWaiter(task);
        match timeout(within, &mut task.0).await {
            Ok(Ok(Ok(done))) => done,
            Ok(Err(_)) => Err(unavailable(&format!("{what}: the runtime is going down"))),
            Err(_) | Ok(Ok(Err(_))) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{what}: no answer from the object storage within {} ms",
                    within.as_millis()
                ),
            )),
        }
    }

    /// The same, of an operation that any storage in order does in its time. One that writes a large record may not.
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
        let done = self.run(what, within, operation).await;
        if let Err(error) = &done
            && error.kind() == ErrorKind::TimedOut
        {
            self.strikes.timed_out();
        }
        done
    }

    /// What the storage answered.
    pub(crate) fn answer<T>(
        &self,
        what: &'static str,
        answer: opendal::Result<T>,
    ) -> Result<T, Error> {
        if answer.is_ok() {
            self.strikes.answered();
        }
        answer.map_err(|source| Error::with_source(ErrorKind::Unavailable, what, source))
    }

    pub(crate) async fn read(&self, key: &RecordKey) -> Result<ReadResult, Error> {
        let _place = self.places.acquire().await;
        self.check()?;
        let record = match self.store.owed.covers(key) {
            true => None,
            false => self.answer("read", self.store.get(key).await)?,
        };
        // As it is now: what was invalidated while the record was on its way does not count.
        let stamp = self.store.controls.stamp(&key.function);
        let record = record.filter(|_| !self.store.owed.covers(key));
        Ok(ReadResult::new(record, Some(stamp)))
    }

    pub(crate) async fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
    ) -> Result<LeaseResult, Error> {
        if self.store.owed.covers(key) {
            self.check()?;
            self.pay_controls();
        }
        if self.store.owed.covers(key) {
            let number = self.store.owed.add(Target::Key(key));
            self.remove(key, number).await?;
        }
        let _place = self.places.acquire().await;
        self.check()?;
        if mode == LeaseMode::Exclusive {
            let record = self.answer("lease", self.store.get(key).await)?;
            if let Some(record) = record
                && record[..record.len().min(HEADER_LEN)] != *expected_header
            {
                return Ok(LeaseResult::Held(Wakeup::new(std::future::ready(()))));
            }
        }
        let stamp = self.store.controls.stamp(&key.function);
        Ok(self.store.leases.take(key, mode, stamp))
    }

    /// Once begun a write goes on to its end, whoever waits for it: what becomes of one that is given up half way is not known.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        key: RecordKey,
        token: u64,
        stamp: Stamp,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<FillResult, Error> {
        let stripe = self.store.stripe(&self.store.path(&key)).await;
        let place = Arc::clone(&self.write_places).acquire_owned().await;
        let (ended, end) = oneshot::channel();
        let shared = Arc::clone(self);
        let write = async move {
            let filled = shared.write(&key, token, stamp, &record, life).await;
            drop((stripe, place));
            // Nobody may wait for it any more.
            let _ = ended.send(filled);
        };
        {
            let mut writes = lock(&self.writes);
            while writes.try_join_next().is_some() {}
            // Looked at while the writes are locked: who closes the tier waits for those that are there after it.
            self.check()?;
            writes.spawn(write);
        }
        end.await
            .unwrap_or_else(|_| Err(unavailable("fill: the tier is going down")))
    }

    async fn write(
        &self,
        key: &RecordKey,
        token: u64,
        stamp: Stamp,
        record: &[u8],
        life: Duration,
    ) -> Result<FillResult, Error> {
        // At the last moment: another may take the prefix once it is not this one's, and the time that it waits is more than
        // this one's time and a write together.
        self.check()?;
        if let Some(refusal) = self.store.refuses(key, token, stamp) {
            return Ok(FillResult::Refused(refusal));
        }
        let written = self.store.put(key, stamp, record, life).await;
        self.answer("fill", written)?;
        self.store.leases.used(key, token);
        Ok(FillResult::Stored)
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.answer("ping", self.store.ping().await)
    }

    /// Waits for the writes under way, and ends those that take longer.
    pub(crate) async fn end_writes(&self, limit: Duration) {
        let mut writes = std::mem::take(&mut *lock(&self.writes));
        let all = async { while writes.join_next().await.is_some() {} };
        let _ = timeout(limit, all).await;
        writes.shutdown().await;
    }

    /// Ends them now.
    pub(crate) fn abort_writes(&self) {
        lock(&self.writes).abort_all();
    }
}

/// A task that is aborted when nobody waits for it any more.
struct EndsWithItsWaiter<T>(JoinHandle<T>);

impl<T> Drop for EndsWithItsWaiter<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_ahead(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn unavailable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what.to_owned())
}
