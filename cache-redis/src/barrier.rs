//! The barrier: a read on the channel's connection that proves which messages were applied.
//!
//! Messages are applied by the reader of that connection, in order. So once the reply to a barrier
//! has arrived, every invalidation that the server executed before the barrier has taken effect
//! here.
//!
//! The barrier reads the keys that invalidation relies on: the sequence, the history, and once a
//! second the epochs that this instance knows, and the ledger if it follows it. Under `allkeys-lru`
//! and `allkeys-lfu` that keeps them among the keys in use. Otherwise they would be the coldest
//! keys of the server, because only invalidations touch them. If one is evicted anyway, it is
//! restored; a ledger is not, and another is begun with the next lease that needs it. A sequence
//! that went back shows that the data set was replaced by an older one (SWAPDB).

use cache_core::tier::FunctionKey;
use redis::{Pipeline, RedisError};

use crate::bus::Snapshot;
use crate::commands::restore::Restore;
use crate::commands::{self, LONGEST_TEXT};
use crate::errors;
use crate::keys::Keys;
use crate::message::sequence_number;
use crate::server;
use crate::session::{Link, RedisSession};

/// The keys that a barrier reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The sequence and the history.
    WithoutEpochs,
    /// These keys, the epoch of each function that this instance knows, and the ledger. Of the
    /// ledger nothing is compared: reading it keeps it from being evicted.
    WithEpochs,
}

/// The state of a control key, as a barrier found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Number(u64),
    /// The key is missing, or its value was not written by this cache.
    Missing,
    /// The node migrates the slot, and does not answer for the key.
    Unknown,
}

/// The control keys, as a barrier found them.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    sequence: Found,
    history: Found,
    epochs: Vec<Found>,
}

/// The consequence of what a barrier found.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Intact,
    /// The slot is being moved, and the node has the sequence no more. The node that has it may
    /// already publish messages that do not arrive here.
    Moving,
    /// Some control keys were evicted.
    Restore,
    /// The data set is another than the one that this link attached to.
    Replaced,
    /// A message was published and did not arrive.
    Gap,
}

/// Returns the commands of a barrier: reads of the sequence, the history, and the epochs of these
/// functions. Each reply is judged by itself.
pub(crate) fn request<'a>(
    keys: &Keys,
    functions: impl Iterator<Item = &'a FunctionKey>,
) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    let epochs = functions.map(|function| keys.epoch(function));
    for name in [keys.sequence(), keys.history()].into_iter().chain(epochs) {
        pipeline.cmd("GETRANGE").arg(name).arg(0).arg(LONGEST_TEXT);
    }
    pipeline
}

impl RedisSession {
    /// Sends a barrier, and waits for its reply.
    ///
    /// # Errors
    /// The link cannot be trusted any more.
    pub(crate) async fn prove(&self, link: &Link, reads: Reads) -> Result<(), RedisError> {
        let barrier = self.bus.coherence.barrier();
        let mut known = self
            .bus
            .snapshot(link.number)
            .ok_or_else(errors::no_reply)?;
        if reads == Reads::WithoutEpochs {
            known.epochs.clear();
        }
        let replies = self.read_control_keys(link, &known, reads).await?;
        // The order of the replies proves it, but only while the bus receives from this link, and
        // the node has the sequence.
        let received = self
            .bus
            .snapshot(link.number)
            .ok_or_else(errors::no_reply)?;
        if let Some(shards) = self.other_layout(&replies) {
            self.layout.conflicts(self.shard, shards);
            return Err(errors::no_reply());
        }
        let control = Control::parse(&replies, self.layout.shards());
        if matches!(control.history, Found::Number(_)) {
            self.bus.found_history(link.number, known.restarts);
        }
        match control.judge(&known, received.last, self.bus.has_restarted()) {
            Verdict::Intact => {}
            Verdict::Moving => return Ok(()),
            Verdict::Restore => {
                tracing::debug!(
                    target: "multi_tier_cached::redis",
                    shard = self.shard_in_log(),
                    address = self.tried(),
                    "Redis has evicted keys that invalidation relies on; restoring them"
                );
                self.restore(link, &known, &control).await?;
            }
            Verdict::Replaced => {
                tracing::warn!(
                    target: "multi_tier_cached::redis",
                    shard = self.shard_in_log(),
                    address = self.tried(),
                    "the data set of Redis was replaced by another: its records are not used"
                );
                return Err(errors::no_reply());
            }
            Verdict::Gap => {
                self.counters.gap();
                tracing::warn!(
                    target: "multi_tier_cached::redis",
                    shard = self.shard_in_log(),
                    address = self.tried(),
                    "messages of other instances are missing"
                );
                return Err(errors::no_reply());
            }
        }
        for ((function, epoch), found) in known.epochs.iter().zip(&control.epochs) {
            if matches!(found, Found::Number(found) if found != epoch) {
                self.bus.epochs.forget_epoch(function, *epoch);
            }
        }
        self.bus.coherence.proved(barrier);
        Ok(())
    }

    /// Returns the number of shards that the history was begun for, if it is another one.
    fn other_layout(&self, replies: &[Option<Vec<u8>>]) -> Option<u8> {
        let shards = server::shards_of_history(replies.get(1)?.as_ref()?)?;
        (shards != self.layout.shards()).then_some(shards)
    }

    async fn read_control_keys(
        &self,
        link: &Link,
        known: &Snapshot,
        reads: Reads,
    ) -> Result<Vec<Option<Vec<u8>>>, RedisError> {
        let mut channel = link.channel.clone();
        let functions = known.epochs.iter().map(|(function, _)| &**function);
        let mut pipeline = request(&self.keys, functions);
        if reads == Reads::WithEpochs && self.bus.mirror.is_enabled() {
            for name in [self.keys.ledger(), self.keys.old_ledger()] {
                pipeline.cmd("HMGET").arg(name).arg("b").ignore();
            }
        }
        let replies: Vec<Result<Vec<u8>, RedisError>> = pipeline.query_async(&mut channel).await?;
        replies
            .into_iter()
            .map(|reply| match reply {
                Ok(text) => Ok(Some(text)),
                Err(error) if errors::is_of_another_type(&error) => Ok(Some(Vec::new())),
                Err(error) if errors::is_of_a_migrating_slot(&error) => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Restores the evicted keys. The server refuses if a message was published that has not
    /// arrived here, and restarts a missing sequence.
    async fn restore(
        &self,
        link: &Link,
        known: &Snapshot,
        control: &Control,
    ) -> Result<(), RedisError> {
        let evicted = known.epochs.iter().zip(&control.epochs);
        let epochs: Vec<_> = evicted
            .filter(|(_, found)| **found == Found::Missing)
            .map(|((function, epoch), _)| (&**function, *epoch))
            .collect();
        let restore = Restore {
            last_message: known.last,
            history: known.history,
            identity: &link.identity,
            epochs: &epochs,
        };
        let mut channel = link.channel.clone();
        commands::send(&mut channel, &self.keys, restore).await?;
        Ok(())
    }
}

impl Found {
    fn parse(reply: Option<&Option<Vec<u8>>>, number: impl Fn(&[u8]) -> Option<u64>) -> Self {
        match reply {
            Some(Some(text)) => number(text).map_or(Self::Missing, Self::Number),
            Some(None) | None => Self::Unknown,
        }
    }
}

impl Control {
    /// Parses the replies: the sequence, the history, the epochs. A history of another number of
    /// shards gets the number zero, which no history has.
    fn parse(replies: &[Option<Vec<u8>>], shards: u8) -> Self {
        let history = |text: &[u8]| {
            let number = number(text.split(|byte| *byte == b':').next()?)?;
            let is_ours = server::shards_of_history(text) == Some(shards);
            Some(if is_ours { number } else { 0 })
        };
        Self {
            sequence: Found::parse(replies.first(), sequence_number),
            history: Found::parse(replies.get(1), history),
            epochs: replies
                .iter()
                .skip(2)
                .map(|reply| Found::parse(Some(reply), number))
                .collect(),
        }
    }

    /// Compares what was found with what was known when the barrier was sent, and with the last
    /// message that had arrived when its reply came.
    ///
    /// `has_restarted`: the sequence restarted since a barrier last found the history.
    fn judge(&self, known: &Snapshot, last: u64, has_restarted: bool) -> Verdict {
        let is_evicted = match self.sequence {
            Found::Number(sequence) if sequence > last => return Verdict::Gap,
            Found::Number(sequence) if sequence < known.last => return Verdict::Replaced,
            Found::Unknown => return Verdict::Moving,
            Found::Number(_) => false,
            Found::Missing => true,
        };
        // A message that came in between may have begun another history or changed an epoch, so
        // what was known when the barrier was sent is neither compared nor restored.
        if last != known.last {
            return Verdict::Intact;
        }
        if matches!(self.history, Found::Number(history) if history != known.history) {
            return Verdict::Replaced;
        }
        // Keys are evicted one at a time. If both are missing, the data set was flushed, and the
        // administrator wants memory to be dropped as well. The sequence may have restarted since.
        if (is_evicted || has_restarted) && self.history == Found::Missing {
            return Verdict::Replaced;
        }
        let mut others = [self.history]
            .into_iter()
            .chain(self.epochs.iter().copied());
        match is_evicted || others.any(|found| found == Found::Missing) {
            true => Verdict::Restore,
            false => Verdict::Intact,
        }
    }
}

/// A number as the scripts write epochs and histories: at most 19 digits, and not zero.
fn number(text: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (1..=i64::MAX as u64).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn known(last: u64) -> Snapshot {
        Snapshot {
            last,
            history: 7,
            epochs: vec![(Arc::new(FunctionKey::new("f", 1)), 11)],
            restarts: 0,
        }
    }

    fn verdict(replies: [&str; 3], known_last: u64, last: u64) -> Verdict {
        // A question mark is a node that does not answer for the key.
        let replies = replies.map(|reply| (reply != "?").then(|| reply.as_bytes().to_vec()));
        Control::parse(&replies, 1).judge(&known(known_last), last, false)
    }

    #[test]
    fn flush_is_noticed_if_a_message_was_published_after_it() {
        let replies = ["1001", "", ""].map(|reply| Some(reply.as_bytes().to_vec()));
        let control = Control::parse(&replies, 1);
        let verdict = |has_restarted| control.judge(&known(1001), 1001, has_restarted);
        assert_eq!(verdict(true), Verdict::Replaced);
        assert_eq!(verdict(false), Verdict::Restore);
    }

    #[test]
    fn missing_control_keys_are_restored_and_a_sequence_that_went_back_is_not() {
        assert_eq!(verdict(["5", "7:a-b", "11"], 5, 5), Verdict::Intact);
        assert_eq!(verdict(["", "7:a-b", "11"], 5, 5), Verdict::Restore);
        assert_eq!(verdict(["5", "", "11"], 5, 5), Verdict::Restore);
        assert_eq!(verdict(["5", "7:a-b", ""], 5, 5), Verdict::Restore);
        assert_eq!(verdict(["", "", ""], 5, 5), Verdict::Replaced, "a flush");
        assert_eq!(verdict(["hello", "7:a-b", "11"], 5, 5), Verdict::Restore);
        assert_eq!(verdict(["4", "7:a-b", "11"], 5, 5), Verdict::Replaced);
        assert_eq!(verdict(["5", "8:a-b", "11"], 5, 5), Verdict::Replaced);
        assert_eq!(verdict(["6", "7:a-b", "11"], 5, 5), Verdict::Gap);
    }

    #[test]
    fn history_of_another_number_of_shards_is_another_data_set() {
        let verdict = |history: &str, shards| {
            let replies = ["5", history, "11"].map(|reply| Some(reply.as_bytes().to_vec()));
            Control::parse(&replies, shards).judge(&known(5), 5, false)
        };
        for (history, shards) in [("7:a-b", 1), ("7:a-b#8", 8)] {
            assert_eq!(verdict(history, shards), Verdict::Intact);
            assert_eq!(verdict(history, 4), Verdict::Replaced);
        }
        assert_eq!(verdict("7:a-b", 8), Verdict::Replaced);
        assert_eq!(verdict("7:a-b#8", 1), Verdict::Replaced);
    }

    #[test]
    fn barrier_proves_nothing_if_the_sequence_is_at_another_node() {
        assert_eq!(verdict(["?", "7:a-b", "11"], 5, 5), Verdict::Moving);
        assert_eq!(verdict(["?", "?", "?"], 5, 6), Verdict::Moving);
        assert_eq!(verdict(["5", "?", "?"], 5, 5), Verdict::Intact);
    }

    #[test]
    fn message_between_a_barrier_and_its_reply_is_no_fault() {
        assert_eq!(verdict(["5", "7:a-b", "11"], 5, 6), Verdict::Intact);
        assert_eq!(verdict(["6", "7:a-b", "11"], 5, 6), Verdict::Intact);
        assert_eq!(
            verdict(["6", "8:a-b", "11"], 5, 6),
            Verdict::Intact,
            "a new history"
        );
    }

    proptest! {
        #[test]
        fn any_replies_and_numbers_are_judged_without_a_panic(
            replies: Vec<Option<Vec<u8>>>,
            sequence: u64,
            last: u64,
            known_last: u64,
        ) {
            let _ = Control::parse(&replies, 1).judge(&known(known_last), last, false);
            let digits = [sequence, known_last, last].map(|number| Some(number.to_string().into_bytes()));
            let _ = Control::parse(&digits, 1).judge(&known(known_last), last, false);
        }
    }
}
