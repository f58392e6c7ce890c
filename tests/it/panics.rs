//! Code of the value that panics while the value is kept.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use multi_tier_cached::tier::kit::PrivateTier;
use multi_tier_cached::tier::{
    FunctionKey, LeaseMode, LeaseResult, RecordKey, Tier, TierBuilder, TierContext, TierSettings,
};
use multi_tier_cached::{CacheRuntime, Error, Function, Memory};

use crate::map::Map;

const LIMIT: Duration = Duration::from_secs(1);

/// A tier that the test uses beside the runtime.
#[derive(Clone, Debug)]
struct Shared(Arc<PrivateTier<Map>>);

impl TierBuilder for Shared {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(self.0)
    }
}

/// A waker that requests the lease of a key when it is woken, and notes the result.
struct LeaseProbe {
    tier: Shared,
    key: RecordKey,
    was_granted: Mutex<Vec<bool>>,
}

impl Wake for LeaseProbe {
    fn wake(self: Arc<Self>) {
        let tier = &self.tier.0;
        let mut lease = tier.lease(&self.key, LeaseMode::Exclusive, &[], LIMIT);
        let lease = lease.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let is_granted = matches!(lease, Poll::Ready(Ok(LeaseResult::Granted(_))));
        self.was_granted.lock().unwrap().push(is_granted);
    }
}

#[tokio::test]
async fn lease_is_released_before_waiters_are_woken_when_the_weigher_panics() {
    let settings = TierSettings::new("map", LIMIT);
    let tier = Shared(Arc::new(PrivateTier::new(settings, Map::default())));
    let memory = Memory::builder().max_bytes(1 << 20);
    let builder = CacheRuntime::builder().l1(memory).l2(tier.clone());
    let runtime = builder.build().await.unwrap();
    let function = Function::<String>::builder("panics::heavy")
        .ttl(Duration::from_secs(60))
        .weigh(|_| panic!("the weigher"))
        .build()
        .unwrap();
    let (let_through, gate) = tokio::sync::oneshot::channel::<()>();
    let load = || async move {
        gate.await.unwrap();
        "loaded".to_owned()
    };
    let mut leader = Box::pin(CacheRuntime::scope(
        runtime.clone(),
        function.get_or_load((1_u64,), load),
    ));
    let mut idle = Context::from_waker(Waker::noop());
    assert!(leader.as_mut().poll(&mut idle).is_pending());
    let function_key = Arc::new(FunctionKey::new("panics::heavy", 1));
    let probe = Arc::new(LeaseProbe {
        tier,
        key: RecordKey::new(function_key, "1".to_owned(), 0),
        was_granted: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&probe));
    let call = function.get_or_load((1_u64,), || async { "other".to_owned() });
    let mut waiter = pin!(CacheRuntime::scope(runtime, call));
    assert!(
        waiter
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    // The lease is held while the load runs, so the probe asks for the right one.
    Arc::clone(&probe).wake();
    let_through.send(()).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        leader.as_mut().poll(&mut idle).is_ready()
    }));
    assert!(panicked.is_err(), "the weigher panics in the leader");
    assert_eq!(*probe.was_granted.lock().unwrap(), [false, true]);
}
