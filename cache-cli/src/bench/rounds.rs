//! Rounds of operations. In each of them all operations take their turn, so that a slow moment of
//! the machine or of the network slows all of them down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::operation::Operation;
use super::setup::{Problem, Setup};
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
    pub(super) latencies: Latencies,
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
            false => self.latencies.count() as f64 / self.busy.as_secs_f64(),
        }
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.busy += other.busy;
        self.failed += other.failed;
        if self.why.is_none() {
            self.why = other.why;
        }
    }

    fn add(&mut self, result: Result<Option<Duration>, Problem>) -> Result<(), Failure> {
        match result {
            Ok(took) => took
                .into_iter()
                .for_each(|took| self.latencies.record(took)),
            Err(Problem::Failed(why)) => {
                self.failed += 1;
                self.why.get_or_insert(why);
            }
            Err(Problem::Lost(failure)) => return Err(failure),
        }
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
    /// The number of keys that it uses.
    keys: usize,
    next: Arc<AtomicUsize>,
    stop: Stop,
}

/// Measures all operations for `lasts`, in the order of [`Operation::ALL`]. At least one round is
/// run to its end, unless `stop` is set.
pub(super) async fn measure(
    setup: &Arc<Setup>,
    callers: usize,
    lasts: Duration,
    stop: &Stop,
) -> Result<[Measured; 7], Failure> {
    round(setup, callers, WARM_UP, stop).await?;
    let until = Instant::now() + lasts;
    let turn = TURN.min(lasts / 14);
    let mut all: [Measured; 7] = Default::default();
    loop {
        let measured = round(setup, callers, turn, stop).await?;
        for (all, one) in all.iter_mut().zip(measured) {
            all.merge(one);
        }
        if stop.is_set() || Instant::now() >= until {
            return Ok(all);
        }
    }
}

async fn round(
    setup: &Arc<Setup>,
    callers: usize,
    lasts: Duration,
    stop: &Stop,
) -> Result<[Measured; 7], Failure> {
    let mut all: [Measured; 7] = Default::default();
    // The keys that have a lease, and then a record.
    let mut keys = setup.key_count();
    for (operation, measured) in Operation::ALL.into_iter().zip(&mut all) {
        let turn = Turn {
            operation,
            until: Instant::now() + lasts,
            keys,
            next: Arc::default(),
            stop: stop.clone(),
        };
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            tasks.spawn(turn.clone().run(Arc::clone(setup)));
        }
        while let Some(done) = tasks.join_next().await {
            // A task does not panic, and is aborted with the set alone.
            measured.merge(done.map_err(std::io::Error::other)??);
        }
        measured.busy = began.elapsed();
        if operation == Operation::Lease {
            // The last number that a caller took was of no key if the keys were used up.
            keys = turn.next.load(Ordering::Relaxed).clamp(1, keys);
        }
        if stop.is_set() {
            break;
        }
    }
    Ok(all)
}

impl Turn {
    /// One caller: does operations, one after the other.
    async fn run(self, setup: Arc<Setup>) -> Result<Measured, Failure> {
        let mut measured = Measured::default();
        loop {
            let is_first = measured.latencies.count() == 0;
            let is_over = !is_first && Instant::now() >= self.until;
            if self.stop.is_set() || (is_over && !self.operation.uses_all_keys()) {
                return Ok(measured);
            }
            // Relaxed: the number orders nothing.
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if self.operation.is_once_for_a_key() && index >= self.keys {
                return Ok(measured);
            }
            let result = setup.perform(self.operation, index % self.keys).await;
            measured.add(result)?;
            // A failure may be immediate, and would be counted without an end.
            if measured.failed > 0 {
                return Ok(measured);
            }
        }
    }
}
