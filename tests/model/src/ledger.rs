//! The ledger of tags as a model of which every state is searched.
//!
//! This comment is the specification of the ledger. Each rule is followed by the race that it
//! prevents. The guard of the same name in [`LedgerGuards`] is in brackets; without it, a search of
//! [`without_guards`] has to find a violation.
//!
//! # Terms
//!
//! A store has a *ledger* in each shard: a hash with a random *base*, the *count* of invalidations
//! and expiries, and for each digest of a tag the number of its last invalidation. For each digest
//! of a key, a function or a tag it also has the number of the last expiry. A ledger has two
//! *generations*, `#ledger` and `#ledger:old`, both with the base, and each with the count at which
//! it began. A *mark* is the base and the count at one moment. A *mirror* is the ledger as an
//! instance knows it. No rule compares times, and none compares the number of a message of the
//! channel with anything.
//!
//! # Scripts
//!
//! Each script is one step, which also publishes.
//!
//! 1. **A script that needs a ledger begins it if it is missing**, has another type, or lacks a
//!    number: with a base that was drawn for this sending of the script, the count 0, and the
//!    message `b:<base>`, before any number of that base. [`fresh_base`]: a base that was used
//!    before makes old marks look newer than new invalidations. [`begun_published`]: mirrors keep
//!    the former base, by which no new record is valid, until the next invalidation.
//! 2. **An invalidation of tags** deletes a key first, so that a full server runs it to the end. If
//!    the generation is full, it renames `#ledger` to `#ledger:old`, begins a generation with the
//!    same base and count, and publishes `g:<base>:<count>`. It increases the count by one, notes
//!    the new number at each tag, and publishes `t:<base>:<number>:<digests>`. The reply is the
//!    mark. [`messages_carry_base`]: a mirror that was loaded ahead of the channel would apply
//!    numbers of the former base.
//! 3. **An expiry** does the same with the numbers of expiries and the message
//!    `d:<base>:<number>:<digests>`. The expiry of a key first deletes the lease of the key.
//!    [`expiry_voids`]: a call after the expiry would wait for a load from before it. The value of
//!    such a load is stale by its mark in any case. An expiry of a function or a tag knows no
//!    leases, so there a call can wait for one load that does not help it.
//! 4. **An invalidation of all tags** deletes both generations, begins the ledger, and publishes
//!    `a:<base>` in place of `b:<base>`. [`all_void_memory`]: `a` also voids all tagged values in
//!    memory. A `b` does not, because the eviction of a ledger invalidates nothing.
//! 5. **A lease returns the mark**, and begins the ledger. The load begins after the reply. The
//!    record carries this mark and its tags. A fill does not look at the ledger. [`mark_first`]: a
//!    value that was loaded before an invalidation and stored after it would look newer than it.
//! 6. **Nothing restores an evicted ledger.** The next script begins another one.
//!
//! # Validity of a record
//!
//! 7. **A record is invalid if there is no ledger, or if its base is another one.** [`base`]: the
//!    numbers of a ledger that was lost begin again at 1. A record without tags may be used as a
//!    stale value then: at most an expiry is unknown.
//! 8. **A record is invalid if its number is below the floor**, the count at which the oldest
//!    generation began. [`floor`]: the numbers of tags in generations before it are lost.
//! 9. **The floor is that of the older generation only if there is one with the same base.**
//!    Otherwise it is that of the current one. [`floor_without_old`]: the older generation can be
//!    evicted alone. [`base_of_old`]: it can be left over from a ledger that was lost. It is not
//!    noted whether an older generation must exist: it must if the current one began above 0.
//! 10. **A record is invalid if a tag of it has a greater number, and stale if an expiry of a tag,
//!     of its key or of its function has one.**
//! 11. **A reader that asks the store reads the record, then the current generation, then the older
//!     one.** [`current_first`]: a rotation between the two would hide the generation that was
//!     current. One round trip in this order is enough; it need not be one step.
//! 12. **Records carry the history of the server**, as all records do. [`history`]: after a
//!     failover that loses writes, the count is used again for other invalidations with the same
//!     base.
//!
//! # The mirror
//!
//! 13. **A mirror ends with its link**, and the load of a mirror too. [`of_link`]: messages between
//!     two links are missed.
//! 14. **A mirror answers only when its load has ended, and only while the instance is coherent.**
//!     Otherwise the reader asks the store. [`complete`]: invalidations from before the link are
//!     unknown. The link can be coherent before the mirror is complete.
//! 15. **The load begins after the subscription.** It reads the head, which is the base and the
//!     beginning of both generations, then all fields of both, then the head again. If the heads
//!     differ, it begins again. [`compared`]: the fields of a ledger that was replaced or rotated
//!     between the heads would be treated as those of another one.
//! 16. **While a mirror is loaded, messages and own replies are kept, and applied after the load**
//!     in their order. [`kept`], [`replies_kept`]: an invalidation after the field was read would
//!     be lost.
//! 17. **`t`, `d` and own replies of the same base** raise the number of each digest, and never
//!     decrease it. [`never_less`]: the message of an earlier invalidation can arrive after the
//!     reply to a later one.
//! 18. **`g` of the same base** moves the floor to the beginning of the generation that was
//!     current. Numbers above the floor stay. If the generation is already known, nothing changes.
//!     [`rotation_keeps`], [`known_rotation`]: the number of an own reply, which is ahead of the
//!     messages, would be dropped with a generation that is older than it.
//! 19. **A message or an own reply of another base ends the mirror, which is loaded again**; also
//!     if the load has found no ledger. [`message_ends`], [`reply_ends`]: invalidations in the new
//!     ledger would be ignored. [`loaded_again`]: an empty mirror of the base that `b` announces
//!     lacks the number of an own reply, whose message is still on its way.
//!
//! # The instance that invalidates, and memory
//!
//! 20. **The reply to an invalidation is applied to the mirror** before the invalidation is
//!     acknowledged. [`second_fence`]: the message can arrive later than the reply.
//! 21. **An invalidation that is not acknowledged is queued, and sent again.** Its tags are invalid
//!     in this instance until the reply to the second sending is applied. [`queued`]. An expiry
//!     that cannot be sent is queued as an invalidation.
//! 22. **More tags than can be queued become all tags** (rule 4), and until these are sent, all
//!     tagged records are invalid in this instance. [`overflow_begins`].
//! 23. **Memory is voided before the invalidation is sent, and again after the reply.**
//!     [`memory_again`]: a record that was read in between is newer than the first fence.
//! 24. **A message or a reply changes the mirror first and voids memory after.** [`mirror_first`]:
//!     in the other order a call takes its number after the fence, and asks the mirror before the
//!     change. Its record would stay in memory.
//! 25. **A value in memory has the number from before its record was judged.** [`dated_before`]:
//!     the message can arrive in between.
//!
//! # Older builds
//!
//! A build that does not know these messages voids all of its memory at each of them, and takes a
//! record with a mark for damaged. It stores records without marks, which are misses for a function
//! that has tags or expiries. If it restarts the sequence of the channel, the ledger stays as it
//! is. Nothing follows from that, because marks do not depend on the numbers of messages. For the
//! same reason a newer build keeps the ledger when it restarts the sequence.
//!
//! # The search
//!
//! Two instances use one record with one tag. A call that returns a value is compared with the
//! invalidations and expiries that it must know: a strong call those that were acknowledged before
//! it began, a call by the mirror or from memory those that were acknowledged before the last
//! barrier, and either one those of its own instance. A record can be stored and returned after
//! each state, when nothing is lost any more.
//!
//! A mirror has no effect on other instances, so each search has one mirror, that of the instance
//! that invalidates or that of the other one.
//!
//! The following is left to the model of the [`protocol`](crate::protocol): time, messages that are
//! lost on a link that lives, an old primary that lives on, leases that expire, and the
//! invalidation of keys and functions.
//!
//! [`fresh_base`]: LedgerGuards::fresh_base
//! [`begun_published`]: LedgerGuards::begun_published
//! [`messages_carry_base`]: LedgerGuards::messages_carry_base
//! [`expiry_voids`]: LedgerGuards::expiry_voids
//! [`all_void_memory`]: LedgerGuards::all_void_memory
//! [`mark_first`]: LedgerGuards::mark_first
//! [`base`]: LedgerGuards::base
//! [`floor`]: LedgerGuards::floor
//! [`floor_without_old`]: LedgerGuards::floor_without_old
//! [`base_of_old`]: LedgerGuards::base_of_old
//! [`current_first`]: LedgerGuards::current_first
//! [`history`]: LedgerGuards::history
//! [`of_link`]: LedgerGuards::of_link
//! [`complete`]: LedgerGuards::complete
//! [`compared`]: LedgerGuards::compared
//! [`kept`]: LedgerGuards::kept
//! [`replies_kept`]: LedgerGuards::replies_kept
//! [`never_less`]: LedgerGuards::never_less
//! [`rotation_keeps`]: LedgerGuards::rotation_keeps
//! [`known_rotation`]: LedgerGuards::known_rotation
//! [`message_ends`]: LedgerGuards::message_ends
//! [`reply_ends`]: LedgerGuards::reply_ends
//! [`loaded_again`]: LedgerGuards::loaded_again
//! [`second_fence`]: LedgerGuards::second_fence
//! [`queued`]: LedgerGuards::queued
//! [`overflow_begins`]: LedgerGuards::overflow_begins
//! [`memory_again`]: LedgerGuards::memory_again
//! [`mirror_first`]: LedgerGuards::mirror_first
//! [`dated_before`]: LedgerGuards::dated_before

mod canonical;
mod config;
mod invalidation;
mod liveness;
mod message;
mod mirror;
mod reading;
pub mod scenarios;
mod search;
mod server;
mod state;
mod steps;
mod transition;
pub mod without_guards;

pub use self::config::{Events, Expiry, Ledger, LedgerGuards, Start, Wrong};
pub use self::state::State;
pub use self::steps::Step;
