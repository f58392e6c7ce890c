//! Write guards.

use testbed::memcached::Memcached as Server;
use testbed::{Truth, until};
use tokio::time::sleep;

use super::{BOUND, read, two_instances};

#[tokio::test]
async fn value_from_before_a_commit_is_kept_in_no_cache_while_its_key_is_guarded() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let guard = here.call(async { read::entry(&truth, 1).write_guard().await });
    let guard = guard.await.expect("a guard");
    assert!(guard.is_held());
    sleep(BOUND).await;
    let value = there.call(read(&truth, 1)).await;
    assert_eq!(value, 1, "the change is not committed yet");
    truth.commit();
    let value = there.call(read(&truth, 1)).await;
    assert_eq!(value, 2, "the value from before the commit was kept");
    guard.invalidate().await.unwrap();
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    until("the guard has ended", || {
        !server.has_item("mtc:it::memcached::read:1:1#g")
    })
    .await;
}
