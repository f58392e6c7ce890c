//! Confirmations under every schedule of three threads that interrupts them at most three times, by
//! loom. There are two fences of tags. docs/testing.md has the command.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use crate::clock::Moment;
use crate::entry::Entry;
use crate::fence::{Fences, Stripe};

/// The digest of the tag of the value that is read, and of another one.
const TAG: u64 = 0;
const OTHER: u64 = 1;

/// A runtime whose memory has a value with a tag.
struct Fixture {
    fences: Fences,
    entry: Entry,
}

impl Fixture {
    fn new() -> Arc<Self> {
        let fences = Fences::new();
        fences.make_tags();
        // Makes the fences of expiries.
        fences.expire(OTHER);
        let stripe = Stripe::of(0);
        let entry = Entry::new(Arc::new(()), fences.now(), stripe, Moment::ZERO, 8);
        let tags = fences.tag_stripes(&[TAG]);
        let entry = entry.with_tags(&tags);
        Arc::new(Self { fences, entry })
    }

    /// Returns `true` if a call gets the value, and confirms it, as a call does.
    fn hit(&self) -> bool {
        let (start, tags) = (self.entry.start(), self.entry.tags());
        let is_valid =
            || self.fences.admits_tags(start, tags) && !self.fences.are_tags_expired(start, tags);
        let changes = self.fences.changes();
        self.entry.is_confirmed(changes) || self.entry.confirm(changes, is_valid)
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

/// Changes the fence of the value's tag while two threads do the rest. No call returns the value
/// after that.
fn check_during(change: fn(&Fences), first: fn(&Fixture), second: fn(&Fixture)) {
    search(move || {
        let fixture = Fixture::new();
        let others = [spawn(&fixture, first), spawn(&fixture, second)];
        change(&fixture.fences);
        assert!(!fixture.hit(), "the value of a tag that was changed");
        for other in others {
            other.join().expect("the other thread");
        }
        assert!(!fixture.hit(), "the value of a tag that was changed");
    });
}

fn invalidate(fences: &Fences) {
    fences.raise_tag(TAG);
}

fn expire(fences: &Fences) {
    fences.expire(TAG);
}

fn hit(fixture: &Fixture) {
    fixture.hit();
}

fn invalidate_another(fixture: &Fixture) {
    fixture.fences.raise_tag(OTHER);
}

/// The number of the other invalidation can be larger, and raised before.
#[test]
fn value_that_is_confirmed_during_invalidations_of_its_tag_and_another_is_void_after_them() {
    check_during(invalidate, invalidate_another, hit);
}

#[test]
fn value_that_is_confirmed_during_the_expiry_of_its_tag_is_stale_after_it() {
    check_during(expire, invalidate_another, hit);
}

#[test]
fn value_that_two_calls_confirm_during_the_invalidation_of_its_tag_is_void_after_it() {
    check_during(invalidate, hit, hit);
}

#[test]
fn value_that_is_confirmed_during_the_invalidation_of_all_tags_is_void_after_it() {
    check_during(Fences::raise_all_tags, hit, hit);
    check_during(Fences::expire_all, hit, hit);
}

#[test]
fn value_outlives_an_invalidation_of_another_tag_at_the_same_time() {
    search(|| {
        let fixture = Fixture::new();
        let other = spawn(&fixture, invalidate_another);
        assert!(fixture.hit());
        other.join().expect("the other thread");
        assert!(fixture.hit());
        assert!(fixture.entry.is_confirmed(fixture.fences.changes()));
    });
}
