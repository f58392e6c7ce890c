//! The command line against real servers: what it prints, and its exit codes.

mod clean;
mod doctor;
mod doctor_of_instances;
mod doctor_of_servers;
mod program;
mod rewriter;
