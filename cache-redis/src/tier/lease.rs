//! Leases: taken in one script, and used in another.

use std::time::Duration;

use cache_core::tier::{
    self, Claim, Deadlock, Fill, Lease, Leased, RecordKey, Refusal, Stamp, Wakeup, Woken,
};
use cache_core::{Error, ErrorKind};
use redis::Value;
use tokio::time::sleep;

use super::{RedisTier, number, unattached};
use crate::leases::{HeldLease, Holder, LONGEST_LOAD};
use crate::number::{fresh_number, millis};

impl RedisTier {
    pub(super) async fn take_lease(
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
        let current = shared.current.get();
        let Some(history) = shared.bus.epochs.history() else {
            // A link without a history gives no lease, and would not find one by itself.
            if let Some((_, generation)) = current {
                shared.lose(generation);
            }
            return Err(unattached());
        };
        let (last, epoch) = shared.bus.last_heard_and_epoch(&key.function);
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
            .key(shared.keys.sequence())
            .arg(claim)
            .arg(token)
            .arg(millis(life))
            .arg(fresh_number())
            .arg(history)
            .arg(seen)
            .arg(epoch.map_or_else(String::new, |epoch| epoch.to_string()))
            .arg(last);
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
                // The server's clock may step, and another version's script may not clamp the life.
                let left = Duration::from_millis(u64::try_from(*left).unwrap_or(0))
                    .min(self.settings.lease_time);
                if left.is_zero() {
                    return Ok(Leased::Taken(Wakeup::new(std::future::ready(()))));
                }
                // Not all at once, where a lease is over and many waited for it.
                let patience =
                    left + left.mul_f64(fastrand::f64() / 20.0) + Duration::from_millis(1);
                Ok(Leased::Taken(Wakeup::telling(async move {
                    tokio::select! {
                        () = heard => waiting.woken(),
                        () = sleep(patience) => Woken::LookAgain,
                    }
                })))
            }
            [Value::BulkString(word)] if word == b"guarded" => Ok(Leased::Refused(Refusal::Guard)),
            [Value::BulkString(word)] if word == b"evicted" => Err(Error::new(
                ErrorKind::Unavailable,
                "the history was evicted from Redis: nothing is stored until it is restored",
            )),
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

    /// Tells whether a wait for the lease on `awaited` would never end.
    pub(super) async fn closes_ring(
        &self,
        held: &[tier::HeldLease],
        awaited: &RecordKey,
        within: Duration,
    ) -> Result<Deadlock, Error> {
        let shared = &**self.shared();
        let mut invocation = shared.scripts.deadlock.prepare_invoke();
        invocation.key(shared.keys.lease(awaited));
        for lease in held {
            invocation.key(shared.keys.lease(&lease.key));
            invocation.key(shared.keys.waits(&lease.key));
        }
        // A waiter asks again within a lease time.
        invocation.arg(millis(self.settings.lease_time * 2));
        for lease in held {
            invocation.arg(lease.token);
        }
        let answer: String = shared
            .run("look for a deadlock", within, |mut connected, _| async move {
                invocation.invoke_async(&mut connected.data).await
            })
            .await?;
        Ok(match &*answer {
            "present" => Deadlock::Present,
            _ => Deadlock::Absent,
        })
    }

    pub(super) async fn store(
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
            .arg(lease.token)
            .arg(lease.stamp.epoch)
            .arg(lease.stamp.history)
            .arg(record)
            .arg(millis(life))
            .arg(key.digest)
            .arg(shared.keys.channel());
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
