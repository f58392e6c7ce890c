//! The reason why a store cannot be reached.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind};

/// The result of the last attempt to reach a store. The part of a [`Tier`](super::Tier) that
/// connects [notes](Self::note) each result; operations without a connection fail with
/// [`unavailable`](Self::unavailable), so that their errors say why.
#[derive(Debug, Default)]
pub struct LastError(Mutex<Option<Error>>);

impl LastError {
    /// Notes the result of an attempt to reach the store: an error, or `None` after a success.
    pub fn note(&self, last_error: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last_error;
    }

    /// Creates an [`Unavailable`](ErrorKind::Unavailable) error that states the `problem`, with the
    /// last error as its source, if there is one.
    #[must_use]
    pub fn unavailable(&self, problem: impl Into<String>) -> Error {
        let last_error = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last_error.clone() {
            Some(last_error) => Error::with_source(ErrorKind::Unavailable, problem, last_error),
            None => Error::new(ErrorKind::Unavailable, problem),
        }
    }
}
