//! The back-off of a key whose load failed: which command leaves it, which read it, and which end
//! it.

use std::time::Duration;

use cache_core::Level;
use cache_core::tier::{BackOff, Deadlock, HeldLease, LeaseMode, RecordKey};

use super::*;
use crate::commands::lease::Reply;

/// A back-off after two failures, of the epoch and the history that tests ask under.
const TWO_FAILURES: &str = "2:11:5:b";

/// The life of a key whose back-off lasts.
const LASTS: &str = "150000";

/// The life of a key whose back-off has passed.
const REMEMBERED: &str = "119000";

struct Test {
    server: TestServer,
    key: RecordKey,
    lease: String,
}

impl Test {
    async fn start() -> Self {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let lease = server.keys.lease(&key);
        // The function gets its epoch with its first lease.
        server.lease(&key, 20).await;
        Self { server, key, lease }
    }

    async fn set(&mut self, text: &str, life: &str) {
        let set = ["SET", &self.lease, text, "PX", life];
        self.server.ask::<()>(&set).await;
    }

    async fn text(&mut self) -> String {
        self.server.text(&self.lease).await
    }

    async fn life(&mut self) -> Duration {
        let life: u64 = self.server.ask(&["PTTL", &self.lease]).await;
        Duration::from_millis(life)
    }

    async fn ask(&mut self, mode: LeaseMode) -> Reply {
        let take = TakeLease {
            mode,
            ..take_lease(&self.key, 21)
        };
        self.server.send(take).await
    }

    async fn fail(&mut self, token: u64, back_off: Option<BackOff>) -> release::Reply {
        let release = Release {
            lease: &self.lease,
            token,
            digest: 7,
            reason: ReleaseReason::LoadFailed(back_off),
        };
        self.server.send(release).await
    }

    async fn invalidate(&mut self, target: Target<'_>) {
        let invalidate = Invalidate {
            target,
            fresh: 99,
            identity: &Identity::named("server"),
            audit: None,
        };
        self.server.send(invalidate).await;
    }
}

fn granted(failures: u32) -> Reply {
    Reply::Granted {
        token: 21,
        epoch: EPOCH,
        failures,
        mark: None,
    }
}

fn is_backed_off(reply: Reply) -> bool {
    matches!(reply, Reply::BackedOff { left } if left <= BackOff::LONGEST)
}

#[tokio::test]
async fn failed_load_leaves_its_back_off_in_place_of_the_lease() {
    let mut test = Test::start().await;
    let back_off = |lasts| Some(BackOff { failures: 2, lasts });
    assert_eq!(
        test.fail(21, back_off(MINUTE)).await,
        release::Reply::NotHeld
    );
    assert_eq!(test.text().await, "20:11:5:x", "the lease of another load");
    for (lasts, kept) in [
        (Duration::from_secs(10), Duration::from_secs(10)),
        (Duration::MAX, BackOff::LONGEST),
        (Duration::ZERO, Duration::ZERO),
    ] {
        test.set("20:11:5:xw", LASTS).await;
        test.server.messages().await;
        let released = test.fail(20, back_off(lasts)).await;
        assert_eq!(released, release::Reply::Released);
        assert_eq!(test.text().await, TWO_FAILURES);
        let (life, longest) = (test.life().await, kept + BackOff::REMEMBERED);
        assert!(
            life <= longest + Duration::from_millis(1) && life + MINUTE / 2 > longest,
            "{lasts:?}: {life:?}"
        );
        assert_eq!(test.server.messages().await, ["x:7"]);
    }
    test.set("20:11:5:x", LASTS).await;
    let (failures, lasts) = (0, MINUTE);
    test.fail(20, Some(BackOff { failures, lasts })).await;
    assert_eq!(test.text().await, "1:11:5:b", "this one has failed");
    test.set("20:11:5:x", LASTS).await;
    test.fail(20, None).await;
    assert_eq!(test.text().await, "", "the function is not backed off");
}

#[tokio::test]
async fn refresh_is_backed_off_and_every_other_mode_is_granted_with_the_failures() {
    let mut test = Test::start().await;
    test.set(TWO_FAILURES, LASTS).await;
    let reply = test.ask(LeaseMode::Refresh).await;
    assert!(is_backed_off(reply), "{reply:?}");
    assert_eq!(test.ask(LeaseMode::Probe).await, Reply::Free);
    assert_eq!(test.text().await, TWO_FAILURES);
    for (mode, kind) in [
        (LeaseMode::Exclusive, 'x'),
        (LeaseMode::Shared, 's'),
        (LeaseMode::Preempt, 'x'),
    ] {
        test.set(TWO_FAILURES, LASTS).await;
        assert_eq!(test.ask(mode).await, granted(2), "{mode:?}");
        assert_eq!(test.text().await, format!("21:11:5:{kind}"));
    }
}

#[tokio::test]
async fn refresh_is_granted_with_the_failures_after_the_back_off_has_passed() {
    let mut test = Test::start().await;
    test.set(TWO_FAILURES, REMEMBERED).await;
    assert_eq!(test.ask(LeaseMode::Refresh).await, granted(2));
    assert_eq!(test.text().await, "21:11:5:x");
}

#[tokio::test]
async fn refresh_is_exclusive_and_learns_of_another_record_first() {
    let mut test = Test::start().await;
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        test.server.ask::<()>(&["DEL", &test.lease]).await;
        assert_eq!(test.ask(mode).await, granted(0));
        for waits in [LeaseMode::Exclusive, LeaseMode::Refresh] {
            let reply = test.ask(waits).await;
            assert!(matches!(reply, Reply::Taken { .. }), "{reply:?}");
        }
        assert_eq!(test.text().await, "21:11:5:xw");
    }
    test.set(TWO_FAILURES, LASTS).await;
    let record = test.server.keys.record(&test.key);
    test.server.ask::<()>(&["SET", &record, "record"]).await;
    assert_eq!(test.ask(LeaseMode::Refresh).await, Reply::Replaced);
}

#[tokio::test]
async fn back_off_without_a_valid_life_does_not_block_for_longer_than_the_longest() {
    let mut test = Test::start().await;
    test.set(TWO_FAILURES, "86400000").await;
    let reply = test.ask(LeaseMode::Refresh).await;
    assert!(is_backed_off(reply), "{reply:?}");
    let life = test.life().await;
    assert!(life <= BackOff::LONGEST + BackOff::REMEMBERED, "{life:?}");
    test.server.ask::<()>(&["PERSIST", &test.lease]).await;
    assert_eq!(test.ask(LeaseMode::Refresh).await, granted(0));
}

#[tokio::test]
async fn back_off_of_another_epoch_or_history_is_none_and_neither_is_foreign_text() {
    let mut test = Test::start().await;
    for void in [
        "2:12:5:b",
        "2:11:6:b",
        "0:11:5:b",
        "2:11:5:c",
        "2:11:5:b:",
        "99999999999999999999:11:5:b",
    ] {
        test.set(void, LASTS).await;
        assert_eq!(test.ask(LeaseMode::Refresh).await, granted(0), "{void}");
    }
    test.set("9999999999999999999:11:5:b", REMEMBERED).await;
    let reply = test.ask(LeaseMode::Refresh).await;
    assert_eq!(reply, granted(1 << 31), "as many as are counted");
}

#[tokio::test]
async fn fill_invalidation_and_guard_end_the_back_off() {
    let mut test = Test::start().await;
    let key = test.key.clone();
    test.set(TWO_FAILURES, LASTS).await;
    test.ask(LeaseMode::Exclusive).await;
    let (epoch, history) = (EPOCH, HISTORY);
    let fill = StoreRecord {
        key: &key,
        lease: &Lease::new(21, Stamp { epoch, history }),
        record: b"record".to_vec(),
        life: MINUTE,
    };
    assert_eq!(test.server.send(fill).await, FillResult::Stored);
    assert_eq!(test.text().await, "", "filled");

    test.set(TWO_FAILURES, LASTS).await;
    test.invalidate(Target::Key(&key)).await;
    assert_eq!(test.text().await, "", "invalidated");

    test.set(TWO_FAILURES, LASTS).await;
    let place = PlaceGuard {
        key: &GuardedKey::new(&test.server.keys, &key),
        number: 1,
        life: MINUTE,
        audit: None,
    };
    test.server.send(place).await;
    assert_eq!(test.text().await, "", "guarded");
    let guards = test.server.keys.guards(&key);
    test.server.ask::<()>(&["DEL", &guards]).await;

    test.set(TWO_FAILURES, LASTS).await;
    test.invalidate(Target::Function(&key.function)).await;
    let anew = Reply::Granted {
        token: 21,
        epoch: 99,
        failures: 0,
        mark: None,
    };
    assert_eq!(test.ask(LeaseMode::Refresh).await, anew, "the function");

    test.set("2:99:5:b", LASTS).await;
    test.invalidate(Target::All).await;
    let take = TakeLease {
        mode: LeaseMode::Refresh,
        history: 99,
        ..take_lease(&key, 21)
    };
    assert_eq!(test.server.send(take).await, anew, "everything");
}

#[tokio::test]
async fn no_command_takes_a_back_off_for_a_lease() {
    let mut test = Test::start().await;
    let key = test.key.clone();
    // The number of failures is the token of the commands.
    test.set("21:11:5:b", LASTS).await;
    let renewed = test.server.send(renew(&test.lease, 21)).await;
    assert_eq!(renewed, renew::Reply::NotHeld);
    assert_eq!(test.fail(21, None).await, release::Reply::NotHeld);
    let (epoch, history) = (EPOCH, HISTORY);
    let fill = StoreRecord {
        key: &key,
        lease: &Lease::new(21, Stamp { epoch, history }),
        record: b"record".to_vec(),
        life: MINUTE,
    };
    let filled = test.server.send(fill).await;
    assert_eq!(filled, FillResult::Refused(Refusal::Lease));

    let other = super::key("2");
    let held = |key: &RecordKey, token| [HeldLease::new(Level::L2, key.clone().into(), token)];
    for (held, awaited) in [(held(&other, 22), &key), (held(&key, 21), &other)] {
        test.server.lease(&other, 22).await;
        let detect = DetectDeadlock {
            awaited,
            held: &held,
            life: MINUTE,
        };
        assert_eq!(test.server.send(detect).await, Deadlock::Absent);
        let waits = test.server.keys.waits(&held[0].key);
        let is_noted: bool = test.server.ask(&["EXISTS", &waits]).await;
        assert!(!is_noted, "a back-off neither waits nor is waited for");
    }
    assert_eq!(test.text().await, "21:11:5:b");
}

/// Versions that do not know back-offs parse what is under the key of a lease by this pattern, and
/// treat it as missing if it does not match.
#[tokio::test]
async fn version_that_does_not_know_back_offs_takes_none_for_a_lease() {
    let mut test = Test::start().await;
    let script = "return string.match(redis.call('GETRANGE', KEYS[1], 0, 199), \
                  '^([1-9]%d*):(%d*):(%d*):([xs])(w?)$') and 1 or 0";
    let eval = |lease: String| ["EVAL".into(), script.to_owned(), "1".into(), lease];
    for (text, is_lease) in [("20:11:5:xw", true), (TWO_FAILURES, false)] {
        test.set(text, LASTS).await;
        let words = eval(test.lease.clone());
        let matched: bool = test.server.ask(&words.each_ref().map(|word| &**word)).await;
        assert_eq!(matched, is_lease, "{text}");
    }
}
