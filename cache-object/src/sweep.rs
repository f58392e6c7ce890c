//! Deletes records that cannot be valid any more: expired ones, and those that an invalidation or a
//! new history has voided.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use opendal::{Error, ErrorKind, Lister};
use tokio::time::{sleep, timeout};

use crate::owner::{HEARTBEAT, claims, last_claim};
use crate::prefix::Prefix;

/// The first sweep begins this long after the start. An instance may not live until the second one.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// The number of objects between two pauses.
const BATCH: usize = 64;

/// The pause, which leaves the storage to calls for most of the time.
const PAUSE: Duration = Duration::from_millis(200);

/// The time limit of one request.
const STEP_LIMIT: Duration = HEARTBEAT;

/// The number of objects at which one sweep may fail. Some objects may never be deleted, but a
/// storage that does not respond is left alone.
const MAX_FAILURES: usize = 8;

/// Sweeps at intervals of `every`, one sweep at a time; never if it is `Duration::MAX` or the
/// service cannot list.
pub(crate) async fn run(prefix: &Prefix, every: Duration) {
    if !prefix.store.operator().info().capability().list || every == Duration::MAX {
        return;
    }
    sleep(every.min(FIRST)).await;
    loop {
        match sweep(prefix).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::debug!(target: "multi_tier_cached::object", removed, "object storage was swept")
            }
            // The next sweep finds the objects that this one did not reach.
            Err(error) => {
                tracing::debug!(target: "multi_tier_cached::object", error = %error, "a sweep of object storage failed; it is repeated later");
            }
        }
        sleep(every).await;
    }
}

impl Prefix {
    /// Deletes an object if it is void, and returns whether it was. If the object is being written,
    /// this waits for the write and looks again.
    pub(crate) async fn sweep_out(&self, path: &str) -> opendal::Result<bool> {
        if !self.is_void_now(path).await? {
            return Ok(false);
        }
        let _locked = self.store.lock(path).await;
        let _permit = self.permits.acquire().await;
        let is_void = self.store.is_void(path).await? && self.is_held();
        if is_void {
            self.store.delete(path).await?;
        }
        Ok(is_void)
    }

    async fn is_void_now(&self, path: &str) -> opendal::Result<bool> {
        let _permit = self.permits.acquire().await;
        self.store.is_void(path).await
    }
}

/// Sweeps once, and returns the number of deleted records.
async fn sweep(prefix: &Prefix) -> opendal::Result<usize> {
    let (mut removed, mut failures) = (0, 0);
    // A random start: sweeps that end early do not always end before the same objects.
    let from = fastrand::u8(..);
    for shard in 0..=u8::MAX {
        let folder = prefix.store.shard(shard.wrapping_add(from));
        let mut objects = lister(prefix, &folder).await?;
        loop {
            let batch = batch(&mut objects).await?;
            if batch.is_empty() {
                break;
            }
            for path in batch {
                // The next owner sweeps its prefix itself.
                if !prefix.is_held() {
                    return Ok(removed);
                }
                if !is_record(&path, &folder) {
                    continue;
                }
                match in_time(prefix.sweep_out(&path)).await {
                    Ok(was_void) => removed += usize::from(was_void),
                    Err(error) if failures == MAX_FAILURES => return Err(error),
                    Err(_) => failures += 1,
                }
            }
            sleep(PAUSE).await;
        }
    }
    sweep_claims(prefix).await?;
    Ok(removed)
}

/// Deletes the claims on epochs that were left earlier: no instance can inherit those any more.
async fn sweep_claims(prefix: &Prefix) -> opendal::Result<()> {
    let (operator, name) = (prefix.store.operator(), prefix.store.prefix());
    let kept = in_time(last_claim(operator, name)).await?;
    let mut claims = lister(prefix, &claims(name)).await?;
    let claims = batch(&mut claims).await?;
    // An instance that read the epochs before they were replaced has created its claim by then, or
    // was too slow to inherit.
    sleep(HEARTBEAT * 2).await;
    for path in claims {
        let is_claim = !path.ends_with('/') && Some(&path) != kept.as_ref();
        if is_claim && prefix.is_held() {
            in_time(prefix.store.delete(&path)).await?;
        }
    }
    Ok(())
}

async fn lister(prefix: &Prefix, folder: &str) -> opendal::Result<Lister> {
    in_time(prefix.store.operator().lister(folder)).await
}

/// Returns the next paths in a folder.
async fn batch(objects: &mut Lister) -> opendal::Result<Vec<String>> {
    let mut paths = Vec::new();
    while paths.len() < BATCH {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *objects).poll_next(cx));
        let next = async { next.await.transpose() };
        match in_time(next).await? {
            Some(entry) => paths.push(entry.path().to_owned()),
            None => break,
        }
    }
    Ok(paths)
}

/// Returns `true` if the path is that of a record. Other objects in the folder are not the tier's.
fn is_record(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

async fn in_time<T>(step: impl Future<Output = opendal::Result<T>>) -> opendal::Result<T> {
    timeout(STEP_LIMIT, step)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "no reply in time")))
}
