//! What runs beside the operations, as one task that the tier owns: the owner's beats, the payment of what is owed, and the sweep.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use crate::owner::{BEAT, Beat, Owner};
use crate::shared::{Shared, unavailable};
use crate::sweep;

/// After a payment that failed. A storage that refuses at once is not asked all the time.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Keeps the prefix and what is in it. `first` is told when that was tried once. Ends when it is aborted.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    owner: Arc<Mutex<Owner>>,
    first: watch::Sender<bool>,
    sweep_every: Duration,
) {
    tokio::join!(
        beats(&shared, &owner, first),
        payments(&shared),
        sweep::sweeps(&shared, sweep_every),
    );
}

/// Says that the prefix is in use.
async fn beats(shared: &Shared, owner: &Mutex<Owner>, first: watch::Sender<bool>) {
    let mut is_told = false;
    loop {
        let beat = async { owner.lock().await.beat(shared.store.operator()).await };
        let beat = timeout(BEAT, beat).await;
        let is_first_failure = !matches!(beat, Ok(Ok(Beat::Kept(_) | Beat::Taken(..))))
            && !std::mem::replace(&mut is_told, true);
        match beat {
            Ok(Ok(Beat::Kept(until))) => {
                shared.set_held(Some(until));
                is_told = false;
            }
            Ok(Ok(Beat::Taken(until, left))) => {
                shared.take_over(until, left.as_deref());
                is_told = false;
            }
            Ok(Ok(Beat::Anothers)) => {
                shared.set_held(None);
                shared.last_error.note(Some(unavailable(
                    "another instance uses it, or ended without leaving it less than thirty seconds ago; each instance needs a prefix of its own",
                )));
                if is_first_failure {
                    tracing::warn!(
                        prefix = shared.store.prefix(),
                        "another instance uses this prefix, or has just died; waiting until nobody has for thirty seconds"
                    );
                }
            }
            Ok(Err(error)) => {
                if is_first_failure {
                    tracing::warn!(error = %error, "the object storage cannot be used; going on without it until it can");
                }
                shared.last_error.note(Some(Error::with_source(
                    ErrorKind::Unavailable,
                    "say that it is in use",
                    error,
                )));
            }
            Err(_) => {
                if is_first_failure {
                    tracing::warn!(
                        "the object storage does not answer; going on without it until it does"
                    );
                }
                shared
                    .last_error
                    .note(Some(unavailable("it does not answer")));
            }
        }
        if !is_told {
            shared.last_error.note(None);
            shared.strikes.answered();
            shared.pay_controls();
            shared.unpaid.notify_one();
        }
        first.send_replace(true);
        sleep(BEAT).await;
    }
}

/// Pays what nobody waits for, and tries again what did not get through.
async fn payments(shared: &Arc<Shared>) {
    let mut is_told = false;
    loop {
        shared.unpaid.notified().await;
        if !shared.is_ours() {
            // The next beat that succeeds comes back to it.
            continue;
        }
        shared.pay_controls();
        let Err(error) = shared.pay_keys().await else {
            is_told = false;
            continue;
        };
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(error = %error, "an invalidation is not in the object storage yet; what it names is not read meanwhile");
        }
        sleep(AFTER_FAILURE).await;
    }
}
