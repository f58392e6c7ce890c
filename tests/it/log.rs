//! The log of a test.

use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt;

/// What is written to the log by the thread of a test.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures until the guard is dropped.
    pub(crate) fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    }

    /// How many lines contain `part`.
    pub(crate) fn lines(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap())
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }
}
