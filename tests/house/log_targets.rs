//! Targets of log events, and names of spans: each is written out where the event or the span is,
//! and is in the docs.

use std::collections::HashSet;

use crate::sources::{Source, assert_none, read, sources};

/// Sources of the crates that are published.
const PUBLISHED: &[&str] = &[
    "cache-core/src",
    "cache-disk/src",
    "cache-macros/src",
    "cache-memcached/src",
    "cache-object/src",
    "cache-redis/src",
    "src",
];

/// Macros of `tracing`. Those of spans are found by the end of their names.
const MACROS: &[&str] = &[
    "trace",
    "debug",
    "info",
    "warn",
    "error",
    "event",
    "span",
    "trace_span",
    "debug_span",
    "info_span",
    "warn_span",
    "error_span",
];

const PAGE: &str = "docs/logs.md";
const PREFIX: &str = "multi_tier_cached::";

/// The page of the spans, whose target is that of no event.
const PAGE_OF_SPANS: &str = "docs/traces.md";
const TARGET_OF_SPANS: &str = "multi_tier_cached";

/// Returns the targets that the first column of a table of the page lists.
fn documented(page: &str) -> HashSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

/// Returns the target of each event of a source, with its line. `Err` is an event without one.
fn targets(source: &Source) -> Vec<(usize, Result<&str, &'static str>)> {
    let text = &source.text;
    let mut found = Vec::new();
    for (at, _) in text.match_indices("!(") {
        let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
        let before = text[..at].trim_end_matches(is_of_name);
        if !MACROS.contains(&&text[before.len()..at]) {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let arguments = text[at + 2..].trim_start();
        let target = arguments.strip_prefix("target: \"");
        found.push((
            line,
            match target.and_then(|target| target.split('"').next()) {
                _ if !before.ends_with("tracing::") => Err("is not called as `tracing::…!`"),
                None => Err("has no target"),
                Some(target) => Ok(target),
            },
        ));
    }
    found
}

fn violations(source: &Source, documented: &HashSet<&str>) -> Vec<String> {
    let path = &source.path;
    let targets = targets(source).into_iter();
    let problems = targets.filter_map(|(line, target)| {
        let problem = match target {
            Ok(target) if documented.contains(target) || target == TARGET_OF_SPANS => {
                return None;
            }
            Ok(target) => format!("target `{target}` is not in {PAGE}"),
            Err(problem) => format!("event {problem}"),
        };
        Some(format!("{path}:{line}: {problem}"))
    });
    problems.collect()
}

/// Returns the sources of the published crates without their unit tests.
fn published() -> Vec<Source> {
    let sources = sources(PUBLISHED, "rs", 200).into_iter();
    let is_test = |source: &Source| source.path.contains("/tests");
    sources.filter(|source| !is_test(source)).collect()
}

#[test]
fn each_event_has_a_target_that_the_page_lists() {
    let page = read(PAGE);
    let documented = documented(&page.text);
    let sources = published();
    let found: Vec<_> = sources
        .iter()
        .flat_map(|source| violations(source, &documented))
        .collect();
    assert_none(&found);
}

#[test]
fn each_target_of_the_page_is_that_of_an_event() {
    let page = read(PAGE);
    let sources = published();
    let used: HashSet<_> = sources
        .iter()
        .flat_map(targets)
        .filter_map(|(_, target)| target.ok())
        .filter(|target| target.starts_with(PREFIX))
        .collect();
    let documented = documented(&page.text);
    let unused = documented.difference(&used);
    let report = |target: &&str| format!("{PAGE}:1: no event has the target {target}");
    assert_none(&unused.map(report).collect::<Vec<_>>());
    assert!(documented.len() >= 8, "{documented:?}");
}

/// Returns the names of the spans of a source.
fn spans(source: &Source) -> HashSet<&str> {
    let text = &source.text;
    text.split("_span!(")
        .skip(1)
        .filter_map(name_of_span)
        .collect()
}

/// Returns the first text of the call of a macro after the target.
fn name_of_span(call: &str) -> Option<&str> {
    let (_, rest) = call.split_once("target: \"multi_tier_cached\",")?;
    rest.split('"').nth(1)
}

#[test]
fn spans_are_those_of_the_page() {
    let page = read(PAGE_OF_SPANS);
    let sources = published();
    let used: HashSet<_> = sources.iter().flat_map(spans).collect();
    let rows = page.text.lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let levels = ["TRACE`", "DEBUG`", "INFO`"];
    let of_spans = rows.filter(|(_, level)| levels.iter().any(|name| level.starts_with(name)));
    let documented: HashSet<_> = of_spans.map(|(name, _)| name).collect();
    let missing = used.difference(&documented);
    let missing = missing.map(|name| format!("{PAGE_OF_SPANS}:1: span `{name}` is not listed"));
    let unused = documented.difference(&used);
    let unused = unused.map(|name| format!("{PAGE_OF_SPANS}:1: no span has the name `{name}`"));
    assert_none(&missing.chain(unused).collect::<Vec<_>>());
    assert!(used.len() >= 5, "{used:?}");
}

#[test]
fn event_without_a_documented_target_is_reported() {
    let text = "tracing::warn!(\n    target: \"multi_tier_cached::a\",\n    \"x\"\n);\n\
                tracing::info!(x, \"y\");\nwarn!(target: \"multi_tier_cached::a\", \"z\");\n\
                tracing::debug_span!(target: \"multi_tier_cached::b\", \"s\");\nassert!(true);\n";
    let source = Source::new("a.rs", text);
    let documented = documented("| `multi_tier_cached::a` | x |\n| `other` | y |\n");
    let found = violations(&source, &documented);
    assert_eq!(
        found,
        [
            "a.rs:5: event has no target",
            "a.rs:6: event is not called as `tracing::…!`",
            "a.rs:7: target `multi_tier_cached::b` is not in docs/logs.md",
        ]
    );
}
