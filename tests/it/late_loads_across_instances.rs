//! A load that continues in the background, while another instance runs the body of the same key.

use std::sync::Arc;

use multi_tier_cached::{LoadTimeout, multi_tier_cached};

use testbed::server::Server;
use testbed::{Gate, Instance, assert_count, until};

#[derive(Clone, Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[multi_tier_cached(ttl = "1h", hard_timeout = "50ms", load_limit = "3s", skip(gate))]
async fn limited(gate: Arc<Gate>, _key: u64) -> Result<u64, TimedOut> {
    Ok(gate.pass().await)
}

#[tokio::test]
async fn late_load_without_callers_runs_no_body_when_the_load_of_another_instance_is_dropped() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let gate = Arc::new(Gate::new());
    for instance in [&first, &second] {
        let result = instance.call(limited(Arc::clone(&gate), 1)).await;
        assert_eq!(result, Err(TimedOut));
    }
    assert_eq!(second.loads_under_way(), 1, "it waits for the other load");
    until("both loads have ended", || {
        first.loads_under_way() + second.loads_under_way() == 0
    })
    .await;
    assert_count("bodies", gate.entered(), 1, &[&first, &second]).await;

    gate.open();
    assert_eq!(second.call(limited(Arc::clone(&gate), 1)).await, Ok(2));
}
