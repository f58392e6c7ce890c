//! The state of a tier, for operators.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operation_times::OperationTimes;
use super::received::ReceivedInvalidations;
use crate::level::Level;

/// The state of a circuit breaker: `Closed` if operations on the tier are attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// The address of the server that the tier last tried to connect to: that of the connection, or
    /// of the server that cannot be reached. `None` before the first attempt, for a tier that has
    /// no server or does not tell, and for a tier of several [shards](ShardStatus), which have an
    /// address each.
    pub address: Option<String>,
}

/// The state of one [shard](super::Shard) of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShardStatus {
    /// The index of the shard.
    pub index: u8,
    /// `Closed` if operations on the shard are attempted.
    pub breaker: Breaker,
    /// The state of the shard's store and of its channel.
    #[serde(default)]
    pub health: Health,
    /// How long the shard took to answer a ping; `None` if it did not answer, or was not asked.
    pub answered_in: Option<Duration>,
    /// Why the shard did not answer, or why it does not serve calls although it answered.
    pub last_error: Option<String>,
}

/// The state of one tier of a runtime. For a tier of several shards: of all of them together, so
/// that it is well only if each shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TierStatus {
    /// The level of the tier.
    pub level: Level,
    /// The kind of the tier: `redis`.
    pub kind: Cow<'static, str>,
    /// `Closed` if operations on the tier are attempted. The worst of several shards.
    pub breaker: Breaker,
    /// The state of the tier's store and of its channel. Of several shards: connected and coherent
    /// if all of them are, for as long as the last of them is; the numbers are sums.
    #[serde(default)]
    pub health: Health,
    /// How long the tier took to answer a ping; `None` if it did not answer, or was not asked. The
    /// longest of several shards; `None` if one did not answer.
    pub answered_in: Option<Duration>,
    /// Why the tier did not answer, or why it does not serve calls although it answered. Of several
    /// shards: each reason once, after the indices of the shards that have it.
    pub last_error: Option<String>,
    /// The state of each shard, if there are several.
    #[serde(default)]
    pub shards: Vec<ShardStatus>,
    /// How long the operations on the tier took since the runtime was built, on all its shards.
    #[serde(default)]
    pub operations: OperationTimes,
    /// The invalidations and expiries that arrived over the channels of all its shards.
    #[serde(default)]
    pub received: ReceivedInvalidations,
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
            kind: Cow::Borrowed(kind),
            breaker: all()
                .map(|shard| shard.breaker)
                .fold(Breaker::Closed, worst),
            health: Health::of_shards(&shards),
            answered_in: answered.and_then(|answered| answered.into_iter().max()),
            last_error: match reasons_of(&shards) {
                reasons if reasons.is_empty() => None,
                reasons => Some(reasons.join("; ")),
            },
            shards: match shards.len() {
                1 => Vec::new(),
                _ => shards,
            },
            operations: OperationTimes::default(),
            received: ReceivedInvalidations::default(),
        }
    }
}

impl TierStatus {
    /// Returns the parts of [`last_error`](Self::last_error): one for each reason.
    pub(crate) fn reasons(&self) -> Vec<String> {
        match self.shards.is_empty() {
            true => self.last_error.iter().cloned().collect(),
            false => reasons_of(&self.shards),
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

/// Returns each reason for which shards do not serve calls once, after the indices of those shards.
fn reasons_of(shards: &[ShardStatus]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for shard in shards {
        let Some(reason) = shard.last_error.as_deref() else {
            continue;
        };
        let index = shard.index.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, indices)) => indices.push(index),
            None => reasons.push((reason, vec![index])),
        }
    }
    let count = shards.len();
    let lines = reasons
        .into_iter()
        .map(|(reason, indices)| match indices.len() {
            _ if count == 1 => reason.to_owned(),
            1 => format!("shard {} of {count}: {reason}", indices[0]),
            _ => format!("shards {} of {count}: {reason}", indices.join(", ")),
        });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeHealth;

    fn shard(index: u8, address: &str, last_error: Option<&str>) -> ShardStatus {
        ShardStatus {
            index,
            breaker: match last_error {
                None => Breaker::Closed,
                Some(_) => Breaker::Open,
            },
            health: Health {
                has_channel: true,
                address: Some(address.to_owned()),
                unusable: vec!["Redis cannot be used for audit: no permission".to_owned()],
                ..Health::default()
            },
            answered_in: None,
            last_error: last_error.map(str::to_owned),
        }
    }

    #[test]
    fn table_names_the_address_of_each_shard_and_each_reason_once() {
        let shards = (0..16).map(|index| match index {
            3 | 11 => shard(index, "b:6379", Some("b refused")),
            7 => shard(index, "c:6379", Some("c refused")),
            _ => shard(index, "a:6379", None),
        });
        let tier = TierStatus::of_shards(Level::L2, "redis", shards.collect());
        assert_eq!(
            tier.last_error.as_deref(),
            Some("shards 3, 11 of 16: b refused; shard 7 of 16: c refused")
        );
        let table = RuntimeHealth { tiers: vec![tier] }.to_string();
        let lines: Vec<_> = table.lines().collect();
        let (rows, reasons) = lines.split_at(18);
        let column = rows[0].find("address").unwrap();
        assert!(rows[1][column..].starts_with('-'), "{table}");
        for (index, row) in rows[2..].iter().enumerate() {
            assert!(row.starts_with(&format!("{:>5}  ", format!("l2.{index}"))));
            let address = match index {
                3 | 11 => "b:6379",
                7 => "c:6379",
                _ => "a:6379",
            };
            assert_eq!(&row[column..], address, "{table}");
        }
        assert_eq!(
            reasons,
            [
                "l2: shards 3, 11 of 16: b refused",
                "l2: shard 7 of 16: c refused",
                "l2: Redis cannot be used for audit: no permission",
            ]
        );
    }
}
