//! The contract of a tier, on a directory.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::tier::kit::{lock, timed, timed_out};
use cache_core::tier::{
    Breaker, Expiry, FillResult, FunctionKey, Glob, Guard, Health, Inspection, Lease, LeaseMode,
    LeaseResult, Ledger, ReadOptions, ReadResult, Receipt, RecordKey, Target, Tier, TierBuilder,
    TierContext, TierFuture, TierSettings,
};
use cache_core::{Error, ErrorKind};
use tokio::time::{Instant, timeout};

use crate::config::Disk;
use crate::ledger::DiskLedger;
use crate::running::{Running, on_new_thread};
use crate::store::Store;

/// How long `invalidate_matching` may take to look at the keys of a function.
const MAX_WALK: Duration = Duration::from_secs(10 * 60);

/// How long an invalidation that is not done in time may take to write the marker that says so.
const MAX_MARKING: Duration = Duration::from_millis(50);

pub(crate) struct DiskTier {
    config: Disk,
    settings: TierSettings,
    ledger: Arc<DiskLedger>,
    /// `Some` from the start to the shutdown.
    running: Mutex<Option<Arc<Running>>>,
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
            ledger: Arc::new(DiskLedger::new(Arc::default())),
            running: Mutex::default(),
        }
    }

    fn running(&self) -> Result<Arc<Running>, Error> {
        lock(&self.running).clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the disk tier was shut down, or was not started",
            )
        })
    }

    /// Runs one operation on a thread that may wait for the disk. If the future is dropped before
    /// the operation has begun, it does not begin; an operation that has begun is completed.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(&Store) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.running()?;
        let maintenance = Arc::clone(&running.maintenance);
        let reply = running.threads.run(move || {
            let store = maintenance.store()?;
            // The database panics on some kinds of damage.
            let result = catch_unwind(AssertUnwindSafe(|| operation(&store)))
                .unwrap_or(Err(fjall::Error::Unrecoverable));
            if let Err(error) = &result {
                maintenance.failed(error);
            }
            Some(result)
        });
        let unavailable =
            |why: &str| Err(Error::new(ErrorKind::Unavailable, format!("{what}: {why}")));
        let Some(reply) = reply else {
            return unavailable("too many operations wait for the disk");
        };
        match timed(what, "the disk", within, reply).await? {
            Ok(Some(result)) => {
                result.map_err(|source| Error::with_source(ErrorKind::Unavailable, what, source))
            }
            Ok(None) => unavailable("the store has failed and is not open again yet"),
            Err(_) => unavailable("the disk tier was shut down"),
        }
    }

    /// Waits until the invalidation with this number is synced, or is certain to be known to the
    /// next process.
    async fn until_flushed(
        &self,
        running: &Running,
        number: u64,
        within: Duration,
    ) -> Result<Receipt, Error> {
        let flushed = timeout(within, running.flushed(number)).await;
        if !matches!(flushed, Ok(true)) {
            self.running()?;
        }
        match flushed {
            Ok(true) => return Ok(Receipt::Acked),
            Ok(false) if running.maintenance.is_marked_dirty() => return Ok(Receipt::Queued),
            // The maintenance thread could not write the marker, or is still busy.
            _ => {}
        }
        if self.mark_dirty(running).await {
            return Ok(Receipt::Queued);
        }
        // The invalidation stays pending as long as this process lives, but the next process would
        // not know of it.
        Err(timed_out("invalidate", "the disk", within))
    }

    /// Writes down that an invalidation is pending, so that it can be reported as queued. Returns
    /// `false` if that took too long or failed.
    async fn mark_dirty(&self, running: &Running) -> bool {
        let maintenance = Arc::clone(&running.maintenance);
        match running.threads.run(move || maintenance.mark_dirty()) {
            Some(marked) => matches!(timeout(MAX_MARKING, marked).await, Ok(Ok(true))),
            None => false,
        }
    }
}

impl fmt::Debug for DiskTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl TierBuilder for Disk {
    fn store(&self) -> Option<String> {
        Some(format!("the directory `{}`", self.path.display()))
    }

    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(DiskTier::new(*self)))
    }
}

impl Tier for DiskTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        match self.running() {
            Ok(running) if running.maintenance.store().is_some() => Breaker::Closed,
            _ => Breaker::Open,
        }
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        if let Ok(running) = self.running() {
            health.connected = running.maintenance.store().is_some();
            health.queued = running.maintenance.state.pending().len();
        }
        health
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let (config, ledger) = (self.config.clone(), Arc::clone(&self.ledger));
            let started = on_new_thread(move || Running::start(&config, ledger))?.await;
            let started = started.unwrap_or_else(|_| {
                let path = self.config.path.display();
                let problem =
                    format!("`{path}` cannot be used as a disk tier: its data cannot be read");
                let error = Error::new(ErrorKind::Configuration, problem);
                Err(error.with_help("remove the directory to begin with an empty store"))
            });
            *lock(&self.running) = Some(Arc::new(started?));
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

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            let inspected = key.clone();
            let inspect = move |store: &Store| store.inspect(&inspected);
            let read = self.run("inspect", within, inspect).await?;
            let running = self.running()?;
            let leases = running.maintenance.state.leases();
            Ok(leases.inspected(key, read.into()))
        })
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
            let number = running.maintenance.begin_invalidation(target);
            self.until_flushed(&running, number, within).await
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        if let Ok(running) = self.running() {
            running.maintenance.begin_invalidation(target);
        }
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            let running = self.running()?;
            let number = running.maintenance.begin_invalidation_of_tags(tags);
            self.until_flushed(&running, number, within).await
        })
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        if let Ok(running) = self.running() {
            running.maintenance.begin_invalidation_of_tags(tags);
        }
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            let running = self.running()?;
            let number = running.maintenance.begin_expiry(target);
            self.until_flushed(&running, number, within).await
        })
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(&*self.ledger)
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.running()
            .is_ok_and(|running| running.maintenance.state.pending().covers(key))
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let running = self.running()?;
            let (maintenance, guarded) = (Arc::clone(&running.maintenance), key.clone());
            let guard = running.maintenance.state.guard(key, move || {
                maintenance.begin_invalidation(Target::Key(&guarded));
            });
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running()?;
            running.maintenance.state.pending().wait_empty().await
        })
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let Ok(running) = self.running() else {
                return Ok(());
            };
            let maintenance = Arc::clone(&running.maintenance);
            let limit = self.config.time_limit;
            let number = maintenance.state.pending().batch().number();
            let flushed = timeout(limit, running.flushed(number)).await;
            drop(running);
            // If this future is dropped before this line, nothing was shut down. After it, the rest
            // happens in any case.
            let Some(running) = lock(&self.running).take() else {
                return Ok(());
            };
            let ended = on_new_thread(move || {
                if flushed.is_err() {
                    // The maintenance thread may be busy for longer than this process lives.
                    running.maintenance.mark_dirty();
                }
                running.end();
            });
            if let Ok(ended) = ended {
                let _ = timeout(limit, ended).await;
            }
            match maintenance.state.pending().len() {
                0 => Ok(()),
                pending => Err(not_flushed(pending, maintenance.is_marked_dirty())),
            }
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.run("ping", within, Store::ping).await?;
            Ok(began.elapsed())
        })
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        let (function, glob) = (function.clone(), glob.clone());
        Box::pin(self.run("invalidate_matching", MAX_WALK, move |store| {
            store.remove_matching(&function, &glob)
        }))
    }
}

/// The error of a shutdown with pending invalidations.
fn not_flushed(pending: usize, is_marked: bool) -> Error {
    let problem = |consequence: &str| {
        let problem = format!(
            "{pending} invalidations were not written to the disk before the shutdown: {consequence}"
        );
        Error::new(ErrorKind::Unavailable, problem)
    };
    match is_marked {
        true => problem("the next process discards all records"),
        false => problem(
            "the next process reads stale records, because the marker could not be written either",
        )
        .with_help("remove the directory before the next process starts"),
    }
}

#[cfg(test)]
mod tests;
