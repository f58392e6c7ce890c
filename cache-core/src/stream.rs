//! Streams: logs of entries, for readers at their own pace or for groups that share the work.
//!
//! They are not a part of the cache. An application can use them for its events, on the store that
//! the cache uses anyway. `Redis::streams()` returns such a log, and the trait allows other ones.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::Error;

/// Future of an operation of a [`StreamLog`].
pub type StreamFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamEntry {
    /// Position of the entry. Later entries of the stream have a larger id, in the order of the
    /// log.
    pub id: String,
    /// Names and values, in the order in which they were published. A name may occur more than
    /// once.
    ///
    /// If another program wrote a name that is not valid UTF-8, `\u{FFFD}` replaces the invalid
    /// parts.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl StreamEntry {
    /// Creates an entry.
    #[must_use]
    pub fn new(id: String, fields: Vec<(String, Vec<u8>)>) -> Self {
        Self { id, fields }
    }

    /// Returns the value of the first field with this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &value[..])
    }
}

/// Position after which a stream is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a stream has no other positions")]
pub enum After {
    /// Reads all entries that the stream has.
    Start,
    /// Reads entries that are published from now on.
    ///
    /// To continue, read after the last [`Entry`](Self::Entry). A second `Now` would skip the
    /// entries that were published between the two reads.
    Now,
    /// Reads entries after the one with this id.
    Entry(String),
}

/// A log of streams.
///
/// Every operation ends within the time limit of the log. An operation that waits for entries ends
/// within the limit plus the time of the wait. [`unacknowledged`](Self::unacknowledged) and
/// [`claim`](Self::claim) may take several steps, and the limit applies to each. If `most` is zero,
/// an operation sends no request and returns nothing.
///
/// # Errors
/// - [`Unavailable`](crate::ErrorKind::Unavailable): the log cannot be reached.
/// - [`TimedOut`](crate::ErrorKind::TimedOut): the log did not reply in time.
/// - [`Protocol`](crate::ErrorKind::Protocol): the log refused the operation, for example because
///   the group does not exist.
/// - [`Configuration`](crate::ErrorKind::Configuration): a stream has no name, an entry has no
///   fields, a stream is limited to zero entries, or an id is invalid.
///
/// An operation that changes something ([`publish`](Self::publish),
/// [`create_group`](Self::create_group), [`read_group`](Self::read_group),
/// [`acknowledge`](Self::acknowledge), [`claim`](Self::claim)) is not retried if its reply is lost.
/// After an error it may have taken effect or not. Entries that were assigned to a reader by such
/// an operation are [unacknowledged](Self::unacknowledged).
///
/// # Cancel safety
/// Not cancel safe: an operation that is dropped may have taken effect or not. Entries that it read
/// for a reader of a group are [unacknowledged](Self::unacknowledged), and not lost.
pub trait StreamLog: fmt::Debug + Send + Sync {
    /// Adds an entry, and returns its id.
    ///
    /// If the stream has more than about `most` entries, the oldest are removed.
    fn publish<'a>(
        &'a self,
        stream: &'a str,
        fields: &'a [(&'a str, &'a [u8])],
        most: Option<usize>,
    ) -> StreamFuture<'a, String>;

    /// Returns the next entries, the oldest first.
    ///
    /// If there is none, waits up to `wait` for one. `Duration::MAX` waits without a limit.
    fn read<'a>(
        &'a self,
        stream: &'a str,
        after: &'a After,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// Returns the latest entries, the newest first.
    fn latest<'a>(&'a self, stream: &'a str, most: usize) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// Creates a group of readers that share the entries after `after`.
    ///
    /// Returns `false` if the group exists already. The stream does not have to exist.
    fn create_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        after: &'a After,
    ) -> StreamFuture<'a, bool>;

    /// Assigns the next entries that no reader of the group was assigned to `reader`, and returns
    /// them. Waits like [`read`](Self::read).
    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// Returns the entries that were assigned to `reader` and that it has not acknowledged, the
    /// oldest first.
    ///
    /// A reader processes them again after a restart. Entries that were removed from the stream are
    /// left out, and acknowledged.
    fn unacknowledged<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;

    /// Acknowledges entries that were processed. Returns how many were not acknowledged before.
    fn acknowledge<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        ids: &'a [String],
    ) -> StreamFuture<'a, usize>;

    /// Assigns entries to `reader` that readers of the group (itself included) were assigned at
    /// least `idle` ago and have not acknowledged, because these readers may have ended.
    ///
    /// Returns the entries, the oldest first. Entries that were removed from the stream are left
    /// out, and acknowledged.
    ///
    /// The search is limited to about ten thousand times `most` unacknowledged entries. If there
    /// are more, use a larger `most`.
    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        idle: Duration,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>>;
}
