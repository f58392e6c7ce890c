//! Tags and expiry: a value is found by its tags, whatever they come from, and is not returned
//! after one of them was invalidated.

mod at_once;
mod elsewhere;
mod expiry;
mod refused;
mod results;
mod tiers;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Function, FunctionBuilder, Tag, caching};
use testbed::{Instance, Truth};
use tokio::task::yield_now;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// Where a tag comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Argument,
    Value,
    Body,
}

const SOURCES: [Source; 3] = [Source::Argument, Source::Value, Source::Body];

impl Source {
    /// Returns the tag from this source that the value of a key has.
    fn tag(self, key: u64) -> Tag {
        Tag::new(match self {
            Self::Argument => format!("argument:{key}"),
            Self::Value => format!("value:{key}"),
            Self::Body => format!("body:{key}"),
        })
    }
}

/// A builder with a name that no other test has.
fn named() -> FunctionBuilder<u64> {
    Function::builder(name()).ttl(HOUR)
}

/// A name that no other test has.
fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("tags::number_{number}")
}

/// A builder of a function whose values have a tag from each source.
fn tagged() -> FunctionBuilder<u64> {
    named()
        .tags(["argument:{0}", "all"])
        .tags_of(|value| vec![Source::Value.tag(key_of(*value))])
}

/// A value of a key and a version.
fn value(key: u64, version: u64) -> u64 {
    key * 1_000 + version
}

fn key_of(value: u64) -> u64 {
    value / 1_000
}

/// Reads the truth between await points, so that an invalidation can come before or after that.
async fn read_slowly(truth: &Truth, key: u64) -> u64 {
    assert!(caching::tag(Source::Body.tag(key)));
    yield_now().await;
    let version = truth.read();
    yield_now().await;
    yield_now().await;
    value(key, version)
}

/// A function, a source of truth and an instance.
struct Subject {
    here: Instance,
    function: Function<u64>,
    truth: Arc<Truth>,
}

impl Subject {
    fn new(here: Instance, function: FunctionBuilder<u64>) -> Self {
        Self {
            here,
            function: function.build().unwrap(),
            truth: Arc::new(Truth::new()),
        }
    }

    async fn in_memory() -> Self {
        Self::new(Instance::with_memory().await, tagged())
    }

    /// Returns this function and truth on another instance.
    fn on(&self, instance: &Instance) -> Self {
        Self {
            here: instance.clone(),
            function: self.function.clone(),
            truth: Arc::clone(&self.truth),
        }
    }

    /// Returns the version that a call gets.
    async fn version(&self, key: u64) -> u64 {
        let read = || read_slowly(&self.truth, key);
        let loaded = self.here.call(self.function.get_or_load((key,), read));
        let value = loaded.await;
        assert_eq!(key_of(value), key);
        value % 1_000
    }

    async fn invalidate(&self, tag: Tag) {
        let invalidation = self.here.invalidate_tags([tag]);
        assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
    }

    /// Returns how often the body ran.
    fn reads(&self) -> u64 {
        self.truth.reads()
    }
}
