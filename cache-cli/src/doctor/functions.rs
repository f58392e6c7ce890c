//! Differences in the settings of functions between the instances that publish themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cache_core::inspect::{PublishedInstance, PublishedSettings, keys};

use super::finding::{Finding, State};
use super::groups::{Groups, label, shown};

const CHECK: &str = "functions";

/// The largest number of functions that have a line of their own.
const MOST_LINES: usize = 10;

/// A function in one instance.
struct Settings<'a> {
    instance: String,
    settings: &'a PublishedSettings,
}

/// The instances that have a function, by the version that they have.
type Versions<'a> = BTreeMap<u32, Vec<Settings<'a>>>;

/// Settings that may differ, and the consequence if they do, the gravest first.
const CONSEQUENCES: [(&str, &str); 5] = [
    (
        "version",
        "instances with different versions share no records of the function, and an invalidation \
         leaves the records of other versions",
    ),
    (
        "codec",
        "an instance cannot read what another codec wrote: it loads the value, and replaces the \
         record",
    ),
    (
        "tiers",
        "instances that do not use a tier load what others have stored there",
    ),
    (
        "ttl",
        "the life of a value depends on the instance that loaded it",
    ),
    ("", "calls depend on the instance that answers them"),
];

pub(super) fn check(at: &str, instances: &[PublishedInstance]) -> Vec<Finding> {
    let functions = by_name(instances);
    let differences: Vec<Finding> = functions
        .iter()
        .flat_map(|(name, versions)| differences(at, name, versions))
        .collect();
    let known = instances.iter().filter(|of| of.function_settings.is_some());
    let known = known.count();
    let mut findings = match differences.len() {
        0 if known == 0 => Vec::new(),
        0 => {
            let what = format!("{known} instances agree on {} functions", functions.len());
            vec![Finding::ok(CHECK, at, what)]
        }
        _ => limited(at, differences),
    };
    findings.extend(
        instances
            .iter()
            .filter_map(|of| not_known(at, of, instances)),
    );
    findings
}

/// Sorts what instances publish by the names and versions of functions.
fn by_name(instances: &[PublishedInstance]) -> BTreeMap<&str, Versions<'_>> {
    let mut functions: BTreeMap<&str, Versions<'_>> = BTreeMap::new();
    for instance in instances {
        for settings in instance.function_settings.iter().flatten() {
            let fields = settings.functions.iter();
            for (name, version) in fields.filter_map(|field| keys::split_function(field)) {
                let of = Settings {
                    instance: label(instance, instances),
                    settings,
                };
                let versions = functions.entry(name).or_default();
                versions.entry(version).or_default().push(of);
            }
        }
    }
    functions
}

/// The lines of one function: of its versions, and of the settings of each version.
fn differences(at: &str, name: &str, versions: &Versions<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if versions.len() > 1 {
        let names = |of: &Vec<Settings<'_>>| of.iter().map(|of| of.instance.clone()).collect();
        let groups: Groups = versions
            .iter()
            .map(|(version, of)| (version.to_string(), names(of)))
            .collect();
        let all = versions.values().flatten();
        findings.push(difference(at, name, &[("version".to_owned(), groups)], all));
    }
    for (version, of) in versions {
        let differing: Vec<(String, Groups)> = aspects(of)
            .into_iter()
            .filter(|(_, groups)| groups.len() > 1)
            .collect();
        if !differing.is_empty() {
            let name = format!("{name}:{version}");
            findings.push(difference(at, &name, &differing, of));
        }
    }
    findings
}

/// Returns what each instance says of a function.
fn aspects(of: &[Settings<'_>]) -> BTreeMap<String, Groups> {
    let mut aspects: BTreeMap<String, Groups> = BTreeMap::new();
    let times: BTreeSet<&String> = of.iter().flat_map(|of| of.settings.times.keys()).collect();
    for Settings { instance, settings } in of {
        let mut say = |aspect: String, what: String| {
            let groups = aspects.entry(aspect).or_default();
            groups.entry(what).or_default().push(instance.clone());
        };
        let levels = settings.tiers.iter().map(|tier| tier.level.to_string());
        say("tiers".to_owned(), levels.collect::<Vec<_>>().join(" and "));
        for tier in &settings.tiers {
            say(format!("ttl of {}", tier.level), exact(tier.ttl));
        }
        say("codec".to_owned(), settings.codec.clone());
        for name in &times {
            let time = settings.times.get(*name);
            say(
                (*name).clone(),
                time.map_or("off", String::as_str).to_owned(),
            );
        }
    }
    aspects
}

/// The line of a function whose settings differ.
fn difference<'a>(
    at: &str,
    name: &str,
    differing: &[(String, Groups)],
    all: impl IntoIterator<Item = &'a Settings<'a>>,
) -> Finding {
    let parts = differing.iter();
    let mut parts: Vec<String> = parts
        .map(|(aspect, groups)| format!("{aspect} {}", shown(groups).join(", ")))
        .collect();
    let mut overrides = Groups::new();
    for Settings { instance, settings } in all {
        for origin in &settings.overridden_by {
            let instances = overrides
                .entry(format!("overridden by {origin}"))
                .or_default();
            instances.push(instance.clone());
        }
    }
    parts.extend(shown(&overrides));
    let is_of = |start: &str| {
        differing
            .iter()
            .any(|(aspect, _)| aspect.starts_with(start))
    };
    let consequence = CONSEQUENCES.iter().find(|(start, _)| is_of(start));
    let consequence = consequence.map_or("", |(_, consequence)| consequence);
    let mend = match overrides.is_empty() {
        true => "finish the deploy, so that all instances have the same code and policies",
        false => {
            "set the same overrides in all instances (docs/configuration.md, \"Overrides by operators\")"
        }
    };
    Finding::new(
        CHECK,
        State::Warn,
        at,
        format!("{name}: {}", parts.join("; ")),
    )
    .means(format!(
        "{consequence}; expected only while a deploy is under way: {mend}"
    ))
}

/// Returns some lines, and one for the others.
fn limited(at: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MOST_LINES);
    if more > 0 {
        findings.truncate(MOST_LINES);
        let what = format!("{more} more differences between the settings of functions");
        let more = Finding::new(CHECK, State::Warn, at, what);
        findings.push(more.means("`top --json` shows the settings that each instance publishes"));
    }
    findings
}

/// The line of an instance that does not publish the settings of all its functions.
fn not_known(at: &str, of: &PublishedInstance, all: &[PublishedInstance]) -> Option<Finding> {
    let label = label(of, all);
    match (&of.function_settings, of.settings_left_out) {
        (Some(_), 0) => None,
        (Some(_), left_out) => {
            let what = format!("{label} does not publish the settings of {left_out} functions");
            let meaning = "what an instance publishes is limited to 32 KiB; those with the most \
                           calls are compared";
            Some(Finding::not_known(CHECK, at, what).means(meaning))
        }
        (None, _) => {
            let what = format!("{label} does not publish the settings of its functions");
            let meaning = "its version of the cache is older than these settings";
            Some(Finding::not_known(CHECK, at, what).means(meaning))
        }
    }
}

/// Writes a time without rounding it, so that times which differ look different.
fn exact(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds @ 1.., 0) if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        (seconds @ 1.., 0) if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        (seconds @ 1.., 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{time:?}"),
    }
}

#[cfg(test)]
mod tests;
