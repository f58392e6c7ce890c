//! A command that the user of the server may not run is named, and no promise is broken without it.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Level, Redis, Tag, invalidate, multi_tier_cached};

use testbed::counts::tier_stats;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_count, until, until_ok};

const READ: &str = "it::permissions::read";

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: usize) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", tags = ["permissions"], skip(truth))]
async fn tagged(truth: &Truth, _key: usize) -> u64 {
    truth.read()
}

/// Returns the commands in the docs of `Redis`, each with the feature that needs it.
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
            "tags",
            "guards",
            "invalidate_matching",
            "replicated",
            "audit",
            "explain",
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
    assert!(
        commands.len() > 25,
        "the table in the docs was not found: {commands:?}"
    );
    commands
}

/// Lets the user `app` run all documented commands except `without`.
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

/// A tier that connects as the user `app`.
fn limited(server: &Server) -> Redis {
    Redis::new(format!("redis://app:pw@127.0.0.1:{}", server.port())).audit("app", 100)
}

fn is_stored(server: &Server, key: usize) -> bool {
    let name = format!("{{cache:0}}:it::permissions::read:1:{key}");
    server.records().contains(&name)
}

/// Commits a new version and invalidates `key` on `here`, and waits until `there` has the new value
/// if the server has the invalidation.
async fn change(here: &Instance, there: &Instance, truth: &Truth, key: usize) -> Receipt {
    let new = truth.commit();
    let receipt = here.invalidate(invalidate!(read, truth, key)).await;
    let own = here.call(read(truth, key)).await;
    assert_eq!(own, new, "the invalidating instance");
    if receipt == Receipt::Acked {
        until_new(there, truth, key).await;
    }
    receipt
}

/// Waits until the instance returns the current version.
async fn until_new(instance: &Instance, truth: &Truth, key: usize) {
    until_ok("the other instance has the new value", async || {
        let found = instance.call(read(truth, key)).await;
        if found == truth.version() {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
}

/// Asserts that no value is stored that `reader` loads while `holder` has a guard on `key`. Returns
/// `false` if the guard is not held.
async fn check_guard(server: &Server, holder: &Instance, reader: &Instance, key: usize) -> bool {
    let truth = Truth::new();
    let entry = read::entry(&truth, key);
    let guard = holder.call(entry.write_guard()).await.unwrap();
    let is_held = guard.is_held();
    if is_held {
        let refused = || {
            let l2 = tier_stats(reader, "permissions::read", Level::L2);
            l2.map_or(0, |tier| tier.refused_fills.guard)
        };
        let before = refused();
        reader.call(read(&truth, key)).await;
        until("the fill is refused", || refused() > before).await;
        assert!(!is_stored(server, key), "stored under a guard");
    }
    guard.invalidate().await.unwrap();
    is_held
}

#[tokio::test]
async fn documented_commands_are_all_that_a_user_needs() {
    let server = Server::start();
    permit(&server, "");
    let here = Instance::with_redis(limited(&server)).await;
    let there = Instance::with_redis(limited(&server)).await;
    for instance in [&here, &there] {
        let health = instance.health().await;
        assert!(health.is_well(), "{health}");
        assert_eq!(health.tiers[0].health.unusable, [""; 0]);
    }
    let truth = Truth::new();
    let entry = read::entry(&truth, 1);
    here.call(read(&truth, 1)).await;
    here.call(entry.put(7)).await.unwrap();
    here.call(entry.refresh()).await;
    assert_eq!(change(&here, &there, &truth, 1).await, Receipt::Acked);
    assert!(check_guard(&server, &here, &there, 2).await);
    there.call(tagged(&truth, 1)).await;
    let new = truth.commit();
    let invalidation = there.invalidate_tags([Tag::new("permissions")]);
    assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
    assert_eq!(there.call(tagged(&truth, 1)).await, new);
    let settled = here.call(async { invalidate!(read).settled().await });
    settled.await.unwrap();
    here.invalidate_matching(READ, "*").await.unwrap();
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    for instance in [here, there] {
        instance.shutdown().await.unwrap();
    }
    let denied: Vec<Vec<String>> = server.command(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_command_for_caching_is_named_and_invalidations_stay_queued() {
    let server = Server::start();
    let commands = documented();
    let commands = commands.iter().filter(|(of, _)| *of == "caching");
    for (key, (_, command)) in (0..).zip(commands) {
        permit(&server, command);
        let here = Instance::with_redis(limited(&server)).await;
        let there = Instance::with_redis_at(&server.url()).await;
        let health = here.health().await;
        let text = health.to_string();
        assert!(
            !health.is_well() && text.contains(&**command),
            "{command}: {text}"
        );
        assert!(text.contains("`app`"), "{command}: {text}");
        // Calls are answered, and the invalidation is not acknowledged.
        let truth = Truth::new();
        assert_eq!(there.call(read(&truth, key)).await, 1);
        assert_eq!(here.call(read(&truth, key)).await, 1);
        let receipt = change(&here, &there, &truth, key).await;
        assert_eq!(receipt, Receipt::Queued, "{command}");
        assert_eq!(here.tier_health().queued, 1, "{command}");
        // The queued invalidation is sent once the user has the permission.
        permit(&server, "");
        here.until_connected().await;
        here.until_queue_is_empty().await;
        until_new(&there, &truth, key).await;
    }
}

/// Asserts that values are shared between two instances, and invalidated from each of them.
async fn assert_shares(server: &Server, here: &Instance, there: &Instance, command: &str) {
    let truth = Truth::new();
    here.call(read(&truth, 1)).await;
    until("the value is stored", || is_stored(server, 1)).await;
    there.call(read(&truth, 1)).await;
    let what = format!("reads of the truth without {command}");
    assert_count(&what, truth.reads(), 1, &[here, there]).await;
    let receipt = change(here, there, &truth, 1).await;
    assert_eq!(receipt, Receipt::Acked, "{command}");
    let receipt = change(there, here, &truth, 1).await;
    assert_eq!(receipt, Receipt::Acked, "{command}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_command_for_a_feature_is_named_and_the_rest_works() {
    let server = Server::start();
    let features = [
        "bodies",
        "tags",
        "guards",
        "invalidate_matching",
        "replicated",
        "audit",
    ];
    let documented = documented();
    let commands = documented.iter().filter(|(of, _)| features.contains(of));
    for (_, command) in commands {
        // Several features may need the same command.
        let breaks = |purpose| documented.contains(&(purpose, command.clone()));
        let _: () = server.command(&["FLUSHALL"]);
        permit(&server, command);
        let here = Instance::with_redis(limited(&server)).await;
        let there = Instance::with_redis_at(&server.url()).await;
        let health = here.health().await;
        let text = health.to_string();
        assert!(health.is_well(), "{command}: {text}");
        let reason = format!("not run {command}");
        assert!(text.contains(&reason), "{command}: {text}");
        assert_shares(&server, &here, &there, command).await;

        // The instance holds a guard only if others respect it, and it respects the guard of
        // another instance.
        let is_held = check_guard(&server, &here, &there, 2).await;
        assert_eq!(is_held, !breaks("guards"), "{command}");
        let is_held = check_guard(&server, &there, &here, 3).await;
        assert!(is_held, "{command}");

        let matching = here.invalidate_matching(READ, "*").await;
        let is_refused = breaks("invalidate_matching");
        assert_eq!(matching.is_err(), is_refused, "{command}");
        if let Err(error) = matching {
            assert!(format!("{error:?}").contains(&**command), "{error:?}");
        }
        let truth = Truth::new();
        let replicated = async { invalidate!(read, &truth, 1).replicated(1).await };
        let error = here.call(replicated).await.unwrap_err();
        let error = format!("{error:?}");
        let names_it = error.contains("not run wait");
        assert_eq!(names_it, breaks("replicated"), "{command}: {error}");
        let noted: u64 = server.command(&["XLEN", "{cache:0}:#stream:#invalidations"]);
        assert_eq!(noted == 0, breaks("audit"), "{command}");
    }
}

/// The ACL of a user may change while its link is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_that_is_revoked_later_is_named_and_invalidations_are_queued() {
    let server = Server::start();
    permit(&server, "");
    let here = Instance::with_redis(limited(&server)).await;
    let there = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    here.call(read(&truth, 1)).await;
    assert!(here.health().await.is_well());
    permit(&server, "incr");
    assert_eq!(change(&here, &there, &truth, 1).await, Receipt::Queued);
    until_ok("health names the command", async || {
        let health = here.health().await;
        let text = health.to_string();
        match text.contains("not run incr") && !health.is_well() {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    permit(&server, "");
    here.until_queue_is_empty().await;
}

/// Streams use connections of their own and no scripts, so the error is the server's refusal.
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
