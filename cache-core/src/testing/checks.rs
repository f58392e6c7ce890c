use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{HOUR, SOON, Store, key, named, versioned};
use crate::tier::{Claim, Fill, Glob, Leased, Question, Refusal, Target};

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
    let lease = store.given(&gone, Claim::TakeOver).await;
    store.invalidate(Target::Key(&gone)).await;
    assert_eq!(store.read(&gone).await.expect("a read").0, None);
    assert_eq!(
        store.fill_under(&gone, &lease, b"late").await,
        Fill::Refused(Refusal::Lease),
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
    let lease = store.given(&second, Claim::Only).await;
    store.invalidate(Target::Function(&first.function)).await;
    assert_eq!(store.valid(&first, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&second, &lease, b"late").await,
            Fill::Refused(_)
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
    let lease = store.given(&under_way, Claim::Only).await;
    let glob = Glob::new("a,*").expect("a pattern");
    let dropped = store.tier.invalidate_matching(&meant.function, &glob).await;
    dropped.expect("an answer");
    assert_eq!(store.valid(&meant, stamp).await, None);
    assert!(
        matches!(
            store.fill_under(&under_way, &lease, b"late").await,
            Fill::Refused(_)
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
    let lease = store.given(&under_way, Claim::Only).await;
    store.invalidate(Target::All).await;
    for (key, stamp) in [&first, &other].into_iter().zip(stamps) {
        assert_eq!(store.valid(key, stamp).await, None);
    }
    assert!(
        matches!(
            store.fill_under(&under_way, &lease, b"late").await,
            Fill::Refused(_)
        ),
        "its load began before the invalidation"
    );
    let stamp = store.fill(&first, b"new").await;
    assert!(store.valid(&first, stamp).await.is_some());
}

pub(super) async fn a_lease_fills_once(store: &Store) {
    let key = key("f", 1);
    let lease = store.given(&key, Claim::Only).await;
    assert_eq!(store.fill_under(&key, &lease, b"one").await, Fill::Stored);
    assert!(
        matches!(
            store.fill_under(&key, &lease, b"two").await,
            Fill::Refused(_)
        ),
        "it was used"
    );
    assert_eq!(
        store.valid(&key, lease.stamp).await.as_deref(),
        Some(&b"one"[..])
    );
}

pub(super) async fn one_loads_and_others_wait(store: &Store) {
    let key = key("f", 1);
    let lease = store.given(&key, Claim::Only).await;
    assert!(matches!(
        store.lease(&key, Claim::Only).await,
        Leased::Taken(_)
    ));
    drop(lease);
    // Given back, in its time.
    let again = async {
        loop {
            match store.lease(&key, Claim::Only).await {
                Leased::Given(_) => return,
                Leased::Taken(wakeup) => wakeup.await,
                Leased::Refused(refusal) => panic!("refused: {refusal:?}"),
            }
        }
    };
    assert!(
        timeout(SOON, again).await.is_ok(),
        "a lease that was dropped keeps others waiting"
    );
}

pub(super) async fn a_look_takes_nothing(store: &Store) {
    let key = key("f", 1);
    let look = store.given(&key, Claim::Look).await;
    let lease = store.given(&key, Claim::Only).await;
    let filled = store.fill_under(&key, &look, b"one").await;
    assert!(matches!(filled, Fill::Refused(_)), "{filled:?}");
    assert_eq!(store.fill_under(&key, &lease, b"one").await, Fill::Stored);
}

pub(super) async fn who_waits_is_woken(store: &Store) {
    for (number, fills) in [(1, true), (2, false)] {
        let key = key("f", number);
        let lease = store.given(&key, Claim::Only).await;
        let Leased::Taken(wakeup) = store.lease(&key, Claim::Only).await else {
            panic!("another has it");
        };
        if fills {
            assert_eq!(store.fill_under(&key, &lease, b"one").await, Fill::Stored);
        } else {
            store.invalidate(Target::Key(&key)).await;
        }
        assert!(timeout(SOON, wakeup).await.is_ok(), "nobody wakes it");
    }
}

pub(super) async fn shared_leases_fill_beside_each_other(store: &Store) {
    let key = key("f", 1);
    let first = store.given(&key, Claim::Share).await;
    let second = store.given(&key, Claim::Share).await;
    store.invalidate(Target::Key(&key)).await;
    for lease in [&first, &second] {
        assert!(
            matches!(
                store.fill_under(&key, lease, b"late").await,
                Fill::Refused(_)
            ),
            "its load began before the invalidation"
        );
    }
    let lease = store.given(&key, Claim::Share).await;
    assert_eq!(store.fill_under(&key, &lease, b"one").await, Fill::Stored);
}

/// Who asks for it may be what the holder of the exclusive one waits for.
pub(super) async fn a_shared_lease_waits_for_nobody(store: &Store) {
    let key = key("f", 1);
    let _alone = store.given(&key, Claim::Only).await;
    store.given(&key, Claim::Share).await;
}

pub(super) async fn who_takes_over_voids_the_lease_before(store: &Store) {
    let key = key("f", 1);
    for claim in [Claim::Only, Claim::Share] {
        let old = store.given(&key, claim).await;
        let new = store.given(&key, Claim::TakeOver).await;
        assert!(
            matches!(store.fill_under(&key, &old, b"old").await, Fill::Refused(_)),
            "{claim:?}: a refresh or a put took its place"
        );
        assert_eq!(store.fill_under(&key, &new, b"new").await, Fill::Stored);
        store.invalidate(Target::Key(&key)).await;
    }
}

pub(super) async fn what_was_filled_meanwhile_is_looked_at(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"somebody else's").await;
    // It was not there when it was read.
    let Leased::Taken(wakeup) = store.lease(&key, Claim::Only).await else {
        panic!("there is a record by now");
    };
    assert!(timeout(SOON, wakeup).await.is_ok());
    // It was there, and could not be used.
    let seen = b"somebody else's";
    let leased = store.tier.lease(&key, Claim::Only, seen, SOON).await;
    assert!(matches!(leased, Ok(Leased::Given(_))), "{leased:?}");
}

pub(super) async fn a_guard_keeps_everybody_from_filling(store: &Store) {
    let key = key("f", 1);
    store.fill(&key, b"old").await;
    let lease = store.given(&key, Claim::TakeOver).await;
    let guard = store.tier.guard(&key, SOON).await.expect("a guard");
    assert!(guard.is_placed());
    assert_eq!(store.read(&key).await.expect("a read").0, None);
    assert!(matches!(
        store.fill_under(&key, &lease, b"late").await,
        Fill::Refused(_)
    ));
    for claim in [Claim::Only, Claim::Share, Claim::TakeOver] {
        let leased = store.lease(&key, claim).await;
        assert!(
            matches!(leased, Leased::Refused(Refusal::Guard)),
            "{claim:?}: {leased:?}"
        );
    }
    store.invalidate(Target::Key(&key)).await;
    guard.end();
    let free = async {
        while !matches!(store.lease(&key, Claim::TakeOver).await, Leased::Given(_)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, free).await.is_ok(), "the guard has ended");
}

pub(super) async fn lives_are_kept(store: &Store) {
    let (short, shorter) = (key("f", 1), key("f", 2));
    let mut leases = Vec::new();
    for (key, life) in [(&short, 1_500), (&shorter, 300)] {
        let lease = store.given(key, Claim::Only).await;
        let life = Duration::from_millis(life);
        let filled = store
            .tier
            .fill(key, &lease, b"for a while".to_vec(), life, SOON)
            .await;
        assert_eq!(filled.expect("an answer"), Fill::Stored);
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
        let lease = store.given(&key, Claim::Only).await;
        let life = Duration::from_secs(days * 24 * 60 * 60);
        let record = b"for long".to_vec();
        let filled = store.tier.fill(&key, &lease, record, life, SOON).await;
        assert_eq!(filled.expect("an answer"), Fill::Stored);
        assert!(
            store.valid(&key, lease.stamp).await.is_some(),
            "a life of {days} days is over at once"
        );
    }
}

pub(super) async fn all_sizes_come_back_as_they_were(store: &Store) {
    // What a test machine has room for.
    let most = store.tier.max_record_bytes().min(64 << 20);
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

/// Whatever the answer: it comes, and nothing is wrong afterwards.
pub(super) async fn who_has_no_time_is_answered_at_once(store: &Store) {
    let (key, tier) = (key("f", 1), &store.tier);
    store.fill(&key, b"old").await;
    let lease = store.given(&key, Claim::TakeOver).await;
    for within in [Duration::ZERO, Duration::from_micros(1)] {
        let all = async {
            let _ = tier.read(&key, Question::default(), within).await;
            let _ = tier.lease(&key, Claim::Share, &[], within).await;
            let _ = tier.ping(within).await;
            let _ = tier.fill(&key, &lease, b"old".to_vec(), HOUR, within).await;
            let _ = tier.invalidate(Target::Key(&key), within).await;
        };
        let ended = timeout(Duration::from_secs(2), all).await;
        assert!(ended.is_ok(), "it does not keep to its time");
    }
    store.invalidate(Target::Key(&key)).await;
    let settled = timeout(SOON, tier.settle()).await;
    assert!(matches!(settled, Ok(Ok(()))), "{settled:?}");
    assert_eq!(store.read(&key).await.expect("a read").0, None);
}

pub(super) async fn a_guard_that_is_dropped_ends(store: &Store) {
    let key = key("f", 1);
    let guard = store.tier.guard(&key, SOON).await.expect("a guard");
    drop(guard);
    let filled = async {
        loop {
            if let Leased::Given(lease) = store.lease(&key, Claim::TakeOver).await
                && store.fill_under(&key, &lease, b"new").await == Fill::Stored
            {
                return lease.stamp;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    // A commit that is under way has some time left.
    let stamp = timeout(SOON * 3, filled).await.expect("the guard ends");
    assert!(store.valid(&key, stamp).await.is_some());
}

/// Polls so many times, unless it ends before, and drops.
async fn begin_and_drop(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(super) async fn wherever_it_is_dropped_nothing_is_half_done(store: &Store) {
    let (key, tier) = (key("f", 1), &store.tier);
    let function = &key.function;
    let all = Glob::new("*").expect("a pattern");
    let (mut has_ended, mut guards) = (false, Vec::new());
    for polls in 1..64 {
        if has_ended {
            break;
        }
        has_ended = true;
        for (target, looks_first) in [Target::Key(&key), Target::Function(function)]
            .into_iter()
            .flat_map(|target| [(target, true), (target, false)])
        {
            let old = store.fill(&key, b"old").await;
            let lease = store.given(&key, Claim::Share).await;
            has_ended &= begin_and_drop(tier.invalidate(target, SOON), polls).await;
            settled(store, polls).await;
            // Of record and lease, whichever is looked at first: if it is void, so is the other.
            let was_gone = looks_first && store.valid(&key, old).await.is_none();
            let late = store.fill_under(&key, &lease, b"late").await;
            match late {
                Fill::Stored => assert!(!was_gone, "{polls}: the lease outlives {target:?}"),
                Fill::Refused(_) => assert_eq!(
                    store.valid(&key, old).await,
                    None,
                    "{polls}: the record outlives {target:?}"
                ),
            }
        }
        let guarded = named("g", polls.to_string());
        has_ended &= begin_and_drop(tier.invalidate_matching(function, &all), polls).await
            & begin_and_drop(tier.guard(&guarded, SOON), polls).await;
        guards.push(guarded);
        // No longer under way when another has been.
        store.invalidate(Target::Function(function)).await;
        settled(store, polls).await;
        let stamp = store.fill(&key, b"new").await;
        assert!(store.valid(&key, stamp).await.is_some(), "{polls}");
    }
    assert!(has_ended, "an operation of more than 64 steps");
    let free = async {
        for key in &guards {
            while !matches!(store.lease(key, Claim::TakeOver).await, Leased::Given(_)) {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let free = timeout(SOON * 3, free).await;
    assert!(free.is_ok(), "a guard that nobody has stays");
}

async fn settled(store: &Store, polls: usize) {
    let settled = timeout(SOON, store.tier.settle()).await;
    assert!(
        matches!(settled, Ok(Ok(()))),
        "{polls}: what was dropped is never done: {settled:?}"
    );
}

/// A tier may do nothing when nobody waits. What it says it owes counts from then on.
pub(super) async fn what_is_owed_is_not_read(store: &Store) {
    let (first, second) = (key("f", 1), key("f", 2));
    for target in [
        Target::Key(&first),
        Target::Function(&first.function),
        Target::All,
    ] {
        let stamp = store.fill(&first, b"old").await;
        store.fill(&second, b"other").await;
        let lease = store.given(&first, Claim::Share).await;
        store.tier.invalidate_later(target);
        let is_owed = store.tier.owes(&first);
        if is_owed {
            assert_eq!(store.valid(&first, stamp).await, None, "{target:?}");
            let late = store.fill_under(&first, &lease, b"late").await;
            assert!(matches!(late, Fill::Refused(_)), "{target:?}: {late:?}");
        }
        settled(store, 0).await;
        assert!(!store.tier.owes(&first), "{target:?} is settled and owed");
        if is_owed {
            assert_eq!(store.valid(&first, stamp).await, None, "{target:?}");
        }
        store.invalidate(Target::All).await;
    }
}

/// Polls once and drops.
fn begin(future: impl Future) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

pub(super) async fn what_is_dropped_leaves_nothing_behind(store: &Store) {
    let tier = &store.tier;
    let key = key("f", 1);
    for round in 0..20_u64 {
        begin(tier.read(&key, Question::default(), SOON));
        begin(tier.lease(&key, Claim::Only, &[], SOON));
        // Whoever dropped it has no lease: the next comes by one.
        let lease = async {
            loop {
                match store.lease(&key, Claim::Only).await {
                    Leased::Given(lease) => return lease,
                    Leased::Taken(wakeup) => wakeup.await,
                    // Until what was dropped in the round before is done.
                    Leased::Refused(Refusal::Queued) => sleep(Duration::from_millis(2)).await,
                    Leased::Refused(refusal) => panic!("refused: {refusal:?}"),
                }
            }
        };
        let lease = timeout(SOON, lease).await;
        let lease = lease.expect("a lease that was asked for and dropped keeps others waiting");
        begin(tier.fill(&key, &lease, round.to_le_bytes().to_vec(), HOUR, SOON));
        begin(tier.invalidate(Target::Key(&key), SOON));
        store.invalidate(Target::Key(&key)).await;
        assert_eq!(store.read(&key).await.expect("a read").0, None);
        let late = store.fill_under(&key, &lease, b"late").await;
        assert!(matches!(late, Fill::Refused(_)), "{late:?}");
    }
}

/// Whatever the order: once an invalidation has returned, nothing that was loaded before it is read.
pub(super) async fn no_fill_survives_an_invalidation(store: &Store) {
    const KEYS: u64 = 3;
    const ROUNDS: u64 = 150;
    #[derive(Default)]
    struct Truth {
        committed: AtomicU64,
        invalidated: AtomicU64,
    }
    let truths: Arc<Vec<Truth>> = Arc::new((0..KEYS).map(|_| Truth::default()).collect());
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (tier, truths) = (Arc::clone(&store.tier), Arc::clone(&truths));
        tasks.spawn(async move {
            let store = Store { tier };
            for round in 0..ROUNDS {
                let number = (round * 7 + task * 3) % KEYS;
                let (key, truth) = (key("f", number), &truths[number as usize]);
                let version_of =
                    |record: &[u8]| u64::from_le_bytes(record.try_into().expect("a version"));
                if task < 2 {
                    let version = truth.committed.fetch_add(1, Ordering::SeqCst) + 1;
                    if round % 10 == 0 {
                        store.invalidate(Target::Function(&key.function)).await;
                    } else {
                        store.invalidate(Target::Key(&key)).await;
                    }
                    truth.invalidated.fetch_max(version, Ordering::SeqCst);
                    sleep(Duration::from_micros(500)).await;
                    continue;
                }
                let least = truth.invalidated.load(Ordering::SeqCst);
                // As of now: what a channel tells may come later.
                let question = Question {
                    consistency: crate::Consistency::Strong,
                    ..Question::default()
                };
                let found = store.tier.read(&key, question, SOON).await.expect("a read");
                if let (Some(record), Some(now)) = (found.record, found.stamp) {
                    let (stamp, version) = record.split_at(16);
                    let is_valid = stamp[..8] == now.epoch.to_le_bytes()
                        && stamp[8..] == now.history.to_le_bytes();
                    assert!(
                        !is_valid || version_of(version) >= least,
                        "version {} was read, and {least} invalidated",
                        version_of(version)
                    );
                }
                let claim = [Claim::Only, Claim::Share, Claim::TakeOver][(round % 3) as usize];
                let Leased::Given(lease) = store.lease(&key, claim).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let loaded = truth.committed.load(Ordering::SeqCst);
                if round % 4 == 0 {
                    sleep(Duration::from_micros(300)).await;
                }
                let mut record = lease.stamp.epoch.to_le_bytes().to_vec();
                record.extend(lease.stamp.history.to_le_bytes());
                record.extend(loaded.to_le_bytes());
                store.fill_under(&key, &lease, &record).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no violation");
    }
}
