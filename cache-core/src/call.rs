//! One call, as far as it depends on the types of its function: it looks in memory, has its
//! [`Load`] do everything else, and runs the body.
//!
//! This is compiled again for each function, so it is as little as can be.

mod terms;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

pub(crate) use self::terms::Terms;
pub use self::terms::{CacheValue, Returned, Returns};
use crate::blocking;
use crate::bound::Bound;
use crate::flight::Leading;
use crate::key::{ArgumentList, Arguments, Key};
use crate::load::{Load, Loaded, Mode, Step};
use crate::outcome::{Landed, Outcome, ShareError, View};

/// The result of a look-up in memory.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum Lookup<T: Returned> {
    /// The result.
    Hit(T::Result),
    /// What is needed to go on.
    Miss(Miss<T>),
}

impl<T: Returned> fmt::Debug for Lookup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Miss(_) => "Miss",
        })
    }
}

/// A call that memory could not answer.
pub struct Miss<T> {
    bound: Arc<Bound>,
    /// `None` where no key could be made: the body runs, nothing is kept.
    key: Option<Key>,
    returned: T,
}

impl<T> fmt::Debug for Miss<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Looks in memory. Allocates nothing on a hit.
#[inline]
pub(crate) fn look_up<T: Returned>(
    bound: &Arc<Bound>,
    returned: T,
    arguments: impl ArgumentList,
) -> Lookup<T> {
    let key = match Arguments::encode(arguments, bound.seed) {
        Ok(arguments) => {
            let key = arguments.key(bound.id);
            if let Some(value) = bound.hit(&key, &returned.terms().value_type) {
                return Lookup::Hit(T::Result::value(value));
            }
            Some(key.to_owned())
        }
        Err(error) => {
            bound.has_no_key(&error);
            None
        }
    };
    Lookup::Miss(Miss {
        bound: Arc::clone(bound),
        key,
        returned,
    })
}

impl<T: Returned> Miss<T> {
    /// Gets the result: from another caller's load, from a lower tier, or by running `load`.
    ///
    /// Boxed, so that a caller's future does not grow by all of this on its way to a hit.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Pin<Box<impl Future<Output = T::Result>>>
    where
        F: Future<Output = T::Result>,
    {
        let mode = Mode::of_call(&self.bound);
        Box::pin(drive(
            self.bound,
            self.key,
            mode,
            self.returned.terms(),
            load,
        ))
    }

    /// The same on this thread, which waits where another runs the load.
    ///
    /// A panic of the body goes through it, and the flight fails.
    pub fn load_blocking(self, load: impl FnOnce() -> T::Result) -> T::Result {
        let bound = Arc::clone(&self.bound);
        // Tiers below memory work in the async runtime that they were started in.
        let _entered = match bound.home() {
            None => None,
            Some(home) => match home.enter() {
                None => return load(),
                entered => entered,
            },
        };
        let (mode, terms) = (Mode::of_call(&bound), self.returned.terms());
        blocking::wait(drive(
            self.bound,
            self.key,
            mode,
            terms,
            move || async move { load() },
        ))
    }
}

/// Loads a value: has the [`Load`] do its steps, and runs the body where it says so. Without a key
/// the body runs and nothing is kept.
pub(crate) async fn drive<R, V, S, F>(
    bound: Arc<Bound>,
    key: Option<Key>,
    mode: Mode,
    terms: Terms<V, S>,
    body: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let mut load = Load::new(&bound, key, &terms.value_type, mode);
    while let Step::Landed(landed) = load.next(terms.share.can_share()).await {
        if let Some(result) = receive(&landed, &terms) {
            return result;
        }
        load.received_nothing();
    }
    // The body and the note that others wait for it end here, and not after the value is stored: the
    // flight has ended by then.
    let outcome = {
        let mut leading = Leading::new(load.led());
        let mut body = pin!(body());
        poll_fn(|cx| {
            let _entered = leading.enter();
            body.as_mut().poll(cx)
        })
        .await
    };
    // The value alone lives across the await: the error type need not be `Send`.
    let loaded = match settle(&mut load, &terms, outcome) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    load.finish(loaded.clone()).await;
    let result = match loaded {
        Some(loaded) => (terms.value_type.give)(loaded.held).map(R::value),
        None => R::absent(),
    };
    result.expect(
        "a value has the type that it was held as, and a result that was absent can be so again",
    )
}

/// Returns the value of an outcome, if it has one, to be kept. An outcome of which nothing is kept is
/// returned as it is.
fn settle<R, V, S>(
    load: &mut Load<'_>,
    terms: &Terms<V, S>,
    outcome: R,
) -> Result<Option<Loaded>, R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    let is_kept = match outcome.view() {
        View::Failed(error) => {
            // Nobody waits for the error of a body that runs beside another load.
            let is_running = load.is_running();
            load.fail(is_running.then(|| terms.share.share(error)).flatten());
            return Err(outcome);
        }
        _ if !load.is_running() => return Err(outcome),
        View::Value(value) => terms.keep_if.is_none_or(|keep_if| keep_if(value)),
        View::Absent => false,
    };
    let held = outcome.into_value().ok().map(terms.value_type.hold);
    Ok(held.map(|held| Loaded { held, is_kept }))
}

/// A waiter's result.
fn receive<R, V, S>(landed: &Landed, terms: &Terms<V, S>) -> Option<R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    match landed {
        Landed::Value(held) => (terms.value_type.give)(Arc::clone(held)).map(R::value),
        Landed::Absent => R::absent(),
        Landed::Failed(shared) => terms.share.receive(&**shared).and_then(R::failed),
    }
}
