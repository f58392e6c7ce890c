//! One number that is counted up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A counter for paths that are not hot. Relaxed: counters do not order other accesses.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Number of cells of a [`HitCounter`]: two threads of a small machine rarely share one, and each
/// function can have its own cells.
const CELLS: usize = 8;

/// A counter for hits.
///
/// Each thread counts in one cell, and each cell has its own cache line, so threads do not slow
/// each other down. A reader adds the cells up.
#[derive(Debug, Default)]
pub(crate) struct HitCounter([OwnLine; CELLS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct OwnLine(AtomicU64);

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

static NEXT_CELL: AtomicUsize = AtomicUsize::new(0);

#[cold]
fn choose_cell() -> usize {
    let cell = NEXT_CELL.fetch_add(1, Ordering::Relaxed) % CELLS;
    CELL.set(cell);
    cell
}

impl HitCounter {
    #[inline]
    pub(crate) fn add_one(&self) {
        let mut cell = CELL.get();
        if cell == usize::MAX {
            cell = choose_cell();
        }
        self.0[cell % CELLS].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|cell| cell.0.load(Ordering::Relaxed))
            .sum()
    }
}
