//! The thread that maintains the store: it does pending invalidations, sweeps expired records, and
//! opens the store again after it has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cache_core::tier::kit::{PrivateState, lock};
use cache_core::tier::{Expiry, Target};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Disk;
use crate::dirty_marker::DirtyMarker;
use crate::generations::Walk;
use crate::ledger::DiskLedger;
use crate::open::{is_damage, open};
use crate::store::Store;

/// The pause between two steps of a sweep, so that other operations get the disk: a sweep reads
/// some 50 MiB a second at most.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// The pause after the store failed, before it is opened again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest time for which the thread waits. The clock cannot wait for ever.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long operations that use the store may take to end, when it is closed to be opened again.
const MAX_OPERATION: Duration = Duration::from_secs(10);

/// The state that the maintenance thread and the operations share.
pub(crate) struct Maintenance {
    config: Disk,
    /// `None` while the store is not open.
    store: RwLock<Option<Arc<Store>>>,
    ledger: Arc<DiskLedger>,
    pub(crate) state: Arc<PrivateState>,
    marker: DirtyMarker,
    progress: watch::Sender<Progress>,
    requests: Mutex<Requests>,
    requested: Condvar,
}

/// How far the maintenance thread is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// All invalidations up to this number are done.
    pub(crate) done: u64,
    /// The number of times that pending invalidations could not be done.
    pub(crate) failures: u64,
}

/// The requests of the operations to the maintenance thread.
#[derive(Clone, Copy, Default)]
struct Requests {
    /// An invalidation is pending.
    is_pending: bool,
    /// An operation failed, so the store is to be opened again.
    is_broken: bool,
    /// The store has other data than were written.
    is_damaged: bool,
    /// The thread is to end.
    has_ended: bool,
}

/// The state of the maintenance thread.
struct Round {
    /// The sweep in progress.
    walk: Option<Walk>,
    /// `None` if sweeps are disabled.
    next_sweep: Option<Instant>,
    is_broken: bool,
    is_damaged: bool,
    next_opening: Instant,
}

impl Maintenance {
    pub(crate) fn new(
        config: Disk,
        store: Option<Store>,
        ledger: Arc<DiskLedger>,
        marker: DirtyMarker,
    ) -> Self {
        let requests = Requests {
            is_broken: store.is_none(),
            ..Requests::default()
        };
        Self {
            config,
            store: RwLock::new(store.map(Arc::new)),
            state: Arc::clone(ledger.state()),
            ledger,
            marker,
            progress: watch::Sender::default(),
            requests: Mutex::new(requests),
            requested: Condvar::new(),
        }
    }

    /// Returns the store, if it is open.
    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    /// Begins an invalidation, and returns its number: it is done when [`Progress::done`] reaches
    /// it.
    pub(crate) fn begin_invalidation(&self, target: Target<'_>) -> u64 {
        let number = self.state.begin_invalidation(target);
        self.request(|requests| requests.is_pending = true);
        number
    }

    /// Begins an invalidation of tags, as [`begin_invalidation`](Self::begin_invalidation).
    pub(crate) fn begin_invalidation_of_tags(&self, tags: &[u64]) -> u64 {
        let number = self.state.pending().add_tags(tags);
        self.request(|requests| requests.is_pending = true);
        number
    }

    /// Begins an expiry, as [`begin_invalidation`](Self::begin_invalidation). The records stay.
    pub(crate) fn begin_expiry(&self, target: Expiry<'_>) -> u64 {
        // The order matters. A fill that checked its lease before it was voided stores a record
        // that the expiry makes stale.
        let number = self.state.pending().add_expiry(target);
        if let Expiry::Key(key) = target {
            self.state.leases().void(Target::Key(key));
        }
        self.request(|requests| requests.is_pending = true);
        number
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Reports that an operation failed. The store is opened again, and emptied if it is damaged.
    pub(crate) fn failed(&self, error: &fjall::Error) {
        let is_damaged = is_damage(error);
        if is_damaged {
            let path = self.config.path.display();
            tracing::warn!(target: "multi_tier_cached::disk", path = %path, error = %error, "damaged data found in the disk tier");
        }
        self.request(|requests| {
            requests.is_broken = true;
            requests.is_damaged |= is_damaged;
        });
    }

    /// Makes the marker dirty if an invalidation is pending. Returns `false` if the disk does not
    /// accept that either.
    pub(crate) fn mark_dirty(&self) -> bool {
        let marked = self.marker.set_if(|| !self.state.pending().is_empty());
        if let Err(error) = &marked {
            tracing::warn!(target: "multi_tier_cached::disk", error = %error, "the disk does not accept the marker of a pending invalidation; if this process ends now, the next one reads stale records");
        }
        marked.is_ok()
    }

    /// Returns `true` if the disk has the marker of a pending invalidation.
    pub(crate) fn is_marked_dirty(&self) -> bool {
        self.marker.is_dirty()
    }

    #[cfg(test)]
    pub(crate) fn marker(&self) -> &DirtyMarker {
        &self.marker
    }

    /// Tells the thread to end after what it does now.
    pub(crate) fn end(&self) {
        self.request(|requests| requests.has_ended = true);
        // Wakes the operations that wait for progress: there will be none.
        self.progress.send_modify(|progress| progress.failures += 1);
    }

    /// Closes the store. Operations in progress hold a reference of their own.
    pub(crate) fn close(&self) -> Option<Arc<Store>> {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        store.take()
    }

    fn request(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut lock(&self.requests));
        self.requested.notify_all();
    }

    /// Waits for requests, for a limited time, and takes them.
    fn take_requests(&self, longest: Duration) -> Requests {
        let is_idle = |requests: &mut Requests| {
            !requests.is_pending && !requests.is_broken && !requests.has_ended
        };
        let waited = self
            .requested
            .wait_timeout_while(lock(&self.requests), longest, is_idle);
        let (mut requests, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = *requests;
        *requests = Requests {
            has_ended: taken.has_ended,
            ..Requests::default()
        };
        taken
    }

    /// Runs the thread until [`end`](Self::end) is called.
    pub(crate) fn run(&self) {
        let now = Instant::now();
        let mut round = Round {
            walk: None,
            next_sweep: now.checked_add(self.config.sweep_every),
            is_broken: false,
            is_damaged: false,
            next_opening: now,
        };
        // The database panics on some kinds of damage.
        while catch_unwind(AssertUnwindSafe(|| self.run_rounds(&mut round))).is_err() {
            (round.is_broken, round.is_damaged) = (true, true);
            round.walk = None;
            round.next_opening = Instant::now() + RETRY_PAUSE;
            self.flush_failed();
        }
    }

    fn run_rounds(&self, round: &mut Round) {
        loop {
            let next = match (round.is_broken, &round.walk) {
                (true, _) => Some(round.next_opening),
                (false, Some(_)) => Some(Instant::now() + SWEEP_PAUSE),
                (false, None) => round.next_sweep,
            };
            let longest = next.map_or(MAX_WAIT, |next| {
                next.saturating_duration_since(Instant::now())
            });
            let requests = self.take_requests(longest);
            if requests.has_ended {
                return;
            }
            round.is_broken |= requests.is_broken;
            round.is_damaged |= requests.is_damaged;
            if round.is_broken && Instant::now() >= round.next_opening {
                round.is_broken = !self.reopen(round.is_damaged);
                round.is_damaged &= round.is_broken;
                round.next_opening = Instant::now() + RETRY_PAUSE;
            }
            round.is_broken = round.is_broken || !self.flush();
            if round.is_broken {
                self.flush_failed();
                continue;
            }
            self.sweep_if_due(round);
        }
    }

    /// Does all pending invalidations. Returns `false` if the store failed: it is to be opened
    /// again.
    fn flush(&self) -> bool {
        if self.state.pending().is_empty() {
            return true;
        }
        let flushed = match self.store() {
            Some(store) => store.flush(),
            None => return false,
        };
        match flushed {
            Ok(done) => {
                let is_empty = || self.state.pending().is_empty();
                if let Err(error) = self.marker.clear_if(is_empty) {
                    tracing::debug!(target: "multi_tier_cached::disk", error = %error, "the marker of pending invalidations was not cleared; the next process may discard all records");
                }
                self.progress.send_modify(|progress| progress.done = done);
                true
            }
            Err(error) => {
                tracing::warn!(target: "multi_tier_cached::disk", error = %error, "an invalidation could not be written to the disk; its records are misses until it is");
                self.failed(&error);
                false
            }
        }
    }

    fn flush_failed(&self) {
        if !self.state.pending().is_empty() {
            self.mark_dirty();
            self.progress.send_modify(|progress| progress.failures += 1);
        }
    }

    /// Does the next step of a sweep, if one is due or in progress.
    fn sweep_if_due(&self, round: &mut Round) {
        let is_due = round.next_sweep.is_some_and(|next| Instant::now() >= next);
        if round.walk.is_none() && is_due {
            round.walk = Some(Walk::default());
        }
        if let Some(walk) = &mut round.walk
            && !self.sweep_step(walk)
        {
            round.walk = None;
            round.next_sweep = Instant::now().checked_add(self.config.sweep_every);
        }
    }

    /// Returns `false` if the sweep has ended.
    fn sweep_step(&self, walk: &mut Walk) -> bool {
        let Some(store) = self.store() else {
            return false;
        };
        match store.sweep(walk) {
            Ok(Some(removed)) => {
                if removed > 0 {
                    tracing::trace!(target: "multi_tier_cached::disk", removed, "expired records were removed from the disk");
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(target: "multi_tier_cached::disk", error = %error, "a sweep of the disk tier failed; it is repeated later");
                self.failed(&error);
                false
            }
        }
    }

    /// Closes the store and opens it again. Returns `false` if it cannot be opened now.
    fn reopen(&self, is_damaged: bool) -> bool {
        if let Some(store) = self.close() {
            // The database can be opened again when the last operation has released it.
            let began = Instant::now();
            while Arc::strong_count(&store) > 1 && began.elapsed() < MAX_OPERATION {
                thread::sleep(Duration::from_millis(2));
            }
        }
        let path = self.config.path.display();
        match open(&self.config, &self.ledger, is_damaged) {
            Ok(store) => {
                tracing::info!(target: "multi_tier_cached::disk", path = %path, "the disk tier is open again");
                let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(Arc::new(store));
                true
            }
            Err(error) => {
                tracing::warn!(target: "multi_tier_cached::disk", path = %path, error = %error, "the disk tier cannot be opened; continuing without it until it can");
                false
            }
        }
    }
}
