//! `caching::stale`: a body sees the value that it is to replace, and can return it. `skip` and
//! `failed` in such a body.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, FunctionStats, LoadTimeout, ManualClock, RefreshAhead, caching,
    multi_tier_cached,
};
use testbed::server::Server;
use testbed::{Instance, until};

use super::{MOMENT, Source, in_memory, seconds, stats, with_redis};

const TTL: Duration = seconds(60);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

impl From<LoadTimeout> for Failed {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

type Page = Arc<String>;
type Answer = Result<Page, Failed>;

/// The end of the next body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Returns a page of this number.
    New(u64),
    /// Returns the page that it is to replace, as after a status of 304.
    Same,
    Skip,
    Failed,
    Err,
}

/// A source with the pages that bodies have seen.
#[derive(Debug)]
struct Pages {
    source: Source<Step>,
    seen: Mutex<Vec<Option<String>>>,
}

impl Pages {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            source: Source::new(Step::New(1)),
            seen: Mutex::default(),
        })
    }

    fn load(&self) -> Answer {
        let step = self.source.ask();
        let stale = caching::stale::<Page>();
        let text = stale.as_ref().map(|page| page.to_string());
        self.seen.lock().unwrap().push(text);
        assert!(caching::stale::<String>().is_none(), "another type");
        match step {
            Step::New(number) => Ok(page(number)),
            Step::Same => Ok(stale.expect("a page to replace")),
            Step::Skip => {
                assert!(caching::skip());
                Ok(page(0))
            }
            Step::Failed => {
                assert!(caching::failed());
                Ok(page(0))
            }
            Step::Err => Err(Failed),
        }
    }

    /// The page that the last body has seen.
    fn last_seen(&self) -> Option<String> {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

fn page(number: u64) -> Page {
    Arc::new(format!("page {number}"))
}

#[multi_tier_cached(
    ttl = "60s",
    jitter = "0%",
    stale_while_revalidate = "60s",
    stale_if_error = "10m",
    skip(pages)
)]
async fn revalidated(pages: &Arc<Pages>, _key: u64) -> Answer {
    pages.load()
}

#[multi_tier_cached(ttl = "60s", jitter = "0%", refresh_ahead = "20s", skip(pages))]
async fn ahead(pages: &Arc<Pages>, _key: u64) -> Answer {
    pages.load()
}

#[multi_tier_cached(ttl = "60s", jitter = "0%", stale_if_error = "10m", skip(pages))]
async fn on_error(pages: &Arc<Pages>, _key: u64) -> Answer {
    pages.load()
}

#[multi_tier_cached(ttl = "60s", jitter = "0%", skip(pages))]
async fn without_window(pages: &Arc<Pages>, _key: u64) -> Answer {
    pages.load()
}

/// Waits until no load runs, and none in the background is about to begin.
async fn until_idle(here: &Instance) {
    until("no load is left", || {
        let background = here.background_loads();
        here.loads_under_way() + background.running + background.waiting == 0
    })
    .await;
}

fn counted(here: &Instance, name: &str) -> FunctionStats {
    stats(here, &format!("replaced_values::{name}"))
}

#[tokio::test]
async fn revalidation_sees_the_stale_value_which_is_fresh_again_when_it_is_returned() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    let call = async |when: &str| {
        assert_eq!(
            here.call(revalidated(&pages, 1)).await,
            Ok(page(1)),
            "{when}"
        );
        until_idle(&here).await;
    };
    call("at first").await;
    assert_eq!(pages.last_seen(), None, "the first load replaces nothing");
    pages.source.answers(Step::Same);
    clock.advance(TTL - MOMENT);
    for bodies in 2..4 {
        clock.advance(MOMENT);
        call("the stale value").await;
        assert_eq!(pages.source.asked(), bodies);
        assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
        clock.advance(TTL - MOMENT);
        call("to the end of the next life").await;
        assert_eq!(pages.source.asked(), bodies, "it has its whole ttl again");
    }
    assert_eq!(counted(&here, "revalidated").refresh_errors, 0);
}

/// The copy of another instance is the value that is fresh again.
#[tokio::test]
async fn value_that_a_revalidation_returns_again_has_a_fresh_record() {
    let (server, clock) = (Server::start(), ManualClock::new());
    let here = with_redis(&server, 1.0, &clock).await;
    let pages = Pages::new();
    let call = async |instance: &Instance| {
        assert_eq!(instance.call(revalidated(&pages, 1)).await, Ok(page(1)));
        until_idle(instance).await;
    };
    call(&here).await;
    server.until_records(1).await;
    // Redis has a time of its own, so the record is removed instead of becoming stale.
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    clock.advance(TTL);
    pages.source.answers(Step::Same);
    call(&here).await;
    assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
    server.until_records(1).await;
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    for _ in 0..2 {
        call(&there).await;
    }
    assert_eq!(pages.source.asked(), 2);
    assert_eq!(counted(&there, "revalidated").refreshes, 0, "it is fresh");
}

#[tokio::test]
async fn refresh_ahead_sees_the_value_which_has_its_whole_ttl_again_when_it_is_returned() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    let call = async |when: &str| {
        assert_eq!(here.call(ahead(&pages, 1)).await, Ok(page(1)), "{when}");
        until_idle(&here).await;
    };
    call("at first").await;
    pages.source.answers(Step::Same);
    clock.advance(seconds(40) - MOMENT);
    call("not due").await;
    assert_eq!(pages.source.asked(), 1);
    for bodies in 2..4 {
        clock.advance(MOMENT);
        call("due").await;
        assert_eq!(pages.source.asked(), bodies);
        assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
        clock.advance(seconds(40) - MOMENT);
        call("not due again").await;
        assert_eq!(pages.source.asked(), bodies, "the value has its whole ttl");
    }
    // No call has asked for it while it was due.
    clock.advance(seconds(20) + MOMENT);
    pages.source.answers(Step::New(1));
    call("expired").await;
    assert_eq!(pages.last_seen(), None, "the value has ended");
}

#[tokio::test]
async fn load_in_the_foreground_sees_the_stale_value_in_the_error_window() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    let call = async || here.call(on_error(&pages, 1)).await;
    assert_eq!(call().await, Ok(page(1)));
    clock.advance(TTL);
    pages.source.answers(Step::Same);
    assert_eq!(call().await, Ok(page(1)));
    assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
    clock.advance(TTL - MOMENT);
    assert_eq!(call().await, Ok(page(1)));
    assert_eq!(pages.source.asked(), 2, "it is fresh again");
    clock.advance(MOMENT + seconds(600));
    pages.source.answers(Step::New(2));
    assert_eq!(call().await, Ok(page(2)));
    assert_eq!(pages.last_seen(), None, "after the window");
}

#[tokio::test]
async fn load_of_a_late_function_sees_the_stale_value_in_the_error_window() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    let call = async || here.call(revalidated(&pages, 1)).await;
    assert_eq!(call().await, Ok(page(1)));
    clock.advance(TTL * 2);
    pages.source.answers(Step::Same);
    assert_eq!(call().await, Ok(page(1)));
    assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
    assert_eq!(
        counted(&here, "revalidated").refreshes,
        0,
        "in the foreground"
    );
}

#[tokio::test]
async fn body_of_a_function_without_a_window_sees_no_value() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    assert_eq!(here.call(without_window(&pages, 1)).await, Ok(page(1)));
    let refreshed = here.call(without_window::entry(&pages, 1).refresh()).await;
    assert_eq!(refreshed, Ok(page(1)));
    assert_eq!(pages.last_seen(), None);
    clock.advance(TTL);
    assert_eq!(here.call(without_window(&pages, 1)).await, Ok(page(1)));
    assert_eq!(pages.last_seen(), None);
    assert_eq!(pages.source.asked(), 3);
}

#[tokio::test]
async fn body_does_not_see_a_value_that_was_invalidated() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    assert_eq!(here.call(on_error(&pages, 1)).await, Ok(page(1)));
    clock.advance(TTL);
    here.invalidate(on_error::invalidation(&pages, 1)).await;
    pages.source.answers(Step::New(2));
    assert_eq!(here.call(on_error(&pages, 1)).await, Ok(page(2)));
    assert_eq!(pages.last_seen(), None);
}

#[tokio::test]
async fn callers_get_the_stale_value_when_the_body_says_that_it_failed() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    for in_background in [true, false] {
        let pages = Pages::new();
        let key = u64::from(in_background);
        let call = async || {
            let result = here.call(revalidated(&pages, key)).await;
            until_idle(&here).await;
            result
        };
        assert_eq!(call().await, Ok(page(1)));
        clock.advance(if in_background { TTL } else { TTL * 2 });
        pages.source.answers(Step::Failed);
        let before = counted(&here, "revalidated");
        for _ in 0..3 {
            assert_eq!(call().await, Ok(page(1)));
        }
        assert_eq!(pages.source.asked(), 2, "backed off after the failed load");
        let after = counted(&here, "revalidated");
        assert_eq!(after.load_errors, before.load_errors + 1);
        let errors = after.refresh_errors - before.refresh_errors;
        let instead = after.stale_on_error - before.stale_on_error;
        let expected = if in_background { (1, 0) } else { (0, 1) };
        assert_eq!((errors, instead), expected);
        clock.advance(seconds(2));
        pages.source.answers(Step::New(2));
        call().await.unwrap();
        assert_eq!(call().await, Ok(page(2)));
        assert_eq!(pages.source.asked(), 3);
    }
}

/// The source says that the value is not to be kept any more.
#[tokio::test]
async fn value_is_dropped_when_the_load_that_replaces_it_skips() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    for in_background in [true, false] {
        let pages = Pages::new();
        let key = u64::from(in_background);
        let call = async || {
            let result = here.call(revalidated(&pages, key)).await;
            until_idle(&here).await;
            result
        };
        assert_eq!(call().await, Ok(page(1)));
        clock.advance(if in_background { TTL } else { TTL * 2 });
        pages.source.answers(Step::Skip);
        let first = if in_background { page(1) } else { page(0) };
        assert_eq!(call().await, Ok(first));
        pages.source.answers(Step::Err);
        assert_eq!(call().await, Err(Failed), "no stale value is left");
        assert_eq!(pages.last_seen(), None);
    }
}

/// The body of a function that keeps absence says that there is no value any more.
#[tokio::test]
async fn revalidation_that_finds_nothing_replaces_the_value_by_its_absence() {
    #[multi_tier_cached(
        ttl = "60s",
        none_ttl = "30s",
        stale_while_revalidate = "60s",
        tiers = "l1",
        skip(source)
    )]
    async fn find(source: &Arc<Source<Option<u64>>>) -> Option<u64> {
        source.ask()
    }

    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Arc::new(Source::new(Some(1)));
    let call = async || {
        let found = here.call(find(&source)).await;
        until_idle(&here).await;
        found
    };
    assert_eq!(call().await, Some(1));
    clock.advance(TTL);
    source.answers(None);
    assert_eq!(call().await, Some(1), "the stale value");
    assert_eq!(call().await, None);
    clock.advance(seconds(30) - MOMENT);
    assert_eq!(call().await, None);
    assert_eq!(source.asked(), 2);
    // Absence has no window: a call waits for the next load.
    clock.advance(MOMENT);
    source.answers(Some(3));
    assert_eq!(call().await, Some(3));
    assert_eq!(source.asked(), 3);
}

#[multi_tier_cached(ttl = "60s", stale_if_error = "10m", tiers = "l1", skip(pages))]
fn plain(pages: &Pages, _key: u64) -> Answer {
    pages.load()
}

#[tokio::test]
async fn body_of_a_plain_function_sees_the_stale_value_and_can_return_it() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let pages = Pages::new();
    let call = || CacheRuntime::scope_blocking(here.runtime.clone(), || plain(&pages, 1));
    assert_eq!(call(), Ok(page(1)));
    clock.advance(TTL);
    pages.source.answers(Step::Failed);
    assert_eq!(
        call(),
        Ok(page(1)),
        "in place of the result of the failed load"
    );
    clock.advance(seconds(2));
    pages.source.answers(Step::Same);
    assert_eq!(call(), Ok(page(1)));
    assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
    clock.advance(TTL - MOMENT);
    assert_eq!(call(), Ok(page(1)));
    assert_eq!(pages.source.asked(), 3, "it is fresh again");
}

#[tokio::test]
async fn body_of_a_built_function_sees_the_value_that_it_replaces() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let function = Function::<Page>::builder("result_times::built_ahead")
        .ttl(TTL)
        .refresh_ahead(RefreshAhead::AtLeast(seconds(20)))
        .build()
        .unwrap();
    let pages = Pages::new();
    let call = async || {
        let pages = Arc::clone(&pages);
        let load = move || async move { pages.load() };
        let result = here.call(function.get_or_load_late((1,), load)).await;
        until_idle(&here).await;
        result
    };
    assert_eq!(call().await, Ok(page(1)));
    clock.advance(seconds(40));
    pages.source.answers(Step::Same);
    assert_eq!(call().await, Ok(page(1)));
    assert_eq!(pages.last_seen().as_deref(), Some("page 1"));
    clock.advance(seconds(39));
    assert_eq!(call().await, Ok(page(1)));
    assert_eq!(pages.source.asked(), 2, "it has its whole ttl again");
}
