//! Callers of the Redis tier's scripts.

use crate::sources::{Source, assert_none, sources};

/// Names by which a script can be called.
const CALLS: &[&str] = &[
    "prepare_invoke",
    "invoke_async",
    "invoke_script",
    "load_script",
    "ScriptInvocation",
    "Script",
    "EVALSHA",
    "EVAL",
];

fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.any(|word| CALLS.contains(&word)) {
            found.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
        }
    }
    found
}

/// A script is called by the command that wrote its arguments, and by no other code.
#[test]
fn scripts_of_redis_are_called_only_by_commands() {
    let (commands, others): (Vec<_>, Vec<_>) = sources(&["cache-redis/src"], "rs", 30)
        .into_iter()
        .partition(|source| source.path.starts_with("cache-redis/src/commands"));
    assert!(commands.len() > 10, "the commands are elsewhere");
    let found: Vec<_> = others.iter().flat_map(violations).collect();
    assert_none(&found);
}

#[test]
fn call_of_a_script_is_reported_and_a_comment_is_not() {
    let text = "// Script\nlet scripts = 1;\nscript.prepare_invoke();\ncmd(\"EVALSHA\")\n";
    let found = violations(&Source::new("a.rs", text));
    assert_eq!(
        found,
        [
            "a.rs:3: script.prepare_invoke();",
            "a.rs:4: cmd(\"EVALSHA\")"
        ]
    );
}
