//! Steps, and the states that they must not lead to.

use super::config::Target;

/// A key that the protocol relies on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKey {
    /// The number of the last message.
    Sequence,
    /// The history.
    History,
    /// The epoch of the function.
    Epoch,
}

/// One event at one place.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The truth of a key changes.
    Commit(u8),
    /// Instance 0 raises its fence.
    BeginInvalidation(Target),
    /// The script runs: deletion and message, or only the deletion if these are two steps.
    Invalidate,
    /// The second of the two steps: the message is published.
    Publish,
    /// The instance that had to publish the message ends.
    DieBeforePublishing,
    /// Instance 0 receives the reply.
    Acknowledge,
    /// An instance is called for a key.
    Call(u8, u8),
    /// A record that was read is stored in memory.
    Keep(u8),
    /// The body reads the truth.
    RunBody(u8),
    /// The fill runs.
    Fill(u8),
    /// A load is dropped.
    DropLoad(u8),
    /// A message is read.
    Deliver(u8),
    /// A message is lost, if the channel allows that.
    Lose(u8),
    /// A barrier is sent.
    Ping(u8),
    /// The server replies to the barrier.
    Pong(u8),
    /// A link breaks.
    Break(u8),
    /// A link is established and subscribes.
    Subscribe(u8),
    /// The link attaches to the history.
    Attach(u8),
    /// A lease expires.
    LeaseEnds(u8),
    /// The server evicts a control key.
    Evict(ControlKey),
    /// The server restores the control keys that an instance found missing, if it may.
    Restore(u8),
    /// The replica catches up.
    Replicate,
    /// The primary is lost, or separated from its replica.
    Failover {
        /// `true` if it continues to run with its links.
        lives: bool,
    },
    /// Time passes.
    Tick,
}

/// A violation of the protocol's promise.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Memory returned a value that was invalidated too long ago.
    StaleFromMemory,
    /// A record of the server was accepted although it was invalidated too long ago.
    StaleFromServer,
}
