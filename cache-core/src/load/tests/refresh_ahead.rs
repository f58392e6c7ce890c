//! Values that are loaded again before they expire.

use super::read::TierHit;
use super::*;

const GAP: Duration = Duration::from_secs(20);

fn ahead(refresh_ahead: RefreshAhead, revalidate: Option<Duration>) -> Fixture {
    in_memory(Times {
        refresh_ahead: Some(refresh_ahead),
        ..windows(revalidate, None)
    })
}

#[test]
fn first_late_call_of_a_due_value_begins_a_load_and_the_value_is_fresh_to_its_end() {
    const DUE: &str = "stale 1, is due, load begins";
    for age in [LIFE - GAP, LIFE - NANOSECOND] {
        let fixture = ahead(RefreshAhead::AtLeast(GAP), None);
        fixture.keep(1);
        fixture.advance(age);
        assert_eq!(fixture.plain_look(), "fresh 1");
        assert_eq!(fixture.second_look(), "value 1");
        assert_eq!(fixture.look(), DUE);
        assert_eq!(fixture.look(), "fresh 1");
        fixture.advance(LIFE - NANOSECOND - age);
        assert_eq!(fixture.plain_look(), "fresh 1");
        fixture.advance(NANOSECOND);
        assert_eq!(fixture.look(), "miss");
    }
    let fixture = ahead(RefreshAhead::AtLeast(GAP), None);
    fixture.keep(1);
    fixture.advance(LIFE - GAP - NANOSECOND);
    assert_eq!(fixture.look(), "fresh 1");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), DUE);
}

#[test]
fn load_that_is_begun_ahead_says_how_long_the_replaced_value_is_fresh() {
    let fixture = ahead(RefreshAhead::AtLeast(GAP), None);
    fixture.keep(1);
    fixture.advance(LIFE - GAP);
    let look = fixture.function.judge(&(*fixture.key).as_ref(), true);
    let Look::Stale { replaces, .. } = look else {
        panic!("the value is due");
    };
    let replaces = replaces.expect("the load begins");
    assert!(replaces.stale.is_none());
    assert_eq!(replaces.due_within, GAP);
}

#[test]
fn load_ahead_that_fails_is_backed_off_when_the_value_is_stale() {
    let fixture = ahead(RefreshAhead::AtLeast(GAP), Some(GAP));
    fixture.keep(1);
    fixture.advance(LIFE - SECOND);
    assert_eq!(fixture.look(), "stale 1, is due, load begins");
    fixture.back_off(3 * SECOND);
    assert_eq!(fixture.look(), "fresh 1");
    fixture.advance(SECOND);
    assert_eq!(fixture.look(), "stale 1");
    fixture.advance(2 * SECOND - NANOSECOND);
    assert_eq!(fixture.look(), "stale 1");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), "stale 1, load begins");
}

#[test]
fn measured_gap_is_drawn_for_each_value() {
    let gaps: Vec<Duration> = (0..20)
        .map(|_| {
            let fixture = ahead(RefreshAhead::Measured, None);
            fixture.keep(1);
            fixture.function.kept(&fixture.key).expect("an entry").gap()
        })
        .collect();
    assert!(
        gaps.iter().all(|gap| (2 * LOAD..=LIFE / 2).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "{gaps:?}");
}

#[test]
fn value_that_is_put_by_hand_is_due_by_the_given_gap_only() {
    let put = |refresh_ahead| {
        let fixture = ahead(refresh_ahead, None);
        let visits = TierVisits::new(&fixture.function, &fixture.key);
        let held: Held = Arc::new(1_u64);
        let (start, loaded) = (fixture.start(), (&held, Duration::ZERO));
        fixture
            .function
            .keep_loaded(loaded, start, &visits, &VALUES);
        fixture.function.kept(&fixture.key).expect("an entry").gap()
    };
    assert_eq!(put(RefreshAhead::Measured), Duration::ZERO);
    assert_eq!(put(RefreshAhead::AtLeast(GAP)), GAP);
}

#[test]
fn copy_from_a_lower_tier_is_due_by_the_time_of_its_load() {
    let fixture = ahead(RefreshAhead::Measured, None);
    let hit = TierHit {
        load: 2 * LOAD,
        ..keep::hit(Some(1), LIFE / 2)
    };
    let start = fixture.start();
    fixture
        .function
        .keep_found(&fixture.key, &hit, start, &VALUES);
    let entry = fixture.function.kept(&fixture.key).expect("an entry");
    assert!(
        (4 * LOAD..=LIFE / 4).contains(&entry.gap()),
        "{:?}",
        entry.gap()
    );
    assert_eq!(
        entry.fresh_until(),
        fixture.function.state.clock.now().after(LIFE / 2)
    );
}

/// A load that began before the load of the value, and ends when the value is due.
#[test]
fn due_value_is_not_replaced_by_an_older_one() {
    for &engine in ENGINES {
        let fixture = with_engine(
            engine,
            Times {
                refresh_ahead: Some(RefreshAhead::AtLeast(GAP)),
                ..Times::NONE
            },
        );
        let older = fixture.start();
        fixture.keep_as_of(fixture.function.state.fences.next(), 2);
        fixture.advance(LIFE - GAP);
        assert!(!fixture.keep_as_of(older, 1));
        assert_eq!(fixture.plain_look(), "fresh 2");
        fixture.look();
        assert!(!fixture.keep_as_of(older, 1), "after the load has begun");
        assert_eq!(fixture.plain_look(), "fresh 2");
        fixture.advance(GAP);
        assert!(fixture.keep_as_of(older, 1), "the newer value has expired");
    }
}
