//! The protocol as a model that can be searched.

use super::config::Protocol;
use super::state::State;
use super::steps::{Step, Wrong};
use crate::search::Model;

impl Model for Protocol {
    type State = State;
    type Step = Step;
    type Wrong = Wrong;

    fn start(&self) -> State {
        self.first()
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        self.possible(state, steps);
    }

    fn take(&self, state: &State, step: Step) -> Result<Option<State>, Wrong> {
        self.after(state, step)
    }
}
