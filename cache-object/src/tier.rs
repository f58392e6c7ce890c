//! The tier's contract, on object storage.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::{
    Breaker, Claim, Fill, Found, Guard, Health, Lease, Leased, Question, Receipt, RecordKey,
    Target, Tier, TierFuture,
};
use cache_core::{Error, ErrorKind, unix_millis};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Objects;
use crate::owner::{BEAT, Held, Owner};
use crate::store::Store;

/// Operations that are under way at a time.
const MOST_AT_A_TIME: u32 = 64;

pub(crate) struct ObjectTier {
    config: Objects,
    inner: Arc<Inner>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    store: Store,
    places: Arc<Semaphore>,
    owner: AsyncMutex<Owner>,
    /// Until when the prefix is this instance's.
    held_until: RwLock<Option<Instant>>,
    /// Whether something pays, or is to.
    is_paying: AtomicBool,
    is_closed: AtomicBool,
}

type Steps<'a, T> = Pin<Box<dyn Future<Output = opendal::Result<T>> + Send + 'a>>;

impl ObjectTier {
    pub(crate) fn new(config: Objects) -> Self {
        let store = Store::new(config.operator.clone(), &config.prefix);
        let owner = Owner::new(store.prefix());
        Self {
            config,
            inner: Arc::new(Inner {
                store,
                places: Arc::new(Semaphore::new(MOST_AT_A_TIME as usize)),
                owner: AsyncMutex::new(owner),
                held_until: RwLock::default(),
                is_paying: AtomicBool::new(false),
                is_closed: AtomicBool::new(false),
            }),
            keeper: Mutex::default(),
        }
    }

    /// Runs one operation. Once begun it goes on to its end, whoever waits for it: a write that is given up half way may land at
    /// any time.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl for<'a> FnOnce(&'a Store) -> Steps<'a, T> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.check()?;
        let inner = Arc::clone(&self.inner);
        let done = async move {
            let place = Arc::clone(&inner.places).acquire_owned().await;
            // It ends with its operation; the end of the tier waits for its place.
            let task = tokio::spawn(async move {
                let done = operation(&inner.store).await;
                if !inner.store.owed.is_empty() {
                    inner.pay_later();
                }
                drop(place);
                done
            });
            task.await
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
                    "{what}: no answer from the object storage within {} ms",
                    within.as_millis()
                ),
            )),
        }
    }
}

impl Inner {
    fn is_ours(&self) -> bool {
        let until = self
            .held_until
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn check(&self) -> Result<(), Error> {
        let why = if self.is_closed.load(Ordering::SeqCst) {
            "the tier was shut down"
        } else if self.is_ours() {
            return Ok(());
        } else {
            "it cannot be reached, or its prefix is another instance's"
        };
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("use the object storage: {why}"),
        ))
    }

    fn set_held(&self, until: Option<Instant>) {
        *self
            .held_until
            .write()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// From now on it is not read and not filled; the storage is yet to be told.
    fn owe(&self, target: Target<'_>) {
        // In this order: what is filled under a lease that was looked at before is removed when it is paid.
        self.store.owed.add(target);
        self.store.leases.void(target);
    }

    /// Has what is owed done by one task that ends with its work. What does not get through is tried again with the next beat.
    fn pay_later(self: &Arc<Self>) {
        let Ok(handle) = Handle::try_current() else {
            return;
        };
        if self.is_paying.swap(true, Ordering::SeqCst) {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.is_paying.store(false, Ordering::SeqCst);
            return;
        };
        let inner = Arc::clone(self);
        drop(handle.spawn(async move {
            inner.pay().await;
            inner.is_paying.store(false, Ordering::SeqCst);
            drop(place);
        }));
    }

    async fn pay(&self) {
        while self.is_ours() && !self.store.owed.is_empty() {
            if let Err(error) = self.store.pay().await {
                tracing::warn!(error = %error, "an invalidation is not in the object storage yet; what it names is not read meanwhile");
                return;
            }
        }
    }

    /// Says that the prefix is in use, and pays what is owed. Ends when it is aborted.
    async fn keep(self: Arc<Self>, first: watch::Sender<bool>) {
        let mut is_told = false;
        loop {
            let beat = async { self.owner.lock().await.beat(self.store.operator()).await };
            match timeout(BEAT, beat).await {
                Ok(Ok(Some(Held { until, is_new }))) => {
                    if is_new {
                        // Another may have used it meanwhile.
                        self.store.controls.forget();
                        self.store.leases.void(Target::All);
                    }
                    self.set_held(Some(until));
                    is_told = false;
                }
                Ok(Ok(None)) => {
                    self.set_held(None);
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(
                            prefix = self.store.prefix(),
                            "another instance uses this prefix, or has just died; waiting until nobody has for thirty seconds"
                        );
                    }
                }
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(error = %error, "the object storage cannot be used; going on without it until it can");
                    }
                }
                Err(_) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(
                            "the object storage does not answer; going on without it until it does"
                        );
                    }
                }
            }
            first.send_replace(true);
            self.pay_later();
            sleep(BEAT).await;
        }
    }
}

fn failed(what: &'static str, source: opendal::Error) -> Error {
    Error::with_source(ErrorKind::Unavailable, what, source)
}

impl fmt::Debug for ObjectTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Drop for ObjectTier {
    fn drop(&mut self) {
        let keeper = self
            .keeper
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keeper.take() {
            keeper.abort();
        }
    }
}

impl Tier for ObjectTier {
    fn kind(&self) -> &'static str {
        "objects"
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
        match self.inner.check() {
            Ok(()) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let (first, mut tried) = watch::channel(false);
            let keeper = tokio::spawn(Arc::clone(&self.inner).keep(first));
            *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
            // A storage that is away is one that may come back: it was told in the log.
            let _ = tried.wait_for(|tried| *tried).await;
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
        Box::pin(self.run("read", within, move |store| {
            Box::pin(async move { store.read(&key).await })
        }))
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
            Box::pin(async move { store.lease(&key, claim, &seen).await })
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
            Box::pin(async move { store.fill(&key, token, stamp, &record, life).await })
        }))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            if self.inner.is_closed.load(Ordering::SeqCst) {
                return self.inner.check().map(|()| Receipt::Queued);
            }
            self.inner.owe(target);
            let paid = self.run("invalidate", within, |store| Box::pin(store.pay()));
            match paid.await {
                Ok(()) => Ok(Receipt::Acked),
                // It goes on, or is tried again, and nothing old is read meanwhile.
                Err(error) => {
                    tracing::debug!(error = ?error, "an invalidation is not in the object storage yet");
                    Ok(Receipt::Queued)
                }
            }
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.inner.owe(target);
        self.inner.pay_later();
    }

    fn owes(&self, key: &RecordKey) -> bool {
        self.inner.store.owed.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let (inner, guarded) = (Arc::clone(&self.inner), key.clone());
            let guard = self.inner.store.leases.guard(key, move || {
                inner.owe(Target::Key(&guarded));
                inner.pay_later();
            });
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.run("ping", within, |store| Box::pin(store.ping()))
                .await?;
            Ok(began.elapsed())
        })
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        health.connected = self.inner.check().is_ok();
        health.queued = self.inner.store.owed.len();
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let limit = self.config.time_limit;
            let paid = match self.inner.store.owed.is_empty() {
                true => Ok(()),
                false => self.run("end", limit, |store| Box::pin(store.pay())).await,
            };
            self.inner.is_closed.store(true, Ordering::SeqCst);
            let keeper = self
                .keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(keeper) = keeper {
                keeper.abort();
                let _ = keeper.await;
            }
            // What is under way ends first; then the prefix is free for another.
            let rest = Arc::clone(&self.inner.places).acquire_many_owned(MOST_AT_A_TIME);
            if timeout(limit, rest).await.is_ok() {
                let leave = async {
                    let mut owner = self.inner.owner.lock().await;
                    owner.leave(self.inner.store.operator()).await
                };
                // Else another waits until it is silent.
                let _ = timeout(limit, leave).await;
            }
            self.inner.set_held(None);
            paid
        })
    }
}
