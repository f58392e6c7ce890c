//! An invalidation as a future, and how far it has spread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::blocking;
use crate::cached_function::CachedFunction;
use crate::error::{Error, ErrorKind};
use crate::function::slot::Origin;
use crate::key::UnboundArguments;
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
    origin: Origin,
    keys: Keys,
    begun: Option<Begun>,
}

/// The keys that an invalidation removes.
enum Keys {
    /// `Err` if the arguments make no key.
    One(Result<UnboundArguments, Error>),
    All,
}

/// An invalidation in the runtime that the first poll found.
struct Begun {
    bound: Arc<CachedFunction>,
    /// The digest of the key, if there is one key and a tier below memory.
    digest: Option<u64>,
    work: Pin<Box<dyn Future<Output = Result<Receipt, Error>> + Send>>,
}

impl Invalidation {
    pub(crate) fn of_key(origin: Origin, arguments: Result<UnboundArguments, Error>) -> Self {
        Self::new(origin, Keys::One(arguments))
    }

    pub(crate) fn of_all(origin: Origin) -> Self {
        Self::new(origin, Keys::All)
    }

    fn new(origin: Origin, keys: Keys) -> Self {
        Self {
            origin,
            keys,
            begun: None,
        }
    }

    /// Binds it, at the first poll, to the runtime that a call here would use.
    fn begin(&mut self) -> &mut Begun {
        let Self {
            origin,
            keys,
            begun,
        } = self;
        begun.get_or_insert_with(|| {
            let bound = origin.bind();
            let key = match keys {
                Keys::One(Ok(arguments)) => Ok(Some(arguments.key(bound.id, bound.seed))),
                Keys::One(Err(error)) => Err(error.clone()),
                Keys::All => Ok(None),
            };
            let digest = match &key {
                Ok(Some(key)) if !bound.is_memory_alone() => Some(bound.digest(key)),
                Ok(_) | Err(_) => None,
            };
            let own = Arc::clone(&bound);
            let work = Box::pin(async move {
                match key? {
                    Some(key) => own.invalidate(&key).await,
                    None => own.invalidate_all().await,
                }
            });
            Begun {
                bound,
                digest,
                work,
            }
        })
    }

    /// Runs on this thread, which waits. It is for plain functions, whose tiers are private; an
    /// invalidation of a shared tier should be awaited by an async task.
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    pub fn blocking(mut self) -> Result<Receipt, Error> {
        let bound = Arc::clone(&self.begin().bound);
        let Some(tokio_context) = bound.tokio_context() else {
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
        let Begun {
            bound,
            digest,
            work,
        } = self.begin();
        work.await?;
        bound.settle(*digest).await
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
        let Begun {
            bound,
            digest,
            work,
        } = self.begin();
        let links = bound.links(*digest);
        if work.await? == Receipt::Queued {
            return Ok(Receipt::Queued);
        }
        bound.replicated(replicas, *digest).await?;
        if bound.links(*digest) != links {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the link to a shared tier was lost during the wait for replicas: its server may \
                 have been replaced",
            ));
        }
        Ok(Receipt::Acked)
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
