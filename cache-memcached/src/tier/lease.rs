//! Takes a lease, or waits for the one that another caller holds.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{LONGEST_LOAD, timed};
use cache_core::tier::{Lease, LeaseMode, LeaseResult, RecordKey, Refusal, Wakeup, Woken};
use tokio::time::{sleep, timeout};

use super::MemcachedTier;
use crate::commands::Command as _;
use crate::commands::check::{self, CheckLease};
use crate::commands::granted::LeaseId;
use crate::commands::lease::{Reply, TakeLease};
use crate::error::{STORE, lost};
use crate::keys::RecordNames;
use crate::session::MemcachedSession;

/// The period in which a waiter looks at the lease of another caller: memcached does not notify its
/// clients.
const LOOK: Duration = Duration::from_millis(20);

/// The result of taking a lease, as the task of the connection passes it on.
enum Taken {
    Granted(Lease),
    /// The link was lost before the lease could be held.
    Lost,
    Other(Reply),
}

impl MemcachedTier {
    pub(super) async fn take_lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        let session = &self.session;
        if session.pending.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let link = session.require_link(TakeLease::NAME)?;
        let names = session.keys.names(key);
        let command = TakeLease {
            names: names.clone(),
            mode,
            expected_header: expected_header.to_vec(),
            life: session.config.lease_time,
        };
        let (leases, number) = (Arc::clone(&session.leases), link.number);
        // Held by the task of the connection, so that it is released if the call is dropped before
        // the reply.
        let taking = link.connections.send_then(command, move |reply, _| {
            reply.map(|reply| match reply {
                Reply::Granted(granted) => {
                    let token = fastrand::u64(1..);
                    let lease = Lease::new(token, granted.stamp).after_failures(granted.failures);
                    match leases.hold(token, granted, number) {
                        Some(holder) => Taken::Granted(lease.held_by(holder)),
                        None => Taken::Lost,
                    }
                }
                other => Taken::Other(other),
            })
        });
        match timed(TakeLease::NAME, STORE, within, taking).await?? {
            Taken::Granted(lease) => Ok(LeaseResult::Granted(lease)),
            Taken::Other(Reply::Held(lease)) => {
                let wait = wait(Arc::clone(session), names, lease, number);
                Ok(LeaseResult::Held(Wakeup::telling(wait)))
            }
            Taken::Other(Reply::Replaced) => {
                Ok(LeaseResult::Held(Wakeup::new(std::future::ready(()))))
            }
            Taken::Other(Reply::BackedOff(left)) => Ok(LeaseResult::BackedOff(left)),
            Taken::Other(Reply::Refused(refusal)) => Ok(LeaseResult::Refused(refusal)),
            Taken::Lost | Taken::Other(Reply::Granted(_)) => Err(lost(TakeLease::NAME)),
        }
    }
}

/// Resolves when a lease that another caller holds has ended, or when that cannot be seen over the
/// link with this number.
async fn wait(
    session: Arc<MemcachedSession>,
    names: RecordNames,
    lease: LeaseId,
    link_number: u64,
) -> Woken {
    let look = async {
        while session.link.is_current(link_number) {
            sleep(LOOK).await;
            let check = CheckLease {
                names: names.clone(),
                lease,
            };
            match session.run(check, session.config.time_limit).await {
                Ok(check::Reply::Held) => {}
                Ok(check::Reply::LoadFailed) => return Woken::LoadFailed,
                Ok(check::Reply::Ended) | Err(_) => return Woken::LookAgain,
            }
        }
        Woken::LookAgain
    };
    let woken = timeout(LONGEST_LOAD, look).await;
    woken.unwrap_or(Woken::LookAgain)
}
