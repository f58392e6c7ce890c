//! Captures the log of a test.

use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt;

/// Lines that the thread of a test logs. Clones share them.
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
    /// Captures the events of this thread until the guard is dropped.
    pub(crate) fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    }

    /// Number of lines that contain `part`.
    pub(crate) fn lines(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap())
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }
}
