//! Checks of tags and expiry.
//!
//! A tier need not keep a [ledger](Tier::ledger). Those without one are only checked for what they
//! leave alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{SOON, Store, key};
use crate::tier::{
    Expiry, FillResult, FunctionKey, LeaseMode, Ledger, Mark, Marks, MarksState, Receipt,
    RecordKey, Tier,
};

/// Digests of tags.
const TAGS: [u64; 3] = [0x1111_2222_3333_4444, 2, u64::MAX];

/// The modes of leases under which a record can be stored.
const MODES: [LeaseMode; 4] = [
    LeaseMode::Exclusive,
    LeaseMode::Refresh,
    LeaseMode::Shared,
    LeaseMode::Preempt,
];

/// Creates a key of a function whose records carry marks.
pub(super) fn marked(function: &str, number: u64) -> RecordKey {
    let key = key(function, number);
    let function = FunctionKey::clone(&key.function).marked(true);
    RecordKey::new(Arc::new(function), key.arguments.clone(), key.digest)
}

/// Returns the marks of a record of this key.
pub(super) fn marks_of<'a>(key: &RecordKey, mark: Mark, tags: &'a [u64]) -> Marks<'a> {
    Marks {
        mark,
        tags,
        key: key.digest,
        function: key.function.digest,
    }
}

/// Judges a record by the store, and by what the channel has announced, once that is known.
pub(super) async fn state(ledger: &dyn Ledger, marks: Marks<'_>) -> MarksState {
    let in_store = ledger.state_in_store(marks, SOON).await;
    let in_store = in_store.expect("the answer of the ledger");
    let known = async {
        loop {
            match ledger.state(marks) {
                Some(state) => return state,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    };
    let known = timeout(SOON, known).await.expect("the state of the ledger");
    assert_eq!(
        known, in_store,
        "{marks:?}: the state that is announced is not the one in the store"
    );
    in_store
}

impl Store {
    pub(super) async fn invalidate_tags(&self, tags: &[u64]) {
        let receipt = self.tier.invalidate_tags(tags, SOON).await;
        assert_eq!(receipt.expect("an invalidation of tags"), Receipt::Acked);
    }

    pub(super) async fn expire(&self, target: Expiry<'_>) {
        let receipt = self.tier.expire(target, SOON).await;
        assert_eq!(receipt.expect("an expiry"), Receipt::Acked);
    }

    /// Takes a lease on a key of a marked function, and returns its mark.
    pub(super) async fn mark(&self, key: &RecordKey) -> Mark {
        let lease = self.granted(key, LeaseMode::Preempt).await;
        lease.mark.expect("a lease of a marked function has a mark")
    }
}

/// Returns the ledger of a tier, enabled.
fn ledger_of(store: &Store) -> Option<&dyn Ledger> {
    let ledger = Tier::ledger(&*store.tier)?;
    ledger.enable();
    Some(ledger)
}

pub(super) async fn invalidation_of_tags_takes_no_other_record_with_it(store: &Store) {
    let (plain, tagged, leased) = (key("f", 1), marked("g", 1), key("f", 2));
    let stamp = store.fill(&plain, b"plain").await;
    let stamp_of_tagged = store.fill(&tagged, b"tagged").await;
    let lease = store.granted(&leased, LeaseMode::Exclusive).await;
    store.invalidate_tags(&TAGS).await;
    store.expire(Expiry::Tags(&TAGS)).await;
    let (expired, function) = (key("f", 3), key("h", 1));
    store.expire(Expiry::Key(&expired)).await;
    store.expire(Expiry::Function(&function.function)).await;
    let filled = store.fill_under(&leased, &lease, b"leased").await;
    assert_eq!(filled, FillResult::Stored, "the lease of another key");
    for (key, stamp, record) in [
        (&plain, stamp, &b"plain"[..]),
        (&tagged, stamp_of_tagged, b"tagged"),
        (&leased, lease.stamp, b"leased"),
    ] {
        let read = store.valid(key, stamp).await;
        assert_eq!(read.as_deref(), Some(record), "{key:?}");
    }
}

/// The load may have read what the expiry is about.
pub(super) async fn lease_is_void_after_its_key_was_expired(store: &Store) {
    for key in [key("f", 1), marked("g", 1)] {
        let lease = store.granted(&key, LeaseMode::Exclusive).await;
        store.expire(Expiry::Key(&key)).await;
        let filled = store.fill_under(&key, &lease, b"late").await;
        assert!(matches!(filled, FillResult::Refused(_)), "{filled:?}");
        store.fill(&key, b"new").await;
    }
}

pub(super) async fn lease_of_a_marked_function_has_the_mark_of_the_ledger(store: &Store) {
    let Some(ledger) = ledger_of(store) else {
        return;
    };
    let mut last: Option<Mark> = None;
    for (number, mode) in (0..).zip(MODES) {
        let key = marked("f", number);
        let lease = store.granted(&key, mode).await;
        let mark = lease.mark.expect("a mark");
        assert_ne!(mark.base, 0, "zero is no base");
        let marks = marks_of(&key, mark, &TAGS);
        assert_eq!(state(ledger, marks).await, MarksState::Valid, "{mode:?}");
        if let Some(last) = last {
            // Another shard has another ledger.
            let is_later = mark.base != last.base || mark.number > last.number;
            assert!(is_later, "{mode:?}: {last:?}, then {mark:?}");
        }
        last = Some(mark);
        store.invalidate_tags(&TAGS).await;
    }
}

pub(super) async fn invalidated_tag_voids_the_records_of_older_marks_that_have_it(store: &Store) {
    let Some(ledger) = ledger_of(store) else {
        return;
    };
    for number in 0..8 {
        let key = marked("f", number);
        let mark = store.mark(&key).await;
        let has = |tags| marks_of(&key, mark, tags);
        store.invalidate_tags(&TAGS[1..]).await;
        let void = [&TAGS[..], &TAGS[1..], &TAGS[2..], &TAGS[..2]];
        for tags in void {
            let state = state(ledger, has(tags)).await;
            assert_eq!(state, MarksState::Invalidated, "{tags:?}");
        }
        for tags in [&TAGS[..1], &[]] {
            let state = state(ledger, has(tags)).await;
            assert_eq!(
                state,
                MarksState::Valid,
                "{tags:?}: it has another tag, or none"
            );
        }
        let later = marks_of(&key, store.mark(&key).await, &TAGS);
        assert_eq!(
            state(ledger, later).await,
            MarksState::Valid,
            "a later load"
        );
    }
}

pub(super) async fn expired_records_are_stale_and_later_ones_are_not(store: &Store) {
    let Some(ledger) = ledger_of(store) else {
        return;
    };
    let (one, other, elsewhere) = (marked("f", 1), marked("f", 2), marked("g", 3));
    let targets = [
        (Expiry::Key(&one), [true, false, false]),
        (Expiry::Function(&one.function), [true, true, false]),
        (Expiry::Tags(&TAGS[..1]), [true, true, true]),
    ];
    for (target, is_expired) in targets {
        let keys = [&one, &other, &elsewhere];
        let mut records = Vec::new();
        for key in keys {
            records.push(marks_of(key, store.mark(key).await, &TAGS));
        }
        store.expire(target).await;
        for (marks, is_expired) in records.into_iter().zip(is_expired) {
            let expected = match is_expired {
                true => MarksState::Expired,
                false => MarksState::Valid,
            };
            assert_eq!(
                state(ledger, marks).await,
                expected,
                "{target:?}, {marks:?}"
            );
        }
        let later = marks_of(&one, store.mark(&one).await, &TAGS);
        assert_eq!(state(ledger, later).await, MarksState::Valid, "{target:?}");
    }
    // An invalidation is stronger.
    let marks = marks_of(&one, store.mark(&one).await, &TAGS);
    store.expire(Expiry::Tags(&TAGS[..1])).await;
    store.invalidate_tags(&TAGS[..1]).await;
    assert_eq!(state(ledger, marks).await, MarksState::Invalidated);
}

/// The numbers of different ledgers are not compared.
pub(super) async fn tagged_record_of_another_ledger_is_void(store: &Store) {
    let Some(ledger) = ledger_of(store) else {
        return;
    };
    let key = marked("f", 1);
    let mark = store.mark(&key).await;
    for base in [0, mark.base ^ 1] {
        for number in [0, mark.number, u64::MAX] {
            let other = marks_of(&key, Mark { base, number }, &TAGS);
            let state = state(ledger, other).await;
            assert_eq!(state, MarksState::Invalidated, "{base}, {number}");
        }
    }
}
