//! Background work over a link: reads the log, sends pending invalidations, and keeps what this
//! instance holds at the server.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::RecordKey;
use cache_core::tier::kit::{Batch, OwnedTarget, ReturnedLease};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::commands::granted::GrantedLease;
use crate::commands::guard::{EndGuard, PlaceGuard};
use crate::commands::invalidate::Invalidate;
use crate::commands::log::{Effect, Message, ReadLog};
use crate::commands::publish::{PublishAllTags, PublishTags};
use crate::commands::release::Release;
use crate::commands::renew::Renew;
use crate::session::{Link, MemcachedSession};

impl MemcachedSession {
    /// Keeps a link: the kinds of work run side by side, so that none waits for another. Ends when
    /// the link is lost or cannot be trusted any more. `last` is the number of the last message of
    /// the log that was applied.
    pub(crate) async fn keep(&self, link: &Link, last: u64) {
        tokio::select! {
            error = self.follow_log(link, last) => give_up("reading the log", &error),
            error = self.flush_when_asked(link) => give_up("sending invalidations", &error),
            () = self.renew_regularly(link) => {}
            () = self.release_leases(link) => {}
            error = self.end_guards(link) => give_up("ending guards", &error),
            () = self.lost(link.number) => {}
        }
    }

    async fn lost(&self, number: u64) {
        while !self.link.is_lost(number) {
            self.link.lost().await;
        }
    }

    /// Reads the log four times within the staleness bound. Returns the error of a read that
    /// failed: it is unknown then what other instances invalidate.
    async fn follow_log(&self, link: &Link, mut last: u64) -> Error {
        let mut ticks = every(self.config.staleness_bound / 4);
        loop {
            ticks.tick().await;
            match self.read_log(link, Some(last)).await {
                Ok(now) => last = now,
                Err(error) => return error,
            }
        }
    }

    /// Reads the log once, and applies what other instances have invalidated since the message with
    /// number `last`. Returns the number of the last message.
    ///
    /// This is a barrier: it proves that every invalidation from before it is applied here.
    pub(crate) async fn read_log(&self, link: &Link, last: Option<u64>) -> Result<u64, Error> {
        let barrier = self.coherence.barrier();
        let keys = self.keys.clone();
        let log = link.connections.send(ReadLog { keys, last }).await?;
        match log.messages {
            Some(messages) => messages.into_iter().for_each(|message| self.apply(message)),
            None => {
                if last.is_some() {
                    self.counters.gap();
                }
                self.peers.invalidated_all();
            }
        }
        if last.is_some() {
            self.coherence.proved(barrier);
        }
        Ok(log.last)
    }

    fn apply(&self, message: Message) {
        match message {
            Message::Key(digest) => self.peers.invalidated_key(digest),
            Message::Function(digest) => self.peers.invalidated_function(digest),
            Message::All => self.peers.invalidated_all(),
            Message::Tags(digests) => {
                let digests = digests.into_iter();
                digests.for_each(|digest| self.peers.invalidated_tag(digest));
            }
            Message::AllTags => self.peers.invalidated_all_tags(),
            Message::Expired(digests) => {
                let digests = digests.into_iter();
                digests.for_each(|digest| self.peers.expired(digest));
            }
        }
    }

    /// Sends pending invalidations that no connection accepted. Returns the error of one that
    /// failed.
    async fn flush_when_asked(&self, link: &Link) -> Error {
        loop {
            // At first as well: invalidations may have become pending while the link was made.
            if let Err(error) = self.flush(link).await {
                return error;
            }
            self.unsent.notified().await;
        }
    }

    /// Sends all pending invalidations.
    pub(crate) async fn flush(&self, link: &Link) -> Result<(), Error> {
        let batch = self.pending.batch();
        if batch.is_empty() {
            return Ok(());
        }
        tracing::info!(
            target: "multi_tier_cached::memcached",
            pending = self.pending.len(),
            "sending pending invalidations to memcached"
        );
        for target in batch.targets() {
            let invalidate = Invalidate {
                keys: self.keys.clone(),
                target: OwnedTarget::of(target),
                effect: Effect::Invalidated,
            };
            link.connections.send(invalidate).await?;
            // The tiers above may have copied up the record since the call invalidated them.
            self.peers.done_late(target);
            self.counters.replayed(1);
        }
        self.flush_tags(link, &batch).await?;
        self.pending.batch_done(&batch);
        Ok(())
    }

    async fn flush_tags(&self, link: &Link, batch: &Batch) -> Result<(), Error> {
        let keys = self.keys.clone();
        if batch.all_tags {
            link.connections.send(PublishAllTags { keys }).await?;
            self.counters.replayed(1);
        } else if !batch.tags.is_empty() {
            let publish = PublishTags {
                keys,
                tags: batch.tags.clone(),
                effect: Effect::Invalidated,
            };
            link.connections.send(publish).await?;
            self.counters.replayed(batch.tags.len());
        }
        Ok(())
    }

    /// Renews leases and guards three times within their life. What cannot be renewed expires, and
    /// a fill under it is refused.
    async fn renew_regularly(&self, link: &Link) {
        let mut ticks = every(self.config.lease_time / 3);
        loop {
            ticks.tick().await;
            if let Err(error) = self.renew(link).await {
                tracing::debug!(target: "multi_tier_cached::memcached", error = ?error, "leases and guards at memcached were not renewed");
            }
        }
    }

    async fn renew(&self, link: &Link) -> Result<(), Error> {
        for (_, lease) in self.leases.to_renew() {
            let (name, cas) = lease.held_item();
            let renew = Renew {
                name,
                cas,
                life: self.config.lease_time,
            };
            link.connections.send(renew).await?;
        }
        self.renew_guards(link).await
    }

    /// Renews the guards that this instance holds. Over a new link, this places them again.
    pub(crate) async fn renew_guards(&self, link: &Link) -> Result<(), Error> {
        for (number, key) in self.guards.to_renew() {
            // A guard that has ended since the list was made must not be placed again.
            if self.guards.holds(number) {
                self.place_guard(link, number, &key).await?;
            }
        }
        Ok(())
    }

    /// Places a guard, or renews it.
    pub(crate) async fn place_guard(
        &self,
        link: &Link,
        number: u64,
        key: &RecordKey,
    ) -> Result<(), Error> {
        let until = Instant::now() + self.config.lease_time;
        let place = PlaceGuard {
            keys: self.keys.clone(),
            key: key.clone(),
            number,
            life: self.config.lease_time,
        };
        let placement = link.connections.send(place).await?;
        self.guards
            .placed([(number, placement)], link.number, until);
        Ok(())
    }

    /// Releases the leases of loads that were dropped.
    async fn release_leases(&self, link: &Link) {
        loop {
            for returned in self.leases.returned().await {
                // Nothing waits for it: a lease whose release does not arrive expires by itself.
                drop(link.connections.start(release(returned), |reply, _| reply));
            }
        }
    }

    /// Ends guards whose key was invalidated. Returns the error of an invalidation that failed.
    async fn end_guards(&self, link: &Link) -> Error {
        loop {
            for (number, key) in self.guards.ended().await {
                // Invalidate first: otherwise another caller could read the old record in between,
                // and keep it.
                if self.pending.covers(&key)
                    && let Err(error) = self.flush(link).await
                {
                    return error;
                }
                // A guard whose end does not arrive expires by itself.
                let end = self.guard_end(number, &key);
                drop(link.connections.start(end, |reply, _| reply));
            }
        }
    }

    fn guard_end(&self, number: u64, key: &RecordKey) -> EndGuard {
        EndGuard {
            record: self.keys.record(key),
            number,
            life: self.config.lease_time,
        }
    }

    /// Releases leases and ends guards before the link is closed. What does not arrive expires by
    /// itself.
    pub(crate) async fn give_up_held(&self, link: &Link) {
        for returned in self.leases.take_returned() {
            let _ = link.connections.send(release(returned)).await;
        }
        for (number, key) in self.guards.take_ended() {
            let _ = link.connections.send(self.guard_end(number, &key)).await;
        }
    }
}

fn release(returned: ReturnedLease<GrantedLease>) -> Release {
    Release {
        lease: returned.lease,
        reason: returned.reason,
    }
}

/// Returns ticks with this period, the first of them at once. After a delay they do not catch up.
fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn give_up(work: &str, error: &Error) {
    tracing::warn!(
        target: "multi_tier_cached::memcached",
        work,
        error = ?error,
        "the link to memcached cannot be trusted any more; connecting again"
    );
}
