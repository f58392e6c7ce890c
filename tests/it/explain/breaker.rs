//! `explain` of a server that does not answer changes nothing for the calls.

use std::time::Duration;

use multi_tier_cached::{Consistency, EventKind, Function, Level, Redis, Verdict};

use testbed::server::Server;
use testbed::{Instance, until};

use super::{builder, explain, load, verdict};

const LIMIT: Duration = Duration::from_millis(200);

/// Creates an instance whose breaker opens after so many timeouts in a row.
async fn instance(server: &Server, threshold: u32) -> Instance {
    let redis = Redis::new(server.url())
        .time_limit(LIMIT)
        // The link is not given up for its silence while the server is frozen.
        .staleness_bound(LIMIT * 50);
    let here = Instance::with_redis(redis.breaker_threshold(threshold)).await;
    here.until_coherent().await;
    here
}

fn has_opened(here: &Instance) -> bool {
    let events = here.events(0);
    let mut kinds = events.iter().map(|event| event.kind);
    kinds.any(|kind| kind == EventKind::BreakerOpened)
}

#[tokio::test]
async fn explain_that_times_out_does_not_open_the_breaker() {
    let server = Server::start();
    let function = builder("explain::timeouts").build().unwrap();
    let here = instance(&server, 1).await;
    server.freeze();
    for _ in 0..2 {
        let explained = explain(&here, &function).await;
        let is_unreachable = matches!(verdict(&explained, Level::L2), Verdict::Unreachable { .. });
        assert!(is_unreachable, "{explained}");
    }
    assert!(!has_opened(&here));
    load(&here, &function, 7).await;
    until("a call opens the breaker", || has_opened(&here)).await;
    server.thaw();
}

/// The record has tags and the function is strong, so that the ledger is read as well.
#[tokio::test]
async fn explain_that_is_answered_does_not_end_a_row_of_timeouts() {
    let server = Server::start();
    let strong: Function<u64> = builder("explain::answers")
        .tags(["answers"])
        .consistency(Consistency::Strong)
        .build()
        .unwrap();
    let here = instance(&server, 2).await;
    load(&here, &strong, 7).await;
    server.freeze();
    load(&here, &strong, 7).await;
    assert!(!has_opened(&here), "one call has one timeout");
    server.thaw();
    let explained = explain(&here, &strong).await;
    assert_eq!(
        verdict(&explained, Level::L2),
        &Verdict::Good,
        "{explained}"
    );
    server.freeze();
    load(&here, &strong, 7).await;
    until("the second timeout opens the breaker", || has_opened(&here)).await;
    server.thaw();
}
