//! The verdicts on records, each provoked in a real Redis.

use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, FencedBy, Function, Level, Memory, Mismatch, NextCall, Redis, Verdict, invalidate,
};

use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::counts::function_stats;
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

use super::{
    HOUR, answered, assert_loads, assert_next, builder, explain, load, loads, tier, verdict,
};

/// A server with the record of key 1 of a function, and an instance that has not read it.
async fn stored(name: &'static str) -> (Server, Function<u64>, Instance) {
    let server = Server::start();
    let function = builder(name).build().unwrap();
    let writer = Instance::with_redis_at(&server.url()).await;
    load(&writer, &function, 7).await;
    server.until_records(1).await;
    let reader = Instance::with_redis_at(&server.url()).await;
    reader.until_coherent().await;
    (server, function, reader)
}

#[tokio::test]
async fn record_that_a_call_can_use_is_good_and_a_call_is_answered_by_it() {
    let (_server, function, reader) = stored("explain::good").await;
    let before = explain(&reader, &function).await;
    assert_eq!(verdict(&before, Level::L1), &Verdict::Absent);
    let l2 = tier(&before, Level::L2);
    assert_eq!((&l2.verdict, &*l2.kind), (&Verdict::Good, "redis"));
    let (record, channel) = (l2.record.as_ref().unwrap(), l2.channel.unwrap());
    assert!(record.bytes > 84 && !record.is_copy, "{before}");
    assert!(channel.coherent_for.is_some() && l2.fresh_for > Some(HOUR / 2));
    assert_next(&before, answered(Level::L2, &[Level::L1]));

    assert_eq!(load(&reader, &function, 8).await, 7);
    let after = explain(&reader, &function).await;
    assert_eq!(verdict(&after, Level::L1), &Verdict::Good);
    assert_next(&after, answered(Level::L1, &[]));
    assert!(!after.to_string().contains("value 7"), "it has no value");
}

#[tokio::test]
async fn missing_record_is_absent_and_a_call_loads() {
    let server = Server::start();
    let function = builder("explain::absent").build().unwrap();
    let here = Instance::with_redis_at(&server.url()).await;
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Absent);
    assert!(
        server.keys().iter().all(|key| !key.contains("lease")),
        "it took a lease"
    );
    assert_loads(&here, &function, &explained).await;
}

#[tokio::test]
async fn changed_bytes_are_damaged() {
    let (server, function, reader) = stored("explain::damaged").await;
    let _: u64 = server.command(&["SETRANGE", &server.records()[0], "90", "zz"]);
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Damaged);
    assert!(tier(&explained, Level::L2).record.is_none());
    assert_loads(&reader, &function, &explained).await;
}

#[tokio::test]
async fn record_of_something_else_is_a_mismatch_that_names_the_part() {
    let (server, function, reader) = stored("explain::mismatch").await;
    let name = server.records()[0].clone();
    let other = name.replace(":1:1", ":1:2");
    assert_ne!(name, other);
    let _: u64 = server.command(&["COPY", &name, &other]);
    let explained = reader.call(function.entry((2,)).explain()).await;
    let expected = |of| Verdict::Mismatch { of };
    assert_eq!(
        verdict(&explained, Level::L2),
        &expected(Mismatch::Key),
        "{explained}"
    );

    drop(function);
    let function = builder("explain::mismatch").codec("json").build().unwrap();
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &expected(Mismatch::Codec));

    drop(function);
    let function = builder("explain::mismatch").tags(["all"]).build().unwrap();
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &expected(Mismatch::Tags));

    drop(function);
    let function = Function::<String>::builder("explain::mismatch")
        .ttl(HOUR)
        .build()
        .unwrap();
    let explained = reader.call(function.entry((1,)).explain()).await;
    assert_eq!(verdict(&explained, Level::L2), &expected(Mismatch::Shape));
    assert_next(&explained, loads);

    drop(function);
    let function = builder("explain::mismatch").version(2).build().unwrap();
    let _: u64 = server.command(&["COPY", &name, &name.replace(":1:1", ":2:1")]);
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &expected(Mismatch::Version));
}

#[tokio::test]
async fn record_from_before_an_invalidation_of_the_function_is_of_another_epoch() {
    let (_server, function, reader) = stored("explain::epoch").await;
    reader.invalidate(function.invalidate_all()).await;
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::OtherEpoch);
    assert_loads(&reader, &function, &explained).await;
}

#[tokio::test]
async fn record_from_before_an_invalidation_of_everything_is_of_another_history() {
    let (_server, function, reader) = stored("explain::history").await;
    reader.invalidate(reader.runtime.invalidate_all()).await;
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::OtherHistory);
    assert_loads(&reader, &function, &explained).await;
}

#[tokio::test]
async fn record_without_the_epoch_of_its_function_has_an_unknown_stamp() {
    let (server, function, reader) = stored("explain::stamp").await;
    let record = server.records()[0].clone();
    for key in server
        .keys()
        .iter()
        .filter(|key| key.contains("explain::stamp"))
    {
        if *key != record {
            let _: u64 = server.command(&["DEL", key]);
        }
    }
    let explained = explain(&reader, &function).await;
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::UnknownStamp,
        "{explained}"
    );
    assert_loads(&reader, &function, &explained).await;
}

#[tokio::test]
async fn value_whose_tag_was_invalidated_is_fenced_off_by_the_tag() {
    let server = Server::start();
    let function = builder("explain::tag").tags(["group"]).build().unwrap();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    load(&here, &function, 7).await;
    server.until_records(1).await;
    assert_next(&explain(&here, &function).await, answered(Level::L1, &[]));
    here.invalidate(invalidate!(tag "group")).await;
    let explained = explain(&here, &function).await;
    for level in [Level::L1, Level::L2] {
        let by = FencedBy::Tag;
        assert_eq!(
            verdict(&explained, level),
            &Verdict::FencedOff { by },
            "{explained}"
        );
    }
    assert_loads(&here, &function, &explained).await;
}

#[tokio::test]
async fn record_past_its_ttl_is_expired() {
    let (server, clock) = (Server::start(), TestClock::new());
    let function = builder("explain::expired").build().unwrap();
    let redis = ClockedTier::new(Redis::new(server.url()), &clock);
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .clock(clock.of_runtimes());
    let here = Instance::build(tiers).await;
    here.until_coherent().await;
    load(&here, &function, 7).await;
    server.until_records(1).await;
    clock.advance(HOUR + Duration::from_secs(1));
    let explained = explain(&here, &function).await;
    for level in [Level::L1, Level::L2] {
        assert_eq!(verdict(&explained, level), &Verdict::Expired, "{explained}");
    }
    assert_loads(&here, &function, &explained).await;
}

#[tokio::test]
async fn record_is_due_if_there_is_no_memory_and_a_call_begins_a_load() {
    let (server, clock) = (Server::start(), TestClock::new());
    let ahead = Duration::from_secs(60);
    let below = |name| {
        builder(name)
            .tiers([Level::L2])
            .jitter(0)
            .refresh_ahead(ahead)
    };
    let function = below("explain::due").build().unwrap();
    let redis = ClockedTier::new(Redis::new(server.url()), &clock);
    let tiers = CacheRuntime::builder().l2(redis);
    let here = Instance::build(tiers.clock(clock.of_runtimes())).await;
    load(&here, &function, 7).await;
    server.until_records(1).await;
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Good);
    assert_next(&explained, answered(Level::L2, &[]));

    clock.advance(HOUR - ahead + Duration::from_secs(1));
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Due);
    let begins_load = |next: &NextCall| {
        matches!(
            next,
            NextCall::Answered {
                by: Level::L2,
                stale: None,
                begins_load: true,
                ..
            }
        )
    };
    assert_next(&explained, begins_load);
    let call = function.get_or_load_late((1,), || async { 8 });
    assert_eq!(here.call(call).await, 7);
    until("the value is replaced", || {
        function_stats(&here, "explain::due").is_some_and(|stats| stats.refreshes == 1)
    })
    .await;
}

#[tokio::test]
async fn record_of_nothing_takes_the_place_of_a_value_that_is_too_large() {
    let server = Server::start();
    let function = Function::<String>::builder("explain::nothing")
        .ttl(HOUR)
        .build()
        .unwrap();
    let redis = Redis::new(server.url()).max_record_bytes(1_024);
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    let entry = || function.entry((1,));
    // The record of nothing lives for a second.
    until_ok("a record of nothing is seen", async || {
        let refreshed = entry();
        let refresh = refreshed.refresh(|| async { "x".repeat(4_096) });
        let _: String = here.call(refresh).await;
        let explained = here.call(entry().explain()).await;
        match verdict(&explained, Level::L2) {
            Verdict::Nothing => Ok(()),
            _ => Err(explained.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn lost_server_is_unreachable_and_a_queued_invalidation_is_pending() {
    let (mut server, function, reader) = stored("explain::lost").await;
    server.kill();
    reader.until_disconnected().await;
    let explained = explain(&reader, &function).await;
    let is_unreachable = |verdict: &Verdict| matches!(verdict, Verdict::Unreachable { .. });
    assert!(
        is_unreachable(verdict(&explained, Level::L2)),
        "{explained}"
    );
    assert_next(&explained, loads);
    reader.invalidate(function.entry((1,)).invalidate()).await;
    let explained = explain(&reader, &function).await;
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Pending);
    assert_loads(&reader, &function, &explained).await;
}

#[tokio::test]
async fn lease_and_guard_of_another_instance_are_seen() {
    let server = Server::start();
    let function = builder("explain::lease").build().unwrap();
    let (first, second) = Instance::two_at(&server.url()).await;
    first.until_coherent().await;
    let guard = first
        .call(function.entry((1,)).write_guard())
        .await
        .unwrap();
    until("the guard is placed", || guard.is_held()).await;
    let explained = explain(&second, &function).await;
    assert_eq!(tier(&explained, Level::L2).guards, Some(1), "{explained}");
    let is_not_kept = |next: &NextCall| matches!(next, NextCall::Loads { is_kept: false, .. });
    assert_next(&explained, is_not_kept);
    let explained = explain(&first, &function).await;
    assert!(explained.is_guarded, "{explained}");
    guard.invalidate().await.unwrap();
}
