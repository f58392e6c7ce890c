//! Why a store is not there.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind};

/// What a [`Tier`](super::Tier) whose store is away tells of it: what came of the last attempt to reach it. Whoever makes the
/// attempts [notes](Self::note) how they end; operations that find no store answer with [`unavailable`](Self::unavailable).
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Error>>);

impl Trouble {
    /// An attempt to reach the store has ended: with that, or well.
    pub fn note(&self, trouble: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// An [`Unavailable`](ErrorKind::Unavailable) error that says `what` could not be done, and why, where that is known.
    #[must_use]
    pub fn unavailable(&self, what: impl Into<String>) -> Error {
        let trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble.clone() {
            Some(trouble) => Error::with_source(ErrorKind::Unavailable, what, trouble),
            None => Error::new(ErrorKind::Unavailable, what),
        }
    }
}
