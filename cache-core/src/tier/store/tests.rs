//! Shards that count the invalidations that nothing waits for.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::tier::kit::lock;
use crate::tier::{FillResult, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult, TierFuture};

#[derive(Debug)]
struct Counting {
    settings: TierSettings,
    count: Mutex<u32>,
}

fn fails<'a, T>() -> TierFuture<'a, T> {
    Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "there is no store")) })
}

impl Tier for Counting {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn read<'a>(
        &'a self,
        _: &'a RecordKey,
        _: ReadOptions,
        _: Duration,
    ) -> TierFuture<'a, ReadResult> {
        fails()
    }

    fn lease<'a>(
        &'a self,
        _: &'a RecordKey,
        _: LeaseMode,
        _: &'a [u8],
        _: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        fails()
    }

    fn fill<'a>(
        &'a self,
        _: &'a RecordKey,
        _: &'a Lease,
        _: Vec<u8>,
        _: Duration,
        _: Duration,
    ) -> TierFuture<'a, FillResult> {
        fails()
    }

    fn invalidate<'a>(&'a self, _: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        fails()
    }

    fn invalidate_later(&self, _: Target<'_>) {
        *lock(&self.count) += 1;
    }

    fn guard<'a>(&'a self, _: &'a RecordKey, _: Duration) -> TierFuture<'a, Guard> {
        fails()
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        fails()
    }
}

fn shards(kinds: &[&'static str]) -> Vec<Arc<Counting>> {
    let shard = |kind: &&'static str| {
        Arc::new(Counting {
            settings: TierSettings::new(kind, Duration::from_secs(1)),
            count: Mutex::default(),
        })
    };
    kinds.iter().map(shard).collect()
}

fn store(shards: &[Arc<Counting>]) -> Result<Store, Error> {
    let tiers = shards
        .iter()
        .map(|shard| Arc::clone(shard) as Arc<dyn Tier>);
    Store::new(tiers.collect(), Level::L2, Clock::System)
}

#[test]
fn shards_that_differ_in_their_settings_are_an_error() {
    assert!(store(&shards(&["same"; 4])).is_ok());
    let error = store(&shards(&["same", "same", "same", "other"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    for (number, is_ok) in [(0, false), (1, true), (3, false), (64, true), (128, false)] {
        assert_eq!(store(&shards(&vec!["same"; number])).is_ok(), is_ok);
    }
}

#[test]
fn invalidation_of_a_shard_below_reaches_the_shards_that_have_its_keys() {
    let function = Arc::new(FunctionKey::new("f", 1));
    let in_fifth = RecordKey::new(Arc::clone(&function), "1".into(), 5 << 13);
    let quarter = Shard::all(4).unwrap()[1];
    let count = |shard, target| {
        let shards = shards(&["above"; 8]);
        let store = store(&shards).unwrap();
        match shard {
            Some(shard) => store.invalidate_later_in(shard, target),
            None => store.invalidate_later(target),
        }
        let count = shards.iter().map(|shard| *lock(&shard.count));
        count.collect::<Vec<_>>()
    };
    for target in [Target::Function(&function), Target::All] {
        assert_eq!(count(None, target), [1; 8]);
        assert_eq!(count(Some(Shard::ONLY), target), [1; 8]);
        assert_eq!(count(Some(quarter), target), [0, 0, 1, 1, 0, 0, 0, 0]);
    }
    let key = Target::Key(&in_fifth);
    assert_eq!(count(None, key), [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(count(Some(Shard::ONLY), key), [0, 0, 0, 0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn write_guard_that_fails_is_timed_as_an_invalidation_that_failed() {
    let store = store(&shards(&["any"])).unwrap();
    let function = Arc::new(FunctionKey::new("f", 1));
    let key = RecordKey::new(function, "1".into(), 1);
    assert!(store.guard(None, &key).await.is_err());
    let times = store.times().snapshot();
    assert_eq!(times.invalidate.error.count(), 1);
    assert_eq!(times.invalidate.count(), 1);
}
