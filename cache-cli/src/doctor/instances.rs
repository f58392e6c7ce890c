//! Differences between the instances that publish themselves.

use std::time::Duration;

use cache_core::inspect::{PublishedFunction, PublishedInstance, keys};
use cache_redis::inspect::Inspection;
use redis::RedisError;

use super::finding::{Finding, State};
use super::functions;
use super::groups::{Groups, label, shown};
use crate::published;

/// The time after its period by which a publication may be late.
const LATE: Duration = Duration::from_secs(1);

pub(super) async fn check(inspection: &Inspection) -> Vec<Finding> {
    let name = inspection.namespace();
    let instances = match running(inspection).await {
        Ok(instances) => instances,
        Err(error) => {
            let why = format!("what instances publish cannot be read: {error}");
            return vec![Finding::not_known("settings", name, why)];
        }
    };
    if instances.is_empty() {
        let finding = Finding::not_known("settings", name, "no instance publishes itself");
        return vec![finding.means("with `Redis::observe`, versions and settings are compared")];
    }
    let mut findings = agreement(name, &instances);
    findings.extend(functions::check(name, &instances));
    let functions = published::functions(inspection).await;
    findings.extend(
        functions
            .iter()
            .filter(|function| instances.iter().any(|instance| has(instance, function)))
            .filter_map(|function| problem(name, function)),
    );
    findings
}

/// Returns the instances that have published within their periods. The state of one that was killed
/// stays for some seconds, and its differences end with it.
///
/// # Errors
/// The server does not answer, or refuses a command.
pub(super) async fn running(inspection: &Inspection) -> Result<Vec<PublishedInstance>, RedisError> {
    let mut instances = published::instances(inspection).await?;
    let Some(shard) = inspection.shards().first() else {
        return Ok(instances);
    };
    if let Ok(now) = inspection.node_of(shard).clock().await {
        instances.retain(|instance| is_running(instance, now));
    }
    Ok(instances)
}

/// `now`: the server's clock, in milliseconds.
fn is_running(instance: &PublishedInstance, now: u64) -> bool {
    // Other versions may publish no period.
    if instance.period.is_zero() {
        return true;
    }
    let age = Duration::from_millis(now.saturating_sub(instance.published));
    age <= instance.period.saturating_add(LATE)
}

/// Groups instances by what each says.
fn groups(instances: &[PublishedInstance], says: impl Fn(&PublishedInstance) -> String) -> Groups {
    let mut groups = Groups::new();
    for instance in instances {
        let label = label(instance, instances);
        groups.entry(says(instance)).or_default().push(label);
    }
    groups
}

fn agreement(at: &str, instances: &[PublishedInstance]) -> Vec<Finding> {
    let settings = |instance: &PublishedInstance| {
        let of = &instance.settings;
        format!(
            "staleness_bound {:?}, lease_time {:?}, max_record_bytes {}",
            of.staleness_bound, of.lease_time, of.max_record_bytes
        )
    };
    let versions = groups(instances, |instance| instance.version.clone());
    let settings = groups(instances, settings);
    let line = |check, groups: &Groups, meaning: &str| {
        if let [only] = groups.keys().collect::<Vec<_>>()[..] {
            let what = format!("{} instances agree: {only}", instances.len());
            return Finding::ok(check, at, what);
        }
        Finding::new(check, State::Warn, at, shown(groups).join("; ")).means(meaning)
    };
    vec![
        line(
            "versions",
            &versions,
            "instances of different versions work together during a deploy, and should not stay \
             so: deploy the newer version everywhere",
        ),
        line(
            "settings",
            &settings,
            "the smaller record size and the larger bound apply in some instances only: set the \
             same in all instances (docs/operations.md)",
        ),
    ]
}

/// Returns `true` if an instance says that its program has a function. The description of a
/// function outlives the last program that has it.
fn has(instance: &PublishedInstance, function: &PublishedFunction) -> bool {
    let settings = instance.function_settings.iter().flatten();
    let mut fields = settings.flat_map(|settings| &settings.functions);
    let is_described = fields
        .any(|field| keys::split_function(field) == Some((&*function.name, function.version)));
    let mut called = instance.snapshot.functions.iter();
    is_described || called.any(|of| of.name == function.name && of.version == function.version)
}

/// The line of a function that does not use the tiers that its code names.
fn problem(at: &str, function: &PublishedFunction) -> Option<Finding> {
    let problem = function.problem.as_ref()?;
    let what = format!("{}:{}: {problem}", function.name, function.version);
    let finding = Finding::new("functions", State::Warn, at, what);
    Some(finding.means(format!("declared at {}:{}", function.file, function.line)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(name: &str, version: &str, max_record_bytes: usize) -> PublishedInstance {
        let settings = json!({"max_record_bytes": max_record_bytes});
        let snapshot = json!({
            "loads_under_way": 0, "background_loads": {"running": 0, "queued": 0},
            "entries_in_memory": 0, "tiers": [], "functions": [],
        });
        let of = json!({
            "id": name, "name": name, "number": 1, "version": version,
            "settings": settings, "snapshot": snapshot,
        });
        serde_json::from_value(of).unwrap()
    }

    #[test]
    fn instances_that_differ_in_version_or_settings_are_named() {
        let states = |instances: &[PublishedInstance]| {
            let findings = agreement("shop", instances);
            (findings[0].state, findings[1].state)
        };
        let one = instance("shop-1", "0.1.0", 7);
        let same = instance("shop-2", "0.1.0", 7);
        assert_eq!(states(&[one.clone(), same]), (State::Ok, State::Ok));
        let newer = instance("shop-2", "0.2.0", 7);
        assert_eq!(states(&[one.clone(), newer]), (State::Warn, State::Ok));
        let larger = instance("shop-2", "0.1.0", 8);
        assert_eq!(states(&[one, larger]), (State::Ok, State::Warn));
    }
}
