//! A program that makes each family of metrics have a sample that is not zero.

mod memory;
mod outage;
mod redis;

use std::any::Any;

use multi_tier_cached::CacheRuntime;
use multi_tier_cached::metrics::FAMILIES;
use tokio::sync::{Mutex, MutexGuard};

use super::number;

/// The runtimes of the program, with what keeps their state.
pub(super) struct Program {
    pub(super) runtimes: Vec<CacheRuntime>,
    redis: Option<redis::Busy>,
    _kept: Vec<Box<dyn Any>>,
    /// Dropped last: the functions of another program would have the same names.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::const_new(());

impl Program {
    /// Runs the program up to the moment at which each family has a sample that is not zero.
    pub(super) async fn run() -> Self {
        let mut program = Self {
            runtimes: Vec::new(),
            redis: None,
            _kept: Vec::new(),
            _turn: TURN.lock().await,
        };
        program.add(memory::entries().await);
        program.add(memory::bytes().await);
        program.add(memory::loads_in_progress().await);
        let busy = redis::Busy::records().await;
        program.runtimes.push(busy.runtime());
        program.redis = Some(busy);
        program.add(redis::channel().await);
        program.add(outage::outage().await);
        program
    }

    /// Makes calls that are hits and loads, in memory and in Redis, and some that find a record
    /// that cannot be used.
    pub(super) async fn stay_busy(&self, round: u64) {
        if let Some(redis) = &self.redis {
            redis.stay_busy(round).await;
        }
    }

    fn add(&mut self, (runtime, kept): (CacheRuntime, Box<dyn Any>)) {
        self.runtimes.push(runtime);
        self._kept.push(kept);
    }
}

#[tokio::test]
async fn each_family_has_a_sample_that_is_not_zero() {
    let program = Program::run().await;
    let runtimes = program.runtimes.iter();
    let samples: Vec<_> = runtimes.flat_map(CacheRuntime::samples).collect();
    let is_provoked = |family: &str| {
        let of_family = |sample: &&_| -> bool {
            let sample: &multi_tier_cached::metrics::Sample = sample;
            sample.family.name == family
        };
        let mut samples = samples.iter().filter(of_family);
        samples.any(|sample| number(&sample.value) > 0.0)
    };
    let families = FAMILIES.iter().map(|family| family.name);
    let missing: Vec<_> = families.filter(|family| !is_provoked(family)).collect();
    assert!(
        missing.is_empty(),
        "without a sample above zero: {missing:?}"
    );
}
