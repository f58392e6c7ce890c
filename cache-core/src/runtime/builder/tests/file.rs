//! A functions file of a test.

use std::fs;
use std::path::PathBuf;

use super::{RuntimeBuilder, memory};

/// A functions file that is removed at the end of its test.
pub(super) struct File(pub(super) PathBuf);

impl File {
    /// `name` is that of the test: tests run at the same time.
    pub(super) fn new(name: &str) -> Self {
        let name = format!("mtc-{name}-{}.toml", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Builder of a runtime that reads the file, with this text.
    pub(super) fn with(&self, text: &str) -> RuntimeBuilder {
        fs::write(&self.0, text).unwrap();
        memory().functions_file(&self.0)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
