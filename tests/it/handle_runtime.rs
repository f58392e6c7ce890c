//! A handle acts on the runtime in whose scope it is polled, as a call does, and not on the one in
//! whose scope it was created.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, ErrorKind, Function, invalidate, multi_tier_cached};

use testbed::{memory_alone, poll_until};

thread_local! {
    /// Value of the next load. Each test runs on a thread of its own, and each load has another
    /// value.
    static NEXT: Cell<u64> = const { Cell::new(1_000) };
}

fn next() -> u64 {
    NEXT.replace(NEXT.get() + 1)
}

#[multi_tier_cached(ttl = "1h")]
async fn value(_id: u64) -> u64 {
    next()
}

/// A scope, or `None` for none, where the default runtime is used. All tests share that one, so
/// each uses keys of its own.
type Scope = Option<CacheRuntime>;

async fn within<F: Future>(scope: &Scope, future: F) -> F::Output {
    match scope {
        Some(runtime) => CacheRuntime::scope(runtime.clone(), future).await,
        None => future.await,
    }
}

fn create_within<T>(scope: &Scope, create: impl FnOnce() -> T) -> T {
    match scope {
        Some(runtime) => CacheRuntime::scope_blocking(runtime.clone(), create),
        None => create(),
    }
}

/// Pairs of the scope in which a handle is created and the one in which it is polled.
async fn scopes() -> Vec<(Scope, Scope)> {
    let (one, other) = (Some(memory_alone().await), Some(memory_alone().await));
    vec![
        (None, one.clone()),
        (one.clone(), None),
        (one.clone(), other.clone()),
        (other, one),
    ]
}

/// Returns a key that no other test of this process uses.
fn fresh_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(0);
    IDS.fetch_add(1, Ordering::SeqCst)
}

/// Creates a handle `$made` for a new key in one scope, and runs `$act` with it in another. Both
/// scopes have a value for the key before, and the scope where it was created must still have its
/// own afterwards. `$act` returns what the other scope is expected to have afterwards; `$known` is
/// what it had before.
macro_rules! check_scopes {
    (|$id:ident| $made:expr, |$handle:ident, $known:ident| $act:expr) => {
        for (made, polled) in scopes().await {
            let $id = fresh_id();
            let kept = within(&made, value($id)).await;
            let $known = within(&polled, value($id)).await;
            assert_ne!(kept, $known);
            let $handle = create_within(&made, || $made);
            let expected: Expected = within(&polled, async { $act }).await;
            assert_eq!(
                within(&made, value($id)).await,
                kept,
                "in the scope where the handle was created"
            );
            let now = within(&polled, value($id)).await;
            match expected {
                Expected::Value(value) => {
                    assert_eq!(now, value, "in the scope where the handle was polled")
                }
                Expected::AnotherLoad => {
                    assert_ne!(now, $known, "in the scope where the handle was polled")
                }
            }
        }
    };
}

enum Expected {
    Value(u64),
    AnotherLoad,
}

#[tokio::test]
async fn peek_reads_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, known| {
        assert_eq!(handle.peek().await, Some(known));
        Expected::Value(known)
    });
}

#[tokio::test]
async fn put_writes_to_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, known| {
        handle.put(known + 500_000).await.unwrap();
        Expected::Value(known + 500_000)
    });
}

#[tokio::test]
async fn put_for_writes_to_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, known| {
        let time = Duration::from_secs(60);
        handle.put_for(known + 500_000, time).await.unwrap();
        Expected::Value(known + 500_000)
    });
}

#[tokio::test]
async fn refresh_replaces_the_value_of_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, known| {
        let fresh = handle.refresh().await;
        assert_ne!(fresh, known);
        Expected::Value(fresh)
    });
}

#[tokio::test]
async fn strong_reads_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, known| {
        assert_eq!(handle.strong().await, known);
        Expected::Value(known)
    });
}

#[tokio::test]
async fn invalidate_drops_the_value_of_the_runtime_where_it_is_polled() {
    check_scopes!(|id| value::entry(id), |handle, _known| {
        handle.invalidate().await.unwrap();
        Expected::AnotherLoad
    });
}

#[tokio::test]
async fn write_guard_guards_the_runtime_where_it_is_taken() {
    check_scopes!(|id| value::entry(id), |handle, _known| {
        let guard = handle.write_guard().await.unwrap();
        guard.invalidate().await.unwrap();
        Expected::AnotherLoad
    });
}

#[tokio::test]
async fn invalidate_macro_acts_on_the_runtime_where_it_is_polled() {
    check_scopes!(|id| invalidate!(value, id), |invalidation, _known| {
        invalidation.await.unwrap();
        Expected::AnotherLoad
    });
    check_scopes!(|id| invalidate!(value, id), |invalidation, _known| {
        invalidation.settled().await.unwrap();
        Expected::AnotherLoad
    });
}

#[multi_tier_cached(ttl = "1h")]
async fn dropped_whole(_id: u64) -> u64 {
    next()
}

#[tokio::test]
async fn invalidation_of_a_function_acts_on_the_runtime_where_it_is_polled() {
    for (made, polled) in scopes().await {
        let kept = within(&made, dropped_whole(1)).await;
        let known = within(&polled, dropped_whole(1)).await;
        let invalidation = create_within(&made, || invalidate!(dropped_whole));
        within(&polled, invalidation).await.unwrap();
        assert_eq!(within(&made, dropped_whole(1)).await, kept);
        assert_ne!(within(&polled, dropped_whole(1)).await, known);
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn plain(_id: u64) -> u64 {
    next()
}

#[tokio::test]
async fn blocking_invalidation_acts_on_the_runtime_of_its_scope() {
    let (one, other) = (memory_alone().await, memory_alone().await);
    let kept = CacheRuntime::scope_blocking(one.clone(), || plain(1));
    let known = CacheRuntime::scope_blocking(other.clone(), || plain(1));
    let invalidation = CacheRuntime::scope_blocking(one.clone(), || invalidate!(plain, 1));
    CacheRuntime::scope_blocking(other.clone(), || invalidation.blocking()).unwrap();
    assert_eq!(CacheRuntime::scope_blocking(one, || plain(1)), kept);
    assert_ne!(CacheRuntime::scope_blocking(other, || plain(1)), known);
}

#[tokio::test]
async fn handle_of_a_built_function_acts_on_the_runtime_where_it_is_polled() {
    let function = Function::<u64>::builder("handle_runtime::built")
        .ttl(Duration::from_secs(60))
        .build()
        .unwrap();
    for (made, polled) in scopes().await {
        let id = fresh_id();
        let handle = create_within(&made, || function.entry((id, "key")));
        within(&polled, handle.put(7)).await.unwrap();
        assert_eq!(within(&made, handle.peek()).await, None);
        let found = function.get_or_load((id, "key"), || async { 8 });
        assert_eq!(within(&polled, found).await, 7);
    }
}

#[tokio::test]
async fn name_of_a_built_function_is_free_again_when_its_last_handle_is_dropped() {
    let build = || {
        Function::<u64>::builder("handle_runtime::reserved")
            .ttl(Duration::from_secs(60))
            .build()
    };
    let handle = build().unwrap().entry((1,));
    let twice = build().unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::DuplicateFunction);
    drop(handle);
    build().unwrap();
}

#[multi_tier_cached(ttl = "1h")]
async fn slow(_id: u64) -> u64 {
    tokio::task::yield_now().await;
    next()
}

#[tokio::test]
async fn operation_keeps_the_runtime_of_its_first_poll() {
    let (one, other) = (Some(memory_alone().await), Some(memory_alone().await));
    let handle = slow::entry(1);
    let mut refresh = Box::pin(handle.refresh());
    let begun = within(&one, poll_until(&mut refresh, 1)).await;
    assert!(begun.is_pending());
    let fresh = within(&other, refresh).await;
    assert_eq!(within(&one, slow::entry(1).peek()).await, Some(fresh));
    assert_eq!(within(&other, slow::entry(1).peek()).await, None);
}
