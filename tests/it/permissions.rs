//! A user of the server who lacks a command is told so, and no promise is broken meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Level, Redis, invalidate, multi_tier_cached};

use testbed::server::Server;
use testbed::{build, two_tiers, until, until_ok};

/// The truth by key; each test has keys of its own.
static VERSIONS: [AtomicU64; 512] = [const { AtomicU64::new(1) }; 512];

#[multi_tier_cached(ttl = "1h")]
async fn read(key: usize) -> u64 {
    VERSIONS[key].load(Ordering::SeqCst)
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// The commands in the docs of `Redis`, each with what it is for.
fn documented() -> Vec<(&'static str, String)> {
    let docs = include_str!("../../cache-redis/src/config.rs");
    let mut commands = Vec::new();
    for line in docs.lines() {
        let Some(row) = line.strip_prefix("/// | ") else {
            continue;
        };
        let row = row.replace("\\|", "!");
        let cells: Vec<&str> = row.split(" | ").collect();
        let [purpose, list] = cells[..] else { continue };
        let purpose = [
            "caching",
            "database",
            "bodies",
            "guards",
            "invalidate_matching",
            "replicated",
            "audit",
            "streams",
        ]
        .into_iter()
        .find(|known| purpose.contains(known));
        let (Some(purpose), Some(list)) = (purpose, list.split('`').nth(1)) else {
            continue;
        };
        commands.extend(
            list.split(' ')
                .map(|command| (purpose, command.replace('!', "|"))),
        );
    }
    assert!(commands.len() > 25, "the docs look otherwise: {commands:?}");
    commands
}

/// Lets the user `app` run all documented commands but `without`.
fn permit(server: &Server, without: &str) {
    let mut acl: Vec<String> = ["ACL", "SETUSER", "app", "reset", "on", ">pw"]
        .map(ToOwned::to_owned)
        .to_vec();
    acl.extend(["~{cache:0}:*", "&{cache:0}:*"].map(ToOwned::to_owned));
    let allowed = documented().into_iter().filter(|(_, name)| name != without);
    acl.extend(allowed.map(|(_, name)| format!("+{name}")));
    let acl: Vec<&str> = acl.iter().map(String::as_str).collect();
    let _: () = server.command(&acl);
}

fn limited(server: &Server) -> Redis {
    Redis::new(format!("redis://app:pw@127.0.0.1:{}", server.port())).audit("app", 100)
}

fn is_stored(server: &Server, key: usize) -> bool {
    let name = format!("{{cache:0}}:it::permissions::read:1:{key}");
    server.records().contains(&name)
}

/// Changes the truth on `here`, and returns when `there` has heard of it or must not have.
async fn change(here: &CacheRuntime, there: &CacheRuntime, key: usize) -> Receipt {
    let now = VERSIONS[key].fetch_add(1, Ordering::SeqCst) + 1;
    let receipt = on(here, async { invalidate!(read, key).await })
        .await
        .unwrap();
    assert_eq!(on(here, read(key)).await, now, "the instance's own value");
    if receipt == Receipt::Acked {
        until_ok("the other instance has the new value", async || {
            let found = on(there, read(key)).await;
            if found == now { Ok(()) } else { Err(found) }
        })
        .await;
    }
    receipt
}

/// No value is stored that was read while `holder` holds a guard on `key`, whoever read it.
async fn check_guard(
    server: &Server,
    holder: &CacheRuntime,
    reader: &CacheRuntime,
    key: usize,
) -> bool {
    let guard = on(holder, async { read::entry(key).write_guard().await }).await;
    let guard = guard.unwrap();
    let is_held = guard.is_held();
    if is_held {
        let refused = || {
            let stats = reader.stats();
            let stats = stats.function("it::permissions::read");
            stats.map_or(0, |stats| {
                stats.tier(Level::L2).unwrap().refused_fills.guard
            })
        };
        let before = refused();
        let old = on(reader, read(key)).await;
        until("the reader is refused", || refused() > before).await;
        assert!(!is_stored(server, key), "stored under a guard: {old}");
    }
    guard.invalidate().await.unwrap();
    is_held
}

#[tokio::test]
async fn a_user_needs_no_more_than_is_documented() {
    let server = Server::start();
    permit(&server, "");
    let (here, there) = (build(limited(&server)).await, build(limited(&server)).await);
    for runtime in [&here, &there] {
        let health = runtime.health().await;
        assert!(health.is_well(), "{health}");
        assert_eq!(health.tiers[0].health.unusable, [""; 0]);
    }
    on(&here, read(70)).await;
    on(&here, async { read::entry(70).put(7).await })
        .await
        .unwrap();
    on(&here, async { read::entry(70).refresh().await }).await;
    assert_eq!(change(&here, &there, 70).await, Receipt::Acked);
    assert!(check_guard(&server, &here, &there, 71).await);
    on(&here, async { invalidate!(read).settled().await })
        .await
        .unwrap();
    here.invalidate_matching("it::permissions::read", "*")
        .await
        .unwrap();
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    for runtime in [here, there] {
        runtime.shutdown().await.unwrap();
    }
    let denied: Vec<Vec<String>> = server.command(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_command_for_caching_is_named_and_invalidations_stay_queued() {
    let server = Server::start();
    for (at, (_, command)) in (0..).zip(documented().iter().filter(|(of, _)| *of == "caching")) {
        permit(&server, command);
        let here = build(limited(&server)).await;
        let there = two_tiers(&server.url()).await;
        let key = 100 + at;
        let health = here.health().await;
        let text = health.to_string();
        assert!(
            !health.is_well() && text.contains(&**command),
            "{command}: {text}"
        );
        assert!(text.contains("`app`"), "{command}: {text}");
        // Calls are answered, and nothing is taken for done.
        let old = on(&there, read(key)).await;
        assert_eq!(on(&here, read(key)).await, old);
        assert_eq!(
            change(&here, &there, key).await,
            Receipt::Queued,
            "{command}"
        );
        assert_eq!(here.tiers()[0].health.queued, 1, "{command}");
        // What was queued takes effect once the permission is there.
        permit(&server, "");
        until("the tier is used", || here.tiers()[0].health.connected).await;
        until("the invalidation is sent", || {
            here.tiers()[0].health.queued == 0
        })
        .await;
        let now = VERSIONS[key].load(Ordering::SeqCst);
        until_ok("the other instance has the new value", async || {
            let found = on(&there, read(key)).await;
            if found == now { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_command_for_a_feature_is_named_and_the_rest_works() {
    let server = Server::start();
    let features = [
        "bodies",
        "guards",
        "invalidate_matching",
        "replicated",
        "audit",
    ];
    let commands = documented();
    let commands = commands.iter().filter(|(of, _)| features.contains(of));
    for (at, (purpose, command)) in (0..).zip(commands) {
        let _: () = server.command(&["FLUSHALL"]);
        permit(&server, command);
        let here = build(limited(&server)).await;
        let there = two_tiers(&server.url()).await;
        let key = 200 + 10 * at;
        let health = here.health().await;
        let text = health.to_string();
        assert!(health.is_well(), "{command}: {text}");
        assert!(
            text.contains(&format!("not run {command}")),
            "{command}: {text}"
        );

        // Values are shared and invalidated.
        on(&here, read(key)).await;
        until("it is stored", || is_stored(&server, key)).await;
        on(&there, read(key)).await;
        let stats = there.stats();
        let loads = stats.function("it::permissions::read").unwrap().loads;
        assert_eq!(loads, 0, "{command}: the value is shared");
        assert_eq!(
            change(&here, &there, key).await,
            Receipt::Acked,
            "{command}"
        );
        assert_eq!(
            change(&there, &here, key).await,
            Receipt::Acked,
            "{command}"
        );

        // A guard is held in truth or not at all, and the guard of another instance is respected.
        let is_held = check_guard(&server, &here, &there, key + 1).await;
        assert_eq!(is_held, *purpose != "guards", "{command}");
        assert!(
            check_guard(&server, &there, &here, key + 2).await,
            "{command}"
        );

        let matching = here.invalidate_matching("it::permissions::read", "*").await;
        let replicated = async { invalidate!(read, key).replicated(1).await };
        let replicated = on(&here, replicated).await.unwrap_err();
        let replicated = format!("{replicated:?}");
        assert_eq!(
            matching.is_err(),
            *purpose == "invalidate_matching",
            "{command}"
        );
        if let Err(error) = matching {
            assert!(format!("{error:?}").contains(&**command), "{error:?}");
        }
        let names_it = replicated.contains("not run wait");
        assert_eq!(
            names_it,
            *purpose == "replicated",
            "{command}: {replicated}"
        );
        let noted: u64 = server.command(&["XLEN", "{cache:0}:#stream:#invalidations"]);
        assert_eq!(noted == 0, *purpose == "audit", "{command}");
    }
}

/// An ACL may change while a link lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_that_is_taken_away_later_is_noticed() {
    let server = Server::start();
    permit(&server, "");
    let here = build(limited(&server)).await;
    let there = two_tiers(&server.url()).await;
    on(&here, read(300)).await;
    assert!(here.health().await.is_well());
    permit(&server, "incr");
    assert_eq!(change(&here, &there, 300).await, Receipt::Queued);
    until_ok("health names the command", async || {
        let health = here.health().await;
        let text = health.to_string();
        if text.contains("not run incr") && !health.is_well() {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    permit(&server, "");
    until("the invalidation is sent", || {
        here.tiers()[0].health.queued == 0
    })
    .await;
}

/// Streams have connections of their own, and no script: the server's own refusal is the error.
#[tokio::test]
async fn streams_name_the_command_that_is_refused() {
    let server = Server::start();
    let wait = Duration::from_millis(1);
    for (_, command) in documented().iter().filter(|(of, _)| *of == "streams") {
        let _: () = server.command(&["FLUSHALL"]);
        permit(&server, command);
        let streams = limited(&server).streams().unwrap();
        let use_all = async {
            let fields: [(&str, &[u8]); 1] = [("text", b"a")];
            streams.publish("orders", &fields, None).await?;
            streams.read("orders", &After::Start, 10, wait).await?;
            streams.latest("orders", 1).await?;
            streams.create_group("orders", "g", &After::Start).await?;
            streams.read_group("orders", "g", "r", 10, wait).await?;
            let given = streams.unacknowledged("orders", "g", "r", 10).await?;
            streams
                .claim("orders", "g", "s", Duration::ZERO, 10)
                .await?;
            let ids: Vec<String> = given.into_iter().map(|entry| entry.id).collect();
            streams.acknowledge("orders", "g", &ids).await
        };
        let refused = format!("{:?}", use_all.await.unwrap_err());
        assert!(refused.contains(&**command), "{command}: {refused}");
    }
}
