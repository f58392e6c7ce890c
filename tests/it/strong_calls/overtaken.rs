//! Loads beside which another call reads, refreshes or loads.

use std::sync::atomic::{AtomicUsize, Ordering};

use multi_tier_cached::expire;
use testbed::deployment::Deployment;

use super::*;

/// A source of truth. The load with the number `early` waits before it reads, and the one with the
/// number `slow` after that.
struct Steps {
    truth: Truth,
    before: Gate,
    after: Gate,
    loads: AtomicUsize,
    early: usize,
    slow: usize,
}

impl Steps {
    fn new(early: usize, slow: usize) -> Arc<Self> {
        Arc::new(Self {
            truth: Truth::new(),
            before: Gate::new(),
            after: Gate::new(),
            loads: AtomicUsize::new(0),
            early,
            slow,
        })
    }

    async fn load(&self) -> u64 {
        let number = self.loads.fetch_add(1, Ordering::SeqCst);
        if number == self.early {
            self.before.pass().await;
        }
        let version = self.truth.read();
        if number == self.slow {
            self.after.pass().await;
        }
        version
    }
}

#[multi_tier_cached(ttl = "1h", skip(steps))]
async fn stepped(steps: &Steps, _key: u64) -> u64 {
    steps.load().await
}

/// A load that waits at no gate.
const NONE: usize = usize::MAX;

/// An invalidation that began before the refresh ends during it. So a call does not join the
/// refresh: it finds the old value, which was stored again, and keeps it.
#[tokio::test]
async fn refresh_beside_which_a_call_has_kept_the_old_value_replaces_it_everywhere() {
    let instances = Instances::new(Promotion::Always).await;
    let (here, there) = (&instances.here, &instances.there);
    let steps = Steps::new(NONE, 1);
    instances.fake_tier.keep_back();
    instances.fake_tier.let_through();
    let own = Arc::clone(&steps);
    let invalidation = here.spawn(async move { stepped::entry(&own, 1).invalidate().await });
    until("the tier is invalidated", || {
        instances.fake_tier.has_kept_back()
    })
    .await;
    assert_eq!(there.call(stepped(&steps, 1)).await, 1);
    steps.truth.commit();
    let own = Arc::clone(&steps);
    let refresh = here.spawn(async move { stepped::entry(&own, 1).refresh().await });
    steps.after.until_entered(1).await;
    instances.fake_tier.answer();
    invalidation.await.unwrap().unwrap();
    assert_eq!(here.call(stepped(&steps, 1)).await, 1);
    steps.after.let_through(1);
    assert_eq!(refresh.await.unwrap(), 2);
    assert_eq!(here.call(stepped(&steps, 1)).await, 2);
    assert_eq!(here.call(stepped::entry(&steps, 1).strong()).await, 2);
}

#[multi_tier_cached(ttl = "1h", stale_if_error = "1h", skip(steps))]
async fn fails_from_version_2(steps: &Steps, _key: u64) -> Result<u64, String> {
    match steps.load().await {
        1 => Ok(1),
        _ => Err("the source is down".to_owned()),
    }
}

#[tokio::test]
async fn peek_during_a_load_leaves_it_its_stale_value() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let steps = Steps::new(NONE, 1);
    assert_eq!(here.call(fails_from_version_2(&steps, 1)).await, Ok(1));
    let expired = expire!(fails_from_version_2, &steps, 1);
    here.call(expired).await.unwrap();
    steps.truth.commit();
    let own = Arc::clone(&steps);
    let call = here.spawn(async move { fails_from_version_2(&own, 1).await });
    steps.after.until_entered(1).await;
    here.call(fails_from_version_2::entry(&steps, 1).peek())
        .await;
    steps.after.let_through(1);
    assert_eq!(call.await.unwrap(), Ok(1));
}

/// Under a write guard nothing is kept, and two strong calls lead a flight each. The first one to
/// begin reads last.
#[tokio::test]
async fn strong_load_under_a_guard_is_not_joined_after_a_later_answer() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let steps = Steps::new(0, 1);
    let entry = stepped::entry(&steps, 1);
    let _guard = here.call(entry.write_guard()).await.unwrap();
    let strong = || {
        let own = Arc::clone(&steps);
        here.spawn(async move { stepped::entry(&own, 1).strong().await })
    };
    let first = strong();
    steps.before.until_entered(1).await;
    let second = strong();
    steps.after.until_entered(1).await;
    steps.truth.commit();
    steps.before.let_through(1);
    assert_eq!(first.await.unwrap(), 2);
    let later = timeout(SOON, here.call(stepped(&steps, 1))).await;
    assert_eq!(later.expect("the call joined the older load"), 2);
    steps.after.let_through(1);
    assert_eq!(second.await.unwrap(), 1);
}
