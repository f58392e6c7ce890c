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
    /// The address of the server that the tier last connected to, if it tells one. `None` for a
    /// tier of several [shards](ShardStatus), which have an address each.
    pub address: Option<String>,
}

/// The state of one [shard](super::Shard) of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShardStatus {
    /// The index of the shard.
    pub index: u8,
    /// `Closed` if operations on the shard are attempted.
    pub breaker: Breaker,
    /// The state of the shard's store and of its channel.
    pub health: Health,
    /// How long the shard took to answer a ping; `None` if it did not answer, or was not asked.
    pub answered_in: Option<Duration>,
    /// Why the shard did not answer, or why it does not serve calls although it answered.
    pub last_error: Option<String>,
}

/// The state of one tier of a runtime. For a tier of several shards: of all of them together, so
/// that it is well only if each shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStatus {
    /// The level of the tier.
    pub level: Level,
    /// The kind of the tier: `redis`.
    pub kind: &'static str,
    /// `Closed` if operations on the tier are attempted. The worst of several shards.
    pub breaker: Breaker,
    /// The state of the tier's store and of its channel. Of several shards: connected and coherent
    /// if all of them are, for as long as the last of them is; the numbers are sums.
    pub health: Health,
    /// How long the tier took to answer a ping; `None` if it did not answer, or was not asked. The
    /// longest of several shards; `None` if one did not answer.
    pub answered_in: Option<Duration>,
    /// Why the tier did not answer, or why it does not serve calls although it answered. Of several
    /// shards: the reason of the first that has one, and the indices of those that do.
    pub last_error: Option<String>,
    /// The state of each shard, if there are several.
    pub shards: Vec<ShardStatus>,
}

impl TierStatus {
    /// Sums up the states of the shards of a tier, of which there is at least one.
    pub(crate) fn of_shards(level: Level, kind: &'static str, shards: Vec<ShardStatus>) -> Self {
        let all = || shards.iter();
        let worst = |one: Breaker, other: Breaker| match (one, other) {
            (Breaker::Open, _) | (_, Breaker::Open) => Breaker::Open,
            (Breaker::HalfOpen, _) | (_, Breaker::HalfOpen) => Breaker::HalfOpen,
            (Breaker::Closed, Breaker::Closed) => Breaker::Closed,
        };
        let answered: Option<Vec<_>> = all().map(|shard| shard.answered_in).collect();
        Self {
            level,
            kind,
            breaker: all()
                .map(|shard| shard.breaker)
                .fold(Breaker::Closed, worst),
            health: Health::of_shards(&shards),
            answered_in: answered.and_then(|answered| answered.into_iter().max()),
            last_error: last_error_of(&shards),
            shards: match shards.len() {
                1 => Vec::new(),
                _ => shards,
            },
        }
    }
}

impl Health {
    /// Sums up the states of the shards of a tier, of which there is at least one.
    fn of_shards(shards: &[ShardStatus]) -> Self {
        if let [only] = shards {
            return only.health.clone();
        }
        let all = || shards.iter().map(|shard| &shard.health);
        let sum = |number: fn(&Self) -> u64| all().map(number).sum();
        let coherent: Option<Vec<_>> = all().map(|health| health.coherent_for).collect();
        let barriers: Option<Vec<_>> = all().map(|health| health.last_barrier).collect();
        let mut unusable: Vec<String> = Vec::new();
        for reason in all().flat_map(|health| &health.unusable) {
            if !unusable.contains(reason) {
                unusable.push(reason.clone());
            }
        }
        Self {
            connected: all().all(|health| health.connected),
            has_channel: all().any(|health| health.has_channel),
            coherent_for: coherent.and_then(|coherent| coherent.into_iter().min()),
            last_barrier: barriers.and_then(|barriers| barriers.into_iter().max()),
            queued: all().map(|health| health.queued).sum(),
            isolations: sum(|health| health.isolations),
            gaps: sum(|health| health.gaps),
            history_changes: sum(|health| health.history_changes),
            replays: sum(|health| health.replays),
            unusable,
            address: None,
        }
    }
}

/// Returns the last error of the first shard that has one, with the indices of those that do.
fn last_error_of(shards: &[ShardStatus]) -> Option<String> {
    let failed = || shards.iter().filter(|shard| shard.last_error.is_some());
    let first = failed().next()?.last_error.as_ref()?;
    let indices: Vec<_> = failed().map(|shard| shard.index.to_string()).collect();
    Some(match (shards.len(), indices.len()) {
        (1, _) => first.clone(),
        (of, 1) => format!("shard {} of {of}: {first}", indices[0]),
        (of, _) => format!("shards {} of {of}: {first}", indices.join(", ")),
    })
}
