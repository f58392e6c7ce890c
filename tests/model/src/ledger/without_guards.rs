//! Searches that lack a guard, each with the violation that must be found.

use super::config::{Events, Ledger, LedgerGuards, Wrong};
use super::scenarios::{NOTHING, TAG, of, rotating, tags};

/// A name, a search, and the violation that must be found.
type Unguarded = (&'static str, Ledger, Wrong);

/// Returns the scenarios that lack a guard.
#[must_use]
pub fn without_a_guard() -> Vec<Unguarded> {
    let mut all = of_the_store();
    all.extend(of_the_mirror());
    all.extend(of_instances());
    all
}

fn without(remove: fn(&mut LedgerGuards), mut ledger: Ledger) -> Ledger {
    remove(&mut ledger.guards);
    ledger
}

/// Returns the scenarios without a guard of the scripts, and of records that the store judges.
#[rustfmt::skip]
fn of_the_store() -> Vec<Unguarded> {
    use Wrong::{Fresh, Stale, Stuck, WaitsForOld};
    let evicted = Events { evictions: 1, ..TAG };
    let other = Events { others: 1, ..evicted };
    let rotated = Events { others: 2, ..TAG };
    let old_evicted = Events { old_evictions: 1, ..rotated };
    let replaced = Events { evictions: 1, others: 3, ..TAG };
    let expired = Events { expiries: 1, ..NOTHING };
    vec![
        ("ledger: mark before the load", without(|g| g.mark_first = false, of(TAG).strong()), Stale),
        ("ledger: mark before the load, by the mirror", without(|g| g.mark_first = false, of(TAG)), Stale),
        ("ledger: mark before the load, expired", without(|g| g.mark_first = false, of(expired).several().strong()), Fresh),
        ("ledger: base", without(|g| g.base = false, of(other).strong()), Stale),
        ("ledger: a base that none had", without(|g| g.fresh_base = false, of(other).strong()), Stale),
        ("ledger: base published", without(|g| (g.begun_published, g.messages_carry_base) = (false, false), of(other)), Stale),
        ("ledger: base published when it begins", without(|g| g.begun_published = false, of(evicted).alive()), Stuck),
        ("ledger: base in each message", without(|g| g.messages_carry_base = false, of(evicted).late().alive()), Stuck),
        ("ledger: floor", without(|g| g.floor = false, rotating(rotated).strong()), Stale),
        ("ledger: floor without the older generation", without(|g| g.floor_without_old = false, rotating(old_evicted).strong()), Stale),
        ("ledger: base of the older generation", without(|g| g.base_of_old = false, rotating(replaced).strong()), Stale),
        ("ledger: current generation read first", without(|g| g.current_first = false, rotating(rotated).strong()), Stale),
        ("ledger: an expiry voids the lease", without(|g| g.expiry_voids = false, of(expired).both()), WaitsForOld),
        ("ledger: history", without(|g| g.history = false, of(Events { failovers: 1, ..TAG })), Stale),
    ]
}

/// Returns the scenarios without a guard of the mirror.
#[rustfmt::skip]
fn of_the_mirror() -> Vec<Unguarded> {
    use Wrong::{Fresh, Stale};
    let evicted = Events { evictions: 1, ..TAG };
    let other = Events { others: 1, ..evicted };
    let rotated = Events { others: 2, ..TAG };
    let old_evicted = Events { old_evictions: 1, ..rotated };
    let cut = Events { breaks: 1, ..TAG };
    let expired = Events { expiries: 1, ..NOTHING };
    let again = Events { evictions: 2, ..TAG };
    vec![
        ("ledger: base, by the mirror", without(|g| g.base = false, of(other)), Stale),
        ("ledger: floor, by the mirror", without(|g| g.floor = false, rotating(rotated)), Stale),
        ("ledger: floor without the older, by the mirror", without(|g| g.floor_without_old = false, rotating(old_evicted).late()), Stale),
        ("ledger: second fence", without(|g| g.second_fence = false, of(TAG).own()), Stale),
        ("ledger: second fence of an expiry", without(|g| g.second_fence = false, of(expired).own()), Fresh),
        ("ledger: a reply of another base ends it", without(|g| g.reply_ends = false, of(evicted).own()), Stale),
        ("ledger: a message of another base ends it", without(|g| g.message_ends = false, of(evicted)), Stale),
        ("ledger: loaded again, not begun empty", without(|g| g.loaded_again = false, of(again).both().own()), Stale),
        ("ledger: complete before it answers", without(|g| g.complete = false, of(TAG).late()), Stale),
        ("ledger: it ends with its link", without(|g| g.of_link = false, of(cut)), Stale),
        ("ledger: messages kept while it is loaded", without(|g| g.kept = false, of(TAG).late()), Stale),
        ("ledger: replies kept while it is loaded", without(|g| g.replies_kept = false, of(TAG).late().own()), Stale),
        ("ledger: a number never decreases", without(|g| g.never_less = false, Ledger { commits: 2, ..of(tags(2)).own() }), Stale),
        ("ledger: head compared, evicted", without(|g| g.compared = false, Ledger { commits: 2, ..of(Events { evictions: 1, ..tags(2) }).late() }), Stale),
        ("ledger: head compared, rotated", without(|g| g.compared = false, rotating(rotated).late()), Stale),
        ("ledger: a known rotation changes nothing", without(|g| g.known_rotation = false, rotating(Events { others: 3, ..TAG }).late().own()), Stale),
        ("ledger: a rotation keeps what is newer", without(|g| g.rotation_keeps = false, rotating(rotated).own()), Stale),
    ]
}

/// Returns the scenarios without a guard of the journal or of memory.
#[rustfmt::skip]
fn of_instances() -> Vec<Unguarded> {
    use Wrong::Stale;
    let queued = Events { queued: 1, ..NOTHING };
    let overflown = Events { overflows: 1, ..NOTHING };
    vec![
        ("ledger: a queued tag", without(|g| g.queued = false, of(queued).own()), Stale),
        ("ledger: too many queued begin a ledger", without(|g| g.overflow_begins = false, of(overflown)), Stale),
        ("ledger: all tags void memory", without(|g| g.all_void_memory = false, of(overflown).memory()), Stale),
        ("ledger: memory dated before the read", without(|g| g.dated_before = false, of(TAG).memory()), Stale),
        ("ledger: memory voided again", without(|g| g.memory_again = false, of(TAG).own().memory()), Stale),
        ("ledger: mirror before memory", without(|g| g.mirror_first = false, of(TAG).memory()), Stale),
        ("ledger: mirror before memory, reply", without(|g| g.mirror_first = false, of(TAG).own().memory()), Stale),
    ]
}
