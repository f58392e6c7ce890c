//! The command line of `multi-tier-cached`.

fn main() {}
