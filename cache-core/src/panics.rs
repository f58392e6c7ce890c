//! Steps of a drop of which each must be done, also if another one panics.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Takes a step for each item, in order. If steps panic, the others are taken nevertheless, and the
/// first panic continues after the last step.
///
/// For drops that call tiers, which may be of the user. If the thread panics already, the panics of
/// the steps end here, because another panic would abort the process.
pub(crate) fn for_each_despite_panics<T>(
    items: impl IntoIterator<Item = T>,
    mut step: impl FnMut(T),
) {
    let mut first = None;
    for item in items {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(item))) {
            first.get_or_insert(panic);
        }
    }
    if let Some(panic) = first
        && !std::thread::panicking()
    {
        resume_unwind(panic);
    }
}
