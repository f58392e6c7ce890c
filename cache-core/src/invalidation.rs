//! An invalidation that is awaited, and how far.

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

/// An invalidation on its way: what `invalidate!` gives. Holds none of the arguments, only the key that they make.
///
/// It acts on the runtime that a call would use where it is first polled, or where [`blocking`](Self::blocking) is called; see
/// [`Handle`](crate::Handle). A task that is spawned inside a [scope](crate::CacheRuntime::scope) is outside of it, for an
/// invalidation as for a call: wrap what is spawned in the scope too.
///
/// It returns how far it got: [`Receipt::Acked`], or [`Receipt::Queued`] where a shared tier could not be reached. Who
/// needs more than the bound asks for [`settled`](Self::settled).
///
/// # Errors
/// As [`Handle::invalidate`](crate::Handle::invalidate).
///
/// # Cancel safety
/// As [`Handle::invalidate`](crate::Handle::invalidate).
#[must_use = "nothing is dropped until it is awaited"]
pub struct Invalidation {
    origin: Origin,
    what: What,
    begun: Option<Begun>,
}

/// What is dropped.
enum What {
    /// `Err` if the arguments make no key.
    Key(Result<UnboundArguments, Error>),
    AllKeys,
}

/// An invalidation in the runtime that was found at its first poll.
struct Begun {
    bound: Arc<CachedFunction>,
    work: Pin<Box<dyn Future<Output = Result<Receipt, Error>> + Send>>,
}

impl Invalidation {
    pub(crate) fn of_key(origin: Origin, arguments: Result<UnboundArguments, Error>) -> Self {
        Self::new(origin, What::Key(arguments))
    }

    pub(crate) fn of_all(origin: Origin) -> Self {
        Self::new(origin, What::AllKeys)
    }

    fn new(origin: Origin, what: What) -> Self {
        Self {
            origin,
            what,
            begun: None,
        }
    }

    /// Binds it to the runtime that a call here would use, the first time.
    fn begin(&mut self) -> &mut Begun {
        let Self {
            origin,
            what,
            begun,
        } = self;
        begun.get_or_insert_with(|| {
            let bound = origin.bind();
            let key = match what {
                What::Key(Ok(arguments)) => Ok(Some(arguments.key(bound.id, bound.seed))),
                What::Key(Err(error)) => Err(error.clone()),
                What::AllKeys => Ok(None),
            };
            let own = Arc::clone(&bound);
            let work = Box::pin(async move {
                match key? {
                    Some(key) => own.invalidate(&key).await,
                    None => own.invalidate_all().await,
                }
            });
            Begun { bound, work }
        })
    }

    /// Does it on this thread, which waits: for plain functions, whose tiers are private. For one that waits for a shared tier an
    /// async task should.
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

    /// Returns when no instance can any longer answer with what is dropped: after the bound has passed, and after an outage of
    /// the shared tier. It may wait as long as that lasts; put a timeout around it. (An instance that is cut off, and whose
    /// function is to [`Serve`](crate::WhenIsolated::Serve) then, is not reached by anything.)
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Cancel safety
    /// Dropped after it was polled once, the invalidation goes on or is queued where there is a shared tier; dropped before,
    /// nothing is done.
    pub async fn settled(mut self) -> Result<(), Error> {
        let Begun { bound, work } = self.begin();
        work.await?;
        bound.settle().await
    }
}

impl Invalidation {
    /// Returns when so many replicas of each shared tier have the invalidation, so that one of them may take the server's
    /// place without bringing the old value back. (It would not be answered in any case: another server is another history. This
    /// is for those who want to know.) It costs a connection of its own.
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate), and [`TimedOut`](ErrorKind::TimedOut) when fewer replicas have it within the tier's time limit:
    /// it is done all the same; [`Unavailable`](ErrorKind::Unavailable) when a tier's server may have changed meanwhile: what took
    /// its place is told too; [`Configuration`](ErrorKind::Configuration) where no tier is shared. [`Receipt::Queued`] says that it is not, and that nobody has it.
    ///
    /// # Cancel safety
    /// As [`settled`](Self::settled).
    pub async fn replicated(mut self, replicas: u32) -> Result<Receipt, Error> {
        let Begun { bound, work } = self.begin();
        let links = bound.links();
        if work.await? == Receipt::Queued {
            return Ok(Receipt::Queued);
        }
        bound.replicated(replicas).await?;
        if bound.links() != links {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the link to a shared tier was lost during the wait for replicas, and its server may be another",
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
