//! The primitives of fence and flight: the standard library's, or loom's when schedules are searched
//! (`--cfg schedules`).

#[cfg(schedules)]
pub(crate) use loom::sync::Mutex;
#[cfg(schedules)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(schedules))]
pub(crate) use std::sync::Mutex;
#[cfg(not(schedules))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

/// Locks, and takes over from a thread that panicked: what these locks guard is whole between any two statements.
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
