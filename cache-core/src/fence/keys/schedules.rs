//! Dating up under every schedule of three threads that interrupts them at most three times, by
//! loom. There is one bucket, whose log has two keys:
//! `RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc_with_schedules.sh \
//! cargo test -p cache-core --lib schedules`.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::clock::Moment;
use crate::entry::Entry;
use crate::fence::{Fences, FunctionFence};

/// The digest of the key whose value is read.
const KEY: u64 = 1 << u16::BITS;
const OTHERS: [u64; 2] = [2 << u16::BITS, 3 << u16::BITS];

/// A runtime with one function, which reads one number.
struct Fixture {
    fences: Fences,
    function: FunctionFence,
    /// The source of truth.
    database: AtomicU64,
    memory: Mutex<Option<Entry>>,
}

impl Fixture {
    /// Makes a runtime whose memory has the value 1.
    fn new() -> Arc<Self> {
        let fixture = Self {
            fences: Fences::new(),
            function: FunctionFence::at(0),
            database: AtomicU64::new(1),
            memory: Mutex::new(None),
        };
        fixture.load();
        Arc::new(fixture)
    }

    fn load(&self) {
        let start = self.fences.now();
        let value = Arc::new(self.database.load(Ordering::Acquire));
        let entry = Entry::new(value, start, Stripe::of(KEY), Moment::ZERO, 8);
        let mut memory = lock(&self.memory);
        let is_older = |known: &Entry| known.is_newer_than(&entry, Moment::FIRST);
        if !memory.as_ref().is_some_and(is_older) {
            *memory = Some(entry);
        }
    }

    /// Returns the value in memory if it is valid, and dates its entry up, as a call does.
    fn hit(&self) -> Option<u64> {
        let entry = lock(&self.memory).clone()?;
        let (dated, stripe) = (entry.dated(), entry.stripe());
        if !self.fences.admits(dated, stripe) {
            let until = self.fences.date_up(dated, KEY)?;
            let mut memory = lock(&self.memory);
            let new = memory
                .as_ref()
                .and_then(|known| known.dated_up(dated, until));
            *memory = new.or_else(|| memory.clone());
        }
        let is_valid = self
            .fences
            .is_current_for_function(entry.start(), stripe, &self.function);
        let held = entry.into_value(false).filter(|_| is_valid)?;
        held.downcast_ref().copied()
    }

    /// Checks that no call returns a value from before the last write.
    fn check(&self) {
        let value = self.hit();
        assert!(value.is_none_or(|value| value == 2), "{value:?} is stale");
    }
}

fn spawn(fixture: &Arc<Fixture>, run: impl FnOnce(&Fixture) + 'static) -> JoinHandle<()> {
    let fixture = Arc::clone(fixture);
    thread::spawn(move || run(&fixture))
}

fn search(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// Writes and invalidates while two threads do the rest, and checks the value then and at the end.
fn check_during(invalidate: fn(&Fixture), first: fn(&Fixture), second: fn(&Fixture)) {
    search(move || {
        let fixture = Fixture::new();
        let others = [spawn(&fixture, first), spawn(&fixture, second)];
        fixture.database.store(2, Ordering::Release);
        invalidate(&fixture);
        fixture.check();
        for other in others {
            other.join().expect("the other thread");
        }
        fixture.check();
    });
}

fn invalidate_key(fixture: &Fixture) {
    fixture.fences.raise(KEY);
}

fn invalidate_another(fixture: &Fixture) {
    fixture.fences.raise(OTHERS[0]);
}

fn hit(fixture: &Fixture) {
    fixture.hit();
}

#[test]
fn value_that_is_dated_up_during_the_invalidation_of_its_key_is_void_after_it() {
    check_during(invalidate_key, invalidate_another, hit);
}

/// The log has no place for the third key.
#[test]
fn value_is_void_after_an_invalidation_that_the_log_loses_at_once() {
    fn invalidate_others(fixture: &Fixture) {
        OTHERS.iter().for_each(|other| fixture.fences.raise(*other));
    }
    check_during(invalidate_key, invalidate_others, hit);
}

#[test]
fn value_of_a_load_during_the_invalidation_of_its_key_is_void_after_it() {
    fn load_and_hit(fixture: &Fixture) {
        fixture.load();
        fixture.hit();
    }
    check_during(invalidate_key, invalidate_another, load_and_hit);
}

#[test]
fn value_that_is_dated_up_during_the_invalidation_of_its_function_is_void_after_it() {
    fn invalidate_function(fixture: &Fixture) {
        fixture.fences.raise_function(&fixture.function);
    }
    check_during(invalidate_function, invalidate_another, hit);
}

/// The entry that is dated up may be another one than the one that was judged: that one was
/// evicted, and a load from before the invalidation has inserted its own.
#[test]
fn other_entry_than_the_one_that_was_judged_is_not_dated_up_past_an_invalidation() {
    fn invalidate_load_and_evict(fixture: &Fixture) {
        fixture.fences.raise(KEY);
        fixture.load();
        invalidate_another(fixture);
        *lock(&fixture.memory) = None;
    }
    check_during(invalidate_load_and_evict, Fixture::load, hit);
}

#[test]
fn value_outlives_the_invalidations_of_other_keys_at_the_same_time() {
    search(|| {
        let fixture = Fixture::new();
        let raise = |digest| spawn(&fixture, move |it| it.fences.raise(digest));
        for other in OTHERS.map(raise) {
            assert_eq!(fixture.hit(), Some(1));
            other.join().expect("the other thread");
        }
        assert_eq!(fixture.hit(), Some(1));
        let entry = lock(&fixture.memory).clone().expect("an entry");
        assert!(fixture.fences.admits(entry.dated(), entry.stripe()));
    });
}
