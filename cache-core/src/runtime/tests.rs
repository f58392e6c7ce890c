use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

async fn runtime() -> CacheRuntime {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    builder.build().await.expect("memory alone can be built")
}

/// A load that never ends. When it is dropped, it notes whether promotions still run.
struct HungLoad {
    state: Arc<RuntimeState>,
    promotions_run: Arc<Mutex<Vec<bool>>>,
}

impl Drop for HungLoad {
    fn drop(&mut self) {
        let accepted = self.state.background.run(Box::pin(async {}));
        let mut promotions_run = self.promotions_run.lock().expect("no load panics");
        promotions_run.push(accepted);
    }
}

#[tokio::test]
async fn shutdown_drops_loads_in_the_background_at_once_and_before_all_else() {
    let runtime = runtime().await;
    let state = &runtime.0.state;
    // It has one tier, so promotions were not started.
    state.background.start();
    let promotions_run = Arc::default();
    // 64 run, and the others are queued.
    const LOADS: usize = 100;
    for _ in 0..LOADS {
        let load = HungLoad {
            state: Arc::clone(state),
            promotions_run: Arc::clone(&promotions_run),
        };
        assert!(state.loads.run(Box::pin(async move {
            let _load = load;
            std::future::pending::<()>().await;
        })));
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    runtime.shutdown().await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(*promotions_run.lock().unwrap(), [true; LOADS]);
    assert_eq!(Arc::strong_count(state), 1, "a load is left");
    assert!(!state.loads.run(Box::pin(async {})));
    assert!(!state.background.run(Box::pin(async {})));
}

/// A caller whose shutdown was dropped, as by a timeout, calls it again.
#[tokio::test]
async fn shutdown_that_was_dropped_can_be_finished() {
    let runtime = runtime().await;
    let state = &runtime.0.state;
    let held = Arc::new(());
    let load = Arc::clone(&held);
    assert!(state.loads.run(Box::pin(async move {
        let _load = load;
        std::future::pending::<()>().await;
    })));
    tokio::task::yield_now().await;
    let mut first = Box::pin(runtime.shutdown());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    drop(first);
    runtime.shutdown().await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1, "a load is left");
}

#[tokio::test]
async fn number_of_loads_that_run_at_the_same_time_is_that_of_the_builder() {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let runtime = builder.background_loads(2).build().await.unwrap();
    let begun = Arc::new(Mutex::new(0));
    for _ in 0..5 {
        let begun = Arc::clone(&begun);
        assert!(runtime.0.state.loads.run(Box::pin(async move {
            *begun.lock().unwrap() += 1;
            std::future::pending::<()>().await;
        })));
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*begun.lock().unwrap(), 2);
}
