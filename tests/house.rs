//! The house rules that a compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The floor of each module of `cache-core`: a module imports from its own floor or a lower one.
const FLOORS: &[&[&str]] = &[
    &[
        "error", "blocking", "clock", "glob", "home", "level", "stream", "sync", "key",
    ],
    &[
        "codec",
        "policy",
        "overrides",
        "definition",
        "entry",
        "record",
        "stats",
        "fence",
    ],
    &["tier", "background", "coherence", "flight", "outcome"],
    &["bound"],
    &["load"],
    &["call"],
    &["write_guard"],
    &[
        "invalidation",
        "handle",
        "site",
        "function",
        "runtime",
        "builder",
    ],
    &["private", "testing"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_of_the_core_import_downwards() {
    let base = root().join("cache-core/src");
    let mut files = Vec::new();
    sources(&base, &mut files);
    let mut upwards = Vec::new();
    for file in files {
        let relative = file
            .strip_prefix(&base)
            .expect("below the base")
            .with_extension("");
        let module = relative
            .iter()
            .next()
            .and_then(|first| first.to_str())
            .unwrap_or_default()
            .to_owned();
        if module == "lib" || file.ends_with("tests.rs") || file.ends_with("schedules.rs") {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{module} has no floor"));
        for line in fs::read_to_string(&file).expect("a source file").lines() {
            let Some(path) = line
                .trim()
                .strip_prefix("use crate::")
                .or_else(|| line.trim().strip_prefix("pub use crate::"))
            else {
                continue;
            };
            let target: String = path
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if floor(&target).is_some_and(|floor| floor > own) {
                upwards.push(format!("{}: {line}", relative.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn crates_depend_in_one_direction() {
    let manifest =
        |name: &str| fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
    for (name, forbidden) in [
        ("cache-core", &["cache-macros", "cache-redis", "redis."][..]),
        ("cache-macros", &["cache-core", "cache-redis"]),
        ("cache-redis", &["cache-macros"]),
    ] {
        for other in forbidden {
            assert!(!manifest(name).contains(other), "{name} depends on {other}");
        }
    }
}

#[test]
fn examples_are_short_and_begin_with_their_idea() {
    let mut files = Vec::new();
    sources(&root().join("examples"), &mut files);
    assert!(files.len() >= 5);
    for file in files {
        let text = fs::read_to_string(&file).expect("an example");
        assert!(text.starts_with("//! "), "{}", file.display());
        assert!(
            text.lines().count() <= 120,
            "{} has {} lines",
            file.display(),
            text.lines().count()
        );
    }
}

/// `A::{b, c}` as `A::b` and `A::c`, `A { b, c }` as `A`, `A::b` and `A::c`; arguments are left out.
fn expanded(name: &str) -> Vec<String> {
    let (owner, members, is_named) = match (name.split_once("::{"), name.split_once(" { ")) {
        (Some((owner, members)), _) => (owner, members, false),
        (None, Some((owner, members))) => (owner, members, true),
        (None, None) => return vec![name.split('(').next().unwrap_or_default().to_owned()],
    };
    let members = members.trim_end_matches([' ', '}']).split(',');
    let members = members.map(|member| format!("{owner}::{}", member.trim()));
    members.chain(is_named.then(|| owner.to_owned())).collect()
}

/// Each public item of multi-tier-cache 0.6.5, as its rustdoc lists them with all features, has a row.
#[test]
fn the_migration_page_leaves_nothing_out() {
    let page = fs::read_to_string(root().join("docs/migration.md")).expect("the page");
    let items = fs::read_to_string(root().join("tests/migration-items.txt")).expect("the items");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: std::collections::HashSet<String> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .flat_map(expanded)
        .collect();
    // The module in front of a name is told by where its rows stand.
    let has_row = |item: &str| {
        let segments: Vec<&str> = item.split("::").collect();
        let is_name = |segment: &&str| segment.starts_with(char::is_uppercase);
        let at = segments.iter().position(is_name);
        let bare = segments[at.unwrap_or(segments.len() - 1)..].join("::");
        named.contains(&bare) || named.contains(item)
    };
    let missing: Vec<_> = items.lines().filter(|item| !has_row(item)).collect();
    assert!(
        items.lines().count() > 200 && missing.is_empty(),
        "{missing:#?}"
    );
}

/// A script is called by the command that wrote its arguments, and by no other code.
#[test]
fn scripts_of_redis_are_called_only_by_commands() {
    let base = root().join("cache-redis/src");
    let mut files = Vec::new();
    sources(&base, &mut files);
    let is_command = |file: &Path| {
        let relative = file.strip_prefix(&base).expect("below the base");
        relative.starts_with("commands") || relative == Path::new("commands.rs")
    };
    let (commands, others): (Vec<_>, Vec<_>) = files.iter().partition(|file| is_command(file));
    assert!(commands.len() > 10, "the commands are elsewhere");
    let forbidden = [
        "prepare_invoke",
        "invoke_async",
        "invoke_script",
        "load_script",
        "ScriptInvocation",
        "Script",
        "EVALSHA",
        "EVAL",
    ];
    let mut found = Vec::new();
    for file in others {
        let text = fs::read_to_string(file).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| forbidden.contains(word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
