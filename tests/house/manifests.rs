//! Dependencies between the packages, and which packages are published.

use crate::sources::{Source, assert_none, read};

/// Published packages with the packages of the workspace that each may depend on.
///
/// The tests of the command line start servers and instances, so it names packages that only tests
/// use. Cargo leaves them out of what is published.
const PUBLISHED: &[(&str, &[&str])] = &[
    (
        "cache-cli",
        &[
            "cache-core",
            "cache-disk",
            "cache-redis",
            "multi-tier-cached",
            "testbed",
        ],
    ),
    ("cache-core", &[]),
    ("cache-macros", &[]),
    ("cache-disk", &["cache-core"]),
    ("cache-memcached", &["cache-core"]),
    ("cache-object", &["cache-core"]),
    ("cache-opentelemetry", &["cache-core"]),
    ("cache-prometheus", &["cache-core"]),
    ("cache-redis", &["cache-core"]),
];

/// Returns the lines of the lists of dependencies that name a package which is not allowed.
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

/// Returns the paths in the list of the workspace's members.
fn members(manifest: &str) -> Vec<&str> {
    let line = manifest.lines().find(|line| line.starts_with("members = "));
    let list = line.unwrap_or_default().split('"');
    list.skip(1).step_by(2).collect()
}

fn is_unpublished(manifest: &str) -> bool {
    manifest.lines().any(|line| line == "publish = false")
}

#[test]
fn packages_depend_in_one_direction() {
    let mut found = Vec::new();
    for (package, allowed) in PUBLISHED {
        found.extend(violations(&read(&format!("{package}/Cargo.toml")), allowed));
    }
    assert_none(&found);
}

#[test]
fn packages_that_are_not_published_say_so() {
    let root = read("Cargo.toml");
    let members = members(&root.text);
    assert!(members.len() > 10, "the workspace has only {members:?}");
    let mut found = Vec::new();
    for member in members {
        let manifest = read(&format!("{member}/Cargo.toml"));
        let is_published = PUBLISHED.iter().any(|(package, _)| *package == member);
        if is_published == is_unpublished(&manifest.text) {
            let what = if is_published {
                "is to be"
            } else {
                "is not to be"
            };
            found.push(format!("{}:1: {what} published", manifest.path));
        }
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

#[test]
fn members_and_their_publication_are_read_from_manifests() {
    let text = "[workspace]\nmembers = [\"a\", \"tests/b\"]\ndefault-members = [\"c\"]\n";
    assert_eq!(members(text), ["a", "tests/b"]);
    assert!(is_unpublished("[package]\npublish = false\n"));
    assert!(!is_unpublished("[package]\n# publish = false\n"));
}
