//! The verdicts on entries of memory.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, FencedBy, Function, Level, ManualClock, Memory, NextCall, Redis, StaleReason,
    Verdict, WhenIsolated,
};

use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, until_ok};

use super::{HOUR, answered, assert_next, builder, explain, load, loads, stale, verdict};

const SECOND: Duration = Duration::from_secs(1);

async fn with_clock() -> (Instance, ManualClock) {
    let clock = ManualClock::new();
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    (Instance::build(tiers).await, clock)
}

#[tokio::test]
async fn entry_is_fenced_off_by_an_invalidation_of_its_key_elsewhere() {
    let server = Server::start();
    let function = builder("explain::fenced").build().unwrap();
    let (first, second) = Instance::two_at(&server.url()).await;
    first.until_coherent().await;
    load(&first, &function, 7).await;
    let entry = function.entry((1,));
    assert_eq!(second.invalidate(entry.invalidate()).await, Receipt::Acked);
    let by = FencedBy::Key;
    until_ok("the message arrives", async || {
        let explained = explain(&first, &function).await;
        match verdict(&explained, Level::L1) {
            verdict if *verdict == Verdict::FencedOff { by } => Ok(()),
            _ => Err(explained.to_string()),
        }
    })
    .await;
    assert_next(&explain(&first, &function).await, loads);
}

#[tokio::test]
async fn entry_is_fenced_off_by_an_invalidation_of_its_function() {
    let (here, _clock) = with_clock().await;
    let function = builder("explain::fenced_function").build().unwrap();
    load(&here, &function, 7).await;
    here.invalidate(function.invalidate_all()).await;
    let explained = explain(&here, &function).await;
    let by = FencedBy::Function;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::FencedOff { by });
    assert_next(&explained, loads);
}

#[tokio::test]
async fn entry_is_good_then_due_then_stale_then_expired() {
    let (here, clock) = with_clock().await;
    let function = builder("explain::times")
        .refresh_ahead(60 * SECOND)
        .stale_while_revalidate(60 * SECOND)
        .build()
        .unwrap();
    load(&here, &function, 7).await;
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Good);
    clock.advance(HOUR - SECOND);
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Due, "{explained}");
    let begins_load = |next: &NextCall| {
        matches!(
            next,
            NextCall::Answered {
                stale: None,
                begins_load: true,
                ..
            }
        )
    };
    assert_next(&explained, begins_load);
    clock.advance(2 * SECOND);
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Stale);
    assert_next(&explained, stale(Level::L1, StaleReason::Revalidated));
    clock.advance(60 * SECOND);
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Expired);
    assert_next(&explained, loads);
}

#[tokio::test]
async fn value_whose_load_failed_is_stale_and_answers_while_the_key_is_backed_off() {
    let (here, clock) = with_clock().await;
    let function = builder("explain::backed_off")
        .stale_if_error(HOUR)
        .build()
        .unwrap();
    load(&here, &function, 7).await;
    clock.advance(HOUR + SECOND);
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::Stale);
    let has_stale = |next: &NextCall| {
        matches!(
            next,
            NextCall::Loads {
                has_stale: true,
                ..
            }
        )
    };
    assert_next(&explained, has_stale);
    let failing = function.get_or_load((1,), || async { Err::<u64, _>("down") });
    assert_eq!(here.call(failing).await, Ok(7));
    let explained = explain(&here, &function).await;
    assert_next(&explained, stale(Level::L1, StaleReason::BackedOff));
}

#[tokio::test]
async fn kept_results_that_are_no_values_are_named() {
    let (here, _clock) = with_clock().await;
    let function = builder("explain::none").none_ttl(HOUR).build().unwrap();
    let none = function.get_or_load((1,), || async { None::<u64> });
    assert_eq!(here.call(none).await, None);
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::NoValue);
    assert_next(&explained, answered(Level::L1, &[]));
    let some = function.get_or_load((1,), || async { Some(7_u64) });
    assert_eq!(here.call(some).await, None);
}

/// The text of the error is not in the explanation.
#[tokio::test]
async fn kept_error_is_named_and_answers_a_call() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let function = builder("explain::kept_error")
        .error_ttl(60 * SECOND)
        .error_if::<String>(|_| true)
        .build()
        .unwrap();
    let call = async |result: Result<u64, String>| {
        let call = function.get_or_load((1,), move || async move { result });
        here.call(call).await
    };
    let down = || Err("secret is down".to_owned());
    assert_eq!(call(down()).await, down());
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::KeptError);
    assert_eq!(verdict(&explained, Level::L2), &Verdict::Absent);
    assert!(!format!("{explained:?}").contains("secret"));
    assert_next(&explained, answered(Level::L1, &[]));
    assert_eq!(call(Ok(7)).await, down());
}

#[tokio::test]
async fn value_that_was_loaded_during_an_outage_is_a_stopgap_and_answers_isolated_calls() {
    let mut server = Server::start();
    let function = builder("explain::stopgap")
        .when_isolated(WhenIsolated::Serve)
        .build()
        .unwrap();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    server.kill();
    here.until_disconnected().await;
    load(&here, &function, 7).await;
    let explained = explain(&here, &function).await;
    assert_eq!(
        verdict(&explained, Level::L1),
        &Verdict::Stopgap,
        "{explained}"
    );
    assert_next(&explained, answered(Level::L1, &[]));
    assert_eq!(load(&here, &function, 8).await, 7);
}

#[tokio::test]
async fn entry_is_not_used_while_the_instance_is_not_coherent() {
    let tier = FakeTier::shared(HOUR);
    tier.prove();
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(tier.clone());
    let here = Instance::build(tiers).await;
    let function = builder("explain::not_coherent").build().unwrap();
    load(&here, &function, 7).await;
    tier.revoke();
    let explained = explain(&here, &function).await;
    assert_eq!(verdict(&explained, Level::L1), &Verdict::NotCoherent);
    assert_next(&explained, answered(Level::L2, &[Level::L1]));
}

#[tokio::test]
async fn values_without_records_stay_in_memory() {
    let tier = FakeTier::shared(HOUR);
    tier.prove();
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(tier.clone());
    let here = Instance::build(tiers).await;
    let function = Function::<u64>::in_memory("explain::in_memory")
        .ttl(HOUR)
        .build()
        .unwrap();
    let explained = explain(&here, &function).await;
    assert!(
        explained.tiers.iter().all(|tier| tier.level == Level::L1),
        "{explained}"
    );
    assert_next(&explained, loads);
}
