//! The tier's contract, on a disk.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::{
    Breaker, Claim, Fill, Found, FunctionKey, Glob, Guard, Health, Lease, Leased, LocalLeases,
    Owed, Question, Receipt, RecordKey, Target, Tier, TierFuture,
};
use cache_core::{Error, ErrorKind, unix_millis};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::config::Disk;
use crate::store::Store;

/// Operations that wait for the disk at a time: a thread each.
const MOST_AT_A_TIME: u32 = 32;

/// How long a walk over a function's keys may take.
const LONGEST_WALK: Duration = Duration::from_secs(10 * 60);

pub(crate) struct DiskTier {
    config: Disk,
    inner: Arc<Inner>,
}

struct Inner {
    /// From the start to the end.
    store: RwLock<Option<Arc<Store>>>,
    leases: Arc<LocalLeases>,
    owed: Arc<Owed>,
    places: Arc<Semaphore>,
    /// Whether a thread is to pay, or does.
    is_paying: AtomicBool,
}

impl DiskTier {
    pub(crate) fn new(config: Disk) -> Self {
        Self {
            config,
            inner: Arc::new(Inner {
                store: RwLock::new(None),
                leases: Arc::default(),
                owed: Arc::default(),
                places: Arc::new(Semaphore::new(MOST_AT_A_TIME as usize)),
                is_paying: AtomicBool::new(false),
            }),
        }
    }

    /// Runs one operation on a thread that may wait for the disk. Dropped, it leaves it done or not begun.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(&Store) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.inner.store()?;
        let places = Arc::clone(&self.inner.places);
        let done = async move {
            let place = places.acquire_owned().await;
            spawn_blocking(move || {
                let done = operation(&store);
                drop((store, place));
                done
            })
            .await
        };
        match timeout(within, done).await {
            Ok(Ok(done)) => done.map_err(|source| failed(what, source)),
            Ok(Err(_)) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: the runtime is going down"),
            )),
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

impl Inner {
    fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "use the disk: the tier was shut down, or has not started",
            )
        })
    }

    /// From now on it is not read and not filled; the disk is yet to be told.
    fn owe(&self, target: Target<'_>) {
        // In this order: what is filled under a lease that was looked at before is removed when it is paid.
        self.owed.add(target);
        self.leases.void(target);
    }

    /// Has what is owed done by a thread that nobody waits for. It ends with its work; without a runtime it is done here.
    fn pay_later(self: &Arc<Self>) {
        // One for all that is owed: a disk that does not answer must not keep more threads.
        if self.is_paying.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = Arc::clone(self);
        let pay = move || this.pay_all();
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn_blocking(pay)),
            Err(_) => pay(),
        }
    }

    fn pay_all(&self) {
        loop {
            let paid = self.store().ok().map(|store| store.pay());
            self.is_paying.store(false, Ordering::SeqCst);
            match paid {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(error = %error, "an invalidation is not on the disk yet; what it names is not read meanwhile");
                    return;
                }
                None => return,
            }
            // What was owed since it was paid found somebody at it.
            if self.owed.is_empty() || self.is_paying.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// An invalidation under way. Dropped, it is done all the same.
struct Pending<'a> {
    inner: &'a Arc<Inner>,
    is_done: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.inner.pay_later();
        }
    }
}

fn failed(what: &'static str, source: fjall::Error) -> Error {
    let kind = match source {
        fjall::Error::Locked => ErrorKind::Configuration,
        _ => ErrorKind::Unavailable,
    };
    Error::with_source(kind, what, source)
}

impl fmt::Debug for DiskTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Tier for DiskTier {
    fn kind(&self) -> &'static str {
        "disk"
    }

    fn time_limit(&self) -> Duration {
        self.config.time_limit
    }

    fn max_record_bytes(&self) -> usize {
        self.config.max_record_bytes
    }

    fn now(&self) -> u64 {
        unix_millis()
    }

    fn breaker(&self) -> Breaker {
        match self.inner.store() {
            Ok(_) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let (config, leases, owed) = (
                self.config.clone(),
                Arc::clone(&self.inner.leases),
                Arc::clone(&self.inner.owed),
            );
            let opened = spawn_blocking(move || Store::open(&config, leases, owed)).await;
            let path = self.config.path.display();
            let store = match opened {
                Ok(Ok(store)) => store,
                Ok(Err(fjall::Error::Locked)) => {
                    return Err(Error::new(
                        ErrorKind::Configuration,
                        format!("use `{path}` as a disk tier: another process uses it"),
                    ));
                }
                Ok(Err(source)) => {
                    return Err(Error::with_source(
                        ErrorKind::Configuration,
                        format!("use `{path}` as a disk tier"),
                        source,
                    ));
                }
                Err(source) => {
                    return Err(Error::with_source(
                        ErrorKind::Configuration,
                        format!(
                            "use `{path}` as a disk tier: what is in it cannot be read; remove it to begin anew"
                        ),
                        source,
                    ));
                }
            };
            let mut slot = self
                .inner
                .store
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *slot = Some(Arc::new(store));
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: Question,
        within: Duration,
    ) -> TierFuture<'a, Found> {
        let key = key.clone();
        Box::pin(self.run("read", within, move |store| store.read(&key)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        claim: Claim,
        seen: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, Leased> {
        let (key, seen) = (key.clone(), seen.to_vec());
        Box::pin(self.run("lease", within, move |store| {
            store.lease(&key, claim, &seen)
        }))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, Fill> {
        let (key, token, stamp) = (key.clone(), lease.token, lease.stamp);
        Box::pin(self.run("fill", within, move |store| {
            store.fill(&key, token, stamp, &record, life)
        }))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.inner.store()?;
            self.inner.owe(target);
            let mut pending = Pending {
                inner: &self.inner,
                is_done: false,
            };
            match self.run("invalidate", within, Store::pay).await {
                Ok(()) => {
                    pending.is_done = true;
                    Ok(Receipt::Acked)
                }
                // It goes on, and nothing old is read meanwhile.
                Err(error) => {
                    tracing::debug!(error = ?error, "an invalidation is not on the disk yet");
                    Ok(Receipt::Queued)
                }
            }
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
        self.inner.owe(target);
        self.inner.pay_later();
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let key_of_guard = key.clone();
            let inner = Arc::clone(&self.inner);
            let guard = self.inner.leases.guard(key, move || {
                inner.owe(Target::Key(&key_of_guard));
                inner.pay_later();
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

    /// They are done on threads of their own.
    fn serves_threads(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        health.connected = self.inner.store().is_ok();
        health.queued = self.inner.owed.len();
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let paid = self.run("end", self.config.time_limit, Store::pay).await;
            let store = self
                .inner
                .store
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(store) = store else { return Ok(()) };
            // What is under way ends first; then the directory is free for another.
            let places = Arc::clone(&self.inner.places);
            let rest = places.acquire_many_owned(MOST_AT_A_TIME);
            let _ = timeout(self.config.time_limit, rest).await;
            let _ = spawn_blocking(move || drop(store)).await;
            paid
        })
    }
}
