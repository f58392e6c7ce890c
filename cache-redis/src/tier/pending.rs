//! An invalidation from the request until its outcome is known.

use std::sync::Arc;

use cache_core::tier::Target;
use tokio::time::{Instant, timeout_at};

use crate::journal::{Invalidated, Writer};
use crate::link::Shared;

/// An invalidation in progress. If it is dropped, it is queued, because its outcome is unknown.
pub(super) struct Pending<'a> {
    shared: &'a Arc<Shared>,
    what: Option<Invalidated>,
    /// When the invalidation must have returned: an attempt to send it may take the time limit, and
    /// writing it to the journal's file the rest.
    deadline: Instant,
    /// Keeps the journal's file open until it is known whether the invalidation is queued.
    _file: Option<Arc<Writer>>,
}

impl<'a> Pending<'a> {
    pub(super) fn begin(shared: &'a Arc<Shared>, target: Target<'_>) -> Self {
        Self {
            shared,
            what: Some(Invalidated::of(target)),
            deadline: Instant::now() + shared.settings.time_limit * 2,
            _file: shared.journal.keep_file(),
        }
    }

    /// The target that is to be sent.
    pub(super) fn what(&self) -> Option<&Invalidated> {
        self.what.as_ref()
    }

    /// Queues it, and waits for the journal's file within the time limit.
    pub(super) async fn queue(mut self) {
        if let Some(what) = self.what.take() {
            let written = self.shared.journal.queue_and_write(what);
            if timeout_at(self.deadline, written).await.is_err() {
                tracing::error!(
                    "an invalidation that waits is not in the journal's file yet: the disk does not answer in time"
                );
            }
        }
    }

    /// Notes that it was acknowledged over the link with that number. If that link is lost by now,
    /// the next server may have received the queue before this was noted, so it is queued again.
    pub(super) fn acknowledged(mut self, generation: u64) {
        if let Some(what) = self.what.take() {
            self.shared.journal.acknowledged(what.clone());
            if !self.shared.current.is_there(generation) {
                self.shared.journal.queue(what);
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            self.shared.journal.queue(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::{FunctionKey, Peers};
    use redis::Client;

    use super::*;
    use crate::tier::RedisTier;

    /// The link is lost between the server's reply and its processing here, so the next server may
    /// have received the queue without this invalidation.
    #[test]
    fn what_was_acknowledged_over_a_link_that_is_lost_is_queued() {
        let client = Client::open("redis://127.0.0.1:1").unwrap();
        let settings = crate::Redis::new("redis://127.0.0.1:1").settings().clone();
        let tier = RedisTier::new(client, settings, Peers::none()).unwrap();
        let function = FunctionKey::new("f", 1);
        let pending = Pending::begin(tier.shared(), Target::Function(&function));
        pending.acknowledged(1);
        assert_eq!(tier.shared().journal.len(), 1);
    }
}
