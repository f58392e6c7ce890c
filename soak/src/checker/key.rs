//! Everything that is known of one key.

use std::collections::BTreeMap;

use super::observed::{Floors, Invalidation, Read, Span};
use crate::history::{Life, Micros, Split, Window};
use crate::items::{FIRST_VERSION, Item};

/// Everything that is known of one key.
pub(super) struct Key<'a> {
    pub(super) item: Item,
    pub(super) bound: Micros,
    pub(super) commits: Floors,
    pub(super) invalidations: Vec<Invalidation>,
    pub(super) windows: &'a [Span],
    pub(super) splits: &'a [Split],
    /// Number of the last life of each instance.
    pub(super) last: &'a BTreeMap<u16, u16>,
}

impl Key<'_> {
    /// Returns the version in the database at `at`.
    pub(super) fn committed(&self, at: Micros) -> u64 {
        self.commits.at(at).max(FIRST_VERSION)
    }

    /// Returns begin and end of the time of this kind that includes `at`.
    pub(super) fn window(&self, wanted: Window, at: Micros) -> Option<(Micros, Micros)> {
        self.windows
            .iter()
            .find(|(kind, start, end)| *kind == wanted && (*start..=*end).contains(&at))
            .map(|(_, start, end)| (*start, *end))
    }

    /// Returns the versions that these invalidations make known, from when they returned.
    pub(super) fn floors(&self, is_included: impl Fn(&Invalidation) -> bool) -> Floors {
        let included = self.invalidations.iter().filter(|one| is_included(one));
        let known = included.map(|one| (one.end, self.committed(one.start)));
        Floors::new(known.collect())
    }
}

/// Divides reads by the life in which they happened.
pub(super) fn by_life(reads: &[Read]) -> BTreeMap<Life, Vec<Read>> {
    let mut of_life: BTreeMap<Life, Vec<Read>> = BTreeMap::new();
    for read in reads {
        of_life.entry(read.life).or_default().push(*read);
    }
    of_life
}
