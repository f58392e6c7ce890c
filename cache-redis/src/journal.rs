//! Invalidations that the server may not know: those it has not acknowledged, and those of the last moments, which a server that
//! takes its place may have lost.
//!
//! Nothing is ever dropped from it. Where there are too many keys of a function they become the function, and where there are
//! too many functions they become all.

mod collapsing;
mod entries;
mod names;
mod spool;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cache_core::Error;
use cache_core::tier::RecordKey;
use tokio::sync::Notify;

pub(crate) use self::collapsing::Queued;
use self::entries::Entries;
pub(crate) use self::names::Invalidated;
use self::spool::Spool;
pub(crate) use self::writer::Writer;

#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Arc<Entries>,
    /// Where what is queued outlives this process.
    file: Weak<Writer>,
    /// Keeps that until the end.
    owned: Mutex<Option<Arc<Writer>>>,
    /// Rung when nothing is queued any more, and when nothing will be sent any more.
    flushed: Notify,
    is_closed: AtomicBool,
    /// Rung when something is.
    queued: Notify,
}

impl Journal {
    /// With a file, and what is in it queued.
    pub(crate) fn with_file(path: &Path) -> Result<Self, Error> {
        let (spool, found) = Spool::open(path)?;
        let entries = Arc::new(Entries::default());
        for what in found {
            entries.queue(what);
        }
        let writer = Writer::start(spool, Arc::clone(&entries));
        let writer = Arc::new(writer.map_err(|error| spool::cannot_use(path, error))?);
        Ok(Self {
            entries,
            file: Arc::downgrade(&writer),
            owned: Mutex::new(Some(writer)),
            ..Self::default()
        })
    }

    /// Keeps the file open, if there is one, for an invalidation that may still be queued.
    pub(crate) fn keep_file(&self) -> Option<Arc<Writer>> {
        self.file.upgrade()
    }

    /// The server does not know of it, or may not. It is in the file a little later, if there is one.
    pub(crate) fn queue(&self, what: Invalidated) {
        self.add(what);
    }

    /// The same; when this has returned it is in the file. Queued from when it is polled first.
    pub(crate) async fn queue_and_write(&self, what: Invalidated) {
        if let Some((file, number)) = self.add(what) {
            file.written(number).await;
        }
    }

    fn add(&self, what: Invalidated) -> Option<(Arc<Writer>, u64)> {
        self.entries.queue(what.clone());
        self.queued.notify_one();
        let file = self.file.upgrade()?;
        let number = file.add(what);
        Some((file, number))
    }

    /// Ends when the file is at what is queued now; `false` where there is none, or it cannot be written.
    pub(crate) async fn is_written(&self) -> bool {
        match self.file.upgrade() {
            Some(file) => file.written(file.tidy()).await,
            None => false,
        }
    }

    /// Nothing is sent any more, and the file is left to the next process, as soon as nobody [keeps](Self::keep_file) it.
    pub(crate) fn close(&self) {
        let file = self
            .owned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(file);
        self.is_closed.store(true, Ordering::SeqCst);
        self.flushed.notify_waiters();
    }

    /// The server knows of it.
    pub(crate) fn acknowledged(&self, what: Invalidated) {
        self.entries.acknowledged(what);
    }

    /// Whether a record of the key may be one that a queued invalidation was to delete.
    pub(crate) fn covers(&self, key: &RecordKey) -> bool {
        self.entries.covers(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts the recent ones back among the queued: the server may have lost them. Recent is what was acknowledged in the last
    /// span of time in which anything was: while a server is away nothing is, and that may be long. How many are queued now.
    pub(crate) fn recall(&self) -> usize {
        let queued = self.entries.recall();
        if let Some(file) = self.file.upgrade() {
            file.rewrite();
        }
        queued
    }

    /// All that is queued, to be sent; it stays queued until it is said to be [`sent`](Self::sent).
    pub(crate) fn queued(&self) -> Vec<Queued> {
        self.entries.list()
    }

    /// These were sent and acknowledged. What was queued again since they were listed is sent again: it may be of a later
    /// change.
    pub(crate) fn sent(&self, list: Vec<Queued>) {
        if self.entries.sent(list) {
            if let Some(file) = self.file.upgrade() {
                file.tidy();
            }
            self.flushed.notify_waiters();
        }
    }

    /// Ends when nothing is queued, or with `false` when what is will not be sent any more.
    pub(crate) async fn flushed(&self) -> bool {
        loop {
            let flushed = self.flushed.notified();
            if self.len() == 0 {
                return true;
            }
            if self.is_closed.load(Ordering::SeqCst) {
                return false;
            }
            flushed.await;
        }
    }

    /// Lets what is queued be sent again.
    pub(crate) fn retry(&self) {
        self.queued.notify_one();
    }

    /// Ends when something is queued.
    pub(crate) async fn has_queued(&self) {
        self.queued.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::{FunctionKey, Target};

    use super::entries::KEPT;
    use super::*;

    fn key(function: &str, arguments: &str) -> RecordKey {
        RecordKey::new(Arc::new(FunctionKey::new(function, 1)), arguments.into(), 0)
    }

    fn invalidated(function: &str, arguments: &str) -> Invalidated {
        Invalidated::of(Target::Key(&key(function, arguments)))
    }

    fn names(list: Vec<Queued>) -> Vec<Invalidated> {
        list.into_iter().map(|queued| queued.what).collect()
    }

    #[tokio::test]
    async fn what_is_queued_stays_until_it_was_sent() {
        let journal = Journal::default();
        journal.queue(invalidated("a", "1"));
        journal.queue(invalidated("a", "1"));
        journal.queue(invalidated("a", "2"));
        assert_eq!(journal.len(), 2);
        let list = journal.queued();
        journal.queue(invalidated("a", "3"));
        journal.sent(list);
        assert_eq!(names(journal.queued()), [invalidated("a", "3")]);
        assert!(journal.covers(&key("a", "3")) && !journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        assert!(journal.flushed().await);
        journal.queue(invalidated("a", "1"));
        journal.close();
        assert!(!journal.flushed().await, "nobody sends it");
    }

    /// The one that was sent may have been executed before the change that the other is of.
    #[test]
    fn what_is_queued_again_while_it_is_sent_is_sent_again() {
        let function = Invalidated::of(Target::Function(&FunctionKey::new("b", 1)));
        for what in [invalidated("a", "1"), function, Invalidated::All] {
            let journal = Journal::default();
            journal.queue(what.clone());
            let list = journal.queued();
            journal.queue(what.clone());
            journal.sent(list);
            assert_eq!(names(journal.queued()), std::slice::from_ref(&what));
            journal.sent(journal.queued());
            assert_eq!(journal.len(), 0);
        }
    }

    /// It has no place to be written anew.
    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_told() {
        let directory = std::env::temp_dir().join(format!("mtc-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let journal = Journal::with_file(&directory.join("journal")).unwrap();
        journal.queue(invalidated("a", "1"));
        assert!(journal.is_written().await);
        std::fs::remove_dir_all(&directory).unwrap();
        journal.recall();
        assert!(!journal.is_written().await);
        assert!(!Journal::default().is_written().await, "there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_is_recalled_for_a_while() {
        let journal = Journal::default();
        journal.acknowledged(invalidated("a", "1"));
        tokio::time::advance(KEPT).await;
        assert_eq!(journal.recall(), 1, "at least as long as it is to be kept");
        assert!(journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        tokio::time::advance(KEPT * 10).await;
        assert_eq!(journal.recall(), 1, "none was acknowledged since");
        journal.sent(journal.queued());
        tokio::time::advance(KEPT * 2).await;
        journal.acknowledged(invalidated("a", "2"));
        assert_eq!(journal.recall(), 1, "the older one is over");
    }
}
