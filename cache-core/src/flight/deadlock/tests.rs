use super::*;
use crate::tier::{FunctionKey, RecordKey};

fn lease(token: u64) -> HeldLease {
    let function = Arc::new(FunctionKey::new("f", 1));
    let key = Arc::new(RecordKey::new(function, token.to_string(), token));
    HeldLease::new(crate::level::Level::L2, key, token)
}

fn tokens(mut blocked: Vec<HeldLease>) -> Vec<u64> {
    blocked.sort_by_key(|lease| lease.token);
    blocked.iter().map(|lease| lease.token).collect()
}

#[tokio::test]
async fn blocked_leases_are_those_of_loads_that_wait_for_the_flight() {
    let [outer, inner, third, apart] = [(); 4].map(|()| FlightId::next());
    assert!(blocked(Some(third)).is_empty(), "no load waits for it");
    LoadScope::scope(outer, of(1), async {
        assert_eq!(tokens(blocked(Some(apart))), [1], "this task runs it");
        LoadScope::scope(inner, of(2), async {
            let waiting = WaitEdge::begin(third).expect("it closes no ring");
            // As the task sees it that leads the third flight.
            let seen_from_there = tokio::spawn(async move { blocked(Some(third)) });
            assert_eq!(tokens(seen_from_there.await.unwrap()), [1, 2]);
            let seen_from_apart = tokio::spawn(async move { blocked(Some(apart)) });
            assert!(seen_from_apart.await.unwrap().is_empty());
            drop(waiting);
            let seen_later = tokio::spawn(async move { blocked(Some(third)) });
            assert!(seen_later.await.unwrap().is_empty());
            assert!(WaitEdge::begin(outer).is_none(), "a ring");
        })
        .await;
    })
    .await;
    assert!(blocked(Some(inner)).is_empty());
}

/// Is ready at the second poll.
async fn pause() {
    let mut has_paused = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut has_paused, true) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}

fn poll(future: &mut (impl Future + Unpin)) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_ready()
}

fn of(token: u64) -> HeldLeases {
    Some(Arc::from([lease(token)]))
}

/// Runs a load in a scope that `detached` detaches.
fn detachable<F: Future + Send + 'static>(
    inner: (FlightId, HeldLeases),
    detached: &Detached,
    body: F,
) -> std::pin::Pin<Box<dyn Future<Output = F::Output> + Send>> {
    let mut scope = LoadScope::of([inner], Some(detached));
    let mut body = Box::pin(body);
    Box::pin(std::future::poll_fn(move |cx| {
        let _entered = scope.enter();
        body.as_mut().poll(cx)
    }))
}

#[tokio::test]
async fn load_that_was_handed_over_is_inner_to_no_other_load() {
    let [outer, inner, nested, apart] = [(); 4].map(|()| FlightId::next());
    let detached = Detached::default();
    let body = async move {
        // The scope of the nested load is made before the hand-over, and used after it.
        LoadScope::scope(nested, of(3), async move {
            assert_eq!(tokens(blocked(None)), [1, 2, 3]);
            assert!(WaitEdge::begin(outer).is_none(), "a ring");
            pause().await;
            assert_eq!(tokens(blocked(None)), [2, 3], "the outer load runs on");
            assert!(
                WaitEdge::begin(outer).is_some(),
                "the outer load waits for nothing"
            );
            assert!(WaitEdge::begin(inner).is_none(), "a ring");
            pause().await;
        })
        .await;
        assert_eq!(tokens(blocked(None)), [2]);
        assert!(LoadScope::new(Some((apart, of(4)))).led.len() == 2);
    };
    let mut load = None;
    LoadScope::scope(outer, of(1), async {
        let load = load.insert(detachable((inner, of(2)), &detached, body));
        assert!(!poll(load));
        let elsewhere = tokio::spawn(async move { blocked(Some(nested)) });
        assert_eq!(tokens(elsewhere.await.unwrap()), [1, 2]);
        detached.set();
        let elsewhere = tokio::spawn(async move { blocked(Some(nested)) });
        assert_eq!(
            tokens(elsewhere.await.unwrap()),
            [2],
            "the wait has not ended"
        );
    })
    .await;
    let mut load = load.expect("it was made");
    assert!(!poll(&mut load));
    assert!(poll(&mut load));
}

/// The wait for an inner load ends with the hand-over. A later wait for the same flight is
/// another one.
#[tokio::test]
async fn outer_load_that_waits_again_for_a_load_in_the_background_is_blocked_by_it() {
    let [outer, inner] = [(); 2].map(|()| FlightId::next());
    let detached = Detached::default();
    LoadScope::scope(outer, of(1), async {
        let mut load = detachable((inner, of(2)), &detached, async {
            pause().await;
        });
        assert!(!poll(&mut load));
        detached.set();
        let blocked_elsewhere = || tokio::spawn(async move { tokens(blocked(Some(inner))) });
        let waiting = WaitEdge::begin(inner).expect("it closes no ring");
        assert_eq!(blocked_elsewhere().await.unwrap(), [1]);
        drop(waiting);
        assert_eq!(blocked_elsewhere().await.unwrap(), [0; 0], "a wait is left");
        let waiting = WaitEdge::begin(inner).expect("it closes no ring");
        drop(load);
        assert_eq!(
            blocked_elsewhere().await.unwrap(),
            [1],
            "the wait is not noted"
        );
        drop(waiting);
        assert_eq!(blocked_elsewhere().await.unwrap(), [0; 0], "a wait is left");
    })
    .await;
}
