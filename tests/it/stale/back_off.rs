//! Back-off: the time after a failed load in which no body runs for a caller that has a value.

use std::time::Duration;

use testbed::counts::function_stats;
use testbed::until;

use super::source::{Answer, Source};
use super::stores::{Node, Store};
use super::subject::{LIFE, Subject, Windows};

/// Windows that are longer than all back-offs of a test.
const LONG: Duration = Duration::from_secs(3_600);

const WINDOWS: Windows = Windows {
    revalidate: Some(LONG),
    on_error: Some(LONG),
};

/// No load takes any time by the clock of the test, so the first back-off is the shortest.
const NOMINAL: [u64; 8] = [1, 2, 4, 8, 16, 32, 60, 60];

/// A value in one instance whose source has failed so often.
struct Failing {
    store: Store,
    node: Node,
    subject: Subject,
    source: Source,
}

const KEY: u64 = 1;

impl Failing {
    /// Loads a value, and lets its freshness end.
    async fn new(store: Store, windows: Windows) -> Self {
        let this = Self {
            node: store.node().await,
            subject: Subject::new(windows, None),
            source: Source::new(Answer::Value(1)),
            store,
        };
        assert_eq!(this.call().await, Ok(Some(1)));
        this.until_stored(1).await;
        this.store.clock.advance(LIFE);
        this.source.answers(Answer::Fails);
        this
    }

    async fn call(&self) -> super::source::Read {
        self.subject.call(&self.node, KEY, &self.source).await
    }

    async fn invalidate(&self) {
        let entry = self.subject.function().entry((KEY,));
        self.node.call(entry.invalidate()).await.unwrap();
    }

    /// Asserts that a call gets the value 1, and runs a body or none.
    async fn assert_bodies(&self, more: u64, when: &str) {
        let before = self.source.bodies();
        assert_eq!(self.call().await, Ok(Some(1)), "{when}");
        if more > 0 {
            self.source.until_bodies(before + more).await;
        }
        self.node.until_idle().await;
        self.store.until_released().await;
        assert_eq!(self.source.bodies(), before + more, "bodies {when}");
    }

    /// Waits until the store has had this many records. A record that is stored later would be
    /// younger than the test assumes.
    async fn until_stored(&self, number: usize) {
        let is_stored = || !self.store.has_tier() || self.node.fills() >= number;
        until("the value is stored", is_stored).await;
    }

    /// Asserts that the back-off has this nominal length, a fifth more or less, and that a body
    /// runs after it.
    async fn assert_backed_off(&self, nominal: u64, when: &str) {
        let nominal = Duration::from_secs(nominal);
        let (least, most) = (nominal.mul_f64(0.8), nominal.mul_f64(1.2));
        let moment = Duration::from_millis(1);
        self.store.clock.advance(least - moment);
        self.assert_bodies(0, &format!("before {least:?}, {when}"))
            .await;
        self.store.clock.advance(most - least + moment);
        self.assert_bodies(1, &format!("after {most:?}, {when}"))
            .await;
    }
}

async fn back_off_doubles_from_a_second_to_a_minute(store: Store) {
    let failing = Failing::new(store, WINDOWS).await;
    failing.assert_bodies(1, "at the end of the life").await;
    for (failures, nominal) in NOMINAL.into_iter().enumerate() {
        failing
            .assert_backed_off(nominal, &format!("after failure {}", failures + 1))
            .await;
    }
    let stats = function_stats(&failing.node, failing.subject.function().name()).unwrap();
    assert_eq!((stats.refreshes, stats.refresh_errors), (9, 9));
    assert_eq!(
        (stats.loads, stats.load_errors, stats.stale_on_error),
        (10, 9, 0)
    );
}

async fn back_off_of_foreground_loads_doubles_as_well(store: Store) {
    let windows = Windows {
        revalidate: None,
        on_error: Some(LONG),
    };
    let failing = Failing::new(store, windows).await;
    failing.assert_bodies(1, "at the end of the life").await;
    for nominal in [1, 2, 4] {
        failing
            .assert_backed_off(nominal, &format!("a back-off of {nominal} s"))
            .await;
    }
    let stats = function_stats(&failing.node, failing.subject.function().name()).unwrap();
    assert_eq!(
        (stats.refreshes, stats.load_errors, stats.stale_on_error),
        (0, 4, 4)
    );
    // Each back-off was noticed once.
    let memory = &stats.tiers[0];
    assert_eq!(memory.stale_hits, 3, "{stats:?}");
}

async fn back_off_is_counted_again_after_a_load_that_succeeds(store: Store) {
    let failing = Failing::new(store, WINDOWS).await;
    failing.assert_bodies(1, "at the end of the life").await;
    failing.assert_backed_off(1, "after a failure").await;
    failing.assert_backed_off(2, "after two").await;
    failing.source.answers(Answer::Value(1));
    failing.assert_backed_off(4, "before the success").await;
    failing.until_stored(2).await;
    failing.source.answers(Answer::Fails);
    failing.store.clock.advance(LIFE);
    failing.assert_bodies(1, "at the end of the new life").await;
    failing.assert_backed_off(1, "after the success").await;
}

async fn back_off_ends_with_a_put(store: Store) {
    let failing = Failing::new(store, WINDOWS).await;
    failing.assert_bodies(1, "at the end of the life").await;
    failing.assert_backed_off(1, "after a failure").await;
    failing.assert_backed_off(2, "after two").await;
    let entry = failing.subject.function().entry((KEY,));
    failing.node.call(entry.put(1)).await.unwrap();
    failing.store.clock.advance(LIFE);
    failing
        .assert_bodies(1, "at the end of the life of the put")
        .await;
    failing.assert_backed_off(1, "after the put").await;
}

async fn back_off_ends_with_an_invalidation(store: Store) {
    let failing = Failing::new(store, WINDOWS).await;
    failing.assert_bodies(1, "at the end of the life").await;
    failing.assert_backed_off(1, "after a failure").await;
    failing.assert_backed_off(2, "after two").await;
    failing.invalidate().await;
    failing
        .subject
        .assert_missing(&failing.node, KEY, "after the invalidation")
        .await;
    failing.source.answers(Answer::Value(1));
    failing.assert_bodies(1, "a call without a value").await;
    failing.until_stored(2).await;
    failing.source.answers(Answer::Fails);
    failing.store.clock.advance(LIFE);
    failing.assert_bodies(1, "at the end of the new life").await;
    failing.assert_backed_off(1, "after the invalidation").await;
}

async fn caller_without_a_value_ignores_the_back_off(store: Store) {
    let failing = Failing::new(store, WINDOWS).await;
    failing.assert_bodies(1, "at the end of the life").await;
    failing.invalidate().await;
    for _ in 0..2 {
        failing
            .subject
            .assert_missing(&failing.node, KEY, "without a value")
            .await;
    }
}

super::in_every_store!(
    back_off_doubles_from_a_second_to_a_minute,
    back_off_of_foreground_loads_doubles_as_well,
    back_off_is_counted_again_after_a_load_that_succeeds,
    back_off_ends_with_a_put,
    back_off_ends_with_an_invalidation,
    caller_without_a_value_ignores_the_back_off,
);
