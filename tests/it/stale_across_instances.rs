//! Stale values in several instances whose source fails.

use std::sync::Arc;

use multi_tier_cached::{Level, multi_tier_cached};

use testbed::counts::tier_stats;
use testbed::server::Server;
use testbed::{Gate, Instance, assert_count, until, until_ok};
use tokio::task::JoinSet;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Down;

/// The first load returns a value. All others fail.
async fn fail_again(gate: &Gate) -> Result<u64, Down> {
    match gate.pass().await {
        1 => Ok(7),
        _ => Err(Down),
    }
}

#[multi_tier_cached(ttl = "100ms", stale_if_error = "1h", skip(gate))]
async fn awaited(gate: Arc<Gate>, _key: u64) -> Result<u64, Down> {
    fail_again(&gate).await
}

#[multi_tier_cached(
    ttl = "100ms",
    stale_while_revalidate = "1ms",
    stale_if_error = "1h",
    skip(gate)
)]
async fn late(gate: Arc<Gate>, _key: u64) -> Result<u64, Down> {
    fail_again(&gate).await
}

/// Lets three callers of the second instance wait for the load of the first one, which then fails.
macro_rules! check {
    ($function:ident) => {{
        let server = Server::start();
        let (first, second) = Instance::two_at(&server.url()).await;
        let gate = Arc::new(Gate::new());
        gate.let_through(1);
        let call = |instance: &Instance| instance.spawn($function(Arc::clone(&gate), 1));
        for instance in [&first, &second] {
            assert_eq!(call(instance).await.unwrap(), Ok(7));
        }
        for instance in [&first, &second] {
            until_ok("a call has to load", async || {
                let entry = $function::entry(Arc::clone(&gate), 1);
                match instance.call(entry.peek()).await {
                    Some(value) => Err(value),
                    None => Ok(()),
                }
            })
            .await;
        }

        let mut calls = JoinSet::new();
        calls.spawn(call(&first));
        gate.until_entered(2).await;
        for _ in 0..3 {
            calls.spawn(call(&second));
        }
        let name = stringify!($function);
        until("the callers of the second instance wait", || {
            let waits = second.stats().functions[0].waits;
            let lease_waits = tier_stats(&second, name, Level::L2).map(|tier| tier.lease_waits);
            (waits, lease_waits) == (2, Some(1))
        })
        .await;
        gate.open();
        for result in calls.join_all().await {
            assert_eq!(result.unwrap(), Ok(7), "there is a stale value");
        }
        assert_count("bodies", gate.entered(), 2, &[&first, &second]).await;
    }};
}

#[tokio::test]
async fn failed_load_of_another_instance_answers_waiting_calls_with_the_stale_value() {
    check!(awaited);
}

#[tokio::test]
async fn failed_load_of_another_instance_answers_waiting_calls_of_a_late_function() {
    check!(late);
}
