//! The verdicts on records of a private tier beside a shared one, whose records are judged by the
//! invalidations that this instance knows.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Consistency, Disk, FencedBy, Function, Level, Memory, Redis, Verdict,
    WhenIsolated,
};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, until_ok};

use super::{assert_answered, assert_loads, builder, explain, load, verdict};

/// An instance with memory, a Redis and a disk.
async fn instance(server: &Server, directory: &Directory) -> Instance {
    let disk = Disk::new(directory.path()).time_limit(Duration::from_secs(10));
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .l3(disk);
    let this = Instance::build(tiers).await;
    this.until_coherent().await;
    this
}

/// Loads value 7, waits until both lower tiers have its record, and deletes that of Redis.
async fn on_disk_alone(server: &Server, here: &Instance, function: &Function<u64>) {
    load(here, function, 7).await;
    server.until_records(1).await;
    until_has(here, function, (Level::L3, &Verdict::Good)).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
}

async fn until_has(
    here: &Instance,
    function: &Function<u64>,
    (level, expected): (Level, &Verdict),
) {
    until_ok("the tier has the verdict", async || {
        let explained = explain(here, function).await;
        match verdict(&explained, level) == expected {
            true => Ok(()),
            false => Err(explained.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn record_of_a_private_tier_is_passed_over_by_a_strong_call_only() {
    let (server, directory) = (Server::start(), Directory::new("explain_passed_over"));
    let here = instance(&server, &directory).await;
    let name = "explain::passed_over";
    let function = builder(name).build().unwrap();
    on_disk_alone(&server, &here, &function).await;

    drop(function);
    let strong = builder(name).consistency(Consistency::Strong);
    let strong = strong.build().unwrap();
    let explained = explain(&here, &strong).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Absent);
    assert_eq!(
        verdict(&explained, Level::L3),
        &Verdict::PassedOver,
        "{explained}"
    );
    assert_loads(&here, &strong, &explained).await;
}

#[tokio::test]
async fn record_of_a_private_tier_that_this_instance_wrote_is_good() {
    let (server, directory) = (Server::start(), Directory::new("explain_private_good"));
    let tiers = [Level::L2, Level::L3];
    let here = instance(&server, &directory).await;
    let function = builder("explain::private_good").tiers(tiers).build();
    let function = function.unwrap();
    on_disk_alone(&server, &here, &function).await;
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Absent);
    assert_eq!(verdict(&explained, Level::L3), &Verdict::Good);
    // A private tier may lag behind, so other instances must not read its value.
    assert_answered(&here, &function, &explained, (Level::L3, &[]), 7).await;
}

#[tokio::test]
async fn record_of_a_private_tier_is_fenced_off_by_an_invalidation_of_its_key_elsewhere() {
    let server = Server::start();
    let directories = ["explain_fenced_here", "explain_fenced_there"].map(Directory::new);
    let here = instance(&server, &directories[0]).await;
    let there = instance(&server, &directories[1]).await;
    let function = builder("explain::private_fenced").build().unwrap();
    on_disk_alone(&server, &here, &function).await;
    let entry = function.entry((1,));
    assert_eq!(there.invalidate(entry.invalidate()).await, Receipt::Acked);
    let fenced = Verdict::FencedOff { by: FencedBy::Key };
    until_has(&here, &function, (Level::L1, &fenced)).await;
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L3), &fenced, "{explained}");
    assert_loads(&here, &function, &explained).await;
}

/// The restarted process cannot know which invalidations it has missed.
#[tokio::test]
async fn record_of_a_private_tier_is_of_another_history_after_a_restart() {
    let (server, directory) = (Server::start(), Directory::new("explain_restart"));
    let before = instance(&server, &directory).await;
    let function = builder("explain::private_restart").build().unwrap();
    on_disk_alone(&server, &before, &function).await;
    before.shutdown().await.unwrap();
    let after = instance(&server, &directory).await;
    let explained = explain(&after, &function).await;
    assert_eq!(
        verdict(&explained, Level::L3),
        &Verdict::OtherHistory,
        "{explained}"
    );
    assert_loads(&after, &function, &explained).await;
}

#[tokio::test]
async fn record_of_a_private_tier_answers_isolated_calls_only_if_the_function_serves_them() {
    for (name, serves) in [
        ("explain::private_load", WhenIsolated::Load),
        ("explain::private_serve", WhenIsolated::Serve),
    ] {
        let (mut server, directory) = (Server::start(), Directory::new("explain_private_lost"));
        let here = instance(&server, &directory).await;
        let tiers = [Level::L2, Level::L3];
        let function = builder(name).tiers(tiers).when_isolated(serves);
        let function = function.build().unwrap();
        on_disk_alone(&server, &here, &function).await;
        server.kill();
        here.until_disconnected().await;
        let explained = explain(&here, &function).await;
        let l2 = verdict(&explained, Level::L2);
        assert!(matches!(l2, Verdict::Unreachable { .. }), "{explained}");
        let l3 = verdict(&explained, Level::L3);
        match serves {
            WhenIsolated::Load => {
                assert_eq!(l3, &Verdict::NotCoherent, "{explained}");
                assert_loads(&here, &function, &explained).await;
            }
            WhenIsolated::Serve => {
                assert_eq!(l3, &Verdict::Good, "{explained}");
                assert_answered(&here, &function, &explained, (Level::L3, &[]), 7).await;
            }
        }
    }
}
