//! Kinds of results: the handle of each gives its value, and takes one.

use std::sync::Arc;

use multi_tier_cached::{ErrorKind, multi_tier_cached};
use testbed::Instance;
use testbed::server::Server;

use super::next;

type Answer<T> = Result<T, std::fmt::Error>;
type Maybe = Answer<Option<u64>>;

#[multi_tier_cached(ttl = "1h")]
async fn plain(_id: u64) -> u64 {
    next()
}

#[multi_tier_cached(ttl = "1h")]
async fn fallible(id: u64) -> Answer<u64> {
    if id == 0 {
        Err(std::fmt::Error)
    } else {
        Ok(next())
    }
}

#[multi_tier_cached(ttl = "1h")]
async fn optional(id: u64) -> Option<u64> {
    (id > 0).then(next)
}

#[multi_tier_cached(ttl = "1h")]
async fn nested(id: u64) -> Maybe {
    if id == 0 { Ok(None) } else { Ok(Some(next())) }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn shared(_id: u64) -> Arc<u64> {
    Arc::new(next())
}

/// Stores a `T` whole, because the body cannot know that it is an `Option` for a caller.
#[multi_tier_cached(ttl = "1h")]
async fn generic<T>(_id: u64) -> T
where
    T: From<u64> + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    T::from(next())
}

#[multi_tier_cached(ttl = "1h")]
async fn generic_fallible<T>(_id: u64) -> Answer<T>
where
    T: From<u64> + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    Ok(T::from(next()))
}

/// Checks every operation of a handle, for one kind of result. The kind must also be found if the
/// result type is an alias.
macro_rules! check_handle {
    ($function:ident, $value:expr => $returned:expr) => {{
        let loaded = $function(1).await;
        assert_eq!($function(1).await, loaded);
        assert!($function::entry(1).peek().await.is_some());
        assert_eq!($function::entry(2).peek().await, None, "peek does not load");
        let value = $value;
        $function::entry(1).put(value.clone()).await.unwrap();
        assert_eq!($function::entry(1).peek().await, Some(value.clone()));
        assert_eq!($function(1).await, $returned(value.clone()));
        let refreshed = $function::entry(1).refresh().await;
        assert_ne!(refreshed, $returned(value));
        assert_eq!($function(1).await, refreshed);
        $function::entry(1).invalidate().await.unwrap();
        assert_eq!($function::entry(1).peek().await, None);
    }};
}

async fn check_all() {
    check_handle!(plain, 7u64 => |value| value);
    check_handle!(fallible, 7u64 => Ok);
    check_handle!(optional, 7u64 => Some);
    check_handle!(nested, 7u64 => |value| Ok(Some(value)));
    check_handle!(shared, Arc::new(7u64) => |value| value);
}

#[tokio::test]
async fn every_operation_of_a_handle_works_for_every_kind_of_result() {
    let server = Server::start();
    Instance::with_memory().await.call(check_all()).await;
    let with_redis = Instance::with_redis_at(&server.url()).await;
    with_redis.call(check_all()).await;
}

/// The function stores one `T`. The caller knows it to be an `Option`, so the handle must take the
/// value out of it.
#[tokio::test]
async fn handle_takes_the_value_out_of_an_option_that_a_generic_function_stores() {
    let server = Server::start();
    for runtime in [
        Instance::with_memory().await,
        Instance::with_redis_at(&server.url()).await,
    ] {
        runtime
            .call(async {
                let entry = || generic::entry::<Option<u64>>(1);
                assert_eq!(entry().peek().await, None);
                let loaded: Option<u64> = generic(1).await;
                assert_eq!(entry().peek().await, loaded);
                entry().put(7).await.unwrap();
                assert_eq!(generic::<Option<u64>>(1).await, Some(7));
                let refreshed = entry().refresh().await;
                assert_ne!(refreshed, Some(7));
                assert_eq!(generic::<Option<u64>>(1).await, refreshed);

                let entry = || generic_fallible::entry::<Option<u64>>(1);
                let loaded: Maybe = generic_fallible(1).await;
                assert_eq!(entry().peek().await, loaded.unwrap());
                entry().put(8).await.unwrap();
                assert_eq!(generic_fallible::<Option<u64>>(1).await, Ok(Some(8)));
                let refreshed = entry().refresh().await;
                assert_ne!(refreshed, Ok(Some(8)));
                assert_eq!(generic_fallible::<Option<u64>>(1).await, refreshed);
            })
            .await;
    }
}

/// An `Err` may be in such a record, so no operation may present its content as a value.
#[tokio::test]
async fn handle_of_a_result_that_is_stored_whole_refuses_puts_and_can_invalidate() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(make))]
    async fn whole<T: Clone + Send + Sync + 'static>(make: fn(u64) -> T) -> T {
        make(next())
    }
    Instance::with_memory()
        .await
        .call(async {
            let call = || whole::<Answer<u64>>(Ok);
            let entry = || whole::entry::<Answer<u64>>(Ok);
            let first = call().await;
            assert_eq!(call().await, first);
            assert_eq!(entry().peek().await, None);
            let error = entry().put(7).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert_eq!(call().await, first);
            let refreshed = entry().refresh().await;
            assert_ne!(refreshed, first);
            assert_ne!(
                call().await,
                first,
                "the value from before the refresh is still there"
            );
            entry().invalidate().await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn none_and_err_are_not_stored() {
    Instance::with_memory()
        .await
        .call(async {
            assert_eq!(
                (fallible(0).await, optional(0).await, nested(0).await),
                (Err(std::fmt::Error), None, Ok(None))
            );
            assert_eq!(fallible::entry(0).peek().await, None);
            assert_eq!(optional::entry(0).peek().await, None);
            assert_eq!(nested::entry(0).refresh().await, Ok(None));
            assert_eq!(nested::entry(0).peek().await, None);
        })
        .await;
}

#[tokio::test]
async fn arc_is_returned_by_calls_and_peeks_without_a_copy_of_its_value() {
    Instance::with_memory()
        .await
        .call(async {
            let first = shared(5).await;
            assert!(Arc::ptr_eq(&first, &shared(5).await));
            assert!(Arc::ptr_eq(&first, &shared::entry(5).peek().await.unwrap()));
            assert_eq!(
                Arc::strong_count(&first),
                2,
                "memory holds the only other reference"
            );
        })
        .await;
}
