//! The marks of a record, judged by the ledger, and why they are judged so.

use cache_core::Error;
use cache_core::tier::{Marks, MarksState};

use super::shard::InspectedShard;
use crate::commands::ledger_read;
use crate::errors::failed;
use crate::ledger::{self, Kind, Ledger};

/// The marks of a record, judged by the ledger in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedMarks {
    /// State of the record, as an instance judges it.
    pub state: MarksState,
    /// Reason for the state.
    pub reason: MarksReason,
    /// The ledger by which it was judged; `None` if there is none.
    pub ledger: Option<LedgerRange>,
}

/// The entries that a ledger has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerRange {
    /// Identifies the run of the ledger.
    pub base: u64,
    /// Number of the last entry before the oldest one that the ledger has. It says nothing of a
    /// record whose mark is smaller.
    pub floor: u64,
    /// Number of the last entry.
    pub last: u64,
}

/// Reason for the state of a record by its marks. `number` is that of the entry in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarksReason {
    /// Neither the record nor a tag of it has an entry after its mark.
    NoEntry,
    /// The tag with this digest was invalidated.
    TagInvalidated {
        /// Digest of the tag.
        tag: u64,
        /// Number of the entry.
        number: u64,
    },
    /// The tag with this digest was expired.
    TagExpired {
        /// Digest of the tag.
        tag: u64,
        /// Number of the entry.
        number: u64,
    },
    /// The key was expired.
    KeyExpired {
        /// Number of the entry.
        number: u64,
    },
    /// The function was expired.
    FunctionExpired {
        /// Number of the entry.
        number: u64,
    },
    /// The record has tags and no mark: an earlier build stored it, when the server had no ledger.
    NoMark,
    /// There is no ledger: the server lost it, or has not begun one.
    NoLedger,
    /// The ledger is another one than that of the mark: all tags were invalidated, or it was lost.
    OtherLedger,
    /// The ledger no longer has all entries after the mark.
    Forgotten,
}

impl InspectedShard {
    /// Judges a record by the ledger in the server, if it carries marks.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn judge(&self, marks: Marks<'_>) -> Result<JudgedMarks, Error> {
        let mut connection = self.connection();
        let found = ledger_read::end_and_part(&mut connection, &self.keys, marks).await;
        let found = found.map_err(|error| failed("read the ledger", error))?;
        Ok(match found {
            Some((last, ledger)) => JudgedMarks {
                state: ledger.judge(marks),
                reason: reason(&ledger, marks),
                ledger: Some(LedgerRange {
                    base: ledger.base,
                    floor: ledger.floor,
                    last,
                }),
            },
            None => JudgedMarks {
                state: ledger::unknown(marks),
                reason: match marks.mark.base {
                    0 => MarksReason::NoMark,
                    _ => MarksReason::NoLedger,
                },
                ledger: None,
            },
        })
    }
}

/// Returns why [`Ledger::judge`] judges a record as it does.
fn reason(ledger: &Ledger, marks: Marks<'_>) -> MarksReason {
    // No ledger has this base.
    if marks.mark.base == 0 {
        return MarksReason::NoMark;
    }
    if marks.mark.base != ledger.base {
        return MarksReason::OtherLedger;
    }
    if !ledger.reaches(marks.mark) {
        return MarksReason::Forgotten;
    }
    let entry = |kind, digest| ledger.entry_after(marks.mark, kind, digest);
    let of_tags = |kind| {
        let mut tags = marks.tags.iter();
        tags.find_map(|tag| Some((*tag, entry(kind, *tag)?)))
    };
    if let Some((tag, number)) = of_tags(Kind::Invalidated) {
        MarksReason::TagInvalidated { tag, number }
    } else if let Some(number) = entry(Kind::Expired, marks.key) {
        MarksReason::KeyExpired { number }
    } else if let Some(number) = entry(Kind::Expired, marks.function) {
        MarksReason::FunctionExpired { number }
    } else if let Some((tag, number)) = of_tags(Kind::Expired) {
        MarksReason::TagExpired { tag, number }
    } else {
        MarksReason::NoEntry
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::Mark;

    use super::*;

    const KEY: u64 = 50;
    const FUNCTION: u64 = 60;

    /// A ledger with an entry for each of these digests, from number 11 on.
    fn ledger(entries: &[(Kind, u64)]) -> Ledger {
        let mut ledger = Ledger::new(7, 10, None);
        for ((kind, digest), number) in entries.iter().zip(11..) {
            ledger.note(*kind, *digest, number);
        }
        ledger
    }

    fn judged(ledger: &Ledger, mark: Mark, tags: &[u64]) -> (MarksState, MarksReason) {
        let (key, function) = (KEY, FUNCTION);
        let marks = Marks {
            mark,
            tags,
            key,
            function,
        };
        (ledger.judge(marks), reason(ledger, marks))
    }

    #[test]
    fn reason_names_the_entry_that_decides() {
        let mark = Mark {
            base: 7,
            number: 10,
        };
        let of = |entries: &[(Kind, u64)], tags: &[u64]| judged(&ledger(entries), mark, tags);
        let (tag, number) = (2, 11);
        let by_tag = MarksReason::TagInvalidated { tag, number };
        let found = of(&[(Kind::Invalidated, 2), (Kind::Expired, KEY)], &[1, 2]);
        assert_eq!(found, (MarksState::Invalidated, by_tag));
        for (digest, reason) in [
            (KEY, MarksReason::KeyExpired { number }),
            (FUNCTION, MarksReason::FunctionExpired { number }),
            (2, MarksReason::TagExpired { tag, number }),
        ] {
            let found = of(&[(Kind::Expired, digest)], &[1, 2]);
            assert_eq!(found, (MarksState::Expired, reason));
        }
        let found = of(&[(Kind::Invalidated, 3)], &[1, 2]);
        assert_eq!(found, (MarksState::Valid, MarksReason::NoEntry));
    }

    #[test]
    fn reason_tells_a_lost_ledger_from_one_that_forgot() {
        let of = |base, number| judged(&ledger(&[]), Mark { base, number }, &[1]);
        let state = MarksState::Invalidated;
        assert_eq!(of(8, 10), (state, MarksReason::OtherLedger));
        assert_eq!(of(7, 9), (state, MarksReason::Forgotten));
        assert_eq!(of(0, 0), (state, MarksReason::NoMark));
    }
}
