//! Values of a function with a shared tier, whose channel or server is lost.

use super::read::TierHit;
use super::*;
use crate::entry::KnownRecord;
use crate::fence::TagStripes;
use crate::function::options::Consistency;
use crate::record::RecordMarks;
use crate::tier::shard::Shard;

const S: Duration = Duration::from_secs(10);
const E: Duration = Duration::from_secs(60);

fn shared(when_isolated: WhenIsolated) -> (Arc<TestTier>, Fixture) {
    let tier = TestTier::new();
    let definition = Definition {
        when_isolated: Some(when_isolated),
        ..definition(windows(Some(S), Some(E)))
    };
    let fixture = Fixture::new(Engine::default(), Some(&tier), definition);
    (tier, fixture)
}

#[test]
fn value_is_stale_only_while_the_instance_is_coherent() {
    for age in [LIFE - NANOSECOND, LIFE, LIFE + S] {
        let (tier, fixture) = shared(WhenIsolated::Serve);
        fixture.keep(1);
        fixture.advance(age);
        fixture.back_off(E);
        let stale = fixture.stale().expect("the value is in a window");
        assert_ne!(fixture.look(), "miss");
        assert!(fixture.may_serve(&stale)[0]);
        tier.lose(false);
        assert_eq!(fixture.look(), "miss", "{age:?}");
        assert_eq!(fixture.plain_look(), "miss", "{age:?}");
        assert_eq!(fixture.second_look(), "miss", "{age:?}");
        assert_eq!(fixture.may_serve(&stale), [false, false], "{age:?}");
    }
}

#[test]
fn windows_hold_for_an_isolated_function_that_is_served() {
    let (tier, fixture) = shared(WhenIsolated::Serve);
    fixture.keep(1);
    tier.lose(true);
    let stale = fixture.stale().expect("the value is fresh");
    let peek = || {
        let held = fixture.function.peek_isolated(&fixture.key);
        held.as_ref().map(number)
    };
    let mut age = Duration::ZERO;
    let mut advance_to = |to: Duration| {
        fixture.advance(to - age);
        age = to;
    };
    advance_to(LIFE - NANOSECOND);
    assert_eq!(fixture.look(), "miss", "the tier is asked first");
    assert_eq!(
        (fixture.served_isolated(), peek()),
        ("value 1".into(), Some(1))
    );
    advance_to(LIFE);
    assert_eq!(
        (fixture.served_isolated(), peek()),
        ("miss".into(), Some(1))
    );
    assert_eq!(fixture.may_serve(&stale), [true, true]);
    advance_to(LIFE + S - NANOSECOND);
    assert_eq!(
        (fixture.served_isolated(), peek()),
        ("miss".into(), Some(1))
    );
    assert_eq!(fixture.may_serve(&stale), [true, true]);
    advance_to(LIFE + S);
    assert_eq!((fixture.served_isolated(), peek()), ("miss".into(), None));
    assert_eq!(fixture.may_serve(&stale), [true, false]);
    fixture.back_off(E);
    assert_eq!(
        (fixture.served_isolated(), peek()),
        ("value 1".into(), Some(1))
    );
    advance_to(LIFE + E - NANOSECOND);
    assert_eq!(
        (fixture.served_isolated(), peek()),
        ("value 1".into(), Some(1))
    );
    assert_eq!(fixture.may_serve(&stale), [true, false]);
    advance_to(LIFE + E);
    assert_eq!((fixture.served_isolated(), peek()), ("miss".into(), None));
    assert_eq!(fixture.may_serve(&stale), [false, false]);
}

#[test]
fn isolated_function_that_loads_gets_nothing_from_memory() {
    let (tier, fixture) = shared(WhenIsolated::Load);
    fixture.keep(1);
    let stale = fixture.stale().expect("the value is fresh");
    tier.lose(true);
    for _ in 0..2 {
        assert_eq!(fixture.look(), "miss");
        assert_eq!(fixture.served_isolated(), "miss");
        assert!(fixture.function.peek_isolated(&fixture.key).is_none());
        assert_eq!(fixture.may_serve(&stale), [false, false]);
        fixture.advance(LIFE);
    }
}

/// The message of another instance arrived before its channel was lost.
#[test]
fn invalidated_value_is_not_served_to_an_isolated_function() {
    let (tier, fixture) = shared(WhenIsolated::Serve);
    fixture.keep(1);
    fixture.advance(LIFE + S);
    fixture.back_off(E);
    tier.lose(true);
    let stale = fixture.stale().expect("the value is in a window");
    assert_eq!(fixture.served_isolated(), "value 1");
    let digest = fixture.function.digest(&fixture.key);
    fixture.function.state.fences.raise(digest);
    assert_eq!(fixture.served_isolated(), "miss");
    assert!(fixture.function.peek_isolated(&fixture.key).is_none());
    assert_eq!(fixture.may_serve(&stale), [false, false]);
}

/// A tier could not tell whether the key is guarded.
#[test]
fn stopgap_is_stale_for_isolated_callers_only() {
    let (tier, fixture) = shared(WhenIsolated::Serve);
    let mut visits = TierVisits::new(&fixture.function, &fixture.key);
    visits.guard_is_unknown = true;
    let held: Held = Arc::new(1_u64);
    let (start, loaded) = (fixture.start(), (&held, LOAD));
    fixture
        .function
        .keep_loaded(loaded, start, &visits, &VALUES);
    fixture.advance(LIFE);
    fixture.back_off(E);
    assert_eq!(fixture.look(), "miss");
    assert!(fixture.stale().is_none());
    tier.lose(true);
    assert_eq!(fixture.served_isolated(), "value 1");
    assert!(fixture.stale().is_some());
}

#[test]
fn strong_function_never_returns_a_stale_value() {
    let tier = TestTier::new();
    let definition = Definition {
        consistency: Consistency::Strong,
        when_isolated: Some(WhenIsolated::Serve),
        ..definition(windows(Some(S), Some(E)))
    };
    let fixture = Fixture::new(Engine::default(), Some(&tier), definition);
    let stale = StaleValue {
        value: Arc::new(1_u64),
        start: fixture.start(),
        dated: fixture.start(),
        fresh_until: fixture.function.state.clock.now(),
        is_expired: false,
        tags: TagStripes::default(),
    };
    let check = || {
        assert_eq!(fixture.look(), "miss");
        assert_eq!(fixture.served_isolated(), "miss");
        assert!(fixture.stale().is_none());
        assert_eq!(fixture.may_serve(&stale), [false, false]);
    };
    let start = fixture.start();
    let hit = TierHit {
        record: Some(KnownRecord {
            at: 0,
            etag: [1; 8],
            marks: RecordMarks::default(),
        }),
        ..keep::hit(Some(1), LIFE)
    };
    fixture
        .function
        .keep_direct_read(&fixture.key, &hit, start, None, &VALUES);
    assert!(fixture.function.kept(&fixture.key).is_some());
    check();
    tier.lose(true);
    check();
}

/// A function with keys in two shards, and a key in the first.
fn sharded(when_isolated: WhenIsolated) -> ([Arc<TestTier>; 2], Fixture) {
    let shards = [TestTier::new(), TestTier::new()];
    let definition = Definition {
        when_isolated: Some(when_isolated),
        ..definition(windows(Some(S), Some(E)))
    };
    let fixture = Fixture::with_shards(Engine::default(), shards.to_vec(), definition);
    (shards, fixture.with_key_in(0))
}

#[test]
fn key_is_under_the_coherence_of_its_own_shard() {
    for lost in [0, 1] {
        let (shards, fixture) = sharded(WhenIsolated::Load);
        fixture.keep(1);
        let is_lost = lost == 0;
        let (hit, second) = match is_lost {
            true => ("miss", "miss"),
            false => ("fresh 1", "value 1"),
        };
        let began = fixture.function.state.clock.now();
        let bound = Duration::from_secs(3_600);
        shards[lost].lose(true);
        assert_eq!(fixture.look(), hit);
        assert_eq!(fixture.plain_look(), hit);
        assert_eq!(fixture.second_look(), second);
        let key = &fixture.key;
        let peeked = fixture.function.peek(&(**key).as_ref());
        assert_eq!(peeked.is_none(), is_lost);
        let may_join = || fixture.function.may_join(key, fixture.start(), began);
        assert!(may_join(), "the load is younger than the bound");
        fixture.advance(bound);
        assert_eq!(may_join(), !is_lost);
    }
}

#[test]
fn key_is_served_isolated_only_if_its_own_shard_is_not_reached() {
    for lost in [0, 1] {
        let (shards, fixture) = sharded(WhenIsolated::Serve);
        fixture.keep(1);
        let stale = fixture.stale().expect("the value is fresh");
        fixture.advance(LIFE);
        shards[0].coherence.revoke();
        assert_eq!(fixture.may_serve(&stale), [false, false]);
        shards[lost].lose(true);
        let is_own = lost == 0;
        assert_eq!(fixture.may_serve(&stale), [is_own, is_own]);
        let stripe = fixture.function.stripe(&fixture.key);
        assert_eq!(fixture.function.serves_isolated(stripe), is_own);
    }
}

#[test]
fn whole_shard_that_is_fenced_voids_its_own_keys_alone() {
    for fenced in [0, 1] {
        let (_, fixture) = sharded(WhenIsolated::Load);
        fixture.keep(1);
        let start = fixture.start();
        let shard = Shard::all(2).unwrap()[fenced];
        fixture.function.state.fences.raise_shared(shard, None);
        let is_own = fenced == 0;
        let hit = if is_own { "miss" } else { "fresh 1" };
        assert_eq!(fixture.look(), hit);
        let now = fixture.function.state.clock.now();
        let may_join = fixture.function.may_join(&fixture.key, start, now);
        assert_eq!(may_join, !is_own);
        assert_eq!(fixture.keep_as_of(start, 2), !is_own, "a load from before");
        assert!(fixture.keep(3));
    }
}
