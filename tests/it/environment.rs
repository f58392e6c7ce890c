//! Settings in the environment: a program that does not read them logs a warning with their names,
//! and those that do not fit its functions are refused.

use std::process::Command;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Memory};

/// Tells the child process how to build its runtime.
const CHILD: &str = "ENVIRONMENT_TEST_CHILD";

/// The part of these tests that runs in the child process, which logs to its standard output.
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

/// Warnings that a child process with these variables logs.
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
fn settings_that_the_builder_does_not_read_are_named_in_one_warning() {
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
    assert!(
        !line.contains("CODEC"),
        "an empty variable counts as set: {line}"
    );
}

#[test]
fn settings_that_are_read_or_not_set_cause_no_warning() {
    assert_eq!(warnings("builder", &[]), [""; 0]);
    let read = [("MULTI_TIER_CACHED_L1_MAX_ENTRIES", "5")];
    assert_eq!(warnings("from_env", &read), [""; 0]);
}

/// The part of the next test that runs in the child process.
#[tokio::test]
async fn child_installs_a_runtime_for_a_function_with_a_window() {
    if std::env::var(CHILD).as_deref() != Ok("install") {
        return;
    }
    let _function = Function::<u64>::builder("environment::windowed")
        .ttl(Duration::from_secs(60))
        .stale_if_error(Duration::from_secs(60))
        .build()
        .unwrap();
    match CacheRuntime::from_env().unwrap().install().await {
        Ok(_) => println!("installed"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn times_of_a_function_are_overridden_only_if_its_code_has_them() {
    let install = |functions: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "environment::child_installs_a_runtime_for_a_function_with_a_window",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD, "install")
            .env("MULTI_TIER_CACHED_FUNCTIONS", functions)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let changed = install("environment::windowed stale_if_error=1h");
    // Other functions of this test program need tiers that the environment does not set.
    assert!(!changed.contains("environment::windowed"), "{changed}");
    let added = install("environment::windowed jitter=10%");
    let expected = "an override sets `jitter`, and the code of the function does not have it \
                    (function `environment::windowed`";
    assert!(added.contains(expected), "{added}");
    assert!(
        added.contains("set by MULTI_TIER_CACHED_FUNCTIONS"),
        "{added}"
    );
}
