//! Steps, and the states that they must not lead to.

use super::config::Target;
pub use super::load::Slot;

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

/// How a lease is asked for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a caller without a value.
    Exclusive,
    /// By a caller that has a value. It is refused while the key is backed off.
    Refresh,
    /// By a caller that does not wait.
    Shared,
    /// By a caller whose value replaces all others.
    Preempt,
}

/// One copy of a value.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOf {
    /// The record of a key.
    Record(u8),
    /// The entry in the memory of an instance, of a key.
    Entry(u8, u8),
}

/// A step of a load.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep {
    /// A load in the background reads the record, or takes the lease.
    AskServer,
    /// A record that was read is stored in memory.
    Keep,
    /// The body reads the truth.
    RunBody,
    /// The fill runs.
    Fill,
    /// The body fails. The callers get the stale value, and the key is backed off.
    Fail,
    /// The caller gets the stale value or an error, and the load continues in the background.
    HandOver,
    /// The load is dropped.
    Drop,
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
    /// An instance is called for a key, without regard to a value: after a failed load, or to
    /// replace the value.
    CallAs(u8, u8, Mode),
    /// A call joins the load of another caller.
    Join(u8),
    /// The waiter returns the stale value.
    AnswerWaiter(u8),
    /// A load takes a step.
    Load(u8, Slot, LoadStep),
    /// The time of one copy passes: a fresh value becomes stale, and a stale one too old.
    Age(CopyOf),
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
    /// A lease expires, or a back-off ends.
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
    /// A value was returned in place of a failed load although it was invalidated too long ago.
    StaleOnError,
    /// A waiter got a value that was invalidated too long before its call began.
    StaleFromLoad,
    /// A value was stored on the server after its invalidation was acknowledged.
    StoredAfterInvalidation,
    /// A value was stored while the key was backed off.
    StoredUnderBackOff,
    /// Two loads at a time replaced the value of a key.
    TwoRefreshes,
}
