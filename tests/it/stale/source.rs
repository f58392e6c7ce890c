//! The source of the values of one test: it counts bodies, holds them, and fails as the test says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::caching;
use testbed::until;
use tokio::sync::watch;

/// The error of a source that is down. It cannot be shared, as most errors of databases: a caller
/// that waited for a failed load gets the stale value, or runs its own body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source is down")
    }
}

impl std::error::Error for Down {}

/// The result of the functions of these tests.
pub(crate) type Read = Result<Option<u64>, Down>;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(u64),
    Nothing,
    Fails,
    Panics,
    /// Returns a value, and says that the load has failed.
    SaysFailed(u64),
    /// Returns a value, and says that it is not to be kept.
    Skips(u64),
}

impl Answer {
    /// The three ways in which a load fails.
    pub(crate) const FAILURES: [Self; 3] = [Self::Fails, Self::Panics, Self::SaysFailed(1_000)];
}

/// A source of values. Clones are the same source.
#[derive(Clone, Debug)]
pub(crate) struct Source(Arc<State>);

#[derive(Debug)]
struct State {
    answer: watch::Sender<Answer>,
    is_held: watch::Sender<bool>,
    began: AtomicU64,
}

impl Source {
    /// Creates a source that answers so, at once.
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(State {
            answer: watch::Sender::new(answer),
            is_held: watch::Sender::new(false),
            began: AtomicU64::new(0),
        }))
    }

    /// Changes the answer, also of bodies that are held.
    pub(crate) fn answers(&self, answer: Answer) {
        self.0.answer.send_replace(answer);
    }

    /// Holds bodies from now on.
    pub(crate) fn hold(&self) {
        self.0.is_held.send_replace(true);
    }

    /// Lets all bodies continue.
    pub(crate) fn release(&self) {
        self.0.is_held.send_replace(false);
    }

    /// The number of bodies that have begun.
    pub(crate) fn bodies(&self) -> u64 {
        self.0.began.load(Ordering::SeqCst)
    }

    /// Waits until this many bodies have begun.
    pub(crate) async fn until_bodies(&self, number: u64) {
        let what = format!("{number} bodies begin");
        until(&what, || self.bodies() >= number).await;
    }

    /// The body of a cached function.
    pub(crate) async fn read(self) -> Read {
        self.0.began.fetch_add(1, Ordering::SeqCst);
        let mut held = self.0.is_held.subscribe();
        held.wait_for(|held| !held).await.expect("the source lives");
        let answer = *self.0.answer.borrow();
        match answer {
            Answer::Value(value) => Ok(Some(value)),
            Answer::Nothing => Ok(None),
            Answer::Fails => Err(Down),
            Answer::Panics => panic!("a body that panics, as the test wants"),
            Answer::SaysFailed(value) => {
                assert!(caching::failed(), "the body is in a load");
                Ok(Some(value))
            }
            Answer::Skips(value) => {
                assert!(caching::skip(), "the body is in a load");
                Ok(Some(value))
            }
        }
    }
}
