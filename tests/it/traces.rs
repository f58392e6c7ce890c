//! The spans of calls: their names, fields, parents and causes, and that a hit in memory has none.

mod background;
mod calls;
mod changes;

use multi_tier_cached::{Function, FunctionBuilder};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn builder(name: &'static str) -> FunctionBuilder<u64> {
    Function::<u64>::builder(name).ttl(HOUR)
}
