use std::sync::Arc;

use super::*;
use crate::record::Stamp;
use crate::tier::key::FunctionKey;
use crate::tier::lease::Lease;

const KEY: u64 = 10;
const FUNCTION: u64 = 11;

fn key(is_marked: bool) -> RecordKey {
    let function = FunctionKey::named("f".to_owned(), 1, FUNCTION).marked(is_marked);
    RecordKey::new(Arc::new(function), "1".to_owned(), KEY)
}

fn marks(mark: Mark, tags: &[u64]) -> Marks<'_> {
    Marks {
        mark,
        tags,
        key: KEY,
        function: FUNCTION,
    }
}

#[test]
fn record_is_invalidated_by_its_tags_and_by_no_others() {
    let ledger = LocalLedger::default();
    let before = ledger.mark();
    ledger.invalidate_tags(&[1, 2]);
    for (tags, expected) in [
        (&[2][..], MarksState::Invalidated),
        (&[3, 1], MarksState::Invalidated),
        (&[3], MarksState::Valid),
        (&[], MarksState::Valid),
    ] {
        assert_eq!(ledger.judge(marks(before, tags)), expected, "{tags:?}");
    }
    let after = ledger.mark();
    assert_eq!(ledger.judge(marks(after, &[1, 2])), MarksState::Valid);
    ledger.invalidate_tags(&[KEY, FUNCTION]);
    let state = ledger.judge(marks(after, &[3]));
    assert_eq!(state, MarksState::Valid, "a tag is no key");
}

#[test]
fn record_is_expired_by_its_key_its_function_and_its_tags() {
    let (one, other) = (key(true), RecordKey::new(key(true).function, "2".into(), 3));
    let function = FunctionKey::named("g".to_owned(), 1, 4);
    for (target, expected) in [
        (Expiry::Key(&one), MarksState::Expired),
        (Expiry::Function(&one.function), MarksState::Expired),
        (Expiry::Tags(&[9, 1]), MarksState::Expired),
        (Expiry::Key(&other), MarksState::Valid),
        (Expiry::Function(&function), MarksState::Valid),
        (Expiry::Tags(&[9]), MarksState::Valid),
    ] {
        let ledger = LocalLedger::default();
        let before = ledger.mark();
        ledger.expire(target);
        assert_eq!(
            ledger.judge(marks(before, &[1])),
            expected,
            "{:?}",
            target.digests()
        );
        let after = marks(ledger.mark(), &[1]);
        assert_eq!(ledger.judge(after), MarksState::Valid);
        ledger.invalidate_tags(&[1]);
        let state = ledger.judge(marks(before, &[1]));
        assert_eq!(state, MarksState::Invalidated, "it outweighs an expiry");
    }
}

#[test]
fn mark_of_another_ledger_or_of_a_lost_end_is_unknown() {
    let ledger = LocalLedger::default();
    ledger.invalidate_tags(&[1]);
    let Mark { base, number } = ledger.mark();
    let (other, zero) = (LocalLedger::default().mark(), Mark { base: 0, number });
    let ahead = Mark {
        base,
        number: number + 1,
    };
    for unknown in [other, ahead] {
        let tagged = ledger.judge(marks(unknown, &[2]));
        assert_eq!(tagged, MarksState::Invalidated, "{unknown:?}");
        let untagged = ledger.judge(marks(unknown, &[]));
        assert_eq!(untagged, MarksState::Expired, "{unknown:?}");
    }
    for tags in [&[2][..], &[]] {
        let state = ledger.judge(marks(zero, tags));
        assert_eq!(state, MarksState::Invalidated, "zero is no base");
    }
}

#[test]
fn ledger_with_too_many_entries_begins_again() {
    let ledger = LocalLedger::default();
    let before = ledger.mark();
    let many: Vec<u64> = (100..100 + MAX_ENTRIES as u64 / 2).collect();
    ledger.invalidate_tags(&many);
    ledger.expire(Expiry::Tags(&many));
    let full = ledger.mark();
    assert_eq!(full.base, before.base);
    let spared = u64::MAX;
    assert_eq!(ledger.judge(marks(before, &[spared])), MarksState::Valid);
    ledger.invalidate_tags(&[spared]);
    let after = ledger.mark();
    assert_ne!(after.base, full.base);
    for unknown in [before, full] {
        let state = ledger.judge(marks(unknown, &[spared]));
        assert_eq!(state, MarksState::Invalidated);
    }
    assert_eq!(ledger.judge(marks(after, &[spared])), MarksState::Valid);
    ledger.invalidate_tags(&[spared]);
    assert_eq!(ledger.mark().base, after.base, "it is not full any more");
}

#[test]
fn change_has_no_effect_before_it_is_applied() {
    let ledger = LocalLedger::default();
    let before = marks(ledger.mark(), &[1]);
    let change = ledger.change(&[1], &[]);
    assert_eq!(ledger.judge(before), MarksState::Valid);
    assert_ne!(ledger.mark(), change.mark);
    ledger.apply(&change);
    assert_eq!(ledger.judge(before), MarksState::Invalidated);
    assert_eq!(ledger.mark(), change.mark);
    let change = ledger.begin_again();
    ledger.apply(&change);
    assert_eq!(ledger.mark(), change.mark);
    assert_ne!(change.mark.base, before.mark.base);
    ledger.replace(LedgerContents {
        mark: before.mark,
        ..LedgerContents::default()
    });
    assert_eq!(ledger.judge(before), MarksState::Valid);
}

#[test]
fn granted_lease_of_a_marked_function_carries_the_mark() {
    let ledger = LocalLedger::default();
    ledger.invalidate_tags(&[1]);
    let stamp = Stamp {
        epoch: 1,
        history: 2,
    };
    for (is_marked, expected) in [(true, Some(ledger.mark())), (false, None)] {
        let granted = LeaseResult::Granted(Lease::new(1, stamp));
        match ledger.mark_lease(&key(is_marked), granted) {
            LeaseResult::Granted(lease) => assert_eq!(lease.mark, expected),
            other => panic!("{other:?}"),
        }
    }
    let backed_off = LeaseResult::BackedOff(Duration::ZERO);
    let result = ledger.mark_lease(&key(true), backed_off);
    assert!(matches!(result, LeaseResult::BackedOff(_)));
}
