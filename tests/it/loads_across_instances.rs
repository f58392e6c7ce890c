//! All instances together make one load of a key, and no load delays another instance for longer
//! than its lease.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{Function, Level, multi_tier_cached};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use testbed::counts::tier_stats;
use testbed::deployment::Deployment;
use testbed::proxy::NetworkFault;
use testbed::{Gate, Instance, Truth, assert_count, poll_once, until};

/// Time that a loaded machine may add to a timer.
const SLACK: Duration = Duration::from_millis(250);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(gate))]
async fn gated(gate: &Gate, _key: u64) -> u64 {
    gate.pass().await;
    7
}

/// How often calls of `function` have waited for a lease of another instance.
fn lease_waits(instances: &[&Instance], function: &str) -> u64 {
    let waits = |instance: &&Instance| {
        tier_stats(instance, function, Level::L2).map_or(0, |tier| tier.lease_waits)
    };
    instances.iter().map(waits).sum()
}

#[tokio::test]
async fn callers_in_four_instances_make_one_load() {
    let servers = Deployment::start().await;
    let gate = Arc::new(Gate::new());
    let lease_time = Duration::from_millis(500);
    let mut instances = Vec::new();
    for _ in 0..4 {
        let redis = servers.redis().lease_time(lease_time);
        instances.push(Instance::with_redis(redis).await);
    }
    let instances: Vec<_> = instances.iter().collect();
    let runtimes: Vec<_> = instances.iter().map(|instance| &instance.runtime).collect();
    let mut calls = JoinSet::new();
    for instance in instances.iter().cycle().take(100) {
        let (instance, gate) = (Instance::clone(instance), Arc::clone(&gate));
        calls.spawn(async move { instance.call(gated(&gate, 1)).await });
    }
    until("three instances wait for the fourth", || {
        lease_waits(&instances, "gated") == 3
    })
    .await;
    // Three renewals come in each lease time, so twelve show that the load outlives its lease.
    servers.on_primaries(&["CONFIG", "RESETSTAT"]);
    until("the lease is renewed", || servers.calls("pexpire") >= 12).await;
    let began = Instant::now();
    gate.let_through(1);
    while let Some(value) = calls.join_next().await {
        assert_eq!(value.unwrap(), 7);
    }
    let took = began.elapsed();
    assert_count("loads", gate.entered(), 1, &runtimes).await;
    assert!(took < SLACK, "they are not woken but poll: {took:?}");
}

#[tokio::test]
async fn load_that_is_dropped_lets_another_instance_load_at_once() {
    let servers = Deployment::start().await;
    let (first, second) = servers.two().await;
    let gate = Gate::new();
    let mut leader = Box::pin(first.call(gated(&gate, 2)));
    until("the load runs", || {
        assert!(poll_once(&mut leader).is_pending());
        gate.entered() == 1
    })
    .await;
    let mut waiter = Box::pin(second.call(gated(&gate, 2)));
    until("the other instance waits for the lease", || {
        assert!(poll_once(&mut waiter).is_pending());
        lease_waits(&[&second], "gated") == 1
    })
    .await;
    drop(leader);
    gate.let_through(1);
    let began = Instant::now();
    assert_eq!(waiter.await, 7);
    let took = began.elapsed();
    assert!(took < SLACK, "the lease was not released: {took:?}");
    assert_count("loads", gate.entered(), 2, &[&first, &second]).await;
}

#[tokio::test]
async fn unreachable_lease_holder_delays_others_by_at_most_the_lease_time() {
    let servers = Deployment::start().await;
    let lease = Duration::from_millis(600);
    let network = servers.network().await;
    let cut = servers.redis_through(&network).lease_time(lease);
    let holder = Instance::with_redis(cut).await;
    let second = Instance::with_redis(servers.redis().lease_time(lease)).await;
    let gate = Gate::new();
    let mut leader = Box::pin(holder.call(gated(&gate, 3)));
    until("the load runs", || {
        assert!(poll_once(&mut leader).is_pending());
        gate.entered() == 1
    })
    .await;
    network.set(NetworkFault::BlackHole);
    gate.let_through(2);
    let began = Instant::now();
    assert_eq!(second.call(gated(&gate, 3)).await, 7);
    let took = began.elapsed();
    assert!(took < lease + lease / 10 + SLACK, "{took:?}");
    network.set(NetworkFault::Fair);
    assert_eq!(leader.await, 7);
    assert_count("loads", gate.entered(), 2, &[&holder, &second]).await;
}

/// The server has granted the lease, and its reply has not arrived when the call is dropped.
#[tokio::test]
async fn call_that_is_dropped_while_it_requests_a_lease_delays_no_other_call() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let slow = servers.redis_through(&network);
    let here = Instance::with_redis(slow.time_limit(Duration::from_secs(2))).await;
    let there = servers.instance().await;
    let truth = Truth::new();
    network.set(NetworkFault::Delay(Duration::from_millis(100)));
    tokio::select! {
        biased;
        () = until("the lease is granted", || servers.has_lease()) => {}
        _ = here.call(read(&truth, 1)) => panic!("the call ended before the reply arrived"),
    }
    assert_count("loads", truth.reads(), 0, &[&here, &there]).await;
    let began = Instant::now();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(1),
        "it waited for the lease time, which is two seconds: {took:?}"
    );
}

#[tokio::test]
async fn single_flight_per_process_waits_for_no_other_instance() {
    #[multi_tier_cached(ttl = "1h", skip(truth), single_flight = "process")]
    async fn per_process(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    let mut held = Box::pin(here.call(per_process(&truth, 1)));
    until("the call has a lease", || {
        assert!(poll_once(&mut held).is_pending());
        servers.has_lease()
    })
    .await;
    let began = Instant::now();
    assert_eq!(there.call(per_process(&truth, 1)).await, 1);
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    held.await;
}

/// Each body calls the key that the other instance loads, and joins a flight that another caller
/// leads, so that no instance sees the whole ring.
#[tokio::test]
async fn loads_in_two_instances_that_wait_for_each_other_do_not_deadlock() {
    const NAME: &str = "loads_across_instances::ring";
    let servers = Deployment::start().await;
    let redis = || {
        servers
            .redis()
            .lease_time(Duration::from_millis(500))
            .staleness_bound(Duration::from_millis(100))
    };
    let one = Instance::with_redis(redis()).await;
    let two = Instance::with_redis(redis()).await;
    let function = Function::<u64>::builder(NAME).ttl(Duration::from_secs(60));
    let function = function.build().unwrap();
    let both_load = tokio::sync::Barrier::new(2);
    let call = |key: u64, other: u64| {
        let (function, both_load) = (&function, &both_load);
        let (one, two) = (&one, &two);
        async move {
            let load = || async move {
                both_load.wait().await;
                until("other callers lead flights of both keys", || {
                    lease_waits(&[one, two], NAME) >= 2
                })
                .await;
                let other = function.get_or_load((other,), || async move { other });
                key + other.await
            };
            function.get_or_load((key,), load).await
        }
    };
    let plain = |key: u64| function.get_or_load((key,), move || async move { key });
    let both_lead = || {
        let leases = servers.keys();
        leases.iter().filter(|key| key.ends_with("#lease")).count() == 2
    };
    let others = async {
        until("both load", both_lead).await;
        tokio::join!(one.call(plain(2)), two.call(plain(1)))
    };
    let calls = async {
        let (one, two, _) = tokio::join!(one.call(call(1, 2)), two.call(call(2, 1)), others);
        (one, two)
    };
    let values = timeout(Duration::from_secs(5), calls).await;
    let values = values.expect("no deadlock");
    // Each got the other's value from a load of its own, or from a record of the other instance.
    assert!(values.0 >= 3 && values.1 >= 3, "{values:?}");
}
