use std::sync::Arc;

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

#[test]
fn an_engine_stores_replaces_and_removes() {
    for engine in engines() {
        let memory = Memory::builder()
            .engine(engine)
            .max_entries(100)
            .build()
            .unwrap();
        assert!(memory.get(&key(1).as_ref()).is_none());
        memory.insert(key(1), entry(1, 8));
        memory.insert(key(2), entry(2, 8));
        memory.insert(key(1), entry(3, 8));
        assert_eq!(value(&memory.get(&key(1).as_ref()).unwrap()), 3);
        assert_eq!(memory.len(), 2);
        memory.remove(&key(1).as_ref());
        assert!(memory.get(&key(1).as_ref()).is_none());
        assert_eq!(value(&memory.get(&key(2).as_ref()).unwrap()), 2);
    }
}

#[test]
fn an_engine_is_bounded_by_entries_and_by_bytes() {
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
            by_entries.insert(key(n), entry(n, 8));
            by_bytes.insert(key(n), entry(n, 1_000));
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
fn a_capacity_of_zero_is_an_error() {
    for memory in [
        Memory::builder().max_entries(0),
        Memory::builder().max_bytes(0),
    ] {
        assert!(
            memory
                .build()
                .unwrap_err()
                .to_string()
                .contains("capacity is zero")
        );
    }
}
