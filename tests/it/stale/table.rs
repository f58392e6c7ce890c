//! The table of stale values: the answer at each border of the windows.

use std::time::Duration;

use multi_tier_cached::Level;

use super::source::{Answer, Down, Source};
use super::stores::{Node, Store};
use super::subject::{LIFE, Subject, Windows, at_once};

const NEAR: Duration = Duration::from_secs(10);
const FAR: Duration = Duration::from_secs(20);

/// The longest first back-off: a second and a fifth.
const LONGEST_FIRST_BACK_OFF: Duration = Duration::from_millis(1_200);

/// The number of calls at the same moment.
const CALLS: usize = 8;

/// Where the value is when the calls come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the memory of the instance, and in its tier.
    Memory,
    /// In the tier alone: another instance has loaded it.
    Tier,
    /// In the tier alone, because the function has no memory.
    WithoutMemory,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The value, and nothing begins.
    Fresh,
    /// The stale value at once, and one load begins in the background.
    Revalidates,
    /// The result of a load, and the stale value if the load fails.
    StaleOnError,
    /// The result of a load.
    Miss,
}

/// The age of the value in milliseconds, and the answer to calls at that age.
type Row = (u64, Expected);

use Expected::{Fresh, Miss, Revalidates, StaleOnError};

async fn revalidate_window_alone(store: Store) {
    let windows = Windows {
        revalidate: Some(NEAR),
        on_error: None,
    };
    let rows = [
        (59_999, Fresh),
        (60_000, Revalidates),
        (69_999, Revalidates),
        (70_000, Miss),
        (600_000, Miss),
    ];
    Table::new(store, windows).await.check(&rows).await;
}

async fn error_window_alone(store: Store) {
    let windows = Windows {
        revalidate: None,
        on_error: Some(FAR),
    };
    let rows = [
        (59_999, Fresh),
        (60_000, StaleOnError),
        (79_999, StaleOnError),
        (80_000, Miss),
        (600_000, Miss),
    ];
    Table::new(store, windows).await.check(&rows).await;
}

async fn error_window_longer_than_revalidate_window(store: Store) {
    let windows = Windows {
        revalidate: Some(NEAR),
        on_error: Some(FAR),
    };
    let rows = [
        (59_999, Fresh),
        (60_000, Revalidates),
        (69_999, Revalidates),
        (70_000, StaleOnError),
        (79_999, StaleOnError),
        (80_000, Miss),
    ];
    Table::new(store, windows).await.check(&rows).await;
}

async fn error_window_shorter_than_revalidate_window(store: Store) {
    let windows = Windows {
        revalidate: Some(FAR),
        on_error: Some(NEAR),
    };
    let rows = [
        (59_999, Fresh),
        (60_000, Revalidates),
        (69_999, Revalidates),
        (70_000, Revalidates),
        (79_999, Revalidates),
        (80_000, Miss),
    ];
    Table::new(store, windows).await.check(&rows).await;
}

super::in_every_store!(
    revalidate_window_alone,
    error_window_alone,
    error_window_longer_than_revalidate_window,
    error_window_shorter_than_revalidate_window,
);

/// A function in three instances.
struct Table {
    store: Store,
    windows: Windows,
    /// The instance that loads the values.
    first: Node,
    /// An instance that finds them in the tier.
    second: Node,
    /// An instance that looks what the tier has after a call.
    third: Node,
    next_key: u64,
}

impl Table {
    async fn new(store: Store, windows: Windows) -> Self {
        Self {
            first: store.node().await,
            second: store.node().await,
            third: store.node().await,
            store,
            windows,
            next_key: 0,
        }
    }

    async fn check(mut self, rows: &[Row]) {
        let places: &[Place] = match self.store.has_tier() {
            true => &[Place::Memory, Place::Tier, Place::WithoutMemory],
            false => &[Place::Memory],
        };
        for place in places {
            let tiers: Option<&[Level]> = match place {
                Place::WithoutMemory => Some(&[Level::L2]),
                Place::Memory | Place::Tier => None,
            };
            let subject = Subject::new(self.windows, tiers);
            for row in rows {
                self.check_row(&subject, *place, *row).await;
            }
        }
    }

    async fn check_row(&mut self, subject: &Subject, place: Place, (age, expected): Row) {
        let what = format!("{place:?} at {age} ms: {expected:?}");
        let ways: &[Answer] = match expected {
            Fresh => &[Answer::Fails],
            Revalidates | StaleOnError | Miss => &[
                Answer::Value(2),
                Answer::Fails,
                Answer::Panics,
                Answer::SaysFailed(1_000),
            ],
        };
        for answer in ways {
            let case = Case {
                subject,
                place,
                key: self.value_of_age(subject, Duration::from_millis(age)).await,
                answer: *answer,
                what: format!("{what}, {answer:?}"),
            };
            match expected {
                Fresh => {
                    subject
                        .assert_kept(self.caller(place), case.key, 1, &what)
                        .await
                }
                Revalidates => self.revalidates(&case).await,
                StaleOnError => self.stale_on_error(&case).await,
                Miss => self.misses(&case).await,
            }
        }
    }

    /// Loads the value 1 for a new key in the first instance, and lets it become this old.
    async fn value_of_age(&mut self, subject: &Subject, age: Duration) -> u64 {
        self.next_key += 1;
        let key = self.next_key;
        let source = Source::new(Answer::Value(1));
        let loaded = subject.call(&self.first, key, &source).await;
        assert_eq!((loaded, source.bodies()), (Ok(Some(1)), 1));
        self.store.clock.advance(age);
        key
    }

    fn caller(&self, place: Place) -> &Node {
        match place {
            Place::Memory | Place::WithoutMemory => &self.first,
            Place::Tier => &self.second,
        }
    }

    /// The calls get the stale value while one body runs, which replaces it everywhere if it can.
    async fn revalidates(&self, case: &Case<'_>) {
        let Case { subject, key, .. } = *case;
        let (node, what) = (self.caller(case.place), &case.what);
        let (source, fills) = (Source::new(case.answer), node.fills());
        source.hold();
        for call in subject.spawn_many(node, key, &source, CALLS) {
            assert_eq!(at_once(call).await, Ok(Some(1)), "{what}");
        }
        assert_eq!(
            subject.call(node, key, &source).await,
            Ok(Some(1)),
            "{what}"
        );
        source.until_bodies(1).await;
        assert_eq!(
            subject.call(node, key, &source).await,
            Ok(Some(1)),
            "{what}"
        );
        source.release();
        node.until_idle().await;
        assert_eq!(source.bodies(), 1, "{what}");
        if let Answer::Value(value) = case.answer {
            self.assert_replaced(case, value, fills).await;
        } else {
            if case.place != Place::WithoutMemory {
                subject
                    .assert_kept(node, key, 1, &format!("{what}, backed off"))
                    .await;
            }
            assert_eq!(node.fills(), fills, "records stored, {what}");
        }
    }

    /// The calls wait for one body, and get the stale value if it fails.
    async fn stale_on_error(&self, case: &Case<'_>) {
        let Case { subject, key, .. } = *case;
        let (node, what) = (self.caller(case.place), &case.what);
        let (source, fills) = (Source::new(case.answer), node.fills());
        let returned = self.all_results(case, &source).await;
        let expected = match case.answer {
            Answer::Value(value) => value,
            _ => 1,
        };
        for returned in returned {
            assert_eq!(returned, Ok(Some(expected)), "{what}");
        }
        assert_eq!(source.bodies(), 1, "{what}");
        if let Answer::Value(value) = case.answer {
            self.assert_replaced(case, value, fills).await;
            return;
        }
        assert_eq!(node.fills(), fills, "records stored, {what}");
        if case.place != Place::WithoutMemory {
            subject
                .assert_kept(node, key, 1, &format!("{what}, backed off"))
                .await;
        }
        let later = Source::new(Answer::Value(3));
        self.store.clock.advance(LONGEST_FIRST_BACK_OFF);
        let returned = subject.call(node, key, &later).await;
        assert_eq!(
            (returned, later.bodies()),
            (Ok(Some(3)), 1),
            "after the back-off, {what}"
        );
    }

    /// The calls wait for one body, or each of them for its own if it fails.
    async fn misses(&self, case: &Case<'_>) {
        let Case { subject, key, .. } = *case;
        let (node, what) = (self.caller(case.place), &case.what);
        let (source, fills) = (Source::new(case.answer), node.fills());
        if case.answer == Answer::Panics {
            let call = subject.spawn(node, key, &source);
            assert!(call.await.is_err_and(|error| error.is_panic()), "{what}");
            subject.assert_missing(node, key, what).await;
            return;
        }
        for returned in self.all_results(case, &source).await {
            let expected = match case.answer {
                Answer::Value(value) | Answer::SaysFailed(value) => Ok(Some(value)),
                _ => Err(Down),
            };
            assert_eq!(returned, expected, "{what}");
        }
        match case.answer {
            Answer::Value(value) => {
                assert_eq!(source.bodies(), 1, "{what}");
                self.assert_replaced(case, value, fills).await;
            }
            _ => subject.assert_missing(node, key, what).await,
        }
    }

    /// Returns the results of calls that wait for one body.
    async fn all_results(&self, case: &Case<'_>, source: &Source) -> Vec<super::source::Read> {
        let (subject, node) = (case.subject, self.caller(case.place));
        let waits = subject.waits(node);
        source.hold();
        let calls = subject.spawn_many(node, case.key, source, CALLS);
        source.until_bodies(1).await;
        subject.until_waits(node, waits, CALLS as u64 - 1).await;
        assert_eq!(source.bodies(), 1, "{}", case.what);
        source.release();
        let mut returned = Vec::new();
        for call in calls {
            returned.push(at_once(call).await);
        }
        returned
    }

    /// Asserts that all instances have this value instead of the old one.
    async fn assert_replaced(&self, case: &Case<'_>, value: u64, fills: usize) {
        let Case { subject, key, .. } = *case;
        let (node, what) = (self.caller(case.place), &case.what);
        if self.store.has_tier() {
            testbed::until("the new value is stored", || node.fills() > fills).await;
            subject
                .assert_kept(&self.third, key, value, &format!("elsewhere, {what}"))
                .await;
        }
        subject.assert_kept(node, key, value, what).await;
        self.store.clock.advance(LIFE - Duration::from_millis(1));
        subject
            .assert_kept(node, key, value, &format!("until its end, {what}"))
            .await;
    }
}

/// One row for one way in which the body ends.
struct Case<'a> {
    subject: &'a Subject,
    place: Place,
    key: u64,
    answer: Answer,
    what: String,
}
