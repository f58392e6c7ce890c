//! Files of the workspace, as the checks read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories of all Rust sources, tests and examples.
pub(crate) const EVERYTHING: &[&str] = &[
    "benches",
    "cache-cli",
    "cache-core",
    "cache-disk",
    "cache-macros",
    "cache-memcached",
    "cache-object",
    "cache-redis",
    "examples",
    "soak",
    "src",
    "tests",
];

/// A file, with its path relative to the root of the workspace.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Returns a made-up file, for the tests of a check.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Returns the text of a line, which is counted from 1.
    pub(crate) fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default().trim()
    }
}

/// Returns the root of the workspace. Cargo sets the variable when it runs a test.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo names the package's directory");
    Path::new(&package).join("..")
}

/// Reads a file, named relative to the root.
pub(crate) fn read(path: &str) -> Source {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Source::new(path, &text)
}

/// Reads all files with this extension in these directories, sorted by path.
///
/// # Panics
/// If there are fewer than `at_least`: a check that looks at no file would always pass.
pub(crate) fn sources(directories: &[&str], extension: &str, at_least: usize) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        collect(directory, extension, &mut paths);
    }
    paths.sort();
    assert!(
        paths.len() >= at_least,
        "only {} files .{extension} in {directories:?}",
        paths.len()
    );
    paths.iter().map(|path| read(path)).collect()
}

fn collect(directory: &str, extension: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(root().join(directory));
    for entry in entries
        .unwrap_or_else(|e| panic!("{directory}: {e}"))
        .flatten()
    {
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{directory}/{name}");
        if entry.path().is_dir() {
            if name != "target" {
                collect(&path, extension, paths);
            }
        } else if Path::new(&name)
            .extension()
            .is_some_and(|of| of == extension)
        {
            paths.push(path);
        }
    }
}

/// Fails with all violations at once.
#[track_caller]
pub(crate) fn assert_none(violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{} violations:\n{}",
        violations.len(),
        violations.join("\n")
    );
}
