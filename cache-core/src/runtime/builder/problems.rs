//! Collected configuration errors: a builder reports everything that is wrong at once.

use crate::error::Error;

/// Errors that were found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Error>);

impl Problems {
    /// Adds an error. Its causes become part of its text, because the text of all errors is one.
    pub(super) fn add(&mut self, error: Error) {
        self.0.push(error.in_full());
    }

    /// Adds several errors.
    pub(super) fn extend(&mut self, errors: impl IntoIterator<Item = Error>) {
        errors.into_iter().for_each(|error| self.add(error));
    }

    /// Returns the value of a result, or adds its error.
    pub(super) fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// Returns one error for all problems, of the kind of the first.
    ///
    /// # Errors
    /// There is at least one problem.
    pub(super) fn into_result(self) -> Result<(), Error> {
        match <[Error; 1]>::try_from(self.0) {
            Ok([only]) => Err(only),
            Err(problems) => match problems.first() {
                None => Ok(()),
                Some(first) => {
                    let lines = problems.iter().map(|problem| format!("\n- {problem}"));
                    let problem = format!(
                        "the runtime cannot be built, for {} reasons:{}",
                        problems.len(),
                        lines.collect::<String>()
                    );
                    Err(Error::new(first.kind(), problem))
                }
            },
        }
    }
}
