//! Settings that remember their origin.

use crate::error::Error;

/// Value of a setting, and the place where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// The environment variable or the file; `None` if the program set the value.
    pub(crate) origin: Option<String>,
}

impl<T> Setting<T> {
    /// Returns a value that the program set.
    pub(crate) fn by_program(value: T) -> Self {
        Self {
            value,
            origin: None,
        }
    }

    /// Returns a value that an environment variable or a file set.
    pub(crate) fn from_origin(value: T, origin: impl Into<String>) -> Self {
        Self {
            value,
            origin: Some(origin.into()),
        }
    }

    /// Names the origin in an error about the value.
    pub(crate) fn in_error(&self, error: Error) -> Error {
        error.with_origins(&self.origin)
    }
}
