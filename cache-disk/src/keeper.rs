//! The thread that keeps the store: it does what is owed, sweeps what is dead, and opens the store again after it has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cache_core::tier::{LocalLeases, Owed, Target};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Disk;
use crate::generations::Walk;
use crate::mark::Mark;
use crate::store::{Store, is_damage};

/// Between the steps of a sweep, so that the disk has time for others: some 50 MiB a second at most.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// After a failure, until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The keeper looks round that often though nothing is to be done: a clock cannot wait for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

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
    is_pending: bool,
    /// An operation failed: the store takes nothing any more, or will not for long.
    is_broken: bool,
    /// What it read is not what was written.
    is_damaged: bool,
    has_ended: bool,
}

/// Where the keeper is.
struct Round {
    walk: Option<Walk>,
    /// `None` for never.
    next_sweep: Option<Instant>,
    is_broken: bool,
    is_damaged: bool,
    next_opening: Instant,
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
        self.call(|calls| calls.is_pending = true);
        number
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// An operation failed: the store is to be opened again, and begun anew where it is damaged.
    pub(crate) fn failed(&self, error: &fjall::Error) {
        let is_damaged = is_damage(error);
        if is_damaged {
            tracing::warn!(path = %self.config.path.display(), error = %error, "the disk tier read what it did not write");
        }
        self.call(|calls| {
            calls.is_broken = true;
            calls.is_damaged |= is_damaged;
        });
    }

    /// Says on the disk that something is owed, if it is; `false` where it does not take that either.
    pub(crate) fn note_owed(&self) -> bool {
        let noted = self.mark.set_if(|| !self.owed.is_empty());
        if let Err(error) = &noted {
            tracing::warn!(error = %error, "the disk does not keep that an invalidation is owed to it; if this process ended now, the next would read what is invalidated");
        }
        noted.is_ok()
    }

    #[cfg(test)]
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether the disk says that something is owed.
    pub(crate) fn is_noted(&self) -> bool {
        self.mark.is_set()
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
        let is_quiet =
            |calls: &mut Calls| !calls.is_pending && !calls.is_broken && !calls.has_ended;
        let waited = self
            .called
            .wait_timeout_while(self.calls(), longest, is_quiet);
        let (mut calls, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let now = *calls;
        *calls = Calls {
            has_ended: now.has_ended,
            ..Calls::default()
        };
        now
    }

    /// What the keeper does until it is ended.
    pub(crate) fn keep(&self) {
        let now = Instant::now();
        let mut round = Round {
            walk: None,
            next_sweep: now.checked_add(self.config.sweep_every),
            is_broken: false,
            is_damaged: false,
            next_opening: now,
        };
        // What it reads may be damaged in ways that the store does not expect.
        while catch_unwind(AssertUnwindSafe(|| self.go_on(&mut round))).is_err() {
            (round.is_broken, round.is_damaged) = (true, true);
            round.walk = None;
            round.next_opening = Instant::now() + PAUSE;
            self.could_not_pay();
        }
    }

    fn go_on(&self, round: &mut Round) {
        loop {
            let next = match (round.is_broken, &round.walk) {
                (true, _) => Some(round.next_opening),
                (false, Some(_)) => Some(Instant::now() + SWEEP_PAUSE),
                (false, None) => round.next_sweep,
            };
            let longest = next.map_or(LONGEST_WAIT, |next| {
                next.saturating_duration_since(Instant::now())
            });
            let calls = self.wait(longest);
            if calls.has_ended {
                return;
            }
            round.is_broken |= calls.is_broken;
            round.is_damaged |= calls.is_damaged;
            if round.is_broken && Instant::now() >= round.next_opening {
                round.is_broken = !self.open_again(round.is_damaged);
                round.is_damaged &= round.is_broken;
                round.next_opening = Instant::now() + PAUSE;
            }
            round.is_broken = round.is_broken || !self.pay();
            if round.is_broken {
                self.could_not_pay();
                continue;
            }
            let is_time = round.next_sweep.is_some_and(|next| Instant::now() >= next);
            if round.walk.is_none() && is_time {
                round.walk = Some(Walk::default());
            }
            if let Some(under_way) = &mut round.walk
                && !self.sweep(under_way)
            {
                round.walk = None;
                round.next_sweep = Instant::now().checked_add(self.config.sweep_every);
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
                self.failed(&error);
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
                if removed > 0 {
                    tracing::trace!(removed, "expired records were removed from the disk");
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(error = %error, "the disk cannot be swept");
                self.failed(&error);
                false
            }
        }
    }

    /// Closes the store, where it is open, and opens it; `false` where that cannot be now.
    fn open_again(&self, is_damaged: bool) -> bool {
        if let Some(store) = self.close() {
            let began = Instant::now();
            while Arc::strong_count(&store) > 1 && began.elapsed() < LONGEST_OPERATION {
                thread::sleep(Duration::from_millis(2));
            }
        }
        match Store::open(&self.config, &self.leases, &self.owed, is_damaged) {
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
