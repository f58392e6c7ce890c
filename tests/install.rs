//! The installed runtime. A process installs one, so this test is a binary of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, ErrorKind, Function, Level, Memory, Redis, Ttl, multi_tier_cached,
    registered_functions,
};

use testbed::server::Server;

/// Environment variable that tells a child process to read its settings from the environment.
const CHILD: &str = "INSTALL_TEST_CHILD";

/// Line of `in_both`, which an error must name.
const LINE: u32 = line!() + 3;

#[multi_tier_cached(ttl = "1h", tiers = "l1,l2")]
async fn in_both(id: u64) -> u64 {
    id * 2
}

#[multi_tier_cached(ttl = "1h")]
async fn anywhere(id: u64) -> u64 {
    id * 3
}

#[multi_tier_cached(policy = "orders", tiers = "l1")]
async fn named(id: u64) -> u64 {
    id * 4
}

/// It has no name before its types are known, and so no statistics.
#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn generic<const N: u64>(id: u64) -> u64 {
    id + N
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_installs_one_runtime_that_its_functions_fit_and_all_its_tasks_use() {
    if std::env::var_os(CHILD).is_some() {
        return install_from_the_environment().await;
    }
    assert!(
        registered_functions()
            .any(|(name, file, _)| name == "install::in_both" && file.ends_with("install.rs"))
    );

    check_refusals_of_annotated_functions().await;
    let minute = Duration::from_secs(60);
    let made = Function::<u64>::builder("made").ttl(minute);
    let made = made.tiers([Level::L1, Level::L4]).build().unwrap();
    let server = Server::start();
    let redis = || Redis::new(server.url()).required();
    let builder = || {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(redis())
            .policy("orders", minute)
    };
    let missing = builder().install().await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::MissingTier);
    assert!(
        missing
            .to_string()
            .contains("has no l4: its tiers are l1, l2 (function `made`")
    );
    drop(made);
    // A function that was built in the scope of another runtime is not checked against this one.
    let alone = CacheRuntime::builder().l1(Memory::builder()).build().await;
    let in_scope = CacheRuntime::scope(alone.unwrap(), async {
        let made = Function::<u64>::builder("in_scope").ttl(minute);
        made.tiers([Level::L1, Level::L4]).build().unwrap()
    });
    let _in_scope = in_scope.await;
    let runtime = builder().install().await.unwrap();
    let made = Function::<u64>::builder("made").ttl(Ttl::policy("none"));
    let unknown = made.build().unwrap_err().to_string();
    assert!(unknown.contains("unknown policy `none`"), "{unknown}");
    let again = builder().install().await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyInstalled);

    check_functions_without_calls(&runtime);
    let task = tokio::spawn(async { (in_both(1).await, in_both(1).await, anywhere(1).await) });
    assert_eq!(task.await.unwrap(), (2, 2, 3));
    assert_eq!(generic::<7>(1).await, 8);
    let stats = runtime.stats();
    let of_name = stats
        .functions
        .iter()
        .filter(|of| of.name == "install::in_both");
    assert_eq!(of_name.count(), 1, "{stats}");
    assert!(stats.function("install::generic<7>").is_some(), "{stats}");
    let in_both = stats.function("install::in_both").unwrap();
    assert_eq!(
        (in_both.loads, in_both.tier(Level::L1).unwrap().hits),
        (1, 1)
    );
    assert_eq!(
        server.records().len(),
        2,
        "a function that names no tier must use all of them"
    );
    runtime.shutdown().await.unwrap();

    check_settings_from_the_environment(&server.url());
}

/// The installed runtime must list the functions that were not called yet, with zeros.
fn check_functions_without_calls(runtime: &CacheRuntime) {
    let minute = Duration::from_secs(60);
    let made = || Function::<u64>::builder("made_without_calls").ttl(minute);
    let built = made().tiers([Level::L1]).build().unwrap();
    let stats = runtime.stats();
    let names: Vec<_> = stats.functions.iter().map(|of| &*of.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for (name, levels) in [
        ("install::in_both", &[Level::L1, Level::L2][..]),
        ("install::named", &[Level::L1]),
        ("made_without_calls", &[Level::L1]),
    ] {
        let function = stats.function(name);
        let function = function.unwrap_or_else(|| panic!("{name} is not in {names:?}"));
        let tiers: Vec<_> = function.tiers.iter().map(|tier| tier.level).collect();
        assert_eq!(tiers, levels, "{name}");
        assert_eq!(
            (function.loads, function.hits(), function.hit_rate()),
            (0, 0, None)
        );
    }
    assert!(
        !names.iter().any(|name| name.contains("generic")),
        "{names:?}"
    );
    let text = stats.to_string();
    assert!(text.ends_with("functions without calls: 4\n"), "{text}");
    drop(built);
    assert_eq!(runtime.stats().function("made_without_calls"), None);
}

/// `install` must refuse a runtime without the policies and tiers that annotated functions name.
async fn check_refusals_of_annotated_functions() {
    let unknown = CacheRuntime::builder()
        .l1(Memory::builder())
        .install()
        .await
        .unwrap_err();
    let text = unknown.to_string();
    assert!(
        text.contains(
            "unknown policy `orders`: the policies are real_time, short, medium, long \
             (function `install::named`"
        ),
        "{text}"
    );
    let minute = Duration::from_secs(60);
    let missing = CacheRuntime::builder()
        .l1(Memory::builder())
        .policy("orders", minute)
        .install()
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::MissingTier);
    let text = missing.to_string();
    assert!(
        text.contains("`install::in_both`") && text.contains(&format!("install.rs:{LINE}")),
        "{text}"
    );
    assert!(!text.contains("anywhere"), "{text}");
}

/// Runs this test in child processes, with settings in their environment.
fn check_settings_from_the_environment(url: &str) {
    let run = |name: &str, value: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, "1")
            .env("MULTI_TIER_CACHED_REDIS_URL", url)
            .env("MULTI_TIER_CACHED_REDIS_NAMESPACE", "from-env")
            .env("MULTI_TIER_CACHED_L1_ENGINE", "quick_cache")
            .env(name, value)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (succeeded, output) = run("MULTI_TIER_CACHED_REDIS_REQUIRED", "true");
    assert!(succeeded, "{output}");
    for (name, value) in [
        ("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "soon"),
        ("MULTI_TIER_CACHED_REDIS_REQUIRED", "perhaps"),
        ("MULTI_TIER_CACHED_L1_MAX_BYTES", "much"),
        ("MULTI_TIER_CACHED_REDIS_ULR", "redis://localhost"),
    ] {
        let (succeeded, output) = run(name, value);
        assert!(!succeeded && output.contains(name), "{name}: {output}");
    }
}

/// The part of this test that runs in the child processes.
async fn install_from_the_environment() {
    let twice = CacheRuntime::builder().l2(Redis::new("redis://127.0.0.1:1"));
    let error = twice.from_env().map(drop).unwrap_err().to_string();
    assert!(
        error.contains("MULTI_TIER_CACHED_REDIS_URL") && error.contains("and by the program"),
        "{error}"
    );
    let builder = CacheRuntime::from_env().unwrap_or_else(|error| {
        // The parent reads standard output.
        println!("{error}");
        panic!("{error}")
    });
    let builder = builder.policy("orders", Duration::from_secs(60));
    let runtime = builder.install().await.unwrap();
    assert_eq!(in_both(7).await, 14);
    let keys: Vec<String> =
        redis::Client::open(std::env::var("MULTI_TIER_CACHED_REDIS_URL").unwrap())
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| {
                redis::cmd("KEYS")
                    .arg("{from-env:0}:*")
                    .query(&mut connection)
            })
            .unwrap();
    assert!(
        keys.iter()
            .any(|key| key == "{from-env:0}:install::in_both:1:7"),
        "{keys:?}"
    );
    runtime.shutdown().await.unwrap();
}
