//! Which value a call gets by its age, at every border, and which call begins the load.

use super::*;

const S: Duration = Duration::from_secs(10);
const E: Duration = Duration::from_secs(60);

/// Checks the result of a call that can begin a load in the background, and of one that cannot, for
/// a value of this age.
#[track_caller]
fn check(times: Times, age: Duration, late: &str, plain: &str) {
    let at = || {
        let fixture = in_memory(times);
        fixture.keep(1);
        fixture.advance(age);
        fixture
    };
    assert_eq!(at().plain_look(), plain, "a call that is not late, {age:?}");
    assert_eq!(at().look(), late, "a late call, {age:?}");
}

/// Checks the same after a load that failed, and is still backed off.
#[track_caller]
fn check_backed_off(times: Times, age: Duration, late: &str, plain: &str) {
    let at = || {
        let fixture = in_memory(times);
        fixture.keep(1);
        fixture.back_off(LIFE * 100);
        fixture.advance(age);
        fixture
    };
    assert_eq!(at().plain_look(), plain, "a call that is not late, {age:?}");
    assert_eq!(at().look(), late, "a late call, {age:?}");
}

#[test]
fn value_is_fresh_stale_or_a_miss_by_its_age_at_every_border() {
    const BEGINS: &str = "stale 1, load begins";
    let both = windows(Some(S), Some(E));
    check(both, LIFE - NANOSECOND, "fresh 1", "fresh 1");
    check(both, LIFE, BEGINS, "miss");
    check(both, LIFE + NANOSECOND, BEGINS, "miss");
    check(both, LIFE + S - NANOSECOND, BEGINS, "miss");
    for age in [LIFE + S, LIFE + S + NANOSECOND, LIFE + E - NANOSECOND] {
        check(both, age, "miss", "miss");
    }
    check(both, LIFE + E, "miss", "miss");

    let longer_revalidation = windows(Some(E), Some(S));
    check(longer_revalidation, LIFE + S, BEGINS, "miss");
    check(longer_revalidation, LIFE + E - NANOSECOND, BEGINS, "miss");
    check(longer_revalidation, LIFE + E, "miss", "miss");

    check(windows(None, Some(E)), LIFE, "miss", "miss");
    check(windows(Some(S), None), LIFE, BEGINS, "miss");
    check(windows(Some(S), None), LIFE + S, "miss", "miss");
    check(Times::NONE, LIFE - NANOSECOND, "fresh 1", "fresh 1");
    check(Times::NONE, LIFE, "miss", "miss");
}

#[test]
fn value_is_returned_at_once_in_both_windows_while_its_load_is_backed_off() {
    const STALE: &str = "stale 1";
    let both = windows(Some(S), Some(E));
    check_backed_off(both, LIFE - NANOSECOND, "fresh 1", "fresh 1");
    check_backed_off(both, LIFE, STALE, STALE);
    check_backed_off(both, LIFE + S - NANOSECOND, STALE, STALE);
    check_backed_off(both, LIFE + S, STALE, STALE);
    check_backed_off(both, LIFE + E - NANOSECOND, STALE, STALE);
    check_backed_off(both, LIFE + E, "miss", "miss");
    check_backed_off(windows(None, Some(E)), LIFE, STALE, STALE);
    check_backed_off(windows(Some(S), None), LIFE, STALE, "miss");
    check_backed_off(windows(Some(E), Some(S)), LIFE + S, STALE, "miss");
    check_backed_off(Times::NONE, LIFE, "miss", "miss");
}

#[test]
fn waiting_caller_may_get_the_value_up_to_the_end_of_each_window() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    let stale = fixture.stale().expect("the value is fresh");
    let mut age = Duration::ZERO;
    let mut check = |at: Duration, expected: [bool; 2], is_in_memory: bool| {
        fixture.advance(at - age);
        age = at;
        assert_eq!(fixture.may_serve(&stale), expected, "{at:?}");
        assert_eq!(fixture.stale().is_some(), is_in_memory, "{at:?}");
    };
    check(LIFE - NANOSECOND, [true, true], true);
    check(LIFE, [true, true], true);
    check(LIFE + S - NANOSECOND, [true, true], true);
    check(LIFE + S, [true, false], true);
    check(LIFE + E - NANOSECOND, [true, false], true);
    check(LIFE + E, [false, false], false);
}

#[test]
fn second_look_of_a_call_finds_fresh_values_only() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    fixture.back_off(LIFE * 100);
    fixture.advance(LIFE - NANOSECOND);
    assert_eq!(fixture.second_look(), "value 1");
    let key = &(*fixture.key).as_ref();
    assert!(fixture.function.peek(key).is_some());
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.second_look(), "miss");
    assert!(fixture.function.peek(key).is_none());
}

#[test]
fn load_begins_once_a_second_until_one_fails_and_then_after_its_back_off() {
    const BEGINS: &str = "stale 1, load begins";
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    fixture.advance(LIFE);
    assert_eq!(fixture.look(), BEGINS);
    assert_eq!(fixture.look(), "stale 1");
    fixture.advance(SECOND - NANOSECOND);
    assert_eq!(fixture.look(), "stale 1");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), BEGINS, "the load may not have begun");

    let failures = || fixture.function.failures(&fixture.key);
    assert_eq!(failures(), 0);
    fixture
        .function
        .note_back_off(&fixture.key, 3 * SECOND, Some(2));
    assert_eq!(failures(), 2);
    fixture.advance(3 * SECOND - NANOSECOND);
    assert_eq!(fixture.look(), "stale 1");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), BEGINS);

    fixture.function.note_back_off(&fixture.key, SECOND, None);
    assert_eq!(failures(), 2, "another instance counts the failures");
    fixture.keep(2);
    assert_eq!(failures(), 0, "a load has succeeded");
    assert_eq!(fixture.look(), "fresh 2");
}

/// A load that does not fail is awaited by the calls of the second window, also if a call of the
/// first one began it.
#[test]
fn claimed_load_is_not_backed_off() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    fixture.advance(LIFE + S - NANOSECOND);
    assert_eq!(fixture.look(), "stale 1, load begins");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), "miss");
}

#[test]
fn one_of_many_callers_begins_the_load_of_a_stale_or_due_value() {
    let due = Times {
        refresh_ahead: Some(RefreshAhead::AtLeast(S)),
        ..Times::NONE
    };
    let stale = windows(Some(S), None);
    for &engine in ENGINES {
        for (times, age) in [(stale, LIFE), (due, LIFE - S)] {
            for _ in 0..50 {
                let fixture = with_engine(engine, times);
                fixture.keep(1);
                fixture.advance(age);
                let begins = |look: String| usize::from(look.contains("begins"));
                let begun: usize = std::thread::scope(|scope| {
                    let calls = [(); 4].map(|()| scope.spawn(|| begins(fixture.look())));
                    calls.map(|call| call.join().unwrap()).iter().sum()
                });
                assert_eq!(begun, 1, "{engine:?} {age:?}");
                assert!(!fixture.look().contains("begins"));
            }
        }
    }
}

#[test]
fn invalidated_value_is_never_returned_stale() {
    let times = Times {
        refresh_ahead: Some(RefreshAhead::AtLeast(S)),
        ..windows(Some(S), Some(E))
    };
    let invalidations: [fn(&Fixture); 3] = [
        |fixture| fixture.function.fence_off(&fixture.key),
        |fixture| fixture.function.fence_off_all(),
        // The message of another instance raises the fence alone; the entry stays.
        |fixture| {
            let digest = fixture.function.digest(&fixture.key);
            fixture.function.state.fences.raise(digest);
        },
    ];
    for invalidate in invalidations {
        for age in [LIFE - S, LIFE, LIFE + S] {
            for is_backed_off in [false, true] {
                let fixture = in_memory(times);
                fixture.keep(1);
                fixture.advance(age);
                if is_backed_off {
                    fixture.back_off(E);
                }
                let stale = fixture.stale().expect("the value is in a window");
                assert!(fixture.may_serve(&stale)[0]);
                invalidate(&fixture);
                assert_eq!(fixture.look(), "miss", "{age:?}");
                assert_eq!(fixture.plain_look(), "miss", "{age:?}");
                assert_eq!(fixture.second_look(), "miss", "{age:?}");
                let peeked = fixture.function.peek(&(*fixture.key).as_ref());
                assert!(peeked.is_none(), "{age:?}");
                assert!(fixture.stale().is_none(), "{age:?}");
                assert_eq!(fixture.may_serve(&stale), [false, false], "{age:?}");
            }
        }
    }
}

#[test]
fn hits_are_counted_by_what_they_found() {
    let fixture = in_memory(windows(Some(S), None));
    let counts = || {
        let (_, counters) = fixture.function.memory.as_ref().expect("memory is used");
        let stats = counters.snapshot(Level::L1);
        [stats.hits, counters.stale_hits.get(), stats.misses]
    };
    fixture.look();
    assert_eq!(counts(), [0, 0, 1]);
    fixture.keep(1);
    fixture.look();
    assert_eq!(counts(), [1, 0, 1]);
    fixture.advance(LIFE);
    fixture.look();
    fixture.look();
    assert_eq!(counts(), [3, 2, 1]);
    fixture.second_look();
    fixture.advance(S);
    fixture.look();
    assert_eq!(counts(), [3, 2, 2]);
}
