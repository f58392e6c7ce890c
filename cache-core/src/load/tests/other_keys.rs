//! Invalidations of other keys, whose values share a fence with that of the fixture's key.

use super::*;

const S: Duration = Duration::from_secs(10);
const E: Duration = Duration::from_secs(30);

impl Fixture {
    /// Invalidates a number of keys, which have the stripe of the fixture's key.
    fn invalidate_others(&self, keys: u64) {
        let digest = self.function.digest(&self.key);
        let fences = &self.function.state.fences;
        (1..=keys).for_each(|other| fences.raise(digest ^ other << u16::BITS));
    }

    fn invalidate_own(&self) {
        let digest = self.function.digest(&self.key);
        self.function.state.fences.raise(digest);
    }

    /// Returns the number up to which the entry is dated.
    fn dated(&self) -> u64 {
        let entry = self.function.kept(&self.key);
        entry.expect("an entry").dated()
    }
}

#[test]
fn value_that_is_read_outlives_any_number_of_invalidations_of_other_keys() {
    for engine in ENGINES.iter().copied() {
        let fixture = with_engine(engine, Times::NONE);
        fixture.keep(1);
        for _ in 0..100 {
            fixture.invalidate_others(10);
            assert_eq!(fixture.look(), "fresh 1");
            assert_eq!(fixture.dated(), fixture.start(), "{engine:?}");
            fixture.invalidate_others(10);
            assert_eq!(fixture.second_look(), "value 1");
            assert_eq!(fixture.dated(), fixture.start(), "{engine:?}");
        }
        fixture.invalidate_own();
        assert_eq!(fixture.look(), "miss");
    }
}

#[test]
fn stale_value_outlives_invalidations_of_other_keys() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    fixture.invalidate_others(10);
    fixture.advance(LIFE);
    let stale = fixture.stale().expect("the value is in a window");
    fixture.invalidate_others(10);
    assert_eq!(fixture.may_serve(&stale), [true, true]);
    assert_eq!(fixture.look(), "stale 1, load begins");
    fixture.invalidate_own();
    assert_eq!(fixture.may_serve(&stale), [false, false]);
    assert_eq!(fixture.look(), "miss");
}

#[test]
fn value_that_is_dated_up_is_void_after_an_invalidation_of_its_function() {
    let fixture = in_memory(Times::NONE);
    fixture.keep(1);
    fixture.function.fence_off_all();
    fixture.invalidate_others(1);
    assert_eq!(fixture.look(), "miss");
    fixture.keep(2);
    fixture.invalidate_others(1);
    assert_eq!(fixture.look(), "fresh 2");
    fixture.function.fence_off_all();
    assert_eq!(fixture.look(), "miss");
}

#[test]
fn load_is_joined_and_its_value_kept_after_invalidations_of_other_keys() {
    let fixture = in_memory(Times::NONE);
    let (start, began) = (fixture.start(), fixture.function.state.clock.now());
    let may_join = || fixture.function.may_join(&fixture.key, start, began);
    fixture.invalidate_others(10);
    assert!(may_join());
    assert!(fixture.keep_as_of(start, 1));
    assert_eq!(fixture.look(), "fresh 1");
    fixture.invalidate_own();
    assert!(!may_join());
    assert!(!fixture.keep_as_of(start, 2));
}
