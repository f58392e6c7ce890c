//! The source of the hot values in one instance: it answers, fails or hangs, as the parent process
//! says.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::LoadTimeout;
use tokio::time::sleep;

use crate::clock;

/// Time that the source takes to answer or to fail.
pub(super) const LOAD: Duration = Duration::from_millis(100);

/// Interval at which a body that never ends shows that it still runs.
const TICK: Duration = Duration::from_millis(10);

/// State of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceState {
    /// It answers.
    Up,
    /// Each load of it fails.
    Down,
    /// No load of it ends.
    Hung,
}

impl SourceState {
    const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Hung];

    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Hung => "hung",
        }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = |state: &Self| state.name() == text;
        Self::ALL.into_iter().find(named).ok_or(())
    }
}

/// Error of a load.
#[derive(Clone, Debug)]
pub(super) enum LoadFailed {
    /// The source is down.
    Down,
    /// The load took too long.
    TimedOut,
}

impl From<LoadTimeout> for LoadFailed {
    fn from(_: LoadTimeout) -> Self {
        Self::TimedOut
    }
}

/// The source of this process. The counters are independent, so they are used with `Relaxed`.
#[derive(Debug)]
pub(super) struct Source {
    state: AtomicU8,
    /// Bodies that began in each state.
    begun: [AtomicU64; 3],
    /// Bodies that were dropped before they ended.
    dropped: AtomicU64,
    /// Signs of life of bodies that never end.
    ticks: AtomicU64,
}

pub(super) static SOURCE: Source = Source {
    state: AtomicU8::new(SourceState::Up as u8),
    begun: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
    dropped: AtomicU64::new(0),
    ticks: AtomicU64::new(0),
};

impl Source {
    pub(super) fn set(&self, state: SourceState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn state(&self) -> SourceState {
        let number = usize::from(self.state.load(Ordering::Relaxed));
        SourceState::ALL[number]
    }

    /// Runs the body of a cached function. Its value is the time at which it was loaded.
    pub(super) async fn load(&self) -> Result<u64, LoadFailed> {
        let state = self.state();
        self.begun[state as usize].fetch_add(1, Ordering::Relaxed);
        let mut body = Body { has_ended: false };
        if state == SourceState::Hung {
            loop {
                self.ticks.fetch_add(1, Ordering::Relaxed);
                sleep(TICK).await;
            }
        }
        sleep(LOAD).await;
        body.has_ended = true;
        match state {
            SourceState::Down => Err(LoadFailed::Down),
            SourceState::Up | SourceState::Hung => Ok(clock::now()),
        }
    }

    /// Returns the bodies that began while the source was up, down and hung, those that were
    /// dropped, and the signs of life of those that never end.
    pub(super) fn counts(&self) -> [u64; 5] {
        let [up, down, hung] = &self.begun;
        [up, down, hung, &self.dropped, &self.ticks].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A body that runs.
struct Body {
    has_ended: bool,
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.has_ended {
            SOURCE.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
