//! Calls and bodies of a search, and the guards against rings.

/// A key: an index.
pub(super) type Key = u8;

/// Calls and bodies of a search.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Calls from outside of any load, each with its instance and key.
    pub calls: &'static [(u8, Key)],
    /// Keys that the body of each key calls, one after another.
    pub bodies: &'static [&'static [Key]],
    /// Number of callers that may be dropped.
    pub drops: u8,
    /// `true` if loads can wait for each other. If they cannot, no two callers may load one key at
    /// once.
    pub has_ring: bool,
    /// Guards against rings.
    pub guards: RingGuards,
}

/// Guards against rings. All are in place, except for the one that a search removes.
#[derive(Clone, Copy, Debug)]
pub struct RingGuards {
    /// The store keeps the waits as edges.
    pub edges: bool,
    /// The edges of a wait are added, searched, and removed if they close a ring, in one step.
    pub one_step: bool,
    /// A waiting leader asks again from time to time, also for loads that began to wait for its
    /// flight later.
    pub asks_again: bool,
    /// A caller continues only if its wait closes a ring.
    pub waits_without_limit: bool,
}

impl RingGuards {
    /// All guards are in place.
    pub const ALL: Self = Self {
        edges: true,
        one_step: true,
        asks_again: true,
        waits_without_limit: true,
    };
}

/// A violation.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Calls wait for each other forever.
    Deadlock,
    /// Steps can be repeated endlessly.
    Endless,
    /// Two callers load a key at the same time although no loads wait for each other.
    LoadedTwice,
    /// More than one caller of a ring continues.
    SeveralContinue,
}

impl Rings {
    /// Returns the instance of a task.
    pub(super) fn instance(&self, task: u8) -> usize {
        usize::from(self.calls[usize::from(task)].0)
    }
}
