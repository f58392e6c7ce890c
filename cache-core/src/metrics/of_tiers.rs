//! Samples of tiers below memory.

use super::collect::Samples;
use super::families::{
    INVALIDATION_QUEUED, TIER_BARRIER_AGE, TIER_FEATURES_UNUSABLE, TIER_GAPS, TIER_HISTORY_CHANGES,
    TIER_INVALIDATIONS, TIER_ISOLATIONS, TIER_OPERATION_DURATION, TIER_REPLAYS, TIER_STATE,
};
use super::family::Family;
use super::sample::{SampleValue, Text};
use crate::level::Level;
use crate::tier::{Breaker, Health, TierStatus};

/// A counter of each shard, with its family.
type ShardCounter = (&'static Family, fn(&Health) -> u64);

const COUNTERS: [ShardCounter; 4] = [
    (&TIER_ISOLATIONS, |health| health.isolations),
    (&TIER_GAPS, |health| health.gaps),
    (&TIER_HISTORY_CHANGES, |health| health.history_changes),
    (&TIER_REPLAYS, |health| health.replays),
];

/// One shard of a tier.
struct Shard<'a> {
    level: Level,
    kind: Text,
    /// The index: `0` for a tier that has one shard.
    index: Text,
    breaker: Breaker,
    health: &'a Health,
}

/// Returns the shards of all tiers.
fn shards(tiers: &[TierStatus]) -> Vec<Shard<'_>> {
    let mut shards = Vec::new();
    for tier in tiers {
        let kind = text(&tier.kind);
        let shard = |index: u8, breaker, health| Shard {
            level: tier.level,
            kind: kind.clone(),
            index: text(&index.to_string()),
            breaker,
            health,
        };
        match tier.shards.is_empty() {
            true => shards.push(shard(0, tier.breaker, &tier.health)),
            false => {
                let several = tier.shards.iter();
                shards.extend(several.map(|one| shard(one.index, one.breaker, &one.health)));
            }
        }
    }
    shards
}

fn text(text: &str) -> Text {
    Text::Shared(text.into())
}

/// Adds the samples of all tiers.
pub(super) fn add(samples: &mut Samples, tiers: &[TierStatus]) {
    operation_durations(samples, tiers);
    let shards = shards(tiers);
    for shard in &shards {
        states(samples, shard);
    }
    for shard in shards.iter().filter(|shard| shard.health.has_channel) {
        if let Some(age) = shard.health.last_barrier {
            let age = SampleValue::Gauge(age.as_secs_f64());
            samples.push(&TIER_BARRIER_AGE, shard.attributes(), age);
        }
    }
    for tier in tiers.iter().filter(|tier| tier.health.has_channel) {
        let received = &tier.received;
        let scopes = [
            ("key", received.keys),
            ("function", received.functions),
            ("tag", received.tags),
            ("all", received.everything),
            ("expiry", received.expiries),
        ];
        samples.count_each(&TIER_INVALIDATIONS, &[tier.level.name().into()], scopes);
    }
    for shard in &shards {
        let queued = SampleValue::up_down(shard.health.queued);
        samples.push(&INVALIDATION_QUEUED, shard.attributes(), queued);
    }
    for (family, number) in COUNTERS {
        for shard in &shards {
            let number = SampleValue::Counter(number(shard.health));
            samples.push(family, shard.attributes(), number);
        }
    }
    for shard in &shards {
        let unusable = SampleValue::up_down(shard.health.unusable.len());
        samples.push(&TIER_FEATURES_UNUSABLE, shard.attributes(), unusable);
    }
}

fn operation_durations(samples: &mut Samples, tiers: &[TierStatus]) {
    for tier in tiers {
        let (level, kind) = (Text::from(tier.level.name()), text(&tier.kind));
        for (operation, times) in tier.operations.named() {
            for (result, histogram) in times.named() {
                // The other results are seldom, and each has as many series as there are bounds.
                if result == "ok" || histogram.count() > 0 {
                    let attributes = [level.clone(), kind.clone(), operation.into(), result.into()];
                    samples.push_histogram(&TIER_OPERATION_DURATION, attributes, histogram);
                }
            }
        }
    }
}

fn states(samples: &mut Samples, shard: &Shard<'_>) {
    let health = shard.health;
    let coherent = health.has_channel.then_some(health.coherent_for.is_some());
    let states = [
        ("connected", Some(health.connected)),
        ("coherent", coherent),
        ("breaker_open", Some(shard.breaker != Breaker::Closed)),
    ];
    for (state, holds) in states {
        let Some(holds) = holds else {
            continue;
        };
        let [level, index] = shard.attributes();
        let attributes = [level, shard.kind.clone(), index, state.into()];
        samples.push(&TIER_STATE, attributes, SampleValue::state(holds));
    }
}

impl Shard<'_> {
    /// The attributes of families of shards.
    fn attributes(&self) -> [Text; 2] {
        [self.level.name().into(), self.index.clone()]
    }
}
