//! The settings of the disk tier.

use std::path::PathBuf;
use std::time::Duration;

use cache_core::tier::kit::{DurationRange, SizeRange};
use cache_core::{Error, ErrorKind};

use crate::generations::MIN_BYTES;

/// A directory as a tier, which outlives the process. One process uses it at a time; a second one
/// gets an error that says so.
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
/// **Use it for** values that are costly to load and too many for memory, on an instance that keeps
/// its disk.
///
/// **Promises**: it is *private*: no other instance reads it. It is fenced: a fill that an
/// invalidation has overtaken is refused. If a function uses it alone or under memory, records from
/// before a restart are valid, because no other instance invalidates them. An invalidation that
/// returned [`Acked`](cache_core::tier::Receipt::Acked) has been synced to the disk. One that could
/// not be written in time is [`Queued`](cache_core::tier::Receipt::Queued): its records are not
/// read any more, a marker beside the store says that the store is behind, and if the process ends
/// before the invalidation is written, the next process drops all records. If the marker could not
/// be written either, the invalidation is an error, and the tier tries again as long as the process
/// lives. If a function also uses a shared tier, records are valid only as long as their process
/// lives, because another instance may have invalidated them since. Values with tags are stored,
/// and a tag that was invalidated or a value that was expired is known to the next process: the
/// tier has a [ledger](cache_core::tier::Ledger) of 65,536 entries. With more it begins again, and
/// all records with tags are misses.
///
/// **Costs**: a read of the disk and a switch of threads. A fill is handed to the operating
/// system and does not wait for a sync: if the machine loses power, the last fills may be lost; if
/// the process is killed, no fill that had returned is lost. A full or failing disk causes misses:
/// the store is closed, and opened again when possible. If damaged data is found, the tier logs a
/// warning, drops all records and begins with an empty store.
#[derive(Clone, Debug)]
pub struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) time_limit: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) sweep_every: Duration,
}

impl Disk {
    /// Uses the directory at `path`, which is created if it does not exist. If it holds files that
    /// are not a disk tier's, `install` fails.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            // A small part of a server's disk.
            max_bytes: 1 << 30,
            // A busy disk answers within some ten milliseconds. A caller that has waited longer is
            // better off loading.
            time_limit: Duration::from_millis(250),
            // A record is read in one piece. Larger values are better kept in files of their own.
            max_record_bytes: 8 << 20,
            // Expired records are never returned. A sweep only frees their space, and reads the
            // whole store for it.
            sweep_every: Duration::from_secs(60 * 60),
        }
    }

    /// Sets about how many bytes the tier takes: at least 128 MiB, 64 MiB of which are for the
    /// journal. The records that were read or written longest ago are evicted first. While they are
    /// removed, the tier may take up to twice as much. Default: 1 GiB.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets the time that one call may spend on the tier in all, besides its body. An invalidation
    /// waits as long. Default: 250 ms.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Sets the size of the largest record. A larger one is not stored here, and counted
    /// ([`TierStats::too_large`](cache_core::TierStats::too_large)). Default: 8 MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// Sets the time between two sweeps, which remove expired records at about 50 MiB a second.
    /// Expired records are never returned, swept or not. [`Duration::MAX`] disables sweeps.
    /// Default: one hour.
    #[must_use]
    pub fn sweep_every(mut self, sweep_every: Duration) -> Self {
        self.sweep_every = sweep_every;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.path.as_os_str().is_empty() {
            let problem = "directory of the disk tier is empty";
            return Err(Error::new(ErrorKind::Configuration, problem));
        }
        SizeRange::new(MIN_BYTES, u64::MAX).check("size of the disk tier", self.max_bytes)?;
        DurationRange::TIME_LIMIT.check("time limit of the disk tier", self.time_limit)?;
        DurationRange::INTERVAL
            .check("time between two sweeps of the disk tier", self.sweep_every)?;
        // A generation must hold several records.
        let record = self.max_record_bytes as u64;
        SizeRange::new(1, self.max_bytes / 4)
            .check("maximum record size of the disk tier", record)
            .map_err(|error| error.with_help("use at most a quarter of the tier's size"))
    }
}
