//! The background work of the tier, in one task that the tier owns: the owner's heartbeats, pending
//! invalidations, and the sweep.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use crate::owner::{HEARTBEAT, Owner, Ownership};
use crate::prefix::{Prefix, unavailable};
use crate::sweep;

/// The pause after a removal that failed, so that a storage that refuses at once is not asked in a
/// loop.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs until it is aborted. `first` becomes `true` after the first attempt to take the prefix.
pub(crate) async fn run(
    prefix: Arc<Prefix>,
    owner: Arc<Mutex<Owner>>,
    first: watch::Sender<bool>,
    sweep_every: Duration,
) {
    tokio::join!(
        send_heartbeats(&prefix, &owner, first),
        remove_pending(&prefix),
        sweep::run(&prefix, sweep_every),
    );
}

/// Takes the prefix, and keeps others from taking it.
async fn send_heartbeats(prefix: &Prefix, owner: &Mutex<Owner>, first: watch::Sender<bool>) {
    let mut is_reported = false;
    loop {
        let heartbeat = async { owner.lock().await.heartbeat(prefix.store.operator()).await };
        let failure = match timeout(HEARTBEAT, heartbeat).await {
            Ok(Ok(Ownership::Kept(until))) => {
                prefix.set_held(Some(until));
                None
            }
            Ok(Ok(Ownership::Taken(until, left))) => {
                prefix.take_over(until, left.as_deref());
                None
            }
            Ok(Ok(Ownership::Other)) => {
                prefix.set_held(None);
                Some(unavailable(
                    "another instance uses it, or ended without leaving it less than thirty seconds ago; each instance needs a prefix of its own",
                ))
            }
            Ok(Err(error)) => {
                let problem = "the heartbeat failed";
                Some(Error::with_source(ErrorKind::Unavailable, problem, error))
            }
            Err(_) => Some(unavailable("the storage does not respond")),
        };
        match failure {
            None => {
                is_reported = false;
                prefix.last_error.note(None);
                prefix.timeouts.reset();
                prefix.void_pending();
                prefix.has_work.notify_one();
            }
            Some(error) => {
                // Only the first failure in a row is logged.
                if !std::mem::replace(&mut is_reported, true) {
                    tracing::warn!(
                        target: "multi_tier_cached::object",
                        prefix = prefix.store.prefix(), error = ?error,
                        "the prefix of object storage cannot be used; continuing without it until it can"
                    );
                }
                prefix.last_error.note(Some(error));
            }
        }
        first.send_replace(true);
        sleep(HEARTBEAT).await;
    }
}

/// Does the pending invalidations that no call waits for, and repeats those that failed.
async fn remove_pending(prefix: &Arc<Prefix>) {
    let mut is_reported = false;
    loop {
        prefix.has_work.notified().await;
        if !prefix.is_held() {
            // The next successful heartbeat starts this again.
            continue;
        }
        prefix.void_pending();
        let Err(error) = prefix.remove_pending().await else {
            is_reported = false;
            continue;
        };
        if !std::mem::replace(&mut is_reported, true) {
            tracing::warn!(target: "multi_tier_cached::object", error = %error, "an invalidation is not in object storage yet; its records are misses until it is");
        }
        sleep(RETRY_PAUSE).await;
    }
}
