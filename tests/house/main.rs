//! Rules of the house that the compiler does not know, for all crates of the workspace.
//!
//! Each check reports all violations at once as `file:line: text`, and fails if it finds too few
//! files to look at. It has tests of its own, which show that it fails on a made-up source.

mod examples;
mod imports;
mod log_targets;
mod manifests;
mod migration;
mod modules;
mod phrases;
mod prose;
mod races;
mod scripts;
mod sizes;
mod sources;
mod text;
mod width;
