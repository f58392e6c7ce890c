//! A call returned a value without the flight that later calls would join: a peek, or a batch of a
//! function without memory. No later call on the same instance returns an older value.

use multi_tier_cached::Function;
use testbed::server::Server;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

impl Instances {
    async fn peek(&self) -> Option<u64> {
        self.here.call(read::entry(&self.truth, 1).peek()).await
    }
}

#[multi_tier_cached(batch = keys, same_as = read, skip(truth))]
async fn read_all(truth: &Truth, keys: Vec<u64>) -> HashMap<u64, u64> {
    keys.into_iter().map(|key| (key, truth.read())).collect()
}

#[tokio::test]
async fn value_that_was_read_before_a_peek_is_not_kept_after_it() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    assert_eq!(instances.peek().await, Some(3));
    held.release();
    assert_eq!(bounded.await.unwrap(), 2, "it read before the refresh");
    assert_eq!(instances.bounded().await, 3);
}

#[tokio::test]
async fn value_that_was_kept_during_a_peek_is_dropped() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let truth = Arc::clone(&instances.truth);
    let peek = async move { read::entry(&truth, 1).peek().await.unwrap_or_default() };
    let (held, peek) = instances.hold(HeldAt::Request, peek).await;
    assert_eq!(instances.bounded().await, 2);
    assert_eq!(instances.refresh_there().await, 3);
    held.release();
    assert_eq!(peek.await.unwrap(), 3);
    assert_eq!(instances.bounded().await, 3);
}

#[tokio::test]
async fn flight_from_before_a_peek_is_not_joined_after_it() {
    for memory in [true, false] {
        let instances = match memory {
            true => Instances::new(Promotion::Always).await,
            false => Instances::without_memory().await,
        };
        assert_eq!(instances.refresh_there().await, 2);
        let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
        assert_eq!(instances.refresh_there().await, 3);
        assert_eq!(instances.peek().await, Some(3));
        assert_eq!(instances.bounded_without_joining().await, 3);
        held.release();
        assert_eq!(bounded.await.unwrap(), 2);
    }
}

/// Without memory a batch reads beside the flights of its keys.
#[tokio::test]
async fn flight_from_before_a_batch_is_not_joined_after_it() {
    let instances = Instances::without_memory().await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    let batch = instances.here.call(read_all(&instances.truth, vec![1]));
    assert_eq!(batch.await[&1], 3);
    assert_eq!(instances.bounded_without_joining().await, 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
}

/// The call needs a value, and the tier has the result that there is none. A strong call reads this
/// result while the body of the call runs, so memory has it, and the flight is no longer the
/// current one.
#[tokio::test]
async fn no_value_that_a_strong_call_has_kept_is_dropped_once_a_load_beside_it_has_stored_a_value()
{
    let server = Server::start();
    let (there, here) = Instance::two_at(&server.url()).await;
    let function = Function::<u64>::builder("strong_calls::absent").ttl(HOUR);
    let function = function.none_ttl(HOUR).build().unwrap();
    let none = async || function.get_or_load((1,), || async { None::<u64> }).await;
    assert_eq!(there.call(none()).await, None);
    server.until_records(1).await;
    here.until_coherent().await;
    let gate = Arc::new(Gate::new());
    let (own, passed) = (function.clone(), Arc::clone(&gate));
    let load = here.spawn(async move {
        let body = || async { passed.pass().await + 6 };
        own.get_or_load((1,), body).await
    });
    gate.until_entered(1).await;
    let entry = function.entry((1,));
    let strong = entry.strong(|| async { None::<u64> });
    assert_eq!(here.call(strong).await, None);
    gate.open();
    assert_eq!(load.await.unwrap(), 7);
    assert_eq!(here.call(none()).await, Some(7), "{}", here.stats());
}
