//! At each await point of a load, of a put and of a look-up in a tier: a tag that is invalidated
//! there is never followed by the old value, on the instance at once.

use std::pin::Pin;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Error, Memory};
use testbed::fake_store::{FakeLinks, FakeStore};
use testbed::{Instance, poll_until};

use super::{SOURCES, Source, Subject, tagged, value};

type Put<'a> = Pin<Box<dyn Future<Output = Result<Receipt, Error>> + 'a>>;

/// An instance with memory and a store that answers slowly.
async fn slow_instance(store: &FakeStore) -> (Instance, FakeLinks) {
    let links = store.connect();
    links.slow_down();
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(links.clone());
    (Instance::build(builder).await, links)
}

/// Commits, invalidates the tag from `source`, and checks that no call returns the old value while
/// `running` continues, and after it.
async fn check<F: Future>(subject: &Subject, source: Source, key: u64, running: Option<F>) {
    let version = subject.truth.commit();
    subject.invalidate(source.tag(key)).await;
    match running {
        // The call may wait for the load that runs.
        Some(running) => {
            let (_, during) = tokio::join!(running, subject.version(key));
            assert_eq!(during, version, "{source:?}, during the load");
        }
        None => assert_eq!(subject.version(key).await, version, "{source:?}"),
    }
    let after = subject.version(key).await;
    assert_eq!(after, version, "{source:?}, after the load");
}

/// For each await point of a load of a new key: invalidates there. Returns how many there are.
async fn interrupt_loads(subject: &Subject, source: Source, others: &[Subject]) -> usize {
    for n in 0..256 {
        let key = 1 + n as u64;
        let mut load = Box::pin(subject.version(key));
        let is_finished = poll_until(&mut load, n).await.is_ready();
        check(subject, source, key, (!is_finished).then_some(load)).await;
        for other in others {
            let version = other.version(key).await;
            assert_eq!(version, subject.truth.version(), "another instance, at {n}");
        }
        if is_finished {
            return n;
        }
    }
    panic!("the load does not end");
}

#[tokio::test]
async fn invalidation_of_a_tag_at_each_await_point_of_a_load_holds_in_memory() {
    for source in SOURCES {
        let points = interrupt_loads(&Subject::in_memory().await, source, &[]).await;
        assert!(points >= 3, "a load has more await points than {points}");
    }
}

/// The value is in memory and in the store, which another instance reads.
#[tokio::test]
async fn invalidation_of_a_tag_at_each_await_point_of_a_load_holds_through_a_store() {
    for shards in [1, 4] {
        for source in SOURCES {
            let store = FakeStore::new(shards);
            let ((here, _), (there, _)) =
                (slow_instance(&store).await, slow_instance(&store).await);
            let subject = Subject::new(here, tagged());
            let without_memory = CacheRuntime::builder().l2(store.connect());
            let others = [
                subject.on(&there),
                subject.on(&Instance::build(without_memory).await),
            ];
            let points = interrupt_loads(&subject, source, &others).await;
            assert!(points >= 8, "a load has more await points than {points}");
        }
    }
}

/// The record is in the store, and an instance without the value reads it.
#[tokio::test]
async fn invalidation_of_a_tag_at_each_await_point_of_a_read_holds() {
    for source in SOURCES {
        let store = FakeStore::new(1);
        let (here, _) = slow_instance(&store).await;
        let subject = Subject::new(here, tagged());
        let mut points = 0;
        loop {
            let key = 1 + points as u64;
            subject.version(key).await;
            let (there, _) = slow_instance(&store).await;
            let reader = subject.on(&there);
            let before = subject.reads();
            let mut read = Box::pin(reader.version(key));
            let is_finished = poll_until(&mut read, points).await.is_ready();
            assert_eq!(
                subject.reads(),
                before,
                "the record was read: {}, point {points}",
                there.stats()
            );
            check(&reader, source, key, (!is_finished).then_some(read)).await;
            if is_finished {
                break;
            }
            points += 1;
        }
        assert!(points >= 2, "a read has more await points than {points}");
    }
}

/// A put of a value that is committed before, and invalidated during the put. The tags of a put
/// come from the arguments and the value.
#[tokio::test]
async fn invalidation_of_a_tag_at_each_await_point_of_a_put_holds() {
    for source in [Source::Argument, Source::Value] {
        for in_memory in [true, false] {
            let store = FakeStore::new(1);
            let subject = match in_memory {
                true => Subject::in_memory().await,
                false => Subject::new(slow_instance(&store).await.0, tagged()),
            };
            let mut points = 0;
            // Before its first poll a put does nothing.
            for n in 1..64 {
                let key = n as u64;
                let handle = subject.function.entry((key,));
                let put = value(key, subject.truth.version());
                let mut put: Pin<Box<_>> = Box::pin(subject.here.call(handle.put(put)));
                let is_finished = poll_until(&mut put, n).await.is_ready();
                let put: Put<'_> = put;
                check(&subject, source, key, (!is_finished).then_some(put)).await;
                if is_finished {
                    points = n;
                    break;
                }
            }
            let expected = if in_memory { 1 } else { 5 };
            assert!(
                points >= expected,
                "a put has more await points than {points}"
            );
        }
    }
}
