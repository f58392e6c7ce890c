//! The current connection to a store, and the breaker in front of it.
//!
//! Calls use the current connection or continue without one; they never wait for a connection. Each
//! connection has a number, larger than the numbers before it. Calls can outlive their connection,
//! so every method that changes something takes the number of the connection that it is about:
//! results from an older connection must not affect the current one.
//!
//! # Invariants
//! 1. There is at most one current connection, and its number is larger than that of every
//!    connection before it.
//! 2. After [`lose`](Session::lose) has returned, no operation begins on that connection or an
//!    older one.
//! 3. A closed session never has a connection again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;

use super::breaker::CircuitBreaker;
use crate::error::Error;
use crate::tier::{Breaker, LastError};

/// The connection of a tier to its store: the current one with its number, the breaker, and the
/// reason why there is none.
///
/// `C` is what operations need of a connection. It is cloned for each operation, so it should be
/// cheap to clone.
#[derive(Debug)]
pub struct Session<C> {
    /// Held for a few instructions only, never across an `.await`.
    slot: RwLock<Slot<C>>,
    breaker: CircuitBreaker,
    last_error: LastError,
    /// The largest number of a connection that was lost, in place or not. The largest number there
    /// is, if the session was closed.
    lost_number: AtomicU64,
    lost: Notify,
}

#[derive(Debug)]
struct Slot<C> {
    connection: Option<C>,
    number: u64,
    is_closed: bool,
}

impl<C> Slot<C> {
    fn is_current(&self, number: u64) -> bool {
        self.connection.is_some() && self.number == number
    }
}

impl<C: Clone> Session<C> {
    /// Creates a session without a connection. Its breaker opens after `threshold` timeouts in a
    /// row; a tier that counts no timeouts passes `u32::MAX`.
    #[must_use]
    pub fn new(threshold: u32) -> Self {
        Self {
            slot: RwLock::new(Slot {
                connection: None,
                number: 0,
                is_closed: false,
            }),
            breaker: CircuitBreaker::new(threshold),
            last_error: LastError::default(),
            lost_number: AtomicU64::new(0),
            lost: Notify::new(),
        }
    }

    /// Returns the current connection and its number.
    #[must_use]
    pub fn current(&self) -> Option<(C, u64)> {
        let slot = self.read();
        Some((slot.connection.clone()?, slot.number))
    }

    /// Returns the current connection and its number, for an operation.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if there is none. The error says `what()`
    /// could not be done, and its source is the error of the last attempt to connect.
    pub fn require(&self, what: impl FnOnce() -> String) -> Result<(C, u64), Error> {
        self.current()
            .ok_or_else(|| self.last_error.unavailable(what()))
    }

    /// Returns `true` if there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.read().connection.is_some()
    }

    /// Returns the number of the current connection, or zero if there is none.
    #[must_use]
    pub fn number(&self) -> u64 {
        let slot = self.read();
        slot.connection.as_ref().map_or(0, |_| slot.number)
    }

    /// Returns `true` if the connection with this number is the current one.
    #[must_use]
    pub fn is_current(&self, number: u64) -> bool {
        self.read().is_current(number)
    }

    /// Returns whether calls are sent to the store.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker.state()
    }

    /// Notes that an attempt to connect is in progress.
    pub fn connecting(&self) {
        self.breaker.half_open();
    }

    /// Makes a connection the current one, and closes the breaker. Returns `false` if the session
    /// was closed.
    pub fn connected(&self, connection: C, number: u64) -> bool {
        let mut slot = self.write();
        if slot.is_closed {
            return false;
        }
        let previous = slot.connection.replace(connection);
        slot.number = number;
        self.breaker.close();
        drop(slot);
        // Outside the lock: dropping a connection may wake the task that drives it.
        drop(previous);
        self.last_error.note(None);
        true
    }

    /// Notes that an attempt to connect failed. Operations report the error until one succeeds.
    pub fn connect_failed(&self, error: Error) {
        self.breaker.open();
        self.last_error.note(Some(error));
    }

    /// Notes that an operation on the connection with this number got its reply.
    pub fn succeeded(&self, number: u64) {
        let slot = self.read();
        if slot.is_current(number) {
            self.breaker.succeeded();
        }
    }

    /// Notes that an operation on the connection with this number got no reply in time. Returns
    /// `true` if that opens the breaker; then the caller [loses](Self::lose) the connection.
    #[must_use]
    pub fn timed_out(&self, number: u64) -> bool {
        let slot = self.read();
        slot.is_current(number) && self.breaker.failed()
    }

    /// Gives up the connection with this number, and returns `true` if it was the current one. A
    /// connection that is not in place yet is marked as lost as well.
    ///
    /// If it was the current one, `then` runs before another connection can be put in place, so
    /// that it cannot end the state of the next connection. It must not block, and must not use
    /// this session.
    pub fn lose(&self, number: u64, then: impl FnOnce()) -> bool {
        self.lost_number.fetch_max(number, Ordering::SeqCst);
        let mut slot = self.write();
        let lost = match slot.is_current(number) {
            true => slot.connection.take(),
            false => None,
        };
        let was_current = lost.is_some();
        if was_current {
            self.breaker.open();
            then();
        }
        drop(slot);
        // Outside the lock: dropping a connection may wake the task that drives it.
        drop(lost);
        self.lost.notify_one();
        was_current
    }

    /// Returns `true` if the connection with this number, or a later one, was lost, or the session
    /// was closed.
    #[must_use]
    pub fn is_lost(&self, number: u64) -> bool {
        self.lost_number.load(Ordering::SeqCst) >= number
    }

    /// Waits until a connection is lost, or the session is closed. The notification is stored, so a
    /// loss between two calls is not missed; it may also be of an older connection. One task may
    /// wait.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Gives up the current connection, and accepts no other: all are [lost](Self::is_lost).
    /// Operations fail from now on, and the [`Supervisor`](super::Supervisor) ends.
    pub fn close(&self) {
        self.lost_number.store(u64::MAX, Ordering::SeqCst);
        let mut slot = self.write();
        slot.is_closed = true;
        let connection = slot.connection.take();
        self.breaker.open();
        drop(slot);
        drop(connection);
        self.lost.notify_one();
    }

    /// Returns `true` if the session was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.read().is_closed
    }

    fn read(&self) -> RwLockReadGuard<'_, Slot<C>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<C>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn results_of_an_old_connection_do_not_affect_the_current_one() {
        let session = Session::new(2);
        assert!(session.connected("old", 1));
        let (_, old) = session.current().unwrap();
        assert!(!session.timed_out(old) && session.timed_out(old));
        assert!(session.lose(old, || {}));
        assert_eq!(session.current(), None);
        assert!(session.connected("new", 2));
        for _ in 0..10 {
            assert!(!session.timed_out(old));
            assert!(!session.lose(old, || unreachable!("it is not the current one")));
        }
        assert_eq!(session.breaker(), Breaker::Closed);
        let (connection, new) = session.current().unwrap();
        assert_eq!(connection, "new");
        assert!(session.is_lost(old) && !session.is_lost(new));
        assert!(!session.timed_out(new));
        session.succeeded(old);
        assert!(
            session.timed_out(new),
            "a success of the old connection resets nothing"
        );
    }

    #[test]
    fn closed_session_accepts_no_connection() {
        let session = Session::new(2);
        assert!(session.connected(1, 1));
        session.close();
        assert!(!session.connected(2, 2));
        assert_eq!((session.current(), session.number()), (None, 0));
        assert!(session.is_lost(1) && session.is_lost(2));
        assert_eq!(session.breaker(), Breaker::Open);
    }

    #[tokio::test]
    async fn connection_lost_before_it_is_in_place_is_reported_as_lost() {
        let session = Session::new(2);
        assert!(!session.lose(1, || unreachable!("it is not in place")));
        assert!(session.connected((), 1));
        assert!(session.is_lost(1));
        // Returns at once: the notification was stored.
        session.lost().await;
    }

    #[test]
    fn operation_without_a_connection_reports_why_there_is_none() {
        let session = Session::<()>::new(2);
        session.connect_failed(Error::new(ErrorKind::Protocol, "wrong password"));
        let error = session.require(|| "read".to_owned()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(format!("{error:?}").contains("wrong password"), "{error:?}");
    }
}
