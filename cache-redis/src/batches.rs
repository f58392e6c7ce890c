//! Batches: operations of different calls that are sent to the server together.
//!
//! While few operations are in progress on a link, each is sent by itself. From [`CROWD`] on, they
//! are given to a task of the link, which sends all that have arrived in one pipeline. Such a
//! pipeline costs the client library one message, and the operations share what they need in
//! common: history and epochs are read once, and leases, fills and invalidations run as one script
//! of each kind.
//!
//! # Why a batch changes nothing in the protocol
//! A batch has the effects of its operations one after the other, so each of its runs is a run of
//! the same operations sent alone, which `tests/model` searches:
//! - A script of a batch is one step on the server. It checks for each key what the script of a
//!   single key checks, and does the same to it. No other step comes between those of its keys,
//!   which is one of the orders that single commands may have.
//! - The keys that one script invalidates are announced by one message with one number. An instance
//!   applies it as a whole, as it would several messages that arrive together.
//! - A strong read reads the record before epoch and history, as a single one does. That they are
//!   read once for several records only means that more can happen in between, and what happens
//!   there makes the record invalid, or comes after the read.
//! - An operation may wait for its batch. Nothing that it does depends on when it is sent: a read
//!   begins when it is sent, a lease is granted by the server, a fill is refused without its lease,
//!   and an invalidation is not acknowledged before.
//!
//! # Invariants
//! 1. A request is sent at most once, or it had no effect: only a script that the server does not
//!    know is sent again.
//! 2. A request is answered after its own part of the batch was done, or it fails. The callers
//!    treat a failure as an operation that may have been done.
//! 3. The task ends with its link, and requests that have no reply yet fail then.
//! 4. A lease that is asked for in a batch is held by its request until the answer, so it is
//!    released after that if the caller was dropped.
//! 5. The queue is bounded, and no operation waits for a place in it.

mod pipeline;
mod place;
mod request;
mod together;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};

use self::pipeline::Batch;
pub(crate) use self::place::Place;
#[cfg(test)]
use self::request::LeaseReply;
use self::request::Request;
pub(crate) use self::request::{LeaseRequest, Read, StrongRead};
pub(crate) use self::together::Together;
use crate::commands::PORTION;
use crate::errors;
use crate::keys::Keys;

/// The number of operations in progress from which on further ones are sent in batches. With fewer,
/// the server is not busy, and an operation gains nothing from the wait for its batch.
const CROWD: usize = 16;

/// The number of batches without a reply from which on no further one is sent. While the server
/// works on these, the next batch grows: with more of them, batches are smaller and cost more for
/// each operation. An operation waits for its batch less than a round trip.
const MOST_BATCHES: usize = 2;

/// Scripts name the stamp of a request by one byte, and each request may have its own.
const _: () = assert!(PORTION <= 256);

/// The largest number of requests that wait for their batch. Further operations are sent by
/// themselves.
const MOST_REQUESTS: usize = 4096;

/// The largest record that is sent in a batch, in bytes. A larger one would delay the others.
pub(crate) const LARGEST_RECORD: usize = 16 * 1024;

/// Gives operations to the task that sends them. Clones belong to the same link.
#[derive(Clone, Debug)]
pub(crate) struct Batches(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requests: mpsc::Sender<Request>,
    /// The number of operations in progress. Relaxed: it orders nothing, and decides only which way
    /// an operation takes.
    running: AtomicUsize,
}

/// An operation in progress, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    batches: &'a Shared,
    /// `true` if there are enough others.
    is_crowded: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.batches.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Batches {
    /// Makes the batches of a link, whose records are on `connection`. The second part is the task,
    /// which works while it is polled.
    pub(crate) fn new(
        connection: MultiplexedConnection,
        keys: Arc<Keys>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, received) = mpsc::channel(MOST_REQUESTS);
        let batches = Self(Arc::new(Shared {
            requests,
            running: AtomicUsize::new(0),
        }));
        (batches, send_all(received, connection, keys))
    }

    /// Begins an operation.
    pub(crate) fn begin(&self) -> Running<'_> {
        let others = self.0.running.fetch_add(1, Ordering::Relaxed);
        Running {
            batches: &self.0,
            is_crowded: others >= CROWD,
        }
    }

    /// Waits until all earlier requests are answered.
    ///
    /// # Errors
    /// The link has ended.
    pub(crate) async fn drain(&self) -> Result<(), RedisError> {
        let place = self.0.requests.reserve().await;
        let place = place.map_err(|_| errors::link_ended())?;
        Place::of_link(place).ask(Request::Drain).await
    }
}

impl<'a> Running<'a> {
    /// Returns a place in a batch if the operation is to be sent in one. `together` is set for one
    /// of several keys of a call.
    pub(crate) fn place_with(
        &self,
        together: Option<&'a Together>,
        (number, data): (u64, &MultiplexedConnection),
    ) -> Option<Place<'a>> {
        let shared = together.and_then(|together| together.place(number, data));
        shared.or_else(|| self.place())
    }

    /// Returns a place in a batch if the operation is to be sent in one.
    pub(crate) fn place(&self) -> Option<Place<'a>> {
        let place = self.is_crowded.then(|| self.batches.requests.try_reserve());
        place?.ok().map(Place::of_link)
    }
}

/// Sends the requests that arrive, until the link ends.
async fn send_all(
    mut requests: mpsc::Receiver<Request>,
    connection: MultiplexedConnection,
    keys: Arc<Keys>,
) {
    // Aborted with this task.
    let mut batches = JoinSet::new();
    let mut arrived = Vec::with_capacity(PORTION);
    while requests.recv_many(&mut arrived, PORTION).await > 0 {
        // Replies to a batch wake many callers. Those of them that are still to run have further
        // requests: without this, the first few would be sent alone.
        yield_now().await;
        while arrived.len() < PORTION
            && let Ok(request) = requests.try_recv()
        {
            arrived.push(request);
        }
        let mut batch = Batch::new(arrived.drain(..), &keys);
        let drains = batch.take_drains();
        batches.spawn(batch.send(connection.clone(), Arc::clone(&keys)));
        while batches.try_join_next().is_some() {}
        while batches.len() >= MOST_BATCHES || !drains.is_empty() && !batches.is_empty() {
            batches.join_next().await;
        }
        for drained in drains {
            let _ = drained.send(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests;
