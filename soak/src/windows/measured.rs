//! Answers to the callers of one function, counted.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::source::LoadFailed;
use crate::clock;

/// Wait from which on a call is counted as long: half of a load.
pub(super) const LONG_WAIT: Duration = Duration::from_millis(50);

/// Counts calls. The counters are independent, so they are used with `Relaxed`.
#[derive(Debug, Default)]
pub(super) struct Meter {
    calls: AtomicU64,
    waits: AtomicU64,
    long_waits: AtomicU64,
    longest: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    oldest: AtomicU64,
    latest_timer: AtomicU64,
}

impl Meter {
    /// Makes a call and counts it.
    ///
    /// A call that is ready at its first poll did not wait, however long the machine let its thread
    /// stand still.
    pub(super) async fn count(&self, call: impl Future<Output = Result<u64, LoadFailed>>) {
        let mut call = pin!(call);
        let began = Instant::now();
        let mut polls = 0;
        let result = poll_fn(|cx| {
            polls += 1;
            call.as_mut().poll(cx)
        })
        .await;
        let waited = began.elapsed();
        self.calls.fetch_add(1, Ordering::Relaxed);
        if polls > 1 {
            self.waits.fetch_add(1, Ordering::Relaxed);
            self.longest.fetch_max(micros(waited), Ordering::Relaxed);
            let is_long = u64::from(waited > LONG_WAIT);
            self.long_waits.fetch_add(is_long, Ordering::Relaxed);
        }
        match result {
            Ok(loaded) => {
                let age = clock::now().saturating_sub(loaded);
                self.oldest.fetch_max(age, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let is_timeout = matches!(error, LoadFailed::TimedOut);
                self.timed_out
                    .fetch_add(u64::from(is_timeout), Ordering::Relaxed);
            }
        }
    }

    /// Notes how late a timer of this process fired, which shows how busy the machine is.
    pub(super) fn note_timer(&self, late: Duration) {
        self.latest_timer.fetch_max(micros(late), Ordering::Relaxed);
    }

    /// Returns what was counted.
    pub(super) fn read(&self) -> Measured {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Measured {
            calls: of(&self.calls),
            waits: of(&self.waits),
            long_waits: of(&self.long_waits),
            longest: of(&self.longest),
            failed: of(&self.failed),
            timed_out: of(&self.timed_out),
            oldest: of(&self.oldest),
            latest_timer: of(&self.latest_timer),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Answers to callers, as an instance reports them. All times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) calls: u64,
    /// Calls that were not ready at their first poll.
    pub(super) waits: u64,
    /// Calls that waited for longer than [`LONG_WAIT`].
    pub(super) long_waits: u64,
    /// The longest wait.
    pub(super) longest: u64,
    /// Calls that returned an error.
    pub(super) failed: u64,
    /// Calls whose error is a timeout. They are part of the failed ones.
    pub(super) timed_out: u64,
    /// Age of the oldest value that a call returned.
    pub(super) oldest: u64,
    /// The longest time by which a timer was late.
    pub(super) latest_timer: u64,
}

impl Measured {
    /// Adds what the callers of another instance got.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.waits += other.waits;
        self.long_waits += other.long_waits;
        self.longest = self.longest.max(other.longest);
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.oldest = self.oldest.max(other.oldest);
        self.latest_timer = self.latest_timer.max(other.latest_timer);
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            waits,
            long_waits,
            longest,
            failed,
            timed_out,
            oldest,
            latest_timer,
        } = self;
        write!(f, "{calls} {waits} {long_waits} {longest} ")?;
        write!(f, "{failed} {timed_out} {oldest} {latest_timer}")
    }
}

impl FromStr for Measured {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut counts = text.split(' ').map(|count| count.parse::<u64>());
        let mut next = || counts.next().and_then(Result::ok).ok_or(());
        Ok(Self {
            calls: next()?,
            waits: next()?,
            long_waits: next()?,
            longest: next()?,
            failed: next()?,
            timed_out: next()?,
            oldest: next()?,
            latest_timer: next()?,
        })
    }
}
