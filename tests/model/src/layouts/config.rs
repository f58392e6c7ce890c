//! Instances and losses of a search, and the guards of a layout.

/// The most shards of a layout.
pub(super) const MOST: usize = 4;

/// Instances of a search, the place of the key, and losses.
#[derive(Clone, Copy, Debug)]
pub struct Layouts {
    /// The number of shards of each instance: 1, 2 or 4.
    pub instances: &'static [u8],
    /// The number that an instance may have after it is restarted, if it may be.
    pub restarted_with: Option<u8>,
    /// The place of the key in a layout of four shards. The shards of smaller layouts hold several
    /// places each.
    pub place: u8,
    /// Number of commits.
    pub commits: u8,
    /// How often each loss happens.
    pub losses: Losses,
    /// Guards of the layout.
    pub guards: LayoutGuards,
}

/// How often something is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// A link is lost, for another reason than those below.
    pub links: u8,
    /// The server of a shard restarts without its data.
    pub restarts: u8,
    /// The data of a shard is removed while links live (FLUSHALL).
    pub flushes: u8,
    /// The history of a shard alone is evicted, once at most in each shard.
    pub evictions: u8,
    /// An operator removes the history of one shard.
    pub removals: u8,
    /// A shard does not answer when an instance looks for other layouts.
    pub silent: bool,
}

/// Guards of the layout. All are in place, except for the one that a search removes.
#[derive(Clone, Copy, Debug)]
pub struct LayoutGuards {
    /// An attachment compares the number of shards.
    pub compares: bool,
    /// A barrier compares the number of shards.
    pub barrier_compares: bool,
    /// One shard with another layout ends the links of all shards.
    pub all_end: bool,
    /// An instance that begins the history of shard 0 looks at the shards of all other layouts.
    pub looks: bool,
    /// It looks at all of them, and not only at shard 1.
    pub looks_at_all: bool,
    /// If a shard does not answer, the history begins only if the own layout is in some shard.
    pub needs_answers: bool,
    /// An instance that begins the history of another shard has seen its layout in some shard.
    pub sees_own: bool,
    /// A shard that has found another layout looks again, whatever the other shards have found.
    pub looks_again: bool,
    /// A look that finds no other layout takes back what the shard found before, even if no history
    /// may begin.
    pub clears: bool,
}

impl LayoutGuards {
    /// All guards are in place.
    pub const ALL: Self = Self {
        compares: true,
        barrier_compares: true,
        all_end: true,
        looks: true,
        looks_at_all: true,
        needs_answers: true,
        sees_own: true,
        looks_again: true,
        clears: true,
    };
}

/// A violation.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A call returned a value from before an acknowledged invalidation.
    Stale,
    /// An instance cannot attach to all of its shards, although no other layout is left.
    Stuck,
}

impl Layouts {
    /// Returns the shard of the key in a layout.
    pub(super) fn shard_of_key(&self, shards: u8) -> usize {
        usize::from(self.place) * usize::from(shards) / MOST
    }
}
