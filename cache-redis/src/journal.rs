//! Invalidations that the server may not know: those that it has not acknowledged, and those of the
//! last 30 seconds, which a server that takes its place may have lost.
//!
//! The pending ones are a [`PendingInvalidations`](cache_core::tier::kit::PendingInvalidations) of
//! the kit, and tags. The journal adds the recent ones, and a file in which the pending ones
//! outlive the process.

mod encoding;
mod file;
mod invalidated;
mod layout;
mod pending;
mod recent;
mod tags;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use cache_core::Error;
use cache_core::tier::kit::{Batch, lock};
use cache_core::tier::{RecordKey, Shard, Target};
use tokio::sync::Notify;

use self::file::JournalFile;
pub(crate) use self::invalidated::Invalidated;
pub(crate) use self::layout::check_other_layouts;
use self::pending::Pending;
use self::recent::Recent;
pub(crate) use self::writer::Writer;

/// The invalidations that the server may not know.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pending: Arc<Pending>,
    recent: Recent,
    /// Writes the file, if there is one. Operations whose invalidations may still be queued keep
    /// the writer alive after the journal was closed.
    file: Weak<Writer>,
    /// Keeps the writer alive until the journal is closed.
    own_file: Mutex<Option<Arc<Writer>>>,
    /// Notified when something is queued, or is to be sent again.
    queued: Notify,
}

impl Journal {
    /// Opens a journal with the file of a shard, and queues the invalidations in the file.
    pub(crate) fn with_file(path: &Path, shard: Shard) -> Result<Self, Error> {
        let path = &layout::file_of(path, shard);
        let (file, found) = JournalFile::open(path)?;
        let pending = Arc::new(Pending::default());
        found.iter().for_each(|found| pending.queue(found));
        let writer = Writer::start(file, Arc::clone(&pending));
        let writer = Arc::new(writer.map_err(|error| file::cannot_use(path, error))?);
        Ok(Self {
            pending,
            file: Arc::downgrade(&writer),
            own_file: Mutex::new(Some(writer)),
            ..Self::default()
        })
    }

    /// Keeps the file open, if there is one, for an invalidation that may still be queued.
    pub(crate) fn keep_file(&self) -> Option<Arc<Writer>> {
        self.file.upgrade()
    }

    /// Queues an invalidation that the server does not know, or may not know. It is written to the
    /// file in the background.
    pub(crate) fn queue(&self, invalidated: Invalidated) {
        self.add(invalidated);
    }

    /// Queues an invalidation when it is first polled, and waits until the file has it.
    pub(crate) async fn queue_and_write(&self, invalidated: Invalidated) {
        if let Some((file, number)) = self.add(invalidated) {
            file.written(number).await;
        }
    }

    fn add(&self, invalidated: Invalidated) -> Option<(Arc<Writer>, u64)> {
        self.pending.queue(&invalidated);
        self.queued.notify_one();
        let file = self.file.upgrade()?;
        let number = file.add(invalidated);
        Some((file, number))
    }

    /// Waits until the file has everything that is queued now. Returns `false` if there is no file,
    /// or it cannot be written.
    pub(crate) async fn is_written(&self) -> bool {
        match self.file.upgrade() {
            Some(file) => file.written(file.tidy()).await,
            None => false,
        }
    }

    /// Notes that nothing will be sent any more. The file is released for the next process as soon
    /// as no operation [keeps](Self::keep_file) it.
    pub(crate) fn close(&self) {
        let file = lock(&self.own_file).take();
        drop(file);
        self.pending.close();
    }

    /// Notes an invalidation that was acknowledged without being queued.
    pub(crate) fn acknowledged(&self, invalidated: &Invalidated) {
        match invalidated {
            Invalidated::Target(target) => self.recent.add([target.borrow()]),
            Invalidated::Tags(tags) => self.recent.add_tags(tags),
            Invalidated::AllTags => self.recent.add_all_tags(),
        }
    }

    /// Returns `true` if a queued invalidation is to delete the record of this key.
    pub(crate) fn covers(&self, key: &RecordKey) -> bool {
        self.pending.targets.covers(key)
    }

    /// Returns `true` if an invalidation of one of the tags is queued.
    pub(crate) fn covers_tags(&self, tags: &[u64]) -> bool {
        self.pending.tags.covers(tags)
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Queues the recent invalidations again, because the server may have lost them. Returns the
    /// number of all that are queued.
    pub(crate) fn recall(&self) -> usize {
        let recent = self.recent.all();
        recent.iter().for_each(|recent| self.pending.queue(recent));
        if let Some(file) = self.file.upgrade() {
            file.rewrite();
        }
        self.len()
    }

    /// Returns all targets that are queued, to be sent. They stay queued until they are
    /// [sent](Self::sent).
    pub(crate) fn queued(&self) -> Batch {
        self.pending.targets.batch()
    }

    /// Returns the tags that are queued, to be sent, and a number. They stay queued until they are
    /// [sent](Self::tags_sent) under that number. They are not queued as
    /// [targets](Invalidated::Target).
    pub(crate) fn queued_tags(&self) -> Option<(Invalidated, u64)> {
        self.pending.tags.batch()
    }

    /// Notes that some targets of a batch, whose number is `number`, were sent and acknowledged. A
    /// target that was queued again since the batch was made is sent again, because it may be of a
    /// later change.
    pub(crate) fn sent(&self, targets: &[Target<'_>], number: u64) {
        // Recent before it is no longer pending, so that `recall` finds it in one of the two.
        self.recent.add(targets.iter().copied());
        for target in targets {
            self.pending.targets.done(*target, number);
        }
        self.tidy();
    }

    /// Notes that some tags that were queued up to a number were sent and acknowledged.
    pub(crate) fn tags_sent(&self, tags: &[u64], number: u64) {
        self.recent.add_tags(tags);
        self.pending.tags.done(tags, number);
        self.tidy();
    }

    /// Notes that the invalidation of all tags, queued up to a number, was sent and acknowledged.
    pub(crate) fn all_tags_sent(&self, number: u64) {
        self.recent.add_all_tags();
        self.pending.tags.all_done(number);
        self.tidy();
    }

    /// Has the file emptied if nothing is queued.
    fn tidy(&self) {
        if self.pending.is_empty()
            && let Some(file) = self.file.upgrade()
        {
            file.tidy();
        }
    }

    /// Waits until nothing is queued.
    ///
    /// # Errors
    /// The journal is closed before that.
    pub(crate) async fn flushed(&self) -> Result<(), Error> {
        self.pending.wait_empty().await
    }

    /// Has the queued invalidations sent again.
    pub(crate) fn retry(&self) {
        self.queued.notify_one();
    }

    /// Waits until something is queued, or is to be sent again. One task may wait.
    pub(crate) async fn has_queued(&self) {
        self.queued.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::FunctionKey;
    use cache_core::tier::kit::OwnedTarget;

    use super::recent::KEPT;
    use super::*;

    fn key(function: &str, arguments: &str) -> RecordKey {
        RecordKey::new(Arc::new(FunctionKey::new(function, 1)), arguments.into(), 0)
    }

    fn target(function: &str, arguments: &str) -> Invalidated {
        Invalidated::of(Target::Key(&key(function, arguments)))
    }

    fn queued(journal: &Journal) -> Vec<Invalidated> {
        let batch = journal.queued();
        batch.targets().map(Invalidated::of).collect()
    }

    fn send(journal: &Journal, batch: &Batch) {
        let targets: Vec<_> = batch.targets().collect();
        journal.sent(&targets, batch.number());
    }

    fn send_all(journal: &Journal) {
        send(journal, &journal.queued());
    }

    #[tokio::test]
    async fn queued_invalidation_stays_until_it_was_sent() {
        let journal = Journal::default();
        journal.queue(target("a", "1"));
        journal.queue(target("a", "1"));
        journal.queue(target("a", "2"));
        assert_eq!(journal.len(), 2);
        let batch = journal.queued();
        journal.queue(target("a", "3"));
        send(&journal, &batch);
        assert_eq!(queued(&journal), [target("a", "3")]);
        assert!(journal.covers(&key("a", "3")) && !journal.covers(&key("a", "1")));
        send_all(&journal);
        journal.flushed().await.expect("nothing is queued");
        journal.queue(target("a", "1"));
        journal.close();
        journal
            .flushed()
            .await
            .expect_err("nothing is sent any more");
    }

    /// The server may have run the first one before the change that the second one is of.
    #[test]
    fn invalidation_queued_again_while_it_is_sent_is_sent_again() {
        let function = OwnedTarget::Function(FunctionKey::new("b", 1));
        let wide = [function, OwnedTarget::All].map(Invalidated::Target);
        for target in [&[target("a", "1")], &wide[..]].concat() {
            let journal = Journal::default();
            journal.queue(target.clone());
            let batch = journal.queued();
            journal.queue(target.clone());
            send(&journal, &batch);
            assert_eq!(queued(&journal), [target]);
            send_all(&journal);
            assert_eq!(journal.len(), 0);
        }
    }

    /// Otherwise the journal would grow in an outage in which everything was invalidated.
    #[test]
    fn invalidation_queued_after_a_wider_one_is_sent_with_it() {
        let function = OwnedTarget::Function(FunctionKey::new("a", 1));
        for wider in [function, OwnedTarget::All].map(Invalidated::Target) {
            let journal = Journal::default();
            journal.queue(wider.clone());
            let batch = journal.queued();
            journal.queue(target("a", "1"));
            assert_eq!(journal.len(), 1);
            send(&journal, &batch);
            assert_eq!(queued(&journal), [wider], "sent again");
        }
    }

    /// The directory of the file is deleted, so that the file cannot be replaced.
    #[tokio::test]
    async fn file_that_cannot_be_written_is_reported() {
        let directory = std::env::temp_dir().join(format!("mtc-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let journal = Journal::with_file(&directory.join("journal"), Shard::ONLY).unwrap();
        journal.queue(target("a", "1"));
        assert!(journal.is_written().await);
        std::fs::remove_dir_all(&directory).unwrap();
        journal.recall();
        assert!(!journal.is_written().await);
        assert!(!Journal::default().is_written().await, "there is no file");
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledged_invalidation_is_recalled_for_thirty_seconds_of_traffic() {
        let journal = Journal::default();
        journal.acknowledged(&target("a", "1"));
        tokio::time::advance(KEPT).await;
        assert_eq!(journal.recall(), 1, "it is kept for at least this time");
        assert!(journal.covers(&key("a", "1")));
        send_all(&journal);
        tokio::time::advance(KEPT * 10).await;
        assert_eq!(journal.recall(), 1, "none was acknowledged since");
        send_all(&journal);
        tokio::time::advance(KEPT * 2).await;
        journal.acknowledged(&target("a", "2"));
        assert_eq!(journal.recall(), 1, "the older one was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn tags_are_queued_until_they_were_sent_and_recalled_afterwards() {
        let journal = Journal::default();
        journal.queue(target("a", "1"));
        journal.queue(Invalidated::Tags(vec![1, 2]));
        assert_eq!(journal.len(), 3);
        let (_, number) = journal.queued_tags().unwrap();
        journal.tags_sent(&[1], number);
        assert!(journal.covers_tags(&[3, 2]) && !journal.covers_tags(&[1]));
        send_all(&journal);
        let flushed = journal.flushed();
        tokio::pin!(flushed);
        assert!(is_pending(&mut flushed).await, "a tag is queued");
        journal.tags_sent(&[2], number);
        flushed.await.expect("nothing is queued");
        tokio::time::advance(KEPT).await;
        assert_eq!(journal.recall(), 3);
        assert!(journal.covers_tags(&[1]) && journal.covers_tags(&[2]));
        journal.queue(Invalidated::AllTags);
        let (tags, number) = journal.queued_tags().unwrap();
        assert_eq!(tags, Invalidated::AllTags);
        assert!(journal.covers_tags(&[9]));
        journal.all_tags_sent(number);
        assert!(journal.queued_tags().is_none());
        journal.queue(Invalidated::Tags(vec![1]));
        send_all(&journal);
        journal.close();
        journal.flushed().await.expect_err("a tag is queued");
    }

    /// Polls a future once.
    async fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        std::future::poll_fn(|cx| {
            let is_pending = std::pin::Pin::new(&mut *future).poll(cx).is_pending();
            std::task::Poll::Ready(is_pending)
        })
        .await
    }
}
