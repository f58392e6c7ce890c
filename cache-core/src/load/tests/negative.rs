//! Results without a value.

use super::*;
use crate::fence::TagStripes;

const TTL: Duration = Duration::from_secs(5);
const S: Duration = Duration::from_secs(10);

fn negative(times: Times) -> Fixture {
    in_memory(Times {
        none_ttl: Some(TTL),
        error_ttl: Some(TTL),
        ..times
    })
}

fn keep_absent(fixture: &Fixture) -> bool {
    let visits = TierVisits::new(&fixture.function, &fixture.key);
    fixture.function.keep_absent(fixture.start(), &visits)
}

fn keep_failed(fixture: &Fixture) -> bool {
    let error = Arc::new("the error");
    fixture
        .function
        .keep_failed(&fixture.key, error, (fixture.start(), TagStripes::NONE))
}

type Keep = fn(&Fixture) -> bool;

const BOTH: [(Keep, &str); 2] = [(keep_absent, "absent"), (keep_failed, "failed")];

#[test]
fn absence_and_error_are_kept_for_their_own_ttl_without_a_window() {
    for (keep, kept) in BOTH {
        let fixture = negative(windows(Some(S), Some(S)));
        assert!(keep(&fixture));
        fixture.advance(TTL - NANOSECOND);
        for look in [fixture.look(), fixture.plain_look(), fixture.second_look()] {
            assert_eq!(look, kept);
        }
        assert!(fixture.stale().is_none());
        assert!(fixture.function.peek(&(*fixture.key).as_ref()).is_none());
        fixture.advance(NANOSECOND);
        for look in [fixture.look(), fixture.plain_look(), fixture.second_look()] {
            assert_eq!(look, "miss", "{kept}");
        }
    }
}

#[test]
fn absence_and_error_are_not_kept_without_their_option() {
    for (keep, kept) in BOTH {
        let fixture = in_memory(Times::NONE);
        assert!(!keep(&fixture));
        assert_eq!(fixture.look(), "miss", "{kept}");
    }
}

#[test]
fn absence_and_error_end_with_an_invalidation() {
    for (keep, kept) in BOTH {
        let fixture = negative(Times::NONE);
        let before = fixture.start();
        keep(&fixture);
        let digest = fixture.function.digest(&fixture.key);
        fixture.function.state.fences.raise(digest);
        assert_eq!(fixture.look(), "miss", "{kept}");
        assert_eq!(fixture.second_look(), "miss", "{kept}");
        keep(&fixture);
        assert_eq!(fixture.look(), kept);
        fixture.function.fence_off_all();
        assert_eq!(fixture.look(), "miss", "{kept}");
        // Results of loads that began before the invalidation.
        let error = Arc::new("the error");
        let visits = TierVisits::new(&fixture.function, &fixture.key);
        assert!(
            !fixture
                .function
                .keep_failed(&fixture.key, error, (before, TagStripes::NONE))
        );
        assert!(!fixture.function.keep_absent(before, &visits));
    }
}

#[test]
fn value_replaces_absence_and_error() {
    for (keep, kept) in BOTH {
        let fixture = negative(Times::NONE);
        assert!(keep(&fixture), "{kept}");
        assert!(fixture.keep(1));
        assert_eq!(fixture.look(), "fresh 1", "{kept}");
    }
}

#[test]
fn absence_replaces_a_value_and_error_does_not_while_the_value_may_be_returned() {
    let fixture = negative(windows(Some(S), None));
    fixture.keep(1);
    assert!(!keep_failed(&fixture));
    fixture.advance(LIFE);
    assert!(!keep_failed(&fixture));
    fixture.advance(S - NANOSECOND);
    assert!(!keep_failed(&fixture));
    assert_eq!(fixture.look(), "stale 1, load begins");
    fixture.advance(NANOSECOND);
    assert!(keep_failed(&fixture), "the value is too old");
    assert_eq!(fixture.look(), "failed");

    fixture.keep(2);
    assert!(keep_absent(&fixture));
    assert_eq!(fixture.look(), "absent");
}

#[test]
fn absence_that_a_lower_tier_has_is_kept_for_what_is_left_of_it() {
    let fixture = negative(Times::NONE);
    let found = |left| {
        let (start, hit) = (fixture.start(), keep::hit(None, left));
        fixture
            .function
            .keep_found(&fixture.key, &hit, start, &VALUES);
        let entry = fixture.function.kept(&fixture.key).expect("an entry");
        entry.expires.since(fixture.function.state.clock.now())
    };
    assert_eq!(found(TTL / 2), TTL / 2);
    assert_eq!(found(LIFE), TTL);
    assert_eq!(fixture.look(), "absent");
}

#[test]
fn jitter_shortens_absence_and_not_errors() {
    let fixture = negative(Times {
        jitter: Some(50),
        ..Times::NONE
    });
    let life = || {
        let entry = fixture.function.kept(&fixture.key).expect("an entry");
        entry.expires.since(fixture.function.state.clock.now())
    };
    keep_absent(&fixture);
    assert!(life() < TTL && life() >= TTL / 2, "{:?}", life());
    keep_failed(&fixture);
    assert_eq!(life(), TTL);
}

#[test]
fn absence_is_not_kept_for_a_guarded_key_and_is_a_stopgap_if_that_is_not_known() {
    let tier = TestTier::new();
    let definition = Definition {
        when_isolated: Some(WhenIsolated::Serve),
        ..definition(Times {
            none_ttl: Some(TTL),
            ..Times::NONE
        })
    };
    let fixture = Fixture::new(Engine::default(), Some(&tier), definition);
    let mut visits = TierVisits::new(&fixture.function, &fixture.key);
    visits.is_guarded = true;
    assert!(!fixture.function.keep_absent(fixture.start(), &visits));
    visits.is_guarded = false;
    visits.guard_is_unknown = true;
    assert!(fixture.function.keep_absent(fixture.start(), &visits));
    assert_eq!(fixture.look(), "miss");
    tier.lose(true);
    assert_eq!(fixture.served_isolated(), "absent");
}

#[test]
fn negative_hits_are_counted_as_hits_and_by_themselves() {
    let fixture = negative(Times::NONE);
    let counters = &fixture.function.counters;
    let counts = || {
        let (_, memory) = fixture.function.memory.as_ref().expect("memory is used");
        [
            memory.hits.get(),
            counters.absent_hits.get(),
            counters.error_hits.get(),
        ]
    };
    keep_absent(&fixture);
    fixture.look();
    assert_eq!(counts(), [1, 1, 0]);
    fixture.function.fence_off(&fixture.key);
    keep_failed(&fixture);
    fixture.look();
    assert_eq!(counts(), [2, 1, 1]);
}
