//! The number of shards that the namespace is laid out for, and whether all shards agree with it.

use std::collections::BTreeMap;

use cache_redis::inspect::{Histories, Inspection};

use super::finding::{Finding, State};
use super::instances;
use crate::failure::in_full;

const CHECK: &str = "layout";

pub(super) async fn check(inspection: &Inspection) -> Finding {
    let at = inspection.namespace();
    let looked_at = inspection.shards().len();
    let Histories {
        shards, unanswered, ..
    } = inspection.histories().await;
    // The shards with a history, by the number of shards that it was begun for.
    let mut layouts: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for (index, of) in shards {
        layouts.entry(of.into()).or_default().push(index);
    }
    if layouts.len() > 1 {
        return conflict(inspection, &layouts).await;
    }
    if let Some((of, indices)) = layouts.first_key_value()
        && *of != looked_at
    {
        let what = format!(
            "{}, and `doctor` looks at {looked_at}",
            of_layout(*of, indices)
        );
        return Finding::new(CHECK, State::Fail, at, what)
            .means("the other lines of the namespace are not about the keys that instances use")
            .mended_by(format!(
                "MULTI_TIER_CACHED_REDIS_SHARDS={of} multi-tier-cached doctor"
            ));
    }
    if let Some((index, error)) = unanswered {
        let why = format!(
            "shard {index} of all that there can be: {}",
            in_full(&error)
        );
        return Finding::not_known(CHECK, at, why).means(
            "it is not known whether instances with another number of shards use the servers",
        );
    }
    let what = format!("{}, and no history of another number", counted(looked_at));
    Finding::ok(CHECK, at, what)
}

/// The line of histories of several layouts.
async fn conflict(inspection: &Inspection, layouts: &BTreeMap<usize, Vec<u8>>) -> Finding {
    const CONSEQUENCE: &str = "an instance that finds a history of another number of shards does \
                               not use the servers (docs/more-than-one-redis.md)";
    let named = layouts.iter().map(|(of, indices)| of_layout(*of, indices));
    let named: Vec<String> = named.collect();
    let finding = Finding::new(CHECK, State::Fail, inspection.namespace(), named.join("; "));
    let Some(right) = published(inspection).await else {
        return finding.means(format!(
            "{CONSEQUENCE}; no instance publishes which number is right: delete the histories of \
             the others once no instance is set to them"
        ));
    };
    let wrong = || layouts.iter().filter(|(of, _)| **of != right);
    // A command for each key: several keys are in one slot of a cluster only by chance.
    let commands: Vec<String> = wrong()
        .flat_map(|(_, indices)| indices)
        .map(|index| format!("redis-cli -c DEL {}", inspection.history_name(*index)))
        .collect();
    let wrong: Vec<String> = wrong().map(|(of, _)| counted(*of)).collect();
    finding
        .means(format!(
            "{CONSEQUENCE}; instances publish that they are set to {}: run the command once none \
             is set to {}",
            counted(right),
            wrong.join(" or ")
        ))
        .mended_by(commands.join(" && "))
}

/// The number of shards that all published instances are set to; `None` without one, or if they
/// differ.
async fn published(inspection: &Inspection) -> Option<usize> {
    let instances = instances::running(inspection).await.ok()?;
    let mut numbers = instances.iter().map(|of| usize::from(of.settings.shards));
    let first = numbers.next().filter(|shards| *shards > 0)?;
    numbers.all(|shards| shards == first).then_some(first)
}

fn of_layout(of: usize, indices: &[u8]) -> String {
    let indices: Vec<String> = indices.iter().map(u8::to_string).collect();
    let histories = match indices.len() {
        1 => "shard",
        _ => "shards",
    };
    let layout = counted(of);
    format!("{histories} {} of a layout of {layout}", indices.join(", "))
}

fn counted(shards: usize) -> String {
    match shards {
        1 => "1 shard".to_owned(),
        shards => format!("{shards} shards"),
    }
}
