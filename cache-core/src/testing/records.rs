//! Records: what is read, for how long, and what is gone.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{SOON, Store, key, named, versioned};
use crate::tier::{FillResult, Glob, LeaseMode, Refusal, Target};

pub(super) async fn what_was_filled_is_read(store: &Store) {
    let key = key("f", 1);
    let stamp = store.fill(&key, b"one").await;
    assert_eq!(store.valid(&key, stamp).await.as_deref(), Some(&b"one"[..]));
    let stamp = store.fill(&key, b"two").await;
    assert_eq!(
        store.valid(&key, stamp).await.as_deref(),
        Some(&b"two"[..]),
        "a later fill takes the place of the first"
    );
}

pub(super) async fn what_was_never_filled_is_not_there(store: &Store) {
    let (record, _) = store.read(&key("f", 1)).await.expect("a read");
    assert_eq!(record, None);
    store.invalidate(Target::Key(&key("f", 1))).await;
}

pub(super) async fn an_invalidated_key_is_gone_and_its_lease_void(store: &Store) {
    let (gone, other) = (key("f", 1), key("f", 2));
    store.fill(&gone, b"old").await;
    let stamp = store.fill(&other, b"other").await;
    let lease = store.given(&gone, LeaseMode::Preempt).await;
    store.invalidate(Target::Key(&gone)).await;
    assert_eq!(store.read(&gone).await.expect("a read").0, None);
    assert_eq!(
        store.fill_under(&gone, &lease, b"late").await,
        FillResult::Refused(Refusal::Lease),
        "its load began before the invalidation"
    );
    assert_eq!(store.read(&gone).await.expect("a read").0, None);
    assert!(
        store.valid(&other, stamp).await.is_some(),
        "another key is not of it"
    );
    let stamp = store.fill(&gone, b"new").await;
    assert!(store.valid(&gone, stamp).await.is_some());
}

pub(super) async fn an_invalidated_function_is_void_and_no_other(store: &Store) {
    let (first, second, other) = (key("f", 1), key("f", 2), key("g", 1));
    let stamp = store.fill(&first, b"first").await;
    let other_stamp = store.fill(&other, b"other").await;
    let lease = store.given(&second, LeaseMode::Exclusive).await;
    store.invalidate(Target::Function(&first.function)).await;
    assert_eq!(store.valid(&first, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&second, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "its load began before the invalidation"
    );
    assert!(
        store.valid(&other, other_stamp).await.is_some(),
        "another function is not of it"
    );
    let stamp = store.fill(&first, b"new").await;
    assert!(store.valid(&first, stamp).await.is_some());
}

pub(super) async fn what_matches_is_invalidated(store: &Store) {
    let of = |function: &str, arguments: &str| named(function, arguments.to_owned());
    let (meant, other) = (of("f", "a,1"), of("g", "a,1"));
    let stamp = store.fill(&meant, b"meant").await;
    let other_stamp = store.fill(&other, b"other").await;
    let under_way = of("f", "a,2");
    let lease = store.given(&under_way, LeaseMode::Exclusive).await;
    let glob = Glob::new("a,*").expect("a pattern");
    let dropped = store.tier.invalidate_matching(&meant.function, &glob).await;
    dropped.expect("an answer");
    assert_eq!(store.valid(&meant, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&under_way, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "its load began before"
    );
    assert!(
        store.valid(&other, other_stamp).await.is_some(),
        "another function is not of it"
    );
}

pub(super) async fn everything_can_be_invalidated(store: &Store) {
    let (first, other) = (key("f", 1), key("g", 1));
    let stamps = [
        store.fill(&first, b"first").await,
        store.fill(&other, b"other").await,
    ];
    let under_way = key("g", 2);
    let lease = store.given(&under_way, LeaseMode::Exclusive).await;
    store.invalidate(Target::All).await;
    for (key, stamp) in [&first, &other].into_iter().zip(stamps) {
        assert_eq!(store.valid(key, stamp).await, None);
    }
    assert!(
        matches!(
            store.fill_under(&under_way, &lease, b"late").await,
            FillResult::Refused(_)
        ),
        "its load began before the invalidation"
    );
    let stamp = store.fill(&first, b"new").await;
    assert!(store.valid(&first, stamp).await.is_some());
}

pub(super) async fn lives_are_kept(store: &Store) {
    let (short, shorter) = (key("f", 1), key("f", 2));
    let mut leases = Vec::new();
    for (key, life) in [(&short, 1_500), (&shorter, 300)] {
        let lease = store.given(key, LeaseMode::Exclusive).await;
        let life = Duration::from_millis(life);
        let filled = store
            .tier
            .fill(key, &lease, b"for a while".to_vec(), life, SOON)
            .await;
        assert_eq!(filled.expect("an answer"), FillResult::Stored);
        leases.push(lease.stamp);
    }
    assert!(
        store.valid(&shorter, leases[1]).await.is_some(),
        "a life of less than a second is one"
    );
    let clock = store.tier.now();
    sleep(Duration::from_millis(700)).await;
    assert!(
        store.valid(&short, leases[0]).await.is_some(),
        "its time is not over"
    );
    let passed = store.tier.now() - clock;
    assert!(
        (600..5_000).contains(&passed),
        "700 ms are {passed} by the tier's clock"
    );
    // They may stay a little longer: whoever reads them knows by that clock when they die.
    let gone = async {
        for key in [&shorter, &short] {
            while store.read(key).await.expect("a read").0.is_some() {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    assert!(timeout(SOON, gone).await.is_ok(), "it stays after its time");
    for days in [40, 365] {
        let key = key("f", 10 + days);
        let lease = store.given(&key, LeaseMode::Exclusive).await;
        let life = Duration::from_secs(days * 24 * 60 * 60);
        let record = b"for long".to_vec();
        let filled = store.tier.fill(&key, &lease, record, life, SOON).await;
        assert_eq!(filled.expect("an answer"), FillResult::Stored);
        assert!(
            store.valid(&key, lease.stamp).await.is_some(),
            "a life of {days} days is over at once"
        );
    }
}

pub(super) async fn all_sizes_come_back_as_they_were(store: &Store) {
    // What a test machine has room for.
    let most = store.tier.settings().max_record_bytes.min(64 << 20);
    for (number, size) in [1, 2, 255, 256, 65_535, 65_536, most - 1, most]
        .into_iter()
        .enumerate()
    {
        let key = key("f", number as u64);
        let record: Vec<u8> = (0..size).map(|at| (at * 31 % 256) as u8).collect();
        let stamp = store.fill(&key, &record).await;
        let read = store.valid(&key, stamp).await;
        assert!(read.as_deref() == Some(&record[..]), "of {size} bytes");
    }
}

pub(super) async fn keys_of_any_characters_do_not_meet(store: &Store) {
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
        let is_there = store.valid(key, stamps[number]).await.is_some();
        assert_eq!(is_there, number != 0, "{key:?}");
    }
}

pub(super) async fn versions_of_a_function_do_not_meet(store: &Store) {
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
        "another version is not of it"
    );
}

/// In a store that looks at its keys, by the rules of [`Glob`].
pub(super) async fn what_does_not_match_stays(store: &Store) {
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
        let dropped = store.tier.invalidate_matching(&first.function, &glob).await;
        let looks = dropped.expect("an answer") > 0;
        // The last of the patterns means all but those.
        let is_meant = |arguments: &str| meant.contains(&arguments) != pattern.contains('^');
        for (stamp, key) in &stamps {
            let is_there = store.valid(key, *stamp).await.is_some();
            if is_meant(&key.arguments) {
                assert!(!is_there, "{pattern:?} means {:?}", key.arguments);
            } else if looks {
                assert!(is_there, "{pattern:?} does not mean {:?}", key.arguments);
            }
        }
    }
}
