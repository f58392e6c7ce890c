use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::tier::{Mark, Marks, MarksState, Stamp};

use super::*;
use crate::ledger::Ledger;

fn bus() -> Arc<Bus> {
    let coherence = Coherence::new(Duration::from_millis(500));
    Arc::new(Bus::new("c".into(), Peers::none(), coherence))
}

/// A link that the bus receives from, and whether it was lost.
fn link(bus: &Arc<Bus>, generation: u64) -> (Arc<Reader>, Arc<AtomicBool>) {
    bus.open(generation);
    let lost = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&lost);
    let reader = Reader::new(bus, generation, move || {
        signal.store(true, Ordering::SeqCst)
    });
    (reader, lost)
}

fn gaps(bus: &Bus) -> u64 {
    bus.counters.health(true, &bus.coherence, 0).gaps
}

fn server() -> Arc<Identity> {
    Arc::new(Identity::named("a"))
}

fn push(reader: &Reader, payload: &str) {
    reader.push(&PushInfo {
        kind: PushKind::SMessage,
        data: vec![
            Value::BulkString(b"c".to_vec()),
            Value::BulkString(payload.as_bytes().to_vec()),
        ],
    });
}

#[test]
fn link_is_lost_if_a_number_is_missing_or_goes_back() {
    let bus = bus();
    let (reader, lost) = link(&bus, 1);
    push(&reader, "5:k:1");
    assert!(bus.attached(1, &server(), 5));
    push(&reader, "6:f:1");
    push(&reader, "7:k:2");
    assert!(!lost.load(Ordering::SeqCst));
    push(&reader, "9:k:2");
    assert!(lost.load(Ordering::SeqCst));
    assert_eq!(gaps(&bus), 1);

    let (reader, lost) = link(&bus, 2);
    push(&reader, "10:k:2");
    push(&reader, "1:k:2");
    assert!(lost.load(Ordering::SeqCst), "the sequence went back");

    let (reader, _) = link(&bus, 3);
    push(&reader, "5:k:1");
    assert!(!bus.attached(3, &server(), 3), "4 is missing");
    link(&bus, 4);
    assert!(bus.attached(4, &server(), 3));
}

/// Valkey 9 sends the reply of a script before the messages that the script published.
#[test]
fn messages_counted_by_the_attachment_are_no_gap_after_its_reply() {
    let bus = bus();
    let (reader, lost) = link(&bus, 1);
    assert!(bus.attached(1, &server(), 1000));
    push(&reader, "999:s:0");
    push(&reader, "1000:h:7");
    push(&reader, "1001:k:2");
    assert!(!lost.load(Ordering::SeqCst));
    assert_eq!(bus.epochs.history(), Some(7));
    push(&reader, "1000:k:2");
    assert!(lost.load(Ordering::SeqCst), "the sequence went back");
}

#[test]
fn restarted_sequence_is_no_gap_unless_it_went_back() {
    let bus = bus();
    let (reader, lost) = link(&bus, 1);
    let function = Arc::new(FunctionKey::new("users::get", 1));
    assert!(bus.attached(1, &server(), 5));
    push(&reader, "6:h:7");
    bus.epochs.learn(&function, 11, bus.epochs.mark());
    push(&reader, "1000:s:0");
    push(&reader, "1001:k:2");
    assert!(!lost.load(Ordering::SeqCst));
    assert!(bus.epochs.stamp(&function).is_some());
    push(&reader, "900:s:0");
    assert!(lost.load(Ordering::SeqCst));
}

#[test]
fn message_of_unknown_kind_fences_everything_and_keeps_the_link() {
    let bus = bus();
    let (reader, lost) = link(&bus, 1);
    let function = Arc::new(FunctionKey::new("users::get", 1));
    push(&reader, "1:h:7");
    for (payload, last) in [
        ("2:tag:8:9", 2),
        ("3:k:none", 3),
        ("hello", 3),
        ("4:z:1", 4),
    ] {
        bus.epochs.learn(&function, 11, bus.epochs.mark());
        assert!(bus.epochs.stamp(&function).is_some());
        push(&reader, payload);
        assert_eq!(bus.epochs.stamp(&function), None, "{payload}");
        assert_eq!(
            (
                bus.epochs.history(),
                bus.snapshot(1).map(|known| known.last)
            ),
            (Some(7), Some(last))
        );
    }
    push(&reader, "5:k:1");
    assert_eq!(gaps(&bus), 0);
    assert!(!lost.load(Ordering::SeqCst));
}

/// A call that begins after the fences were raised must not find a record valid by the old copy.
#[test]
fn copy_of_the_ledger_is_unknown_after_a_gap_and_after_a_message_of_unknown_kind() {
    let bus = bus();
    bus.mirror.enable();
    let marks = || Marks {
        mark: Mark { base: 1, number: 1 },
        tags: &[9],
        key: 0,
        function: 0,
    };
    let load = || {
        let load = bus.mirror.begin_load().expect("the copy is unknown");
        assert!(load.finish(Some(Ledger::new(1, 0, None))));
        assert_eq!(bus.mirror.state(marks()), Some(MarksState::Valid));
    };
    let (reader, lost) = link(&bus, 1);
    push(&reader, "1:k:1");
    load();
    push(&reader, "2:z:1");
    assert_eq!(bus.mirror.state(marks()), None, "an unknown kind");
    load();
    push(&reader, "hello");
    assert_eq!(bus.mirror.state(marks()), None, "a foreign message");
    load();
    push(&reader, "9:k:1");
    assert_eq!(bus.mirror.state(marks()), None, "a gap");
    assert!(lost.load(Ordering::SeqCst));
}

#[test]
fn message_of_an_earlier_link_changes_nothing() {
    let bus = bus();
    let (old, lost) = link(&bus, 1);
    push(&old, "1:h:7");
    let (new, _) = link(&bus, 2);
    push(&new, "1:h:8");
    assert!(bus.attached(2, &server(), 1));
    push(&old, "2:h:9");
    push(&old, "9:k:1");
    assert!(!bus.attached(1, &server(), 9));
    assert_eq!(bus.epochs.history(), Some(8));
    assert_eq!((bus.snapshot(2).unwrap().last, gaps(&bus)), (1, 0));
    assert!(!lost.load(Ordering::SeqCst));
    bus.close(1);
    push(&new, "2:h:10");
    assert_eq!(
        bus.epochs.history(),
        Some(10),
        "the bus still receives from the new link"
    );
    bus.close(2);
    push(&new, "3:h:11");
    assert_eq!(bus.epochs.history(), Some(10));
    assert_eq!(bus.last_message_of(&server()), 2);
    assert_eq!(bus.last_message_of(&Identity::named("b")), 0);
}

#[test]
fn overflow_of_the_sequence_is_a_gap_and_no_panic() {
    let bus = bus();
    let (reader, lost) = link(&bus, 1);
    assert!(bus.attached(1, &server(), u64::MAX));
    push(&reader, "1:k:1");
    assert!(lost.load(Ordering::SeqCst));
}

#[test]
fn epoch_is_forgotten_when_its_function_is_invalidated() {
    let bus = bus();
    let (reader, _) = link(&bus, 1);
    let function = Arc::new(FunctionKey::new("users::get", 1));
    push(&reader, "1:h:7");
    bus.epochs.learn(&function, 11, bus.epochs.mark());
    push(&reader, "2:k:5");
    let stamp = Stamp {
        epoch: 11,
        history: 7,
    };
    assert_eq!(bus.epochs.stamp(&function), Some(stamp));
    push(&reader, &format!("3:e:{}", function.digest));
    assert_eq!(bus.epochs.stamp(&function), None);
    assert_eq!(bus.epochs.history(), Some(7));
}

#[test]
fn end_of_the_channel_loses_the_link() {
    for kind in [PushKind::Disconnection, PushKind::SUnsubscribe] {
        let (reader, lost) = link(&bus(), 1);
        reader.push(&PushInfo {
            kind,
            data: Vec::new(),
        });
        assert!(lost.load(Ordering::SeqCst));
    }
}
