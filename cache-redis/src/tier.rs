//! The tier's contract, on Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::tier::{
    Breaker, Claim, Fill, Found, FunctionKey, Glob, Guard, Health, Lease, Leased, Peers, Question,
    Receipt, RecordKey, Refusal, Stamp, Target, Tier, TierFuture, Wakeup,
};
use cache_core::{Coherence, Consistency, Error, ErrorKind};
use redis::{Client, Value};
use tokio::time::{Instant, sleep, timeout};

use crate::bus::Bus;
use crate::config::Settings;
use crate::epochs::Epochs;
use crate::guards::{GuardedKey, Holder as GuardHolder};
use crate::journal::{Invalidated, Journal, Writer};
use crate::keys::Keys;
use crate::leases::{HeldLease, Holder, LONGEST_LOAD};
use crate::link::{Link, Shared, fresh_number, millis};
use crate::server;

/// What the clocks of two hosts may run apart, in one part of so many, while a bound passes.
const DRIFT: u32 = 100;

#[derive(Debug)]
pub(crate) struct RedisTier {
    link: Link,
    settings: Settings,
}

impl RedisTier {
    pub(crate) fn new(client: Client, settings: Settings, peers: Peers) -> Result<Self, Error> {
        let journal = match &settings.journal_file {
            None => Journal::default(),
            Some(path) => Journal::with_file(path)?,
        };
        let database = client.get_connection_info().redis_settings().db();
        let keys = Keys::new(&settings.namespace, database);
        let bus = Arc::new(Bus {
            channel: keys.channel(),
            peers,
            coherence: Arc::new(Coherence::new(settings.staleness_bound)),
            epochs: Epochs::default(),
            waiters: Arc::default(),
            gaps: AtomicU64::new(0),
        });
        Ok(Self {
            link: Link::new(client, settings.clone(), keys, bus, journal),
            settings,
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        self.link.shared()
    }

    async fn find(
        &self,
        key: &RecordKey,
        question: Question,
        within: Duration,
    ) -> Result<Found, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            // It may be what an invalidation that waits to be sent is to delete.
            if !shared.is_connected() {
                return Err(unattached());
            }
            return Ok(Found::default());
        }
        let epochs = &shared.bus.epochs;
        let stamp = match question.consistency {
            Consistency::Bounded if shared.bus.coherence.holds() => epochs.stamp(&key.function),
            _ => None,
        };
        let name = shared.keys.record(key);
        if let Some(stamp) = stamp {
            let name = &name;
            let record: Option<Vec<u8>> = shared
                .run("read", within, |mut connected, _| async move {
                    redis::cmd("GET")
                        .arg(name)
                        .query_async(&mut connected.data)
                        .await
                })
                .await?;
            // Still known: who joins this call meanwhile may have begun when what was known before was too old for it.
            if shared.bus.coherence.holds() && epochs.stamp(&key.function) == Some(stamp) {
                return Ok(Found::new(record, Some(stamp)));
            }
        }
        let asked = epochs.mark();
        let names = [
            name,
            shared.keys.epoch(&key.function),
            shared.keys.history(),
        ];
        let [record, epoch, history]: [Option<Vec<u8>>; 3] = shared
            .run("read", within, |mut connected, _| async move {
                let Some(seal) = question.known else {
                    return redis::cmd("MGET")
                        .arg(&names)
                        .query_async(&mut connected.data)
                        .await;
                };
                let mut invocation = shared.scripts.read.prepare_invoke();
                for name in names {
                    invocation.key(name);
                }
                invocation.arg(&seal);
                invocation.invoke_async(&mut connected.data).await
            })
            .await?;
        // What is no number is not ours, and no record is valid under it.
        let epoch = epoch.as_deref().and_then(number);
        let history = history
            .as_deref()
            .and_then(|history| number(history.split(|byte| *byte == b':').next()?));
        if let Some(epoch) = epoch {
            epochs.learn(&key.function, epoch, asked);
        }
        let stamp = epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history });
        Ok(Found::new(record, stamp))
    }

    async fn take_lease(
        &self,
        key: &RecordKey,
        claim: Claim,
        seen: &[u8],
        within: Duration,
    ) -> Result<Leased, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            return Ok(Leased::Refused(Refusal::Queued));
        }
        let Some(history) = shared.bus.epochs.history() else {
            return Err(unattached());
        };
        let (claim, life, exclusive) = match claim {
            Claim::Share => ("share", LONGEST_LOAD, false),
            Claim::TakeOver => ("takeover", self.settings.lease_time, true),
            Claim::Look => ("look", self.settings.lease_time, false),
            _ => ("only", self.settings.lease_time, true),
        };
        // A place before the question: what is told after the answer was made is heard.
        let (waiting, heard) = shared.bus.waiters.register(key.digest);
        let asked = shared.bus.epochs.mark();
        let name = shared.keys.lease(key);
        let token = fresh_number();
        let held = |token| HeldLease {
            name: name.clone(),
            token,
            digest: key.digest,
            exclusive,
        };
        let mut invocation = shared.scripts.lease.prepare_invoke();
        invocation
            .key(shared.keys.record(key))
            .key(&name)
            .key(shared.keys.epoch(&key.function))
            .key(shared.keys.history())
            .key(shared.keys.guards(key))
            .arg(claim)
            .arg(token)
            .arg(millis(life))
            .arg(fresh_number())
            .arg(history)
            .arg(seen);
        // Held before it is given: an answer that nobody waits for any more is given back.
        let own = held(token);
        let (answer, holder, generation): (Vec<Value>, Option<Holder>, u64) = shared
            .run("lease", within, |mut connected, generation| async move {
                let holder = exclusive.then(|| shared.leases.hold(own, generation));
                let answer = invocation.invoke_async(&mut connected.data).await?;
                Ok((answer, holder.flatten(), generation))
            })
            .await?;
        if claim == "look" && matches!(&answer[..], [Value::BulkString(word)] if word == b"free") {
            let stamp = Stamp { epoch: 0, history };
            return Ok(Leased::Given(Lease::new(0, stamp)));
        }
        let is_given = matches!(&answer[..], [Value::BulkString(word), ..] if word == b"given");
        if !is_given {
            shared.leases.is_over(token);
        }
        match &answer[..] {
            [Value::BulkString(word), token, epoch] if word == b"given" => {
                let (token, epoch) = (number_in(token)?, number_in(epoch)?);
                shared.bus.epochs.learn(&key.function, epoch, asked);
                let holder = match holder {
                    // The link may be another by now.
                    Some(holder) => Some(holder).filter(|_| shared.leases.holds(token, generation)),
                    None => shared.leases.hold(held(token), generation),
                };
                let holder = holder.ok_or_else(unattached)?;
                let stamp = Stamp { epoch, history };
                Ok(Leased::Given(Lease::new(token, stamp).held_by(holder)))
            }
            [Value::BulkString(word), Value::Int(left)] if word == b"taken" => {
                let left = Duration::from_millis(u64::try_from(*left).unwrap_or(0));
                if left.is_zero() {
                    return Ok(Leased::Taken(Wakeup::new(std::future::ready(()))));
                }
                // Not all at once, where a lease is over and many waited for it.
                let patience =
                    left + left.mul_f64(fastrand::f64() / 20.0) + Duration::from_millis(1);
                Ok(Leased::Taken(Wakeup::new(async move {
                    tokio::select! {
                        () = heard => {}
                        () = sleep(patience) => {}
                    }
                    drop(waiting);
                })))
            }
            [Value::BulkString(word)] if word == b"guarded" => Ok(Leased::Refused(Refusal::Guard)),
            [Value::BulkString(word)] if word == b"history" => {
                // Another began a new one, which the channel tells; or it is gone, which only a new link finds out.
                if shared.bus.epochs.history() == Some(history) {
                    shared.lose(generation);
                }
                Err(unattached())
            }
            _ => Err(Error::new(
                ErrorKind::Protocol,
                "lease: the server answered something else",
            )),
        }
    }

    async fn store(
        &self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<Fill, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            return Ok(Fill::Refused(Refusal::Queued));
        }
        let mut invocation = shared.scripts.fill.prepare_invoke();
        invocation
            .key(shared.keys.record(key))
            .key(shared.keys.lease(key))
            .key(shared.keys.epoch(&key.function))
            .key(shared.keys.history())
            .key(shared.keys.sequence())
            .key(shared.keys.channel())
            .arg(lease.token)
            .arg(lease.stamp.epoch)
            .arg(lease.stamp.history)
            .arg(record)
            .arg(millis(life))
            .arg(key.digest);
        let answer: Option<String> = shared
            .run("fill", within, |mut connected, generation| async move {
                // Over another connection it may reach another server, to which the lease came as a copy.
                if !shared.leases.holds(lease.token, generation) {
                    return Ok(None);
                }
                invocation.invoke_async(&mut connected.data).await
            })
            .await?;
        Ok(match answer.as_deref() {
            Some("stored") => {
                shared.leases.is_over(lease.token);
                Fill::Stored
            }
            Some("function") => Fill::Refused(Refusal::Function),
            Some("history") => Fill::Refused(Refusal::History),
            Some(_) => Fill::Refused(Refusal::Lease),
            None => Fill::Refused(Refusal::Link),
        })
    }

    async fn place_guard(&self, key: &RecordKey, within: Duration) -> Result<Guard, Error> {
        let shared = self.shared();
        let (number, keys) = (fresh_number(), &shared.keys);
        let guarded = GuardedKey {
            record: keys.record(key),
            lease: keys.lease(key),
            guards: keys.guards(key),
            digest: key.digest,
        };
        // Held before it is placed: one that nobody waits for any more is ended.
        let what = Invalidated::of(Target::Key(key));
        let holder = GuardHolder::new(shared, number, guarded.clone(), what);
        let placed = shared
            .run("guard", within, |connected, generation| async move {
                shared.guard(&connected, generation, number, &guarded).await
            })
            .await;
        // It is placed with the next renewal, and invalidates in the end in any case.
        if let Err(error) = placed {
            tracing::debug!(error = ?error, "a guard is not placed yet");
        }
        Ok(Guard::new(holder))
    }

    async fn wait_for_replicas(&self, replicas: u32, within: Duration) -> Result<(), Error> {
        let shared = self.shared();
        let (linked, generation) = shared.current.get().ok_or_else(unattached)?;
        // Whoever waits there would keep all others waiting on the link's own connection.
        let count = shared
            .known_to_replicas(&linked, generation, replicas, within)
            .await?;
        if count >= replicas {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "wait for replicas: {count} of {replicas} had it within {} ms",
                within.as_millis()
            ),
        ))
    }

    async fn void(&self, target: Target<'_>, within: Duration) -> Result<Receipt, Error> {
        let shared = &**self.shared();
        if shared.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        let pending = Pending {
            shared: self.shared(),
            what: Some(Invalidated::of(target)),
            _file: self.shared().journal.keep_file(),
        };
        let forget = || {
            if let Target::Function(function) = target {
                shared.bus.epochs.forget(function.digest);
            }
        };
        forget();
        let Some(what) = &pending.what else {
            return Ok(Receipt::Queued);
        };
        let sent = shared
            .run("invalidate", within, |connected, generation| async move {
                shared.send(&connected, what).await?;
                Ok(generation)
            })
            .await;
        forget();
        match sent {
            Ok(generation) => {
                pending.acknowledged(generation);
                Ok(Receipt::Acked)
            }
            Err(error) => {
                tracing::debug!(error = ?error, "an invalidation is queued");
                pending.queue().await;
                Ok(Receipt::Queued)
            }
        }
    }
}

/// An invalidation under way. Dropped, it is queued: it is not known how far it came.
struct Pending<'a> {
    shared: &'a Arc<Shared>,
    what: Option<Invalidated>,
    _file: Option<Arc<Writer>>,
}

impl Pending<'_> {
    /// Queues it, and waits for a disk that answers.
    async fn queue(mut self) {
        if let Some(what) = self.what.take() {
            let limit = self.shared.settings.time_limit;
            let written = self.shared.journal.queue_and_write(what);
            if timeout(limit, written).await.is_err() {
                tracing::error!(
                    "an invalidation that waits is not in the journal's file yet: the disk does not answer in time"
                );
            }
        }
    }

    /// It was, over the link of that number. Where that is lost by now, the one that took its place may have been told before
    /// this was known.
    fn acknowledged(mut self, generation: u64) {
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

impl Tier for RedisTier {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn time_limit(&self) -> Duration {
        self.settings.time_limit
    }

    fn max_record_bytes(&self) -> usize {
        self.settings.max_record_bytes
    }

    fn now(&self) -> u64 {
        self.shared().now()
    }

    fn breaker(&self) -> Breaker {
        self.shared().breaker().state()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            match self.link.start().await {
                Err(error) if self.settings.required => {
                    self.link.close();
                    Err(Error::with_source(
                        error.kind(),
                        format!(
                            "reach Redis at {}, which is required",
                            self.shared().address()
                        ),
                        error,
                    ))
                }
                _ => Ok(()),
            }
        })
    }

    fn coherence(&self) -> Option<&Arc<Coherence>> {
        Some(&self.shared().bus.coherence)
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        question: Question,
        within: Duration,
    ) -> TierFuture<'a, Found> {
        Box::pin(self.find(key, question, within))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        claim: Claim,
        seen: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, Leased> {
        Box::pin(self.take_lease(key, claim, seen, within))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, Fill> {
        Box::pin(self.store(key, lease, record, life, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.void(target, within))
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        Box::pin(async move {
            let shared = self.shared();
            let (connected, _) = shared.current.get().ok_or_else(unattached)?;
            let swept = shared.sweep(&connected, function, glob).await;
            swept.map_err(|error| server::failed("invalidate what matches", error))
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.shared().journal.queue(Invalidated::of(target));
    }

    fn owes(&self, key: &RecordKey) -> bool {
        self.shared().journal.covers(key)
    }

    fn link(&self) -> u64 {
        let current = self.shared().current.get();
        current.map_or(0, |(_, generation)| generation)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(self.place_guard(key, within))
    }

    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        Box::pin(self.wait_for_replicas(replicas, within))
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.shared()
                .run("ping", within, |mut connected, _| async move {
                    redis::cmd("PING").exec_async(&mut connected.data).await
                })
                .await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let shared = self.shared();
            if !shared.journal.drained().await {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "wait until an invalidation has settled: the tier was shut down before it was sent",
                ));
            }
            // Every right to answer from memory that was given before is over after this, whoever it was given to.
            let bound = shared.bus.coherence.bound();
            sleep(bound + bound / DRIFT).await;
            Ok(())
        })
    }

    fn health(&self) -> Health {
        let shared = self.shared();
        let (coherent_for, last_barrier) = shared.bus.coherence.age();
        let mut health = Health::default();
        health.connected = shared.is_connected();
        health.has_channel = true;
        health.coherent_for = coherent_for;
        health.last_barrier = last_barrier;
        health.queued = shared.journal.len();
        health.isolations = shared.counters.isolations.load(Ordering::Relaxed);
        health.gaps = shared.bus.gaps.load(Ordering::Relaxed);
        health.history_changes = shared.counters.history_changes.load(Ordering::Relaxed);
        health.replays = shared.counters.replays.load(Ordering::Relaxed);
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.link.shutdown().await })
    }
}

fn unattached() -> Error {
    Error::new(ErrorKind::Unavailable, "use Redis: the link is not ready")
}

/// A number as the scripts keep it. Anything else under our keys is not ours.
fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn number_in(value: &Value) -> Result<u64, Error> {
    let text = match value {
        Value::BulkString(text) => Some(&text[..]),
        _ => None,
    };
    text.and_then(number).ok_or_else(|| {
        Error::new(
            ErrorKind::Protocol,
            "read a number under a key of this cache",
        )
    })
}

#[cfg(test)]
mod tests {
    use cache_core::tier::FunctionKey;

    use super::*;

    /// The link was lost between its server's answer and its notice here: whoever took that server's place may have been sent
    /// what was known before.
    #[test]
    fn what_was_acknowledged_over_a_link_that_is_lost_is_queued() {
        let client = Client::open("redis://127.0.0.1:1").unwrap();
        let settings = crate::Redis::new("redis://127.0.0.1:1").settings().clone();
        let tier = RedisTier::new(client, settings, Peers::none()).unwrap();
        let function = FunctionKey::new("f", 1);
        let pending = Pending {
            shared: tier.shared(),
            what: Some(Invalidated::of(Target::Function(&function))),
            _file: None,
        };
        pending.acknowledged(1);
        assert_eq!(tier.shared().journal.len(), 1);
    }
}
