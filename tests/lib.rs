//! Tests of the documentation: its examples run as doctests, and what it repeats from the sources
//! must agree with them.

macro_rules! pages {
    ($($page:ident: $file:literal),* $(,)?) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../docs/", $file))]
            mod $page {}
        )*
    };
}

pages!(
    command_line: "command-line.md",
    configuration: "configuration.md",
    explain: "explain.md",
    guarantees: "guarantees.md",
    metrics: "metrics.md",
    more_than_one_redis: "more-than-one-redis.md",
    operations: "operations.md",
    refresh_ahead: "refresh-ahead.md",
    result_times: "result-times.md",
    stale_values: "stale-values.md",
    testing: "testing.md",
    tiers: "tiers.md",
    timeouts: "timeouts.md",
    traces: "traces.md",
);

/// The table of permissions is in the rustdoc of `Redis`, and again for operators in
/// `docs/operations.md`. A test of the crate compares the former with the commands it sends.
#[test]
fn table_of_permissions_in_the_docs_equals_that_of_the_redis_tier() {
    fn rows(text: &str) -> Vec<String> {
        let rows = text.lines().map(|line| line.trim_start_matches("/// "));
        rows.skip_while(|line| *line != "| for | commands |")
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.replace(['[', ']'], "").replace("(Self::audit)", ""))
            .map(|line| line.replace("(Self::streams)", ""))
            .collect()
    }
    let of_redis = rows(include_str!("../cache-redis/src/config.rs"));
    assert!(of_redis.len() > 8, "{of_redis:#?}");
    assert_eq!(rows(include_str!("../docs/operations.md")), of_redis);
}
