//! The thread that keeps the journal's file. Calls and tasks do not wait for a disk; who promises that what is queued outlives its
//! process waits for this thread, and all who wait at a time wait for one sync.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::watch;

use super::entries::Entries;
use super::names::Invalidated;
use super::spool::Spool;

/// Most that wait to be written one by one; more than that, and the file is written anew with all that is queued.
const MOST: usize = 1 << 12;

/// How long after a write that failed it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the end of a writer may keep its thread: a disk that does not answer must not keep a process from ending.
const LONGEST_END: Duration = Duration::from_secs(1);

/// Owns the thread, and ends it with what was asked for written.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// The number of what was to be written last, and whether all is that was asked for by then.
    written: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Work {
    added: Vec<Invalidated>,
    /// What was added is not all in `added`.
    is_partial: bool,
    /// Of what was asked for last.
    number: u64,
    is_closed: bool,
    has_ended: bool,
}

impl Writer {
    /// Keeps the file at what is queued.
    pub(super) fn start(spool: Spool, entries: Arc<Entries>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            work: Mutex::default(),
            changed: Condvar::new(),
            written: watch::Sender::new((0, true)),
        });
        let own = Arc::clone(&shared);
        thread::Builder::new()
            .name("cache-journal".into())
            .spawn(move || own.keep(spool, &entries))?;
        Ok(Self { shared })
    }

    /// Has one written that is queued already; the number tells when it [is](Self::written).
    pub(super) fn add(&self, what: Invalidated) -> u64 {
        let mut work = self.shared.lock();
        if work.added.len() < MOST {
            work.added.push(what);
        } else {
            work.is_partial = true;
        }
        self.ask(work)
    }

    /// Has the file written anew, with all that is queued.
    pub(super) fn rewrite(&self) {
        let mut work = self.shared.lock();
        work.is_partial = true;
        self.ask(work);
    }

    /// Has the file emptied where nothing is queued.
    pub(super) fn tidy(&self) -> u64 {
        self.ask(self.shared.lock())
    }

    fn ask(&self, mut work: MutexGuard<'_, Work>) -> u64 {
        work.number += 1;
        self.shared.changed.notify_all();
        work.number
    }

    /// Ends when what has this number is on disk; `false` when it cannot be written for now, which was reported.
    pub(super) async fn written(&self, number: u64) -> bool {
        let mut written = self.shared.written.subscribe();
        let written = written.wait_for(|(written, _)| *written >= number).await;
        written.is_ok_and(|written| written.1)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
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
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn keep(&self, mut spool: Spool, entries: &Entries) {
        let _end = End(self);
        let mut done = 0;
        let mut is_behind = false;
        loop {
            let work = self.lock();
            // What could not be written is tried again.
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
            // What was added is queued before; what is not queued any more was sent.
            let result = if entries.len() == 0 {
                spool.replace(std::iter::empty())
            } else if is_behind || spool.is_large() {
                spool.replace(entries.list().into_iter().map(|queued| queued.what))
            } else {
                spool.append(&added)
            };
            is_behind = result.is_err();
            if let Err(error) = result {
                tracing::error!(error = %error, "invalidations that wait are not in the journal's file: they do not outlive this process");
            }
            self.written.send_replace((done, !is_behind));
        }
        // Another may open the file from now on.
        drop(spool);
    }
}

/// The end of the thread, be it by a panic: nobody waits for it any more.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
        self.0.written.send_replace((u64::MAX, false));
    }
}
