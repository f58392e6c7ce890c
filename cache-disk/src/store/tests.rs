use std::fs;
use std::path::PathBuf;

use super::*;
use crate::config::Disk;
use crate::open::open;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mtc-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn store(directory: &Directory) -> Store {
    let ledger = Arc::new(DiskLedger::new(Arc::default()));
    open(&Disk::new(&directory.0), &ledger, false).unwrap()
}

fn key(number: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    RecordKey::new(function, number.to_string(), number)
}

fn fill(store: &Store, number: u64, record: &[u8], life: Duration) {
    let key = key(number);
    let LeaseResult::Granted(lease) = store.lease(&key, LeaseMode::Preempt, &[]).unwrap() else {
        panic!("the lease was not granted");
    };
    let filled = store.fill(&key, lease.token, lease.stamp, record, life);
    assert_eq!(filled.unwrap(), FillResult::Stored);
}

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(1);

fn read(store: &Store, number: u64) -> Option<Vec<u8>> {
    store.read(&key(number)).unwrap().record
}

/// Sweeps everything, and returns the number of removed records.
fn sweep(store: &Store) -> usize {
    let (mut walk, mut all) = (Walk::default(), 0);
    while let Some(removed) = store.sweep(&mut walk).unwrap() {
        all += removed;
    }
    all
}

#[test]
fn expired_records_are_swept_from_both_generations() {
    let directory = Directory::new("swept");
    let store = store(&directory);
    // More records than a step of the walk.
    for number in 0..1_200 {
        let life = if number % 2 == 0 { SHORT } else { HOUR };
        fill(&store, number, b"record", life);
        if number == 600 {
            store.generations().rotate_now().unwrap();
        }
    }
    let began = unix_millis();
    while unix_millis() < began + 5 {
        std::hint::spin_loop();
    }
    assert_eq!(sweep(&store), 600);
    assert_eq!(sweep(&store), 0);
    assert!((0..1_200).all(|number| read(&store, number).is_some() == (number % 2 == 1)));
}

#[test]
fn replaced_record_is_not_found_after_its_replacement_expired() {
    let directory = Directory::new("replaced");
    let store = store(&directory);
    fill(&store, 1, b"old", HOUR);
    store.generations().rotate_now().unwrap();
    fill(&store, 1, b"new", SHORT);
    while let Some(record) = read(&store, 1) {
        assert_eq!(record, b"new");
    }
    sweep(&store);
    assert_eq!(read(&store, 1), None);
}

#[test]
fn keys_that_match_a_pattern_are_deleted_in_steps() {
    let directory = Directory::new("matching");
    let store = store(&directory);
    for number in 0..1_200 {
        fill(&store, number, b"record", HOUR);
        if number == 600 {
            store.generations().rotate_now().unwrap();
        }
    }
    let glob = Glob::new("*7").unwrap();
    let removed = store.remove_matching(&key(1).function, &glob).unwrap();
    assert_eq!(removed, 120);
    assert!((0..1_200).all(|number| read(&store, number).is_some() == (number % 10 != 7)));
}
