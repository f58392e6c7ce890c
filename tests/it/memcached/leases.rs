//! One instance loads a key while the others wait.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Level, Memcached, invalidate, multi_tier_cached};
use testbed::counts::tier_stats;
use testbed::memcached::Memcached as Server;
use testbed::{Gate, Instance, Truth, assert_reads, poll_until, until};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{assert_replaced_within_bound, instance, read, two_instances};

/// The time limit of calls that would wait for ever if a promise were broken.
const LIMIT: Duration = Duration::from_secs(10);

/// Loads at a gate. The load with number `fails` fails.
#[multi_tier_cached(ttl = "1h", skip(gate, fails))]
async fn gated(gate: &Gate, fails: u64, _key: u64) -> Result<u64, String> {
    match gate.pass().await {
        number if number == fails => Err(format!("load {number} fails")),
        number => Ok(number),
    }
}

/// No load has this number.
const NONE: u64 = 0;

type Call = JoinHandle<Result<u64, String>>;

/// A load in one instance, and calls that wait for it in two others.
struct AwaitedLoad {
    load: Call,
    waiters: [Call; 2],
    /// The instance of the load, which must live until its lease is released.
    loading: Instance,
    waiting: [Instance; 2],
    gate: &'static Gate,
}

impl AwaitedLoad {
    async fn start(server: &Server, gate: &'static Gate, fails: u64) -> Self {
        let (loading, second) = two_instances(server).await;
        let third = instance(Memcached::new(server.url())).await;
        let load = loading.spawn(gated(gate, fails, 1));
        gate.until_entered(1).await;
        let waiting = [second, third];
        let waiters = [0, 1].map(|index: usize| waiting[index].spawn(gated(gate, fails, 1)));
        let started = Self {
            load,
            waiters,
            loading,
            waiting,
            gate,
        };
        started.until_lease_waits(2).await;
        started
    }

    /// Waits until the two instances have waited for leases so often.
    async fn until_lease_waits(&self, number: u64) {
        let waits = |instance: &Instance| {
            tier_stats(instance, "gated", Level::L2).map(|stats| stats.lease_waits)
        };
        let sum = || self.waiting.iter().filter_map(waits).sum::<u64>();
        let what = format!("{number} waits for leases");
        until(&what, || sum() >= number).await;
    }

    /// Asserts that one of the waiters makes the second load, and the other waits for it.
    async fn assert_one_waiter_loads(self) {
        self.gate.until_entered(2).await;
        self.until_lease_waits(3).await;
        // A call that does not wait begins its own load within 20 ms.
        sleep(Duration::from_millis(200)).await;
        assert_eq!(self.gate.entered(), 2, "loads while the second load runs");
        self.gate.let_through(1);
        for waiter in self.waiters {
            assert_eq!(result(waiter).await, Ok(2));
        }
        assert_eq!(self.gate.entered(), 2, "loads");
    }
}

async fn result(call: Call) -> Result<u64, String> {
    let result = timeout(LIMIT, call).await;
    result.expect("the call returns").expect("no panic")
}

#[tokio::test]
async fn instances_wait_for_the_load_of_another_and_return_its_value() {
    static GATE: Gate = Gate::new();

    let server = Server::start();
    let awaited = AwaitedLoad::start(&server, &GATE, NONE).await;
    GATE.let_through(1);
    assert_eq!(result(awaited.load).await, Ok(1));
    for waiter in awaited.waiters {
        assert_eq!(result(waiter).await, Ok(1));
    }
    assert_eq!(GATE.entered(), 1, "loads");
}

#[tokio::test]
async fn waiters_of_a_failed_load_do_not_wait_for_each_other() {
    static GATE: Gate = Gate::new();

    let server = Server::start();
    let awaited = AwaitedLoad::start(&server, &GATE, 1).await;
    GATE.let_through(1);
    assert_eq!(result(awaited.load).await, Err("load 1 fails".to_owned()));
    let both = timeout(LIMIT, GATE.until_entered(3)).await;
    both.expect("both waiters load at the same time");
    GATE.open();
    for waiter in awaited.waiters {
        assert!(result(waiter).await.is_ok());
    }
}

#[tokio::test]
async fn one_waiter_of_a_dropped_load_loads_and_the_other_waits_for_it() {
    static GATE: Gate = Gate::new();

    let server = Server::start();
    let awaited = AwaitedLoad::start(&server, &GATE, NONE).await;
    awaited.load.abort();
    awaited.assert_one_waiter_loads().await;
}

#[tokio::test]
async fn one_waiter_of_a_load_whose_key_was_invalidated_loads_and_the_other_waits_for_it() {
    static GATE: Gate = Gate::new();

    let server = Server::start();
    let awaited = AwaitedLoad::start(&server, &GATE, NONE).await;
    let invalidation = invalidate!(gated, &GATE, NONE, 1);
    let receipt = awaited.loading.invalidate(invalidation).await;
    assert_eq!(receipt, Receipt::Acked);
    // It is no longer at the gate when the waiters come to it.
    awaited.load.abort();
    awaited.assert_one_waiter_loads().await;
}

/// The lease of the load is still in the server then.
#[tokio::test]
async fn one_waiter_of_a_load_whose_function_was_invalidated_loads_and_the_other_waits_for_it() {
    static GATE: Gate = Gate::new();

    let server = Server::start();
    let awaited = AwaitedLoad::start(&server, &GATE, NONE).await;
    let receipt = awaited.loading.invalidate(invalidate!(gated)).await;
    assert_eq!(receipt, Receipt::Acked);
    GATE.until_entered(2).await;
    awaited.load.abort();
    awaited.assert_one_waiter_loads().await;
}

/// A server that was restarted begins its CAS numbers again.
#[tokio::test]
async fn lease_fills_nothing_after_its_server_was_restarted() {
    let mut server = Server::start();
    let (here, there) = two_instances(&server).await;
    let truth = Truth::new();
    let mut load = Box::pin(here.call(read(&truth, 1)));
    poll_until_loading(&truth, &mut load).await;
    server.restart();
    for instance in [&here, &there] {
        instance.until_isolated_since(0).await;
        instance.until_connected().await;
    }
    // A new lease takes the place of the old one, perhaps with the same number.
    truth.commit();
    let receipt = there.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    assert_eq!(load.await, 1, "its load began before the change");
    assert_replaced_within_bound(&here, &truth, 1, 1).await;
    let fresh = instance(Memcached::new(server.url())).await;
    assert_eq!(fresh.call(read(&truth, 1)).await, 2);
    assert_reads(&truth, 2, &[&here, &there, &fresh]).await;
}

/// Polls a call until its load has begun and is not over.
async fn poll_until_loading<F: Future<Output = u64>>(
    truth: &Truth,
    load: &mut std::pin::Pin<Box<F>>,
) {
    while truth.reads() == 0 {
        assert!(poll_until(load, 1).await.is_pending());
        sleep(Duration::from_millis(1)).await;
    }
}
