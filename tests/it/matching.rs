//! Invalidation by pattern: which keys a pattern matches, and which functions a name means.

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{ErrorKind, Function, multi_tier_cached};

use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, Truth};

const STOCK: &str = "matching::stock";

/// Each load returns another number, so that a test sees which values were loaded again.
#[multi_tier_cached(ttl = "1h", name = "matching::stock", skip(truth))]
async fn stock(truth: &Truth, _shop: i32, item: i64) -> (i64, u64) {
    (item, truth.commit())
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn generic<T: Default + 'static>(truth: &Truth, _item: u64) -> u64 {
    drop(T::default());
    truth.commit()
}

/// Returns the number of keys that were invalidated.
async fn invalidate_matching(instance: &Instance, function: &str, pattern: &str) -> u64 {
    let matched = instance.invalidate_matching(function, pattern).await;
    matched.unwrap().keys
}

#[tokio::test]
async fn pattern_matches_numbers_as_they_are_written_in_the_call() {
    let server = Server::start();
    for here in [
        Instance::with_memory().await,
        Instance::with_redis_at(&server.url()).await,
    ] {
        let truth = Truth::new();
        let all = async || {
            let mut values = Vec::new();
            for (shop, item) in [(1, 7), (1, 77), (11, 7), (-1, 7)] {
                values.push(here.call(stock(&truth, shop, item)).await);
            }
            values
        };
        for (pattern, expected) in [
            ("1,7", [true, false, false, false]),
            ("1i32,7i64", [true, false, false, false]),
            ("1,*", [true, true, false, false]),
            ("*,7", [true, false, true, true]),
        ] {
            let before = all().await;
            let keys = expected.iter().filter(|is_meant| **is_meant).count() as u64;
            let matched = invalidate_matching(&here, STOCK, pattern).await;
            assert_eq!(matched, keys, "{pattern}");
            let after = all().await;
            let pairs = before.iter().zip(&after);
            let changed: Vec<_> = pairs.map(|(before, after)| before != after).collect();
            assert_eq!(changed, expected, "{pattern}");
        }
    }
}

#[tokio::test]
async fn pattern_that_matches_no_key_is_logged() {
    let log = Log::default();
    let _captured = log.capture();
    let (here, truth) = (Instance::with_memory().await, Truth::new());
    here.call(stock(&truth, 1, 7)).await;
    let lines = || log.lines_with("a pattern matches no key").len();
    assert_eq!(invalidate_matching(&here, STOCK, "1,7").await, 1);
    assert_eq!(lines(), 0);
    assert_eq!(invalidate_matching(&here, STOCK, "1,8").await, 0);
    assert_eq!(lines(), 1);
}

#[tokio::test]
async fn unknown_function_and_bad_pattern_are_configuration_errors() {
    let (here, truth) = (Instance::with_memory().await, Truth::new());
    here.call(stock(&truth, 1, 7)).await;
    for (function, pattern) in [("stock", "*"), (STOCK, "[")] {
        let error = here.invalidate_matching(function, pattern).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
}

/// The scan of Redis takes more than one step, and the names contain characters that have a meaning
/// in patterns.
#[tokio::test]
async fn pattern_finds_each_of_three_thousand_keys() {
    #[multi_tier_cached(ttl = "1h", name = "many")]
    async fn many<T: Default + 'static>(item: u64) -> u64 {
        drop(T::default());
        item
    }
    #[multi_tier_cached(ttl = "1h", name = "neighbour")]
    async fn neighbour(item: u64) -> u64 {
        item
    }
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    for item in 0..3_000 {
        here.call(many::<[u8; 2]>(item)).await;
    }
    here.call(neighbour(1)).await;
    server.until_records(3_001).await;
    let functions = here.stats().functions;
    let mut names = functions.iter().map(|function| &function.name);
    let name = names.find(|name| name.starts_with("many")).unwrap();
    assert!(name.contains("[u8; 2]"), "{name}");
    assert_eq!(invalidate_matching(&here, name, "*").await, 3_000);
    assert_eq!(server.records().len(), 1);
}

#[tokio::test]
async fn generic_function_is_matched_by_its_name_and_by_the_name_of_one_type() {
    const NAME: &str = concat!(module_path!(), "::generic");
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    here.call(generic::<u8>(&truth, 1)).await;
    here.call(generic::<u16>(&truth, 1)).await;
    server.until_records(2).await;
    let one = format!("{NAME}<u8>");
    assert_eq!(invalidate_matching(&here, &one, "*").await, 1);
    assert_eq!(server.records().len(), 1);
    here.call(generic::<u8>(&truth, 1)).await;
    server.until_records(2).await;
    assert_eq!(invalidate_matching(&here, NAME, "*").await, 2);
    assert!(server.records().is_empty());
}

#[tokio::test]
async fn function_of_a_builder_is_known_from_when_it_is_built_until_it_is_dropped() {
    let here = Instance::with_memory().await;
    let made = Function::<u64>::builder("matching::made")
        .ttl(std::time::Duration::from_secs(60))
        .build()
        .unwrap();
    assert_eq!(invalidate_matching(&here, "matching::made", "*").await, 0);
    drop(made);
    let error = here.invalidate_matching("matching::made", "*").await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("unknown function `matching::made`"),
        "{error}"
    );
}

struct Store<'a, T>(&'a Truth, T);

impl<T: Clone + Send + Sync + 'static> Store<'_, T> {
    #[multi_tier_cached(ttl = "1h", skip(self))]
    async fn quantity(&self, _id: i64) -> u64 {
        self.0.commit()
    }
}

#[tokio::test]
async fn pattern_finds_methods_that_were_not_called_on_the_instance() {
    const NAME: &str = concat!(module_path!(), "::quantity");
    let server = Server::start();
    let (filling, here) = Instance::two_at(&server.url()).await;
    let truth = Truth::new();
    let all = async || {
        let store = Store(&truth, 1u8);
        let numbers = (store.quantity(1).await, store.quantity(2).await);
        let arrays = Store(&truth, [(1u8, "a")]).quantity(1).await;
        (numbers, arrays, generic::<u8>(&truth, 1).await)
    };
    let before = filling.call(all()).await;
    server.until_records(4).await;
    let matched = here.invalidate_matching(NAME, "1").await.unwrap();
    assert_eq!((matched.keys, matched.receipt), (2, Receipt::Acked));
    let after = here.call(all()).await;
    assert_ne!(after.0.0, before.0.0);
    assert_eq!(after.0.1, before.0.1, "another argument");
    assert_ne!(after.1, before.1);
    assert_eq!(after.2, before.2, "another function");
    // The instance has called one type of the method, and not the other.
    filling.call(Store(&truth, "text").quantity(1)).await;
    server.until_records(5).await;
    assert_eq!(invalidate_matching(&here, NAME, "*").await, 4);
    assert_eq!(server.records().len(), 1);
    // This instance has no values of the method in any tier.
    let other = Instance::with_memory().await;
    assert_eq!(invalidate_matching(&other, NAME, "*").await, 0);
}
