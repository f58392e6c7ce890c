//! A function with windows, whose values get any age.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{Function, Level};
use testbed::counts::function_stats;
use testbed::until;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::source::{Answer, Read, Source};
use super::stores::Node;

/// The ttl of every function of these tests.
pub(crate) const LIFE: Duration = Duration::from_secs(60);

/// Longest time of a call that does not wait for a body: more than a busy machine takes.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The windows of a function.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Windows {
    pub(crate) revalidate: Option<Duration>,
    pub(crate) on_error: Option<Duration>,
}

/// A function that takes a source as what it is not cached by.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    function: Function<u64>,
}

impl Subject {
    /// Creates a function with these windows, in all tiers or in these.
    pub(crate) fn new(windows: Windows, tiers: Option<&[Level]>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        // Without jitter, so that records live as long as their function says.
        let mut builder = Function::builder(format!("stale::subject_{number}"));
        builder = builder.ttl(LIFE).jitter(0);
        if let Some(window) = windows.revalidate {
            builder = builder.stale_while_revalidate(window);
        }
        if let Some(window) = windows.on_error {
            builder = builder.stale_if_error(window);
        }
        if let Some(tiers) = tiers {
            builder = builder.tiers(tiers.iter().copied());
        }
        Self::of(builder.build().expect("a function"))
    }

    /// Wraps a function of its own.
    pub(crate) fn of(function: Function<u64>) -> Self {
        Self { function }
    }

    /// The function itself.
    pub(crate) fn function(&self) -> &Function<u64> {
        &self.function
    }

    /// Begins a call in an instance, whose load may continue in the background.
    pub(crate) fn spawn(&self, node: &Node, key: u64, source: &Source) -> JoinHandle<Read> {
        let (function, source) = (self.function.clone(), source.clone());
        node.spawn(async move {
            function
                .get_or_load_late((key,), move || source.read())
                .await
        })
    }

    /// Begins this many calls at once.
    pub(crate) fn spawn_many(
        &self,
        node: &Node,
        key: u64,
        source: &Source,
        number: usize,
    ) -> Vec<JoinHandle<Read>> {
        (0..number).map(|_| self.spawn(node, key, source)).collect()
    }

    /// Returns what a call gets that need not wait for a body which is held.
    ///
    /// # Panics
    /// If the call waits.
    pub(crate) async fn call(&self, node: &Node, key: u64, source: &Source) -> Read {
        at_once(self.spawn(node, key, source)).await
    }

    /// Asserts that a call gets this value without running a body.
    pub(crate) async fn assert_kept(&self, node: &Node, key: u64, expected: u64, when: &str) {
        let source = Source::new(Answer::Fails);
        let found = self.call(node, key, &source).await;
        assert_eq!(found, Ok(Some(expected)), "{when}");
        assert_eq!(source.bodies(), 0, "bodies {when}");
    }

    /// Asserts that a call finds nothing that it may return.
    pub(crate) async fn assert_missing(&self, node: &Node, key: u64, when: &str) {
        let source = Source::new(Answer::Fails);
        let found = self.call(node, key, &source).await;
        assert_eq!(found, Err(super::source::Down), "{when}");
        assert_eq!(source.bodies(), 1, "bodies {when}");
    }

    /// The number of calls of this function that have waited for the load of another.
    pub(crate) fn waits(&self, node: &Node) -> u64 {
        function_stats(node, self.function.name()).map_or(0, |stats| stats.waits)
    }

    /// Waits until this many more calls wait than when there were `before`.
    pub(crate) async fn until_waits(&self, node: &Node, before: u64, more: u64) {
        let what = format!("{more} calls wait");
        until(&what, || self.waits(node) == before + more).await;
    }
}

/// Returns the result of a call that need not wait for a body which is held.
pub(crate) async fn at_once(call: JoinHandle<Read>) -> Read {
    let returned = timeout(AT_ONCE, call).await;
    returned.expect("the call does not wait").expect("no panic")
}
