//! State of the instance of this process.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::settings::Settings;
use crate::database::Client;
use crate::history::{Event, Life};

static INSTANCE: OnceLock<Instance> = OnceLock::new();

/// State of the instance of this process. The atomics are independent flags and counters, so they
/// are used with `Relaxed`.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) database: Client,
    pub(super) life: Life,
    /// Mean time between two changes.
    pub(super) pause: Duration,
    /// Number of loads in a thousand that fail.
    pub(super) failing: AtomicU32,
    /// Locked while one event is written or while the file is flushed.
    history: Mutex<BufWriter<File>>,
    pub(super) working: AtomicBool,
    pub(super) probing: AtomicBool,
    pub(super) watching: AtomicBool,
    /// Calls that returned an error.
    pub(super) failed: AtomicU64,
    /// Invalidations that returned an error.
    pub(super) errors: AtomicU64,
}

impl Instance {
    /// Creates the instance of this process.
    pub(super) fn start(settings: &Settings) -> Result<&'static Self, Box<dyn std::error::Error>> {
        let instance = Self {
            database: Client::new(&settings.database, settings.life),
            life: settings.life,
            pause: settings.pause,
            failing: AtomicU32::new(0),
            history: Mutex::new(BufWriter::new(File::create(&settings.history)?)),
            working: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        };
        let set = INSTANCE.set(instance);
        set.map_err(|_| "the process has an instance already")?;
        Ok(Self::get())
    }

    pub(super) fn get() -> &'static Self {
        INSTANCE.get().expect("an instance that was started")
    }

    fn history(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event.
    pub(super) fn record(&self, event: &Event) {
        let _ = writeln!(self.history(), "{event}");
    }

    /// Makes the events durable against the end of the process.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.history().flush()
    }
}
