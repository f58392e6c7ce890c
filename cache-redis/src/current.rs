//! The connection that is there, by number, and the breaker in front of it.
//!
//! Calls in flight outlive their connection. What an older one says, or does not, is nothing about the one that is there.

use std::sync::{PoisonError, RwLock};

use crate::breaker::Breaker;

/// A connection of kind `C`, if there is one.
#[derive(Debug)]
pub(crate) struct Current<C> {
    slot: RwLock<Slot<C>>,
    pub(crate) breaker: Breaker,
}

#[derive(Debug)]
struct Slot<C> {
    connection: Option<C>,
    generation: u64,
    /// No connection will be taken any more.
    closed: bool,
}

impl<C: Clone> Current<C> {
    pub(crate) fn new(threshold: u32) -> Self {
        Self {
            slot: RwLock::new(Slot {
                connection: None,
                generation: 0,
                closed: false,
            }),
            breaker: Breaker::new(threshold),
        }
    }

    /// The connection and its number.
    pub(crate) fn get(&self) -> Option<(C, u64)> {
        let slot = self.read();
        Some((slot.connection.clone()?, slot.generation))
    }

    /// Takes a new connection, with a number that is larger than those before, and closes the breaker; `false` once
    /// [closed](Self::close).
    pub(crate) fn put(&self, connection: C, generation: u64) -> bool {
        let mut slot = self.write();
        if slot.closed {
            return false;
        }
        slot.connection = Some(connection);
        slot.generation = generation;
        self.breaker.close();
        true
    }

    /// An operation on the connection of that number got its answer.
    pub(crate) fn answered(&self, generation: u64) {
        let slot = self.read();
        if slot.is(generation) {
            self.breaker.succeeded();
        }
    }

    /// An operation on the connection of that number got none in time; `true` when that opens the breaker.
    pub(crate) fn timed_out(&self, generation: u64) -> bool {
        let slot = self.read();
        slot.is(generation) && self.breaker.failed()
    }

    /// Gives up the connection of that number; `false` when it is not there any more. `then` is done before another takes its
    /// place.
    pub(crate) fn lose(&self, generation: u64, then: impl FnOnce()) -> bool {
        let mut slot = self.write();
        let is_there = slot.is(generation);
        if is_there {
            slot.connection = None;
            self.breaker.open();
            then();
        }
        is_there
    }

    /// Whether the connection of that number is the one that is there.
    pub(crate) fn is_there(&self, generation: u64) -> bool {
        self.read().is(generation)
    }

    /// Gives up whatever is there, for good.
    pub(crate) fn close(&self) {
        let mut slot = self.write();
        slot.closed = true;
        slot.connection = None;
        self.breaker.open();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.read().closed
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Slot<C>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Slot<C>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Slot<C> {
    fn is(&self, generation: u64) -> bool {
        self.connection.is_some() && self.generation == generation
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::Breaker as State;

    use super::*;

    #[test]
    fn an_old_connection_that_does_not_answer_is_nothing_to_the_new_one() {
        let current = Current::new(2);
        assert!(current.put("old", 1));
        let (_, old) = current.get().unwrap();
        assert!(!current.timed_out(old) && current.timed_out(old));
        assert!(current.lose(old, || {}));
        assert_eq!(current.get(), None);
        assert!(current.put("new", 2));
        for _ in 0..10 {
            assert!(!current.timed_out(old));
            assert!(!current.lose(old, || unreachable!("it is not there")));
        }
        assert_eq!(current.breaker.state(), State::Closed);
        let (connection, new) = current.get().unwrap();
        assert_eq!(connection, "new");
        assert!(!current.timed_out(new));
        current.answered(old);
        assert!(
            current.timed_out(new),
            "the old one's answer does not count for it either"
        );
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let current = Current::new(2);
        assert!(current.put(1, 1));
        current.close();
        assert!(!current.put(2, 2));
        assert_eq!(current.get(), None);
        assert_eq!(current.breaker.state(), State::Open);
    }
}
