//! The thread that keeps the store: it does what is owed, sweeps what is dead, and opens the store again after it has failed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cache_core::tier::{LocalLeases, Owed, Target};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Disk;
use crate::generations::Walk;
use crate::mark::Mark;
use crate::store::Store;

/// Between the steps of a sweep, so that the disk has time for others: some 50 MiB a second at most.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// After a failure, until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Operations that are under way when the store is closed have that long to end.
const LONGEST_OPERATION: Duration = Duration::from_secs(10);

/// What the keeper and the operations share.
pub(crate) struct Kept {
    config: Disk,
    /// While it is open.
    store: RwLock<Option<Arc<Store>>>,
    pub(crate) leases: Arc<LocalLeases>,
    pub(crate) owed: Arc<Owed>,
    mark: Mark,
    progress: watch::Sender<Progress>,
    calls: Mutex<Calls>,
    called: Condvar,
}

/// How far the keeper has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// All that was owed up to this number is done.
    pub(crate) paid: u64,
    /// Times that it could not be done.
    pub(crate) failures: u64,
}

#[derive(Clone, Copy, Default)]
struct Calls {
    owes: bool,
    /// An operation failed: the store takes nothing any more, or will not for long.
    is_broken: bool,
    has_ended: bool,
}

impl Kept {
    pub(crate) fn new(
        config: Disk,
        store: Option<Store>,
        leases: Arc<LocalLeases>,
        owed: Arc<Owed>,
        mark: Mark,
    ) -> Self {
        let calls = Calls {
            is_broken: store.is_none(),
            ..Calls::default()
        };
        Self {
            config,
            store: RwLock::new(store.map(Arc::new)),
            leases,
            owed,
            mark,
            progress: watch::Sender::default(),
            calls: Mutex::new(calls),
            called: Condvar::new(),
        }
    }

    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    /// From now on it is not read and not filled; the keeper tells the disk. The number that [`Progress`] has when it did.
    pub(crate) fn owe(&self, target: Target<'_>) -> u64 {
        // In this order: what is filled under a lease that was looked at before is removed when it is paid.
        let number = self.owed.add(target);
        self.leases.void(target);
        self.call(|calls| calls.owes = true);
        number
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// An operation failed: the store is to be opened again.
    pub(crate) fn failed(&self) {
        self.call(|calls| calls.is_broken = true);
    }

    /// Says on the disk that something is owed, if it is.
    pub(crate) fn note_owed(&self) {
        if let Err(error) = self.mark.set_if(|| !self.owed.is_empty()) {
            tracing::debug!(error = %error, "the disk does not keep that an invalidation is owed to it");
        }
    }

    /// Ends the keeper, with what it is at.
    pub(crate) fn end(&self) {
        self.call(|calls| calls.has_ended = true);
        // Whoever waits for it hears of it.
        self.progress.send_modify(|progress| progress.failures += 1);
    }

    /// Closes the store: what is under way has its own hold on it.
    pub(crate) fn close(&self) -> Option<Arc<Store>> {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        store.take()
    }

    fn call(&self, what: impl FnOnce(&mut Calls)) {
        what(&mut self.calls());
        self.called.notify_all();
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be called, for a while; what for.
    fn wait(&self, longest: Duration) -> Calls {
        let is_quiet = |calls: &mut Calls| !calls.owes && !calls.is_broken && !calls.has_ended;
        let waited = self
            .called
            .wait_timeout_while(self.calls(), longest, is_quiet);
        let (mut calls, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let now = *calls;
        (calls.owes, calls.is_broken) = (false, false);
        now
    }

    /// What the keeper does until it is ended.
    pub(crate) fn keep(&self) {
        let mut walk: Option<Walk> = None;
        let mut next_sweep = Instant::now() + self.config.sweep_every;
        let (mut is_broken, mut next_opening) = (false, Instant::now());
        loop {
            let next = match (is_broken, &walk) {
                (true, _) => next_opening,
                (false, Some(_)) => Instant::now() + SWEEP_PAUSE,
                (false, None) => next_sweep,
            };
            let calls = self.wait(next.saturating_duration_since(Instant::now()));
            if calls.has_ended {
                return;
            }
            is_broken |= calls.is_broken;
            if is_broken && Instant::now() >= next_opening {
                is_broken = !self.open_again();
                next_opening = Instant::now() + PAUSE;
            }
            is_broken = is_broken || !self.pay();
            if is_broken {
                self.could_not_pay();
                continue;
            }
            if walk.is_none() && Instant::now() >= next_sweep {
                walk = Some(Walk::default());
            }
            if let Some(under_way) = &mut walk
                && !self.sweep(under_way)
            {
                walk = None;
                next_sweep = Instant::now() + self.config.sweep_every;
            }
        }
    }

    /// `false` where the store failed: it takes nothing any more then, and is to be opened again.
    fn pay(&self) -> bool {
        if self.owed.is_empty() {
            return true;
        }
        let paid = match self.store() {
            Some(store) => store.pay(),
            None => return false,
        };
        match paid {
            Ok(paid) => {
                if let Err(error) = self.mark.clear_if(|| self.owed.is_empty()) {
                    tracing::debug!(error = %error, "the disk does not keep that nothing is owed to it");
                }
                self.progress.send_modify(|progress| progress.paid = paid);
                true
            }
            Err(error) => {
                tracing::warn!(error = %error, "an invalidation is not on the disk yet; what it names is not read meanwhile");
                false
            }
        }
    }

    fn could_not_pay(&self) {
        if !self.owed.is_empty() {
            self.note_owed();
            self.progress.send_modify(|progress| progress.failures += 1);
        }
    }

    /// The next step of a sweep; `false` when it is over.
    fn sweep(&self, walk: &mut Walk) -> bool {
        let Some(store) = self.store() else {
            return false;
        };
        match store.sweep(walk) {
            Ok(Some(removed)) => {
                tracing::trace!(removed, "dead records were swept from the disk");
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(error = %error, "the disk cannot be swept");
                self.failed();
                false
            }
        }
    }

    /// Closes the store, where it is open, and opens it; `false` where that cannot be now.
    fn open_again(&self) -> bool {
        if let Some(store) = self.close() {
            let began = Instant::now();
            while Arc::strong_count(&store) > 1 && began.elapsed() < LONGEST_OPERATION {
                thread::sleep(Duration::from_millis(2));
            }
        }
        let (leases, owed) = (Arc::clone(&self.leases), Arc::clone(&self.owed));
        match Store::open(&self.config, leases, owed) {
            Ok(store) => {
                tracing::info!(path = %self.config.path.display(), "the disk tier is open again");
                let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(Arc::new(store));
                true
            }
            Err(error) => {
                tracing::warn!(path = %self.config.path.display(), error = %error, "the disk tier cannot be opened; going on without it until it can");
                false
            }
        }
    }
}
