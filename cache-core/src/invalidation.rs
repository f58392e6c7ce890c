//! An invalidation as a future, and how far it has spread.

mod reach;
mod tags;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use self::reach::Reach;
use crate::blocking;
use crate::error::{Error, ErrorKind};
use crate::function::slot::Origin;
use crate::join::join_all;
use crate::key::{Key, UnboundArguments};
use crate::runtime::CacheRuntime;
use crate::tier::Receipt;

/// An invalidation, as `invalidate!` returns it. It holds none of the arguments, only their key, so
/// it can be spawned.
///
/// It acts on the runtime that a call would use where it is first polled, or where
/// [`blocking`](Self::blocking) is called; see [`Handle`](crate::Handle). A task that is spawned
/// inside a [scope](crate::CacheRuntime::scope) runs outside of it, so wrap the future that is
/// spawned in the scope too.
///
/// It returns [`Receipt::Acked`], or [`Receipt::Queued`] if a shared tier could not be reached. Use
/// [`settled`](Self::settled) to wait until no other instance can return the old value.
///
/// # Errors
/// As [`Handle::invalidate`](crate::Handle::invalidate).
///
/// # Cancel safety
/// As [`Handle::invalidate`](crate::Handle::invalidate).
#[must_use = "an invalidation does nothing until it is awaited"]
pub struct Invalidation {
    subject: Subject,
    effect: Effect,
    begun: Option<Begun>,
}

/// The values that an invalidation is about.
enum Subject {
    /// The value of a key. `Err` if the arguments make no key.
    Key(Origin, Result<UnboundArguments, Error>),
    /// The values of several keys of a function.
    Keys(Origin, Vec<Result<UnboundArguments, Error>>),
    /// All values of a function.
    Function(Origin),
    /// All values with one of these tags, in this runtime, or in the one that a call would use.
    Tags(Option<CacheRuntime>, Vec<u64>),
}

/// The effect on the values.
#[derive(Clone, Copy)]
enum Effect {
    Invalidate,
    /// They become stale.
    Expire,
}

type Work = Pin<Box<dyn Future<Output = Result<Receipt, Error>> + Send>>;

/// An invalidation in the runtime that the first poll found.
struct Begun {
    reach: Reach,
    work: Work,
}

impl Invalidation {
    pub(crate) fn of_key(origin: Origin, arguments: Result<UnboundArguments, Error>) -> Self {
        Self::new(Subject::Key(origin, arguments))
    }

    /// Restricts the invalidation of a function to some of its keys.
    pub(crate) fn only_keys(self, arguments: Vec<Result<UnboundArguments, Error>>) -> Self {
        Self::new(match self.subject {
            Subject::Function(origin) | Subject::Key(origin, _) | Subject::Keys(origin, _) => {
                Subject::Keys(origin, arguments)
            }
            tags @ Subject::Tags(..) => tags,
        })
    }

    pub(crate) fn of_all(origin: Origin) -> Self {
        Self::new(Subject::Function(origin))
    }

    fn new(subject: Subject) -> Self {
        Self {
            subject,
            effect: Effect::Invalidate,
            begun: None,
        }
    }

    /// Makes the values stale instead of invalidating them: calls return them as far as their
    /// functions return stale values (`stale_while_revalidate`, `stale_if_error`), and the next
    /// call begins to load them again. The windows end when they would have ended without this.
    /// Values of functions without such a window are invalidated.
    ///
    /// After it has returned, no call that starts on this instance returns a value as a fresh one
    /// whose load began before. It has no effect on an invalidation that was polled.
    ///
    /// A shared tier that cannot do this invalidates the values in its store instead, and in the
    /// memory of other instances: memcached and object storage do, and Redis while it is not
    /// reachable.
    pub fn into_expiry(mut self) -> Self {
        self.effect = Effect::Expire;
        self
    }

    /// Binds it, at the first poll, to the runtime that a call here would use.
    fn begin(&mut self) -> &mut Begun {
        let Self {
            subject,
            effect,
            begun,
        } = self;
        begun.get_or_insert_with(|| subject.begin(*effect))
    }

    /// Runs on this thread, which waits. It is for plain functions, whose tiers are private; an
    /// invalidation of a shared tier should be awaited by an async task.
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    pub fn blocking(mut self) -> Result<Receipt, Error> {
        let reach = self.begin().reach.clone();
        let Some(tokio_context) = reach.tokio_context() else {
            return blocking::wait(self);
        };
        match tokio_context.enter() {
            Some(_entered) => blocking::wait(self),
            None => blocking::wait_without_home(self),
        }
    }

    /// Returns when no instance can return the old value any more: after the staleness bound has
    /// passed, or after the shared tier is back from an outage. It waits as long as that takes, so
    /// put a timeout around it. (An instance that is isolated keeps the old value if its function
    /// is set to [`Serve`](crate::WhenIsolated::Serve).)
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Cancel safety
    /// Dropped before its first poll it does nothing. Dropped later, shared tiers still receive the
    /// invalidation, or it is queued for them.
    pub async fn settled(mut self) -> Result<(), Error> {
        let Begun { reach, work } = self.begin();
        work.await?;
        reach.settle().await
    }

    /// Returns when so many replicas of each shared tier have the invalidation, so that one of them
    /// can take the place of the server without bringing the old value back. (Instances would not
    /// return that value in any case, because another server has another history; this is for
    /// callers that need to know.) It uses a connection of its own.
    ///
    /// [`Receipt::Queued`] means that no server has the invalidation yet.
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate), and:
    /// - [`TimedOut`](ErrorKind::TimedOut) if fewer replicas have it within the tier's time limit.
    ///   The invalidation itself is done.
    /// - [`Unavailable`](ErrorKind::Unavailable) if the server of a tier may have been replaced
    ///   during the wait. The new server receives the invalidation too.
    /// - [`Configuration`](ErrorKind::Configuration) if no tier is shared.
    ///
    /// # Cancel safety
    /// As [`settled`](Self::settled).
    pub async fn replicated(mut self, replicas: u32) -> Result<Receipt, Error> {
        let Begun { reach, work } = self.begin();
        let links = reach.links();
        if work.await? == Receipt::Queued {
            return Ok(Receipt::Queued);
        }
        reach.replicated(replicas).await?;
        if reach.links() != links {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the link to a shared tier was lost during the wait for replicas: its server may \
                 have been replaced",
            ));
        }
        Ok(Receipt::Acked)
    }
}

impl Subject {
    /// Begins it in the runtime that a call here would use.
    fn begin(&self, effect: Effect) -> Begun {
        match self {
            Self::Tags(runtime, tags) => {
                let runtime = runtime.clone().unwrap_or_else(CacheRuntime::current);
                let (state, tags) = (Arc::clone(runtime.state()), tags.clone());
                Begun {
                    reach: Reach::Runtime(Arc::clone(&state)),
                    work: Box::pin(async move {
                        match effect {
                            Effect::Invalidate => state.invalidate_tags(&tags).await,
                            Effect::Expire => state.expire_tags(&tags).await,
                        }
                    }),
                }
            }
            Self::Key(origin, arguments) => {
                let bound = origin.bind();
                let key = arguments.as_ref().map_err(Clone::clone);
                let key = key.map(|arguments| arguments.key(bound.id, bound.seed));
                let is_below = key.as_ref().ok().filter(|_| !bound.is_memory_alone());
                let reach = Reach::Function {
                    digest: is_below.map(|key| bound.digest(key)),
                    bound: Arc::clone(&bound),
                };
                let work: Work = Box::pin(async move {
                    match effect {
                        Effect::Invalidate => bound.invalidate(&key?).await,
                        Effect::Expire => bound.expire(&key?).await,
                    }
                });
                Begun { reach, work }
            }
            Self::Keys(origin, arguments) => {
                let bound = origin.bind();
                let reach = Reach::Function {
                    digest: None,
                    bound: Arc::clone(&bound),
                };
                let keys = arguments.iter().map(|arguments| {
                    let arguments = arguments.as_ref().map_err(Clone::clone)?;
                    Ok(arguments.key(bound.id, bound.seed))
                });
                let keys: Vec<Result<Key, Error>> = keys.collect();
                let work: Work = Box::pin(async move {
                    let each = keys.into_iter().map(async |key| match effect {
                        Effect::Invalidate => bound.invalidate(&key?).await,
                        Effect::Expire => bound.expire(&key?).await,
                    });
                    let results = join_all(each).await;
                    let mut results = results.into_iter();
                    results.try_fold(Receipt::Acked, |worst, result| Ok(worst.max(result?)))
                });
                Begun { reach, work }
            }
            Self::Function(origin) => {
                let bound = origin.bind();
                let reach = Reach::Function {
                    digest: None,
                    bound: Arc::clone(&bound),
                };
                let work: Work = Box::pin(async move {
                    match effect {
                        Effect::Invalidate => bound.invalidate_all().await,
                        Effect::Expire => bound.expire_all().await,
                    }
                });
                Begun { reach, work }
            }
        }
    }
}

impl Future for Invalidation {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.begin().work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalidation")
    }
}
