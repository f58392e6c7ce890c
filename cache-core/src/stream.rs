//! Streams: logs that several read, each at its own pace, or as a group that shares the work.
//!
//! They are no part of the cache: events of an application, on the store that is there. `Redis::streams()` gives one; the trait is
//! there so that another log can stand in.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::Error;

/// A future that a log returns.
pub type StreamFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamEntry {
    /// Where it stands: later entries of its stream have a larger one, as the log compares them.
    pub id: String,
    /// What it says, in the order in which it was said; a name may be there more than once. One that another program wrote and that
    /// is no UTF-8 is shown with `\u{FFFD}` in place of what is none.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl StreamEntry {
    /// An entry.
    #[must_use]
    pub fn new(id: String, fields: Vec<(String, Vec<u8>)>) -> Self {
        Self { id, fields }
    }

    /// The first field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &value[..])
    }
}

/// From where a stream is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are these three places")]
pub enum After {
    /// All that is kept.
    Start,
    /// What comes from now on. Who reads on goes on after the last [`Entry`](Self::Entry), since what came meanwhile is before the
    /// next now.
    Now,
    /// What comes after the entry with this id.
    Entry(String),
}

/// A log of streams.
///
/// Every operation ends within the log's own time limit; one that waits for entries, within that and the time it is to wait.
/// ([`unacknowledged`](Self::unacknowledged) and [`claim`](Self::claim) may take several steps, and as long for each.) Where `most`
/// is zero nothing is asked, and nothing is there.
///
/// # Errors
/// [`Unavailable`](crate::ErrorKind::Unavailable) where the log cannot be reached, [`TimedOut`](crate::ErrorKind::TimedOut) where it
/// does not answer in time, [`Protocol`](crate::ErrorKind::Protocol) where it refuses: there is no such group;
/// [`Configuration`](crate::ErrorKind::Configuration) for a stream without a name, an entry without fields, a stream of no entries, and
/// what is no id.
///
/// What changes something ([`publish`](Self::publish), [`create_group`](Self::create_group), [`read_group`](Self::read_group),
/// [`acknowledge`](Self::acknowledge), [`claim`](Self::claim)) is not done a second time where its answer is lost: after an error it
/// is not known whether it was done. Entries that were given to a reader then are [unacknowledged](Self::unacknowledged).
///
/// # Cancel safety
/// Dropped, an operation may be done or not. What was read by a group for a reader that was dropped is
/// [unacknowledged](Self::unacknowledged), and not lost.
pub trait StreamLog: fmt::Debug + Send + Sync {
    /// Adds an entry, and drops the oldest where there are about more than `most`. The entry's id.
    fn publish<'a>(
        &'a self,
        stream: &'a str,
        fields: &'a [(&'a str, &'a [u8])],
        most: Option<usize>,
    ) -> StreamFuture<'a, String>;

    /// The next entries, the oldest first. Where there is none, waits so long for one; `Duration::MAX` is for ever.
    fn read<'a>(
        &'a self,
        stream: &'a str,
        after: &'a After,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// The latest entries, the newest first.
    fn latest<'a>(&'a self, stream: &'a str, most: usize) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// Makes a group of readers that share a stream from there on; `false` where it is there already. The stream need not exist.
    fn create_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        after: &'a After,
    ) -> StreamFuture<'a, bool>;

    /// The next entries that no reader of the group has had, for `reader`; waits as [`read`](Self::read) does.
    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// What `reader` was given and has not acknowledged, the oldest first: to be done again after a restart. What is not in the
    /// stream any more, since that was trimmed, is left out, and acknowledged.
    fn unacknowledged<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// These are done. How many of them were not before.
    fn acknowledge<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        ids: &'a [String],
    ) -> StreamFuture<'a, usize>;

    /// Gives `reader` what readers of the group (itself too) were given so long ago and have not acknowledged: they may be dead. The
    /// oldest first; what is not in the stream any more is left out, and acknowledged.
    ///
    /// Some ten thousand times `most` that are not acknowledged are looked at: where more than that are under way, claim more at once.
    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        idle: Duration,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;
}
