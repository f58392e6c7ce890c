//! Sources of values that belong to one test: a value with versions, and a gate that holds loads.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use crate::until;

/// The source of truth of one test: a value with versions, which counts how often it is read.
///
/// A cached function takes it as a skipped argument, so that no two tests share a static:
///
/// ```ignore
/// #[multi_tier_cached(ttl = "1h", skip(truth))]
/// async fn read(truth: &Truth, _key: u64) -> u64 {
///     truth.read()
/// }
/// ```
#[derive(Debug)]
pub struct Truth {
    version: AtomicU64,
    reads: AtomicU64,
}

impl Truth {
    /// Creates a source at version 1.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            version: AtomicU64::new(1),
            reads: AtomicU64::new(0),
        }
    }

    /// Returns the current version and counts the read, as the body of a cached function does.
    pub fn read(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.version()
    }

    /// Returns the current version without counting a read.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Changes the value, as the commit of a transaction does, and returns the new version.
    pub fn commit(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Number of reads, which is the number of loads in all instances.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Default for Truth {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds the loads of one test until the test lets them continue.
#[derive(Debug)]
pub struct Gate {
    entered: AtomicU64,
    permits: Semaphore,
}

impl Gate {
    /// Creates a gate that is closed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entered: AtomicU64::new(0),
            permits: Semaphore::const_new(0),
        }
    }

    /// Counts a load, and waits until the test lets it continue. Returns the number of the load,
    /// counted from 1.
    pub async fn pass(&self) -> u64 {
        let number = self.entered.fetch_add(1, Ordering::SeqCst) + 1;
        let permit = self.permits.acquire().await;
        permit.expect("the gate is never destroyed").forget();
        number
    }

    /// Number of loads that have come to the gate.
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::SeqCst)
    }

    /// Waits until `number` loads have come to the gate.
    pub async fn until_entered(&self, number: u64) {
        let what = format!("{number} loads have come to the gate");
        until(&what, || self.entered() == number).await;
    }

    /// Lets `number` loads pass, those that wait first.
    pub fn let_through(&self, number: usize) {
        self.permits.add_permits(number);
    }

    /// Lets all loads pass from now on.
    pub fn open(&self) {
        // Far fewer than the most permits of a semaphore, and more loads than any test makes.
        self.permits.add_permits(1_000_000);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
