use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::fence::Stripe;
use crate::key::FunctionId;

fn engines() -> Vec<Engine> {
    vec![
        Engine::Moka,
        #[cfg(feature = "quick_cache")]
        Engine::QuickCache,
    ]
}

fn key(n: u64) -> Key {
    crate::key::Arguments::encode(crate::key::Tuple(&(n,)), 0)
        .unwrap()
        .key(FunctionId(0))
        .to_owned()
}

fn entry(value: u64, weight: usize) -> Entry {
    Entry::new(
        Arc::new(value),
        0,
        Stripe::of(0),
        Clock::System.now(),
        weight,
    )
}

fn value(entry: &Entry) -> u64 {
    *entry
        .clone()
        .into_value(false)
        .unwrap()
        .downcast_ref()
        .unwrap()
}

fn now() -> Moment {
    Clock::System.now()
}

/// A load during which another load inserts a newer value.
#[test]
fn older_value_does_not_replace_a_newer_one() {
    const LIFE: Duration = Duration::from_secs(60);
    for engine in engines() {
        let memory = Memory::builder().engine(engine).build().unwrap();
        let (now, key) = (now(), key(1));
        let insert = |number: u64, start, now: Moment| {
            let entry = Entry::new(Arc::new(number), start, Stripe::of(0), now.after(LIFE), 8);
            memory.insert(key.clone(), entry, now);
            value(&memory.get(&key.as_ref()).unwrap())
        };
        assert_eq!(insert(2, 5, now), 2);
        assert_eq!(insert(1, 4, now), 2, "it is the older one");
        assert_eq!(insert(3, 5, now), 3);
        assert_eq!(
            insert(4, 4, now.after(LIFE)),
            4,
            "the newer one has expired"
        );
    }
}

#[test]
fn entry_is_replaced_only_if_the_key_still_has_it() {
    for engine in engines() {
        let memory = Memory::builder().engine(engine).build().unwrap();
        let stored = |n: u64| memory.get(&key(n).as_ref()).map(|entry| value(&entry));
        let old = entry(1, 8);
        assert!(!memory.replace(key(1), &old, entry(2, 8)), "no entry");
        assert_eq!(stored(1), None);
        memory.insert(key(1), old.clone(), now());
        assert!(!memory.replace(key(1), &entry(1, 8), entry(2, 8)));
        assert_eq!(stored(1), Some(1), "an equal value is not the same one");
        assert!(memory.replace(key(1), &old, entry(2, 8)));
        assert_eq!(stored(1), Some(2));
        assert!(
            !memory.replace(key(1), &old, entry(3, 8)),
            "replaced before"
        );
        memory.remove(&key(1).as_ref());
        assert!(!memory.replace(key(1), &old, entry(3, 8)), "removed");
        assert_eq!(stored(1), None);
    }
}

#[test]
fn entry_of_a_key_is_dated_up_if_there_is_one() {
    for engine in engines() {
        let memory = Memory::builder().engine(engine).build().unwrap();
        let dated = |n: u64| memory.peek(&key(n).as_ref()).map(|entry| entry.dated());
        memory.date_up(&key(1).as_ref(), 0, 5);
        assert_eq!(dated(1), None, "{engine:?}");
        memory.insert(key(1), entry(1, 8), now());
        memory.date_up(&key(1).as_ref(), 0, 5);
        assert_eq!(dated(1), Some(5), "{engine:?}");
        memory.date_up(&key(1).as_ref(), 6, 9);
        assert_eq!(dated(1), Some(5), "{engine:?}");
        memory.remove(&key(1).as_ref());
        memory.date_up(&key(1).as_ref(), 5, 9);
        assert_eq!(dated(1), None, "{engine:?}");
    }
}

/// Threads that replace one entry while others insert new ones.
#[test]
fn no_inserted_entry_is_lost_to_a_replacement() {
    for engine in engines() {
        let memory = Memory::builder().engine(engine).build().unwrap();
        for round in 1..=2_000_u64 {
            let old = entry(0, 8);
            memory.insert(key(1), old.clone(), now());
            let replaced = std::thread::scope(|scope| {
                let replace = || memory.replace(key(1), &old, entry(u64::MAX, 8));
                let replacing = [scope.spawn(replace), scope.spawn(replace)];
                if round % 2 == 0 {
                    memory.insert(key(1), entry(round, 8), now());
                }
                replacing.map(|thread| usize::from(thread.join().unwrap()))
            });
            assert!(replaced[0] + replaced[1] <= 1, "{engine:?}: replaced twice");
            let stored = value(&memory.get(&key(1).as_ref()).unwrap());
            let expected = if round % 2 == 0 { round } else { u64::MAX };
            assert_eq!(stored, expected, "{engine:?}");
        }
    }
}

/// Keys that were used survive a scan. moka counts a replacement as a use.
#[cfg(feature = "quick_cache")]
#[test]
fn replacement_is_no_use_of_the_key_for_quick_cache() {
    let kept_after = |step: fn(&MemoryTier, u64, &Entry)| {
        let memory = Memory::builder().engine(Engine::QuickCache);
        let memory = memory.max_entries(1_000).build().unwrap();
        let scan = |keys: std::ops::Range<u64>| {
            keys.for_each(|n| {
                memory.insert(key(n), entry(n, 8), now());
            });
        };
        // Entries stay without any use until the capacity is reached.
        scan(1_000..3_000);
        for n in 0..5 {
            let old = entry(n, 8);
            memory.insert(key(n), old.clone(), now());
            step(&memory, n, &old);
        }
        scan(3_000..5_000);
        let keys = 0..5;
        let is_kept = |n: &u64| memory.peek(&key(*n).as_ref()).is_some();
        keys.filter(is_kept).count()
    };
    let unused = kept_after(|_, _, _| {});
    let used = kept_after(|memory, n, _| drop(memory.get(&key(n).as_ref())));
    let replaced = kept_after(|memory, n, old| {
        assert!(memory.replace(key(n), old, entry(n, 8)));
    });
    assert!(used > unused, "{used} {unused}");
    assert_eq!(replaced, unused);
}

#[test]
fn engine_stores_replaces_and_removes_entries() {
    for engine in engines() {
        let memory = Memory::builder()
            .engine(engine)
            .max_entries(100)
            .build()
            .unwrap();
        assert!(memory.get(&key(1).as_ref()).is_none());
        memory.insert(key(1), entry(1, 8), now());
        memory.insert(key(2), entry(2, 8), now());
        memory.insert(key(1), entry(3, 8), now());
        assert_eq!(value(&memory.get(&key(1).as_ref()).unwrap()), 3);
        assert_eq!(memory.len(), 2);
        memory.remove(&key(1).as_ref());
        assert!(memory.get(&key(1).as_ref()).is_none());
        assert_eq!(value(&memory.get(&key(2).as_ref()).unwrap()), 2);
    }
}

#[test]
fn engine_keeps_to_its_capacity_in_entries_and_in_bytes() {
    for engine in engines() {
        let by_entries = Memory::builder()
            .engine(engine)
            .max_entries(1_000)
            .build()
            .unwrap();
        let by_bytes = Memory::builder()
            .engine(engine)
            .max_bytes(1_000_000)
            .build()
            .unwrap();
        for n in 0..20_000 {
            by_entries.insert(key(n), entry(n, 8), now());
            by_bytes.insert(key(n), entry(n, 1_000), now());
        }
        assert!(
            by_entries.len() <= 1_000,
            "{engine:?}: {}",
            by_entries.len()
        );
        assert!(by_bytes.len() <= 1_000, "{engine:?}: {}", by_bytes.len());
        assert!(by_bytes.len() >= 500, "{engine:?}: {}", by_bytes.len());
    }
}

#[test]
fn capacity_of_zero_is_an_error() {
    for memory in [
        Memory::builder().max_entries(0),
        Memory::builder().max_bytes(0),
    ] {
        assert!(
            memory
                .build()
                .unwrap_err()
                .to_string()
                .contains("capacity of memory is zero")
        );
    }
}

/// Only what left because of the capacity is counted: no entry that was replaced or removed.
#[cfg(feature = "quick_cache")]
#[test]
fn evictions_are_the_entries_that_left_because_memory_is_full() {
    const CAPACITY: u64 = 100;
    let memory = Memory::builder().engine(Engine::QuickCache);
    let memory = memory.max_entries(CAPACITY).build().unwrap();
    let evictions = || memory.usage().evictions;
    for n in 0..CAPACITY / 2 {
        memory.insert(key(n), entry(n, 8), now());
        memory.insert(key(n), entry(n + 1, 8), now());
        let known = memory.get(&key(n).as_ref()).unwrap();
        assert!(memory.replace(key(n), &known, entry(n, 8)));
    }
    memory.remove(&key(0).as_ref());
    assert_eq!(evictions(), Some(0));
    let before = memory.usage().entries;
    for n in 1_000..2_000 {
        memory.insert(key(n), entry(n, 8), now());
    }
    let now_there = memory.usage().entries;
    assert_eq!(evictions(), Some(before + 1_000 - now_there));
    assert!(now_there <= CAPACITY);
}

#[test]
fn usage_has_the_bytes_only_of_a_memory_that_is_bounded_by_bytes() {
    for engine in engines() {
        let memory = Memory::builder().engine(engine).max_bytes(1 << 20).build();
        let memory = memory.unwrap();
        memory.insert(key(1), entry(1, 1_000), now());
        assert_eq!(memory.len(), 1, "moka does its maintenance here");
        let usage = memory.usage();
        let (used, most) = usage.bytes.unwrap();
        assert!((1_000..2_000).contains(&used), "{usage:?}");
        assert_eq!((most, usage.max_entries), (1 << 20, None));
        let memory = Memory::builder()
            .engine(engine)
            .max_entries(7)
            .build()
            .unwrap();
        let usage = memory.usage();
        assert_eq!((usage.bytes, usage.max_entries), (None, Some(7)));
    }
}

/// Keys are inserted into two memories, and looked at in one of them only.
#[test]
fn look_at_an_entry_leaves_the_order_of_eviction_as_it_is() {
    const CAPACITY: u64 = 64;
    let kept = |engine, use_of: &dyn Fn(&MemoryTier, &Key)| {
        let memory = Memory::builder()
            .engine(engine)
            .max_entries(CAPACITY)
            .build()
            .unwrap();
        for n in 0..CAPACITY {
            memory.insert(key(n), entry(n, 8), now());
        }
        memory.len();
        for n in CAPACITY / 2..CAPACITY {
            for _ in 0..8 {
                use_of(&memory, &key(n));
            }
        }
        memory.len();
        for n in CAPACITY..2 * CAPACITY {
            memory.insert(key(n), entry(n, 8), now());
            memory.len();
        }
        let is_kept = |n: &u64| memory.look(&key(*n).as_ref()).is_some();
        (0..2 * CAPACITY).filter(is_kept).collect::<Vec<_>>()
    };
    for engine in engines() {
        let unused = kept(engine, &|_, _| {});
        let missing = key(1 << 40);
        let looked_at = kept(engine, &|memory, key| {
            // An engine with shards may have evicted a few already.
            drop(memory.look(&key.as_ref()));
            assert!(memory.look(&missing.as_ref()).is_none());
        });
        let used = kept(engine, &|memory, key| drop(memory.get(&key.as_ref())));
        assert_eq!(looked_at, unused, "{engine:?}");
        assert_ne!(used, unused, "{engine:?}: a use has no effect on this test");
    }
}
