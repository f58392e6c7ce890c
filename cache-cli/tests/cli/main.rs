//! The command line against real servers: what it prints, and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod clean;
mod data;
mod docs;
mod doctor;
mod doctor_of_instances;
mod doctor_of_servers;
mod errors;
mod explain;
mod frame;
mod invalidate;
mod layouts;
mod program;
mod rewriter;
mod tail;
mod top;
mod values;
