//! Ledgers that are evicted, deleted, begun by two instances at once, rotated, or missed in part.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use testbed::proxy::{End, NetworkFault, Proxy};
use tokio::time::Instant;

use super::*;

const LEDGER: &str = "{cache:0}:#ledger";
const OLD: &str = "{cache:0}:#ledger:old";

/// The most fields that a generation has.
const MOST_FIELDS: u64 = 32_768;

async fn open(server: &Server) -> Cache {
    Cache::open(Redis::new(server.url())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_that_is_begun_by_two_instances_at_once_has_one_base() {
    let server = Server::start();
    let (here, there) = (open(&server).await, open(&server).await);
    for round in 0..50 {
        let _: u64 = server.command(&["DEL", LEDGER]);
        let (one, other) = (key(2 * round), key(2 * round + 1));
        let (first, second) = tokio::join!(here.load(&one, 1), there.load(&other, 1));
        assert_eq!(first.mark.base, second.mark.base, "round {round}");
        for cache in [&here, &there] {
            cache
                .until_state(&one, first, &[1], MarksState::Valid)
                .await;
            cache
                .until_state(&other, second, &[1], MarksState::Valid)
                .await;
        }
        there.invalidate(&[1]).await;
        for cache in [&here, &there] {
            cache
                .until_state(&one, first, &[1], MarksState::Invalidated)
                .await;
        }
    }
}

#[tokio::test]
async fn record_of_a_ledger_that_was_lost_is_invalid_after_another_has_begun() {
    let server = Server::start();
    let (here, there) = (open(&server).await, open(&server).await);
    let (one, other) = (key(1), key(2));
    let record = here.load(&one, 1).await;
    let _: u64 = server.command(&["DEL", LEDGER]);
    assert_eq!(
        here.in_store(&one, record, &[1]).await,
        MarksState::Invalidated
    );
    assert_eq!(
        here.in_store(&one, record, &[]).await,
        MarksState::Expired,
        "no tags"
    );
    let next = there.load(&other, 1).await;
    assert_ne!(next.mark.base, record.mark.base);
    assert_eq!(next.mark.number, 0);
    // Numbers begin again, and the old record does not look newer than the invalidation.
    for cache in [&here, &there] {
        cache
            .until_state(&one, record, &[1], MarksState::Invalidated)
            .await;
        cache
            .until_state(&other, next, &[1], MarksState::Valid)
            .await;
    }
    there.invalidate(&[1]).await;
    for cache in [&here, &there] {
        cache
            .until_state(&other, next, &[1], MarksState::Invalidated)
            .await;
    }
}

/// The copy of an instance that follows, of one that comes later, and the store.
async fn check_everywhere(
    server: &Server,
    here: &Cache,
    record: Record,
    tags: &[u64],
    state: MarksState,
) {
    let key = key(1);
    let later = open(server).await;
    for cache in [here, &later] {
        cache.until_state(&key, record, tags, state).await;
        assert_eq!(cache.in_store(&key, record, tags).await, state);
    }
    later.shutdown().await;
}

#[tokio::test]
async fn record_is_known_for_two_generations_and_invalid_after_that() {
    let server = Server::start();
    let (here, there) = (open(&server).await, open(&server).await);
    let first = there.load(&key(1), 1).await;
    here.until_state(&key(1), first, &[1], MarksState::Valid)
        .await;
    let mut records = vec![first];
    let mut next_tag = 100;
    for generation in 1..=2 {
        here.invalidate(&[1]).await;
        // As many tags as a generation has, so that it rotates once.
        let tags: Vec<u64> = (next_tag..next_tag + MOST_FIELDS).collect();
        next_tag += MOST_FIELDS;
        for tags in tags.chunks(1024) {
            here.invalidate(tags).await;
        }
        assert!(server.command::<u64>(&["HLEN", LEDGER]) <= MOST_FIELDS);
        assert!(server.command::<u64>(&["HLEN", OLD]) <= MOST_FIELDS);
        let number: u64 = server.command(&["HGET", LEDGER, "n"]);
        let mark = Mark {
            number,
            ..first.mark
        };
        records.push(Record { mark, ..first });
        assert!(
            server.command::<u64>(&["HGET", LEDGER, "f"]) > 0,
            "{generation}"
        );
    }
    let [first, second, third] = records[..] else {
        panic!("three records");
    };
    let cases = [
        (third, 9, MarksState::Valid),
        (second, 9, MarksState::Valid),
        (second, 1, MarksState::Invalidated),
        (first, 9, MarksState::Invalidated),
    ];
    for (record, tag, state) in cases {
        check_everywhere(&server, &here, record, &[tag], state).await;
        there.until_state(&key(1), record, &[tag], state).await;
    }
    // An evicted old generation raises the floor for everyone that reads it.
    let _: u64 = server.command(&["DEL", OLD]);
    let late = open(&server).await;
    for (record, state) in [
        (second, MarksState::Invalidated),
        (third, MarksState::Valid),
    ] {
        late.until_state(&key(1), record, &[9], state).await;
        assert_eq!(here.in_store(&key(1), record, &[9]).await, state);
    }
}

#[tokio::test]
async fn invalidation_that_was_missed_while_the_link_was_lost_is_in_the_next_copy() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = open(&server).await;
    let cut = Cache::open(Redis::new(proxy.url())).await;
    let key = key(1);
    let record = here.load(&key, 1).await;
    cut.until_state(&key, record, &[1], MarksState::Valid).await;
    proxy.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    assert_eq!(cut.state(&key, record, &[1]), None, "the channel is lost");
    here.invalidate(&[1]).await;
    proxy.set(NetworkFault::Fair);
    cut.until_state(&key, record, &[1], MarksState::Invalidated)
        .await;
    // A connection that ends, without an outage.
    let record = here.load(&key, 2).await;
    for _ in 0..5 {
        proxy.end(End::Reset);
        here.invalidate(&[2]).await;
        cut.until_state(&key, record, &[2], MarksState::Invalidated)
            .await;
        assert_eq!(
            cut.in_store(&key, record, &[2]).await,
            MarksState::Invalidated
        );
    }
}

/// A source of versions of one tag, and the check of what is read.
#[derive(Default)]
struct Source {
    committed: AtomicU64,
    /// The version of the last invalidation that was acknowledged.
    invalidated: AtomicU64,
    loads: AtomicU64,
    hits: AtomicU64,
}

impl Source {
    /// Reads as a runtime does: the record, then the ledger; on a miss, loads. Returns the version
    /// that the caller gets.
    async fn call(&self, cache: &Cache, key: &RecordKey, is_strong: bool) -> u64 {
        if let Some(record) = cache.read(key).await {
            let known = cache.state(key, record, &[1]).filter(|_| !is_strong);
            let marks = marks(key, record.mark, &[1]);
            let state = match known {
                Some(state) => Ok(state),
                None => cache.ledger(key).state_in_store(marks, SOON).await,
            };
            if matches!(state, Ok(MarksState::Valid)) {
                self.hits.fetch_add(1, Ordering::SeqCst);
                return record.version;
            }
        }
        let lease = cache.lease(key).await;
        let version = self.committed.load(Ordering::SeqCst);
        self.loads.fetch_add(1, Ordering::SeqCst);
        if let Some(lease) = lease
            && let Some(mark) = lease.mark
        {
            let record = Record { version, mark };
            let fill = cache
                .tier(key)
                .fill(key, &lease, record.bytes(), HOUR, SOON);
            let _ = fill.await;
        }
        version
    }

    /// Calls again and again. A strong call, and every call of the instance that invalidates, gets
    /// a version that is at least as new as the last invalidation that was acknowledged before.
    async fn check(&self, cache: &Cache, is_strong: bool, ends: &AtomicBool) {
        let mut at = 0;
        while !ends.load(Ordering::SeqCst) {
            let key = key(1 + at % 5);
            at += 1;
            let oldest = self.invalidated.load(Ordering::SeqCst);
            let version = self.call(cache, &key, is_strong).await;
            assert!(
                version >= oldest,
                "{version} after {oldest} was invalidated"
            );
            tokio::task::yield_now().await;
        }
    }

    async fn change(&self, cache: &Cache, ends: &AtomicBool) {
        while !ends.load(Ordering::SeqCst) {
            let version = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
            if cache.invalidate(&[1]).await == Receipt::Acked {
                self.invalidated.fetch_max(version, Ordering::SeqCst);
            }
            // Until the new value was hit, if nothing keeps it from that.
            let hits = self.hits.load(Ordering::SeqCst);
            for _ in 0..20 {
                sleep(Duration::from_millis(3)).await;
                if self.hits.load(Ordering::SeqCst) > hits {
                    break;
                }
            }
        }
    }
}

/// Reads on the instance that invalidates, and strong reads on another one, while `disturb` runs.
async fn check_while(server: &Server, length: Duration, disturb: impl Fn(u64)) -> Source {
    let (here, there) = (open(server).await, open(server).await);
    let (source, ends) = (Source::default(), AtomicBool::new(false));
    let disturbing = async {
        let end = Instant::now() + length;
        for round in 0.. {
            if Instant::now() >= end {
                break;
            }
            disturb(round);
            sleep(Duration::from_millis(5)).await;
        }
        ends.store(true, Ordering::SeqCst);
    };
    tokio::join!(
        source.check(&here, false, &ends),
        source.check(&here, true, &ends),
        source.check(&there, true, &ends),
        source.change(&here, &ends),
        disturbing,
    );
    for cache in [&here, &there] {
        for tier in &cache.0 {
            let health = tier.health();
            assert_eq!((health.gaps, health.isolations), (0, 0), "{health:?}");
        }
    }
    source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_that_is_deleted_all_the_time_makes_no_old_value_valid() {
    let server = Server::start();
    let source = check_while(&server, Duration::from_secs(3), |round| {
        let deleted = [LEDGER, OLD][usize::from(round % 4 == 3)];
        let _: u64 = server.command(&["DEL", deleted]);
    })
    .await;
    assert!(source.loads.load(Ordering::SeqCst) > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidations_beside_reads_make_no_old_value_valid() {
    let server = Server::start();
    let source = check_while(&server, Duration::from_secs(2), |_| {}).await;
    assert!(source.hits.load(Ordering::SeqCst) > 20, "nothing was hit");
}

/// The records of the server are lost with it, and so is the ledger.
#[tokio::test]
async fn server_that_restarts_without_its_data_begins_another_ledger() {
    let mut server = Server::start();
    let here = open(&server).await;
    let key = key(1);
    let record = here.load(&key, 1).await;
    here.invalidate(&[5]).await;
    here.until_state(&key, record, &[5], MarksState::Invalidated)
        .await;
    server.kill();
    here.until_disconnected().await;
    assert_eq!(here.invalidate(&[6]).await, Receipt::Queued);
    server.restart();
    here.until_queue_is_empty().await;
    // The queue began the ledger, and the invalidation from before the crash was sent again.
    for tag in [5, 6, 7] {
        here.until_state(&key, record, &[tag], MarksState::Invalidated)
            .await;
    }
    let fresh = here.load(&key, 2).await;
    assert_ne!(fresh.mark.base, record.mark.base);
    here.until_state(&key, fresh, &[5, 6, 7], MarksState::Valid)
        .await;
}
