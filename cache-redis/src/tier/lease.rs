//! Takes the lease on a key before a load, and detects waits for leases that would never end.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::{LONGEST_LOAD, LeaseHolder};
use cache_core::tier::{
    self, Deadlock, HeldLease, Lease, LeaseMode, LeaseResult, RecordKey, Refusal, Stamp, Wakeup,
    Woken,
};
use cache_core::{Error, ErrorKind};
use tokio::time::sleep;

use crate::batches::{LeaseRequest, Together};
use crate::commands;
use crate::commands::Command;
use crate::commands::deadlock::DetectDeadlock;
use crate::commands::lease::{Reply, TakeLease};
use crate::commands::lease_free::FreeKey;
use crate::commands::stamps::Stamped;
use crate::epochs::Mark;
use crate::leases::RedisLease;
use crate::number::{fresh_number, fresh_token};
use crate::permissions::Purpose;
use crate::session::{RedisSession, not_ready};

/// A reply, and the link over which it came.
struct Answer {
    reply: Reply,
    /// Holds the token that was asked for, if the lease is exclusive.
    holder: Option<LeaseHolder<RedisLease>>,
    /// The number of the link.
    link: u64,
    /// The history under which the lease was asked for.
    history: u64,
    /// The moment before the request was sent.
    asked: Mark,
}

impl RedisSession {
    pub(super) async fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        let request = tier::LeaseRequest {
            key,
            expected_header,
        };
        self.lease_together(request, mode, None, within).await
    }

    /// Takes leases on several keys. Those that are free are taken by one script for each portion.
    pub(super) async fn lease_many(
        &self,
        requests: &[tier::LeaseRequest<'_>],
        mode: LeaseMode,
        within: Duration,
    ) -> Vec<Result<LeaseResult, Error>> {
        let together = Together::default();
        let leases = requests
            .iter()
            .map(|request| self.lease_together(*request, mode, Some(&together), within));
        together.run(&self.keys, leases).await
    }

    async fn lease_together(
        &self,
        request: tier::LeaseRequest<'_>,
        mode: LeaseMode,
        together: Option<&Together>,
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        let tier::LeaseRequest { key, .. } = request;
        if self.journal.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        // Register the waiter before asking, so that a message that follows the reply is not
        // missed.
        let (waiter, notified) = self.bus.waiters.register(key.digest);
        let answer = self.ask_for_lease(request, mode, together, within);
        let answer = answer.await?;
        match answer.reply {
            Reply::Granted {
                token,
                epoch,
                failures,
                mark,
            } => {
                let mut lease = self.granted(key, mode, answer, token, epoch)?;
                if let Some(mark) = mark {
                    self.bus.mirror.saw(mark.base);
                    lease = lease.with_mark(mark);
                }
                Ok(LeaseResult::Granted(lease.after_failures(failures)))
            }
            Reply::Free if mode == LeaseMode::Probe => {
                let history = answer.history;
                let stamp = Stamp { epoch: 0, history };
                Ok(LeaseResult::Granted(Lease::new(0, stamp)))
            }
            Reply::Taken { left } => {
                // The server's clock may step, and another version's script may not shorten the
                // life.
                let left = left.min(self.settings.lease_time);
                // Waiters look again at different times, so that they do not all ask at once when a
                // lease expires.
                let patience =
                    left + left.mul_f64(fastrand::f64() / 20.0) + Duration::from_millis(1);
                Ok(LeaseResult::Held(Wakeup::telling(async move {
                    tokio::select! {
                        () = notified => waiter.woken(),
                        () = sleep(patience) => Woken::LookAgain,
                    }
                })))
            }
            Reply::Replaced => Ok(LeaseResult::Held(Wakeup::new(std::future::ready(())))),
            Reply::BackedOff { left } => Ok(LeaseResult::BackedOff(left)),
            Reply::Guarded => Ok(LeaseResult::Refused(Refusal::Guard)),
            Reply::HistoryEvicted => Err(Error::new(
                ErrorKind::Unavailable,
                "the history was evicted from Redis: nothing is stored until it is restored",
            )),
            Reply::OtherHistory => {
                // Either another instance began a new history and the channel will announce it, or
                // the history is missing, which only a new link finds out.
                if self.bus.epochs.history() == Some(answer.history) {
                    self.lose(answer.link);
                }
                Err(not_ready())
            }
            Reply::Free | Reply::Foreign => Err(Error::new(
                ErrorKind::Protocol,
                "lease: the reply of the server has an unknown form",
            )),
        }
    }

    async fn ask_for_lease(
        &self,
        request: tier::LeaseRequest<'_>,
        mode: LeaseMode,
        together: Option<&Together>,
        within: Duration,
    ) -> Result<Answer, Error> {
        let (key, expected_header) = (request.key, request.expected_header);
        let number = self.link.number();
        let Some(history) = self.bus.epochs.history() else {
            // A link without a history grants no lease, and would not find a history by itself.
            if number != 0 {
                self.lose(number);
            }
            return Err(not_ready());
        };
        let asked = self.bus.epochs.mark();
        let command = self.lease_request(key, mode, expected_header, history);
        let (token, with_mark) = (command.token, command.fresh_base.is_some());
        // An exclusive lease is held before it is granted, so that it is released if the caller is
        // dropped before the reply arrives.
        let own = is_exclusive(mode).then(|| self.redis_lease(key, true));
        let (reply, holder, link) = self
            .run("lease", within, |mut link| async move {
                let holder = own.map(|own| self.leases.hold(token, own, link.number));
                let mut holder = holder.flatten();
                let running = link.batches.begin();
                if let Some(free) = self.free_key(&command)
                    && let Some(place) = running.place_with(together, (link.number, &link.data))
                {
                    let epoch = free.stamp.stamp.epoch;
                    let request = LeaseRequest { key: free, holder };
                    let taken = place.lease(request).await?;
                    holder = taken.holder;
                    if taken.is_granted {
                        let failures = 0;
                        let granted = Reply::Granted {
                            token,
                            epoch,
                            failures,
                            mark: taken.mark.filter(|_| with_mark),
                        };
                        return Ok((granted, holder, link.number));
                    }
                }
                let reply = commands::send(&mut link.data, &self.keys, command).await?;
                // A reply that cannot be parsed may grant a lease, which is released with the
                // holder.
                if !matches!(reply, Reply::Granted { .. } | Reply::Foreign) {
                    self.leases.end(token);
                }
                Ok((reply, holder, link.number))
            })
            .await?;
        Ok(Answer {
            reply,
            holder,
            link,
            history,
            asked,
        })
    }

    /// Makes the request for a lease.
    fn lease_request<'a>(
        &self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        history: u64,
    ) -> TakeLease<'a> {
        let (last_message, known_epoch) = self.bus.last_message_and_epoch(&key.function);
        let life = match mode {
            LeaseMode::Shared => LONGEST_LOAD,
            _ => self.settings.lease_time,
        };
        // Without a mark no record with tags is stored, and without the permissions the ledger
        // cannot invalidate it.
        let with_mark = key.function.is_marked && !self.permissions.lacks(Purpose::Tags);
        TakeLease {
            key,
            mode,
            token: fresh_token(self.owner),
            life,
            fresh_epoch: fresh_number(),
            history,
            expected_header,
            known_epoch,
            last_message,
            fresh_base: with_mark.then(fresh_number),
        }
    }

    /// Returns the key, if its lease can be asked for in a batch: by a caller that found no record,
    /// and knows the epoch of the function.
    fn free_key(&self, command: &TakeLease<'_>) -> Option<FreeKey> {
        let is_plain = command.mode == LeaseMode::Exclusive && command.expected_header.is_empty();
        let epoch = command.known_epoch.filter(|_| is_plain)?;
        let history = command.history;
        Some(FreeKey {
            record: self.keys.record(command.key),
            stamp: Stamped {
                function: Arc::clone(&command.key.function),
                stamp: Stamp { epoch, history },
            },
            token: command.token,
            life: command.life,
            with_mark: command.fresh_base.is_some(),
        })
    }

    fn granted(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        answer: Answer,
        token: u64,
        epoch: u64,
    ) -> Result<Lease, Error> {
        self.bus.epochs.learn(&key.function, epoch, answer.asked);
        let holder = match answer.holder {
            // The link may have been lost since the reply arrived.
            Some(holder) => Some(holder).filter(|_| self.leases.holds(token, answer.link)),
            None => {
                let lease = self.redis_lease(key, is_exclusive(mode));
                self.leases.hold(token, lease, answer.link)
            }
        };
        let holder = holder.ok_or_else(not_ready)?;
        let history = answer.history;
        let stamp = Stamp { epoch, history };
        Ok(Lease::new(token, stamp).held_by(holder))
    }

    fn redis_lease(&self, key: &RecordKey, is_exclusive: bool) -> RedisLease {
        RedisLease {
            name: self.keys.lease(key),
            digest: key.digest,
            is_exclusive,
        }
    }

    /// Tells whether a wait for the lease on `awaited` would never end.
    pub(super) async fn deadlock(
        &self,
        held: &[HeldLease],
        awaited: &RecordKey,
        within: Duration,
    ) -> Result<Deadlock, Error> {
        let command = DetectDeadlock {
            awaited,
            held,
            life: self.life_of_waits(),
        };
        self.send("look for a deadlock", command, within).await
    }

    /// The time after which the server forgets a wait. A waiter asks again within a lease time.
    pub(super) fn life_of_waits(&self) -> Duration {
        self.settings.lease_time * 2
    }

    /// Sends one command on the current link.
    pub(super) async fn send<C: Command>(
        &self,
        what: &'static str,
        command: C,
        within: Duration,
    ) -> Result<C::Reply, Error> {
        self.run(what, within, |mut link| async move {
            commands::send(&mut link.data, &self.keys, command).await
        })
        .await
    }
}

/// Returns `true` if other callers wait for a lease of this mode.
fn is_exclusive(mode: LeaseMode) -> bool {
    !matches!(mode, LeaseMode::Shared | LeaseMode::Probe)
}
