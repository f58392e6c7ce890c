//! Rules for the errors of a function besides how waiters get them. A rule wraps the way in which
//! errors are shared, and another rule may wrap it in turn.

use std::any::Any;
use std::fmt;

use super::{NotShared, ShareByClone, ShareByText, ShareError, ShareWith};
use crate::load_timeout::LoadTimeout;

/// Callers get a stale value in place of an error only if the function of `stale_if` returns `true`
/// for the error.
pub struct StaleIf<S, E> {
    share: S,
    may_serve_stale: fn(&E) -> bool,
}

/// Memory keeps the errors for which the function of `error_if` returns `true`.
pub struct ErrorIf<S, E> {
    share: S,
    is_kept: fn(&E) -> bool,
}

/// The error of a load that took too long is made from its [`LoadTimeout`].
#[derive(Clone, Copy, Debug)]
pub struct TimeoutFrom<S> {
    share: S,
}

/// A way to treat errors in which the way to share them can be replaced. The rules stay.
pub trait WithShare<T>: Copy {
    /// These rules with the other way to share errors.
    type Output;

    /// Replaces the way to share errors.
    fn with_share(self, share: T) -> Self::Output;
}

impl<S, E> StaleIf<S, E> {
    pub(crate) const fn new(share: S, may_serve_stale: fn(&E) -> bool) -> Self {
        Self {
            share,
            may_serve_stale,
        }
    }
}

impl<S, E> ErrorIf<S, E> {
    pub(crate) const fn new(share: S, is_kept: fn(&E) -> bool) -> Self {
        Self { share, is_kept }
    }
}

impl<S> TimeoutFrom<S> {
    pub(crate) const fn new(share: S) -> Self {
        Self { share }
    }
}

// A derive would require that `E` can be copied, of which there is none inside.
impl<S: Copy, E> Clone for StaleIf<S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Copy, E> Copy for StaleIf<S, E> {}

impl<S: Copy, E> Clone for ErrorIf<S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Copy, E> Copy for ErrorIf<S, E> {}

impl<S: fmt::Debug, E> fmt::Debug for StaleIf<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StaleIf").field(&self.share).finish()
    }
}

impl<S: fmt::Debug, E> fmt::Debug for ErrorIf<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorIf").field(&self.share).finish()
    }
}

/// Delegates the methods of [`ShareError`] that a rule does not change.
macro_rules! delegate {
    ($($method:ident),*) => {
        $(delegate!(@ $method);)*
    };
    (@ share) => {
        fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
            self.share.share(error)
        }
    };
    (@ receive) => {
        fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E> {
            self.share.receive(shared)
        }
    };
    (@ can_share) => {
        fn can_share(self) -> bool {
            self.share.can_share()
        }
    };
    (@ may_serve_stale) => {
        fn may_serve_stale(self, error: &E) -> bool {
            self.share.may_serve_stale(error)
        }
    };
    (@ timed_out) => {
        fn can_time_out(self) -> bool {
            self.share.can_time_out()
        }

        fn timed_out(self, timeout: LoadTimeout) -> Option<E> {
            self.share.timed_out(timeout)
        }
    };
    (@ keep) => {
        fn keep(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
            self.share.keep(error)
        }
    };
}

impl<S: ShareError<E>, E: 'static> ShareError<E> for StaleIf<S, E> {
    delegate!(share, receive, can_share, timed_out, keep);

    fn may_serve_stale(self, error: &E) -> bool {
        (self.may_serve_stale)(error)
    }
}

impl<S, E> ShareError<E> for ErrorIf<S, E>
where
    S: ShareError<E>,
    E: Clone + Send + Sync + 'static,
{
    delegate!(share, can_share, may_serve_stale, timed_out);

    /// Errors that are kept are clones, whatever the way to share errors is.
    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E> {
        let received = self.share.receive(shared);
        received.or_else(|| shared.downcast_ref::<E>().cloned())
    }

    fn keep(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
        let is_kept = (self.is_kept)(error);
        is_kept.then(|| Box::new(error.clone()) as _)
    }
}

impl<S: ShareError<E>, E: From<LoadTimeout>> ShareError<E> for TimeoutFrom<S> {
    delegate!(share, receive, can_share, may_serve_stale, keep);

    fn can_time_out(self) -> bool {
        true
    }

    fn timed_out(self, timeout: LoadTimeout) -> Option<E> {
        Some(timeout.into())
    }
}

macro_rules! replace_share {
    ($(($($generics:tt)*) $share:ty),*) => {
        $(impl<T, $($generics)*> WithShare<T> for $share {
            type Output = T;

            fn with_share(self, share: T) -> T {
                share
            }
        })*
    };
}

replace_share!(() NotShared, () ShareByClone, () ShareByText, (E) ShareWith<E>);

impl<S: WithShare<T>, T, E> WithShare<T> for StaleIf<S, E> {
    type Output = StaleIf<S::Output, E>;

    fn with_share(self, share: T) -> Self::Output {
        StaleIf::new(self.share.with_share(share), self.may_serve_stale)
    }
}

impl<S: WithShare<T>, T, E> WithShare<T> for ErrorIf<S, E> {
    type Output = ErrorIf<S::Output, E>;

    fn with_share(self, share: T) -> Self::Output {
        ErrorIf::new(self.share.with_share(share), self.is_kept)
    }
}

impl<S: WithShare<T>, T> WithShare<T> for TimeoutFrom<S> {
    type Output = TimeoutFrom<S::Output>;

    fn with_share(self, share: T) -> Self::Output {
        TimeoutFrom::new(self.share.with_share(share))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::SharedError;

    #[derive(Clone, Debug, PartialEq)]
    enum Failure {
        Missing,
        Busy,
        Slow(LoadTimeout),
    }

    impl From<LoadTimeout> for Failure {
        fn from(timeout: LoadTimeout) -> Self {
            Self::Slow(timeout)
        }
    }

    fn is_busy(error: &Failure) -> bool {
        *error == Failure::Busy
    }

    fn timeout() -> LoadTimeout {
        LoadTimeout::new("get", Duration::from_secs(1))
    }

    #[test]
    fn rules_apply_in_whatever_order_they_are_wrapped() {
        let share = TimeoutFrom::new(StaleIf::new(NotShared, is_busy));
        let share = ErrorIf::new(share, is_busy);
        assert!(share.may_serve_stale(&Failure::Busy));
        assert!(!share.may_serve_stale(&Failure::Missing));
        assert_eq!(share.timed_out(timeout()), Some(Failure::Slow(timeout())));
        assert!(share.keep(&Failure::Missing).is_none());
        assert!(!ShareError::<Failure>::can_share(share));
        assert!(share.share(&Failure::Busy).is_none());
        let kept = share.keep(&Failure::Busy).expect("an error that is kept");
        assert_eq!(share.receive(&*kept), Some(Failure::Busy));
    }

    #[test]
    fn kept_errors_are_rebuilt_as_shared_errors_are() {
        let share = ErrorIf::new(ShareWith(|_: &Failure| Failure::Missing), is_busy);
        let kept = share.keep(&Failure::Busy).expect("an error that is kept");
        assert_eq!(share.receive(&*kept), Some(Failure::Missing));
    }

    #[test]
    fn rules_stay_when_the_way_to_share_is_replaced() {
        let share = TimeoutFrom::new(StaleIf::new(NotShared, is_busy));
        let share = share.with_share(ShareByClone);
        assert!(!share.may_serve_stale(&Failure::Missing));
        assert_eq!(share.timed_out(timeout()), Some(Failure::Slow(timeout())));
        let shared = share.share(&Failure::Missing).expect("a shared error");
        assert_eq!(share.receive(&*shared), Some(Failure::Missing));
    }

    #[test]
    fn error_without_a_rule_for_timeouts_has_none() {
        type AnyError = Box<dyn std::error::Error + Send + Sync>;
        let share = StaleIf::new(ShareByText, |_: &AnyError| true);
        assert!(share.timed_out(timeout()).is_none());
        let shared = share.share(&"a failure".into()).expect("a shared error");
        assert!(shared.is::<SharedError>());
    }
}
