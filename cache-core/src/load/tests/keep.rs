//! How long values are kept in memory, and which one stays.

use super::read::TierHit;
use super::*;
use crate::fence::TagStripes;

const S: Duration = Duration::from_secs(10);
const E: Duration = Duration::from_secs(60);

/// A fresh result that was found in a lower tier.
pub(super) fn hit(value: Option<u64>, left: Duration) -> TierHit {
    TierHit {
        at: 0,
        size: 0,
        value: value.map(|value| Arc::new(value) as Held),
        left,
        life: left,
        load: LOAD,
        number: None,
        record: None,
        tags: TagStripes::default(),
        passed_record: false,
        is_promoted: true,
    }
}

/// The time for which a function with this jitter keeps a value that was loaded, and a copy of a
/// record that lives for much longer or for much shorter.
fn lives(jitter: Option<u8>) -> [Duration; 3] {
    let fixture = in_memory(Times {
        jitter,
        ..Times::NONE
    });
    let life = || {
        let entry = fixture.function.kept(&fixture.key).expect("an entry");
        entry.expires.since(fixture.function.state.clock.now())
    };
    fixture.keep(1);
    let loaded = life();
    let copied = [LIFE * 8, LIFE / 4].map(|left| {
        let start = fixture.start();
        let hit = hit(Some(1), left);
        fixture
            .function
            .keep_found(&fixture.key, &hit, start, &VALUES);
        life()
    });
    [loaded, copied[0], copied[1]]
}

#[test]
fn life_in_memory_is_shortened_by_the_jitter_of_the_function_only() {
    assert_eq!(lives(None), [LIFE, LIFE, LIFE / 4]);
    let [loaded, copied, short] = lives(Some(50));
    assert!(loaded < LIFE && loaded >= LIFE / 2, "{loaded:?}");
    assert_eq!(copied, loaded, "a key lives for the same time in all tiers");
    assert_eq!(
        short,
        LIFE / 4,
        "the life of a record was shortened already"
    );
    assert_eq!(lives(Some(50)), [loaded, copied, short]);
}

fn stale_as_of(fixture: &Fixture, start: u64, value: u64, since: Duration) -> StaleValue {
    StaleValue {
        value: Arc::new(value),
        start,
        dated: start,
        fresh_until: fixture.function.state.clock.now().before(since),
        is_expired: false,
        tags: TagStripes::default(),
    }
}

fn keep_stale(fixture: &Fixture, value: u64, since: Duration) {
    let found = stale_as_of(fixture, fixture.start(), value, since);
    let function = &fixture.function;
    function.keep_stale(&fixture.key, &found, false, &VALUES);
}

#[test]
fn stale_value_of_a_lower_tier_is_kept_as_stale_as_it_is() {
    const BEGINS: &str = "stale 1, load begins";
    let fixture = in_memory(windows(Some(S), Some(E)));
    keep_stale(&fixture, 1, S - NANOSECOND);
    assert_eq!(fixture.look(), BEGINS);
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), "miss");
    let stale = fixture.stale().expect("the value is in the second window");
    assert_eq!(fixture.may_serve(&stale), [true, false]);
    fixture.advance(E - S - NANOSECOND);
    assert!(fixture.may_serve(&stale)[0]);
    fixture.advance(NANOSECOND);
    assert!(!fixture.may_serve(&stale)[0]);
}

/// A record that expired before the origin of the clock, which is the start of the host.
#[test]
fn record_that_expired_long_ago_is_stale_within_a_long_window() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let fixture = in_memory(windows(Some(YEAR), None));
    keep_stale(&fixture, 1, YEAR - NANOSECOND);
    assert_eq!(fixture.look(), "stale 1, load begins");
    fixture.advance(NANOSECOND);
    assert_eq!(fixture.look(), "miss");
}

#[test]
fn stale_value_that_is_found_again_keeps_its_back_off_and_its_window() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    fixture.advance(LIFE + SECOND);
    fixture.back_off(E);
    // The clock of the tier is read at another moment.
    keep_stale(&fixture, 1, SECOND / 2);
    assert_eq!(fixture.look(), "stale 1", "it is still backed off");
    fixture.advance(E - SECOND);
    assert_eq!(fixture.look(), "miss", "its window is not longer");
}

#[test]
fn stale_value_replaces_one_that_is_staler_or_invalidated_only() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    fixture.keep(1);
    keep_stale(&fixture, 2, SECOND);
    assert_eq!(fixture.look(), "fresh 1");
    fixture.advance(LIFE + 5 * SECOND);
    keep_stale(&fixture, 3, SECOND);
    assert_eq!(
        fixture.look(),
        "stale 3, load begins",
        "another instance loaded it"
    );
    let digest = fixture.function.digest(&fixture.key);
    fixture.function.state.fences.raise(digest);
    keep_stale(&fixture, 4, 2 * SECOND);
    assert_eq!(fixture.look(), "stale 4, load begins");
    let invalidated = stale_as_of(&fixture, 0, 5, Duration::ZERO);
    fixture
        .function
        .keep_stale(&fixture.key, &invalidated, false, &VALUES);
    assert_eq!(fixture.look(), "stale 4");
}

#[test]
fn stale_value_does_not_replace_one_that_a_later_strong_call_found() {
    let fixture = in_memory(windows(Some(S), Some(E)));
    let before = fixture.start();
    let found = hit(Some(2), LIFE);
    fixture
        .function
        .keep_direct_read(&fixture.key, &found, before, None, &VALUES);
    fixture.advance(LIFE + 5 * SECOND);
    let older = stale_as_of(&fixture, before, 1, Duration::ZERO);
    fixture
        .function
        .keep_stale(&fixture.key, &older, false, &VALUES);
    assert_eq!(fixture.look(), "stale 2, load begins");
    let known = fixture.function.kept(&fixture.key).expect("an entry");
    assert!(
        known.known_from() > before,
        "the entry is still a strong read"
    );
}
