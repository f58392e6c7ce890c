//! A function bound to a runtime: the one place that reads, commits and invalidates its values.
//!
//! Whatever makes a value (a miss, a refresh, a put, a copy from a lower tier) stores it in this module and through
//! [`Bound::fill`], under the number of its load and the lease that was taken before.

mod fill;
mod find;
mod lower;
mod promote;
mod resolve;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

pub(crate) use self::lower::{Hit, LowerTiers, Search, Turn};
use self::lower::{Lower, RecordsWork};
pub(crate) use self::resolve::Resolved;
use crate::blocking::Home;
use crate::clock::{Moment, Reading};
use crate::codec::{Encoding, Shape, ValueType};
use crate::coherence::Coherence;
use crate::definition::Definition;
use crate::entry::{Entry, Held};
use crate::error::Error;
use crate::fence::{FunctionFence, Stripe};
use crate::flight::Leader;
use crate::glob::Glob;
use crate::key::{FunctionId, Key, KeyRef, Piece, function_seed, name_hash};
use crate::level::Level;
use crate::policy::{Coherent, Consistency, SingleFlight, WhenIsolated};
use crate::record::Seal;
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};
use crate::tier::config::Lives;
use crate::tier::stack::Stack;
use crate::tier::{Claim, FunctionKey, Guard, Receipt, Stamp, Target};

/// A function in one runtime.
#[derive(Debug)]
pub(crate) struct Bound {
    /// For what is done after a call.
    this: Weak<Self>,
    pub(crate) id: FunctionId,
    /// What the hash of its keys begins with.
    pub(crate) seed: u64,
    pub(crate) stack: Arc<Stack>,
    pub(crate) counters: FunctionCounters,
    pub(crate) fence: Arc<FunctionFence>,
    name: String,
    /// The same without its types.
    declared_name: Cow<'static, str>,
    /// Of a function that was made at run time and may go away.
    life: Option<Weak<()>>,
    /// In the digest of each record.
    name_hash: u64,
    function: Arc<FunctionKey>,
    template: &'static [Piece],
    /// How long values live in memory; `None` where the function does not answer from it.
    memory: Option<(Lives, TierCounters)>,
    /// How long they live there of a function that answers with them only where a lower tier has the same.
    sealed: Option<Lives>,
    lower: Vec<Lower>,
    /// Those that are told of invalidations, and not used.
    aside: Vec<Lower>,
    /// What is known of invalidations by other instances, of each tier that is shared.
    coherence: Vec<Arc<Coherence>>,
    /// A plain function: its calls wait on their threads.
    pub(crate) is_blocking: bool,
    policy: Coherent,
    when_isolated: WhenIsolated,
    encoding: Encoding,
    shape: OnceLock<Shape>,
    records: RecordsWork,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Bound {
    pub(crate) fn new(
        name: String,
        definition: &Definition,
        life: Option<Weak<()>>,
        stack: Arc<Stack>,
        resolved: Resolved,
    ) -> Arc<Self> {
        let id = FunctionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        // What was bound before and is gone heard of no invalidation since: nothing of it counts.
        let fence = Arc::new(FunctionFence::at(stack.fences.next()));
        let function = Arc::new(FunctionKey::new(&name, definition.policy.version));
        let coherence: Vec<_> = resolved.lower.iter().filter_map(Lower::coherence).collect();
        let strong = definition.policy.coherence.consistency == Consistency::Strong
            && !resolved.lower.is_empty();
        if stack
            .lower
            .iter()
            .any(|(_, tier)| tier.coherence().is_some())
        {
            stack.fences.share(function.digest, &fence);
        }
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            id,
            seed: function_seed(stack.seed, id),
            counters: FunctionCounters::default(),
            fence,
            function,
            coherence,
            is_blocking: definition.is_blocking,
            policy: definition.policy.coherence,
            when_isolated: definition
                .policy
                .coherence
                .when_isolated
                .unwrap_or(stack.defaults.when_isolated),
            template: definition.policy.template,
            // A strong function does not answer from it without asking.
            memory: resolved
                .memory
                .filter(|_| !strong)
                .map(|lives| (lives, TierCounters::default())),
            sealed: resolved.memory.filter(|_| strong),
            lower: resolved.lower,
            aside: resolved.aside,
            encoding: resolved.encoding,
            shape: OnceLock::new(),
            records: RecordsWork::unknown(),
            name_hash: name_hash(&name),
            name,
            declared_name: definition.name.clone(),
            life,
            stack,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life
            .as_ref()
            .is_none_or(|life| life.strong_count() > 0)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is meant by a name: its own, or that of the generic function that it is an instance of.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.declared_name == name
    }

    /// The value in memory, if it counts: its time is not over, its fence not raised, and this instance knows what others
    /// have invalidated.
    #[inline]
    pub(crate) fn hit<V>(&self, key: &KeyRef<'_>, value_type: &ValueType<V>) -> Option<V> {
        let (_, counters) = self.memory.as_ref()?;
        let value = self.live(key).and_then(value_type.give);
        match value {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        value
    }

    /// What memory has of a key that still counts. The same for every type, and compiled once.
    fn live(&self, key: &KeyRef<'_>) -> Option<Held> {
        let now = self.coherent_now();
        let entry = self.stack.memory()?.get(key)?;
        if self.is_good(&entry, now?) {
            entry.into_value(false)
        } else {
            None
        }
    }

    /// The same for a second look: no hit, no use.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.peek_entry(key, false, self.coherent_now()?)
    }

    fn peek_entry(&self, key: &KeyRef<'_>, is_isolated: bool, now: Moment) -> Option<Held> {
        self.memory.as_ref()?;
        let entry = self.stack.memory()?.peek(key)?;
        if self.is_good(&entry, now) {
            entry.into_value(is_isolated)
        } else {
            None
        }
    }

    /// What memory may answer where the lower tiers could not be asked.
    pub(crate) fn serve_isolated(&self, key: &KeyRef<'_>) -> Option<Held> {
        let (_, counters) = self.memory.as_ref()?;
        let held = match self.when_isolated {
            WhenIsolated::Serve => self.peek_entry(key, true, self.stack.clock.now())?,
            WhenIsolated::Load => return None,
        };
        counters.isolated_hits.add_one();
        Some(held)
    }

    /// The time, if this instance knows by now of every invalidation by others that is older than the bound.
    ///
    /// To be asked before the fences are looked at: what is known when it is answered has raised them. Asked after, the channel
    /// may have come back in between.
    #[inline]
    fn coherent_now(&self) -> Option<Moment> {
        if self.coherence.is_empty() {
            return Some(self.stack.clock.now());
        }
        let reading = Reading::now();
        let holds = self.coherence.iter().all(|one| one.holds_at(reading));
        holds.then(|| self.stack.clock.at(reading))
    }

    /// Whether a call may take what the load with this number brings, which began then.
    ///
    /// Who does not hear of others has no fence raised by them: then it is the load's age that tells, except where memory
    /// may go on without the others.
    pub(crate) fn counts(&self, key: &Key, start: u64, began: Moment) -> bool {
        let fences = &self.stack.fences;
        fences.admits(start, self.stripe(key), &self.fence)
            && self.coherence.iter().all(|coherence| {
                coherence.holds()
                    || self.stack.clock.now().since(began) < coherence.bound()
                    || (self.when_isolated == WhenIsolated::Serve && self.is_cut_off())
            })
    }

    /// Whether a tier that others share cannot be asked.
    fn is_cut_off(&self) -> bool {
        self.lower.iter().any(Lower::is_cut_off)
    }

    /// How long a call from inside a load waits for another load, which may wait for another instance that waits for this
    /// one: ten times the bound of the channel. `None` where no other instance is waited for.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let longest = self
            .coherence
            .iter()
            .map(|coherence| coherence.bound())
            .max()?;
        (self.policy.single_flight == SingleFlight::Cluster).then(|| longest * 10)
    }

    /// The async runtime that its tiers work in.
    pub(crate) fn home(&self) -> Option<&Home> {
        self.stack.home.get().filter(|_| !self.is_memory_alone())
    }

    /// Whether no tier has to be told of an invalidation.
    fn is_memory_alone(&self) -> bool {
        self.lower.is_empty() && self.aside.is_empty()
    }

    /// Whether there are tiers below memory.
    pub(crate) fn has_lower(&self) -> bool {
        !self.lower.is_empty()
    }

    /// Whether each call asks the lower tiers, whatever is known here.
    pub(crate) fn is_strong(&self) -> bool {
        self.policy.consistency == Consistency::Strong && !self.lower.is_empty()
    }

    /// What a miss claims in the lower tiers.
    pub(crate) fn claim(&self) -> Claim {
        match self.policy.single_flight {
            SingleFlight::Cluster => Claim::Only,
            SingleFlight::Process => Claim::Share,
        }
    }

    /// The same in every process, and different for different keys, as far as 64 bits go.
    fn digest(&self, key: &Key) -> u64 {
        key.digest(self.name_hash) as u64
    }

    fn stripe(&self, key: &Key) -> Stripe {
        Stripe::of(self.digest(key))
    }

    /// Whether memory answers those who come after a load.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some() && self.stack.memory().is_some()
    }

    /// Whether an entry is in time and was not fenced off.
    #[inline]
    fn is_good(&self, entry: &Entry, now: Moment) -> bool {
        self.stack
            .fences
            .admits(entry.start, entry.stripe(), &self.fence)
            && entry.dies > now
    }

    /// Puts a value into memory that a lower tier has, unless its load began before a fence. The reader checks again: this only spares a
    /// newer entry from being replaced by one that nobody will read.
    ///
    /// `left` is what the record has left that the value is a copy of.
    ///
    /// The value as it is held, for those who wait.
    pub(crate) fn keep_found<V>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        left: Duration,
        value_type: &ValueType<V>,
    ) -> Held {
        let held = (value_type.hold)(value);
        if let Some((lives, _)) = &self.memory {
            let life = left.min(lives.copied);
            let entry = self.entry(key, value, &held, start, life, value_type);
            self.insert(key, entry);
        }
        held
    }

    /// An entry of a value whose load began at `start`; `None` where nobody would read it.
    fn entry<V>(
        &self,
        key: &Key,
        value: &V,
        held: &Held,
        start: u64,
        life: Duration,
        value_type: &ValueType<V>,
    ) -> Option<Entry> {
        let memory = self.stack.memory()?;
        let stripe = self.stripe(key);
        if !self.stack.fences.admits(start, stripe, &self.fence) {
            return None;
        }
        let weight = if memory.weighs {
            (value_type.weigh)(value) + value_type.behind
        } else {
            size_of::<V>()
        };
        let dies = self.stack.clock.now().after(life);
        Some(Entry::new(Arc::clone(held), start, stripe, dies, weight))
    }

    fn insert(&self, key: &Key, entry: Option<Entry>) {
        if let (Some(entry), Some(memory)) = (entry, self.stack.memory()) {
            memory.insert(key.clone(), entry, self.stack.clock.now());
        }
    }

    /// What memory has of a key, with the seal of the record it is from: whether it still counts, that record tells.
    pub(crate) fn known(&self, key: &Key) -> Option<(Seal, Held)> {
        let entry = self.stack.memory()?.peek(&key.as_ref())?;
        let (seal, held) = entry.into_sealed();
        Some((seal?, held))
    }

    /// What records in a tier of this instance alone carry where others invalidate too: such a tier is told of nothing, so they
    /// count as entries in memory do, by the number of their load, and only as long as this runtime lives.
    fn own_stamp(&self, start: u64) -> Stamp {
        Stamp {
            epoch: start,
            history: self.stack.run,
        }
    }

    /// Whether a record of such a tier counts. `is_known` says that this instance knew what others invalidate before the record
    /// was looked at.
    fn is_good_stamp(&self, stamp: Stamp, key: &Key, is_known: bool) -> bool {
        stamp.history == self.stack.run
            && self
                .stack
                .fences
                .admits(stamp.epoch, self.stripe(key), &self.fence)
            && (is_known || (self.when_isolated == WhenIsolated::Serve && self.is_cut_off()))
    }

    /// Puts a value into memory that was read from a record with this seal.
    pub(crate) fn keep_sealed<V>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        left: Duration,
        seal: Seal,
        value_type: &ValueType<V>,
    ) {
        let lives = self.memory.as_ref().map(|(lives, _)| *lives);
        if let Some(lives) = lives.or(self.sealed) {
            let held = (value_type.hold)(value);
            let entry = self.entry(key, value, &held, start, left.min(lives.copied), value_type);
            self.insert(key, entry.map(|entry| entry.sealed(seal)));
        }
    }

    /// Puts a value into memory that was loaded now, unless a change of its key is under way.
    pub(crate) fn keep_loaded<V>(
        &self,
        key: &Key,
        value: &V,
        leader: &Leader,
        lower: &LowerTiers<'_>,
        value_type: &ValueType<V>,
    ) -> Held {
        if lower.is_guarded() || self.is_guarded_here(key) {
            return (value_type.hold)(value);
        }
        let held = (value_type.hold)(value);
        if let (Some((lives, _)), Some((config, _))) = (&self.memory, &self.stack.memory) {
            let lives = lower.ttl.map_or(*lives, |ttl| config.lives(ttl));
            let entry = self.entry(key, value, &held, leader.start(), lives.filled, value_type);
            self.insert(
                key,
                match lower.is_unasked() {
                    true => entry.map(Entry::stopgap),
                    false => entry,
                },
            );
        }
        held
    }

    /// Drops a key everywhere, the lowest tier first.
    ///
    /// The fence is raised before, so that loads under way are not kept, and after, so that what was read from a lower
    /// tier in between is not either: after it was dropped too, when the tiers that are to be told later know of it.
    pub(crate) async fn invalidate(&self, key: &Key) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        self.fence_off(key);
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let _after = FencedAfter(|| self.fence_off(key));
        let record_key = self.record_key(key);
        self.invalidate_lower(Target::Key(&record_key)).await
    }

    /// Drops what a value that is put by hand is to replace, everywhere, as [`invalidate`](Self::invalidate) does; `leader` is of
    /// that value, and has its key.
    ///
    /// The value is known from before. So it has the number of its beginning until all is dropped, and a later one only then, and
    /// only if nobody [invalidated](Self::is_overtaken) its key meanwhile.
    pub(crate) async fn make_room(&self, key: &Key, leader: &Leader) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let after = FencedAfter(|| self.raise(key));
        let record_key = self.record_key(key);
        let dropped = self.invalidate_lower(Target::Key(&record_key)).await;
        drop(after);
        leader.renumber(&self.stack.fences);
        dropped
    }

    /// Whether a key was invalidated in this process, alone or with its function, since a value of it was put by hand: since `began`,
    /// the first number of `leader`.
    pub(crate) fn is_overtaken(&self, leader: &Leader, began: u64) -> bool {
        leader.is_overtaken() || !self.stack.fences.admits_of_function(began, &self.fence)
    }

    /// Drops every key of the function everywhere, at a cost that does not depend on how many there are.
    pub(crate) async fn invalidate_all(&self) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.invalidate_lower(Target::Function(&self.function))
            .await
    }

    /// Drops the keys whose arguments match, and returns how many there were, as far as that is known.
    pub(crate) async fn invalidate_matching(&self, glob: &Glob) -> Result<u64, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            // In this order: what has landed in between is in memory by then.
            let mut keys = self.stack.flights.keys_of(self.id);
            if let Some(memory) = self.stack.memory() {
                keys.extend(memory.keys_of(self.id));
            }
            let mut dropped = HashSet::new();
            for key in keys {
                let arguments = self.record_key(&key).arguments;
                if glob.matches(&arguments) {
                    self.fence_off(&key);
                    dropped.insert(arguments);
                }
            }
            return Ok(dropped.len() as u64);
        }
        // Memory has copies of what the tiers have, and may have what they lost: all of it is asked for again.
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.invalidate_matching_lower(glob).await
    }

    /// Drops every key of the function from memory, with all loads that have begun.
    pub(crate) fn fence_off_all(&self) {
        self.stack.fences.raise_function(&self.fence);
    }

    /// Keeps values of a key from being stored, in shared tiers by anybody. What memory has of it is dropped.
    pub(crate) async fn guard(&self, key: &Key) -> Vec<Guard> {
        self.fence_off(key);
        let record_key = self.record_key(key);
        // What is to be dropped in the end in memory the guard's holder drops there.
        let here = self.lower.is_empty();
        let here = here.then(|| self.stack.guards.guard(&record_key, || {}));
        let _after = FencedAfter(|| self.fence_off(key));
        let mut guards = self.guard_lower(&record_key).await;
        guards.extend(here);
        guards
    }

    /// How many guards of a key there are where all tiers could be told.
    pub(crate) fn guards_wanted(&self) -> usize {
        self.lower.len().max(1) + self.aside.len()
    }

    /// Whether a change of the key is under way, of a function that has memory alone.
    fn is_guarded_here(&self, key: &Key) -> bool {
        self.lower.is_empty()
            && self.stack.guards.any()
            && self.stack.guards.is_guarded(&self.record_key(key))
    }

    /// Drops a key from memory, with all loads of it that have begun.
    pub(crate) fn fence_off(&self, key: &Key) {
        self.stack.flights.overtake(key);
        self.raise(key);
    }

    fn raise(&self, key: &Key) {
        self.stack.fences.raise(self.stripe(key));
        if let Some(memory) = self.stack.memory() {
            memory.remove(&key.as_ref());
        }
    }

    /// The number of the link to each tier: another where what was acknowledged may not be known there any more.
    pub(crate) fn links(&self) -> Vec<u64> {
        self.told().map(Lower::link).collect()
    }

    /// Waits until so many replicas of each shared tier have what was acknowledged.
    pub(crate) async fn replicated(&self, replicas: u32) -> Result<(), Error> {
        for lower in self.told().collect::<Vec<_>>().into_iter().rev() {
            lower.replicated(replicas).await?;
        }
        Ok(())
    }

    /// Waits until no instance can answer with what was dropped.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        for lower in self.told().collect::<Vec<_>>().into_iter().rev() {
            lower.settle().await?;
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> FunctionStats {
        let memory = self
            .memory
            .iter()
            .map(|(_, counters)| counters.snapshot(Level::L1));
        let lower = self.lower.iter().map(Lower::stats);
        let tiers = memory.chain(lower).collect();
        self.counters
            .snapshot(self.name.clone(), self.function.version, tiers)
    }
}

/// Raises a fence when it is dropped.
pub(crate) struct FencedAfter<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for FencedAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
