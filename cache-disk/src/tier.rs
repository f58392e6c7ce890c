//! The tier's contract, on a disk.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cache_core::tier::{
    Breaker, FillResult, FunctionKey, Glob, Guard, Health, Lease, LeaseMode, LeaseResult,
    LocalLeases, Owed, ReadOptions, ReadResult, Receipt, RecordKey, Target, Tier, TierFuture,
    TierSettings,
};
use cache_core::{Error, ErrorKind};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::config::Disk;
use crate::keeper::Kept;
use crate::mark::Mark;
use crate::store::Store;
use crate::threads::Threads;

/// How long a walk over a function's keys may take.
const LONGEST_WALK: Duration = Duration::from_secs(10 * 60);

/// How long an invalidation that is not done in time waits for the mark that says so.
const LONGEST_MARK: Duration = Duration::from_millis(50);

pub(crate) struct DiskTier {
    config: Disk,
    settings: TierSettings,
    /// From the start to the end.
    running: Mutex<Option<Arc<Running>>>,
}

struct Running {
    kept: Arc<Kept>,
    threads: Threads,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kept.end();
    }
}

impl DiskTier {
    pub(crate) fn new(config: Disk) -> Self {
        // Operations run on threads of the tier's own.
        let settings = TierSettings::new("disk", config.time_limit)
            .max_record_bytes(config.max_record_bytes)
            .without_runtime();
        Self {
            config,
            settings,
            running: Mutex::default(),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<Arc<Running>, Error> {
        self.slot().clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "use the disk: the tier was shut down, or has not started",
            )
        })
    }

    /// Runs one operation on a thread that may wait for the disk. Dropped, it leaves it done or not begun.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(&Store) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.running()?;
        let kept = Arc::clone(&running.kept);
        let answer = running.threads.run(move || {
            let store = kept.store()?;
            // What it reads may be damaged in ways that it does not expect.
            let done = catch_unwind(AssertUnwindSafe(|| operation(&store)))
                .unwrap_or(Err(fjall::Error::Unrecoverable));
            if let Err(error) = &done {
                kept.failed(error);
            }
            Some(done)
        });
        let unavailable =
            |why: &str| Err(Error::new(ErrorKind::Unavailable, format!("{what}: {why}")));
        let Some(answer) = answer else {
            return unavailable("too much waits for the disk");
        };
        match timeout(within, answer).await {
            Ok(Ok(Some(done))) => {
                done.map_err(|source| Error::with_source(ErrorKind::Unavailable, what, source))
            }
            Ok(Ok(None)) => unavailable("the disk has failed, and is not open again yet"),
            Ok(Err(_)) => unavailable("the disk's threads have ended"),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{what}: no answer from the disk within {} ms",
                    within.as_millis()
                ),
            )),
        }
    }
}

impl Running {
    /// Opens the store, or goes on without it until it can be opened.
    fn start(config: &Disk) -> Result<Self, Error> {
        let path = config.path.display();
        let cannot = |source: std::io::Error| {
            let what = format!("use `{path}` as a disk tier: {source}");
            Error::with_source(ErrorKind::Configuration, what, source)
        };
        let mark = Mark::open(&config.path).map_err(cannot)?;
        let (leases, owed) = (Arc::<LocalLeases>::default(), Arc::<Owed>::default());
        let opened = match Store::open(config, &leases, &owed, false) {
            Err(fjall::Error::Io(source))
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                return Err(cannot(source));
            }
            opened => opened,
        };
        let opened = opened.and_then(|store| {
            if mark.is_set() {
                tracing::warn!(path = %path, "the last process ended before an invalidation was on the disk; what it kept there counts no more");
                store.void_all()?;
                // From now on it says what this process owes.
                mark.clear_if(|| true)?;
            }
            Ok(store)
        });
        let store = opened
            .inspect_err(|error| {
                tracing::warn!(path = %path, error = %error, "the disk tier cannot be opened; going on without it until it can");
            })
            .ok();
        if store.is_none() && mark.is_set() {
            // Whoever opens it later does not know any more what was owed: everything is.
            owed.add(Target::All);
        }
        let kept = Arc::new(Kept::new(config.clone(), store, leases, owed, mark));
        let keeper = {
            let kept = Arc::clone(&kept);
            let thread = thread::Builder::new().name("mtc-disk-keeper".to_owned());
            thread.spawn(move || kept.keep()).map_err(cannot)?
        };
        Ok(Self {
            kept,
            threads: Threads::start().map_err(cannot)?,
            keeper: Mutex::new(Some(keeper)),
        })
    }

    /// Waits until what is owed up to a number is done; `false` when it cannot be for now.
    async fn paid(&self, number: u64) -> bool {
        let mut progress = self.kept.progress();
        let failures = progress.borrow().failures;
        loop {
            let now = *progress.borrow_and_update();
            if now.paid >= number || self.kept.owed.is_empty() {
                return true;
            }
            if now.failures > failures || progress.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Ends the threads, and closes the store when they have ended.
    fn end(self: Arc<Self>) {
        self.kept.end();
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            let _ = keeper.join();
        }
        self.kept.note_owed();
        drop(self.kept.close());
        // Whoever has another hold on it ends with its operation.
        self.threads.join();
    }
}

/// Done by a thread of its own, for what no other can do: the first, and the last.
fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Error> {
    let (done, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("mtc-disk".to_owned());
    let begun = thread.spawn(move || {
        let _ = done.send(work());
    });
    begun.map(|_| receiver).map_err(|source| {
        Error::with_source(
            ErrorKind::Unavailable,
            "begin a thread for the disk",
            source,
        )
    })
}

impl fmt::Debug for DiskTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Tier for DiskTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        match self.running() {
            Ok(running) if running.kept.store().is_some() => Breaker::Closed,
            _ => Breaker::Open,
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let config = self.config.clone();
            let started = aside(move || Running::start(&config))?.await;
            let started = started.unwrap_or_else(|_| {
                let path = self.config.path.display();
                Err(Error::new(
                    ErrorKind::Configuration,
                    format!("use `{path}` as a disk tier: what is in it cannot be read; remove it to begin anew"),
                ))
            });
            *self.slot() = Some(Arc::new(started?));
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        let key = key.clone();
        Box::pin(self.run("read", within, move |store| store.read(&key)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        let (key, expected) = (key.clone(), expected_header.to_vec());
        Box::pin(self.run("lease", within, move |store| {
            store.lease(&key, mode, &expected)
        }))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        let (key, token, stamp) = (key.clone(), lease.token, lease.stamp);
        Box::pin(self.run("fill", within, move |store| {
            store.fill(&key, token, stamp, &record, life)
        }))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            let running = self.running()?;
            let number = running.kept.owe(target);
            let paid = timeout(within, running.paid(number)).await;
            if !matches!(paid, Ok(true)) {
                self.running()?;
            }
            match paid {
                Ok(true) => return Ok(Receipt::Acked),
                Ok(false) if running.kept.is_noted() => return Ok(Receipt::Queued),
                // The keeper could not note it, or is at it still.
                _ => {}
            }
            let kept = Arc::clone(&running.kept);
            if let Some(noted) = running.threads.run(move || kept.note_owed())
                && let Ok(Ok(true)) = timeout(LONGEST_MARK, noted).await
            {
                return Ok(Receipt::Queued);
            }
            // It is done all the same as long as this process lives; after that nobody would know of it.
            Err(Error::new(
                ErrorKind::TimedOut,
                "write an invalidation to the disk, or write down that it is owed, in time",
            ))
        })
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        let (function, glob) = (function.clone(), glob.clone());
        Box::pin(
            self.run("invalidate what matches", LONGEST_WALK, move |store| {
                store.remove_matching(&function, &glob)
            }),
        )
    }

    fn invalidate_later(&self, target: Target<'_>) {
        if let Ok(running) = self.running() {
            running.kept.owe(target);
        }
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.running()
            .is_ok_and(|running| running.kept.owed.covers(key))
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let running = self.running()?;
            let (kept, guarded) = (Arc::clone(&running.kept), key.clone());
            let guard = running.kept.leases.guard(key, move || {
                kept.owe(Target::Key(&guarded));
            });
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.run("ping", within, Store::ping).await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running()?;
            let mut progress = running.kept.progress();
            loop {
                progress.borrow_and_update();
                if running.kept.owed.is_empty() {
                    return Ok(());
                }
                self.running()?;
                // It lives as long as what is held here.
                let _ = progress.changed().await;
            }
        })
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        if let Ok(running) = self.running() {
            health.connected = running.kept.store().is_some();
            health.queued = running.kept.owed.len();
        }
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let Ok(running) = self.running() else {
                return Ok(());
            };
            let kept = Arc::clone(&running.kept);
            let limit = self.config.time_limit;
            let number = kept.owed.bill().number();
            let is_paid = timeout(limit, running.paid(number)).await;
            drop(running);
            // Dropped before, this did nothing; from here on the rest is done in any case.
            let Some(running) = self.slot().take() else {
                return Ok(());
            };
            let ended = aside(move || {
                if is_paid.is_err() {
                    // The keeper is at it, and may be for longer than this process lives.
                    running.kept.note_owed();
                }
                running.end();
            });
            if let Ok(ended) = ended {
                let _ = timeout(limit, ended).await;
            }
            match kept.owed.len() {
                0 => Ok(()),
                queued => Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "write {queued} invalidations to the disk in time: {}",
                        if kept.is_noted() {
                            "the next process drops all that is there"
                        } else {
                            "nor does it take a mark of that; remove what is there before the next process begins"
                        }
                    ),
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests;
