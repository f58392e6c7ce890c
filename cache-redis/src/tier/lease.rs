//! Leases: taken before a load, and used to store its record.

use std::time::Duration;

use cache_core::tier::{
    self, Deadlock, FillResult, Lease, LeaseMode, LeaseResult, RecordKey, Refusal, Stamp, Wakeup,
    Woken,
};
use cache_core::{Error, ErrorKind};
use tokio::time::sleep;

use super::{RedisTier, unattached};
use crate::commands;
use crate::commands::deadlock::DetectDeadlock;
use crate::commands::fill::StoreRecord;
use crate::commands::lease::{Reply, TakeLease};
use crate::leases::{HeldLease, Holder, LONGEST_LOAD};
use crate::number::fresh_number;

impl RedisTier {
    pub(super) async fn take_lease(
        &self,
        key: &RecordKey,
        claim: LeaseMode,
        seen: &[u8],
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
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
        let (life, exclusive) = match claim {
            LeaseMode::Shared => (LONGEST_LOAD, false),
            LeaseMode::Probe => (self.settings.lease_time, false),
            _ => (self.settings.lease_time, true),
        };
        // Register the waiter before asking, so that a message that follows the reply is not
        // missed.
        let (waiting, heard) = shared.bus.waiters.register(key.digest);
        let asked = shared.bus.epochs.mark();
        let token = fresh_number();
        let held = |token| HeldLease {
            name: shared.keys.lease(key),
            token,
            digest: key.digest,
            exclusive,
        };
        let command = TakeLease {
            key,
            claim,
            token,
            life,
            fresh_epoch: fresh_number(),
            history,
            seen,
            known_epoch: epoch,
            last_heard: last,
        };
        // Held before it is given, so that it is released if nobody waits for the reply any more.
        let own = held(token);
        let (reply, holder, generation): (Reply, Option<Holder>, u64) = shared
            .run("lease", within, |mut connected, generation| async move {
                let holder = exclusive.then(|| shared.leases.hold(own, generation));
                let reply = commands::send(&mut connected.data, &shared.keys, command).await?;
                Ok((reply, holder.flatten(), generation))
            })
            .await?;
        match reply {
            // A reply that cannot be parsed may give a lease, which is released with the holder.
            Reply::Given { .. } | Reply::Foreign => {}
            _ => shared.leases.is_over(token),
        }
        match reply {
            Reply::Given { token, epoch } => {
                shared.bus.epochs.learn(&key.function, epoch, asked);
                let holder = match holder {
                    // The link may be another by now.
                    Some(holder) => Some(holder).filter(|_| shared.leases.holds(token, generation)),
                    None => shared.leases.hold(held(token), generation),
                };
                let holder = holder.ok_or_else(unattached)?;
                let stamp = Stamp { epoch, history };
                Ok(LeaseResult::Granted(
                    Lease::new(token, stamp).held_by(holder),
                ))
            }
            Reply::Free if claim == LeaseMode::Probe => {
                let stamp = Stamp { epoch: 0, history };
                Ok(LeaseResult::Granted(Lease::new(0, stamp)))
            }
            Reply::Taken { left } => {
                // The server's clock may step, and another version's script may not clamp the life.
                let left = left.min(self.settings.lease_time);
                // Waiters look again at different times, so that they do not all ask at once when a
                // lease expires.
                let patience =
                    left + left.mul_f64(fastrand::f64() / 20.0) + Duration::from_millis(1);
                Ok(LeaseResult::Held(Wakeup::telling(async move {
                    tokio::select! {
                        () = heard => waiting.woken(),
                        () = sleep(patience) => Woken::LookAgain,
                    }
                })))
            }
            Reply::Replaced => Ok(LeaseResult::Held(Wakeup::new(std::future::ready(())))),
            Reply::Guarded => Ok(LeaseResult::Refused(Refusal::Guard)),
            Reply::HistoryEvicted => Err(Error::new(
                ErrorKind::Unavailable,
                "the history was evicted from Redis: nothing is stored until it is restored",
            )),
            Reply::OtherHistory => {
                // Another instance began a new one, and the channel says so; or it is gone, which
                // only a new link finds out.
                if shared.bus.epochs.history() == Some(history) {
                    shared.lose(generation);
                }
                Err(unattached())
            }
            Reply::Free | Reply::Foreign => Err(Error::new(
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
        let command = DetectDeadlock {
            awaited,
            held,
            // A waiter asks again within a lease time.
            life: self.settings.lease_time * 2,
        };
        shared
            .run(
                "look for a deadlock",
                within,
                |mut connected, _| async move {
                    commands::send(&mut connected.data, &shared.keys, command).await
                },
            )
            .await
    }

    pub(super) async fn store(
        &self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<FillResult, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let command = StoreRecord {
            key,
            lease,
            record,
            life,
        };
        let fill = shared
            .run("fill", within, |mut connected, generation| async move {
                // Another connection may lead to another server, to which the lease was replicated.
                if !shared.leases.holds(lease.token, generation) {
                    return Ok(FillResult::Refused(Refusal::Link));
                }
                commands::send(&mut connected.data, &shared.keys, command).await
            })
            .await?;
        if fill == FillResult::Stored {
            shared.leases.is_over(lease.token);
        }
        Ok(fill)
    }
}
