//! Records in Redis, and what arrives over its channel.

use std::any::Any;
use std::sync::Arc;

use multi_tier_cached::{
    CacheRuntime, Level, Memory, Redis, TierConfig, invalidate, multi_tier_cached,
};
use testbed::server::Server;
use testbed::{Gate, Instance, until};

#[multi_tier_cached(ttl = "1h", name = "provoke::read")]
async fn read(key: u64) -> u64 {
    key
}

#[multi_tier_cached(ttl = "1h", name = "provoke::large")]
async fn large(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[multi_tier_cached(ttl = "1h", name = "provoke::gated", skip(gate))]
async fn gated(gate: &Gate, _key: u64) -> u64 {
    gate.pass().await
}

/// Two servers below memory, with records that cannot be used, copied or stored.
pub(super) struct Busy {
    here: Instance,
    _there: Instance,
    near: Server,
    _far: Server,
    /// The name of the record of `read(1)`.
    record: String,
}

impl Busy {
    pub(super) async fn records() -> Self {
        let (near, far) = (Server::start(), Server::start());
        let instance = async || {
            let near = Redis::new(near.url()).max_record_bytes(1_000);
            let builder = CacheRuntime::builder().l1(Memory::builder()).l2(near);
            let far = Redis::new(far.url());
            Instance::build(builder.tier(far, TierConfig::new(Level::L3))).await
        };
        let (here, there) = (instance().await, instance().await);
        here.until_coherent().await;
        there.until_coherent().await;
        assert_eq!(there.call(read(1)).await, 1);
        until("both servers have the record", || {
            near.records().len() == 1 && far.records().len() == 1
        })
        .await;
        let record = near.records().remove(0);
        let _: u64 = near.command(&["DEL", &record]);
        assert_eq!(here.call(read(1)).await, 1);
        until("the record is copied", || near.records().len() == 1).await;
        assert_eq!(here.call(large(5_000)).await.len(), 5_000);
        refused_fill(&here, &there).await;
        let this = Self {
            here,
            _there: there,
            near,
            _far: far,
            record,
        };
        this.stay_busy(0).await;
        this
    }

    pub(super) fn runtime(&self) -> CacheRuntime {
        self.here.runtime.clone()
    }

    /// Calls a key whose record is damaged, twice.
    pub(super) async fn stay_busy(&self, round: u64) {
        let key = 1_000 + round;
        let damaged = self.record.replace(":1:1", &format!(":1:{key}"));
        let _: () = self.near.command(&["SET", &damaged, "damaged"]);
        for _ in 0..2 {
            assert_eq!(self.here.call(read(key)).await, key);
        }
        self.here.invalidate(invalidate!(read, key)).await;
    }
}

/// A load whose key is invalidated while its body runs, and a call of another instance that waits
/// for it.
async fn refused_fill(here: &Instance, there: &Instance) {
    let gate = Arc::<Gate>::default();
    let call = {
        let gate = Arc::clone(&gate);
        there.spawn(async move { gated(&gate, 1).await })
    };
    gate.until_entered(1).await;
    let waits = {
        let gate = Arc::clone(&gate);
        here.spawn(async move { gated(&gate, 1).await })
    };
    let lease_waits = || {
        let stats = here.stats();
        let tiers = stats
            .function("provoke::gated")
            .map(|function| function.tiers.clone());
        tiers.is_some_and(|tiers| tiers.iter().any(|tier| tier.lease_waits > 0))
    };
    until("the other instance waits for the lease", lease_waits).await;
    gate.open();
    call.await.unwrap();
    waits.await.unwrap();
    let closed = Arc::<Gate>::default();
    let loads = {
        let gate = Arc::clone(&closed);
        here.spawn(async move { gated(&gate, 2).await })
    };
    closed.until_entered(1).await;
    here.invalidate(invalidate!(gated, &closed, 2)).await;
    closed.open();
    loads.await.unwrap();
    until("the fill is refused", || {
        let stats = here.stats();
        let function = stats.function("provoke::gated").unwrap();
        function
            .tiers
            .iter()
            .any(|tier| tier.refused_fills.total() > 0)
    })
    .await;
}

/// A channel that loses a message, a server that loses its data, and a user that lacks a
/// permission.
pub(super) async fn channel() -> (CacheRuntime, Box<dyn Any>) {
    let mut server = Server::start();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    permit(&server);
    let here = Instance::with_redis(Redis::new(url).audit("provoke", 100)).await;
    let there = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    there.until_coherent().await;
    there.invalidate(invalidate!(read, 1)).await;
    let _: u64 = server.command(&["INCR", "{cache:0}:#sequence"]);
    there.invalidate(invalidate!(read, 1)).await;
    until("the gap is noticed", || here.tier_health().gaps > 0).await;
    here.until_coherent().await;
    let _: () = server.command(&["FLUSHALL"]);
    until("the loss is noticed", || {
        here.tier_health().history_changes > 0
    })
    .await;
    // An invalidation that is queued, and sent when the server is back.
    server.kill();
    here.until_disconnected().await;
    here.invalidate(invalidate!(read, 1)).await;
    server.restart();
    permit(&server);
    here.until_queue_is_empty().await;
    here.until_coherent().await;
    until("the missing permission is noticed", || {
        !here.tier_health().unusable.is_empty()
    })
    .await;
    assert_eq!(here.call(read(1)).await, 1);
    (here.runtime.clone(), Box::new((here, there, server)))
}

/// Lets the user `app` run all commands except the one that the audit needs.
fn permit(server: &Server) {
    let user = [
        "ACL",
        "SETUSER",
        "app",
        "reset",
        "on",
        ">pw",
        "~{cache:0}:*",
        "&{cache:0}:*",
        "+@all",
        "-xadd",
    ];
    let _: () = server.command(&user);
}
