//! Stale values while the shared tier cannot be reached.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Memory, Redis, WhenIsolated};
use testbed::Instance;
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;

use super::source::{Answer, Down, Read, Source};
use super::subject::LIFE;

const NEAR: Duration = Duration::from_secs(10);
const FAR: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(1);
const KEY: u64 = 1;

/// An instance whose connection to Redis the test cuts, with a value in memory.
struct Isolated {
    _server: Server,
    proxy: Proxy,
    clock: TestClock,
    here: Instance,
    function: Function<u64>,
}

impl Isolated {
    async fn new(when_isolated: WhenIsolated) -> Self {
        let server = Server::start();
        let proxy = Proxy::to(server.port()).await;
        let clock = TestClock::new();
        let redis = Redis::new(proxy.url()).required();
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(ClockedTier::new(redis, &clock))
            .clock(clock.of_runtimes());
        let here = Instance::build(builder).await;
        here.until_coherent().await;
        // Each test has a function of its own.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("stale::isolated_{number}");
        let function = Function::builder(name)
            .ttl(LIFE)
            .jitter(0)
            .stale_while_revalidate(NEAR)
            .stale_if_error(FAR)
            .when_isolated(when_isolated)
            .build()
            .unwrap();
        let this = Self {
            _server: server,
            proxy,
            clock,
            here,
            function,
        };
        this.assert_call(Answer::Value(1), Ok(Some(1)), 1, "connected")
            .await;
        this
    }

    async fn cut(&self) {
        let before = self.here.tier_health().isolations;
        self.proxy.set(NetworkFault::Cut);
        self.here.until_isolated_since(before).await;
    }

    async fn assert_call(&self, answer: Answer, expected: Read, bodies: u64, when: &str) {
        let source = Source::new(answer);
        let of_load = source.clone();
        let call = self
            .function
            .get_or_load_late((KEY,), move || of_load.read());
        assert_eq!(self.here.call(call).await, expected, "{when}");
        source.until_bodies(bodies).await;
        testbed::until("no load runs", || self.here.loads_under_way() == 0).await;
        assert_eq!(source.bodies(), bodies, "bodies, {when}");
    }
}

#[tokio::test]
async fn windows_hold_while_an_instance_that_serves_is_isolated() {
    let isolated = Isolated::new(WhenIsolated::Serve).await;
    isolated.cut().await;
    let clock = &isolated.clock;
    clock.advance(LIFE - MOMENT);
    isolated
        .assert_call(Answer::Fails, Ok(Some(1)), 0, "fresh")
        .await;
    clock.advance(MOMENT);
    isolated
        .assert_call(Answer::Fails, Ok(Some(1)), 1, "in the first window")
        .await;
    isolated
        .assert_call(Answer::Fails, Ok(Some(1)), 0, "backed off")
        .await;
    clock.advance(NEAR);
    isolated
        .assert_call(Answer::Fails, Ok(Some(1)), 1, "in the second window")
        .await;
    clock.advance(FAR - NEAR);
    isolated
        .assert_call(Answer::Fails, Err(Down), 1, "after the windows")
        .await;
    isolated
        .assert_call(Answer::Value(2), Ok(Some(2)), 1, "after the windows")
        .await;
    isolated
        .assert_call(
            Answer::Fails,
            Ok(Some(2)),
            0,
            "a value that was loaded while isolated",
        )
        .await;
}

#[tokio::test]
async fn value_that_replaces_a_stale_one_is_returned_while_isolated() {
    let isolated = Isolated::new(WhenIsolated::Serve).await;
    isolated.cut().await;
    isolated.clock.advance(LIFE);
    isolated
        .assert_call(Answer::Value(2), Ok(Some(1)), 1, "in the first window")
        .await;
    isolated
        .assert_call(Answer::Fails, Ok(Some(2)), 0, "replaced")
        .await;
}

#[tokio::test]
async fn no_stale_value_is_returned_while_an_instance_that_loads_is_isolated() {
    let isolated = Isolated::new(WhenIsolated::Load).await;
    isolated.cut().await;
    isolated.clock.advance(LIFE);
    isolated
        .assert_call(Answer::Fails, Err(Down), 1, "in the first window")
        .await;
    isolated
        .assert_call(Answer::Fails, Err(Down), 1, "after a failure")
        .await;
    isolated.clock.advance(NEAR);
    isolated
        .assert_call(Answer::Fails, Err(Down), 1, "in the second window")
        .await;
    isolated
        .assert_call(Answer::Value(2), Ok(Some(2)), 1, "in the second window")
        .await;
}
