//! Events of a search, and the guards of the ledger.

pub(super) const INSTANCES: usize = 2;

/// Events of a search: how often each may happen, at which instances, and which guards are in
/// place.
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    /// Number of changes of the truth.
    pub commits: u8,
    /// Instances that invalidate and expire.
    pub writers: &'static [u8],
    /// Instances that load and store records.
    pub loaders: &'static [u8],
    /// Instances that have a mirror, and return values by it. Instances do not depend on the mirror
    /// of another one, so a search has one of them.
    pub readers: &'static [u8],
    /// Instances that return values by what the store answers.
    pub strong: &'static [u8],
    /// Number of fields of a generation, after which the ledger rotates.
    pub capacity: u8,
    /// How often each event happens.
    pub events: Events,
    /// State at the beginning.
    pub start: Start,
    /// Target of an expiry.
    pub expiry: Expiry,
    /// `true` if instances also keep values in memory.
    pub memory: bool,
    /// `true` if each state is checked for whether records can be stored and returned after it.
    pub recovers: bool,
    /// Guards of the ledger.
    pub guards: LedgerGuards,
}

/// State at the beginning of a search.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Neither a ledger nor a record.
    Cold,
    /// A ledger, mirrors of it, and a record.
    Warm,
    /// A ledger and a record. The mirrors are loaded when links live.
    WithoutMirrors,
}

/// Target of an expiry.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key of the record, whose lease is known.
    Key,
    /// Its tag or its function. The leases are not known.
    Several,
}

/// How often each event may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Events {
    /// The tag of the record is invalidated.
    pub tags: u8,
    /// Another tag is invalidated, which fills the ledger.
    pub others: u8,
    /// The record is expired.
    pub expiries: u8,
    /// An invalidation is queued, because it cannot be sent.
    pub queued: u8,
    /// More invalidations are queued than are kept one by one.
    pub overflows: u8,
    /// The current generation is evicted.
    pub evictions: u8,
    /// The older generation is evicted.
    pub old_evictions: u8,
    /// All data of the server is removed while links live (FLUSHALL).
    pub flushes: u8,
    /// A link is lost.
    pub breaks: u8,
    /// A replica takes the place of the server. The writes that it lacks are lost.
    pub failovers: u8,
}

/// Guards of the ledger. All are in place, except for the one that a search removes.
#[derive(Clone, Copy, Debug)]
pub struct LedgerGuards {
    /// A record carries the mark of the lease of its load, and not the mark when it is stored.
    pub mark_first: bool,
    /// A record of another base is not valid.
    pub base: bool,
    /// A ledger begins with a base that none had before.
    pub fresh_base: bool,
    /// The script that begins a ledger publishes the base.
    pub begun_published: bool,
    /// Each message of the ledger carries the base.
    pub messages_carry_base: bool,
    /// A record from before the oldest generation is not valid.
    pub floor: bool,
    /// If the older generation is missing, the current one is the oldest.
    pub floor_without_old: bool,
    /// An older generation of another base is treated as missing.
    pub base_of_old: bool,
    /// A reader asks for the current generation before the older one.
    pub current_first: bool,
    /// The instance that invalidates applies the reply to its mirror.
    pub second_fence: bool,
    /// A reply with another base ends the mirror.
    pub reply_ends: bool,
    /// A message with another base ends the mirror, which is loaded again.
    pub message_ends: bool,
    /// A message with another base does not make an empty mirror of that base.
    pub loaded_again: bool,
    /// A mirror does not answer before it is complete.
    pub complete: bool,
    /// A mirror ends with its link.
    pub of_link: bool,
    /// Messages that arrive during the load of a mirror are applied after it.
    pub kept: bool,
    /// Replies that arrive during the load of a mirror are applied after it.
    pub replies_kept: bool,
    /// A message never decreases a number of the mirror.
    pub never_less: bool,
    /// A load of a mirror is not used if the ledger was replaced or rotated since it began.
    pub compared: bool,
    /// A rotation of a mirror keeps what is numbered after it.
    pub rotation_keeps: bool,
    /// A rotation that the mirror knows already changes nothing.
    pub known_rotation: bool,
    /// An expiry deletes the lease of its key.
    pub expiry_voids: bool,
    /// A record whose tag is queued is not valid in the instance that queued it.
    pub queued: bool,
    /// Too many queued tags become the invalidation of all tags, which begins a new ledger.
    pub overflow_begins: bool,
    /// The message of all tags also voids memory.
    pub all_void_memory: bool,
    /// A value in memory is dated by the moment before its ledger was asked.
    pub dated_before: bool,
    /// Memory is voided again after the reply to an invalidation.
    pub memory_again: bool,
    /// A message and a reply change the mirror before they void memory.
    pub mirror_first: bool,
    /// Records carry the history of the server.
    pub history: bool,
}

impl LedgerGuards {
    /// All guards are in place.
    pub const ALL: Self = Self {
        mark_first: true,
        base: true,
        fresh_base: true,
        begun_published: true,
        messages_carry_base: true,
        floor: true,
        floor_without_old: true,
        base_of_old: true,
        current_first: true,
        second_fence: true,
        reply_ends: true,
        message_ends: true,
        loaded_again: true,
        complete: true,
        of_link: true,
        kept: true,
        replies_kept: true,
        never_less: true,
        compared: true,
        rotation_keeps: true,
        known_rotation: true,
        expiry_voids: true,
        queued: true,
        overflow_begins: true,
        all_void_memory: true,
        dated_before: true,
        memory_again: true,
        mirror_first: true,
        history: true,
    };
}

/// A violation.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A call returned a value from before an acknowledged invalidation.
    Stale,
    /// A call returned a value from before an acknowledged expiry as a fresh one.
    Fresh,
    /// A call waits for a load from before an acknowledged expiry.
    WaitsForOld,
    /// No record can be stored that all instances return.
    Stuck,
}
