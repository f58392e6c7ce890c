//! An invalidation from when it is asked for to when it is known what became of it.

use std::sync::Arc;

use cache_core::tier::Target;
use tokio::time::{Instant, timeout_at};

use crate::journal::{Invalidated, Writer};
use crate::link::Shared;

/// An invalidation under way. Dropped, it is queued: it is not known how far it came.
pub(super) struct Pending<'a> {
    shared: &'a Arc<Shared>,
    what: Option<Invalidated>,
    /// When the invalidation must have returned: an attempt to send it may take the time limit, and
    /// writing it to the journal's file the rest.
    deadline: Instant,
    /// Open until it is known whether it is queued.
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

    /// What is invalidated, to be sent.
    pub(super) fn what(&self) -> Option<&Invalidated> {
        self.what.as_ref()
    }

    /// Queues it, and waits for a disk that answers.
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

    /// It was, over the link of that number. Where that is lost by now, the one that took its place may have been told before
    /// this was known.
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

    /// The link was lost between its server's answer and its notice here: whoever took that server's place may have been sent
    /// what was known before.
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
