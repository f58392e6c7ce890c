use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{Tier, TierBuilder, TierContext};
use cache_core::{Error, ErrorKind};

use crate::generations::LEAST_BYTES;
use crate::tier::DiskTier;

/// Longest time limit.
const LONGEST_LIMIT: Duration = Duration::from_secs(5 * 60);

/// A directory as a tier, which outlives the process. One process uses it at a time; a second one gets an error that says so.
///
/// ```no_run
/// use cache_core::{CacheRuntime, Memory};
/// use cache_disk::Disk;
///
/// # async fn example() -> Result<(), cache_core::Error> {
/// CacheRuntime::builder()
///     .l1(Memory::builder())
///     .l3(Disk::new("/var/cache/shop").max_bytes(4 << 30))
///     .install()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// **When**: values that are costly to load and too many for memory, on an instance that keeps its disk.
///
/// **What it promises**: it is *private*, no other instance reads it, and fenced: a fill that an invalidation has overtaken is
/// refused. Alone, or under memory, what it has from before a restart counts: nobody else invalidates it, and an invalidation here
/// is synced to the disk when it has returned [`Acked`](cache_core::tier::Receipt::Acked). One that could not be written in time is
/// [`Queued`](cache_core::tier::Receipt::Queued): what it names is not read meanwhile, a mark beside the store says that it is
/// owed, and a process that comes after one that ended so drops everything. Where the mark could not be written in time either it is
/// an error, and tried again as long as the process lives. Beside a tier that others share what it has counts only
/// as long as its process lives, since nobody knows what they invalidated in between.
///
/// **What it costs**: a read is a disk's, and a change of threads. A fill is given to the system and not waited for by a sync: when
/// the machine dies the last ones may be lost, when the process is killed none that had returned. A disk that is full, or fails,
/// costs misses: the store is closed, and opened again when it can be. Where something is found that was not written so, all that is
/// there is dropped, with a warning, and the tier begins anew.
#[derive(Clone, Debug)]
pub struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) time_limit: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) sweep_every: Duration,
}

impl Disk {
    /// The directory at `path`; made where there is none. One that something else is in is an error at `install`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            // A small part of a server's disk.
            max_bytes: 1 << 30,
            // A disk that is busy answers within some ten milliseconds; who waits longer is better off loading.
            time_limit: Duration::from_millis(250),
            // Larger ones are read in one piece, and are better kept as files of their own.
            max_record_bytes: 8 << 20,
            // Dead records are not read: all that a sweep saves is room, at the price of reading the disk once.
            sweep_every: Duration::from_secs(60 * 60),
        }
    }

    /// About how many bytes it takes, at least 128 MiB, of which 64 are for the journal. Default: 1 GiB. What was read or written
    /// longest ago goes first.
    ///
    /// While it drops that it may take up to twice as much.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// What a call may spend on it beyond its body, in all. Default: 250 ms. An invalidation waits for as long.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Largest record that is written. Default: 8 MiB. A larger one is not stored
    /// here, and counted ([`TierStats::too_large`](cache_core::TierStats::too_large)).
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// How often it looks for dead records and removes them, at some 50 MiB a second at most. Default: an hour. They are never
    /// answered, however long they stay. [`Duration::MAX`] is never.
    #[must_use]
    pub fn sweep_every(mut self, sweep_every: Duration) -> Self {
        self.sweep_every = sweep_every;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |problem: String| Err(Error::new(ErrorKind::Configuration, problem));
        if self.path.as_os_str().is_empty() {
            return wrong("directory of the disk tier is empty".into());
        }
        if self.max_bytes < LEAST_BYTES {
            return wrong(format!(
                "size of the disk tier is {} bytes: the minimum is {LEAST_BYTES}",
                self.max_bytes
            ));
        }
        if self.time_limit.is_zero() {
            return wrong("time limit of the disk tier is zero: no read could end in time".into());
        }
        if self.time_limit > LONGEST_LIMIT {
            return wrong(
                "time limit of the disk tier is more than five minutes: calls would wait that long for a disk that hangs".into(),
            );
        }
        if self.sweep_every.is_zero() {
            return wrong("time between two sweeps of the disk tier is zero".into());
        }
        let most = usize::try_from(self.max_bytes / 4).unwrap_or(usize::MAX);
        if self.max_record_bytes == 0 || self.max_record_bytes > most {
            return wrong(format!(
                "maximum record size of the disk tier is {} bytes: it must be between 1 and a quarter of the tier's size, {most}",
                self.max_record_bytes
            ));
        }
        Ok(())
    }
}

impl TierBuilder for Disk {
    fn store(&self) -> Option<String> {
        Some(format!("the directory `{}`", self.path.display()))
    }

    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(DiskTier::new(*self)))
    }
}
