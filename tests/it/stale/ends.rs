//! How the load ends that replaces a stale value: what it finds out is true in all tiers.

use std::time::Duration;

use multi_tier_cached::Function;
use testbed::until_ok;

use super::source::{Answer, Down, Source};
use super::stores::{Node, Store};
use super::subject::{LIFE, Subject, Windows};

const LONG: Duration = Duration::from_secs(600);

/// Loads that a call need not wait for, and loads that it waits for.
const BOTH: [Windows; 2] = [
    Windows {
        revalidate: Some(LONG),
        on_error: None,
    },
    Windows {
        revalidate: None,
        on_error: Some(LONG),
    },
];

/// An instance whose value is stale, and another one that has the value too.
struct Pair {
    here: Node,
    there: Node,
    subject: Subject,
    is_background: bool,
    has_channel: bool,
}

const KEY: u64 = 1;

impl Pair {
    async fn new(store: &Store, windows: Windows) -> Self {
        let is_background = windows.revalidate.is_some();
        Self::of(store, Subject::new(windows, None), is_background).await
    }

    async fn of(store: &Store, subject: Subject, is_background: bool) -> Self {
        let pair = Self {
            here: store.node().await,
            there: store.node().await,
            subject,
            is_background,
            has_channel: store.has_channel(),
        };
        let source = Source::new(Answer::Value(1));
        assert_eq!(
            pair.subject.call(&pair.here, KEY, &source).await,
            Ok(Some(1))
        );
        if pair.has_channel {
            pair.subject
                .assert_kept(&pair.there, KEY, 1, "elsewhere")
                .await;
        }
        store.clock.advance(LIFE);
        pair
    }

    /// Makes the call whose load ends so, and asserts what the call gets.
    async fn load(&self, answer: Answer, result: Option<u64>) {
        let source = Source::new(answer);
        let found = self.subject.call(&self.here, KEY, &source).await;
        let expected = if self.is_background { Some(1) } else { result };
        assert_eq!(found, Ok(expected), "{answer:?}");
        source.until_bodies(1).await;
        self.here.until_idle().await;
        assert_eq!(source.bodies(), 1, "{answer:?}");
    }

    /// Asserts that no instance has a value.
    async fn assert_invalidated(&self, answer: Answer) {
        let nodes: &[&Node] = match self.has_channel {
            true => &[&self.here, &self.there],
            false => &[&self.here],
        };
        for node in nodes {
            // The load ends before the key is invalidated, and another instance learns of it later.
            // A body that fails changes nothing.
            let look = async || {
                let source = Source::new(Answer::Fails);
                match self.subject.call(node, KEY, &source).await {
                    Err(Down) => Ok(()),
                    Ok(found) => Err(format!("{found:?}")),
                }
            };
            until_ok(&format!("{answer:?} invalidates the key"), look).await;
        }
    }
}

async fn load_that_finds_no_value_invalidates_the_key(store: Store) {
    for windows in BOTH {
        let pair = Pair::new(&store, windows).await;
        pair.load(Answer::Nothing, None).await;
        pair.assert_invalidated(Answer::Nothing).await;
    }
}

async fn load_whose_body_skips_its_value_invalidates_the_key(store: Store) {
    for windows in BOTH {
        let pair = Pair::new(&store, windows).await;
        pair.load(Answer::Skips(5), Some(5)).await;
        pair.assert_invalidated(Answer::Skips(5)).await;
    }
}

async fn load_whose_value_cache_if_refuses_invalidates_the_key(store: Store) {
    for (number, windows) in BOTH.into_iter().enumerate() {
        let name = format!("stale::cache_if_{}_{number}", store.name());
        let mut builder = Function::<u64>::builder(name);
        builder = builder.ttl(LIFE).jitter(0).cache_if(|value| *value < 500);
        builder = match windows.revalidate {
            Some(window) => builder.stale_while_revalidate(window),
            None => builder.stale_if_error(LONG),
        };
        let subject = Subject::of(builder.build().unwrap());
        let pair = Pair::of(&store, subject, windows.revalidate.is_some()).await;
        pair.load(Answer::Value(999), Some(999)).await;
        pair.assert_invalidated(Answer::Value(999)).await;
    }
}

async fn load_that_fails_stores_nothing(store: Store) {
    for windows in BOTH {
        for answer in Answer::FAILURES {
            let pair = Pair::new(&store, windows).await;
            let fills = pair.here.fills();
            pair.load(answer, Some(1)).await;
            assert_eq!(pair.here.fills(), fills, "{answer:?}");
            pair.subject
                .assert_kept(&pair.here, KEY, 1, &format!("{answer:?}"))
                .await;
        }
    }
}

super::in_every_store!(
    load_that_finds_no_value_invalidates_the_key,
    load_whose_body_skips_its_value_invalidates_the_key,
    load_whose_value_cache_if_refuses_invalidates_the_key,
    load_that_fails_stores_nothing,
);
