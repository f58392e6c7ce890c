//! Stale values: what a call gets by the age of the value, in memory and in every store.

mod at_once;
mod back_off;
mod elsewhere;
mod ends;
mod isolated;
mod rules;
mod source;
pub(crate) mod stores;
mod subject;
mod table;

/// Makes a test of each function for each store.
macro_rules! in_every_store {
    ($($test:ident),+ $(,)?) => {
        $crate::stale::in_stores!([memory, redis, memcached, disk, objects], [$($test),+]);
    };
}

/// Makes a test of each function for each of these stores.
macro_rules! in_stores {
    ([$($store:ident),+], $tests:tt) => {
        $( $crate::stale::in_store!($store, $tests); )+
    };
}

macro_rules! in_store {
    ($store:ident, [$($test:ident),+]) => {
        mod $store {
            use $crate::stale::stores::Store;

            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(Store::$store()).await;
                }
            )+
        }
    };
}

pub(crate) use {in_every_store, in_store, in_stores};
