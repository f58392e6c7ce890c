//! Why a store is not there.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind};

/// What a [`Tier`](super::Tier) whose store is away tells of it: what came of the last attempt to reach it. Whoever makes the
/// attempts [notes](Self::note) how they end; operations that find no store answer with [`unavailable`](Self::unavailable).
#[derive(Debug, Default)]
pub struct LastError(Mutex<Option<Error>>);

impl LastError {
    /// An attempt to reach the store has ended: with that, or well.
    pub fn note(&self, last_error: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last_error;
    }

    /// An [`Unavailable`](ErrorKind::Unavailable) error that says `what` could not be done, and why, where that is known.
    #[must_use]
    pub fn unavailable(&self, what: impl Into<String>) -> Error {
        let last_error = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last_error.clone() {
            Some(last_error) => Error::with_source(ErrorKind::Unavailable, what, last_error),
            None => Error::new(ErrorKind::Unavailable, what),
        }
    }
}
