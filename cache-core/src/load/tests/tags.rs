//! Hits of values with tags, after fences of these or of other tags were raised.

use super::*;
use crate::entry::Entry;

/// Digests of the tags of the value, and of another one.
const TAGS: [u64; 2] = [11, 12];
const OTHER: u64 = 13;

impl Fixture {
    /// Keeps a value with tags that was loaded now.
    fn keep_tagged(&self, value: u64) {
        let function = &self.function;
        let fences = &function.state.fences;
        fences.make_tags();
        let (start, stripe) = (fences.now(), function.stripe(&self.key));
        let expires = function.state.clock.now().after(LIFE);
        let entry = Entry::new(Arc::new(value), start, stripe, expires, 8);
        let entry = entry.with_tags(&fences.tag_stripes(&TAGS));
        assert!(function.insert(&self.key, Some(entry)));
    }

    /// Returns what each kind of look-up finds: a call with times, one that takes no stale value, a
    /// call without times, and a second look-up.
    fn looks(&self) -> [String; 4] {
        let (function, key) = (&self.function, (*self.key).as_ref());
        let shown =
            |held: Option<Held>| held.map_or_else(|| "miss".into(), |held| show(Look::Fresh(held)));
        [
            self.look(),
            shown(function.fresh_hit(&key)),
            shown(function.hit(&key)),
            shown(function.peek(&key)),
        ]
    }

    /// Returns `true` if the next hit compares no tag of the value.
    fn is_confirmed(&self) -> bool {
        let entry = self.function.kept(&self.key).expect("an entry");
        entry.is_confirmed(self.function.state.fences.changes())
    }
}

/// Functions without and with a stale window, on each engine.
fn fixtures() -> impl Iterator<Item = Fixture> {
    let window = Some(Duration::from_secs(10));
    let stale = Times {
        stale_while_revalidate: window,
        ..Times::NONE
    };
    let times = [Times::NONE, stale];
    let both = move |engine| times.map(|times| with_engine(engine, times));
    ENGINES.iter().copied().flat_map(both)
}

#[test]
fn tags_are_compared_once_after_an_invalidation_of_others() {
    for fixture in fixtures() {
        fixture.keep_tagged(1);
        let fences = &fixture.function.state.fences;
        for change in [Fences::raise_tag, Fences::expire] {
            assert_eq!(fixture.look(), "fresh 1");
            assert!(fixture.is_confirmed());
            change(fences, OTHER);
            assert!(!fixture.is_confirmed(), "the change may concern the value");
            assert_eq!(fixture.looks(), ["fresh 1"; 4]);
            assert!(fixture.is_confirmed());
        }
    }
}

#[test]
fn value_that_is_confirmed_is_void_after_an_invalidation_of_its_tag() {
    for fixture in fixtures() {
        let fences = &fixture.function.state.fences;
        for digest in TAGS {
            fixture.keep_tagged(1);
            assert_eq!(fixture.looks(), ["fresh 1"; 4]);
            fences.raise_tag(digest);
            // Another change, after which a value that is valid would be confirmed again.
            for _ in 0..2 {
                assert_eq!(fixture.looks(), ["miss"; 4]);
                fences.raise_tag(OTHER);
            }
        }
        fixture.keep_tagged(2);
        assert_eq!(fixture.looks(), ["fresh 2"; 4]);
        fences.raise_all_tags();
        assert_eq!(fixture.looks(), ["miss"; 4]);
    }
}

#[test]
fn value_that_is_confirmed_is_stale_after_its_expiry() {
    for fixture in fixtures() {
        let function = &fixture.function;
        let fences = &function.state.fences;
        let has_window = function.has_window();
        let digests = [
            Some(TAGS[0]),
            Some(TAGS[1]),
            None,
            Some(function.digest(&fixture.key)),
            Some(function.function_digest()),
        ];
        // An expiry of a key or a function without a window is an invalidation.
        let of_tags = if has_window { digests.len() } else { 3 };
        for digest in &digests[..of_tags] {
            fixture.keep_tagged(1);
            assert_eq!(fixture.look(), "fresh 1");
            assert!(fixture.is_confirmed());
            match digest {
                Some(digest) => fences.expire(*digest),
                None => fences.expire_all(),
            }
            for _ in 0..2 {
                let look = fixture.look();
                assert_eq!(look.starts_with("stale 1"), has_window, "{look}");
                assert_eq!(look == "miss", !has_window, "{look}");
                assert!(!fixture.is_confirmed(), "a stale value");
                let key = (*fixture.key).as_ref();
                assert!(function.fresh_hit(&key).is_none());
                assert!(function.peek(&key).is_none());
                fences.raise_tag(OTHER);
            }
        }
    }
}
