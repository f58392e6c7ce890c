//! An invalidation that is awaited, and how far.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::blocking;
use crate::bound::Bound;
use crate::error::{Error, ErrorKind};
use crate::tier::Receipt;

/// An invalidation on its way: what `invalidate!` gives. Holds none of the arguments.
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
    work: Pin<Box<dyn Future<Output = Result<Receipt, Error>> + Send>>,
    bound: Arc<Bound>,
}

impl Invalidation {
    pub(crate) fn new(
        bound: Arc<Bound>,
        work: impl Future<Output = Result<Receipt, Error>> + Send + 'static,
    ) -> Self {
        Self {
            work: Box::pin(work),
            bound,
        }
    }

    /// Does it on this thread, which waits: for plain functions, whose tiers are private. For one that waits for a shared tier an
    /// async task should.
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    pub fn blocking(self) -> Result<Receipt, Error> {
        let bound = Arc::clone(&self.bound);
        let Some(home) = bound.home() else {
            return blocking::wait(self);
        };
        match home.enter() {
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
    pub async fn settled(self) -> Result<(), Error> {
        self.work.await?;
        self.bound.settle().await
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
    pub async fn replicated(self, replicas: u32) -> Result<Receipt, Error> {
        let links = self.bound.links();
        if self.work.await? == Receipt::Queued {
            return Ok(Receipt::Queued);
        }
        self.bound.replicated(replicas).await?;
        if self.bound.links() != links {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "wait for replicas: the link to a shared tier was lost meanwhile, and its server may be another",
            ));
        }
        Ok(Receipt::Acked)
    }
}

impl Future for Invalidation {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalidation")
    }
}
