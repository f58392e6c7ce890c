//! Expiry: a value is stale from then on, and is returned as far as its function returns stale
//! values.

mod elsewhere;

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Function, FunctionBuilder, Invalidation, ManualClock, Memory, Tag,
};
use testbed::{Gate, Instance, Truth, poll_once, until};

use super::{HOUR, MINUTE, SOURCES, Source, Subject, named, tagged, value};

const SECOND: Duration = Duration::from_secs(1);

/// The subject of an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Key,
    Function,
    Tag(Source),
}

const ALL: [What; 5] = [
    What::Key,
    What::Function,
    What::Tag(Source::Argument),
    What::Tag(Source::Value),
    What::Tag(Source::Body),
];

/// Returns `true` if no load runs, and none waits for its beginning.
fn is_idle(instance: &Instance) -> bool {
    let background = instance.background_loads();
    instance.loads_under_way() + background.running + background.waiting == 0
}

impl Subject {
    async fn expire(&self, what: What, key: u64) {
        let expired = match what {
            What::Key => self.here.call(self.function.entry((key,)).expire()).await,
            What::Function => self.here.call(self.function.expire_all()).await,
            What::Tag(source) => self.here.expire_tags([source.tag(key)]).await,
        };
        assert_eq!(expired.unwrap(), Receipt::Acked, "{what:?}");
    }

    /// Returns the version that a call gets whose load may continue in the background.
    async fn late_version(&self, key: u64) -> u64 {
        let truth = Arc::clone(&self.truth);
        let make = move || async move { super::read_slowly(&truth, key).await };
        let loaded = self.function.get_or_load_late((key,), make);
        self.here.call(loaded).await % 1_000
    }

    async fn until_idle(&self) {
        until("the loads have ended", || is_idle(&self.here)).await;
    }
}

/// Tagged values that are fresh for a minute, and then returned for as long while they are loaded.
fn with_window() -> FunctionBuilder<u64> {
    tagged().ttl(MINUTE).stale_while_revalidate(MINUTE)
}

async fn in_memory(function: FunctionBuilder<u64>) -> (ManualClock, Subject) {
    let clock = ManualClock::new();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.clock(&clock)).await;
    (clock, Subject::new(here, function))
}

#[tokio::test]
async fn expired_value_is_returned_at_once_and_replaced() {
    for what in ALL {
        let (_, subject) = in_memory(with_window()).await;
        for key in [1, 2] {
            assert_eq!(subject.late_version(key).await, 1);
        }
        subject.truth.commit();
        subject.expire(what, 1).await;
        assert_eq!(subject.late_version(1).await, 1, "{what:?}: it is stale");
        subject.until_idle().await;
        assert_eq!(
            subject.late_version(1).await,
            2,
            "{what:?}: it was replaced"
        );
        assert_eq!(subject.reads(), 3);
        subject.late_version(2).await;
        subject.until_idle().await;
        let is_of_both = what == What::Function;
        assert_eq!(subject.reads(), 3 + u64::from(is_of_both), "{what:?}");
        let stats = subject.here.stats();
        let expiries = u64::from(!matches!(what, What::Tag(_)));
        assert_eq!(stats.functions[0].expiries, expiries);
        assert_eq!(stats.functions[0].invalidations, 0);
    }
}

/// It is expired ten seconds after its load, and its window ends two minutes after its load.
#[tokio::test]
async fn window_of_an_expired_value_counts_from_the_natural_end() {
    for what in ALL {
        for (after, expected) in [(69, 1), (109, 1), (111, 2)] {
            let (clock, subject) = in_memory(with_window()).await;
            assert_eq!(subject.late_version(1).await, 1);
            subject.truth.commit();
            clock.advance(10 * SECOND);
            subject.expire(what, 1).await;
            clock.advance(after * SECOND);
            let version = subject.late_version(1).await;
            assert_eq!(version, expected, "{what:?}, {after} s after the expiry");
            subject.until_idle().await;
        }
    }
}

/// Without `stale_while_revalidate` a call loads, and gets the expired value if the load fails.
#[tokio::test]
async fn expired_value_is_returned_if_the_load_fails() {
    for what in ALL {
        let (_, subject) = in_memory(tagged().stale_if_error(HOUR)).await;
        assert_eq!(subject.version(1).await, 1);
        subject.expire(what, 1).await;
        let fails = || async {
            subject.truth.read();
            Err::<u64, _>("down")
        };
        let loaded = subject.function.get_or_load((1_u64,), fails);
        assert_eq!(subject.here.call(loaded).await, Ok(value(1, 1)), "{what:?}");
        assert_eq!(subject.reads(), 2, "{what:?}: it was loaded");
    }
}

/// The other window allows it for callers that wait for a load in the background only.
#[tokio::test]
async fn expired_value_is_not_returned_for_a_failed_load_without_a_window_for_it() {
    for what in ALL {
        let (_, subject) = in_memory(with_window()).await;
        assert_eq!(subject.version(1).await, 1);
        subject.expire(what, 1).await;
        let fails = || async { Err::<u64, _>("down") };
        let loaded = subject.function.get_or_load((1_u64,), fails);
        assert_eq!(subject.here.call(loaded).await, Err("down"), "{what:?}");
    }
}

#[tokio::test]
async fn expiry_invalidates_a_function_without_a_window() {
    for what in ALL {
        let subject = Subject::in_memory().await;
        assert_eq!(subject.version(1).await, 1);
        subject.truth.commit();
        subject.expire(what, 1).await;
        assert_eq!(subject.version(1).await, 2, "{what:?}");
        let stats = subject.here.stats();
        let invalidations = u64::from(!matches!(what, What::Tag(_)));
        assert_eq!(stats.functions[0].invalidations, invalidations);
        assert_eq!(stats.functions[0].expiries, 0);
    }
}

/// A strong call and `peek` return no expired value as a fresh one.
#[tokio::test]
async fn expired_value_is_no_fresh_one_for_a_strong_call() {
    for what in ALL {
        let (_, subject) = in_memory(with_window()).await;
        assert_eq!(subject.late_version(1).await, 1);
        subject.truth.commit();
        let handle = subject.function.entry((1_u64,));
        let strong = || {
            let load = || async { super::read_slowly(&subject.truth, 1).await };
            subject.here.call(handle.strong(load))
        };
        assert_eq!(strong().await, value(1, 1), "it is fresh");
        subject.expire(what, 1).await;
        let peeked = subject.here.call(handle.peek()).await;
        assert_eq!(peeked, Some(value(1, 1)), "a call would get it as well");
        assert_eq!(strong().await, value(1, 2), "{what:?}");
    }
}

/// Loads of a late function that wait at a gate after they have read the truth.
struct Held {
    subject: Subject,
    gate: Arc<Gate>,
}

impl Held {
    async fn new() -> Self {
        let (_, subject) = in_memory(with_window()).await;
        let gate = Arc::new(Gate::new());
        Self { subject, gate }
    }

    async fn version(&self) -> u64 {
        let (truth, gate) = (Arc::clone(&self.subject.truth), Arc::clone(&self.gate));
        let make = move || async move {
            multi_tier_cached::caching::tag(Source::Body.tag(1));
            let version = truth.read();
            gate.pass().await;
            value(1, version)
        };
        let loaded = self.subject.function.get_or_load_late((1_u64,), make);
        self.subject.here.call(loaded).await % 1_000
    }
}

/// The load read what the expiry is about. A call after the expiry must not wait for it.
#[tokio::test]
async fn load_of_before_an_expiry_is_not_joined_after_it_and_does_not_count_as_fresh() {
    for what in ALL {
        let held = Held::new().await;
        let mut before = Box::pin(held.version());
        assert!(poll_once(&mut before).is_pending());
        held.subject.truth.commit();
        held.subject.expire(what, 1).await;
        let mut after = Box::pin(held.version());
        assert!(poll_once(&mut after).is_pending());
        held.gate.open();
        // The tags of a load are known at its end only.
        let (before, after) = tokio::join!(before, after);
        assert!(before <= 2);
        assert_eq!(after, 2, "{what:?}");
        held.subject.until_idle().await;
        assert_eq!(held.version().await, 2, "{what:?}");
        assert_eq!(held.subject.reads(), 2, "{what:?}");
    }
}

/// A load that replaces a stale value is not fresh either: its value is stale when it arrives, and
/// the next call begins another load.
#[tokio::test]
async fn revalidation_of_before_an_expiry_does_not_count_as_fresh() {
    for what in ALL {
        let held = Held::new().await;
        held.gate.let_through(1);
        assert_eq!(held.version().await, 1);
        held.subject.expire(what, 1).await;
        assert_eq!(held.version().await, 1, "a load begins");
        held.gate.until_entered(2).await;
        held.subject.truth.commit();
        held.subject.expire(what, 1).await;
        held.gate.let_through(1);
        held.subject.until_idle().await;
        held.gate.open();
        // The entry of the first load has a value of before the second expiry.
        until("a load after the second expiry has begun", || {
            let mut call = Box::pin(held.version());
            let _ = poll_once(&mut call);
            held.subject.reads() == 3
        })
        .await;
        held.subject.until_idle().await;
        assert_eq!(held.version().await, 2, "{what:?}");
    }
}

/// `into_expiry` of each kind of invalidation.
#[tokio::test]
async fn invalidation_becomes_an_expiry() {
    let (_, subject) = in_memory(with_window()).await;
    let expire = async |invalidation: Invalidation| {
        assert_eq!(subject.late_version(1).await, subject.truth.version());
        let before = subject.truth.version();
        subject.truth.commit();
        subject.here.invalidate(invalidation.into_expiry()).await;
        assert_eq!(subject.late_version(1).await, before, "it is stale");
        subject.until_idle().await;
    };
    expire(subject.here.invalidate_tags([Source::Value.tag(1)])).await;
    expire(subject.here.expire_tags([Tag::new("all")])).await;
}

/// Functions without tags are expired too, by key and as a whole.
#[tokio::test]
async fn value_without_tags_is_expired() {
    for is_key in [true, false] {
        let here = Instance::with_memory().await;
        let function: Function<u64> = named().stale_while_revalidate(HOUR).build().unwrap();
        let truth = Arc::new(Truth::new());
        let read = || {
            let truth = Arc::clone(&truth);
            let make = move || async move { truth.read() };
            here.call(function.get_or_load_late((1_u64,), make))
        };
        assert_eq!(read().await, 1);
        truth.commit();
        let expired = match is_key {
            true => here.call(function.entry((1_u64,)).expire()).await,
            false => here.call(function.expire_all()).await,
        };
        assert_eq!(expired.unwrap(), Receipt::Acked);
        assert_eq!(read().await, 1);
        until("the load has ended", || is_idle(&here)).await;
        assert_eq!(read().await, 2);
    }
    assert_eq!(SOURCES.len(), 3);
}
