//! Dependencies between the crates.

use crate::sources::{Source, assert_none, read};

/// Crates of the workspace with those of its crates that each may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("cache-core", &[]),
    ("cache-macros", &[]),
    ("cache-disk", &["cache-core"]),
    ("cache-memcached", &["cache-core"]),
    ("cache-object", &["cache-core"]),
    ("cache-redis", &["cache-core"]),
];

fn violations(manifest: &Source, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_list = false;
    for (at, line) in manifest.text.lines().enumerate() {
        if line.starts_with('[') {
            is_list = line.trim_end().ends_with("dependencies]");
            continue;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let is_ours = name.starts_with("cache-")
            || ["multi-tier-cached", "soak", "testbed", "tests"].contains(&name);
        if is_list && is_ours && !allowed.contains(&name) {
            found.push(format!("{}:{}: {line}", manifest.path, at + 1));
        }
    }
    found
}

#[test]
fn crates_depend_in_one_direction() {
    let mut found = Vec::new();
    for (package, allowed) in ALLOWED {
        found.extend(violations(&read(&format!("{package}/Cargo.toml")), allowed));
    }
    assert_none(&found);
}

#[test]
fn dependency_that_is_not_allowed_is_reported() {
    let text = "[package]\nname = \"a\"\n[dependencies]\ncache-core.workspace = true\n\
                [dev-dependencies]\ntestbed = { path = \"..\" }\n";
    let found = violations(&Source::new("a/Cargo.toml", text), &["cache-core"]);
    assert_eq!(found, ["a/Cargo.toml:6: testbed = { path = \"..\" }"]);
    assert_eq!(violations(&Source::new("a/Cargo.toml", text), &[]).len(), 2);
}
