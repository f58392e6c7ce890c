//! Removes what nobody will read any more: records that are dead, and those that an invalidation or a new history has voided.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use opendal::{Error, ErrorKind, Lister};
use tokio::time::{sleep, timeout};

use crate::owner::{BEAT, claims, last_claim};
use crate::shared::Shared;

/// The first sweep comes that long after the start: an instance may not live until the second.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// Objects that are looked at one after the other before it pauses.
const BATCH: usize = 64;

/// So that calls have the storage for most of the time.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the storage may take for one step.
const LONGEST_STEP: Duration = BEAT;

/// Objects that one sweep may fail at: some may not be removed ever, and a storage that answers nothing is left alone.
const MOST_FAILURES: usize = 8;

/// Sweeps every so often, or never; one sweep at a time.
pub(crate) async fn sweeps(shared: &Shared, every: Duration) {
    if !shared.store.operator().info().capability().list || every == Duration::MAX {
        return;
    }
    sleep(every.min(FIRST)).await;
    loop {
        match sweep(shared).await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "object storage was swept"),
            // What it did not come to is there the next time.
            Err(error) => tracing::debug!(error = %error, "a sweep of object storage ended early"),
        }
        sleep(every).await;
    }
}

impl Shared {
    /// Whether an object was void, and is removed. Not one that is just being written: that is waited for, and looked at again.
    pub(crate) async fn sweep_out(&self, path: &str) -> opendal::Result<bool> {
        if !self.is_void_now(path).await? {
            return Ok(false);
        }
        let _stripe = self.store.stripe(path).await;
        let _place = self.places.acquire().await;
        let is_void = self.store.is_void(path).await? && self.is_ours();
        if is_void {
            self.store.delete(path).await?;
        }
        Ok(is_void)
    }

    async fn is_void_now(&self, path: &str) -> opendal::Result<bool> {
        let _place = self.places.acquire().await;
        self.store.is_void(path).await
    }
}

/// How many records it removed.
async fn sweep(shared: &Shared) -> opendal::Result<usize> {
    let (mut removed, mut failures) = (0, 0);
    // From anywhere: one that ends early does not always end before the same ones.
    let from = fastrand::u8(..);
    for shard in 0..=u8::MAX {
        let folder = shared.store.shard(shard.wrapping_add(from));
        let mut objects = lister(shared, &folder).await?;
        loop {
            let batch = batch(&mut objects).await?;
            if batch.is_empty() {
                break;
            }
            for path in batch {
                // Another's, it is another's to sweep.
                if !shared.is_ours() {
                    return Ok(removed);
                }
                if !is_records(&path, &folder) {
                    continue;
                }
                match in_time(shared.sweep_out(&path)).await {
                    Ok(was_void) => removed += usize::from(was_void),
                    Err(error) if failures == MOST_FAILURES => return Err(error),
                    Err(_) => failures += 1,
                }
            }
            sleep(PAUSE).await;
        }
    }
    sweep_heirs(shared).await?;
    Ok(removed)
}

/// Of what was left once, and is not what is left now: nobody can inherit that any more.
async fn sweep_heirs(shared: &Shared) -> opendal::Result<()> {
    let (operator, prefix) = (shared.store.operator(), shared.store.prefix());
    let kept = in_time(last_claim(operator, prefix)).await?;
    let mut heirs = lister(shared, &claims(prefix)).await?;
    let heirs = batch(&mut heirs).await?;
    // Who looked before is done by then, or has been too slow.
    sleep(BEAT * 2).await;
    for path in heirs {
        let is_claim = !path.ends_with('/') && Some(&path) != kept.as_ref();
        if is_claim && shared.is_ours() {
            in_time(shared.store.delete(&path)).await?;
        }
    }
    Ok(())
}

async fn lister(shared: &Shared, folder: &str) -> opendal::Result<Lister> {
    in_time(shared.store.operator().lister(folder)).await
}

/// The next paths in a folder.
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

/// Whether that is the name of a record: what else somebody keeps there is theirs.
fn is_records(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

async fn in_time<T>(step: impl Future<Output = opendal::Result<T>>) -> opendal::Result<T> {
    timeout(LONGEST_STEP, step)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "no answer in time")))
}
