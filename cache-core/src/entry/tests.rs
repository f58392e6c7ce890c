use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const LIFE: Duration = Duration::from_secs(100);

fn entry(start: u64) -> Entry {
    let value = Arc::new(7_u64);
    Entry::new(
        value,
        start,
        Stripe::of(0xFFFF),
        Moment::ZERO.after(LIFE),
        8,
    )
}

fn number(held: &Held) -> u64 {
    *held.downcast_ref().expect("a number")
}

fn value(entry: &Entry) -> Option<u64> {
    entry.clone().into_value(false).as_ref().map(number)
}

#[test]
fn entry_has_40_bytes_and_with_its_reference_counts_at_most_64() {
    const { assert!(size_of::<Entry>() == 40) };
    const { assert!(OVERHEAD <= 64) };
}

/// The stripe and the time share a word.
#[test]
fn gap_changes_neither_the_stripe_nor_the_kind_nor_the_end_of_freshness() {
    let plain = entry(1);
    for millis in (0..2_000).chain((1..60_000).map(|n| n * 1_669)) {
        let gap = Duration::from_millis(millis);
        for entry in [plain.clone(), plain.clone().isolated_only()] {
            let due = entry.clone().due_before_end(gap);
            assert_eq!(due.fresh_until(), plain.fresh_until(), "{gap:?}");
            assert_eq!(due.expires, plain.expires.before(due.gap()), "{gap:?}");
            assert!(due.gap() <= gap && gap - due.gap() <= gap / 512, "{gap:?}");
            assert_eq!(due.stripe(), entry.stripe());
            assert_eq!(due.is_plain(), entry.is_plain());
        }
    }
}

#[test]
fn entry_with_a_pacing_is_the_same_in_everything_else() {
    let due = entry(1).due_before_end(3 * SECOND);
    let record = KnownRecord {
        at: 1,
        etag: [1; 8],
        marks: RecordMarks::default(),
    };
    let strong = due.clone().strong_read(Some(record), 5);
    let tagged = due.clone().with_tags(&[3, 5].into_iter().collect());
    for entry in [due, strong, tagged] {
        let (paced, retry) = entry.clone().with_retry();
        assert!(Arc::ptr_eq(paced.retry().expect("a pacing"), &retry));
        assert!(entry.retry().is_none());
        assert_eq!(paced.expires, entry.expires);
        assert_eq!(paced.fresh_until(), entry.fresh_until());
        assert_eq!(paced.gap(), entry.gap());
        assert_eq!(paced.stripe(), entry.stripe());
        assert_eq!(paced.start(), entry.start());
        assert_eq!(paced.known_from(), entry.known_from());
        assert_eq!(paced.record(), entry.record());
        assert_eq!(paced.tags().as_slice(), entry.tags().as_slice());
        assert_eq!(value(&paced), value(&entry));
        assert!(!paced.is_same(&entry));
    }
}

#[test]
fn stopgap_answers_isolated_callers_only_whatever_else_it_is() {
    let absent = Entry::without_value(Content::Absent, 1, Stripe::of(0), Moment::ZERO);
    let (paced, _) = entry(1).isolated_only().with_retry();
    for stopgap in [entry(1).isolated_only(), paced, absent.isolated_only()] {
        assert!(stopgap.content(false).is_none());
        assert!(stopgap.content(true).is_some());
        assert_eq!(value(&stopgap), None);
    }
}

#[test]
fn tagged_value_is_a_value_that_has_tags_and_weighs_more() {
    let plain = entry(1);
    assert!(plain.clone().with_tags(TagStripes::NONE).is_plain());
    let tagged = plain.clone().with_tags(&[3, 5].into_iter().collect());
    assert_eq!(tagged.tags().as_slice(), [3, 5]);
    assert!(tagged.is_value() && !tagged.is_plain());
    assert_eq!(value(&tagged), value(&plain));
    assert!(tagged.weight() > plain.weight() + 8);
    let strong = tagged.strong_read(None, 5);
    assert_eq!(strong.tags().as_slice(), [3, 5]);
}

#[test]
fn expired_value_is_no_fresh_one_and_keeps_its_time() {
    let expired = entry(1).expired();
    assert!(expired.is_expired() && !expired.is_value());
    assert_eq!(value(&expired), None);
    assert!(expired.content(false).is_some());
    assert_eq!(expired.fresh_until(), entry(1).fresh_until());
}

#[test]
fn result_without_a_value_is_no_value() {
    let error = Arc::new("the error");
    for content in [Content::Absent, Content::Failed(error)] {
        let entry = Entry::without_value(content, 1, Stripe::of(0), Moment::ZERO.after(LIFE));
        assert!(entry.content(false).is_some());
        assert_eq!(value(&entry), None);
        assert!(entry.held().is_none());
    }
}

/// Readers that began earlier may have read an older value.
#[test]
fn entry_is_newer_than_an_earlier_load_up_to_the_end_of_its_freshness() {
    let due = entry(5).due_before_end(3 * SECOND);
    let end = due.fresh_until();
    for newer in [entry(5), due] {
        for now in [newer.expires, end.before(MILLISECOND)] {
            assert!(now >= end || newer.is_newer_than(&entry(4), now));
            assert!(!newer.is_newer_than(&entry(5), now));
        }
        assert!(!newer.is_newer_than(&entry(4), end));
        let strong = newer.strong_read(None, 9);
        assert!(strong.is_newer_than(&entry(8), end.before(MILLISECOND)));
        assert!(!strong.is_newer_than(&entry(9), end.before(MILLISECOND)));
    }
}

#[test]
fn entry_is_the_same_as_its_clone_only() {
    let one = entry(1);
    assert!(one.is_same(&one.clone()));
    assert!(!one.is_same(&entry(1)), "another value");
    let later = Entry {
        expires: one.expires.after(MILLISECOND),
        ..one.clone()
    };
    assert!(!one.is_same(&later));
    let restarted = Entry {
        start_and_weight: start_and_weight(2, Weight::at_least(8)),
        ..one.clone()
    };
    assert!(!one.is_same(&restarted));
}

/// An entry that is dated before `since` may have been invalidated between the two numbers.
#[test]
fn entry_is_dated_up_only_if_it_is_dated_since_then() {
    let plain = entry(10);
    assert_eq!(plain.dated(), 10);
    assert!(plain.dated_up(11, 15).is_none());
    assert!(plain.dated_up(10, 10).is_none(), "it is dated so already");
    let up = plain.dated_up(9, 15).expect("an entry");
    assert_eq!((up.dated(), up.start()), (15, 10));
    assert!(up.is_same(&plain));
    assert_eq!(up.weight(), plain.weight());
    assert!(up.dated_up(10, 14).is_none());
    assert_eq!(up.dated_up(15, 20).map(|up| up.dated()), Some(20));
    let far = up.dated_up(15, u64::MAX).expect("an entry");
    assert_eq!(far.dated(), 10 + u64::from(u32::MAX));
    let (paced, _) = up.with_retry();
    assert_eq!(paced.dated(), 15);
}

/// It must not have the number of an entry that is newer.
#[test]
fn entry_with_a_number_that_has_no_place_is_void() {
    assert_eq!(entry(END_OF_NUMBERS - 1).start(), END_OF_NUMBERS - 1);
    for number in [END_OF_NUMBERS, END_OF_NUMBERS + 7, u64::MAX] {
        assert_eq!(entry(number).start(), 0);
    }
}

#[test]
fn parts_of_an_entry_besides_its_value_are_weighed() {
    let plain = entry(1);
    let stopgap = plain.clone().isolated_only();
    assert!(stopgap.weight() > plain.weight());
    assert_eq!(stopgap.clone().isolated_only().weight(), stopgap.weight());
}

#[test]
fn load_is_claimed_by_one_caller_a_second_and_not_while_it_is_backed_off() {
    let retry = Retry::default();
    let at = |time: Duration| Moment::ZERO.after(time);
    assert!(retry.claim(Moment::ZERO.before(LIFE)), "before the origin");
    assert!(retry.claim(at(Duration::ZERO)));
    assert!(!retry.claim(at(Duration::ZERO)));
    assert!(
        !retry.is_backed_off(at(Duration::ZERO)),
        "no load has failed"
    );
    assert!(!retry.claim(at(SECOND - MILLISECOND)));
    assert!(retry.claim(at(SECOND)));
    retry.back_off(1, at(5 * SECOND));
    assert_eq!(retry.failures(), 1);
    assert!(retry.is_backed_off(at(5 * SECOND - MILLISECOND)));
    assert!(!retry.claim(at(5 * SECOND - MILLISECOND)));
    assert!(!retry.is_backed_off(at(5 * SECOND)));
    assert!(retry.claim(at(5 * SECOND)));
    assert!(
        retry.is_backed_off(at(5 * SECOND)),
        "the load that is claimed now may fail too"
    );
}
