//! Synchronization primitives of fence and flight.
//!
//! They are those of the standard library, or those of loom if schedules are searched
//! (`--cfg schedules`).

#[cfg(schedules)]
pub(crate) use loom::sync::Mutex;
#[cfg(schedules)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(schedules))]
pub(crate) use std::sync::Mutex;
#[cfg(not(schedules))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// Locks a mutex, even if a thread panicked while it held the lock: the guarded values are
/// consistent after every statement.
#[cfg(not(schedules))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(schedules)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
