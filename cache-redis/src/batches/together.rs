//! The operations of one call on several keys, which are sent together.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use cache_core::tier::kit::{join_all, lock};
use redis::aio::MultiplexedConnection;

use super::pipeline::Batch;
use super::place::{Asked, Place};
use crate::keys::Keys;

/// The largest number of keys of one script. The server does nothing else while a script runs,
/// which takes about 5 µs for each key.
const MOST_KEYS: usize = 128;

/// The requests of operations that run at the same time on one task. They are sent in as few
/// batches as possible once each operation was polled.
#[derive(Debug, Default)]
pub(crate) struct Together {
    asked: Asked,
    /// The number of the link of the requests, and its connection.
    link: Mutex<Option<(u64, MultiplexedConnection)>>,
}

/// A batch that is being sent.
type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Together {
    /// Returns a place for a request on the link with this number. `None` if the other requests are
    /// of another link, which was lost since.
    pub(crate) fn place(&self, number: u64, data: &MultiplexedConnection) -> Option<Place<'_>> {
        let mut link = lock(&self.link);
        let (known, _) = link.get_or_insert_with(|| (number, data.clone()));
        (*known == number).then(|| Place::together(&self.asked))
    }

    /// Runs operations at the same time, and sends what they ask for.
    ///
    /// # Cancel safety
    /// As cancel safe as the operations. An operation that was sent may have been done.
    pub(crate) async fn run<F: Future>(
        &self,
        keys: &Arc<Keys>,
        operations: impl IntoIterator<Item = F>,
    ) -> Vec<F::Output> {
        let mut operations = pin!(join_all(operations));
        let mut sending: Vec<Sending> = Vec::new();
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(results) = operations.as_mut().poll(cx) {
                    return Poll::Ready(results);
                }
                sending.extend(self.batches(keys));
                let before = sending.len();
                sending.retain_mut(|batch| batch.as_mut().poll(cx).is_pending());
                // A batch that has ended has answered some of the operations.
                if sending.len() == before {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Takes the requests, as batches to be sent.
    fn batches(&self, keys: &Arc<Keys>) -> Vec<Sending> {
        let Some((_, data)) = lock(&self.link).clone() else {
            return Vec::new();
        };
        let mut requests = self.asked.take().into_iter().peekable();
        let mut batches: Vec<Sending> = Vec::new();
        while requests.peek().is_some() {
            let batch = Batch::new(requests.by_ref().take(MOST_KEYS), keys);
            batches.push(Box::pin(batch.send(data.clone(), Arc::clone(keys))));
        }
        batches
    }
}
