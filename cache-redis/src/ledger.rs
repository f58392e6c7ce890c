//! The ledger of a shard as far as an instance knows it, and how a record is judged by it.

use std::collections::HashMap;

use cache_core::tier::{Mark, Marks, MarksState};

/// Numbers by digest.
type Numbers = HashMap<u64, u64>;

/// An entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A tag was invalidated.
    Invalidated,
    /// A key, a function or a tag was expired.
    Expired,
}

/// A ledger at one moment, or the part of it that concerns one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) base: u64,
    /// The number of the last entry before the current generation was begun.
    pub(crate) begun: u64,
    /// The number of the last entry before the oldest generation that is not lost. The ledger says
    /// nothing of a record from before that.
    pub(crate) floor: u64,
    invalidated: Numbers,
    expired: Numbers,
}

impl Ledger {
    /// Creates a ledger without entries. `old` is the floor of the generation before the current
    /// one, if there is one and it is not lost.
    pub(crate) fn new(base: u64, begun: u64, old: Option<u64>) -> Self {
        Self {
            base,
            begun,
            floor: old.unwrap_or(begun).min(begun),
            invalidated: Numbers::new(),
            expired: Numbers::new(),
        }
    }

    /// Notes the number of an entry. A smaller number than the noted one changes nothing.
    pub(crate) fn note(&mut self, kind: Kind, digest: u64, number: u64) {
        let noted = self.numbers_mut(kind).entry(digest).or_default();
        *noted = number.max(*noted);
    }

    /// Notes the entries of a part of the same ledger.
    pub(crate) fn note_all(&mut self, part: &Self) {
        for kind in [Kind::Invalidated, Kind::Expired] {
            for (digest, number) in part.numbers(kind) {
                self.note(kind, *digest, *number);
            }
        }
    }

    /// Begins the next generation. `number` is that of the last entry before it. Entries after it
    /// stay: this instance may have noted some of its own already.
    pub(crate) fn rotate(&mut self, number: u64) {
        if number <= self.begun {
            return;
        }
        self.floor = self.begun;
        self.begun = number;
        let floor = self.floor;
        for kind in [Kind::Invalidated, Kind::Expired] {
            self.numbers_mut(kind).retain(|_, last| *last > floor);
        }
    }

    /// Judges a record.
    pub(crate) fn judge(&self, marks: Marks<'_>) -> MarksState {
        if !self.reaches(marks.mark) {
            return unknown(marks);
        }
        let has = |kind, digest| self.entry_after(marks.mark, kind, digest).is_some();
        let mut tags = marks.tags.iter();
        if tags.clone().any(|tag| has(Kind::Invalidated, *tag)) {
            return MarksState::Invalidated;
        }
        let is_expired = has(Kind::Expired, marks.key)
            || has(Kind::Expired, marks.function)
            || tags.any(|tag| has(Kind::Expired, *tag));
        match is_expired {
            true => MarksState::Expired,
            false => MarksState::Valid,
        }
    }

    /// Returns `true` if a mark is of this run of the ledger, and the entries after it are all
    /// known.
    pub(crate) fn reaches(&self, mark: Mark) -> bool {
        mark.base == self.base && mark.number >= self.floor
    }

    /// Returns the number of the last entry of a digest, if it was made after a mark.
    pub(crate) fn entry_after(&self, mark: Mark, kind: Kind, digest: u64) -> Option<u64> {
        let last = self.numbers(kind).get(&digest).copied();
        last.filter(|last| *last > mark.number)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.invalidated.len() + self.expired.len()
    }

    fn numbers(&self, kind: Kind) -> &Numbers {
        match kind {
            Kind::Invalidated => &self.invalidated,
            Kind::Expired => &self.expired,
        }
    }

    fn numbers_mut(&mut self, kind: Kind) -> &mut Numbers {
        match kind {
            Kind::Invalidated => &mut self.invalidated,
            Kind::Expired => &mut self.expired,
        }
    }
}

/// Judges a record by a ledger that does not reach back to its mark. Without tags it cannot have
/// been invalidated by one, and nothing but expiries is unknown.
pub(crate) fn unknown(marks: Marks<'_>) -> MarksState {
    match marks.tags {
        [] => MarksState::Expired,
        _ => MarksState::Invalidated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(7, 5, Some(2));
        ledger.note(Kind::Invalidated, 1, 4);
        ledger.note(Kind::Expired, 2, 5);
        ledger.note(Kind::Invalidated, 3, 8);
        ledger.note(Kind::Expired, 4, 9);
        ledger
    }

    fn judged(ledger: &Ledger, number: u64, tags: &[u64], [key, function]: [u64; 2]) -> MarksState {
        ledger.judge(Marks {
            mark: Mark { base: 7, number },
            tags,
            key,
            function,
        })
    }

    #[test]
    fn record_is_invalid_if_a_tag_was_invalidated_after_its_mark() {
        let ledger = ledger();
        let of = |number, tags: &[u64]| judged(&ledger, number, tags, [0, 0]);
        assert_eq!(of(9, &[]), MarksState::Valid);
        assert_eq!(of(7, &[5, 3]), MarksState::Invalidated);
        assert_eq!(of(8, &[5, 3]), MarksState::Valid, "invalidated before");
        assert_eq!(of(3, &[1]), MarksState::Invalidated, "the old generation");
        assert_eq!(of(4, &[1]), MarksState::Valid);
        assert_eq!(of(99, &[3]), MarksState::Valid, "the mark is ahead");
    }

    #[test]
    fn record_is_stale_if_its_key_function_or_tag_was_expired_after_its_mark() {
        let ledger = ledger();
        let of = |number, tags: &[u64], names| judged(&ledger, number, tags, names);
        for names in [[4, 0], [0, 4]] {
            assert_eq!(of(8, &[], names), MarksState::Expired);
            assert_eq!(of(9, &[], names), MarksState::Valid);
        }
        assert_eq!(of(8, &[4], [0, 0]), MarksState::Expired);
        assert_eq!(of(4, &[2], [0, 0]), MarksState::Expired);
        assert_eq!(of(7, &[4, 3], [0, 0]), MarksState::Invalidated);
        assert_eq!(of(8, &[], [3, 3]), MarksState::Valid, "no tag of it");
    }

    #[test]
    fn record_from_before_the_ledger_or_of_another_one_is_not_known() {
        let of = |ledger: &Ledger, number| {
            let tagged = judged(ledger, number, &[6], [0, 0]);
            (tagged, judged(ledger, number, &[], [0, 0]))
        };
        let valid = (MarksState::Valid, MarksState::Valid);
        let unknown = (MarksState::Invalidated, MarksState::Expired);
        let mut ledger = ledger();
        assert_eq!(of(&ledger, 1), unknown);
        assert_eq!(of(&ledger, 2), valid);
        let evicted = Ledger::new(7, 5, None);
        assert_eq!(of(&evicted, 4), unknown);
        assert_eq!(of(&evicted, 5), valid);
        ledger.base = 8;
        assert_eq!(of(&ledger, 9), unknown);
    }

    #[test]
    fn entry_after_the_rotation_stays_and_the_oldest_generation_is_forgotten() {
        let mut ledger = ledger();
        ledger.rotate(8);
        assert_eq!((ledger.floor, ledger.begun, ledger.len()), (5, 8, 2));
        ledger.rotate(8);
        assert_eq!(ledger.len(), 2, "the same message twice");
        assert_eq!(judged(&ledger, 7, &[3], [0, 0]), MarksState::Invalidated);
        ledger.rotate(10);
        assert_eq!((ledger.floor, ledger.len()), (8, 1));
        assert_eq!(judged(&ledger, 8, &[4], [0, 0]), MarksState::Expired);
        assert_eq!(judged(&ledger, 7, &[3], [0, 0]), MarksState::Invalidated);
    }
}
