//! Messages of a channel that did not arrive.

use cache_redis::inspect::{Announcement, Subject};

/// Counts the messages of a shard that are missing, by the numbers of those that arrive, and by
/// those that were dropped because the reader was too slow. Each is reported once.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    last: Option<u64>,
    /// The missing messages by the numbers of those that arrived.
    by_number: u64,
    reported: u64,
}

impl Gaps {
    /// Returns how many messages before this one are missing, and were not reported yet.
    pub(super) fn before(&mut self, message: &Announcement) -> u64 {
        let Some(number) = message.number else {
            return 0;
        };
        let last = self.last.replace(number);
        // A sequence that begins again has any number.
        let goes_on = message.subject != Subject::Sequence;
        let missing = last
            .filter(|_| goes_on)
            .and_then(|last| number.checked_sub(last + 1));
        self.by_number += missing.unwrap_or(0);
        self.report(self.by_number)
    }

    /// Returns how many of the messages that were dropped were not reported yet.
    pub(super) fn dropped(&mut self, dropped: u64) -> u64 {
        self.report(dropped)
    }

    fn report(&mut self, missing: u64) -> u64 {
        let new = missing.saturating_sub(self.reported);
        self.reported += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(numbers: &[(u64, Subject)]) -> Vec<u64> {
        let mut gaps = Gaps::default();
        numbers
            .iter()
            .map(|(number, subject)| gaps.before(&message(*number, subject.clone())))
            .collect()
    }

    fn message(number: u64, subject: Subject) -> Announcement {
        Announcement::new(Some(number), subject)
    }

    #[test]
    fn missing_numbers_are_counted_and_a_new_sequence_is_no_gap() {
        let key = || Subject::Keys(vec![1]);
        assert_eq!(gaps(&[(5, key()), (6, key()), (9, key())]), [0, 0, 2]);
        let again = [(5, key()), (900, Subject::Sequence), (901, key())];
        assert_eq!(gaps(&again), [0, 0, 0]);
        assert_eq!(gaps(&[(5, key()), (1, key()), (2, key())]), [0, 0, 0]);
    }

    #[test]
    fn dropped_messages_are_reported_once() {
        let key = || Subject::Keys(vec![1]);
        let mut gaps = Gaps::default();
        gaps.before(&message(5, key()));
        assert_eq!(gaps.dropped(3), 3);
        assert_eq!(gaps.before(&message(9, key())), 0);
        assert_eq!(gaps.before(&message(12, key())), 2);
        assert_eq!(gaps.dropped(5), 0);
        assert_eq!(gaps.dropped(6), 1);
    }
}
