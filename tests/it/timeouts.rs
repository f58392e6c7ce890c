//! Timeouts: how long callers wait for a load, and how long its body runs. Tokio's clock is paused,
//! so all times are exact.

mod bodies;
mod errors;
mod hard;
mod late_values;
mod limits;
mod soft;
mod stores;
