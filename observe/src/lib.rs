//! The Grafana board and the Prometheus alerts, made from the table of metric families.
//!
//! `cargo run -p observe -- write` writes the files beside this crate's `Cargo.toml`. A test fails
//! if a file differs from what the table says.

mod alert_tests;
mod alerts;
mod board;
mod grafana;
mod query;

use std::path::{Path, PathBuf};

pub use self::alerts::{ALERTS, Alert};
pub use self::board::{NOT_ON_BOARD, Panel, ROWS, Row};
pub use self::query::{Filter, expand, unknown_names};

/// A file that is generated.
#[derive(Debug)]
#[non_exhaustive]
pub struct Generated {
    /// The path of the file.
    pub path: PathBuf,
    /// The contents that the file must have.
    pub text: String,
}

/// Returns all generated files.
#[must_use]
pub fn generated() -> Vec<Generated> {
    let file = |name: &str, text| Generated {
        path: Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
        text,
    };
    vec![
        file("grafana.json", grafana::board()),
        file("alerts.yml", alerts::rules()),
        file("alerts.test.yml", alert_tests::tests()),
    ]
}

#[cfg(test)]
mod tests;
