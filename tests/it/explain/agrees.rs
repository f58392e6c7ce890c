//! `explain` says what the next call does, in states at random, and changes nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Consistency, ExplainedTier, Explanation, Function, FunctionStats, Level, Memory,
    NextCall, StaleReason, Verdict, WhenIsolated, invalidate,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use testbed::Instance;
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::counts::function_stats;
use testbed::fake_tier::FakeTier;

use super::{HOUR, builder};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a call takes that waits for no other, in virtual time.
const SOON: Duration = Duration::from_millis(10);

/// The places of two kinds of functions among all.
const ERRORS: usize = 2;
const WINDOWS: usize = 3;

/// One change of the state of a key.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A call of this instance or of the other one.
    Call {
        is_here: bool,
    },
    /// A call whose body fails.
    Fail,
    /// A call that stays in its body until the end.
    Hang {
        is_here: bool,
    },
    Invalidate {
        is_here: bool,
    },
    InvalidateFunction,
    InvalidateTag,
    Expire,
    ExpireTag,
    Advance(Duration),
    /// The records of the tier are lost.
    Lose,
    Isolate,
    BreakDown,
    Recover,
    Guard,
}

fn change() -> impl Strategy<Value = Change> {
    let times = prop_oneof![
        1 => Just(MINUTE),
        2 => Just(HOUR - MINUTE / 2),
        4 => Just(HOUR + MINUTE / 2),
        1 => Just(3 * HOUR),
    ];
    prop_oneof![
        4 => any::<bool>().prop_map(|is_here| Change::Call { is_here }),
        4 => Just(Change::Fail),
        1 => any::<bool>().prop_map(|is_here| Change::Hang { is_here }),
        2 => any::<bool>().prop_map(|is_here| Change::Invalidate { is_here }),
        1 => Just(Change::InvalidateFunction),
        1 => Just(Change::InvalidateTag),
        1 => Just(Change::Expire),
        1 => Just(Change::ExpireTag),
        6 => times.prop_map(Change::Advance),
        1 => Just(Change::Lose),
        2 => Just(Change::Isolate),
        2 => Just(Change::BreakDown),
        1 => Just(Change::Recover),
        1 => Just(Change::Guard),
    ]
}

/// A function, and whether its calls are late.
struct Kind {
    function: Function<u64>,
    is_late: bool,
}

/// Two instances with one tier below memory.
struct World {
    here: Instance,
    there: Instance,
    tier: FakeTier,
    clock: TestClock,
    kinds: Vec<Kind>,
    /// The number of the last body. Each body returns its number.
    bodies: Cell<u64>,
    /// How often a call did what, by the beginning of the text that says so.
    seen: RefCell<BTreeMap<String, u32>>,
}

impl World {
    async fn new() -> Self {
        let (tier, clock) = (FakeTier::shared_with_ledger(24 * HOUR), TestClock::new());
        let instance = async || {
            let tiers = CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(ClockedTier::new(tier.clone(), &clock))
                .clock(clock.of_runtimes());
            Instance::build(tiers).await
        };
        let kind = |function, is_late| Kind { function, is_late };
        let windows = builder("agrees::windows")
            .stale_while_revalidate(HOUR)
            .stale_if_error(2 * HOUR)
            .refresh_ahead(MINUTE)
            .when_isolated(WhenIsolated::Serve)
            .tags(["agrees"]);
        let plain = builder("agrees::plain");
        let tags = builder("agrees::tags").tags(["agrees"]);
        let errors = builder("agrees::errors").stale_if_error(HOUR);
        let serve = builder("agrees::serve").when_isolated(WhenIsolated::Serve);
        let strong = builder("agrees::strong").consistency(Consistency::Strong);
        let below = builder("agrees::below")
            .tiers([Level::L2])
            .stale_while_revalidate(HOUR)
            .refresh_ahead(MINUTE)
            .tags(["agrees"]);
        let kinds = vec![
            kind(plain.build().unwrap(), false),
            kind(tags.build().unwrap(), false),
            kind(errors.build().unwrap(), false),
            kind(windows.build().unwrap(), true),
            kind(serve.build().unwrap(), false),
            kind(strong.build().unwrap(), false),
            kind(below.build().unwrap(), true),
        ];
        let this = Self {
            here: instance().await,
            there: instance().await,
            tier,
            clock,
            kinds,
            bodies: Cell::new(0),
            seen: RefCell::default(),
        };
        // Statistics have a function from then on.
        for kind in &this.kinds {
            this.explain((kind, 0)).await;
        }
        this
    }

    /// Returns a result for a body that no other one has.
    fn body(&self) -> u64 {
        self.bodies.set(self.bodies.get() + 1);
        self.bodies.get()
    }

    /// Makes a call that waits for no other; `None` if it has to wait.
    async fn call(
        &self,
        instance: &Instance,
        (kind, key): (&Kind, u64),
        result: Result<u64, &'static str>,
    ) -> Option<Result<u64, &'static str>> {
        let function = &kind.function;
        let call = async {
            match kind.is_late {
                true => {
                    function
                        .get_or_load_late((key,), move || async move { result })
                        .await
                }
                false => function.get_or_load((key,), || async move { result }).await,
            }
        };
        timeout(SOON, instance.call(call)).await.ok()
    }

    /// Begins a call whose body does not return.
    fn hang(&self, instance: &Instance, (kind, key): (&Kind, u64)) -> JoinHandle<u64> {
        let function = kind.function.clone();
        instance.spawn(async move {
            function
                .get_or_load((key,), || async { pending::<u64>().await })
                .await
        })
    }

    async fn change(&self, (kind, key): (&Kind, u64), change: Change, held: &mut Held) {
        let instance = |is_here| match is_here {
            true => &self.here,
            false => &self.there,
        };
        let (function, entry) = (&kind.function, kind.function.entry((key,)));
        match change {
            Change::Call { is_here } => {
                let result = Ok(self.body());
                self.call(instance(is_here), (kind, key), result).await;
            }
            Change::Fail => {
                self.call(&self.here, (kind, key), Err("down")).await;
            }
            Change::Hang { is_here } => {
                held.calls.push(self.hang(instance(is_here), (kind, key)));
                tokio::time::sleep(SOON).await;
            }
            Change::Invalidate { is_here } => {
                instance(is_here).invalidate(entry.invalidate()).await;
            }
            Change::InvalidateFunction => {
                self.here.invalidate(function.invalidate_all()).await;
            }
            Change::InvalidateTag => {
                self.here.invalidate(invalidate!(tag "agrees")).await;
            }
            Change::Expire => {
                self.here.invalidate(entry.expire()).await;
            }
            Change::ExpireTag => {
                self.here
                    .invalidate(multi_tier_cached::expire!(tag "agrees"))
                    .await;
            }
            Change::Advance(by) => self.clock.advance(by),
            Change::Lose => self.tier.empty(),
            Change::Isolate => self.tier.revoke(),
            Change::BreakDown => {
                self.tier.revoke();
                self.tier.break_down();
            }
            Change::Recover => {
                self.tier.recover();
                self.tier.prove();
            }
            Change::Guard => {
                let guard = self.here.call(entry.write_guard()).await;
                held.guards.extend(guard);
            }
        }
    }

    async fn explain(&self, (kind, key): (&Kind, u64)) -> Explanation {
        let entry = kind.function.entry((key,));
        let mut explained = self.here.call(entry.explain()).await;
        // Its times are of the clock of the host.
        explained
            .tiers
            .iter_mut()
            .for_each(|tier| tier.channel = None);
        explained
    }

    /// Changes the state of a key, explains it, and makes the call.
    async fn check(&self, kind: usize, key: u64, changes: &[Change]) -> Result<(), TestCaseError> {
        let at = (&self.kinds[kind], key);
        let mut held = Held::default();
        self.tier.recover();
        self.tier.prove();
        for change in changes {
            self.tier.let_through();
            self.change(at, *change, &mut held).await;
        }
        tokio::time::sleep(SOON).await;

        let before = self.state();
        let explained = self.explain(at).await;
        prop_assert!(self.state() == before, "it changed something: {explained}");
        prop_assert_eq!(&self.explain(at).await, &explained, "it changed something");

        let name = self.kinds[kind].function.name();
        let stats = || function_stats(&self.here, name).unwrap();
        let (before, body) = (stats(), self.body());
        let result = self.call(&self.here, at, Ok(body)).await;
        // For the load in the background.
        tokio::time::sleep(SOON).await;
        let done = Done::new((&before, &stats()), result, body);
        let is_as_said = done.is_as(&explained.next_call) && done.refreshes_as(&explained);
        prop_assert!(is_as_said, "{done:?}\n{explained}");
        let text = explained.next_call.to_string();
        let text = text.split(';').next().unwrap_or_default();
        *self.seen.borrow_mut().entry(text.to_owned()).or_default() += 1;
        drop(held);
        tokio::time::sleep(SOON).await;
        Ok(())
    }

    /// Returns everything that calls and operations count, and the records.
    fn state(&self) -> (String, Vec<Vec<u8>>) {
        let mut records = self.tier.records();
        records.sort_unstable();
        let operations = self.here.tiers();
        let operations = operations.iter().map(|tier| &tier.operations);
        let counted = format!(
            "{:?} {:?} {:?}",
            self.here.stats(),
            operations.collect::<Vec<_>>(),
            self.here.loads_under_way()
        );
        (counted, records)
    }
}

/// Loads and guards that are ended after a case.
#[derive(Default)]
struct Held {
    calls: Vec<JoinHandle<u64>>,
    guards: Vec<multi_tier_cached::WriteGuard>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.calls.iter().for_each(JoinHandle::abort);
    }
}

/// The outcome of a call.
#[derive(Debug)]
struct Done {
    has_loaded: bool,
    has_returned: bool,
    by_memory: u64,
    by_tier: u64,
    backed_off: u64,
    waits: u64,
    lease_waits: u64,
    refreshes: u64,
}

impl Done {
    fn new(
        (before, after): (&FunctionStats, &FunctionStats),
        result: Option<Result<u64, &'static str>>,
        body: u64,
    ) -> Self {
        let hits = |stats: &FunctionStats, level| {
            stats
                .tier(level)
                .map_or(0, |tier| tier.hits + tier.isolated_hits)
        };
        let lease_waits =
            |stats: &FunctionStats| stats.tier(Level::L2).map_or(0, |tier| tier.lease_waits);
        Self {
            has_loaded: result == Some(Ok(body)),
            has_returned: result.is_some(),
            by_memory: hits(after, Level::L1) - hits(before, Level::L1),
            by_tier: hits(after, Level::L2) - hits(before, Level::L2),
            backed_off: after.backed_off - before.backed_off,
            waits: after.waits - before.waits,
            lease_waits: lease_waits(after) - lease_waits(before),
            refreshes: after.refreshes - before.refreshes,
        }
    }

    /// Returns `true` if a body ran in the background as the explanation says. A load that finds a
    /// fresh record takes that.
    fn refreshes_as(&self, explained: &Explanation) -> bool {
        let begins_load = match explained.next_call {
            NextCall::Answered { begins_load, .. } => begins_load,
            _ => false,
        };
        let is_fresh = |tier: &ExplainedTier| {
            tier.level != Level::L1 && matches!(tier.verdict, Verdict::Good | Verdict::NoValue)
        };
        match explained.tiers.iter().any(is_fresh) {
            true => self.refreshes <= u64::from(begins_load),
            false => self.refreshes == u64::from(begins_load),
        }
    }

    fn is_as(&self, next: &NextCall) -> bool {
        let is_cached = self.has_returned && !self.has_loaded;
        match next {
            NextCall::Answered {
                stale: Some(StaleReason::BackedOff),
                ..
            } => is_cached && self.backed_off > 0,
            NextCall::Answered { by: Level::L1, .. } => is_cached && self.by_memory == 1,
            // Or it has joined a load that replaces the value.
            NextCall::Answered { .. } => is_cached && self.by_tier + self.waits == 1,
            NextCall::Joins => !self.has_returned && self.waits == 1,
            NextCall::Waits { .. } => !self.has_returned && self.lease_waits == 1,
            NextCall::Loads { .. } => self.has_loaded,
            _ => false,
        }
    }
}

#[test]
fn next_call_does_what_the_explanation_says_and_the_explanation_changes_nothing() {
    let tokio = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let world = tokio.block_on(World::new());
    // Most of them begin with a value, and with windows, because most states have neither.
    let kinds = prop_oneof![3 => 0..world.kinds.len(), 2 => Just(WINDOWS), 1 => Just(ERRORS)];
    let first = prop_oneof![3 => any::<bool>().prop_map(Some), 1 => Just(None)];
    let cases = (kinds, first, vec(change(), 0..6));
    let key = Cell::new(0);
    let config = Config {
        cases: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&cases, |(kind, first, changes)| {
        key.set(key.get() + 1);
        let first = first.map(|is_here| Change::Call { is_here });
        let changes: Vec<_> = first.into_iter().chain(changes).collect();
        tokio.block_on(world.check(kind, key.get(), &changes))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = world.seen.borrow();
    for expected in [
        "is answered by l1",
        "is answered by l1 with a stale value",
        "is answered by l1 with a stale value, because a load failed",
        "is answered by l2",
        "is answered by l2, and the value is copied to l1",
        "is answered by l2 with a stale value",
        "waits for the load that runs on this instance",
        "waits for a load that holds the lease of l2",
        "runs the body",
        "runs the body, and its value is not kept",
    ] {
        assert!(
            seen.get(expected).is_some_and(|count| *count >= 5),
            "{expected}: {seen:?}"
        );
    }
}
