//! Checks of records: what is read, until when, and what an invalidation deletes.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{SOON, Store, key, named, versioned};
use crate::tier::{FillResult, Glob, LeaseMode, Refusal, Target};

pub(super) async fn filled_record_is_read(store: &Store) {
    let key = key("f", 1);
    let stamp = store.fill(&key, b"one").await;
    assert_eq!(store.valid(&key, stamp).await.as_deref(), Some(&b"one"[..]));
    let stamp = store.fill(&key, b"two").await;
    assert_eq!(
        store.valid(&key, stamp).await.as_deref(),
        Some(&b"two"[..]),
        "a later fill replaces the first record"
    );
}

pub(super) async fn key_that_was_never_filled_is_a_miss(store: &Store) {
    let (record, _) = store
        .read(&key("f", 1))
        .await
        .expect("the result of a read");
    assert_eq!(record, None);
    store.invalidate(Target::Key(&key("f", 1))).await;
}

pub(super) async fn invalidated_key_is_a_miss_and_its_lease_is_void(store: &Store) {
    let (invalidated, other) = (key("f", 1), key("f", 2));
    store.fill(&invalidated, b"old").await;
    let stamp = store.fill(&other, b"other").await;
    let lease = store.granted(&invalidated, LeaseMode::Preempt).await;
    store.invalidate(Target::Key(&invalidated)).await;
    assert_eq!(
        store
            .read(&invalidated)
            .await
            .expect("the result of a read")
            .0,
        None
    );
    assert_eq!(
        store.fill_under(&invalidated, &lease, b"late").await,
        FillResult::Refused(Refusal::Lease),
        "the lease is from before the invalidation"
    );
    assert_eq!(
        store
            .read(&invalidated)
            .await
            .expect("the result of a read")
            .0,
        None
    );
    assert!(
        store.valid(&other, stamp).await.is_some(),
        "another key was invalidated too"
    );
    let stamp = store.fill(&invalidated, b"new").await;
    assert!(store.valid(&invalidated, stamp).await.is_some());
}

pub(super) async fn invalidated_function_is_void_and_others_stay_valid(store: &Store) {
    let (first, second, other) = (key("f", 1), key("f", 2), key("g", 1));
    let stamp = store.fill(&first, b"first").await;
    let other_stamp = store.fill(&other, b"other").await;
    let lease = store.granted(&second, LeaseMode::Exclusive).await;
    store.invalidate(Target::Function(&first.function)).await;
    assert_eq!(store.valid(&first, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&second, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "the lease is from before the invalidation"
    );
    assert!(
        store.valid(&other, other_stamp).await.is_some(),
        "another function was invalidated too"
    );
    let stamp = store.fill(&first, b"new").await;
    assert!(store.valid(&first, stamp).await.is_some());
}

pub(super) async fn matching_keys_are_invalidated(store: &Store) {
    let of = |function: &str, arguments: &str| named(function, arguments.to_owned());
    let (matching, other) = (of("f", "a,1"), of("g", "a,1"));
    let stamp = store.fill(&matching, b"matching").await;
    let other_stamp = store.fill(&other, b"other").await;
    let in_progress = of("f", "a,2");
    let lease = store.granted(&in_progress, LeaseMode::Exclusive).await;
    let glob = Glob::new("a,*").expect("a pattern");
    let invalidated = store
        .tier
        .invalidate_matching(&matching.function, &glob)
        .await;
    invalidated.expect("a result");
    assert_eq!(store.valid(&matching, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&in_progress, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "the lease is from before the invalidation"
    );
    assert!(
        store.valid(&other, other_stamp).await.is_some(),
        "another function was invalidated too"
    );
}

pub(super) async fn invalidation_of_everything_voids_all_records_and_leases(store: &Store) {
    let (first, other) = (key("f", 1), key("g", 1));
    let stamps = [
        store.fill(&first, b"first").await,
        store.fill(&other, b"other").await,
    ];
    let in_progress = key("g", 2);
    let lease = store.granted(&in_progress, LeaseMode::Exclusive).await;
    store.invalidate(Target::All).await;
    for (key, stamp) in [&first, &other].into_iter().zip(stamps) {
        assert_eq!(store.valid(key, stamp).await, None);
    }
    assert!(
        matches!(
            store.fill_under(&in_progress, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "the lease is from before the invalidation"
    );
    let stamp = store.fill(&first, b"new").await;
    assert!(store.valid(&first, stamp).await.is_some());
}

pub(super) async fn records_expire_when_their_life_ends(store: &Store) {
    let (short, shorter) = (key("f", 1), key("f", 2));
    let mut leases = Vec::new();
    for (key, life) in [(&short, 1_500), (&shorter, 300)] {
        let lease = store.granted(key, LeaseMode::Exclusive).await;
        let life = Duration::from_millis(life);
        let filled = store
            .tier
            .fill(key, &lease, b"for a while".to_vec(), life, SOON)
            .await;
        assert_eq!(filled.expect("a result"), FillResult::Stored);
        leases.push(lease.stamp);
    }
    assert!(
        store.valid(&shorter, leases[1]).await.is_some(),
        "a record with a life of less than a second is not stored"
    );
    let clock = store.tier.now();
    sleep(Duration::from_millis(700)).await;
    assert!(
        store.valid(&short, leases[0]).await.is_some(),
        "the record expired before the end of its life"
    );
    let passed = store.tier.now() - clock;
    assert!(
        (600..5_000).contains(&passed),
        "the clock of the tier advanced by {passed} ms in 700 ms"
    );
    // The store may keep records a little longer: the runtime checks the expiry in the record.
    let expired = async {
        for key in [&shorter, &short] {
            while store
                .read(key)
                .await
                .expect("the result of a read")
                .0
                .is_some()
            {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    assert!(
        timeout(SOON, expired).await.is_ok(),
        "the record does not expire"
    );
    for days in [40, 365] {
        let key = key("f", 10 + days);
        let lease = store.granted(&key, LeaseMode::Exclusive).await;
        let life = Duration::from_secs(days * 24 * 60 * 60);
        let record = b"for long".to_vec();
        let filled = store.tier.fill(&key, &lease, record, life, SOON).await;
        assert_eq!(filled.expect("a result"), FillResult::Stored);
        assert!(
            store.valid(&key, lease.stamp).await.is_some(),
            "a record with a life of {days} days expired at once"
        );
    }
}

pub(super) async fn records_of_all_sizes_are_read_as_written(store: &Store) {
    // Larger records might not fit into the memory of a test machine.
    let most = store.tier.settings().max_record_bytes.min(64 << 20);
    for (number, size) in [1, 2, 255, 256, 65_535, 65_536, most - 1, most]
        .into_iter()
        .enumerate()
    {
        let key = key("f", number as u64);
        let record: Vec<u8> = (0..size).map(|at| (at * 31 % 256) as u8).collect();
        let stamp = store.fill(&key, &record).await;
        let read = store.valid(&key, stamp).await;
        assert!(
            read.as_deref() == Some(&record[..]),
            "a record of {size} bytes is read differently"
        );
    }
}

pub(super) async fn keys_with_any_characters_are_kept_apart(store: &Store) {
    let arguments = [
        "",
        " ",
        "a",
        "A",
        "a ",
        " a",
        "a:b",
        "a/b",
        "a\\b",
        "../a",
        "a*",
        "a?",
        "[a]",
        "{a}",
        "a%3Ab",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "a\u{1}\u{7f}\u{85}b",
        "é",
        "e\u{301}",
        "😀",
        "'a'",
        "\"a\"",
        "nul",
        "CON",
        ".",
        "..",
        "a%",
        "a%2",
        "a%00",
        "a\tb",
        "a$b",
        "a~b",
        "a^b",
        "a|b",
    ];
    let long = ["x".repeat(200), "x".repeat(201), "é".repeat(100)];
    let long_name = "module::".repeat(30) + "f";
    let keys: Vec<_> = arguments
        .iter()
        .map(|arguments| (*arguments).to_owned())
        .chain(long)
        .flat_map(|arguments| {
            ["f", "f::g", "f<é>", &long_name].map(|function| named(function, arguments.clone()))
        })
        .collect();
    let distinct: HashSet<_> = keys.iter().map(|key| key.digest).collect();
    assert_eq!(distinct.len(), keys.len());
    let mut stamps = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        stamps.push(store.fill(key, number.to_string().as_bytes()).await);
    }
    for (number, key) in keys.iter().enumerate() {
        let read = store.valid(key, stamps[number]).await;
        assert_eq!(
            read.as_deref(),
            Some(number.to_string().as_bytes()),
            "{key:?}"
        );
    }
    store.invalidate(Target::Key(&keys[0])).await;
    for (number, key) in keys.iter().enumerate() {
        let is_valid = store.valid(key, stamps[number]).await.is_some();
        assert_eq!(is_valid, number != 0, "{key:?}");
    }
}

pub(super) async fn versions_of_a_function_are_kept_apart(store: &Store) {
    let [first, second] = [1, 2].map(|version| versioned("f", version, "1".to_owned()));
    let stamps = [
        store.fill(&first, b"first").await,
        store.fill(&second, b"second").await,
    ];
    let read = store.valid(&first, stamps[0]).await;
    assert_eq!(read.as_deref(), Some(&b"first"[..]));
    store.invalidate(Target::Key(&first)).await;
    assert!(store.valid(&second, stamps[1]).await.is_some());
    store.invalidate(Target::Function(&first.function)).await;
    assert!(
        store.valid(&second, stamps[1]).await.is_some(),
        "another version was invalidated too"
    );
}

/// Applies to a store that can list its keys. Another store invalidates the whole function.
pub(super) async fn keys_that_do_not_match_stay_valid(store: &Store) {
    let patterns = [
        ("a,?", &["a,1", "a,2"][..]),
        ("[b-c],*", &["b,1", "c,"][..]),
        (r"\*,*", &["*,1"][..]),
        ("[^x],*", &["x,1"][..]),
    ];
    let all = ["a,1", "a,2", "a,33", "b,1", "c,", "d,1", "*,1", "x,1"];
    for (pattern, meant) in patterns {
        let mut stamps = Vec::new();
        for arguments in all {
            let key = named("f", arguments.to_owned());
            stamps.push((store.fill(&key, b"record").await, key));
        }
        let (_, first) = &stamps[0];
        let glob = Glob::new(pattern).expect("a pattern");
        let invalidated = store.tier.invalidate_matching(&first.function, &glob).await;
        let lists_keys = invalidated.expect("a result") > 0;
        // The last pattern matches all keys except the listed ones.
        let matches = |arguments: &str| meant.contains(&arguments) != pattern.contains('^');
        for (stamp, key) in &stamps {
            let is_valid = store.valid(key, *stamp).await.is_some();
            if matches(&key.arguments) {
                assert!(
                    !is_valid,
                    "{pattern:?} matches {:?}, which is still valid",
                    key.arguments
                );
            } else if lists_keys {
                assert!(
                    is_valid,
                    "{pattern:?} does not match {:?}, which is not valid",
                    key.arguments
                );
            }
        }
    }
}
