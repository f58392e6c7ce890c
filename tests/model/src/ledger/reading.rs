//! Calls and their loads, and what they store.

use super::config::{Expiry, Ledger, Wrong};
use super::mirror::{Mirror, Verdict, View};
use super::server::Record;
use super::state::{Load, Needed, Read, State};

/// Checks the answer of a call.
fn check(version: u8, verdict: Verdict, needed: Needed) -> Result<(), Wrong> {
    match verdict {
        Verdict::Invalidated => Ok(()),
        Verdict::Valid | Verdict::Expired if version < needed.hard => Err(Wrong::Stale),
        Verdict::Valid if version < needed.soft => Err(Wrong::Fresh),
        Verdict::Valid | Verdict::Expired => Ok(()),
    }
}

impl Ledger {
    /// Gets a lease, and loads the truth. Returns `false` if another instance holds the lease.
    pub(super) fn begin_load(&self, next: &mut State, at: u8) -> Result<bool, Wrong> {
        if let Some(holder) = next.server.lease
            && let Some(load) = next.at(holder).load
        {
            let waits_for_old = load.version < next.acknowledged.soft;
            return match waits_for_old && self.expiry == Expiry::Key {
                true => Err(Wrong::WaitsForOld),
                false => Ok(false),
            };
        }
        let (mut messages, version) = (Vec::new(), next.truth);
        let fresh = self.fresh_base(next);
        let mark = next.server.grant(at, fresh, &self.guards, &mut messages);
        self.publish(next, &messages);
        next.at(at).load = Some(Load {
            version,
            mark,
            overtaken: false,
        });
        Ok(true)
    }

    /// Stores what was loaded, if the lease is still valid.
    pub(super) fn fill(&self, next: &mut State, at: u8) -> bool {
        let mark_now = next.server.mark();
        let Some(load) = next.at(at).load.take() else {
            return false;
        };
        if next.server.lease == Some(at) {
            next.server.lease = None;
            next.server.record = Some(Record {
                version: load.version,
                history: next.server.history,
                mark: if self.guards.mark_first {
                    load.mark
                } else {
                    mark_now
                },
            });
        }
        if self.memory && !load.overtaken {
            next.at(at).memory = Some(load.version);
        }
        true
    }

    /// Answers a call from memory, which is valid if no fence was raised.
    pub(super) fn read_memory(&self, next: &State, at: u8) -> Result<bool, Wrong> {
        let instance = &next.instances[usize::from(at)];
        let (Some(version), Some(needed), None) =
            (instance.memory, instance.needed(), instance.queued)
        else {
            return Ok(false);
        };
        check(version, Verdict::Valid, needed).map(|()| false)
    }

    /// Answers a call with the record in the store, if the instance is coherent.
    pub(super) fn read_mirror(&self, next: &mut State, at: u8) -> Result<bool, Wrong> {
        let verdict = self.judge_by_mirror(next, at);
        let instance = next.at(at);
        let (Some((record, verdict)), Some(needed)) = (verdict, instance.needed()) else {
            return Ok(false);
        };
        check(record.version, verdict, needed)?;
        // Only an entry that is fresh is kept: one that is stale is valid in less cases.
        let is_kept = self.memory && verdict == Verdict::Valid;
        let has_changed = is_kept && instance.memory != Some(record.version);
        if has_changed {
            instance.memory = Some(record.version);
        }
        Ok(has_changed)
    }

    /// Returns the record and its validity, if the mirror answers.
    pub(super) fn judge_by_mirror(&self, state: &State, at: u8) -> Option<(Record, Verdict)> {
        let instance = &state.instances[usize::from(at)];
        let record = self.record(state, at)?;
        let Mirror::Known(view) = &instance.mirror else {
            return None;
        };
        instance.proved?;
        Some((record, view.judge(record.mark, &self.guards)))
    }

    /// Returns the record that an instance may use, as far as the ledger is not concerned.
    fn record(&self, state: &State, at: u8) -> Option<Record> {
        let instance = &state.instances[usize::from(at)];
        let is_queued = instance.queued.is_some() && self.guards.queued;
        let record = state
            .server
            .record
            .filter(|_| instance.linked && !is_queued)?;
        (record.history == state.server.history).then_some(record)
    }

    /// Reads the record and one generation.
    pub(super) fn read_store(&self, next: &mut State, at: u8) -> bool {
        let (needed, server) = (next.needed(at), next.server);
        let Some(record) = self.record(next, at) else {
            return false;
        };
        let first = match self.guards.current_first {
            true => server.ledger,
            false => server.old,
        };
        next.at(at).read = Some(Read {
            record,
            needed,
            first,
            overtaken: false,
        });
        true
    }

    /// Reads the other generation, and answers the call.
    pub(super) fn finish_read(&self, next: &mut State, at: u8) -> Result<bool, Wrong> {
        let (server, guards) = (next.server, self.guards);
        let instance = next.at(at);
        let Some(read) = instance.read.take() else {
            return Ok(false);
        };
        if instance.queued.is_some() && guards.queued {
            return Ok(true);
        }
        let (current, old) = match guards.current_first {
            true => (read.first, server.old),
            false => (server.ledger, read.first),
        };
        let verdict = View::of(current, old, &guards).judge(read.record.mark, &guards);
        check(read.record.version, verdict, read.needed)?;
        let is_kept = !read.overtaken || !guards.dated_before;
        if self.memory && verdict == Verdict::Valid && is_kept {
            instance.memory = Some(read.record.version);
        }
        Ok(true)
    }
}
