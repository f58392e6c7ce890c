//! Batches and single calls that overlap, fail, are dropped and are invalidated, in two instances,
//! against a map. The schedules are random; the clock of the tests is paused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Memory, ShareWith};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use testbed::Instance;
use testbed::fake_store::FakeStore;
use tokio::time::{sleep, timeout};

/// The function, whose errors are shared.
type Values = Function<u64, ShareWith<usize>>;

const IDS: u64 = 8;

/// How often a schedule is chosen.
const CASES: u32 = 192;

/// A call, and when it begins, in ms.
#[derive(Clone, Debug)]
struct Event {
    begins: u64,
    instance: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Batch(Vec<u64>, Body),
    Single(u64, Body),
    /// Changes the value of an id and invalidates it.
    Change(u64),
}

/// How the body of a call behaves, and the call itself.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// In ms.
    takes: u64,
    fails: bool,
    /// The call is dropped after this time, in ms.
    dropped_after: Option<u64>,
}

fn body() -> impl Strategy<Value = Body> {
    let fails = prop::bool::weighted(0.2);
    let dropped_after = prop::option::weighted(0.2, 0..20_u64);
    (0..20_u64, fails, dropped_after).prop_map(|(takes, fails, dropped_after)| Body {
        takes,
        fails,
        dropped_after,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let what = prop_oneof![
        4 => (vec(0..IDS, 0..7), body()).prop_map(|(ids, body)| What::Batch(ids, body)),
        2 => (0..IDS, body()).prop_map(|(id, body)| What::Single(id, body)),
        1 => (0..IDS).prop_map(What::Change),
    ];
    let event = (0..40_u64, 0..2_usize, what).prop_map(|(begins, instance, what)| Event {
        begins,
        instance,
        what,
    });
    vec(event, 1..16)
}

/// The source of the values. The value of an id is its version; the last id has no value.
#[derive(Debug)]
struct Source {
    /// The version of each id.
    versions: [AtomicU64; IDS as usize],
    /// The version of each id whose predecessors are invalidated everywhere.
    settled: [AtomicU64; IDS as usize],
    violations: Mutex<Vec<String>>,
}

impl Source {
    fn value(&self, id: u64) -> Option<u64> {
        let version = self.versions[id as usize].load(Ordering::SeqCst);
        (id != IDS - 1).then_some(version)
    }

    fn settled(&self) -> Vec<u64> {
        let settled = self.settled.iter();
        settled
            .map(|version| version.load(Ordering::SeqCst))
            .collect()
    }

    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.lock().unwrap().push(what());
        }
    }

    /// Checks a value that a call returned which began when `settled` was current.
    fn check_value(&self, id: u64, value: Option<u64>, settled: &[u64]) {
        let newest = self.value(id);
        let is_valid = match (value, newest) {
            (Some(value), Some(newest)) => settled[id as usize] <= value && value <= newest,
            (value, newest) => value == newest,
        };
        let oldest = settled[id as usize];
        self.check(is_valid, || {
            format!("{id}: {value:?} is not from {oldest} to {newest:?}")
        });
    }
}

type Found = Result<HashMap<u64, u64>, usize>;

/// Runs a batch with the number `number`, and checks its body and its result.
async fn batch(source: &Source, values: &Values, number: usize, ids: &[u64], body: Body) {
    let settled = source.settled();
    let load = async |asked: Vec<u64>| -> Found {
        let mut rest = ids.iter();
        // In the order of the caller and each once: a subsequence of the distinct ids.
        let is_ordered = asked.iter().all(|id| rest.any(|other| other == id));
        let mut distinct = asked.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let is_distinct = distinct.len() == asked.len() && !asked.is_empty();
        source.check(is_distinct, || format!("{asked:?} has an id twice or none"));
        source.check(is_ordered, || {
            format!("{asked:?} is not in the order of {ids:?}")
        });
        let read: Vec<_> = asked.iter().map(|id| (*id, source.value(*id))).collect();
        sleep(Duration::from_millis(body.takes)).await;
        if body.fails {
            return Err(number);
        }
        let found = read
            .into_iter()
            .filter_map(|(id, value)| Some((id, value?)));
        // An id that was not asked for is ignored.
        Ok(found.chain([(1000, 0)]).collect())
    };
    let call = values.get_or_load_many(ids, |id| (*id,), load);
    match call.await {
        Ok(found) => {
            for id in ids {
                source.check_value(*id, found.get(id).copied(), &settled);
            }
            let is_asked = found.keys().all(|id| ids.contains(id));
            source.check(is_asked, || format!("{found:?} has other ids than {ids:?}"));
        }
        Err(failed) => source.check(failed == number && body.fails, || {
            format!("batch {number} returns the error of {failed}")
        }),
    }
}

async fn single(source: &Source, values: &Values, number: usize, id: u64, body: Body) {
    let settled = source.settled();
    let load = || async {
        let value = source.value(id);
        sleep(Duration::from_millis(body.takes)).await;
        if body.fails { Err(number) } else { Ok(value) }
    };
    if let Ok(value) = values.get_or_load((id,), load).await {
        source.check_value(id, value, &settled);
    }
}

async fn change(source: &Source, values: &Values, id: u64) {
    let version = source.versions[id as usize].fetch_add(1, Ordering::SeqCst) + 1;
    let done = values.entry((id,)).invalidate().await;
    source.check(done.is_ok(), || format!("{done:?}"));
    source.settled[id as usize].fetch_max(version, Ordering::SeqCst);
}

/// Runs the events of a schedule, and returns what was violated.
async fn run(events: Vec<Event>) -> Vec<String> {
    let store = FakeStore::new(2);
    let mut instances = Vec::new();
    for _ in 0..2 {
        let tiers = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(store.connect());
        instances.push(Instance::build(tiers).await);
    }
    let values = Function::<u64>::builder("batch_schedules::values");
    let values = values.ttl(Duration::from_secs(3600));
    let values = values.share_error(|error: &usize| *error).build().unwrap();
    let source = Arc::new(Source {
        versions: std::array::from_fn(|_| AtomicU64::new(0)),
        settled: std::array::from_fn(|_| AtomicU64::new(0)),
        violations: Mutex::default(),
    });
    let tasks = events.into_iter().enumerate().map(|(number, event)| {
        let (source, values) = (Arc::clone(&source), values.clone());
        instances[event.instance].spawn(async move {
            sleep(Duration::from_millis(event.begins)).await;
            let dropped_after = match &event.what {
                What::Batch(_, body) | What::Single(_, body) => body.dropped_after,
                What::Change(_) => None,
            };
            let call = async {
                match event.what {
                    What::Batch(ids, body) => batch(&source, &values, number, &ids, body).await,
                    What::Single(id, body) => single(&source, &values, number, id, body).await,
                    What::Change(id) => change(&source, &values, id).await,
                }
            };
            let limit = dropped_after.map_or(Duration::from_secs(600), Duration::from_millis);
            let ended = timeout(limit, call).await.is_ok();
            source.check(ended || dropped_after.is_some(), || {
                format!("{number} does not end")
            });
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        if let Err(error) = task.await {
            source.check(false, || error.to_string());
        }
    }
    // Nothing is left behind that a later call would wait for.
    let ids: Vec<u64> = (0..IDS).collect();
    let body = Body {
        takes: 0,
        fails: false,
        dropped_after: None,
    };
    for instance in &instances {
        let last = instance.call(batch(&source, &values, usize::MAX, &ids, body));
        let ended = timeout(Duration::from_secs(1), last).await.is_ok();
        source.check(ended, || "the last call waits".to_owned());
    }
    std::mem::take(&mut *source.violations.lock().unwrap())
}

#[test]
fn batches_and_single_calls_return_what_the_source_has() {
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let checked = TestRunner::new(config).run(&events(), |events| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let violations = runtime.block_on(run(events));
        prop_assert!(violations.is_empty(), "{violations:#?}");
        Ok(())
    });
    checked.unwrap();
}
