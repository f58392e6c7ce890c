//! The thread that writes the journal's file.
//!
//! A disk may block for long, so neither calls nor tasks of the runtime write to it. An
//! invalidation that must outlive the process waits for this thread, and all that wait at a time
//! share one sync.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use cache_core::tier::kit::lock;
use tokio::sync::watch;

use super::file::JournalFile;
use super::invalidated::Invalidated;
use super::pending::Pending;

/// The largest number of invalidations that wait to be appended. If there are more, the file is
/// replaced by one with everything that is queued.
const MOST_ADDED: usize = 1 << 12;

/// The time after which a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time that dropping a writer waits for its thread: a disk that does not respond must
/// not keep the process from ending.
const LONGEST_END: Duration = Duration::from_secs(1);

/// Owns the thread. Dropping it ends the thread after the requested writes.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// The number of the last request that was handled, and whether everything that was requested
    /// by then is on disk.
    written: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Work {
    added: Vec<Invalidated>,
    /// `true` if some that were added are not in `added`, so that the file must be replaced.
    is_partial: bool,
    /// The number of the last request.
    number: u64,
    is_closed: bool,
    has_ended: bool,
}

impl Writer {
    /// Starts the thread, which keeps in the file what is pending.
    pub(super) fn start(file: JournalFile, pending: Arc<Pending>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            work: Mutex::default(),
            changed: Condvar::new(),
            written: watch::Sender::new((0, true)),
        });
        let own = Arc::clone(&shared);
        thread::Builder::new()
            .name("cache-journal".into())
            .spawn(move || own.run(file, &pending))?;
        Ok(Self { shared })
    }

    /// Has an invalidation appended that is pending already. Returns the number of the request, to
    /// [wait](Self::written) for it.
    pub(super) fn add(&self, invalidated: Invalidated) -> u64 {
        let mut work = lock(&self.shared.work);
        if work.added.len() < MOST_ADDED {
            work.added.push(invalidated);
        } else {
            work.is_partial = true;
        }
        self.request(work)
    }

    /// Has the file replaced by one with everything that is pending.
    pub(super) fn rewrite(&self) {
        let mut work = lock(&self.shared.work);
        work.is_partial = true;
        self.request(work);
    }

    /// Has the file emptied if nothing is pending.
    pub(super) fn tidy(&self) -> u64 {
        self.request(lock(&self.shared.work))
    }

    fn request(&self, mut work: MutexGuard<'_, Work>) -> u64 {
        work.number += 1;
        self.shared.changed.notify_all();
        work.number
    }

    /// Waits until the request with this number is on disk. Returns `false` if it could not be
    /// written; the failure was logged.
    pub(super) async fn written(&self, number: u64) -> bool {
        let mut written = self.shared.written.subscribe();
        let written = written.wait_for(|(written, _)| *written >= number).await;
        written.is_ok_and(|written| written.1)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut work = lock(&self.shared.work);
        work.is_closed = true;
        self.shared.changed.notify_all();
        let wait = self
            .shared
            .changed
            .wait_timeout_while(work, LONGEST_END, |work| !work.has_ended);
        drop(wait);
    }
}

impl Shared {
    /// The body of the thread.
    fn run(&self, mut file: JournalFile, pending: &Pending) {
        let _end = End(self);
        let mut done = 0;
        let mut is_behind = false;
        loop {
            let work = lock(&self.work);
            // A part that could not be written is written again.
            let patience = if is_behind { RETRY } else { Duration::MAX };
            let (mut work, _) = self
                .changed
                .wait_timeout_while(work, patience, |work| {
                    work.number == done && !work.is_closed
                })
                .unwrap_or_else(PoisonError::into_inner);
            if work.number == done && (work.is_closed || !is_behind) {
                break;
            }
            let added = std::mem::take(&mut work.added);
            is_behind |= std::mem::take(&mut work.is_partial);
            done = work.number;
            drop(work);
            // Invalidations are pending before they are added here, and stay pending until they
            // were sent. So if none is pending, the file is not needed.
            let result = if pending.is_empty() {
                file.replace(&[])
            } else if is_behind || file.is_large() {
                file.replace(&pending.all())
            } else {
                file.append(&added)
            };
            is_behind = result.is_err();
            if let Err(error) = result {
                tracing::error!(target: "multi_tier_cached::redis", error = %error, "queued invalidations could not be written to the journal's file: they would be lost with this process");
            }
            self.written.send_replace((done, !is_behind));
        }
        // Release the file, so that another process can open it, before the end is announced.
        drop(file);
    }
}

/// Announces the end of the thread when dropped, so that after a panic no task waits for it either.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        lock(&self.0.work).has_ended = true;
        self.0.changed.notify_all();
        self.0.written.send_replace((u64::MAX, false));
    }
}
