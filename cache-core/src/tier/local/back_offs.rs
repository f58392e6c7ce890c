//! The back-offs of a store that one process uses, in memory of bounded size.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::tier::lease::BackOff;

/// The greatest number of back-offs in each of the two generations.
const MAX_BACK_OFFS: usize = 4096;

/// The back-offs by key.
///
/// New ones go into the young generation. When it is as old as a back-off can get, or full, it
/// becomes the old generation, and the one before is dropped. So nothing has to look for back-offs
/// that have ended, and one is dropped early only if more than [`MAX_BACK_OFFS`] others were kept
/// after it.
#[derive(Debug, Default)]
pub(super) struct BackOffs {
    young: HashMap<String, KeptBackOff>,
    old: HashMap<String, KeptBackOff>,
    /// When the young generation began; `None` before the first.
    began: Option<Instant>,
}

/// A back-off, by the moment at which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeptBackOff {
    failures: u32,
    ends: Instant,
}

impl BackOffs {
    /// Keeps the back-off of a key from now on, in place of an earlier one.
    pub(super) fn keep(&mut self, key: String, back_off: BackOff) {
        let now = Instant::now();
        let oldest = BackOff::LONGEST + BackOff::REMEMBERED;
        let is_over = self.began.is_none_or(|began| now - began >= oldest);
        if is_over || self.young.len() >= MAX_BACK_OFFS {
            self.old = std::mem::take(&mut self.young);
            self.began = Some(now);
        }
        self.old.remove(&key);
        let kept = KeptBackOff {
            failures: back_off.failures.max(1),
            ends: now + back_off.lasts.min(BackOff::LONGEST),
        };
        self.young.insert(key, kept);
    }

    /// Returns the time that is left of the back-off of a key; `None` if the key is not backed off.
    pub(super) fn left(&self, key: &str) -> Option<Duration> {
        let ends = self.find(key)?.ends;
        let left = ends.saturating_duration_since(Instant::now());
        (left > Duration::ZERO).then_some(left)
    }

    /// Returns the number of loads of a key that failed in a row, as far as it is remembered.
    pub(super) fn failures(&self, key: &str) -> u32 {
        let kept = self.find(key);
        let remembered = kept.filter(|kept| Instant::now() < kept.ends + BackOff::REMEMBERED);
        remembered.map_or(0, |kept| kept.failures)
    }

    /// Ends the back-off of a key.
    pub(super) fn end(&mut self, key: &str) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Ends the back-offs of the keys that are meant.
    pub(super) fn end_all(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.young.retain(|key, _| !is_meant(key));
        self.old.retain(|key, _| !is_meant(key));
    }

    fn find(&self, key: &str) -> Option<&KeptBackOff> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn back_off(failures: u32, lasts: Duration) -> BackOff {
        BackOff { failures, lasts }
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_passes_and_its_failures_are_remembered_for_a_while() {
        let mut back_offs = BackOffs::default();
        assert_eq!((back_offs.left("a"), back_offs.failures("a")), (None, 0));
        back_offs.keep("a".to_owned(), back_off(3, SECOND));
        assert_eq!(
            (back_offs.left("a"), back_offs.failures("a")),
            (Some(SECOND), 3)
        );
        assert_eq!((back_offs.left("b"), back_offs.failures("b")), (None, 0));
        advance(SECOND).await;
        assert_eq!((back_offs.left("a"), back_offs.failures("a")), (None, 3));
        advance(BackOff::REMEMBERED).await;
        assert_eq!(back_offs.failures("a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_is_never_longer_than_the_longest_and_counts_one_failure_at_least() {
        let mut back_offs = BackOffs::default();
        back_offs.keep("a".to_owned(), back_off(0, Duration::MAX));
        assert_eq!(back_offs.left("a"), Some(BackOff::LONGEST));
        assert_eq!(back_offs.failures("a"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn later_back_off_replaces_the_earlier_one_and_each_can_be_ended() {
        let mut back_offs = BackOffs::default();
        for key in ["a", "b", "c"] {
            back_offs.keep(key.to_owned(), back_off(1, SECOND * 50));
        }
        // The young generation becomes the old one, whose back-offs are found as before.
        advance(BackOff::LONGEST + BackOff::REMEMBERED - SECOND).await;
        back_offs.keep("a".to_owned(), back_off(2, SECOND * 50));
        advance(SECOND).await;
        back_offs.keep("b".to_owned(), back_off(2, SECOND * 50));
        assert_eq!(back_offs.old.len(), 2);
        assert_eq!(
            ["a", "b", "c"].map(|key| back_offs.failures(key)),
            [2, 2, 0]
        );
        back_offs.end("a");
        assert_eq!(["a", "b"].map(|key| back_offs.failures(key)), [0, 2]);
        back_offs.end_all(|key| key == "b");
        assert_eq!(back_offs.failures("b"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_back_offs_is_bounded_and_the_latest_are_kept() {
        let mut back_offs = BackOffs::default();
        let all = 5 * MAX_BACK_OFFS;
        for number in 0..all {
            back_offs.keep(number.to_string(), back_off(1, SECOND));
        }
        assert!(back_offs.young.len() + back_offs.old.len() <= 2 * MAX_BACK_OFFS);
        let is_kept = |number: usize| back_offs.failures(&number.to_string()) == 1;
        assert!((all - MAX_BACK_OFFS..all).all(is_kept));
        assert!(!is_kept(0));
    }
}
