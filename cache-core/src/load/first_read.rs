//! The first read of a batch: the records of all its keys in the highest lower tier.
//!
//! Most keys that memory lacks have a record there, and need no load. So they are read by one
//! operation before the loads begin, and only the keys without a usable record are loaded. Several
//! calls may read the same key at once; its body still runs once, because the loads are those of
//! single calls.
//!
//! For a function with memory the batch leads the flights of the keys while it reads, and a load
//! that follows continues its flight. So a value that a refresh has replaced during the read is not
//! kept, and other callers of the key wait for this read. A key whose flight another call leads is
//! left to its load, which joins that flight.

use std::sync::Arc;
use std::time::Duration;

use super::batch::LateItems;
use super::read::{TierHit, TierLookup};
use super::visit::TierVisits;
use crate::cached_function::{CachedFunction, TierBinding};
use crate::call_trace::CallOutcome;
use crate::codec::ErasedType;
use crate::entry::Held;
use crate::error::{Error, ErrorKind};
use crate::flight::{Join, Leader};
use crate::join::join_all;
use crate::key::Key;
use crate::tier::store::StoreShard;
use crate::tier::time_limit::with_time_limit;
use crate::tier::watch::Operation;
use crate::tier::{MarksState, ReadOptions, ReadResult, RecordKey};
use crate::timer::deadline_after;
use crate::trace::{BatchSpan, CallScope};

/// The result of the first read for one key.
pub(crate) enum FirstRead {
    /// A fresh value, or the result that there is none.
    Found(Option<Held>),
    /// The key is to be loaded.
    Load(Begun),
}

/// The state of a key when its load begins.
#[derive(Default)]
pub(crate) struct Begun {
    /// The flight that the batch leads.
    pub(super) leader: Option<Leader>,
    /// The answer of the highest lower tier, if the load need not read it again. Failures are
    /// counted already.
    pub(super) read: Option<Result<ReadResult, Error>>,
    /// How long the tier was read.
    pub(super) took: Duration,
    /// The span of the batch, which one of its keys has.
    pub(super) trace: Option<BatchSpan>,
}

impl FirstRead {
    /// Nothing was read.
    pub(crate) fn none() -> Self {
        Self::Load(Begun::default())
    }
}

/// One key that is read.
struct Asked<'a> {
    number: usize,
    key: &'a Key,
    record_key: RecordKey,
    leader: Option<Leader>,
}

/// The keys that are read by one operation.
struct Group<'a> {
    shard: &'a StoreShard,
    asked: Vec<Asked<'a>>,
}

/// Judges the records of a group. The visits are those of one key after the other.
struct Judge<'f> {
    function: &'f CachedFunction,
    value_type: &'f dyn ErasedType,
    /// The time of the tier when the records were read.
    now: u64,
    visits: Option<TierVisits<'f>>,
}

impl Judge<'_> {
    fn judge(&mut self, (key, record_key): (&Key, RecordKey), read: &ReadResult) -> Judged {
        let visits = match &mut self.visits {
            Some(visits) => {
                visits.next_key(key, record_key);
                visits
            }
            None => {
                let key = Arc::new(key.clone());
                let visits = TierVisits::of(self.function, &key, Arc::new(record_key));
                self.visits.insert(visits.read_at(self.now))
            }
        };
        visits.judge_first(read, self.value_type)
    }
}

/// The use of a record, as far as that is known at once.
enum Judged {
    Hit(TierHit),
    /// It cannot be used, now or later.
    Unusable,
    /// A load has to look further.
    Unclear,
}

/// Reads the records of the keys of a batch. `late` is set if the call can begin a load that
/// outlives it. Without a tier that can be read at once, each key is to be loaded.
///
/// # Cancel safety
/// Cancel safe. Nothing is kept if it is dropped, and the first waiter of each key that polls
/// becomes its leader.
pub(crate) async fn read_first(
    function: &CachedFunction,
    keys: &[Option<&Key>],
    value_type: &dyn ErasedType,
    late: Option<&LateItems>,
) -> Vec<FirstRead> {
    let mut results: Vec<_> = keys.iter().map(|_| FirstRead::none()).collect();
    let trace = BatchSpan::begin(function.name(), keys.len());
    if value_type.has_records() && function.has_first_read(late.is_some()) {
        let scope = trace
            .as_ref()
            .map_or_else(CallScope::none, BatchSpan::scope);
        let begun = scope.clone();
        let groups = begun.run(|| groups(function, keys, value_type, (late, &mut results)));
        let read = groups.into_iter();
        let read = read.map(|group| group.read(function, value_type));
        for (number, result) in scope.enter(join_all(read)).await.into_iter().flatten() {
            results[number] = result;
        }
    }
    if let Some(trace) = trace {
        pass_on(trace, &mut results, late);
    }
    results
}

/// Passes the span of a batch on to its loads, if some of its keys are to be loaded.
fn pass_on(trace: BatchSpan, results: &mut [FirstRead], late: Option<&LateItems>) {
    let mut begun = None;
    for result in results {
        match result {
            FirstRead::Found(_) => trace.note(CallOutcome::Hit),
            FirstRead::Load(load) => begun = Some(load),
        }
    }
    if begun.is_none() {
        trace.answered(CallOutcome::Hit);
    }
    match (late, begun) {
        (Some(late), _) => late.set_trace(trace),
        (None, Some(begun)) => begun.trace = Some(trace),
        (None, None) => {}
    }
}

impl CachedFunction {
    /// Returns `true` if the highest lower tier is one whose records need no load to be judged.
    fn has_first_read(&self, is_late: bool) -> bool {
        let is_shared = |tier| !self.is_fenced_here(tier);
        // A record that is due is judged by its load: it begins another one.
        let may_be_due = is_late && !self.has_memory() && self.times.refresh_ahead.is_some();
        !self.is_strong() && !may_be_due && self.lower.first().is_some_and(is_shared)
    }
}

impl CachedFunction {
    /// Keeps a result that the first read has found, and answers the callers of the flight that the
    /// batch leads. Without memory it leads none.
    fn keep_first_read(
        &self,
        (key, hit): (&Key, &TierHit),
        leader: Option<Leader>,
        is_promoted: impl FnOnce() -> bool,
        value_type: &dyn ErasedType,
    ) {
        let Some(leader) = leader else {
            let start = self.state.fences.now();
            return self.keep_direct_read(key, hit, start, None, value_type);
        };
        if leader.is_current() && is_promoted() {
            self.keep_found(key, hit, leader.start(), value_type);
        }
        leader.note_tags(&hit.tags);
        leader.complete(hit.outcome());
    }
}

fn groups<'a>(
    function: &'a CachedFunction,
    keys: &[Option<&'a Key>],
    value_type: &dyn ErasedType,
    (late, results): (Option<&LateItems>, &mut [FirstRead]),
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let Some(key) = *key else { continue };
        let record_key = function.record_key(key);
        let shard = |tier: &'a TierBinding| tier.store.of(record_key.digest);
        let is_pending = |tier| shard(tier).tier.is_pending(&record_key);
        // The record must not be used.
        if function.lower[1..].iter().any(is_pending) {
            continue;
        }
        let shard = shard(&function.lower[0]);
        let leader = match function.has_memory() {
            true => match function.join_flight(&Arc::new(key.clone())) {
                Join::Lead(leader) => Some(leader),
                Join::Wait(_) => continue,
            },
            false => None,
        };
        if let Some(leader) = &leader {
            if let Some(soft) = function.times.soft_timeout {
                leader.set_soft_deadline(deadline_after(soft));
            }
            if let Some(late) = late {
                late.leads(number, Some(leader.view()));
            }
        }
        // Another flight may have completed since the look-up. Its value may be newer than the
        // record.
        if leader.is_some() && function.peek_outcome(key, value_type).is_some() {
            results[number] = FirstRead::Load(Begun {
                leader,
                ..Begun::default()
            });
            continue;
        }
        let asked = Asked {
            number,
            key,
            record_key,
            leader,
        };
        match groups
            .iter_mut()
            .find(|group| std::ptr::eq(group.shard, shard))
        {
            Some(group) => group.asked.push(asked),
            None => {
                let mut of_shard = Vec::with_capacity(keys.len() - number);
                of_shard.push(asked);
                groups.push(Group {
                    shard,
                    asked: of_shard,
                });
            }
        }
    }
    groups
}

impl Group<'_> {
    async fn read<'f>(
        self,
        function: &'f CachedFunction,
        value_type: &'f dyn ErasedType,
    ) -> Vec<(usize, FirstRead)> {
        let (tier, binding) = (&self.shard.tier, &function.lower[0]);
        let within = tier.settings().time_limit;
        let keys: Vec<_> = self.asked.iter().map(|one| &one.record_key).collect();
        let options = ReadOptions {
            consistency: function.consistency,
            if_none_match: None,
        };
        let times = binding.store.times();
        let began = times.begin();
        let context = function.tokio_context_of(binding);
        let span = self.shard.span(Operation::Read.name());
        let read = with_time_limit(context, within, async {
            Ok(tier.read_many(&keys, options, within).await)
        });
        let read = span.enter(read).await;
        let failed = match &read {
            Ok(results) => results.iter().find_map(|result| result.as_ref().err()),
            Err(error) => Some(error),
        };
        let took = times.ended(Operation::Read, began, failed);
        span.end(failed);
        let (mut read, error) = match read {
            Ok(read) => {
                let error = Error::new(ErrorKind::Protocol, "the tier has not read all keys");
                (read.into_iter(), error)
            }
            Err(error) => (Vec::new().into_iter(), error),
        };
        let mut has_succeeded = false;
        let mut judge = Judge {
            function,
            value_type,
            now: tier.now(),
            visits: None,
        };
        let results = self.asked.into_iter().map(|one| {
            let result = read.next().unwrap_or_else(|| Err(error.clone()));
            match &result {
                Ok(_) => has_succeeded = true,
                Err(error) => {
                    self.shard.failed(Operation::Read, error);
                    binding.failed(Operation::Read.name(), function.name(), error);
                }
            }
            one.end((result, took), &mut judge)
        });
        let results = results.collect();
        if has_succeeded {
            self.shard.succeeded(Operation::Read);
        }
        results
    }
}

impl Asked<'_> {
    fn end(
        self,
        (result, took): (Result<ReadResult, Error>, Duration),
        judge: &mut Judge<'_>,
    ) -> (usize, FirstRead) {
        let Self {
            number,
            key,
            record_key,
            leader,
        } = self;
        let digest = record_key.digest;
        let judged = match &result {
            Ok(read) if read.record.is_some() => judge.judge((key, record_key), read),
            // There is no record, or it was not read.
            _ => Judged::Unusable,
        };
        let function = judge.function;
        let result = match judged {
            Judged::Hit(hit) => {
                let is_promoted = || function.lower[0].promotes(digest);
                function.keep_first_read((key, &hit), leader, is_promoted, judge.value_type);
                return (number, FirstRead::Found(hit.value));
            }
            Judged::Unusable => Some(result),
            // The load judges it under the flight that was led before the read.
            Judged::Unclear if leader.is_some() => Some(result),
            Judged::Unclear => None,
        };
        let begun = Begun {
            leader,
            read: result,
            took,
            trace: None,
        };
        (number, FirstRead::Load(begun))
    }
}

impl TierVisits<'_> {
    /// Judges a record of the highest tier, without a further request.
    fn judge_first(&mut self, read: &ReadResult, value_type: &dyn ErasedType) -> Judged {
        let bytes = read.record.as_deref().unwrap_or_default();
        let Ok(opened) = self.open(0, bytes, read.stamp, value_type) else {
            return Judged::Unusable;
        };
        match self.judge_marks_here(0, &opened.marks, None, self.consistency) {
            Ok(MarksState::Valid) => {}
            Ok(MarksState::Invalidated) => return Judged::Unusable,
            Ok(MarksState::Expired) | Err(_) => return Judged::Unclear,
        }
        match self.opened(0, (opened, MarksState::Valid), bytes, None) {
            TierLookup::Hit(hit) => Judged::Hit(hit),
            TierLookup::Stale(_) | TierLookup::Miss | TierLookup::Unavailable => Judged::Unclear,
        }
    }
}
