//! The log of a test, line by line.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;

/// Keeps a second subscriber registered. While there is only one, tracing lets the thread that
/// reaches an event first decide for the whole process whether the event is enabled. That thread
/// may belong to another test, which records nothing; the event would then be lost here too.
static SECOND_DISPATCH: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Keeps the second subscriber registered from now on.
pub(crate) fn keep_second_dispatch() {
    LazyLock::force(&SECOND_DISPATCH);
}

/// Events that were logged. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Records the events of this thread until the guard is dropped. Events of other threads are
    /// not recorded, so that tests that run at the same time do not disturb this one: use it in a
    /// single-threaded runtime.
    #[must_use]
    pub fn capture(&self) -> tracing::subscriber::DefaultGuard {
        keep_second_dispatch();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(self.clone());
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
    }

    /// Returns the lines that contain `text`.
    #[must_use]
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let bytes = self.bytes().clone();
        let log = String::from_utf8_lossy(&bytes);
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(ToOwned::to_owned).collect()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes each event of this process to standard error, with `name` and the time that `now`
/// returns.
pub fn to_stderr(name: String, now: fn() -> u64) {
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(Stamp { name, now })
        .with_writer(io::stderr);
    let subscriber = tracing_subscriber::registry().with(layer);
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes the name of a process and a time in front of each line.
struct Stamp {
    name: String,
    now: fn() -> u64,
}

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{} {}", self.name, (self.now)())
    }
}
