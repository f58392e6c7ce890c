mod environment;
#[cfg(feature = "toml")]
mod file;
mod functions;
mod overrides;
mod settings;
mod times;

use std::time::Duration;

use super::install::check_functions;
use super::*;
use crate::function::definition::Definition;
use crate::function::plan::Plan;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A function that uses all tiers for a minute.
fn definition(name: &'static str, line: u32) -> Definition {
    Definition {
        name: name.into(),
        file: "src/users.rs",
        line,
        ttl: Ttl::everywhere(MINUTE),
        ..Definition::DEFAULT
    }
}

fn memory() -> RuntimeBuilder {
    RuntimeBuilder::new().l1(Memory::builder())
}

#[track_caller]
fn assert_contains(error: &str, expected: &str) {
    assert!(error.contains(expected), "{expected:?} is not in {error:?}");
}

/// Checks that a runtime cannot be built.
#[track_caller]
fn check_refused(builder: RuntimeBuilder, expected: &str) {
    let error = builder.into_state().map(drop).unwrap_err().to_string();
    assert_contains(&error, expected);
}

/// Time to live in memory of a function with the ttl of a minute, or the error that refuses it.
fn ttl_in_memory(builder: RuntimeBuilder, name: &'static str) -> Result<Duration, String> {
    let text = |error: Error| error.to_string();
    let state = builder.into_state().map_err(text)?;
    let definition = definition(name, 1);
    check_functions(&state, &[&definition]).map_err(text)?;
    let plan = Plan::new(&definition, &state).map_err(text)?;
    Ok(plan.memory.expect("memory is used").filled)
}
