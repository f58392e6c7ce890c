use std::collections::HashMap;

use super::*;

/// The digest of the `at`th key of the first bucket.
fn digest(at: u64) -> u64 {
    at << u16::BITS
}

/// Fences of keys with the sequence from which their numbers are taken.
struct Fixture {
    fences: KeyFences,
    sequence: AtomicU64,
}

impl Fixture {
    fn new() -> Self {
        Self::of(KeyFences::new(0, false))
    }

    fn of(fences: KeyFences) -> Self {
        let sequence = AtomicU64::new(0);
        Self { fences, sequence }
    }

    fn now(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    fn pass(&self, numbers: u64) -> u64 {
        self.sequence.fetch_add(numbers, Ordering::Relaxed) + numbers
    }

    fn raise(&self, digest: u64) {
        self.fences.raise(digest, || self.pass(1));
    }

    fn raise_others(&self, keys: usize) {
        (1..=keys as u64).for_each(|at| self.raise(digest(1_000 + at)));
    }

    fn is_valid(&self, dated: u64, digest: u64) -> bool {
        let dated_up = self.fences.date_up(dated, digest);
        assert!(dated_up.is_none_or(|up| up >= dated && up <= self.now()));
        self.fences.admits(dated, Stripe::of(digest)) || dated_up.is_some()
    }
}

#[test]
fn fences_take_8_bytes_for_each_entry_from_65536_entries_on() {
    const BUCKET: usize = size_of::<Mutex<Log>>() + size_of::<AtomicU64>();
    let bytes = |entries| {
        let fences = KeyFences::new(entries, false);
        assert!(fences.stripes.is_none());
        assert_eq!(fences.fences.len(), fences.logs.len());
        fences.fences.len() as u64 * BUCKET as u64
    };
    for entries in [65_536, 65_537, 100_000, 999_999, 1 << 20] {
        assert!(bytes(entries) <= 8 * entries, "{entries}");
        assert!(bytes(entries) > 7 * entries, "{entries}");
    }
    assert_eq!(bytes(0), 512 << 10);
    assert_eq!(bytes(u64::MAX), 8 << 20);
}

#[test]
fn invalidation_voids_the_values_of_its_own_key_alone() {
    let fixture = Fixture::new();
    let keys = (0..SLOTS as u64).map(digest).collect::<Vec<_>>();
    for (at, key) in keys.iter().enumerate() {
        let before = fixture.now();
        fixture.raise(*key);
        for (other_at, other) in keys.iter().enumerate() {
            assert_eq!(fixture.is_valid(before, *other), other_at != at);
            assert!(fixture.is_valid(fixture.now(), *other));
        }
    }
}

/// A hit looks at the fence of the bucket alone, as long as nothing is invalidated.
#[test]
fn value_that_was_dated_up_is_admitted_until_the_next_invalidation() {
    let fixture = Fixture::new();
    let (own, dated) = (digest(1), fixture.now());
    fixture.raise_others(1);
    assert!(!fixture.fences.admits(dated, Stripe::of(own)));
    let dated = fixture.fences.date_up(dated, own).expect("a number");
    assert!(fixture.fences.admits(dated, Stripe::of(own)));
    fixture.raise(own);
    assert!(!fixture.is_valid(dated, own));
}

#[test]
fn value_that_is_dated_up_in_time_outlives_any_number_of_other_invalidations() {
    let fixture = Fixture::new();
    let mut dated = fixture.now();
    for _ in 0..100 {
        fixture.raise_others(SLOTS);
        dated = fixture.fences.date_up(dated, digest(1)).expect("a number");
    }
}

#[test]
fn value_is_void_once_its_log_does_not_reach_back_to_it() {
    let fixture = Fixture::new();
    let dated = fixture.now();
    fixture.raise_others(SLOTS);
    assert!(fixture.is_valid(dated, digest(1)));
    fixture.raise_others(SLOTS);
    assert!(fixture.is_valid(dated, digest(1)), "the same keys again");
    fixture.raise(digest(2));
    assert!(!fixture.is_valid(dated, digest(1)));
    assert!(fixture.is_valid(fixture.now(), digest(1)));
}

/// The distance of a number from the floor has 32 bits.
#[test]
fn invalidation_is_not_lost_when_many_numbers_pass() {
    for passed in [
        1,
        u64::from(u32::MAX) - 1,
        u32::MAX.into(),
        1 << 32,
        1 << 40,
    ] {
        let fixture = Fixture::new();
        fixture.pass(passed);
        let before = fixture.now();
        fixture.raise(digest(1));
        let between = fixture.now();
        fixture.pass(passed);
        assert!(!fixture.is_valid(before, digest(1)), "{passed}");
        fixture.raise(digest(2));
        assert!(!fixture.is_valid(before, digest(1)), "{passed}");
        assert!(!fixture.is_valid(between, digest(2)), "{passed}");
        let is_far = passed >= u32::MAX.into();
        assert!(is_far || fixture.is_valid(between, digest(1)), "{passed}");
        assert!(fixture.is_valid(fixture.now() - 1, digest(1)), "{passed}");
    }
}

/// Records of private tiers are never dated up. As long as nothing under their stripe was
/// invalidated, they outlive any number of other invalidations.
#[test]
fn value_that_is_never_dated_up_outlives_invalidations_under_other_stripes() {
    let fixture = Fixture::of(KeyFences::new(0, true));
    let dated = fixture.now();
    let others = 10 * SLOTS as u64;
    (1..=others).for_each(|at| fixture.raise(digest(at) | 1));
    assert!(fixture.is_valid(dated, 0));
    assert!(!fixture.is_valid(dated, digest(1) | 1));
    (1..=others).for_each(|at| fixture.raise(digest(at)));
    assert!(!fixture.is_valid(dated, 0));
}

/// A fixture that knows what was invalidated when, and the values that were not found void.
struct Recorded {
    fixture: Fixture,
    invalidated: HashMap<u64, u64>,
    dated: HashMap<u64, u64>,
}

impl Recorded {
    fn step(&mut self, random: &mut fastrand::Rng) {
        // Some of 40 keys in two buckets are often invalidated and others rarely.
        let at = random.u64(1..21).min(random.u64(1..21));
        let bucket = [0, u64::from(u16::MAX)][random.usize(0..2)];
        let key = digest(at) | bucket;
        match random.u32(0..100) {
            0..30 => {
                self.fixture.raise(key);
                self.invalidated.insert(key, self.fixture.now());
            }
            30 => drop(self.fixture.pass(random.u64(0..1 << 31))),
            31..40 => drop(self.dated.insert(key, self.fixture.now())),
            _ => self.read(key),
        }
    }

    fn read(&mut self, key: u64) {
        let Some(dated) = self.dated.remove(&key) else {
            return;
        };
        let Some(up) = self.fixture.fences.date_up(dated, key) else {
            assert!(!self.fixture.fences.admits(dated, Stripe::of(key)));
            return;
        };
        let invalidated = self.invalidated.get(&key).copied();
        assert!(invalidated.is_none_or(|number| dated >= number), "{key:x}");
        self.dated.insert(key, up);
    }
}

#[test]
fn value_that_is_valid_was_not_invalidated_whatever_the_order() {
    let mut random = fastrand::Rng::with_seed(1);
    for with_stripes in [false, true] {
        let mut recorded = Recorded {
            fixture: Fixture::of(KeyFences::new(0, with_stripes)),
            invalidated: HashMap::new(),
            dated: HashMap::new(),
        };
        for _ in 0..50_000 {
            recorded.step(&mut random);
        }
    }
}
