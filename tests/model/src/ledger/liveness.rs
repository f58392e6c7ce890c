//! A record can be stored that all instances return, whatever has happened.

use super::config::{Events, INSTANCES, Ledger, Wrong};
use super::mirror::{Mirror, Verdict, View};
use super::state::State;
use super::steps::Step;

/// The number of loads within which all instances return a record.
const LOADS: usize = 3;

impl Ledger {
    /// Checks that all instances return a record after a few loads, when nothing is lost any more.
    pub(super) fn recover(&self, state: &State) -> Result<(), Wrong> {
        for is_backwards in [false, true] {
            let mut next = State {
                left: Events::default(),
                ..state.clone()
            };
            let mut has_recovered = false;
            for _ in 0..=LOADS {
                next = self.settle(next, is_backwards)?;
                has_recovered = self.readers.iter().all(|at| self.returns(&next, *at));
                if has_recovered {
                    break;
                }
                let Some(&at) = self.loaders.first() else {
                    break;
                };
                for step in [Step::BeginLoad(at), Step::Fill(at)] {
                    next = self.taken(next, step)?;
                }
            }
            if !has_recovered {
                return Err(Wrong::Stuck);
            }
        }
        Ok(())
    }

    /// Takes all steps that are in progress.
    fn settle(&self, mut next: State, is_backwards: bool) -> Result<State, Wrong> {
        loop {
            let before = next.clone();
            for at in 0..INSTANCES as u8 {
                let at = if is_backwards {
                    INSTANCES as u8 - 1 - at
                } else {
                    at
                };
                next = self.settle_at(next, at)?;
            }
            if next == before {
                return Ok(next);
            }
        }
    }

    fn settle_at(&self, mut next: State, at: u8) -> Result<State, Wrong> {
        if !next.at(at).linked {
            next = self.taken(next, Step::Connect(at))?;
        }
        if next.at(at).sent.is_none() && next.at(at).queued.is_some() {
            next = self.taken(next, Step::SendQueued(at))?;
        }
        for step in [Step::Acknowledge(at), Step::Fill(at), Step::FinishRead(at)] {
            next = self.taken(next, step)?;
        }
        if !self.readers.contains(&at) {
            return Ok(next);
        }
        if next.at(at).proved.is_none() {
            next = self.taken(next, Step::Barrier(at))?;
        }
        while !next.at(at).inbox.is_empty() {
            next = self.taken(next, Step::Deliver(at))?;
        }
        while !matches!(next.at(at).mirror, Mirror::Known(_)) {
            next = self.taken(next, Step::LoadMirror(at))?;
        }
        Ok(next)
    }

    fn taken(&self, state: State, step: Step) -> Result<State, Wrong> {
        Ok(self.after(&state, step)?.unwrap_or(state))
    }

    /// Returns `true` if the record is valid by the mirror and by the store.
    fn returns(&self, state: &State, at: u8) -> bool {
        let (current, old) = (state.server.ledger, state.server.old);
        let view = View::of(current, old, &self.guards);
        self.judge_by_mirror(state, at)
            .is_some_and(|(record, verdict)| {
                verdict == Verdict::Valid && view.judge(record.mark, &self.guards) == verdict
            })
    }
}
