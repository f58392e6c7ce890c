//! Rounds of operations. In each of them all operations take their turn, so that a slow moment of
//! the machine or of the network slows all of them down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::operation::Operation;
use super::setup::{Attempt, Problem, Setup};
use crate::failure::Failure;
use crate::interrupt::Stop;
use crate::latencies::Latencies;

/// The longest turn of an operation.
const TURN: Duration = Duration::from_millis(50);

/// The turns before the measurement, in which scripts are loaded and connections warm up.
const WARM_UP: Duration = Duration::from_millis(5);

/// Figures of one operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Times of the operations that succeeded, and of those that had no reply within their limit.
    /// Without the latter, a server that is often late would seem to be quick.
    pub(super) latencies: Latencies,
    pub(super) attempts: u64,
    /// The length of its turns together.
    pub(super) busy: Duration,
    pub(super) failed: u64,
    /// Why the first one failed.
    pub(super) why: Option<String>,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        match self.busy.is_zero() {
            true => 0.0,
            false => (self.attempts - self.failed) as f64 / self.busy.as_secs_f64(),
        }
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.busy += other.busy;
        self.attempts += other.attempts;
        self.failed += other.failed;
        if self.why.is_none() {
            self.why = other.why;
        }
    }

    /// Counts an operation.
    ///
    /// # Errors
    /// The servers cannot be used any more.
    async fn add(&mut self, attempt: Attempt, setup: &Setup) -> Result<(), Failure> {
        self.attempts += 1;
        let why = match attempt.result {
            Ok(()) => {
                self.latencies.record(attempt.took);
                return Ok(());
            }
            Err(Problem::Late(why)) => {
                self.latencies.record(attempt.took);
                why
            }
            Err(Problem::Failed(why)) => why,
            Err(Problem::Unavailable(failure)) => match setup.is_connected_again().await {
                true => failure.to_string(),
                false => return Err(failure),
            },
            Err(Problem::Lost(failure)) => return Err(failure),
        };
        self.failed += 1;
        self.why.get_or_insert(why);
        Ok(())
    }
}

/// The turn of an operation: its callers begin operations until it ends, or until all keys are
/// used.
#[derive(Clone, Debug)]
struct Turn {
    operation: Operation,
    /// The moment after which no further operation begins.
    until: Instant,
    /// The indices of the keys that it uses.
    keys: Arc<[usize]>,
    next: Arc<AtomicUsize>,
    stop: Stop,
}

/// Measures all operations for `lasts`, in the order of [`Operation::ALL`]. At least one round is
/// run to its end, unless `stop` is set. Returns what was measured before a failure as well.
pub(super) async fn measure(
    setup: &Arc<Setup>,
    callers: usize,
    lasts: Duration,
    stop: &Stop,
) -> ([Measured; 7], Option<Failure>) {
    let mut all: [Measured; 7] = Default::default();
    let warm_up = round(setup, callers, WARM_UP, stop).await;
    if let Some(failure) = warm_up.1 {
        return (all, Some(failure));
    }
    let until = Instant::now() + lasts;
    let turn = TURN.min(lasts / 14);
    loop {
        let (measured, failure) = round(setup, callers, turn, stop).await;
        for (all, one) in all.iter_mut().zip(measured) {
            all.merge(one);
        }
        if failure.is_some() || stop.is_set() || Instant::now() >= until {
            return (all, failure);
        }
    }
}

async fn round(
    setup: &Arc<Setup>,
    callers: usize,
    lasts: Duration,
    stop: &Stop,
) -> ([Measured; 7], Option<Failure>) {
    let mut all: [Measured; 7] = Default::default();
    setup.begin_round();
    let mut leased: Arc<[usize]> = Arc::default();
    for (operation, measured) in Operation::ALL.into_iter().zip(&mut all) {
        let keys = match operation {
            Operation::Ping | Operation::Get | Operation::Lease | Operation::Barrier => {
                setup.all_keys()
            }
            Operation::Fill => {
                leased = setup.leased_keys();
                Arc::clone(&leased)
            }
            // A fill that failed is no failure of a read.
            Operation::Hit => setup.stored_keys(),
            Operation::Invalidate => Arc::clone(&leased),
        };
        if keys.is_empty() {
            continue;
        }
        let turn = Turn {
            operation,
            until: Instant::now() + lasts,
            keys,
            next: Arc::default(),
            stop: stop.clone(),
        };
        let (of_turn, failure) = turn.run_all(setup, callers).await;
        *measured = of_turn;
        if failure.is_some() {
            return (all, failure);
        }
        if stop.is_set() {
            break;
        }
    }
    (all, None)
}

impl Turn {
    async fn run_all(self, setup: &Arc<Setup>, callers: usize) -> (Measured, Option<Failure>) {
        let mut measured = Measured::default();
        let mut failure = None;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            tasks.spawn(self.clone().run(Arc::clone(setup)));
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((one, ended)) => {
                    measured.merge(one);
                    failure = failure.or(ended);
                }
                // A task does not panic, and is aborted with the set alone.
                Err(error) => failure = Some(std::io::Error::other(error).into()),
            }
        }
        measured.busy = began.elapsed();
        (measured, failure)
    }

    /// One caller: does operations, one after the other.
    async fn run(self, setup: Arc<Setup>) -> (Measured, Option<Failure>) {
        let mut measured = Measured::default();
        loop {
            let is_over = measured.attempts > 0 && Instant::now() >= self.until;
            if self.stop.is_set() || (is_over && !self.operation.uses_all_keys()) {
                return (measured, None);
            }
            // Relaxed: the number orders nothing.
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if self.operation.is_once_for_a_key() && index >= self.keys.len() {
                return (measured, None);
            }
            let key = self.keys[index % self.keys.len()];
            let attempt = setup.perform(self.operation, key).await;
            if let Err(failure) = measured.add(attempt, &setup).await {
                return (measured, Some(failure));
            }
            // A failure may be immediate, and would be counted without an end.
            if measured.failed > 0 {
                return (measured, None);
            }
        }
    }
}
