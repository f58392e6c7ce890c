//! The stores below memory, with the clock under control, and the instances that use them.

use std::ops::Deref;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Disk, Memcached, Memory, Objects, Redis, RuntimeBuilder, TierConfig,
};
use opendal::{Operator, services};
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, until};

/// Long enough for a store on a busy machine: a slow store must not look like an empty one.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Longer than a test, so that no instance is isolated because the machine was busy.
const STALENESS_BOUND: Duration = Duration::from_secs(60);

/// A store, which instances use as their second tier, and the time of all of them.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) clock: TestClock,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Memory alone.
    Nothing,
    Redis(Server),
    Memcached(testbed::memcached::Memcached),
    /// A private store. Instances share the tier, as FakeTier's do.
    Private(ClockedTier, Option<Directory>),
}

impl Store {
    pub(crate) fn memory() -> Self {
        Self {
            clock: TestClock::new(),
            kind: Kind::Nothing,
        }
    }

    pub(crate) fn redis() -> Self {
        Self {
            clock: TestClock::new(),
            kind: Kind::Redis(Server::start()),
        }
    }

    pub(crate) fn memcached() -> Self {
        Self {
            clock: TestClock::new(),
            kind: Kind::Memcached(testbed::memcached::Memcached::start()),
        }
    }

    pub(crate) fn disk() -> Self {
        let clock = TestClock::new();
        let directory = Directory::new("stale");
        let disk = Disk::new(directory.path().join("disk")).time_limit(TIME_LIMIT);
        let tier = ClockedTier::new(disk, &clock);
        let kind = Kind::Private(tier, Some(directory));
        Self { clock, kind }
    }

    pub(crate) fn objects() -> Self {
        let clock = TestClock::new();
        let objects = Operator::new(services::Memory::default()).unwrap();
        let objects = Objects::new(objects).time_limit(TIME_LIMIT);
        let kind = Kind::Private(ClockedTier::new(objects, &clock), None);
        Self { clock, kind }
    }

    /// Returns `true` if there is a tier below memory.
    pub(crate) fn has_tier(&self) -> bool {
        !matches!(self.kind, Kind::Nothing)
    }

    /// Returns `true` if instances learn of the invalidations of others.
    pub(crate) fn has_channel(&self) -> bool {
        matches!(self.kind, Kind::Redis(_) | Kind::Memcached(_))
    }

    /// Returns the name of the store.
    pub(crate) fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Nothing => "memory",
            Kind::Redis(_) => "redis",
            Kind::Memcached(_) => "memcached",
            Kind::Private(_, Some(_)) => "disk",
            Kind::Private(_, None) => "objects",
        }
    }

    /// Waits until the server has no lease that a load of this process held. A lease is released
    /// after its call returned, and a later load would wait for it.
    pub(crate) async fn until_released(&self) {
        /// The flags of an exclusive lease, and of the lease of a refresh.
        const LEASES: [u32; 2] = [0x4D54_4302, 0x4D54_4307];
        if let Kind::Memcached(server) = &self.kind {
            until("the leases are released", || !server.has_item_with(&LEASES)).await;
        }
    }

    /// The server, if the store is Redis.
    pub(crate) fn server(&self) -> &Server {
        match &self.kind {
            Kind::Redis(server) => server,
            other => panic!("not Redis: {other:?}"),
        }
    }

    /// Returns the second tier of a new instance.
    pub(crate) fn tier(&self) -> Option<ClockedTier> {
        Some(match &self.kind {
            Kind::Nothing => return None,
            Kind::Redis(server) => {
                let redis = Redis::new(server.url()).required();
                let redis = redis
                    .time_limit(TIME_LIMIT)
                    .staleness_bound(STALENESS_BOUND);
                ClockedTier::new(redis, &self.clock)
            }
            Kind::Memcached(server) => {
                let memcached = Memcached::new(server.url()).required();
                let memcached = memcached.time_limit(TIME_LIMIT);
                let memcached = memcached.staleness_bound(STALENESS_BOUND);
                ClockedTier::new(memcached, &self.clock)
            }
            Kind::Private(tier, _) => tier.clone(),
        })
    }

    /// Creates an instance with memory and this store.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(TierConfig::as_l2(), |builder| builder).await
    }

    /// Creates an instance with memory, and with this store in this place.
    pub(crate) async fn node_with(
        &self,
        place: TierConfig,
        settings: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
    ) -> Node {
        let mut builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .clock(self.clock.of_runtimes());
        let tier = self.tier();
        if let Some(tier) = &tier {
            builder = builder.tier(tier.clone(), place);
        }
        let instance = Instance::build(settings(builder)).await;
        if self.has_channel() {
            instance.until_coherent().await;
        }
        Node { instance, tier }
    }
}

/// An instance with its second tier.
#[derive(Debug)]
pub(crate) struct Node {
    instance: Instance,
    tier: Option<ClockedTier>,
}

impl Node {
    /// The number of records that the second tier has stored. Instances with one private tier have
    /// one number.
    pub(crate) fn fills(&self) -> usize {
        self.lives().len()
    }

    /// The lives of these records.
    pub(crate) fn lives(&self) -> Vec<Duration> {
        self.tier
            .as_ref()
            .map_or_else(Vec::new, ClockedTier::stored_lives)
    }

    /// Waits until no load runs.
    pub(crate) async fn until_idle(&self) {
        until("no load runs", || self.loads_under_way() == 0).await;
    }
}

impl Deref for Node {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}
