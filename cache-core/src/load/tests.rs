//! The steps of a call that concern memory, without a body: the clock, the fences, the tier below
//! and its channel are under control.

mod coherence;
mod keep;
mod negative;
mod other_keys;
mod refresh_ahead;
mod tags;
mod windows;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::codec::{Encodings, ValueType};
use crate::coherence::Coherence;
use crate::error::{Error, ErrorKind};
use crate::fence::Fences;
use crate::function::definition::Definition;
use crate::function::options::WhenIsolated;
use crate::function::plan::Plan;
use crate::function::times::{RefreshAhead, Times};
use crate::function::ttl::Ttl;
use crate::key::{Arguments, Tuple};
use crate::level::Level;
use crate::stale::StaleValue;
use crate::state::{Defaults, RuntimeState};
use crate::tier::config::TierConfig;
use crate::tier::memory::{Engine, Memory};
use crate::tier::store::Store;
use crate::tier::{
    Breaker, FillResult, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult, Receipt,
    RecordKey, SharedTier, Target, Tier, TierFuture, TierSettings,
};

/// The engines that this build has.
const ENGINES: &[Engine] = &[
    Engine::Moka,
    #[cfg(feature = "quick_cache")]
    Engine::QuickCache,
];

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// The life of the values.
const LIFE: Duration = Duration::from_secs(100);
/// How long their loads take.
const LOAD: Duration = Duration::from_secs(2);

static VALUES: ValueType<u64> = ValueType::shared();

/// A shared tier whose server is not reachable, with a channel under control.
#[derive(Debug)]
struct TestTier {
    settings: TierSettings,
    coherence: Arc<Coherence>,
    is_open: AtomicBool,
}

impl TestTier {
    fn new() -> Arc<Self> {
        let this = Self {
            settings: TierSettings::new("test", SECOND),
            coherence: Arc::new(Coherence::new(Duration::from_secs(3_600))),
            is_open: AtomicBool::new(false),
        };
        this.coherence.proved(this.coherence.barrier());
        Arc::new(this)
    }

    /// Loses the channel, and the server if `is_cut_off`.
    fn lose(&self, is_cut_off: bool) {
        self.coherence.revoke();
        self.is_open.store(is_cut_off, Ordering::SeqCst);
    }
}

fn unavailable<'a, T>() -> TierFuture<'a, T> {
    Box::pin(async {
        Err(Error::new(
            ErrorKind::Unavailable,
            "the server is not reachable",
        ))
    })
}

impl Tier for TestTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        match self.is_open.load(Ordering::SeqCst) {
            true => Breaker::Open,
            false => Breaker::Closed,
        }
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn read<'a>(
        &'a self,
        _: &'a RecordKey,
        _: ReadOptions,
        _: Duration,
    ) -> TierFuture<'a, ReadResult> {
        unavailable()
    }

    fn lease<'a>(
        &'a self,
        _: &'a RecordKey,
        _: LeaseMode,
        _: &'a [u8],
        _: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        unavailable()
    }

    fn fill<'a>(
        &'a self,
        _: &'a RecordKey,
        _: &'a Lease,
        _: Vec<u8>,
        _: Duration,
        _: Duration,
    ) -> TierFuture<'a, FillResult> {
        unavailable()
    }

    fn invalidate<'a>(&'a self, _: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        unavailable()
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl SharedTier for TestTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.coherence
    }

    fn link(&self) -> u64 {
        0
    }
}

/// A function in a runtime, and one of its keys.
struct Fixture {
    clock: ManualClock,
    function: Arc<CachedFunction>,
    key: Arc<Key>,
}

/// A function with memory alone.
fn in_memory(times: Times) -> Fixture {
    with_engine(Engine::default(), times)
}

fn with_engine(engine: Engine, times: Times) -> Fixture {
    Fixture::new(engine, None, definition(times))
}

fn definition(times: Times) -> Definition {
    Definition {
        name: "f".into(),
        ttl: Ttl::everywhere(LIFE),
        times,
        ..Definition::DEFAULT
    }
}

impl Fixture {
    fn new(engine: Engine, tier: Option<&Arc<TestTier>>, definition: Definition) -> Self {
        Self::with_shards(engine, tier.into_iter().cloned().collect(), definition)
    }

    /// Makes the fixture with a store below memory that has these shards, or none.
    fn with_shards(engine: Engine, shards: Vec<Arc<TestTier>>, mut definition: Definition) -> Self {
        let clock = ManualClock::new();
        let memory = Memory::builder().engine(engine).build().unwrap();
        let is_some = !shards.is_empty();
        let shards = shards.into_iter().map(|shard| shard as Arc<dyn Tier>);
        let lower = is_some.then(|| {
            let store =
                Store::new(shards.collect(), Level::L2, Clock::Manual(clock.clone())).unwrap();
            (TierConfig::as_l2(), Arc::new(store))
        });
        let state = Arc::new(RuntimeState::new(
            Some((TierConfig::as_l1(), memory)),
            lower.into_iter().collect(),
            Arc::new(Fences::new()),
            Clock::Manual(clock.clone()),
            Encodings::builtin(),
            Defaults::default(),
        ));
        // The plan refuses some times of strong functions. Here they are there nevertheless, so
        // that the judge is seen not to rely on it.
        let times = std::mem::replace(&mut definition.times, Times::NONE);
        let mut plan = Plan::new(&definition, &state).unwrap();
        plan.definition.times = times;
        let function = CachedFunction::new("f".into(), plan, None, state);
        let arguments = Arguments::encode(Tuple(&(1,)), function.seed).unwrap();
        let key = Arc::new(arguments.key(function.id).to_owned());
        Self {
            clock,
            function,
            key,
        }
    }

    /// Chooses a key in this shard.
    fn with_key_in(mut self, shard: usize) -> Self {
        let function = &self.function;
        let keys = (0..u64::MAX).map(|number| {
            let arguments = Arguments::encode(Tuple(&(number,)), function.seed).unwrap();
            Arc::new(arguments.key(function.id).to_owned())
        });
        let store = &function.lower[0].store;
        let first_in = |key: &Arc<Key>| store.of(function.digest(key)).coherence().cloned();
        let wanted = store
            .of(store.count().digest_in(shard))
            .coherence()
            .cloned();
        let is_wanted = |key: &Arc<Key>| {
            let found = first_in(key);
            found
                .zip(wanted.clone())
                .is_some_and(|(found, wanted)| Arc::ptr_eq(&found, &wanted))
        };
        let key = keys.into_iter().find(is_wanted);
        self.key = key.unwrap();
        self
    }

    fn start(&self) -> u64 {
        self.function.state.fences.now()
    }

    /// Keeps a value that was loaded now.
    fn keep(&self, value: u64) -> bool {
        self.keep_as_of(self.start(), value)
    }

    fn keep_as_of(&self, start: u64, value: u64) -> bool {
        let visits = TierVisits::new(&self.function, &self.key);
        let held: Held = Arc::new(value);
        self.function
            .keep_loaded((&held, LOAD), start, &visits, &VALUES)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Notes that a load failed.
    fn back_off(&self, lasts: Duration) {
        self.function.note_back_off(&self.key, lasts, Some(1));
    }

    /// Looks in memory for a call that can begin a load in the background.
    fn look(&self) -> String {
        show(self.function.judge(&(*self.key).as_ref(), true))
    }

    /// Looks in memory for a call whose loads end with their callers.
    fn plain_look(&self) -> String {
        show(self.function.judge(&(*self.key).as_ref(), false))
    }

    /// The result of the second look-up of a call.
    fn second_look(&self) -> String {
        let outcome = self.function.peek_outcome(&self.key, &VALUES);
        show_outcome(outcome.map(|(outcome, _)| outcome))
    }

    fn served_isolated(&self) -> String {
        let isolated = self.function.serve_isolated(&self.key, &VALUES);
        show_outcome(isolated.map(|isolated| isolated.outcome))
    }

    /// The stale value that memory has, as callers get it that began now.
    fn stale(&self) -> Option<StaleValue> {
        self.function.stale_value(&self.key)
    }

    /// Returns whether a caller gets a value instead of the result of a failed load, and whether it
    /// gets the value at once.
    fn may_serve(&self, stale: &StaleValue) -> [bool; 2] {
        let (function, key) = (&self.function, &self.key);
        [
            function.may_serve_stale(stale, key),
            function.may_serve_while_revalidating(stale, key),
        ]
    }
}

fn number(held: &Held) -> u64 {
    *held.downcast_ref().expect("a number")
}

fn show(look: Look) -> String {
    match look {
        Look::Fresh(held) => format!("fresh {}", number(&held)),
        Look::Absent => "absent".into(),
        Look::Failed(_) => "failed".into(),
        Look::Miss => "miss".into(),
        Look::Stale { value, replaces } => {
            let begins = match replaces.map(|replaces| replaces.stale) {
                None => "",
                Some(None) => ", is due, load begins",
                Some(Some(_)) => ", load begins",
            };
            format!("stale {}{begins}", number(&value))
        }
    }
}

fn show_outcome(outcome: Option<LoadOutcome>) -> String {
    match outcome {
        None => "miss".into(),
        Some(LoadOutcome::Value(held)) => format!("value {}", number(&held)),
        Some(LoadOutcome::Absent) => "absent".into(),
        Some(LoadOutcome::Failed(_)) => "failed".into(),
        Some(_) => "another outcome".into(),
    }
}

fn windows(revalidate: Option<Duration>, on_error: Option<Duration>) -> Times {
    Times {
        stale_while_revalidate: revalidate,
        stale_if_error: on_error,
        ..Times::NONE
    }
}
