//! Settings in the environment that a program does not read are named in its log.

use std::process::Command;

use multi_tier_cached::{CacheRuntime, Memory};

/// Says to the process that is started how it builds its runtime.
const CHILD: &str = "ENVIRONMENT_TEST_CHILD";

/// Runs in a process of its own, which logs to its standard output.
#[tokio::test]
async fn child_builds_a_runtime() {
    let Ok(how) = std::env::var(CHILD) else {
        return;
    };
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stdout);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let builder = match &*how {
        "from_env" => builder.from_env().unwrap(),
        _ => builder,
    };
    builder.build().await.unwrap();
}

/// What the child logs of variables, by lines.
fn warnings(how: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "environment::child_builds_a_runtime",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, how)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = log.lines().filter(|line| line.contains("WARN"));
    lines.map(str::to_owned).collect()
}

#[test]
fn settings_beside_a_builder_that_does_not_read_them_are_one_warning() {
    let variables = [
        ("MULTI_TIER_CACHED_L1_MAX_ENTRIES", "5"),
        ("MULTI_TIER_CACHED_CODEC", ""),
        ("MULTI_TIER_CACHED_WHEN_ISOLATED", "load"),
    ];
    let warned = warnings("builder", &variables);
    let [line] = &warned[..] else {
        panic!("not one warning: {warned:#?}");
    };
    assert!(line.contains("from_env()"), "{line}");
    let named = "MULTI_TIER_CACHED_L1_MAX_ENTRIES, MULTI_TIER_CACHED_WHEN_ISOLATED";
    assert!(line.contains(named), "{line}");
    assert!(!line.contains("CODEC"), "an empty one is not set: {line}");
}

#[test]
fn settings_that_are_read_or_not_there_are_no_warning() {
    assert_eq!(warnings("builder", &[]), [""; 0]);
    let read = [("MULTI_TIER_CACHED_L1_MAX_ENTRIES", "5")];
    assert_eq!(warnings("from_env", &read), [""; 0]);
}
