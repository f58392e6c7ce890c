//! The events of a runtime, and those that an explanation shows.

use std::sync::Arc;

use multi_tier_cached::{
    Event, EventKind, EventOrigin, EventScope, Level, Mismatch, Redis, multi_tier_cached,
};

use testbed::server::Server;
use testbed::{Gate, Instance, until};

use super::{builder, explain, load};

fn invalidated(scope: EventScope, by: EventOrigin) -> EventKind {
    EventKind::Invalidated { scope, by }
}

/// Waits until an event of this kind was noted in this instance, and returns the first one.
async fn until_noted(instance: &Instance, kind: EventKind) -> Event {
    let found = || {
        instance
            .events(0)
            .into_iter()
            .find(|event| event.kind == kind)
    };
    until(&format!("{kind:?}"), || found().is_some()).await;
    found().unwrap()
}

#[tokio::test]
async fn invalidation_is_an_event_here_and_on_other_instances() {
    let server = Server::start();
    let function = builder("events::invalidated").build().unwrap();
    let (first, second) = Instance::two_at(&server.url()).await;
    second.until_coherent().await;
    load(&first, &function, 7).await;
    load(&second, &function, 7).await;
    first.invalidate(function.entry((1,)).invalidate()).await;
    let here = until_noted(&first, invalidated(EventScope::Key, EventOrigin::Here)).await;
    let there = until_noted(&second, invalidated(EventScope::Key, EventOrigin::Peer)).await;
    assert_eq!(here.function.as_deref(), Some("events::invalidated"));
    assert_eq!((here.key, here.tier), (there.key, None));
    assert_eq!((there.tier, there.function), (Some(Level::L2), None));

    let of_key = explain(&second, &function).await.events;
    let is_there = |events: &[Event]| events.iter().any(|event| event.number == there.number);
    assert!(is_there(&of_key), "{of_key:?}");
    let of_other = second.call(function.entry((2,)).explain()).await.events;
    assert!(!is_there(&of_other), "{of_other:?}");

    first.invalidate(function.invalidate_all()).await;
    let peer = invalidated(EventScope::Function, EventOrigin::Peer);
    let there = until_noted(&second, peer).await;
    assert_eq!(there.function.as_deref(), Some("events::invalidated"));
    let last = second.events(0).last().unwrap().number;
    assert!(second.events(last).is_empty() && second.events(last - 1).len() == 1);
}

#[multi_tier_cached(ttl = "1h", name = "events::refused", skip(gate))]
async fn refused(gate: Arc<Gate>, _key: u64) -> u64 {
    gate.pass().await
}

#[tokio::test]
async fn value_that_is_not_stored_is_an_event_with_its_reason() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let gate = Arc::new(Gate::new());
    let call = here.spawn(refused(Arc::clone(&gate), 1));
    gate.until_entered(1).await;
    here.invalidate(refused::entry(Arc::clone(&gate), 1).invalidate())
        .await;
    gate.open();
    call.await.unwrap();
    let is_refused = |event: &Event| matches!(event.kind, EventKind::FillRefused { .. });
    until("the refusal is noted", || {
        here.events(0).iter().any(is_refused)
    })
    .await;
    let events = here.events(0);
    let event = events.iter().find(|event| is_refused(event)).unwrap();
    assert_eq!(event.function.as_deref(), Some("events::refused"));
    assert_eq!(event.tier, Some(Level::L2));
}

#[tokio::test]
async fn unusable_record_is_an_event() {
    let server = Server::start();
    let function = builder("events::unusable").build().unwrap();
    let here = Instance::with_redis_at(&server.url()).await;
    load(&here, &function, 7).await;
    server.until_records(1).await;
    let name = server.records()[0].clone();
    let _: u64 = server.command(&["COPY", &name, &name.replace(":1:1", ":1:2")]);
    let call = function.get_or_load((2,), || async { 8 });
    assert_eq!(here.call(call).await, 8);
    let of = Mismatch::Key;
    until_noted(&here, EventKind::RecordMismatch { of }).await;

    let other = Instance::with_redis_at(&server.url()).await;
    let _: u64 = server.command(&["SETRANGE", &name, "90", "zz"]);
    load(&other, &function, 9).await;
    until_noted(&other, EventKind::RecordDamaged).await;
}

#[tokio::test]
async fn lost_link_and_lost_data_are_events() {
    let mut server = Server::start();
    let function = builder("events::lost").build().unwrap();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    load(&here, &function, 7).await;
    server.kill();
    let isolated = until_noted(&here, EventKind::Isolated).await;
    assert_eq!((isolated.tier, isolated.key), (Some(Level::L2), None));
    server.restart();
    until_noted(&here, EventKind::HistoryChanged).await;
    let explained = explain(&here, &function).await.to_string();
    assert!(
        explained.contains("l2: the channel was lost"),
        "{explained}"
    );
}

#[tokio::test]
async fn message_that_is_missing_is_an_event() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let channels: Vec<String> = server.command(&["PUBSUB", "SHARDCHANNELS"]);
    let message = "9000000000000000:k:1";
    let _: u64 = server.command(&["SPUBLISH", &channels[0], message]);
    until_noted(&here, EventKind::Gap).await;
}

#[tokio::test]
async fn server_that_does_not_answer_is_an_event() {
    let server = Server::start();
    let function = builder("events::breaker").build().unwrap();
    let redis = Redis::new(server.url()).breaker_threshold(1);
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    server.freeze();
    load(&here, &function, 7).await;
    let noted = || {
        here.events(0)
            .iter()
            .any(|event| event.kind == EventKind::BreakerOpened)
    };
    until("the breaker opens", noted).await;
    server.thaw();
}
