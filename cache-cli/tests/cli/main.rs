//! The command line against real servers: what it prints, and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod bench;
mod bench_failures;
mod clean;
mod data;
mod docs;
mod doctor;
mod doctor_of_functions;
mod doctor_of_instances;
mod doctor_of_layouts;
mod doctor_of_permissions;
mod doctor_of_samples;
mod doctor_of_servers;
mod doctor_of_subscribers;
mod errors;
mod explain;
mod frame;
mod invalidate;
mod layouts;
mod marks;
mod program;
mod replay;
mod rewriter;
mod screen;
mod tail;
mod top;
mod top_on_screen;
mod values;
