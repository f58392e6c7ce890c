//! Callers that are dropped while their request is in a batch.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::*;

/// Polls once.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

fn lease_request(server: &TestServer, leases: &Arc<HeldLeases<RedisLease>>) -> LeaseRequest {
    let own = RedisLease {
        name: server.keys.lease(&key(4)),
        digest: key(4).digest,
        is_exclusive: true,
    };
    LeaseRequest {
        key: free_key(server, &key(4), 24, STAMP),
        holder: leases.hold(24, own, 1),
    }
}

#[tokio::test]
async fn request_of_a_dropped_caller_is_not_sent() {
    let mut server = prepared().await;
    let leases = Arc::new(HeldLeases::default());
    leases.connected(1);
    let (batches, task) = Batches::new(server.connection.clone(), Arc::clone(&server.keys));
    let crowd = [(); CROWD].map(|()| batches.begin());
    let running = batches.begin();
    let place = || running.place().unwrap();
    {
        let mut lease = pin!(place().lease(lease_request(&server, &leases)));
        let mut fill = pin!(place().fill(filled_key(&server, &key(2), 22, STAMP)));
        let mut invalidation = pin!(place().invalidate(invalidated_key(&server, &key(5))));
        assert!(poll_once(lease.as_mut()).await.is_pending());
        assert!(poll_once(fill.as_mut()).await.is_pending());
        assert!(poll_once(invalidation.as_mut()).await.is_pending());
    }
    let task = tokio::spawn(task);
    batches.drain().await.unwrap();
    let [lease, filled, kept] = [
        server.keys.lease(&key(4)),
        server.keys.record(&key(2)),
        server.keys.record(&key(5)),
    ];
    assert_eq!(server.text(&lease).await, "");
    assert_eq!(server.text(&filled).await, "");
    assert_eq!(server.text(&kept).await, "old");
    assert_eq!(leases.take_returned().len(), 1, "the lease may be released");
    drop(crowd);
    task.abort();
}

#[tokio::test]
async fn lease_of_a_dropped_caller_is_released_after_the_answer() {
    let mut server = prepared().await;
    let leases = Arc::new(HeldLeases::default());
    leases.connected(1);
    let (batches, task) = Batches::new(server.connection.clone(), Arc::clone(&server.keys));
    let crowd = [(); CROWD].map(|()| batches.begin());
    let running = batches.begin();
    let name = server.keys.lease(&key(4));
    let mut task = Box::pin(task);
    {
        let place = running.place().unwrap();
        let mut lease = pin!(place.lease(lease_request(&server, &leases)));
        assert!(poll_once(lease.as_mut()).await.is_pending());
        // The request is taken, then the batch is made, but not sent: its own task has not run.
        assert!(poll_once(task.as_mut()).await.is_pending());
        assert!(poll_once(task.as_mut()).await.is_pending());
    }
    assert_eq!(
        leases.take_returned().len(),
        0,
        "the server may still grant it"
    );
    let task = tokio::spawn(task);
    batches.drain().await.unwrap();
    assert_eq!(server.text(&name).await, "24:11:5:x", "it was granted");
    assert_eq!(leases.take_returned().len(), 1, "it is released");
    drop(crowd);
    task.abort();
}

#[tokio::test]
async fn lease_that_was_answered_and_not_taken_is_released() {
    let mut server = prepared().await;
    let leases = Arc::new(HeldLeases::default());
    leases.connected(1);
    let (batches, task) = Batches::new(server.connection.clone(), Arc::clone(&server.keys));
    let task = tokio::spawn(task);
    let crowd = [(); CROWD].map(|()| batches.begin());
    let running = batches.begin();
    {
        let place = running.place().unwrap();
        let mut lease = pin!(place.lease(lease_request(&server, &leases)));
        assert!(poll_once(lease.as_mut()).await.is_pending());
        batches.drain().await.unwrap();
        assert_eq!(leases.take_returned().len(), 0);
    }
    assert_eq!(leases.take_returned().len(), 1);
    let name = server.keys.lease(&key(4));
    assert_eq!(server.text(&name).await, "24:11:5:x");
    drop(crowd);
    task.abort();
}

#[tokio::test]
async fn requests_fail_when_the_link_ends() {
    let server = prepared().await;
    let (batches, task) = Batches::new(server.connection.clone(), Arc::clone(&server.keys));
    let crowd = [(); CROWD].map(|()| batches.begin());
    let running = batches.begin();
    let mut before = pin!(
        running
            .place()
            .unwrap()
            .invalidate(invalidated_key(&server, &key(5)))
    );
    assert!(poll_once(before.as_mut()).await.is_pending());
    drop(task);
    let error = before.await.unwrap_err();
    assert!(errors::is_fatal(&error), "{error}");
    assert!(
        running.place().is_none(),
        "further operations fail by themselves"
    );
    assert!(batches.drain().await.is_err());
    drop(crowd);
}
