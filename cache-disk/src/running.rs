//! The threads and the store of a tier, from its start to its shutdown.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use cache_core::tier::Target;
use cache_core::tier::kit::lock;
use cache_core::{Error, ErrorKind};
use tokio::sync::oneshot;

use crate::config::Disk;
use crate::dirty_marker::DirtyMarker;
use crate::ledger::DiskLedger;
use crate::maintenance::Maintenance;
use crate::open::open;
use crate::store::Store;
use crate::threads::Threads;

/// The tier while it runs. If it is dropped, its threads end after what they do now.
pub(crate) struct Running {
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) threads: Threads,
    pub(crate) maintenance_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.maintenance.end();
    }
}

impl Running {
    /// Opens the store, or continues without it until it can be opened.
    pub(crate) fn start(config: &Disk, ledger: Arc<DiskLedger>) -> Result<Self, Error> {
        let path = config.path.display();
        let cannot = |source: io::Error| {
            let problem = format!("`{path}` cannot be used as a disk tier: {source}");
            Error::with_source(ErrorKind::Configuration, problem, source)
        };
        let marker = DirtyMarker::open(&config.path).map_err(cannot)?;
        let opened = match open(config, &ledger, false) {
            Err(fjall::Error::Io(source)) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(cannot(source));
            }
            opened => opened,
        };
        let store = opened
            .and_then(|store| discard_if_dirty(config, &marker, store))
            .inspect_err(|error| {
                tracing::warn!(target: "multi_tier_cached::disk", path = %path, error = %error, "the disk tier cannot be opened; continuing without it until it can");
            })
            .ok();
        if store.is_none() && marker.is_dirty() {
            // The store is opened later without a look at the marker, so everything is pending.
            ledger.state().pending().add(Target::All);
        }
        let maintenance = Arc::new(Maintenance::new(config.clone(), store, ledger, marker));
        let maintenance_thread = {
            let maintenance = Arc::clone(&maintenance);
            let thread = thread::Builder::new().name("mtc-disk-maintenance".to_owned());
            thread.spawn(move || maintenance.run()).map_err(cannot)?
        };
        Ok(Self {
            maintenance,
            threads: Threads::start().map_err(cannot)?,
            maintenance_thread: Mutex::new(Some(maintenance_thread)),
        })
    }

    /// Waits until the invalidations up to a number are done. Returns `false` if they cannot be
    /// done for now.
    pub(crate) async fn flushed(&self, number: u64) -> bool {
        let mut progress = self.maintenance.progress();
        let failures = progress.borrow().failures;
        loop {
            let now = *progress.borrow_and_update();
            if now.done >= number || self.maintenance.state.pending().is_empty() {
                return true;
            }
            if now.failures > failures || progress.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Ends the threads, and closes the store after that.
    pub(crate) fn end(self: Arc<Self>) {
        self.maintenance.end();
        self.maintenance.state.pending().close();
        let thread = lock(&self.maintenance_thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.maintenance.mark_dirty();
        drop(self.maintenance.close());
        // An operation in progress holds the store until it has ended.
        self.threads.join();
    }
}

/// Voids all records if the last process ended while an invalidation was pending.
fn discard_if_dirty(config: &Disk, marker: &DirtyMarker, store: Store) -> fjall::Result<Store> {
    if marker.is_dirty() {
        let path = config.path.display();
        tracing::warn!(target: "multi_tier_cached::disk", path = %path, "the last process ended before an invalidation was on the disk; discarding all records");
        store.void_all()?;
        // From now on the marker is about the invalidations of this process.
        marker.clear_if(|| true)?;
    }
    Ok(store)
}

/// Runs `work` on a thread of its own, for work that the pool cannot do: its own start and its end.
pub(crate) fn on_new_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Error> {
    let (done, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("mtc-disk".to_owned());
    let begun = thread.spawn(move || {
        let _ = done.send(work());
    });
    begun.map(|_| receiver).map_err(|source| {
        let problem = "no thread could be started for the disk tier";
        Error::with_source(ErrorKind::Unavailable, problem, source)
    })
}
