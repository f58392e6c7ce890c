//! Records that cannot be valid any more are deleted.

use cache_core::unix_millis;

use super::*;
use crate::owner::HEARTBEAT;

/// A time by which the first sweep has ended.
const SWEPT: Duration = Duration::from_secs(15 * 60);

#[tokio::test(start_paused = true)]
async fn expired_and_void_records_are_swept_and_others_are_kept() {
    let storage = Storage::new();
    let former = storage.owner().await;
    let of_former = key("former", 1);
    fill(&former, &of_former, b"old").await;
    drop(former);
    let tier = storage.owner().await;
    let (void, expired, torn) = (key("void", 1), key("expired", 1), key("torn", 1));
    for key in [&void, &expired, &torn] {
        fill(&tier, key, b"old").await;
    }
    let valid: Vec<_> = (0..1000).map(|number| key("valid", number)).collect();
    for key in &valid {
        fill(&tier, key, b"valid").await;
    }
    invalidate(&tier, Target::Function(&void.function)).await;
    fill(&tier, &key("void", 2), b"valid").await;
    let path = |key: &RecordKey| tier.prefix().store.path(key);
    let mut object = storage.sound.read(&path(&expired)).await.unwrap().to_vec();
    object[..8].copy_from_slice(&unix_millis().to_le_bytes());
    storage.sound.write(&path(&expired), object).await.unwrap();
    let torn_path = path(&torn);
    storage.sound.write(&torn_path, vec![1]).await.unwrap();
    let stranger = torn_path + ".mine";
    storage.sound.write(&stranger, vec![1]).await.unwrap();
    // A sweep continues after objects that cannot be deleted.
    let refused: Vec<_> = (0..5).map(|number| key("void", 10 + number)).collect();
    for key in &refused {
        let object = storage.sound.read(&path(&void)).await.unwrap();
        storage.sound.write(&path(key), object).await.unwrap();
        storage.breaks(Operation::Delete, &path(key), Fault::Fails);
    }
    sleep(SWEPT).await;
    for key in [&of_former, &void, &expired, &torn] {
        assert!(!storage.has(&tier, key).await, "{key:?}");
    }
    assert!(storage.sound.exists(&stranger).await.unwrap());
    for key in valid.iter().chain([&key("void", 2)]) {
        assert!(storage.valid(&tier, key).await.is_some());
    }
}

/// The object is void when the sweep looks at it, and is then written again.
#[tokio::test(start_paused = true)]
async fn record_that_is_being_written_is_not_swept() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let key = key("f", 1);
    fill(&tier, &key, b"old").await;
    invalidate(&tier, Target::Function(&key.function)).await;
    let lease = lease(&tier, &key).await;
    storage.breaks(Operation::Write, "records", Fault::Slow);
    let written = tier.fill(&key, &lease, b"new".to_vec(), HOUR, HEARTBEAT);
    let path = tier.prefix().store.path(&key);
    let sweep = async {
        until("the write has begun", || {
            storage.faults.begun(Operation::Write, &path) == 2
        })
        .await;
        tier.prefix().sweep_out(&path).await.unwrap()
    };
    let (written, was_removed) = tokio::join!(written, sweep);
    assert_eq!(written.unwrap(), FillResult::Stored);
    assert!(!was_removed);
    assert_eq!(storage.valid(&tier, &key).await.unwrap(), b"new");
}

#[tokio::test(start_paused = true)]
async fn sweep_that_fails_delays_no_operation_and_is_repeated() {
    let storage = Storage::new();
    let tier = storage.owner().await;
    let (void, valid) = (key("void", 1), key("valid", 1));
    for key in [&void, &valid] {
        fill(&tier, key, b"old").await;
    }
    invalidate(&tier, Target::Function(&void.function)).await;
    for (operation, fault) in [
        (Operation::List, Fault::Hangs),
        (Operation::Read, Fault::Hangs),
        (Operation::Delete, Fault::Hangs),
        (Operation::List, Fault::Fails),
    ] {
        storage.faults.clear();
        let path = match operation {
            Operation::List => "records".to_owned(),
            _ => tier.prefix().store.path(&void),
        };
        storage.breaks(operation, &path, fault);
        let before = storage.faults.begun(operation, &path);
        until_hours(|| storage.faults.begun(operation, &path) > before).await;
        assert!(storage.has(&tier, &void).await);
        assert!(storage.valid(&tier, &valid).await.is_some());
        fill(&tier, &key("void", 2), b"new").await;
    }
    storage.faults.clear();
    sleep(HOUR * 7).await;
    assert!(!storage.has(&tier, &void).await);
    tier.shutdown().await.unwrap();
    let listed = storage.faults.begun(Operation::List, "records");
    sleep(HOUR * 7).await;
    assert_eq!(storage.faults.begun(Operation::List, "records"), listed);
}

/// The claim on the epochs that were left last is kept, so that no second instance inherits them.
#[tokio::test(start_paused = true)]
async fn claims_on_earlier_epochs_are_swept_and_the_last_one_is_kept() {
    let storage = Storage::new();
    let heirs = async || {
        let entries = storage.sound.list("p/heirs/").await.unwrap();
        entries.len()
    };
    for _ in 0..3 {
        let tier = storage.owner().await;
        tier.shutdown().await.unwrap();
    }
    let _tier = storage.owner().await;
    let before = heirs().await;
    sleep(SWEPT).await;
    let after = heirs().await;
    assert_eq!((before, after), (3, 1));
    let claim = crate::owner::last_claim(&storage.sound, "p").await.unwrap();
    assert!(storage.sound.exists(&claim.unwrap()).await.unwrap());
}

async fn until_hours(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HOUR * 8);
        sleep(HEARTBEAT * 6).await;
    }
}
