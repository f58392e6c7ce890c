//! The state of a tier, for operators.

use std::time::Duration;

use serde::Serialize;

use crate::level::Level;

/// The state of a circuit breaker: `Closed` if operations on the tier are attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Breaker {
    /// Operations are attempted.
    Closed,
    /// Operations fail at once, because the tier is out of order.
    Open,
    /// Operations fail at once while a probe of the store is in progress.
    HalfOpen,
}

/// The state of a tier's store and of its channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// `true` if the store can be reached.
    pub connected: bool,
    /// `true` if the tier has a channel that carries the invalidations of other instances. `true`
    /// for every shared tier.
    pub has_channel: bool,
    /// How long the channel has been coherent without a break; `None` while it is not.
    pub coherent_for: Option<Duration>,
    /// The time since the last answered barrier was sent.
    pub last_barrier: Option<Duration>,
    /// The number of invalidations that wait to be sent to the store.
    pub queued: usize,
    /// The number of times the channel was lost or could not be trusted.
    pub isolations: u64,
    /// The number of messages that were missing on the channel.
    pub gaps: u64,
    /// The number of times the store was found to be another one, or to have lost data.
    pub history_changes: u64,
    /// The number of invalidations that were sent again.
    pub replays: u64,
    /// Features that cannot be used although the tier works, each with the reason: a permission
    /// that is missing at the store. An application need not use these features, so they do not
    /// make the tier unwell.
    pub unusable: Vec<String>,
}

/// The state of one tier of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStatus {
    /// The level of the tier.
    pub level: Level,
    /// The kind of the tier: `redis`.
    pub kind: &'static str,
    /// `Closed` if operations on the tier are attempted.
    pub breaker: Breaker,
    /// The state of the tier's store and of its channel.
    pub health: Health,
    /// How long the tier took to answer a ping; `None` if it did not answer, or was not asked.
    pub answered_in: Option<Duration>,
    /// Why the tier did not answer, or why it does not serve calls although it answered.
    pub last_error: Option<String>,
}
