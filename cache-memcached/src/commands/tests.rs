//! Leases of callers that have a value, which leave the record in place, and the back-off after a
//! load has failed.

use std::time::Duration;

use cache_core::tier::kit::{OwnedTarget, StoreLease as _};
use cache_core::tier::{BackOff, FillResult, LeaseMode, RecordKey, Refusal};

use super::check::{self, CheckLease};
use super::granted::{GrantedLease, HeldItem, LeaseId, LeasedItem};
use super::lease::{Reply, TakeLease};
use super::release::ReleaseReason;
use super::renew::Renew;
use super::testing::{MINUTE, TestServer, key};
use crate::item::Kind;
use crate::keys::Keys;

const RECORD: &[u8] = b"record";

struct Test {
    server: TestServer,
    key: RecordKey,
    name: String,
}

impl Test {
    /// Starts a server, with a record of the key if it `has_record`.
    async fn start(has_record: bool) -> Self {
        let server = TestServer::start().await;
        let key = key("1");
        let name = server.keys.record(&key);
        let mut test = Self { server, key, name };
        if has_record {
            test.fill().await;
        }
        test
    }

    async fn fill(&mut self) {
        let lease = self.granted(LeaseMode::Preempt).await;
        let stored = self.server.store(lease, RECORD).await;
        assert_eq!(stored, FillResult::Stored);
    }

    /// Asks for a lease, for a caller that has read the record, for so many minutes.
    async fn ask_for(&mut self, mode: LeaseMode, minutes: u32) -> Reply {
        let take = TakeLease {
            names: self.server.keys.names(&self.key),
            mode,
            expected_header: RECORD.to_vec(),
            life: MINUTE * minutes,
        };
        self.server.send(take).await
    }

    async fn ask(&mut self, mode: LeaseMode) -> Reply {
        self.ask_for(mode, 1).await
    }

    async fn granted(&mut self, mode: LeaseMode) -> GrantedLease {
        match self.ask(mode).await {
            Reply::Granted(lease) => lease,
            other => panic!("{mode:?}: the lease was not granted: {other:?}"),
        }
    }

    async fn fail(&mut self, lease: &GrantedLease, lasts: Duration) {
        let failures = lease.failures + 1;
        let back_off = Some(BackOff { failures, lasts });
        let reason = ReleaseReason::LoadFailed(back_off);
        self.server.release(lease, reason).await;
    }

    /// Lets a refresh fail, and checks that the key is backed off.
    async fn back_off(&mut self) {
        let lease = self.granted(LeaseMode::Refresh).await;
        self.fail(&lease, MINUTE).await;
        let reply = self.ask(LeaseMode::Refresh).await;
        let is_backed_off = matches!(reply, Reply::BackedOff(left) if left <= MINUTE);
        assert!(is_backed_off, "{reply:?}");
    }

    async fn check(&mut self, lease: &GrantedLease) -> check::Reply {
        let check = CheckLease {
            names: lease.names.clone(),
            lease: id(lease),
        };
        self.server.send(check).await
    }

    /// The data of the item under the name of the record.
    async fn record(&mut self) -> Option<Vec<u8>> {
        let item = self.server.item(&self.name).await?;
        item.record().map(<[u8]>::to_vec)
    }
}

/// Identifies a lease for the callers that wait for it.
fn id(lease: &GrantedLease) -> LeaseId {
    let (_, cas) = lease.held_item();
    let item = match lease.item {
        LeasedItem::BesideRecord { .. } => HeldItem::Beside {
            cas,
            record: lease.cas,
        },
        _ => HeldItem::Placeholder { cas },
    };
    let stamp = lease.stamp;
    LeaseId { item, stamp }
}

#[tokio::test]
async fn refresh_leaves_the_record_in_place_and_makes_others_wait() {
    let mut test = Test::start(true).await;
    let lease = test.granted(LeaseMode::Refresh).await;
    assert!(matches!(lease.item, LeasedItem::BesideRecord { .. }));
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        assert_eq!(test.ask(mode).await, Reply::Held(id(&lease)), "{mode:?}");
    }
    assert_eq!(test.check(&lease).await, check::Reply::Held);
    assert_eq!(test.record().await.as_deref(), Some(RECORD));
    let stored = test.server.store(lease.clone(), b"fresh").await;
    assert_eq!(stored, FillResult::Stored);
    assert_eq!(test.check(&lease).await, check::Reply::Ended);
    assert_eq!(test.ask(LeaseMode::Refresh).await, Reply::Replaced);
    assert_eq!(test.record().await.as_deref(), Some(&b"fresh"[..]));
}

#[tokio::test]
async fn refresh_of_a_key_without_a_record_takes_an_exclusive_lease() {
    let mut test = Test::start(false).await;
    let lease = test.granted(LeaseMode::Refresh).await;
    assert_eq!(lease.item, LeasedItem::AwaitedPlaceholder);
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        assert_eq!(test.ask(mode).await, Reply::Held(id(&lease)), "{mode:?}");
    }
}

#[tokio::test]
async fn lease_of_a_refresh_is_void_once_its_record_is_another_or_invalidated() {
    let mut test = Test::start(true).await;
    let lease = test.granted(LeaseMode::Refresh).await;
    test.granted(LeaseMode::Preempt).await;
    assert_eq!(test.check(&lease).await, check::Reply::Ended, "preempted");
    let late = test.server.store(lease, b"late").await;
    assert_eq!(late, FillResult::Refused(Refusal::Lease));

    let function = OwnedTarget::Function((*test.key.function).clone());
    for (target, refusal) in [
        (OwnedTarget::Key(test.key.clone()), Refusal::Lease),
        (function, Refusal::Function),
        (OwnedTarget::All, Refusal::History),
    ] {
        test.fill().await;
        let lease = test.granted(LeaseMode::Refresh).await;
        test.server.invalidate(target).await;
        assert_eq!(test.check(&lease).await, check::Reply::Ended, "{refusal:?}");
        let next = test.granted(LeaseMode::Refresh).await;
        assert_ne!(next, lease);
        let late = test.server.store(lease, b"late").await;
        assert_eq!(late, FillResult::Refused(refusal));
        test.server.invalidate_key(&test.key).await;
    }
}

#[tokio::test]
async fn lease_of_a_refresh_is_renewed_released_and_cut_beside_its_record() {
    let mut test = Test::start(true).await;
    let lease = test.granted(LeaseMode::Refresh).await;
    assert!(lease.is_renewed() && lease.is_released());
    let (name, cas) = lease.held_item();
    assert_eq!(name, Keys::refresh(&test.name));
    let life = MINUTE * 3;
    let renew = Renew {
        name: name.clone(),
        cas,
        life,
    };
    test.server.send(renew).await;
    assert!(test.server.seconds_left(&name).await > 120, "renewed");
    let held = Reply::Held(id(&lease));
    assert_eq!(test.ask(LeaseMode::Exclusive).await, held);
    assert!(test.server.seconds_left(&name).await <= 62, "cut");
    test.server.release(&lease, ReleaseReason::NotFilled).await;
    assert_eq!(test.server.item(&name).await, None);
    assert_eq!(test.record().await.as_deref(), Some(RECORD));
}

#[tokio::test]
async fn failed_refresh_leaves_its_back_off_and_the_record() {
    for has_record in [true, false] {
        let mut test = Test::start(has_record).await;
        let lease = test.granted(LeaseMode::Refresh).await;
        test.fail(&lease, MINUTE * 10).await;
        assert_eq!(test.check(&lease).await, check::Reply::LoadFailed);
        let (name, _) = lease.held_item();
        let left = test.server.seconds_left(&name).await;
        assert!(
            (150..=182).contains(&left),
            "not cut to the longest: {left}"
        );
        let reply = test.ask(LeaseMode::Refresh).await;
        let is_backed_off = matches!(reply, Reply::BackedOff(left) if left <= BackOff::LONGEST);
        assert!(is_backed_off, "{reply:?}");
        let record = test.record().await;
        assert_eq!(record.is_some(), has_record);
        // The lease was released already.
        test.fail(&lease, MINUTE).await;
        assert_eq!(test.granted(LeaseMode::Exclusive).await.failures, 1);
    }
}

#[tokio::test]
async fn other_modes_are_granted_during_a_back_off_and_learn_its_failures() {
    let modes = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt];
    for (mode, has_record) in modes
        .into_iter()
        .flat_map(|mode| [(mode, true), (mode, false)])
    {
        let mut test = Test::start(has_record).await;
        test.back_off().await;
        let failures = test.granted(mode).await.failures;
        assert_eq!(failures, 1, "{mode:?}, has a record: {has_record}");
    }
}

#[tokio::test]
async fn refresh_after_the_back_off_counts_the_failures_of_all() {
    for has_record in [true, false] {
        let mut test = Test::start(has_record).await;
        for failures in 0..3 {
            let lease = test.granted(LeaseMode::Refresh).await;
            assert_eq!(lease.failures, failures, "has a record: {has_record}");
            test.fail(&lease, Duration::ZERO).await;
        }
    }
}

#[tokio::test]
async fn fill_invalidation_and_guard_end_a_back_off() {
    for has_record in [true, false] {
        let mut test = Test::start(has_record).await;
        let function = OwnedTarget::Function((*test.key.function).clone());
        for target in [
            OwnedTarget::Key(test.key.clone()),
            function,
            OwnedTarget::All,
        ] {
            test.back_off().await;
            let name = format!("{target:?}, has a record: {has_record}");
            test.server.invalidate(target).await;
            let lease = test.granted(LeaseMode::Refresh).await;
            assert_eq!(lease.failures, 0, "{name}");
            test.server.invalidate_key(&test.key).await;
            if has_record {
                test.fill().await;
            }
        }
        test.back_off().await;
        test.server.guard(&test.key, 7).await;
        test.server.delete(&Keys::guards(&test.name)).await;
        let lease = test.granted(LeaseMode::Refresh).await;
        assert_eq!(lease.failures, 0, "guarded");
        test.server.invalidate_key(&test.key).await;

        test.back_off().await;
        test.fill().await;
        let lease = test.granted(LeaseMode::Refresh).await;
        assert_eq!(lease.failures, 0, "filled");
    }
}

#[tokio::test]
async fn guarded_key_has_no_lease_beside_its_record() {
    let mut test = Test::start(true).await;
    test.server.guard(&test.key, 7).await;
    let reply = test.ask(LeaseMode::Refresh).await;
    assert_eq!(reply, Reply::Refused(Refusal::Guard));
    let beside = test.server.item(&Keys::refresh(&test.name)).await;
    assert_eq!(beside, None);
}

#[tokio::test]
async fn foreign_item_beside_a_record_is_replaced() {
    let mut test = Test::start(true).await;
    let name = Keys::refresh(&test.name);
    test.server.set_foreign(&name, "abc").await;
    test.granted(LeaseMode::Refresh).await;
    let item = test.server.item(&name).await.unwrap();
    assert_eq!(item.kind, Some(Kind::RefreshLease));
}
