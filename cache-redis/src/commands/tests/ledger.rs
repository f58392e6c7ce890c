//! The ledger: its scripts, and the reads of it.

use std::sync::Arc;

use cache_core::tier::{FunctionKey, LeaseMode, Mark, Marks, MarksState, RecordKey};

use super::super::lease::Reply;
use super::super::lease_free::FreeKey;
use super::super::ledger::{BeginLedger, Entry, MOST_DIGESTS};
use super::super::ledger_read::{self, Head};
use super::super::stamps::Stamped;
use super::*;
use crate::config::Audit;
use crate::ledger::Ledger;

const BASE: u64 = 77;

/// The most fields that a generation has.
const MOST_FIELDS: u64 = 32_768;

struct Test {
    server: TestServer,
    ledger: String,
    old: String,
}

impl Test {
    async fn start() -> Self {
        let mut server = TestServer::start().await;
        server.attach().await;
        let (ledger, old) = (server.keys.ledger(), server.keys.old_ledger());
        Self {
            server,
            ledger,
            old,
        }
    }

    async fn count(&mut self, entry: Entry<'_>, digests: &[u64]) -> Mark {
        let count = Count {
            entry,
            digests,
            fresh_base: BASE,
            audit: None,
        };
        self.server.send(count).await
    }

    async fn invalidate(&mut self, tags: &[u64]) -> Mark {
        self.count(Entry::Invalidated, tags).await
    }

    async fn expire(&mut self, digests: &[u64]) -> Mark {
        self.count(Entry::Expired { lease: None }, digests).await
    }

    /// Fills the generation with tags from `first` on, up to its last field.
    async fn fill(&mut self, first: u64) {
        let fields: u64 = self.server.ask(&["HLEN", &self.ledger]).await;
        let tags: Vec<u64> = (first..).take((MOST_FIELDS - fields) as usize).collect();
        for tags in tags.chunks(MOST_DIGESTS) {
            self.invalidate(tags).await;
        }
        self.server.messages().await;
    }

    async fn head(&mut self) -> Option<Head> {
        let (connection, keys) = (&mut self.server.connection, &self.server.keys);
        ledger_read::head(connection, keys).await.unwrap()
    }

    /// Judges a record in both ways: by what is read for it, and by the whole ledger.
    async fn judge(&mut self, mark: Mark, tags: &[u64]) -> MarksState {
        let marks = Marks {
            mark,
            tags,
            key: 500,
            function: 600,
        };
        let (connection, keys) = (&mut self.server.connection, &self.server.keys);
        let read = ledger_read::of_record(connection, keys, marks).await;
        let judged = |ledger: Option<Ledger>| match ledger {
            Some(ledger) => ledger.judge(marks),
            None => crate::ledger::unknown(marks),
        };
        let judged_by_record = judged(read.unwrap());
        assert_eq!(judged(self.load().await), judged_by_record, "{marks:?}");
        judged_by_record
    }

    async fn load(&mut self) -> Option<Ledger> {
        let mut ledger = self.head().await?.ledger();
        for name in [&self.ledger, &self.old] {
            let mut cursor = 0;
            loop {
                let connection = &mut self.server.connection;
                let portion = ledger_read::scan(connection, name, cursor).await.unwrap();
                portion.note_in(&mut ledger);
                cursor = portion.cursor;
                if cursor == 0 {
                    break;
                }
            }
        }
        Some(ledger)
    }

    async fn lease(&mut self, mode: LeaseMode, fresh_base: u64) -> Reply {
        let key = key("1");
        let take = TakeLease {
            mode,
            fresh_base: Some(fresh_base),
            ..take_lease(&key, 21)
        };
        self.server.send(take).await
    }
}

fn mark(number: u64) -> Mark {
    Mark { base: BASE, number }
}

#[tokio::test]
async fn first_entry_begins_the_ledger_and_announces_the_base_before_it() {
    let mut test = Test::start().await;
    assert_eq!(test.head().await, None);
    assert_eq!(test.invalidate(&[1, 2]).await, mark(1), "one number");
    assert_eq!(test.server.messages().await, ["b:77", "t:77:1:1:2"]);
    let other_base = Count {
        entry: Entry::Expired { lease: None },
        digests: &[3],
        fresh_base: 78,
        audit: None,
    };
    assert_eq!(test.server.send(other_base).await, mark(2));
    assert_eq!(test.server.messages().await, ["d:77:2:3"]);
    let fields: u64 = test.server.ask(&["HLEN", &test.ledger]).await;
    assert_eq!(fields, 3 + 3);
    let expires: u64 = test.server.ask(&["PTTL", &test.ledger]).await;
    assert!(expires > 31_000_000_000, "{expires}");
}

#[tokio::test]
async fn record_is_judged_by_the_entries_after_its_mark() {
    let mut test = Test::start().await;
    // The first byte of this field is that of an expiry.
    let tilde = u64::from_le_bytes(*b"~ledger!");
    test.invalidate(&[1]).await;
    test.invalidate(&[tilde]).await;
    test.expire(&[2]).await;
    for (number, tags, expected) in [
        (0, &[1][..], MarksState::Invalidated),
        (1, &[1], MarksState::Valid),
        (1, &[tilde], MarksState::Invalidated),
        (2, &[tilde], MarksState::Valid),
        (2, &[1, 2], MarksState::Expired),
        (3, &[1, 2, tilde], MarksState::Valid),
    ] {
        let state = test.judge(mark(number), tags).await;
        assert_eq!(state, expected, "{number} {tags:?}");
    }
    test.expire(&[500]).await;
    assert_eq!(test.judge(mark(3), &[]).await, MarksState::Expired, "key");
    assert_eq!(test.judge(mark(4), &[]).await, MarksState::Valid);
    test.expire(&[600]).await;
    assert_eq!(test.judge(mark(4), &[]).await, MarksState::Expired);
    let other = Mark {
        base: 78,
        number: 9,
    };
    assert_eq!(test.judge(other, &[1]).await, MarksState::Invalidated);
}

#[tokio::test]
async fn full_generation_becomes_the_old_one_and_the_one_before_is_forgotten() {
    let mut test = Test::start().await;
    test.invalidate(&[1]).await;
    test.fill(1000).await;
    let last = test.invalidate(&[1000]).await.number;
    let count: u64 = test.server.ask(&["HGET", &test.ledger, "n"]).await;
    assert_eq!(count, last);
    assert_eq!(
        test.server.messages().await,
        [format!("g:77:{}", last - 1), format!("t:77:{last}:1000")],
        "the rotation is announced before the entry that needed it"
    );
    let head = Head {
        base: BASE,
        begun: last - 1,
        old: Some(0),
    };
    assert_eq!(test.head().await, Some(head));
    let fields: u64 = test.server.ask(&["HLEN", &test.old]).await;
    assert_eq!(fields, MOST_FIELDS);
    for name in [&test.ledger, &test.old] {
        let expires: u64 = test.server.ask(&["PTTL", name]).await;
        assert!(expires > 31_000_000_000, "{expires}");
    }
    assert_eq!(test.judge(mark(0), &[1]).await, MarksState::Invalidated);
    assert_eq!(test.judge(mark(1), &[1]).await, MarksState::Valid);
    assert_eq!(
        test.judge(mark(last - 1), &[1000]).await,
        MarksState::Invalidated
    );

    // The old generation is evicted: what it has is not known any more.
    test.server.ask::<()>(&["RENAME", &test.old, "away"]).await;
    assert_eq!(test.judge(mark(1), &[9]).await, MarksState::Invalidated);
    assert_eq!(test.judge(mark(last - 1), &[9]).await, MarksState::Valid);
    test.server.ask::<()>(&["RENAME", "away", &test.old]).await;

    test.fill(100_000).await;
    let next = test.invalidate(&[2000]).await.number;
    let head = test.head().await.unwrap();
    assert_eq!((head.begun, head.old), (next - 1, Some(last - 1)));
    assert_eq!(
        test.judge(mark(last - 2), &[9]).await,
        MarksState::Invalidated
    );
    assert_eq!(test.judge(mark(last - 1), &[9]).await, MarksState::Valid);
}

#[tokio::test]
async fn old_generation_of_another_ledger_is_not_used() {
    let mut test = Test::start().await;
    for (old, floor) in [
        (["b", "77", "n", "10", "f", "3"], Some(3)),
        (["b", "78", "n", "10", "f", "3"], None),
        (["b", "77", "n", "9", "f", "3"], None),
        (["b", "77", "n", "10", "x", "3"], None),
    ] {
        test.server
            .ask::<()>(&["DEL", &test.ledger, &test.old])
            .await;
        let current = ["HSET", &test.ledger, "b", "77", "n", "12", "f", "10"];
        test.server.ask::<()>(&current).await;
        let set = [&["HSET", &test.old][..], &old].concat();
        test.server.ask::<()>(&set).await;
        assert_eq!(test.head().await.unwrap().old, floor, "{old:?}");
    }
}

#[tokio::test]
async fn lost_or_foreign_ledger_is_begun_again_with_another_base() {
    let mut test = Test::start().await;
    let ledger = test.ledger.clone();
    for foreign in [
        &["DEL", &ledger][..],
        &["SET", &ledger, "foreign"],
        &["HSET", &ledger, "n", "5", "f", "0"],
        &["HSET", &ledger, "b", "0", "n", "5", "f", "0"],
        &["HSET", &ledger, "b", "5", "n", "x", "f", "0"],
        &["HSET", &ledger, "b", "5", "n", "9999999999999999", "f", "0"],
        &["HSET", &ledger, "b", "5", "n", "5"],
    ] {
        test.server.ask::<()>(&["DEL", &ledger]).await;
        let old = ["HSET", &test.old, "b", "5", "n", "5", "f", "0"];
        test.server.ask::<()>(&old).await;
        test.server.ask::<()>(foreign).await;
        assert_eq!(test.head().await, None, "{foreign:?}");
        let state = test.judge(mark(5), &[1]).await;
        assert_eq!(state, MarksState::Invalidated);
        assert_eq!(test.judge(mark(5), &[]).await, MarksState::Expired);
        assert_eq!(test.invalidate(&[1]).await, mark(1), "{foreign:?}");
        assert_eq!(test.server.messages().await, ["b:77", "t:77:1:1"]);
        let old: u64 = test.server.ask(&["EXISTS", &test.old]).await;
        assert_eq!(old, 0);
    }
}

#[tokio::test]
async fn lease_of_a_marked_function_is_granted_with_the_state_of_the_ledger() {
    let mut test = Test::start().await;
    let granted = |number| Reply::Granted {
        token: 21,
        epoch: EPOCH,
        failures: 0,
        mark: Some(mark(number)),
    };
    assert_eq!(test.lease(LeaseMode::Shared, BASE).await, granted(0));
    assert_eq!(test.server.messages().await, ["b:77"]);
    test.invalidate(&[1]).await;
    let shared = test.lease(LeaseMode::Shared, 78).await;
    assert_eq!(shared, granted(1), "a lease that others have, too");
    test.expire(&[1]).await;
    assert_eq!(test.lease(LeaseMode::Preempt, 78).await, granted(2));
    test.server.messages().await;

    test.server.ask::<()>(&["DEL", &test.ledger]).await;
    let reply = test.lease(LeaseMode::Exclusive, 78).await;
    assert!(matches!(reply, Reply::Taken { .. }), "{reply:?}");
    assert_eq!(test.lease(LeaseMode::Probe, 78).await, Reply::Free);
    // The ledger is begun before a lease is taken: a user that may not use the ledger must not lose
    // the lease.
    let head = test.head().await.map(|head| (head.base, head.begun));
    assert_eq!(head, Some((78, 0)));
    assert_eq!(test.server.messages().await, ["b:78"]);
    // A function without marks.
    test.server.ask::<()>(&["DEL", &test.ledger]).await;
    assert!(matches!(
        test.server.lease(&key("2"), 22).await,
        Reply::Granted { mark: None, .. }
    ));
    assert_eq!(test.head().await, None);
    assert!(test.server.messages().await.is_empty());
}

fn free_key(test: &Test, arguments: &str, with_mark: bool) -> FreeKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    let record = RecordKey::new(Arc::clone(&function), arguments.into(), 7);
    let stamp = Stamp {
        epoch: EPOCH,
        history: HISTORY,
    };
    FreeKey {
        record: test.server.keys.record(&record),
        stamp: Stamped { function, stamp },
        token: 21,
        life: MINUTE,
        with_mark,
    }
}

#[tokio::test]
async fn leases_of_a_batch_are_granted_with_the_state_of_the_ledger_if_one_needs_it() {
    let mut test = Test::start().await;
    test.server.lease(&key("0"), 20).await;
    let keys = [
        free_key(&test, "0", true),
        free_key(&test, "1", false),
        free_key(&test, "2", true),
    ];
    let leased = test.server.send(LeaseFree(&keys)).await;
    assert_eq!(leased.granted.of(3, || true).unwrap(), [false, true, true]);
    let begun = leased.mark.unwrap();
    assert_eq!(begun.number, 0);
    assert_eq!(test.server.messages().await, [format!("b:{}", begun.base)]);
    test.invalidate(&[1]).await;
    let keys = [free_key(&test, "3", true), free_key(&test, "4", false)];
    let leased = test.server.send(LeaseFree(&keys)).await;
    assert_eq!(leased.granted.of(2, || true).unwrap(), [true, true]);
    let number = 1;
    assert_eq!(leased.mark, Some(Mark { number, ..begun }));
    let keys = [free_key(&test, "5", false)];
    let leased = test.server.send(LeaseFree(&keys)).await;
    assert_eq!(leased.granted.of(1, || true).unwrap(), [true]);
    assert_eq!(leased.mark, None);
}

#[tokio::test]
async fn expiry_of_a_key_voids_its_lease_in_the_same_step() {
    let mut test = Test::start().await;
    let key = key("1");
    let lease = test.server.keys.lease(&key);
    test.server.lease(&key, 21).await;
    let entry = Entry::Expired {
        lease: Some(&lease),
    };
    test.count(entry, &[key.digest]).await;
    assert_eq!(test.server.text(&lease).await, "");
    assert_eq!(test.server.messages().await, ["b:77", "d:77:1:7"]);
}

#[tokio::test]
async fn invalidation_of_all_tags_begins_another_ledger_and_forgets_the_old_generation() {
    let mut test = Test::start().await;
    test.fill(0).await;
    test.invalidate(&[1]).await;
    test.server.messages().await;
    let audit = Audit {
        who: "me".to_owned(),
        most: 10,
    };
    let begin = BeginLedger {
        base: 78,
        audit: Some((&audit, "tags")),
    };
    test.server.send(begin).await;
    assert_eq!(test.server.messages().await, ["a:78"]);
    let head = Head {
        base: 78,
        begun: 0,
        old: None,
    };
    assert_eq!(test.head().await, Some(head));
    let count = Count {
        entry: Entry::Invalidated,
        digests: &[1, 2],
        fresh_base: 79,
        audit: Some((&audit, "two tags")),
    };
    let counted = test.server.send(count).await;
    assert_eq!((counted.base, counted.number), (78, 1));
    let stream = test.server.keys.audit();
    let entries: Vec<(String, Vec<String>)> = test.server.ask(&["XRANGE", &stream, "-", "+"]).await;
    let entries: Vec<_> = entries.into_iter().map(|(_, fields)| fields).collect();
    let entry = |what: &str| ["who", "me", "what", what].map(str::to_owned);
    assert_eq!(entries, [entry("tags"), entry("two tags")]);
}

#[tokio::test]
async fn full_server_counts_entries_and_begins_ledgers() {
    let mut test = Test::start().await;
    test.server
        .ask::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    let granted = test.lease(LeaseMode::Exclusive, BASE).await;
    let has_mark = |reply| matches!(reply, Reply::Granted { mark: Some(_), .. });
    assert!(has_mark(granted), "{granted:?}");
    assert_eq!(test.invalidate(&[1]).await, mark(1));
    let begin = BeginLedger {
        base: 78,
        audit: None,
    };
    test.server.send(begin).await;
    assert_eq!(test.server.messages().await, ["b:77", "t:77:1:1", "a:78"]);
}

/// A ledger that is begun again because of a permission would void all tagged records each time.
#[tokio::test]
async fn refusal_of_a_read_fails_the_script_and_leaves_the_ledger() {
    let mut test = Test::start().await;
    test.invalidate(&[1]).await;
    test.server.messages().await;
    test.server
        .ask::<()>(&["ACL", "SETUSER", "default", "-hmget"])
        .await;
    let count = Count {
        entry: Entry::Invalidated,
        digests: &[1],
        fresh_base: 78,
        audit: None,
    };
    let (connection, keys) = (&mut test.server.connection, &test.server.keys);
    let refused = super::super::send(connection, keys, count).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("can't run"), "{refused}");
    test.server
        .ask::<()>(&["ACL", "SETUSER", "default", "+hmget"])
        .await;
    assert_eq!(test.head().await.map(|head| head.base), Some(BASE));
    assert!(test.server.messages().await.is_empty());
}
