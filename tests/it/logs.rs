//! The log says once what is wrong, and names the shard and the address.

use multi_tier_cached::Redis;

use testbed::directory::Directory;
use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

const SHARDS: u8 = 8;

fn redis(server: &Server) -> Redis {
    Redis::new(server.url()).shards(SHARDS)
}

/// The warnings in the log.
fn warnings(log: &Log) -> Vec<String> {
    log.lines_with(" WARN ")
}

/// Waits until no shard is used, for this reason.
async fn until_all_have_failed(instance: &Instance, reason: &str) {
    until_ok(
        "each shard has tried, and says why it is not used",
        async || {
            let health = instance.health().await;
            let mut shards = health.tiers[0].shards.iter();
            let have_failed = shards.all(|shard| {
                let error = shard.last_error.as_deref().unwrap_or_default();
                !shard.health.connected && error.contains(reason)
            });
            have_failed.then_some(()).ok_or_else(|| health.to_string())
        },
    )
    .await;
}

#[tokio::test]
async fn another_number_of_shards_is_one_warning() {
    let server = Server::start();
    let here = Instance::with_redis(redis(&server)).await;
    here.until_coherent().await;
    here.shutdown().await.unwrap();
    let log = Log::default();
    let _capture = log.capture();
    let there = Instance::with_redis(Redis::new(server.url()).shards(2 * SHARDS)).await;
    until_all_have_failed(&there, "laid out for 8 shards").await;
    let warnings = warnings(&log);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("laid out for 8 shards"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn server_that_ends_is_one_warning_and_each_lost_link_is_named() {
    let mut server = Server::start();
    let address = format!("address=\"127.0.0.1:{}\"", server.port());
    let log = Log::default();
    let _capture = log.capture();
    let here = Instance::with_redis(redis(&server)).await;
    here.until_coherent().await;
    let begun = log.lines_with("begins a new history");
    assert_eq!(begun.len(), usize::from(SHARDS), "{begun:#?}");
    server.kill();
    until_all_have_failed(&here, "refused").await;
    let lost = log.lines_with("connection to Redis lost");
    for lines in [begun, lost] {
        for shard in 0..SHARDS {
            let shard = format!("shard={shard} ");
            let names = |line: &&String| line.contains(&shard) && line.contains(&address);
            assert_eq!(lines.iter().filter(names).count(), 1, "{shard}: {lines:#?}");
        }
    }
    let warnings = warnings(&log);
    let failed = warnings.iter().filter(|line| line.contains("refused"));
    assert_eq!(failed.count(), 1, "{warnings:#?}");
    server.restart();
    until("all shards are used again", || here.tier_health().connected).await;
    let again = log.lines_with("can be used again");
    assert_eq!(again.len(), 1, "{again:#?}");
}

#[tokio::test]
async fn missing_permission_is_one_warning_for_all_shards() {
    let server = Server::start();
    let user = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">pw",
        "~{cache:*}:*",
        "&{cache:*}:*",
        "+@all",
        "-wait",
    ];
    let _: () = server.command(&user);
    let log = Log::default();
    let _capture = log.capture();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    let here = Instance::with_redis(Redis::new(url).shards(SHARDS)).await;
    here.until_coherent().await;
    let warnings = warnings(&log);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("may not run wait"), "{warnings:?}");
}

/// Other tasks run while the shutdown waits for the journal's file.
#[tokio::test]
async fn shutdown_is_no_loss_of_a_connection() {
    let server = Server::start();
    let directory = Directory::new("quiet-shutdown");
    let log = Log::default();
    let _capture = log.capture();
    let redis = redis(&server).journal_file(directory.path().join("journal"));
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    here.shutdown().await.unwrap();
    let begun = log.lines_with("begins a new history");
    assert_eq!(begun.len(), usize::from(SHARDS), "the log is captured");
    let lost = log.lines_with("lost");
    assert!(lost.is_empty(), "{lost:#?}");
}
